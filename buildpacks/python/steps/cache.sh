# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# The installed environment, kept from one build to the next under all that it
# depends on. It is kept before hooks and collectstatic run, so that a cold build
# and a warm one go on from the same bytes.

# Raise it when this buildpack installs something else for the same input.
layout_version=4

# Sets cache_key, one "name value" a line; empty when nothing may be cached.
compute_cache_key() {
  local indexes
  ask python fingerprint "$manager"
  if [[ -z $fingerprint ]]; then
    cache_key=''
    return
  fi
  indexes=$({
    config_var "$env_dir" PIP_EXTRA_INDEX_URL
    printf '\n%s\n%s' "${PIP_INDEX_URL:-}" "${PIP_FIND_LINKS:-}"
  } | sha256sum | cut -d ' ' -f 1)
  cache_key="stack ${STACK:-unknown}
python $python_version
manager $manager
requirements $fingerprint
index $indexes
installer $installer uv-$uv_version pip-$pip_version
runtime $(uname -m) ${runtime_path##*/}
layout $layout_version"
}

snapshot_key() {
  printf 'python:%s' "$(sha256sum <<<"$cache_key" | cut -d ' ' -f 1)"
}

# Restores the environment and sets restored to yes, or says why not.
restore_cache() {
  local noted=$cache_dir/python/key reasons=''
  restored=no
  if [[ -n $cache_key ]] && restore_snapshot "$(snapshot_key)" "$prefix"; then
    step "Restoring cache"
    step "Using cached install of Python $python_version"
    restored=yes
  elif [[ -f $noted ]]; then
    if [[ -z $cache_key ]]; then
      reasons=$uncacheable_reason
    else
      reasons=$(changed_since_key "$noted")
    fi
    if [[ -n $reasons ]]; then
      step "Discarding cache since:"
      detail "- ${reasons//$'\n'/$'\n'       - }"
    fi
  fi
}

# Prints one line for each part of the key that differs from the file.
changed_since_key() {
  local name value cached_value
  while read -r name value; do
    cached_value=$(sed -n "s/^$name //p" "$1")
    [[ $cached_value == "$value" ]] && continue
    case $name in
      stack) echo "The stack changed from $cached_value to $value" ;;
      python) echo "The Python version changed from $cached_value to $value" ;;
      manager) echo "The package manager changed from ${cached_value:-pip} to $value" ;;
      requirements) echo "The contents of $lockfile changed" ;;
      index) echo "PIP_EXTRA_INDEX_URL changed" ;;
      installer) echo "The installer changed from ${cached_value%% *} to ${value%% *}" ;;
      runtime) echo "Python comes from elsewhere: $runtime_origin" ;;
      layout) echo "The buildpack changed" ;;
    esac
  done <<<"$cache_key"
}

save_cache() {
  if [[ $restored == no && -n $cache_key ]]; then
    step "Saving cache"
    keep_snapshot "$(snapshot_key)" "$prefix"
  elif [[ $restored == no ]]; then
    step "Not saving cache, since $uncacheable_reason"
  fi
  rm -rf "$cache_dir/python" "$cache_dir/python-tools"
  mkdir -p "$cache_dir/python"
  # The next build without a version stays on this line.
  echo "$python_version" >"$cache_dir/python/version"
  if [[ -n $cache_key ]]; then printf '%s\n' "$cache_key" >"$cache_dir/python/key"; fi
}
