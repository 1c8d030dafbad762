#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Repeats the fold assignment of a split file and compares every part of every fold.

    cdrzoo split make demo.h5 --kind lco -o split.json --groups groups.csv
    python3 check_split.py split.json groups.csv

Written from share/doc/splits.md alone, in pure Python, to show that the folds can be made in any language.
Exit status: 0 the same folds and the same hash, 1 a difference (named), 2 it could not run.
"""
import csv
import hashlib
import json
import struct
import sys
from collections import Counter, defaultdict

INNER_FOLDS = 8
UNKNOWN = "unknown"


def key(seed, repeat, mode, group):
    data = struct.pack("<QQ", seed, repeat) + mode.encode() + b"\0" + group.encode()
    return hashlib.sha256(data).digest()


def assign(weights, folds, seed, repeat, mode):
    """{group: weight} -> {group: fold}."""
    total = sum(weights.values())
    keys = {group: key(seed, repeat, mode, group) for group in weights}

    def rank(group):
        heavy = weights[group] * 2 * folds > total
        return (0, -weights[group], keys[group]) if heavy else (1, 0, keys[group])

    load = [0] * folds
    fold_of = {}
    for group in sorted(weights, key=rank):
        fold = load.index(min(load))
        load[fold] += weights[group]
        fold_of[group] = fold
    return fold_of


def inner(groups, parts, seed, repeat, fold, mode):
    """Groups of the training pool, one per record -> {group: part} for those groups that leave plain training."""
    weights = Counter(group for group in groups if group != UNKNOWN or not mode.startswith("LTO"))
    fold_of = assign(weights, INNER_FOLDS, seed, repeat, f"{mode}/inner/{fold}")
    load = Counter()
    for group, weight in weights.items():
        load[fold_of[group]] += weight
    total = sum(weights.values())
    closest = sorted(load, key=lambda f: (abs(INNER_FOLDS * load[f] - total), f))
    part_of = dict(zip(closest, parts))
    return {group: part_of[f] for group, f in fold_of.items() if f in part_of}


class Records:
    def __init__(self, path):
        with open(path, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        self.index = [int(row["record"]) for row in rows]
        self.domain = [row["domain"] for row in rows]
        self.group = {
            "sample": [row["sample_group"] for row in rows],
            "drug": [row["drug_group"] for row in rows],
            "pair": [row["sample_group"] + "\x1f" + row["drug_group"] for row in rows],
            "tissue": [row["tissue"] for row in rows],
            "scaffold": [row["scaffold"] for row in rows],
        }

    def only(self, domains):
        keep = [i for i, domain in enumerate(self.domain) if domain in domains]
        self.index = [self.index[i] for i in keep]
        self.domain = [self.domain[i] for i in keep]
        self.group = {kind: [names[i] for i in keep] for kind, names in self.group.items()}

    def __len__(self):
        return len(self.index)


ONE_AXIS = {"lpo": ("pair", "LPO"), "lco": ("sample", "LCO"), "ldo": ("drug", "LDO"), "lto": ("tissue", "LTO"),
            "lso": ("scaffold", "LSO")}


def one_axis(records, spec, repeat):
    kind, mode = ONE_AXIS[spec["kind"]]
    groups = records.group[kind]
    weights = Counter(g for g in groups if kind != "tissue" or g != UNKNOWN)
    outer = assign(weights, spec["folds"], spec["seed"], repeat, mode)
    for fold in range(spec["folds"]):
        pool = [g for g in groups if outer.get(g) != fold]
        special = inner(pool, ["validation", "early_stop"], spec["seed"], repeat, fold, mode)
        yield ["test" if outer.get(g) == fold else special.get(g, "train") for g in groups]


def double_cold(records, spec, repeat):
    samples, drugs = records.group["sample"], records.group["drug"]
    folds, seed = spec["folds"], spec["seed"]
    outer_s = assign(Counter(samples), folds, seed, repeat, "LCDO/sample")
    outer_d = assign(Counter(drugs), folds, seed, repeat, "LCDO/drug")
    for fold in range(folds * folds):
        i, j = divmod(fold, folds)
        pool = [(s, d) for s, d in zip(samples, drugs) if outer_s[s] != i and outer_d[d] != j]
        inner_s = inner([s for s, _ in pool], ["validation", "early_stop"], seed, repeat, fold, "LCDO/sample")
        inner_d = inner([d for _, d in pool], ["validation"], seed, repeat, fold, "LCDO/drug")
        parts = []
        for s, d in zip(samples, drugs):
            cold = (outer_s[s] == i) + (outer_d[d] == j)
            if cold == 2:
                parts.append("test")
            elif cold == 1 or (inner_s.get(s) == "validation") != (inner_d.get(d) == "validation"):
                parts.append(None)
            else:
                parts.append(inner_s.get(s, "train"))
        yield parts


def pairs811(records, spec, repeat):
    groups = records.group["pair"]
    outer = assign(Counter(groups), spec["folds"], spec["seed"], repeat, "PAIRS811")
    for fold in range(spec["folds"]):
        word = {fold: "test", (fold + 1) % spec["folds"]: "validation"}
        yield [word.get(outer[g], "train") for g in groups]


def transfer(records, spec, repeat):
    kind, folds = spec["inner_group"], spec["folds"]
    groups, samples = records.group[kind], records.group["sample"]
    is_source = [domain == spec["source"] for domain in records.domain]
    known = {s for s, source in zip(samples, is_source) if source}
    outer = assign(Counter(g for g, source in zip(groups, is_source) if source), folds, spec["seed"], repeat,
                   f"TRANSFER/{kind}")
    for fold in range(folds):
        if kind == "pair":
            word = {fold: None, (fold + 1) % folds: "validation"}
            part = {g: word.get(f, "train") for g, f in outer.items()}
        else:
            pool = [g for g, source in zip(groups, is_source) if source and outer[g] != fold]
            part = inner(pool, ["early_stop"], spec["seed"], repeat, fold, f"TRANSFER/{kind}")
            part.update({g: "validation" for g, f in outer.items() if f == fold})
        yield [part.get(g, "train") if source else (None if s in known else "test")
               for g, s, source in zip(groups, samples, is_source)]


def make(records, spec):
    maker = {"lcdo": double_cold, "pairs811": pairs811, "transfer": transfer}.get(spec["kind"], one_axis)
    for repeat in range(spec["repeats"]):
        for fold, parts in enumerate(maker(records, spec, repeat)):
            rows = defaultdict(list)
            for index, part in zip(records.index, parts):
                rows["train" if part == "early_stop" else part].append(index)
                if part == "early_stop":
                    rows["early_stop"].append(index)
            if spec["kind"] == "pairs811" or (spec["kind"] == "transfer" and spec["inner_group"] == "pair"):
                rows["early_stop"] = rows["validation"]
            yield repeat, fold, rows


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as text:
            split = json.load(text)
        records = Records(arguments[1])
        stated = split.pop("hash")
        spec = split["spec"]
    except (OSError, ValueError, KeyError) as error:
        print(f"check_split: {error!r}", file=sys.stderr)
        return 2
    if spec["kind"] == "file":
        print("check_split: the folds of a user's file follow no rule", file=sys.stderr)
        return 2
    wanted = {spec["source"], spec["target"]} - {""}
    if wanted:
        records.only(wanted)

    differences = 0
    canonical = json.dumps(split, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    found = hashlib.sha256(canonical.encode()).hexdigest()
    if found != stated:
        print(f"hash: the file says {stated}, its content has {found}")
        differences += 1
    made = list(make(records, spec))
    if len(made) != len(split["folds"]):
        print(f"folds: the file has {len(split['folds'])}, the rule makes {len(made)}")
        differences += 1
    for (repeat, fold, rows), stored in zip(made, split["folds"]):
        for part in ("train", "early_stop", "validation", "test"):
            if rows[part] != stored[part]:
                print(f"repeat {repeat}, fold {fold}: {part} has {len(stored[part])} records in the file, "
                      f"{len(rows[part])} by the rule, {len(set(rows[part]) ^ set(stored[part]))} differ")
                differences += 1
    if differences == 0:
        print(f"{found} {spec['kind']}: {len(made)} folds of {len(records)} records agree")
    return 0 if differences == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
