# shellcheck shell=bash
# Asks the binary, which reads version requests, lockfiles and logs.

tool() {
  "${SLUGLINE_TOOL:-/run/slugline/bin/slugline}" buildpack-tool "$@"
}

# Sets the facts of an answer as variables. Where the app has to change, the
# person who pushed has been told so, and the build ends.
ask() {
  local facts
  facts=$(tool "$@") || exit 1
  eval "$facts"
}

# Whether a slug is made again, and this buildpack has reported something of it.
is_repetition() {
  [[ -f /run/slugline/recorded.json ]]
}

# Prints what it has reported: `runtime NAME` or `lock`.
recorded() {
  is_repetition && tool recorded "$@"
}

# Makes a directory as an earlier build has kept it under a key, with --copy one
# that can be moved. Fails where none has.
restore_snapshot() {
  tool cache restore "$@" 2>/dev/null
}

# Keeps a directory for the app's later builds; this build goes on without.
keep_snapshot() {
  tool cache save --later "$1" "$2" 2>/dev/null || detail "It could not be kept: the next build makes it anew."
}
