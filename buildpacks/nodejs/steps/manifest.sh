# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What package.json and the lockfiles ask for, and whether it can be had here.

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

# Sets the facts of package.json; manifest.js says what each line means.
read_manifest() {
  local facts name value status=0
  # The script reads no more than JSON: nothing of the app runs here.
  facts=$("$node_exe" "$steps_dir/manifest.js" package.json "$npm_cli") || status=$?
  if ((status != 0 && status != 3)); then
    fail "Node.js and npm do not work on this machine." \
      "" "Found: node at $node_exe, npm at $npm_cli; the output above is Node's." \
      "" "Install both anew where builds run."
  fi
  if ((status == 3)); then
    fail "Unable to parse your package.json." \
      "" "$facts" \
      "" "Correct the file; this command shows the place:" \
      "node -p 'require(\"./package.json\").name'"
  fi
  has_dependencies=no package_manager='' scripts=' '
  node_wanted='' node_match=any node_version='' npm_version=''
  while read -r name value; do
    case $name in
      node) node_version=$value ;;
      npm) npm_version=$value ;;
      wanted) node_wanted=$value ;;
      match) node_match=$value ;;
      manager) package_manager=$value ;;
      dependencies) has_dependencies=yes ;;
      script) scripts+="$value " ;;
    esac
  done <<<"$facts"
}

has_script() {
  [[ $scripts == *" $1 "* ]]
}

# Sets lockfile: package-lock.json, npm-shrinkwrap.json or empty.
check_package_manager() {
  local file others=()
  lockfile=''
  # npm prefers the shrinkwrap where both exist.
  for file in npm-shrinkwrap.json package-lock.json; do
    if [[ -f $file && -z $lockfile ]]; then lockfile=$file; fi
  done
  for file in yarn.lock pnpm-lock.yaml bun.lock bun.lockb; do
    if [[ -f $file ]]; then others+=("$file"); fi
  done
  if [[ -n $lockfile && ${#others[@]} -gt 0 ]]; then
    fail "Error: Multiple lockfiles found." \
      "" "Found at the root: $lockfile ${others[*]}" \
      "" "This version of the buildpack builds npm with package-lock.json." \
      "To use it, remove the others:  git rm ${others[*]}"
  fi
  if ((${#others[@]} > 0)); then
    fail "Error: The app's package manager is not supported yet." \
      "" "This version of the buildpack builds npm with package-lock.json." \
      "Found at the root: ${others[*]}" \
      "" "To build with npm, write its lockfile and remove the other:" \
      "npm install --package-lock-only && git rm ${others[*]} && git add package-lock.json"
  fi
  case $package_manager in
    '' | npm | npm@*) ;;
    *) fail "Error: The app's package manager is not supported yet." \
      "" "This version of the buildpack builds npm with package-lock.json." \
      "Found in package.json: \"packageManager\": \"$package_manager\"" \
      "" "Remove the field, or name npm there." ;;
  esac
}

check_node_version() {
  detail "engines.node (package.json):  ${node_wanted:-unspecified}"
  case $node_match in
    invalid) fail "Invalid Node.js version requirement." \
      "" "engines.node in package.json is not a version range: $node_wanted" \
      "" "Write a range such as 20.x or >=18." ;;
    other-major) fail "The requested Node.js version isn't available." \
      "" "engines.node in package.json asks for $node_wanted;" \
      "this machine has Node.js $node_version." \
      "" "Widen the range in package.json, or install the version where builds run." ;;
    other-patch) problem "Warning: Node.js $node_wanted is not on this stack; using $node_version instead." ;;
  esac
  detail "Using this machine's Node.js $node_version ($node_exe) and npm $npm_version"
}
