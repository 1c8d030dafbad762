#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What one cell costs beyond the plugin's own work, from the records of a store.

usage: cell_overhead.py STORE

Own work: loading the library (load_s), create, fit, predict. Overhead: everything else between spawning the worker and
the finished cell, as the runner timed it.
"""
import json
import pathlib
import statistics
import sys


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    per_model = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("cells/*/record.json")):
        record = json.loads(path.read_text())
        if record["status"] != "ok":
            continue
        timing = record["timing"]
        own = sum(timing[name] for name in ("load_s", "create_s", "fit_s", "predict_s"))
        per_model.setdefault(record["model_name"], []).append((own, timing["wall_s"] - own))
    for model, cells in sorted(per_model.items()):
        own, overhead = zip(*cells)
        print(
            f"{model:32} {len(cells):3} cells: own work {1e3 * statistics.median(own):8.1f} ms, "
            f"overhead {1e3 * statistics.median(overhead):6.1f} ms (medians)"
        )


if __name__ == "__main__":
    main()
