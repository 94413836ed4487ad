# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# Whether this version can install what the app asks for.

check_package_manager() {
  local file found=()
  for file in Pipfile.lock requirements.txt poetry.lock uv.lock pdm.lock; do
    [[ -f $file ]] && found+=("$file")
  done
  if ((${#found[@]} > 1)); then
    fail "Error: Multiple Python package manager files were found." \
      "" "Found at the root: $(join_list "${found[@]}")." \
      "" "Keep the file of one package manager and remove the others." \
      "This version of the buildpack builds requirements.txt."
  fi
  [[ ${found[*]} == requirements.txt ]] && return 0

  for file in Pipfile pyproject.toml setup.py; do
    [[ -f $file ]] && found+=("$file")
  done
  local advice=("Commit a requirements.txt at the root of the repository, with one"
    "package a line, such as Flask==3.1.3. It may be empty.")
  case ${found[*]} in
    *Pipfile.lock*) advice+=("Pipenv writes it with: pipenv requirements > requirements.txt") ;;
    *poetry.lock*) advice+=("Poetry writes it with: poetry export -o requirements.txt" "(and then remove poetry.lock)") ;;
    *uv.lock*) advice+=("uv writes it with: uv export -o requirements.txt" "(and then remove uv.lock)") ;;
    setup.py) advice+=('To install the app itself, write a single dot: .') ;;
  esac
  if ((${#found[@]} == 0)); then
    # Shown to a person, so that odd names do no harm.
    # shellcheck disable=SC2012
    mapfile -t found <<<"$(ls -A -p | sed -n 1,20p)"
  fi
  fail "Error: Couldn't find any supported Python package manager files." \
    "" "This version of the buildpack builds requirements.txt." \
    "Found at the root: $(join_list "${found[@]}")." \
    "" "${advice[@]}"
}

# An environment made elsewhere would be packed into the slug, or mixed into ours.
check_leftover_environments() {
  if [[ -e $prefix ]]; then
    fail "Error: Existing '.heroku/python/' directory found." \
      "" "That is where this buildpack installs Python. It is in the repository," \
      "or another buildpack of this build has already made it." \
      "" "Remove it from git:  git rm -r --cached .heroku/python" \
      "and list the Python buildpack only once."
  fi
  if [[ -d .venv ]]; then
    fail "Error: Existing '.venv/' directory found." \
      "" "A virtual environment works only where it was made." \
      "" "Remove it from git:  git rm -r --cached .venv" \
      "and add .venv/ to .gitignore."
  fi
  if [[ -f venv/pyvenv.cfg ]]; then
    warn "a virtual environment, venv/, is in the repository." \
      "It is not used and makes the slug larger. Remove it from git and" \
      "add venv/ to .gitignore."
  fi
}

# Prints its arguments with commas between them.
join_list() {
  local list
  printf -v list '%s, ' "$@"
  printf '%s' "${list%, }"
}
