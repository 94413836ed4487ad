# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# The package managers: how each is had, and what it is told.

# Sets manager_version, and makes the manager's program the first in PATH. All
# but npm come from the registry, once for each app.
get_manager() {
  local package range folder before
  # Where a slug is made again, by the same manager.
  if before=$(recorded runtime "${manager/berry/yarn}") && [[ $manager != npm || -n $manager_wanted ]]; then
    manager_wanted=$before
  fi
  case $manager in
    npm)
      get_npm
      return
      ;;
    yarn) package=yarn range=${manager_wanted:-1} ;;
    berry) package=@yarnpkg/cli-dist range=${manager_wanted:-4} ;;
    pnpm) package=pnpm range=${manager_wanted:-$(default_pnpm)} ;;
    bun) package=bun range=${manager_wanted:-1} ;;
  esac
  if [[ -n $yarn_path && -f $yarn_path ]]; then
    mkdir -p /tmp/manager
    printf '#!/bin/sh\nexec node %q "$@"\n' "$build_dir/$yarn_path" >/tmp/manager/yarn
    chmod +x /tmp/manager/yarn
    export PATH=/tmp/manager:$PATH
  else
    folder=/tmp/node-tools/$manager
    install_tool "$package@$range" "$folder"
    export PATH=$folder/node_modules/.bin:$PATH
  fi
  manager_version=$(manager_program --version)
  detail "${manager_by:-$lockfile} asks for $manager_title; using $manager_version"
}

# npm comes with Node.js; another version is had where one is asked for.
get_npm() {
  manager_version=$npm_version
  [[ -n $manager_wanted ]] || return 0
  local folder=/tmp/node-tools/npm
  install_tool "npm@$manager_wanted" "$folder"
  export PATH=$folder/node_modules/.bin:$PATH
  manager_version=$(npm --version)
  detail "$manager_by asks for npm $manager_wanted; using $manager_version"
}

# The newest pnpm that runs on the chosen Node.js and reads the lockfile.
default_pnpm() {
  if grep -qsE "^lockfileVersion: '?5" pnpm-lock.yaml; then
    echo 7
  elif grep -qsE "^lockfileVersion: '?6" pnpm-lock.yaml; then
    echo 8
  else
    echo 10
  fi
}

# Installs a package of the registry into a folder, or takes what an earlier
# build has kept of it. A range stays at what it gave first.
install_tool() {
  local package=$1 folder=$2 log status=0 key
  key=node-tool:$(sha256sum <<<"$package" | cut -d ' ' -f 1):$(uname -m):$node_version
  restore_snapshot "$key" "$folder" && return 0
  mkdir -p "$folder"
  log=$(mktemp)
  (
    cd "$folder"
    NODE_ENV='' NODE_OPTIONS='' "$npm_cli" install --no-save --no-package-lock --loglevel=error "$package"
  ) >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    indent <"$log"
    rm -rf "$folder"
    fail "Unable to install $package." \
      "" "$manager_by asks for it; the output above is npm's." \
      "" "Name a version that exists in ${manager_by:-packageManager} of package.json."
  fi
  rm -f "$log"
  keep_snapshot "$key" "$folder"
}

# Puts the manager into the slug, where a Procfile may start it: `yarn start`.
ship_manager() {
  local program=${manager/berry/yarn} from=/tmp/node-tools/$manager into
  into=.heroku/$program
  rm -rf "$into"
  if [[ -n $yarn_path && -f $yarn_path ]]; then
    mkdir -p "$into/bin"
    # HOME is expanded when the app runs.
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nexec node "$HOME"/%q "$@"\n' "$yarn_path" >"$into/bin/yarn"
    chmod +x "$into/bin/yarn"
  elif [[ $manager == bun ]]; then
    # The package has the same large file twice.
    mkdir -p "$into/bin"
    cp -L "$from/node_modules/.bin/bun" "$into/bin/bun"
    ln -s bun "$into/bin/bunx"
  elif [[ -d $from ]]; then
    mkdir -p "$into/bin"
    cp -a "$from/node_modules" "$into/node_modules"
    rm -f "$into/node_modules/.package-lock.json"
    ln -s "../node_modules/.bin/$program" "$into/bin/$program"
  fi
}

# The manager's own program, where a config var cannot change what it runs.
manager_program() {
  case $manager in
    npm) npm "$@" ;;
    yarn | berry) yarn "$@" ;;
    pnpm) pnpm "$@" ;;
    bun) bun "$@" ;;
  esac
}

# Fills the array command with an installation; $1 is all or production.
set_install_command() {
  local all=$1
  case $manager in
    npm)
      if [[ -n $lockfile && ${USE_NPM_INSTALL:-} != true ]]; then
        command=(npm ci)
      else
        command=(npm install)
        if [[ -n $lockfile ]]; then command=(npm install --no-save); fi
      fi
      if [[ $all == all ]]; then command+=(--include=dev); else command+=(--omit=dev); fi
      ;;
    yarn)
      command=(yarn install --ignore-engines --prefer-offline --non-interactive)
      if is_locked; then command+=(--frozen-lockfile); fi
      if [[ $all == all ]]; then command+=(--production=false); else command+=(--production=true); fi
      ;;
    berry)
      command=(yarn install)
      if is_locked; then command+=(--immutable); else command+=(--no-immutable); fi
      if [[ $all != all ]]; then command=(yarn workspaces focus --all --production); fi
      ;;
    pnpm)
      command=(pnpm install)
      if is_locked; then command+=(--frozen-lockfile); else command+=(--no-frozen-lockfile); fi
      if [[ $all == all ]]; then command+=(--prod=false); else command+=(--prod); fi
      ;;
    bun)
      command=(bun install)
      if is_locked; then command+=(--frozen-lockfile); fi
      if [[ $all != all ]]; then command+=(--production); fi
      ;;
  esac
}

# Fills the array command with what removes devDependencies.
set_prune_command() {
  case $manager in
    npm)
      command=(npm prune --omit=dev)
      if ! is_locked; then command+=(--no-package-lock); fi
      ;;
    berry) command=(yarn workspaces focus --all --production) ;;
    pnpm | yarn | bun)
      set_install_command production
      command+=(--ignore-scripts)
      ;;
  esac
}

# Whether the config vars keep devDependencies, as on Heroku.
keeps_dev() {
  [[ $NODE_ENV != production ]] && return 0
  case $manager in
    npm) [[ ${NPM_CONFIG_PRODUCTION:-} == false ]] ;;
    yarn) [[ ${YARN_PRODUCTION:-} == false ]] ;;
    berry) [[ ${YARN2_SKIP_PRUNING:-} == true ]] ;;
    pnpm) [[ ${PNPM_SKIP_PRUNING:-} == true ]] ;;
    bun) return 1 ;;
  esac
}
