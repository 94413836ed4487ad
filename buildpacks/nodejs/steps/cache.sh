# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# The installed modules, kept from one build to the next under all that they
# depend on, and what pruning changes in them. They are kept before any script of
# the app runs, so that a cold build and a warm one go on from the same bytes.

# Raise it when this buildpack installs something else for the same input.
layout_version=3

# Sets cache_key, one "name value" a line; empty when nothing may be kept.
compute_cache_key() {
  cache_key=''
  if [[ $NODE_MODULES_CACHE == false ]]; then
    uncacheable_reason="NODE_MODULES_CACHE is false"
    return
  fi
  ask node fingerprint "$manager" "$lockfile"
  if [[ -n $fingerprint ]] && has_script heroku-prebuild; then
    fingerprint='' uncacheable_reason='the script "heroku-prebuild" runs before the installation'
  fi
  [[ -n $fingerprint ]] || return 0
  # Install scripts of packages see the config vars.
  local config
  config=$(for file in "$env_dir"/*; do
    if [[ -f $file ]]; then printf '%s=%s\0' "${file##*/}" "$(<"$file")"; fi
  done | sha256sum | cut -d ' ' -f 1)
  cache_key="stack ${STACK:-unknown}
node $(uname -m) $node_version ${runtime_path##*/}
manager $manager $manager_version
modules $fingerprint
config $config
kept $installed
layout $layout_version"
}

snapshot_key() {
  printf 'node:%s:%s' "$1" "$(sha256sum <<<"$cache_key" | cut -d ' ' -f 1)"
}

# Restores the modules and sets restored to yes, or says why not.
restore_cache() {
  local noted=$cache_dir/node/key reasons=''
  step "Restoring cache"
  restored=no
  if [[ -z $cache_key ]]; then
    detail "Nothing is kept, since $uncacheable_reason"
  elif restore_modules; then
    detail "- node_modules, of the same $lockfile"
    restored=yes
  elif [[ -f $noted ]]; then
    reasons=$(changed_since_key "$noted")
    detail "Nothing that fits:"
    detail "- ${reasons//$'\n'/$'\n'       - }"
  else
    detail "Nothing cached yet"
  fi
  restore_directories
}

# Restores what save_modules has kept. The app's own node_modules may come back as a
# mount, which costs nothing and cannot be removed itself: so it is copied where
# scripts of the app are to run, of which one might.
restore_modules() {
  local path as=()
  restore_snapshot "$(snapshot_key paths)" /tmp/modules --copy || return 1
  if runs_scripts; then as=(--copy); fi
  if grep -qx ./node_modules /tmp/modules/paths; then
    rm -rf node_modules
    restore_snapshot "$(snapshot_key modules)" node_modules "${as[@]}" || return 1
  fi
  while IFS= read -r path; do
    [[ $path != ./node_modules ]] || continue
    rm -rf "$path"
    mkdir -p "$(dirname "$path")"
    mv "/tmp/modules/files/$path" "$path"
  done </tmp/modules/paths
  rm -rf /tmp/modules
}

runs_scripts() {
  local name
  for name in build heroku-postbuild heroku-cleanup; do
    if has_script "$name"; then return 0; fi
  done
  return 1
}

# Keeps the app's own node_modules by itself, and with the list of all paths what
# is elsewhere, since of large trees each copy counts.
save_modules() {
  local path others=()
  rm -rf /tmp/modules
  mkdir -p /tmp/modules/files
  module_paths >/tmp/modules/paths
  while IFS= read -r path; do
    if [[ $path == ./node_modules ]]; then
      keep_snapshot "$(snapshot_key modules)" "$path"
    else
      others+=("$path")
    fi
  done </tmp/modules/paths
  if ((${#others[@]} > 0)); then
    printf '%s\n' "${others[@]}" | tar -cf - --files-from - | tar -xf - -C /tmp/modules/files
  fi
  keep_snapshot "$(snapshot_key paths)" /tmp/modules
  rm -rf /tmp/modules
}

# Prints one line for each part of the key that differs from the file.
changed_since_key() {
  local name value cached_value
  while read -r name value; do
    cached_value=$(sed -n "s/^$name //p" "$1")
    [[ $cached_value == "$value" ]] && continue
    case $name in
      stack) echo "The stack changed from $cached_value to $value" ;;
      node)
        local before=${cached_value#* } now=${value#* }
        echo "Node.js changed from ${before%% *} to ${now%% *}, from $runtime_origin"
        ;;
      manager) echo "The package manager changed from $cached_value to $value" ;;
      modules) echo "What $lockfile or package.json installs changed" ;;
      config) echo "The config vars changed" ;;
      kept) echo "Other groups of dependencies are needed" ;;
      layout) echo "The buildpack changed" ;;
    esac
  done <<<"$cache_key"
}

