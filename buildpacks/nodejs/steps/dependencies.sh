# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# From package.json and its lockfile to node_modules, built and pruned.

# Sets installed: production where nothing has to be built with devDependencies.
choose_dependencies() {
  installed=production
  if keeps_dev || has_script build || has_script heroku-postbuild; then installed=all; fi
}

install_dependencies() {
  local command=()
  step "Installing dependencies"
  if [[ $restored == yes ]]; then
    detail "Nothing to install: the modules are those of the last build"
    return 0
  fi
  if [[ -d node_modules && $manager == npm && -z $lockfile ]]; then
    detail "node_modules is in the repository: building its native modules (npm rebuild)"
    run_manager install npm rebuild
    return 0
  fi
  if [[ -d node_modules ]]; then
    warn "node_modules is in the repository; it is replaced by what" \
      "${lockfile:-package.json} names. Remove it from git and add it to .gitignore."
  fi
  find_recorded_lock
  put_lock
  resolve_first
  set_install_command "$installed"
  detail "Installing node modules (${command[*]})"
  run_manager install "${command[@]}"
  take_lock
}

# Two of the managers write no lockfile where devDependencies are left out.
resolve_first() {
  [[ -z $lockfile && $installed == production ]] || return 0
  case $manager in
    # Yarn rewrites package.json as it likes: here, too, where a slug is made again.
    berry) run_manager install yarn install --mode=update-lockfile ;;
    bun) if ! is_locked; then run_manager install bun install --lockfile-only; fi ;;
  esac
}

# Without a lockfile of the app's, the package manager writes one. It goes into the
# slug's record and not into the slug, where it would look like a committed one.
own_lock=/tmp/written-lockfile

# Whether there is a lockfile to install by, the app's or our own.
is_locked() {
  [[ -n $lockfile || -f $own_lock ]]
}

# Where a slug is made again, its record has what was written then.
find_recorded_lock() {
  [[ -z $lockfile ]] || return 0
  if recorded lock >"$own_lock"; then
    detail "Using the versions that the slug's record names"
  else
    rm -f "$own_lock"
  fi
}

set_lock_name() {
  case $manager in
    npm) lock_name=package-lock.json ;;
    yarn | berry) lock_name=yarn.lock ;;
    pnpm) lock_name=pnpm-lock.yaml ;;
    bun) lock_name=bun.lock ;;
  esac
}

put_lock() {
  set_lock_name
  if [[ -z $lockfile && -f $own_lock ]]; then cp "$own_lock" "$lock_name"; fi
}

# Yarn 2 and later run nothing without one, so there it stays.
take_lock() {
  [[ -z $lockfile && -f $lock_name ]] || return 0
  cp "$lock_name" "$own_lock"
  if [[ $manager != berry ]]; then rm "$lock_name"; fi
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
  local flags=() command=()
  # Split at blanks on purpose: the config var holds several flags.
  if [[ $1 == Build ]]; then read -ra flags <<<"${NODE_BUILD_FLAGS:-}"; fi
  case $manager in
    npm) command=(npm run "$2" --if-present ${flags[0]:+-- "${flags[@]}"}) ;;
    yarn) command=(yarn --silent run "$2" "${flags[@]}") ;;
    berry) command=(yarn run "$2" "${flags[@]}") ;;
    *) command=("$manager" run "$2" "${flags[@]}") ;;
  esac
  run_manager "$2" "${command[@]}"
}

prune_dependencies() {
  [[ $installed == all ]] || return 0
  step "Pruning devDependencies"
  if keeps_dev; then
    detail "Skipped, since NODE_ENV is not production or a config var keeps them"
    return 0
  fi
  if restore_pruned; then
    detail "The same as in the last build"
    return 0
  fi
  local command=()
  list_modules >/tmp/modules-before
  set_prune_command
  # bun and Yarn's focus leave what is there; only a new tree has none too many.
  if [[ $manager == bun ]]; then module_paths | tr '\n' '\0' | xargs -0 -r rm -rf; fi
  put_lock
  run_manager install "${command[@]}"
  take_lock
  remove_unused_archives
  save_pruned /tmp/modules-before
}

# With Plug'n'Play the packages' archives are what is installed, and Yarn leaves
# those that nothing loads any more.
remove_unused_archives() {
  local archive
  [[ $manager == berry && -f .pnp.cjs ]] || return 0
  for archive in .yarn/cache/*.zip; do
    if [[ -f $archive ]] && ! grep -qsF "/${archive##*/}/" .pnp.cjs .pnp.data.json; then
      rm "$archive"
    fi
  done
}

# Runs a command, indented; if it fails, has its log explained. $1 is install or
# the script that it runs.
run_manager() {
  local what=$1 log status=0 arguments=()
  shift
  log=$(mktemp)
  # Installations ask nothing then. Builds take it for more, such as to fail at warnings.
  if [[ $what == install ]]; then set -- env CI=true "$@"; fi
  "$@" 2>&1 </dev/null | tee "$log" | drop_noise | indent || status=$?
  if ((status != 0)); then
    step "Build failed"
    if [[ $what != install ]]; then arguments=(--script "$what"); fi
    tool node explain "$manager" "$log" --lockfile "$lockfile" "${arguments[@]}" || true
    exit 1
  fi
  rm -f "$log"
}

# Drops npm's page of usage, which buries the error above it, and the paths of
# logs that nobody can open after the build. Yarn takes a proxy for no network.
drop_noise() {
  sed --unbuffered \
    -e '/^npm error Clean install a project$/,/^npm error Run "npm help ci" for more info$/d' \
    -e '/^npm error A complete log of this run can be found in: /d' \
    -e '/^npm error For a full report see:$/d' -e '/^npm error .*eresolve-report[.]txt$/d' \
    -e "/^warning You don't appear to have an internet connection/d"
}

# Tools keep logs, caches and states where the slug would pick them up; they
# carry times and paths.
remove_leftovers() {
  rm -rf .npm/_logs node_modules/.cache node_modules/.yarn-integrity node_modules/.yarn-state.yml
  rm -f .yarn/install-state.gz node_modules/.modules.yaml node_modules/.pnpm-workspace-state*.json
  # Next.js: what only its next build reads. Data that pages have fetched stays.
  rm -rf .next/cache/webpack .next/cache/swc .next/trace .config/nextjs-nodejs
  local folder
  for folder in .npm .yarn/bin .yarn .config; do
    if [[ -d $folder ]]; then rmdir --ignore-fail-on-non-empty "$folder"; fi
  done
  if [[ $has_start == no && ! -f server.js && ! -f Procfile ]]; then
    warn "This app may not specify any way to start a node process" \
      "There is no Procfile, no script \"start\" in package.json and no server.js." \
      "Add one of them: npm start is what the web process runs."
  fi
}
