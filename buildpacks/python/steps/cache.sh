# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# The installed environment, kept from one build to the next. It is copied
# before hooks and collectstatic run, so that a cold build and a warm one
# go on from the same bytes.

# Raise it when this buildpack installs something else for the same input.
layout_version=1

# Sets cache_key, one "name value" a line; empty when nothing may be cached.
compute_cache_key() {
  local requirements extra_index
  requirements=$("$python_exe" -I -B "$steps_dir/requirements_digest.py" requirements.txt)
  extra_index=$(config_var "$env_dir" PIP_EXTRA_INDEX_URL | sha256sum | cut -d ' ' -f 1)
  if [[ $requirements == uncacheable:* ]]; then
    cache_key=''
    uncacheable_reason=${requirements#uncacheable: }
    return
  fi
  cache_key="stack ${STACK:-unknown}
python $python_version
requirements $requirements
index $extra_index
host $(uname -m) $python_exe $pip_version $python_build
layout $layout_version"
}

# Restores the environment and sets restored to yes, or says why not.
restore_cache() {
  local cached=$cache_dir/python reasons
  restored=no
  [[ -f $cached/key ]] || return 0
  if [[ -z $cache_key ]]; then
    reasons="$uncacheable_reason"
  else
    reasons=$(changed_since_key "$cached/key")
  fi
  if [[ -n $reasons ]]; then
    step "Discarding cache since:"
    detail "- ${reasons//$'\n'/$'\n'       - }"
    rm -rf "$cached"
    return 0
  fi
  step "Restoring cache"
  mkdir -p "${prefix%/*}"
  cp -a "$cached/prefix" "$prefix"
  cp "$cached/packages.yml" "$buildpack_dir/packages.yml"
  step "Using cached install of Python $python_version"
  restored=yes
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
      requirements) echo "The contents of requirements.txt changed" ;;
      index) echo "PIP_EXTRA_INDEX_URL changed" ;;
      host) echo "The Python of the build machine changed" ;;
      layout) echo "The buildpack changed" ;;
    esac
  done <<<"$cache_key"
}

# Copies, never links: a hook may write into the environment of this build.
save_cache() {
  local cached=$cache_dir/python
  rm -rf "$cached"
  if [[ -z $cache_key ]]; then
    step "Not saving cache, since $uncacheable_reason"
    return
  fi
  step "Saving cache"
  mkdir -p "$cached"
  cp -a "$prefix" "$cached/prefix"
  cp "$buildpack_dir/packages.yml" "$cached/packages.yml"
  printf '%s\n' "$cache_key" >"$cached/key"
}
