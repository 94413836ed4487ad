# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# Which Python the app gets, of those that the server can give.

# Sets python_version, python_minor and runtime_path, where its tree is; told to plan, it only
# chooses.
choose_python() {
  local what=$1 last='' flags=()
  if [[ $what == plan ]]; then flags=(--plan); fi
  if [[ -f $cache_dir/python/version ]]; then last=$(<"$cache_dir/python/version"); fi
  ask python choose --wanted="$requested_version" --by="$requested_by" --last="$last" "${flags[@]}"
  step "$python_step"
  if [[ -z $requested_version && -z $last ]]; then
    detail "To keep it, write $python_minor in a .python-version file."
  fi
  if [[ -n ${runtime_note:-} ]]; then detail "$runtime_note"; fi
}

# Has Python itself in the slug, beside the environment.
install_python() {
  runtime_dir=$build_dir/.heroku/python-runtime
  tool runtime show python "$python_version" "$runtime_dir"
  # One of the build machine brings the libraries that it needs there.
  if [[ -d $runtime_dir/lib/machine ]]; then
    export LD_LIBRARY_PATH=$runtime_dir/lib/machine:$runtime_dir/lib
  fi
}
