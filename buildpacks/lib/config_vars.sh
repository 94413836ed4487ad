# shellcheck shell=bash
# Config vars come to a build as files of the env dir: name -> value.

# Exports every config var into this shell, so call it in a subshell.
# Names that would redirect the build's own tools are left out, and so are
# those that the extended regular expression in $2 matches.
export_config_vars() {
  local env_dir=$1 also_denied=${2:-} file name value
  local denied='PATH|GIT_DIR|CPATH|CPPATH|LD_PRELOAD|LIBRARY_PATH'
  [[ -d $env_dir ]] || return 0
  for file in "$env_dir"/*; do
    name=${file##*/}
    [[ -f $file && $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
    [[ $name =~ ^($denied${also_denied:+|$also_denied})$ ]] && continue
    # The added dot keeps newlines at the end, which $(...) would drop.
    value=$(cat "$file" && printf .)
    export "$name=${value%.}"
  done
}

# Prints the value of one config var, or nothing.
config_var() {
  if [[ -f $1/$2 ]]; then cat "$1/$2"; fi
}
