# shellcheck shell=bash
# Config vars win over every default, except that PATH is extended.
export PATH="$HOME/.heroku/python/bin:$PATH"
export PYTHONUNBUFFERED=true
export LANG="${LANG:-C.UTF-8}"
export LIBRARY_PATH="$HOME/.heroku/python/lib${LIBRARY_PATH:+:$LIBRARY_PATH}"
export LD_LIBRARY_PATH="$HOME/.heroku/python/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONPATH="${PYTHONPATH:-$HOME}"
# gunicorn: trust the router's headers, log requests to stdout.
export FORWARDED_ALLOW_IPS="${FORWARDED_ALLOW_IPS-*}"
export GUNICORN_CMD_ARGS="${GUNICORN_CMD_ARGS---access-logfile -}"
if [[ -d $HOME/.heroku/python/nltk_data ]]; then
  export NLTK_DATA="${NLTK_DATA:-$HOME/.heroku/python/nltk_data}"
fi
