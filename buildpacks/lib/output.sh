# shellcheck shell=bash
# What the person who pushed reads. Steps and details go to stdout, problems
# to stderr; bin/compile joins the two, so that they cannot overtake each other.

# Announces a step.
step() {
  printf -- '-----> %s\n' "$1"
}

# Prints one line that belongs to the step above it.
detail() {
  printf '       %s\n' "$1"
}

# Indents the output of a command, line by line as it comes.
indent() {
  sed --unbuffered '/^$/!s/^/       /'
}

# Prints each argument as a line of one block; an empty argument is a gap.
problem() {
  local line
  printf '\n' >&2
  for line in "$@"; do
    # "line" may hold several lines, such as a quoted error.
    while IFS= read -r line; do
      if [[ -n $line ]]; then
        printf ' !     %s\n' "$line" >&2
      else
        printf ' !\n' >&2
      fi
    done <<<"$line"
  done
  printf '\n' >&2
}

# Says what looks wrong; the build goes on.
warn() {
  problem "Warning: $1" "${@:2}"
}

# Says what happened, what was found and what to do; the build ends.
fail() {
  problem "$@"
  exit 1
}
