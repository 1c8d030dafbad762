#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A worker in a memory group of its own, where page cache counts (cgroup v1). As root:
#   mkdir /sys/fs/cgroup/memory/cdrzoo && echo 4000000000 > /sys/fs/cgroup/memory/cdrzoo/memory.limit_in_bytes
#   CDRZOO_WORKER=$PWD/tests/bench/limited_worker.sh build/release/bin/cdrzoo bench EXPERIMENT.toml
# Afterwards memory.max_usage_in_bytes of the group says what it took.
if [ "$1" = run ]; then
  sync
  # What the host has just written leaves the cache: the worker is to pay for every page that it reads.
  for file in "$(dirname "$(dirname "$2")")"/*.h5; do /bin/dd if="$file" iflag=nocache count=0 2>/dev/null; done
  echo $$ > /sys/fs/cgroup/memory/cdrzoo/cgroup.procs || exit 2
fi
exec "$(dirname "$0")/../../build/release/bin/cdrzoo-worker" "$@"
