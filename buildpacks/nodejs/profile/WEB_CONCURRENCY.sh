# shellcheck shell=bash disable=SC2154
# Every language buildpack writes this name, so that the last one decides.
export MEMORY_AVAILABLE="${MEMORY_AVAILABLE:-$((memory_mb > 0 ? memory_mb : 512))}"
export WEB_MEMORY="${WEB_MEMORY:-$((MEMORY_AVAILABLE > 16384 ? 2048 : 512))}"
if [[ -z ${WEB_CONCURRENCY:-} ]]; then
  workers=$((MEMORY_AVAILABLE / WEB_MEMORY))
  if ((workers > 200)); then
    echo "Could not determine a reasonable value for WEB_CONCURRENCY: it is set to 1." >&2
    workers=1
  fi
  export WEB_CONCURRENCY=$((workers > 0 ? workers : 1))
  unset workers
fi
unset memory_mb
