# shellcheck shell=bash
# The libraries that this Node.js needs of the machine that it was copied from.
export LD_LIBRARY_PATH=$HOME/.heroku/node/lib/machine${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
