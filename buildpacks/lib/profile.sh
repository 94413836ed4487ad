# shellcheck shell=bash
# bin/compile sources this file.
# shellcheck disable=SC2154

# Every language buildpack writes this name, so that the last one decides.
write_web_concurrency() {
  cat "$lib_dir/memory.profile.sh" "$buildpack_dir/profile/WEB_CONCURRENCY.sh" \
    >.profile.d/WEB_CONCURRENCY.sh
}
