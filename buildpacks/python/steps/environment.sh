# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What the app's processes, and the buildpacks after this one, find set.

write_profile() {
  mkdir -p .profile.d
  cp "$buildpack_dir/profile/python.sh" .profile.d/python.sh
  if [[ -d $runtime_dir/lib/machine ]]; then
    cat "$buildpack_dir/profile/libraries.sh" >>.profile.d/python.sh
  fi
  write_web_concurrency
}

write_export() {
  # PATH is expanded by the shell that sources the file.
  # shellcheck disable=SC2016
  {
    printf 'export PATH=%q:"$PATH"\nexport LANG="${LANG:-C.UTF-8}"\n' "$prefix/bin"
    if [[ -n ${LD_LIBRARY_PATH:-} ]]; then printf 'export LD_LIBRARY_PATH=%q\n' "$LD_LIBRARY_PATH"; fi
  } >"$buildpack_dir/export"
}
