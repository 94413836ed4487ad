# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# From the chosen Python and requirements.txt to the environment at $prefix.

# Everything runs from / or by a script's path: with the app as the current
# directory, an app's own types.py would take the place of the standard one.
create_environment() {
  step "Installing Python $python_version"
  detail "A virtual environment of this machine's $python_exe, at .heroku/python"
  if ! (cd / && "$python_exe" -I -m venv "$prefix") | indent; then
    fail "Error: Unable to install Python." \
      "" "The output above is that of: $python_exe -m venv"
  fi
  step "Installing pip $pip_version"
}

install_dependencies() {
  local log status=0
  log=$(mktemp)
  step "Installing dependencies using 'pip install -r requirements.txt'"
  (
    # Of the config vars, pip sees this one only.
    if [[ -f $env_dir/PIP_EXTRA_INDEX_URL ]]; then
      PIP_EXTRA_INDEX_URL=$(config_var "$env_dir" PIP_EXTRA_INDEX_URL)
      export PIP_EXTRA_INDEX_URL
    fi
    # Packages compiled from source: debug information would name pip's
    # random folder, archives would carry the time.
    export SOURCE_DATE_EPOCH=315532800 CFLAGS=-g0 CXXFLAGS=-g0 PYTHONHASHSEED=0
    "$prefix/bin/pip" install -r requirements.txt --no-compile --no-cache-dir --no-input \
      --progress-bar off --disable-pip-version-check --exists-action=w --src="$prefix/src"
  ) 2>&1 | tee "$log" | indent || status=$?
  if ((status != 0)); then
    fail_installation "$log"
  fi
  rm -f "$log"
  # git's index of a package that was cloned carries times.
  if [[ -d $prefix/src ]]; then
    find "$prefix/src" -mindepth 2 -maxdepth 2 -name .git -exec rm -rf {} +
  fi
}

# Says what pip's own words mean for the person who pushed.
fail_installation() {
  local log=$1 found advice
  found=$(grep -m 1 '^ERROR: ' "$log" | sed 's/^ERROR: //; s/ (from versions: .*//' | cut -c -300 || true)
  if grep -q 'Invalid requirement' "$log"; then
    advice=("A line of requirements.txt is not valid. Each line names one package," "such as Flask==3.1.3; the output above names the line.")
  elif grep -qE 'Connection|timed out|Temporary failure in name resolution' "$log"; then
    advice=("The package index could not be reached. Push again, and if that" "does not help, check the network of the build machine.")
  elif grep -q 'No matching distribution found' "$log"; then
    advice=("The package index has no such package or version for Python $python_version." "Check the spelling and the version in requirements.txt; the output" "above lists the versions that exist.")
  elif grep -q 'ResolutionImpossible' "$log"; then
    advice=("Some of the versions in requirements.txt exclude each other." "Loosen one of those that the output above names.")
  elif grep -q 'Could not open requirements file' "$log"; then
    advice=("A file that requirements.txt includes is not in the repository." "Commit it, or remove the line that includes it.")
  elif grep -qE 'Failed building wheel|metadata-generation-failed|subprocess-exited-with-error' "$log"; then
    advice=("A package had to be compiled from source, and that failed. Choose a" "version that has a wheel for Python $python_version, or install the compiler" "and headers that the output above misses where builds run.")
  else
    advice=("The output above is pip's. Try the same command on your machine," "in a new virtual environment.")
  fi
  rm -f "$log"
  fail "Error: Unable to install dependencies using pip." \
    ${found:+"" "pip says: $found"} "" "${advice[@]}"
}

# pip and ensurepip compile with the time of each file inside. These .pyc files
# hold a hash of the source instead, and Python does not check it at run time.
compile_bytecode() {
  find "$prefix" -type d -name __pycache__ -prune -exec rm -rf {} +
  # Workers need semaphores; the number of workers does not change the bytes.
  local workers=1
  [[ -w /dev/shm ]] && workers=0
  # Without -f, a .pyc that is newer than its source would be left as it is.
  # A package may ship files of another Python version, which do not compile;
  # they failed in pip too, and nobody imports them.
  (
    cd /
    PYTHONHASHSEED=0 "$prefix/bin/python" -m compileall -qq -f -j "$workers" \
      --invalidation-mode unchecked-hash "$prefix/lib"
  ) || true
}

list_packages() {
  "$prefix/bin/python" -I -B "$steps_dir/list_packages.py" >"$buildpack_dir/packages.yml"
}

# Leaves what bin/report prints.
write_report() {
  {
    printf 'runtimes:\n  python: "%s"\n' "$python_version"
    cat "$buildpack_dir/packages.yml"
  } >"$buildpack_dir/report.yml"
}
