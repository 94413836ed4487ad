# shellcheck shell=bash
# The libraries that this Python needs of the machine that it was copied from.
export LD_LIBRARY_PATH=$HOME/.heroku/python-runtime/lib/machine:$HOME/.heroku/python-runtime/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
