# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What the app's processes, and the buildpacks after this one, find set.

# Config vars win over every default, except that PATH is extended.
write_profile() {
  mkdir -p .profile.d
  cat >.profile.d/python.sh <<'PROFILE'
export PATH="$HOME/.heroku/python/bin:$PATH"
export PYTHONUNBUFFERED=true
export LANG="${LANG:-C.UTF-8}"
export PYTHONPATH="${PYTHONPATH:-$HOME}"
# gunicorn: trust the router's headers, log requests to stdout.
export FORWARDED_ALLOW_IPS="${FORWARDED_ALLOW_IPS-*}"
export GUNICORN_CMD_ARGS="${GUNICORN_CMD_ARGS---access-logfile -}"
PROFILE
  # Every language buildpack writes this name, so that the last one decides.
  cat >.profile.d/WEB_CONCURRENCY.sh <<'PROFILE'
export WEB_CONCURRENCY="${WEB_CONCURRENCY:-2}"
PROFILE
}

write_export() {
  # PATH is expanded by the shell that sources the file.
  # shellcheck disable=SC2016
  printf 'export PATH=%q:"$PATH"\nexport LANG="${LANG:-C.UTF-8}"\n' "$prefix/bin" >"$buildpack_dir/export"
}
