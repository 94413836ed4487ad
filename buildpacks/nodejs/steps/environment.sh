# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What is set while the app is built, while it runs, and for later buildpacks.

# npm and the app's scripts see the config vars, which win over our defaults
# but not over what makes a build repeatable.
set_build_environment() {
  export NODE_ENV=production NPM_CONFIG_LOGLEVEL=error NODE_MODULES_CACHE=true
  export_config_vars "$env_dir" 'LANG|LC_ALL|HOME|BUILD_DIR|npm_config_cache|NPM_CONFIG_CACHE'
  detail "NPM_CONFIG_LOGLEVEL=$NPM_CONFIG_LOGLEVEL"
  detail "NODE_ENV=$NODE_ENV"
  detail "NODE_MODULES_CACHE=$NODE_MODULES_CACHE"

  # Asked now, since a prebuild script makes the folder.
  cache_found=no
  if [[ -d $cache_dir/npm ]]; then cache_found=yes; fi
  export npm_config_cache=$cache_dir/npm
  export npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
  export npm_config_progress=false npm_config_yes=true
  # npm keeps a lockfile inside node_modules; without this, the address of the
  # mirror that happened to serve a package would be part of the slug.
  export npm_config_omit_lockfile_registry_resolved=true
  # Native modules need Node's headers: the host's, else a copy outside the slug.
  local host_prefix
  host_prefix=$(dirname "$(dirname "$(readlink -f "$node_exe")")")
  if [[ -f $host_prefix/include/node/node.h ]]; then
    export npm_config_nodedir=$host_prefix
  else
    export npm_config_devdir=$cache_dir/node-gyp
  fi
  export PATH=$PATH:$build_dir/node_modules/.bin

  keep_dev=no
  if [[ $NODE_ENV != production || ${NPM_CONFIG_PRODUCTION:-} == false ]]; then keep_dev=yes; fi
}

# Config vars win over every default, except that PATH is extended.
write_profile() {
  mkdir -p .profile.d
  cat >.profile.d/nodejs.sh <<'PROFILE'
export PATH="$PATH:$HOME/bin:$HOME/node_modules/.bin"
export NODE_ENV="${NODE_ENV:-production}"
PROFILE
  # Every language buildpack writes this name, so that the last one decides.
  cat >.profile.d/WEB_CONCURRENCY.sh <<'PROFILE'
export WEB_CONCURRENCY="${WEB_CONCURRENCY:-1}"
PROFILE
}

write_export() {
  # PATH is expanded by the shell that sources the file.
  # shellcheck disable=SC2016
  printf 'export PATH="$PATH":%q\n' "$build_dir/node_modules/.bin" >"$buildpack_dir/export"
}

# Leaves what bin/report prints.
write_report() {
  {
    printf 'runtimes:\n  node: "%s"\n  npm: "%s"\n' "$node_version" "$npm_version"
    # A config var may have Node load a file of the app.
    NODE_OPTIONS='' "$node_exe" "$steps_dir/packages.js"
  } >"$buildpack_dir/report.yml"
}