# The node_modules of the app and of its workspaces, and what Yarn has instead.
module_paths() {
  find . -name node_modules -prune -type d -not -path './.heroku/*' -print
  local name
  for name in .pnp.cjs .pnp.data.json .pnp.loader.mjs .yarn/cache .yarn/unplugged .yarn/install-state.gz; do
    if [[ -e $name ]]; then echo "./$name"; fi
  done
}

save_cache() {
  step "Caching build"
  rm -rf "$cache_dir/node"
  if [[ -z $cache_key ]]; then
    detail "Not kept, since $uncacheable_reason"
    return 0
  fi
  mkdir -p "$cache_dir/node"
  printf '%s\n' "$cache_key" >"$cache_dir/node/key"
  if [[ $restored == yes ]]; then
    detail "- node_modules (unchanged)"
    return 0
  fi
  detail "- node_modules"
  save_modules
}

# What the app itself wants kept: cacheDirectories of package.json.
restore_directories() {
  local name
  while IFS= read -r name; do
    if [[ -n $name && $name != node_modules && -d $cache_dir/node-directories/$name && ! -e $name ]]; then
      mkdir -p "$(dirname "$name")"
      cp -a "$cache_dir/node-directories/$name" "$name"
      detail "- $name"
    fi
  done <<<"$cache_directories"
}

save_directories() {
  local name
  rm -rf "$cache_dir/node-directories"
  while IFS= read -r name; do
    if [[ -n $name && $name != node_modules && -d $name ]]; then
      mkdir -p "$(dirname "$cache_dir/node-directories/$name")"
      cp -a "$name" "$cache_dir/node-directories/$name"
      detail "- $name"
    fi
  done <<<"$cache_directories"
}

# Prints every path of the modules with what tells whether it has changed.
list_modules() {
  module_paths | while IFS= read -r path; do
    find "$path" \( -type d -printf '%p\t/\n' -o -printf '%p\t%T@ %s %l\n' \)
  done | LC_ALL=C sort
}

# Keeps what pruning has removed and changed since the list $1, so that the next
# build needs no package manager for it.
save_pruned() {
  local before=$1 pruned=/tmp/pruned
  [[ -n $cache_key ]] || return 0
  rm -rf "$pruned"
  mkdir -p "$pruned/changed"
  list_modules >/tmp/modules-after
  LC_ALL=C comm -23 <(cut -f 1 "$before" | LC_ALL=C sort) <(cut -f 1 /tmp/modules-after | LC_ALL=C sort) >"$pruned/removed"
  LC_ALL=C comm -13 "$before" /tmp/modules-after | grep -v $'\t/$' | cut -f 1 >/tmp/modules-changed || true
  tar -cf - --files-from /tmp/modules-changed | tar -xf - -C "$pruned/changed"
  keep_snapshot "$(snapshot_key pruned)" "$pruned"
}

# Does to the modules what pruning did in an earlier build. Fails where there was none.
restore_pruned() {
  local pruned=/tmp/pruned
  [[ $restored == yes ]] && restore_snapshot "$(snapshot_key pruned)" "$pruned" || return 1
  tr '\n' '\0' <"$pruned/removed" | xargs -0 -r rm -rf
  (cd "$pruned/changed" && tar -cf - .) | tar -xf -
}
