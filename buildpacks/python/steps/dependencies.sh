# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# From the chosen Python and the lockfile to the environment at $prefix.

# Writes what Pipenv's or Poetry's lockfile names for pip's interface.
locked_requirements=/tmp/locked-requirements.txt
read_lockfile() {
  case $manager in
    pipenv | poetry) tool python requirements "$manager" >"$locked_requirements" || exit 1 ;;
  esac
}

# Everything runs from / or by a script's path: with the app as the current
# directory, an app's own types.py would take the place of the standard one.
create_environment() {
  step "Installing Python $python_version"
  detail "From $runtime_origin"
  local flags=(--without-pip)
  if [[ $installer == pip ]]; then flags=(); fi
  local python_exe=$runtime_dir/bin/python$python_minor
  if ! (cd / && "$python_exe" -I -B -m venv "${flags[@]}" "$prefix") 2>&1 | indent; then
    fail "Error: Unable to install Python." \
      "" "The output above is that of: python -m venv"
  fi
  ln -sf "../../python-runtime/bin/python$python_minor" "$prefix/bin/python$python_minor"
  if [[ $installer == uv ]]; then get_uv; fi
}

# Packages compiled from source: debug information would name a random folder,
# archives would carry the time.
set_repeatable() {
  export SOURCE_DATE_EPOCH=315532800 CFLAGS=-g0 CXXFLAGS=-g0 PYTHONHASHSEED=0
}

# Where a slug is made again, its record has the versions of all packages.
recorded_versions=/tmp/recorded-versions.txt
find_recorded_versions() {
  is_repeated=no
  if is_repetition && tool python recorded >"$recorded_versions"; then is_repeated=yes; fi
}

# The same version may be another package by now.
compare_with_record() {
  [[ $is_repeated == yes ]] || return 0
  tool python compare "$prefix/lib/python$python_minor/site-packages" || exit 1
}

install_dependencies() {
  if [[ $manager == uv ]]; then
    step "Installing uv $uv_version"
    step "Installing dependencies using 'uv sync --locked --no-default-groups'"
    run_installer run_uv_sync
    return
  fi
  local file=requirements.txt flags=() what="-r requirements.txt'"
  if [[ $is_repeated == yes ]]; then
    detail "Using the versions that the slug's record names"
    if [[ $manager == pip ]]; then flags=(-c "$recorded_versions"); fi
  elif [[ -n $unpinned ]]; then
    detail "$unpinned"
  fi
  if [[ $manager != pip ]]; then
    what="--no-deps' from $lockfile"
    file=$locked_requirements flags=(--no-deps)
    export_index_variables "$file"
  fi
  if [[ $installer == pip ]]; then
    step "Installing pip $pip_version"
    run_installer run_pip install --quiet --no-compile --no-cache-dir "pip==$pip_version"
    step "Installing dependencies using 'pip install $what"
    run_installer run_pip install "${flags[@]}" -r "$file" --no-compile --no-cache-dir \
      --progress-bar off --exists-action=w --src="$prefix/src"
  else
    step "Installing uv $uv_version"
    step "Installing dependencies using 'uv pip install $what"
    # pip itself is there, as on Heroku: hooks may call it.
    run_installer run_uv_pip install --quiet "pip==$pip_version"
    run_installer run_uv_pip install "${flags[@]}" -r "$file"
  fi
  if [[ $manager == poetry ]]; then install_project; fi
}

run_uv_pip() {
  UV_NO_CONFIG=1 run_uv pip "$@" --python "$prefix/bin/python"
}

run_uv_sync() {
  UV_PROJECT_ENVIRONMENT=$prefix run_uv sync --locked --no-default-groups --python "$prefix/bin/python"
}

# Poetry installs the app, too, unless pyproject.toml says that it is no package.
install_project() {
  grep -q '^\[build-system\]' pyproject.toml || return 0
  grep -qE '^package-mode *= *false' pyproject.toml && return 0
  if [[ $installer == pip ]]; then
    run_installer run_pip install --quiet --no-deps --no-compile --no-cache-dir -e .
  else
    run_installer run_uv_pip install --quiet --no-deps -e .
  fi
}

# The addresses of private indexes in a lockfile name config vars: ${NAME}.
export_index_variables() {
  local name
  while read -r name; do
    if [[ -f $env_dir/$name ]]; then
      export "$name=$(config_var "$env_dir" "$name")"
    fi
  done <<<"$(grep '^--' "$1" | grep -oE '[$][{][A-Z_][A-Z0-9_]*' | cut -c 3- | sort -u)"
}

# Runs a command, indented; if it fails, has its log explained.
run_installer() {
  local log status=0
  log=$(mktemp)
  set_repeatable
  "$@" 2>&1 | tee "$log" | indent || status=$?
  if ((status != 0)); then
    tool python explain "$manager" "$log" "$python_version" || true
    exit 1
  fi
  rm -f "$log"
}

# What depends on the moment of an installation. git's index of a package that
# was cloned carries times, and so do uv's notes on what it has built itself.
remove_traces() {
  local note
  rm -f "$prefix/.lock"
  if [[ -d $prefix/src ]]; then
    find "$prefix/src" -mindepth 2 -maxdepth 2 -name .git -exec rm -rf {} +
  fi
  while IFS= read -r note; do
    rm -f "$note"
    sed -i "\\|^[^,]*/${note##*/},|d" "${note%/*}/RECORD"
  done < <(find "$prefix/lib" -path '*.dist-info/uv_*.json')
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
  tool python packages "$prefix/lib/python$python_minor/site-packages" >"$buildpack_dir/packages.yml"
}

# Leaves what bin/report prints.
write_report() {
  {
    printf 'runtimes:\n  python: "%s"\n' "$python_version"
    cat "$buildpack_dir/packages.yml"
  } >"$buildpack_dir/report.yml"
}
