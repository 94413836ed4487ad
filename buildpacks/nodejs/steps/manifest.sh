# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What package.json and the lockfiles ask for, and the Node.js that the app gets.

# Sets manager, manager_title, manager_wanted, manager_by, lockfile, yarn_path,
# node_wanted, node_by, has_dependencies, has_start, scripts, cache_directories.
read_plan() {
  ask node plan
}

has_script() {
  [[ $scripts == *" $1 "* ]]
}

# npm takes a tenth of a second to say its version, and its package.json none.
set_npm_version() {
  local manifest
  manifest=$(dirname "$(readlink -f "$npm_cli")")/../package.json
  npm_version=$(sed -n 's/^  "version": "\([^"]*\)",\{0,1\}$/\1/p' "$manifest" 2>/dev/null || true)
  if [[ -z $npm_version ]]; then npm_version=$("$npm_cli" --version); fi
}

# Sets node_version and runtime_path, where its tree is; told to plan, it only chooses.
choose_node() {
  local what=$1 flags=() line
  if [[ $what == plan ]]; then flags=(--plan); fi
  if [[ $(config_var "$env_dir" NODEJS_ALLOW_WIDE_RANGE) == true ]]; then flags+=(--wide); fi
  ask node choose "${flags[@]}"
  while IFS= read -r line; do detail "$line"; done <<<"$node_details"
  if [[ -n ${runtime_note:-} ]]; then detail "$runtime_note"; fi
}

# Has Node.js in the slug, with its npm and without its headers; sets node_exe, npm_cli and
# npm_version.
install_node() {
  local into=$build_dir/.heroku/node
  rm -rf "$into"
  local part
  # What lies between them stays the app's own: other packages may be installed there.
  for part in bin lib/node_modules/npm lib/machine; do
    if [[ -d $runtime_path/$part ]]; then
      tool runtime show node "$node_version" "$into/$part" --part "$part"
    fi
  done
  export PATH=$into/bin:$PATH
  # A Node.js of the build machine brings the libraries that it needs there.
  if [[ -d $into/lib/machine ]]; then export LD_LIBRARY_PATH=$into/lib/machine; fi
  node_exe=$into/bin/node npm_cli=$into/bin/npm
  set_npm_version
  detail "Using Node.js $node_version and npm $npm_version, from $runtime_origin"
}
