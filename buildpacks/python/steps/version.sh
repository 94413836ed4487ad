# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# Which Python the app gets, of those that this machine has.

# Fills the array candidates with VERSION=PATH of each Python that can make an
# environment, the preferred first, and incomplete with those that cannot.
find_pythons() {
  local path version seen=' '
  candidates=() incomplete=()
  for path in /usr/local/bin/python3.* /usr/bin/python3.* /opt/python/*/bin/python3.*; do
    [[ -x $path && ${path##*/python} =~ ^3\.[0-9]+$ ]] || continue
    # Debian ships venv and ensurepip apart from Python.
    if version=$("$path" -I -B -c 'import ensurepip, platform, venv; print(platform.python_version())' 2>/dev/null); then
      [[ $seen == *" $version "* ]] || candidates+=("$version=$path")
      seen+="$version "
    else
      incomplete+=("$path")
    fi
  done
}

# Sets python_version, python_minor, python_exe and python_build.
choose_python() {
  local last=''
  find_pythons
  if ((${#candidates[@]} == 0)); then
    fail "Error: No usable Python was found on this machine." \
      "" "A build needs Python 3 with its venv and ensurepip modules." \
      "Found without them: ${incomplete[*]:-none}." \
      "" "Install both where builds run:" \
      "apt-get install python3 python3-venv"
  fi
  if [[ -f $cache_dir/python/version ]]; then last=$(<"$cache_dir/python/version"); fi
  ask python choose --wanted="$requested_version" --by="$requested_by" --last="$last" "${candidates[@]}"
  python_exe=$python_origin
  # One X.Y.Z may be built in two ways.
  python_build=$("$python_exe" -I -B -c 'import sys; print(sys.version.replace("\n", " "))')
  step "$python_step"
  if [[ -z $requested_version && -z $last ]]; then
    detail "To keep it, write $python_minor in a .python-version file."
  fi
}
