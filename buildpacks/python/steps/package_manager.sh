# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What the app asks for, and what must not be in its repository.

# Sets manager, manager_title, lockfile, requested_version, requested_by,
# unpinned and needs_pip.
read_plan() {
  ask python plan
}

# An environment made elsewhere would be packed into the slug, or mixed into ours.
check_leftover_environments() {
  # Nothing else of a build is seen by the buildpacks after this one.
  local ran=/tmp/python-buildpack-ran
  if [[ -e $prefix && -e $ran ]]; then
    fail "Error: The Python buildpack has already been run this build." \
      "" "It has made .heroku/python, and would make it again." \
      "" "List it only once; 'slugline buildpacks' shows the app's list."
  fi
  touch "$ran"
  if [[ -e $prefix ]]; then
    fail "Error: Existing '.heroku/python/' directory found." \
      "" "That is where this buildpack installs Python, and it is in the repository." \
      "" "Remove it from git:  git rm -r --cached .heroku/python"
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
