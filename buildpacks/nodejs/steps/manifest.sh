# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What package.json and the lockfiles ask for, and the Node.js that this
# machine has.

# Sets node_exe and npm_cli, the host's.
find_node() {
  node_exe=$(command -v node || true)
  npm_cli=$(command -v npm || true)
  if [[ -z $node_exe || -z $npm_cli ]]; then
    fail "Node.js and npm were not found on this machine." \
      "" "Found: node at ${node_exe:-no path}, npm at ${npm_cli:-no path}." \
      "" "Install both where builds run:" \
      "apt-get install nodejs npm"
  fi
}

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

# Sets node_version and npm_version.
choose_node() {
  local wide=() line
  if [[ $(config_var "$env_dir" NODEJS_ALLOW_WIDE_RANGE) == true ]]; then wide=(--wide); fi
  node_version=$("$node_exe" --version)
  set_npm_version
  ask node choose "${wide[@]}" "${node_version#v}=$node_exe"
  while IFS= read -r line; do detail "$line"; done <<<"$node_details"
  detail "Using this machine's Node.js $node_version ($node_exe) and npm $npm_version"
}
