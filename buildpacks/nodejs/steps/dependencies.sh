# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# From package.json and its lockfile to node_modules, built and pruned.

# Only npm's downloads are kept; node_modules is made anew from the lockfile.
restore_cache() {
  step "Restoring cache"
  if [[ $NODE_MODULES_CACHE == false ]]; then
    rm -rf "$npm_config_cache"
    detail "Caching is off, since NODE_MODULES_CACHE is false"
  elif [[ $cache_found == yes ]]; then
    detail "- npm cache"
  else
    detail "Nothing cached yet"
  fi
}

install_dependencies() {
  local command=(npm ci)
  step "Installing dependencies"
  if [[ -z $lockfile ]]; then
    # A lockfile written here would look like one that was committed.
    command=(npm install --no-package-lock)
    if [[ $has_dependencies == yes ]]; then
      warn "package-lock.json is missing, so builds are not repeatable." \
        "Each build takes the newest versions that package.json allows." \
        "Write the file and commit it:  npm install --package-lock-only"
    fi
  elif [[ -d node_modules ]]; then
    warn "node_modules is in the repository; it is replaced by what" \
      "$lockfile names. Remove it from git and add it to .gitignore."
  fi
  # Build scripts are what devDependencies are for; they are pruned afterwards.
  if [[ $keep_dev == yes ]] || has_script build || has_script heroku-postbuild; then
    command+=(--include=dev)
  else
    command+=(--omit=dev)
  fi
  detail "Installing node modules (${command[*]})"
  run_npm fail_installation "${command[@]}"
}

# heroku-postbuild takes the place of build, as on Heroku.
run_build_script() {
  if has_script heroku-postbuild; then
    run_script Build heroku-postbuild
  else
    run_script Build build
  fi
}

# Runs a script of package.json under a step, if there is one of that name.
run_script() {
  has_script "$2" || return 0
  step "$1"
  detail "Running $2"
  local flags=()
  # Split at blanks on purpose: the config var holds several flags.
  if [[ $1 == Build ]]; then read -ra flags <<<"${NODE_BUILD_FLAGS:-}"; fi
  failed_script=$2
  run_npm fail_script npm run "$2" --if-present ${flags[0]:+-- "${flags[@]}"}
}

prune_dependencies() {
  if ! has_script build && ! has_script heroku-postbuild; then return 0; fi
  step "Pruning devDependencies"
  if [[ $keep_dev == yes ]]; then
    detail "Skipped, since NODE_ENV is not production or NPM_CONFIG_PRODUCTION is false"
    return 0
  fi
  local command=(npm prune --omit=dev)
  if [[ -z $lockfile ]]; then command+=(--no-package-lock); fi
  run_npm fail_installation "${command[@]}"
}

# Runs a command, indented; if it fails, hands its log to the function $1.
run_npm() {
  local explain=$1 log status=0
  shift
  log=$(mktemp)
  "$@" 2>&1 </dev/null | tee "$log" | drop_npm_noise | indent || status=$?
  if ((status != 0)); then
    step "Build failed"
    "$explain" "$log"
  fi
  rm -f "$log"
}

# Drops npm's page of usage, which buries the error above it, and the path of
# a log that nobody can open after the build.
drop_npm_noise() {
  sed --unbuffered \
    -e '/^npm error Clean install a project$/,/^npm error Run "npm help ci" for more info$/d' \
    -e '/^npm error A complete log of this run can be found in: /d'
}

fail_script() {
  rm -f "$1"
  fail "A build script exited with a non-zero exit code." \
    "" "The script \"$failed_script\" of package.json failed; the output above is its own." \
    "" "Run it on your machine in a fresh clone:" \
    "npm ci && NODE_ENV=production npm run $failed_script"
}

# Says what npm's own words mean for the person who pushed.
fail_installation() {
  local log=$1 headline advice
  if grep -qE 'can only install packages when your package.json|can only install with an existing package-lock' "$log"; then
    headline="npm lockfile is not in sync"
    advice=("$lockfile does not fit package.json; the output above names the packages." "" "Write it anew and commit it:" "npm install && git add $lockfile && git commit")
  elif grep -qE 'code (ETARGET|E404)' "$log"; then
    headline="Unable to install dependencies using npm"
    advice=("The registry has no such package or version; the output above names it." "" "Check the spelling and the version in package.json, then: npm install")
  elif grep -q 'code ERESOLVE' "$log"; then
    headline="Conflict detected in requested npm dependencies"
    advice=("Two packages want versions of a third that exclude each other;" "the output above names them." "" "Change one of the versions in package.json, then: npm install")
  elif grep -qE 'code (ECONNRESET|ECONNREFUSED|ENOTFOUND|ETIMEDOUT|EAI_AGAIN)' "$log"; then
    headline="A network connection was lost while npm installed dependencies"
    advice=("The registry could not be reached. Push again, and if that does not" "help, check the network of the build machine.")
  else
    headline="Unable to install dependencies using npm"
    advice=("The output above is npm's. Try the same on your machine, in a fresh" "clone: npm ci")
  fi
  rm -f "$log"
  fail "$headline" "" "${advice[@]}"
}

# Tools keep logs and caches where the slug would pick them up; both carry times.
remove_leftovers() {
  rm -rf .npm/_logs node_modules/.cache "$npm_config_cache/_logs"
  if [[ -d .npm ]]; then rmdir --ignore-fail-on-non-empty .npm; fi
}
