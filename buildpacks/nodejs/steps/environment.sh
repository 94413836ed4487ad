# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What is set while the app is built, while it runs, and for later buildpacks.

# The package manager and the app's scripts see the config vars, which win over
# our defaults but not over what makes a build repeatable.
set_build_environment() {
  local name
  export NODE_ENV=production NPM_CONFIG_LOGLEVEL=error NODE_VERBOSE=false NODE_MODULES_CACHE=true
  export NODE_OPTIONS=--max_old_space_size=2560
  export_config_vars "$env_dir" 'LANG|LC_ALL|HOME|BUILD_DIR|SLUGLINE_TOOL|npm_config_cache|NPM_CONFIG_CACHE'
  for name in NPM_CONFIG_LOGLEVEL NODE_VERBOSE NODE_ENV NODE_MODULES_CACHE NODE_OPTIONS; do
    detail "$name=${!name}"
  done

  # Downloads go outside of the slug, and of what is kept: the modules are kept.
  export npm_config_cache=/tmp/npm-cache YARN_CACHE_FOLDER=/tmp/yarn-cache
  export YARN_GLOBAL_FOLDER=/tmp/yarn-berry YARN_ENABLE_GLOBAL_CACHE=${YARN_ENABLE_GLOBAL_CACHE:-true}
  # Plug'n'Play loads packages from where they were downloaded to.
  if [[ $manager == berry ]] && ! grep -qsE "^nodeLinker: *[\"']?(node-modules|pnpm)" .yarnrc.yml; then
    export YARN_ENABLE_GLOBAL_CACHE=false
    unset YARN_CACHE_FOLDER
  fi
  export YARN_ENABLE_TELEMETRY=0 YARN_ENABLE_PROGRESS_BARS=0 YARN_ENABLE_COLORS=0
  export npm_config_store_dir=/tmp/pnpm-store XDG_CACHE_HOME=/tmp/xdg-cache BUN_INSTALL_CACHE_DIR=/tmp/bun-cache
  export npm_config_modules_cache_max_age=0 npm_config_package_import_method=copy npm_config_manage_package_manager_versions=false
  export COREPACK_ENABLE_STRICT=0 NO_COLOR=1 NEXT_TELEMETRY_DISABLED=1
  if [[ -n ${npm_config_cafile:-} ]]; then
    # What a build machine trusts, told in the words of the others.
    export YARN_HTTPS_CA_FILE_PATH=$npm_config_cafile
    if [[ $manager == yarn ]]; then export YARN_CAFILE=$npm_config_cafile; fi
  fi
  export npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
  export npm_config_progress=false npm_config_yes=true
  # npm keeps a lockfile inside node_modules; without this, the address of the
  # mirror that happened to serve a package would be part of the slug.
  export npm_config_omit_lockfile_registry_resolved=true
  # Where there is none the record has what npm writes, whatever .npmrc says.
  if [[ -z $lockfile ]]; then export npm_config_package_lock=true npm_config_save=true; fi
  # What native modules compile must not name a folder or a moment.
  export SOURCE_DATE_EPOCH=315532800
  export PATH=$PATH:$build_dir/node_modules/.bin
}

# Native modules need Node's headers, which stay outside the slug: those of its tree,
# else a copy.
set_headers() {
  if [[ -f $runtime_path/include/node/node.h ]]; then
    export npm_config_nodedir=$runtime_path
  else
    export npm_config_devdir=$cache_dir/node-gyp
  fi
}

# Where this buildpack keeps what it adds; a file of that name would end it later.
check_directory() {
  if [[ -e .heroku && ! -d .heroku ]]; then
    fail "The directory .heroku could not be created" \
      "" "The app has a file of that name, and this buildpack installs into it." \
      "" "Remove the file from git:  git rm --cached .heroku"
  fi
}

write_profile() {
  mkdir -p .profile.d
  cp "$buildpack_dir/profile/nodejs.sh" .profile.d/nodejs.sh
  if [[ -d .heroku/node/lib/machine ]]; then
    cat "$buildpack_dir/profile/libraries.sh" >>.profile.d/nodejs.sh
  fi
  write_web_concurrency
}

write_export() {
  # PATH is expanded by the shell that sources the file.
  # shellcheck disable=SC2016
  {
    printf 'export PATH=%q:"$PATH":%q\n' "$build_dir/.heroku/node/bin" "$build_dir/node_modules/.bin"
    if [[ -n ${LD_LIBRARY_PATH:-} ]]; then printf 'export LD_LIBRARY_PATH=%q\n' "$LD_LIBRARY_PATH"; fi
  } >"$buildpack_dir/export"
}

# Leaves what bin/report prints.
write_report() {
  {
    printf 'runtimes:\n  node: "%s"\n' "$node_version"
    printf '  %s: "%s"\n' "${manager/berry/yarn}" "$manager_version"
    if [[ -z $lockfile && $has_dependencies == yes ]]; then
      tool node packages "$manager" "$own_lock" --with-lock
    else
      tool node packages "$manager" "$lockfile"
    fi
  } >"$buildpack_dir/report.yml"
}
