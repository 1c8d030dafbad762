#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command and prints the peak memory of its whole process tree.

usage: watch_memory.py COMMAND [ARGUMENT ...]

PSS divides shared pages among the processes that map them, so the sum over the tree is what the machine really holds;
the anonymous part of it is what cannot be given back by dropping the page cache.
"""
import os
import subprocess
import sys
import time


def tree(root):
    """The process and all its descendants, by one look at every parent."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(parent, []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def memory_kib(pid):
    values = {"Pss": 0, "Pss_Anon": 0}
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in values:
                    values[name] = int(rest.split()[0])
    except OSError:
        pass
    return values


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    start = time.monotonic()
    process = subprocess.Popen(sys.argv[1:])
    peak = {"Pss": 0, "Pss_Anon": 0, "processes": 0}
    while process.poll() is None:
        pids = tree(process.pid)
        now = [memory_kib(pid) for pid in pids]
        for name in ("Pss", "Pss_Anon"):
            peak[name] = max(peak[name], sum(values[name] for values in now))
        peak["processes"] = max(peak["processes"], len(pids))
        time.sleep(0.005)
    print(
        f"peak PSS {peak['Pss'] / 1024:.1f} MiB, of it anonymous {peak['Pss_Anon'] / 1024:.1f} MiB, "
        f"{peak['processes']} processes, {time.monotonic() - start:.2f} s, exit status {process.returncode}",
        file=sys.stderr,
    )
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
