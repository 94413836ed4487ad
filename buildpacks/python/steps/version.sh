# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# Which Python the app asks for, and which of the host's it gets.

# Sets requested_version (X.Y, X.Y.Z or empty) and requested_by (a file name).
read_requested_version() {
  requested_version='' requested_by=''
  if [[ -f runtime.txt ]]; then
    read_runtime_txt
  elif [[ -f .python-version ]]; then
    read_python_version_file
  fi
}

read_runtime_txt() {
  local content
  content=$(tr -d '\r\0' <runtime.txt)
  if [[ ! $content =~ ^[[:space:]]*python-([0-9]+\.[0-9]+(\.[0-9]+)?)[[:space:]]*$ ]]; then
    fail "Error: Invalid Python version in runtime.txt." \
      "" "Expected one line such as python-3.11, found:" "$content" \
      "" "Better, replace runtime.txt by a file named .python-version" \
      "that holds only the version, such as 3.11."
  fi
  requested_version=${BASH_REMATCH[1]} requested_by=runtime.txt
  warn "The runtime.txt file is deprecated." \
    "Replace it by a file named .python-version that holds: $(minor_of "$requested_version")"
}

read_python_version_file() {
  local line versions=()
  # A here-string, since a process substitution needs /dev/fd.
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line%%#*}
    line=${line//[[:space:]]/}
    [[ -n $line ]] && versions+=("$line")
  done <<<"$(tr -d '\0' <.python-version)"
  case ${#versions[@]} in
    0) fail "Error: No Python version found in .python-version." \
      "" "The file holds no version." \
      "" "Write one line with the version, such as 3.11, or remove the file." ;;
    1) ;;
    *) fail "Error: Multiple Python versions found in .python-version." \
      "" "Found: $(join_list "${versions[@]}")." \
      "" "Keep the one that the app runs on." ;;
  esac
  if [[ ! ${versions[0]} =~ ^[0-9]+\.[0-9]+(\.[0-9]+)?$ ]]; then
    fail "Error: Invalid Python version in .python-version." \
      "" "Expected X.Y or X.Y.Z, such as 3.11 or 3.11.2, found: ${versions[0]}"
  fi
  requested_version=${versions[0]} requested_by=.python-version
}

# Fills the table of Pythons that can make an environment: python_paths and
# python_facts, by X.Y. Those that cannot are named in incomplete_pythons.
find_pythons() {
  declare -gA python_paths=() python_facts=()
  incomplete_pythons=()
  local path minor facts
  for path in /usr/local/bin/python3.* /usr/bin/python3.* /opt/python/*/bin/python3.*; do
    minor=${path##*/python}
    [[ -x $path && $minor =~ ^3\.[0-9]+$ && -z ${python_paths[$minor]:-} ]] || continue
    # Debian ships venv and ensurepip apart from Python. The full build string
    # and pip's version are in the cache key: either can change under one X.Y.Z.
    if facts=$("$path" -I -B -c '
import ensurepip, platform, sys, venv
print(platform.python_version(), ensurepip.version(), sys.version.replace("\n", " "))
' 2>/dev/null); then
      python_paths[$minor]=$path
      python_facts[$minor]=$facts
    else
      incomplete_pythons+=("$minor ($path)")
    fi
  done
}

# Sets python_exe, python_minor, python_version, python_build and pip_version.
choose_python() {
  find_pythons
  if ((${#python_paths[@]} == 0)); then
    fail "Error: No usable Python was found on this machine." \
      "" "A build needs Python 3 with its venv and ensurepip modules." \
      "Found without them: $(join_list "${incomplete_pythons[@]:-none}")." \
      "" "Install both where builds run:" \
      "apt-get install python3 python3-venv"
  fi
  local available
  mapfile -t available <<<"$(printf '%s\n' "${!python_paths[@]}" | sort -t . -k 2,2n)"
  if [[ -z $requested_version ]]; then
    python_minor=${available[-1]}
  else
    python_minor=$(minor_of "$requested_version")
    if [[ -z ${python_paths[$python_minor]:-} ]]; then
      fail_version_unavailable "${available[@]}"
    fi
  fi
  python_exe=${python_paths[$python_minor]}
  read -r python_version pip_version python_build <<<"${python_facts[$python_minor]}"

  if [[ -z $requested_version ]]; then
    step "No Python version was specified. Using the buildpack default: Python $python_minor"
    detail "It is the newest of this stack. To keep it, write $python_minor in a .python-version file."
  else
    step "Using Python $python_minor specified in $requested_by"
    if [[ $requested_version == *.*.* && $requested_version != "$python_version" ]]; then
      problem "Warning: Python $requested_version is not on this stack; using $python_version instead."
    fi
  fi
}

# Prints X.Y of X.Y or X.Y.Z.
minor_of() {
  cut -d . -f 1,2 <<<"$1"
}

fail_version_unavailable() {
  local found=("Available here: $(join_list "$@").")
  if ((${#incomplete_pythons[@]} > 0)); then
    found+=("Without venv and ensurepip, so not usable: $(join_list "${incomplete_pythons[@]}").")
  fi
  fail "Error: The requested Python version isn't available." \
    "" "$requested_by asks for Python $requested_version." "${found[@]}" \
    "" "Write one of the available versions in .python-version, or install" \
    "Python $python_minor where builds run."
}
