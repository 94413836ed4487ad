# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# Where the app's own code runs during the build, and sees config vars.

# Runs a command with the config vars, and with the environment once it exists.
run_app_code() (
  export_config_vars "$env_dir" 'LD_LIBRARY_PATH|PYTHONHOME'
  export BUILD_DIR=$build_dir CACHE_DIR=$cache_dir ENV_DIR=$env_dir
  # The config vars must not turn the first of these off.
  export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
  if [[ -d $prefix ]]; then export PATH=$prefix/bin:$PATH; fi
  "$@" 2>&1
)

run_hook() {
  local hook=$1
  [[ -f $hook ]] || return 0
  step "Running $hook hook"
  chmod +x "$hook"
  if ! run_app_code "$hook" | indent; then
    fail "Error: Failed to run the $hook script." \
      "" "It ended with an error; the output above is its own." \
      "" "Correct the script, or remove it if it is not needed."
  fi
}

# Collects a Django app's static files, unless DISABLE_COLLECTSTATIC is set.
collect_static_files() {
  local manage_py log status=0
  manage_py=$(find . -maxdepth 3 -name manage.py -type f -not -path './.*/*' | sort | sed -n 1p)
  [[ -n $manage_py ]] || return 0
  "$prefix/bin/python" -I -B -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("django"))' || return 0
  manage_py=${manage_py#./}

  case $(config_var "$env_dir" DISABLE_COLLECTSTATIC) in
    '' | 0) ;;
    *)
      step "Skipping Django collectstatic since the config var DISABLE_COLLECTSTATIC is set"
      return 0
      ;;
  esac
  step "\$ python $manage_py collectstatic --noinput"
  log=$(mktemp)
  run_app_code python "$manage_py" collectstatic --noinput | tee "$log" | indent || status=$?
  if ((status != 0)) && grep -q "Unknown command: 'collectstatic'" "$log"; then
    detail "Skipped: django.contrib.staticfiles is not in INSTALLED_APPS."
  elif ((status != 0)); then
    rm -f "$log"
    fail "Error: Unable to generate Django static files." \
      "" "'python $manage_py collectstatic --noinput' ended with an error;" \
      "the output above is its own. Often STATIC_ROOT is not set, or the" \
      "settings need a config var that the app does not have yet." \
      "" "Correct the settings, or turn this step off with the config var" \
      "DISABLE_COLLECTSTATIC=1."
  fi
  rm -f "$log"
}

# Fetches the NLTK data that nltk.txt names, where the app uses NLTK.
download_nltk_data() {
  [[ -f nltk.txt ]] || return 0
  "$prefix/bin/python" -I -B -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("nltk"))' || return 0
  local names
  read -ra names <<<"$(tr -s '\r\n' ' ' <nltk.txt)"
  ((${#names[@]} > 0)) || return 0
  step "Downloading NLTK corpora from nltk.txt: ${names[*]}"
  if ! run_app_code python -m nltk.downloader -d "$prefix/nltk_data" "${names[@]}" | indent; then
    fail "Error: Unable to download NLTK data." \
      "" "The output above is NLTK's. Its data comes from a host of its own," \
      "which builds may not reach." \
      "" "Commit the data and set NLTK_DATA, or correct nltk.txt."
  fi
}
