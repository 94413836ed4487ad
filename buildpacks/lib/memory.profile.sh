# shellcheck shell=bash
# The next file of the same script reads it.
# shellcheck disable=SC2034
# Sets memory_mb to what this process's control group may use; 0 where nothing
# is limited or known.
memory_mb=0
for memory_file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
  if [[ -r $memory_file ]]; then
    memory_bytes=$(cat "$memory_file")
    # Version 1 says a huge number where there is no limit.
    if [[ $memory_bytes =~ ^[0-9]+$ ]] && ((memory_bytes < 1 << 50)); then
      memory_mb=$((memory_bytes / 1048576))
    fi
    break
  fi
done
unset memory_file memory_bytes
