# shellcheck shell=bash disable=SC2154
# Every language buildpack writes this name, so that the last one decides.
# A worker for each 256 MB, twice the cores and one more at most.
if [[ -z ${WEB_CONCURRENCY:-} ]] && ((memory_mb > 0)); then
  cores=$(nproc 2>/dev/null || echo 1)
  by_memory=$((memory_mb / 256)) by_cores=$((2 * cores + 1))
  workers=$((by_memory < by_cores ? by_memory : by_cores))
  export WEB_CONCURRENCY=$((workers > 0 ? workers : 1))
  export DYNO_RAM=$memory_mb WEB_CONCURRENCY_SET_BY=slugline/python
  unset cores by_memory by_cores workers
fi
unset memory_mb
