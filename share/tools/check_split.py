#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Repeats the fold assignment of a split file and compares every part of every fold.

    cdrzoo split make demo.h5 --kind lco -o split.json --groups groups.csv
    python3 check_split.py split.json groups.csv

Splits of records and of perturbation profiles; the split file tells which.

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
    return special(weights, parts, seed, repeat, fold, mode)


def special(weights, wanted, seed, repeat, fold, mode):
    """{group: weight} -> {group: part} for those groups that leave plain training."""
    fold_of = assign(weights, INNER_FOLDS, seed, repeat, f"{mode}/inner/{fold}")
    load = Counter()
    for group, weight in weights.items():
        load[fold_of[group]] += weight
    total = sum(weights.values())
    closest = sorted(load, key=lambda f: (abs(INNER_FOLDS * load[f] - total), f))
    part_of = dict(zip(closest, wanted))
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


class Profiles:
    """Rows of perturbations: context and its identity, one or two drug groups, and the condition that all weights count."""

    def __init__(self, path):
        with open(path, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        self.index = [int(row["profile"]) for row in rows]
        self.domain = [row["domain"] for row in rows]
        self.context = [row["context"] for row in rows]
        self.identity = [row["context_group"] for row in rows]
        self.members = [tuple(sorted(g for g in (row["group"], row["group_b"]) if g)) for row in rows]
        self.dose = [row["dose_log10_molar"] + "\x1f" + row["time_h"] for row in rows]

    def only(self, keep):
        keep = [i for i in range(len(self)) if keep(self.domain[i], self.context[i])]
        for name in ("index", "domain", "context", "identity", "members", "dose"):
            setattr(self, name, [getattr(self, name)[i] for i in keep])

    def weights(self, names, take):
        """{group: conditions} over the rows that `take` keeps."""
        conditions = {(name, self.context[i], self.members[i], self.dose[i])
                      for i, name in enumerate(names) if take(i)}
        return Counter(entry[0] for entry in conditions)

    def __len__(self):
        return len(self.index)


def inner_parts(weights, seed, repeat, fold, mode):
    wanted = ["validation", "early_stop"][:max(0, min(2, len(weights) - 2))]
    return special(weights, wanted, seed, repeat, fold, mode)


def held_out_groups(profiles, spec, repeat, names, testable, mode):
    """Folds of the groups `names`; rows that are not `testable` always train."""
    outer = assign(profiles.weights(names, testable), spec["folds"], spec["seed"], repeat, mode)
    for fold in range(spec["folds"]):
        pool = profiles.weights(names, lambda i: testable(i) and outer[names[i]] != fold)
        part = inner_parts(pool, spec["seed"], repeat, fold, mode)
        yield [("test" if outer[name] == fold else part.get(name, "train")) if testable(i) else "train"
               for i, name in enumerate(names)]


def unseen_context(profiles, spec, repeat):
    return held_out_groups(profiles, spec, repeat, profiles.identity, lambda i: True, "UNSEEN_CONTEXT")


def unseen_pair(profiles, spec, repeat):
    names = ["\x1f".join((context, *members)) for context, members in zip(profiles.identity, profiles.members)]
    return held_out_groups(profiles, spec, repeat, names, lambda i: True, "UNSEEN_PAIR")


def unseen_perturbation(profiles, spec, repeat):
    mode, seed = "UNSEEN_PERTURBATION", spec["seed"]
    contexts, units = defaultdict(set), defaultdict(set)
    single = [len(members) == 1 for members in profiles.members]
    names = [members[0] for members in profiles.members]
    for i, name in enumerate(names):
        if single[i]:
            contexts[name].add(profiles.identity[i])

    def unit(i):
        return names[i] + "\x1f" + (profiles.identity[i] if len(contexts[names[i]]) > 1 else profiles.dose[i])

    for i, name in enumerate(names):
        if single[i]:
            units[name].add(unit(i))
    role = {}
    for group in units.values():
        for place, name in enumerate(sorted(group, key=lambda u: key(seed, repeat, mode + "/reference", u))):
            role[name] = "reference" if 2 * place < len(group) else "test"

    def testable(i):
        return single[i] and len(units[names[i]]) > 1

    outer = assign(profiles.weights(names, testable), spec["folds"], seed, repeat, mode)
    for fold in range(spec["folds"]):
        part = inner_parts(profiles.weights(names, lambda i: testable(i) and outer[names[i]] != fold), seed, repeat,
                           fold, mode)
        parts = []
        for i, members in enumerate(profiles.members):
            own = role[unit(i)] if single[i] else None
            if any(outer.get(m) == fold for m in members):
                parts.append(own)
            elif any(part.get(m) == "validation" for m in members):
                parts.append("validation" if own == "test" else own)
            else:
                parts.append("early_stop" if any(part.get(m) == "early_stop" for m in members) else "train")
        yield parts


def unseen_combination(profiles, spec, repeat):
    wanted, mode, seed, folds = spec["singles_seen"], "UNSEEN_COMBINATION", spec["seed"], spec["folds"]
    names = ["\x1f".join(members) for members in profiles.members]
    double = [len(members) == 2 for members in profiles.members]
    alone = {members[0] for members in profiles.members if len(members) == 1}
    if wanted in (-1, 2):
        yield from held_out_groups(
            profiles, spec, repeat, names,
            lambda i: double[i] and (wanted < 0 or all(m in alone for m in profiles.members[i])), mode)
        return

    def member_weights(take):
        weights = Counter()
        for name, weight in profiles.weights(profiles.members, lambda i: double[i] and take(i)).items():
            for member in name:
                weights[member] += weight
        return weights

    outer = assign(member_weights(lambda i: True), folds, seed, repeat, mode + "/member")
    tested_in = {}
    for members, name in {(m, n) for m, n, two in zip(profiles.members, names, double) if two}:
        for member in sorted(members, key=lambda m: key(seed, repeat, mode + "/tested", name + "\x1f" + m)):
            seen = sum(m in alone and outer[m] != outer[member] for m in members)
            if seen == wanted:
                tested_in.setdefault(name, outer[member])

    for fold in range(folds):
        held = {m for m, f in outer.items() if f == fold}
        free = [double[i] and not held & set(members) for i, members in enumerate(profiles.members)]
        weights = member_weights(lambda i: free[i])
        out = set()
        if len(weights) >= 3:
            out = set(special(weights, ["validation"], seed, repeat, fold, mode + "/member"))
            if not any(f and out & set(members) and sum(m in alone - out for m in members) == wanted
                       for f, members in zip(free, profiles.members)):
                out = set()
        trained = [f and not out & set(members) for f, members in zip(free, profiles.members)]
        doubles = profiles.weights(names, lambda i: trained[i])
        early = special(doubles, ["early_stop"], seed, repeat, fold, mode) if len(doubles) >= 3 else {}
        parts = []
        for i, members in enumerate(profiles.members):
            fits = double[i] and sum(m in alone - held - out for m in members) == wanted
            if held & set(members):
                tested = fits and not out & set(members) and tested_in.get(names[i]) == fold
                parts.append("test" if tested else None)
            elif out & set(members):
                parts.append("validation" if fits else None)
            else:
                parts.append(early.get(names[i], "train"))
        yield parts


UNSEEN = {"unseen_context": unseen_context, "unseen_pair": unseen_pair, "unseen_perturbation": unseen_perturbation,
          "unseen_combination": unseen_combination}


def make(records, spec):
    maker = {"lcdo": double_cold, "pairs811": pairs811, "transfer": transfer,
             **UNSEEN}.get(spec["kind"], one_axis)
    for repeat in range(spec["repeats"]):
        for fold, parts in enumerate(maker(records, spec, repeat)):
            rows = defaultdict(list)
            for index, part in zip(records.index, parts):
                rows[{"early_stop": "train", "reference": "references"}.get(part, part)].append(index)
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
        stated = split.pop("hash")
        spec = split["spec"]
        of_profiles = spec["kind"] in UNSEEN
        records = Profiles(arguments[1]) if of_profiles else Records(arguments[1])
    except (OSError, ValueError, KeyError) as error:
        print(f"check_split: {error!r}", file=sys.stderr)
        return 2
    if spec["kind"] == "file":
        print("check_split: the folds of a user's file follow no rule", file=sys.stderr)
        return 2
    wanted = {spec["source"], spec["target"]} - {""}
    if of_profiles:
        records.only(lambda domain, context: domain in (wanted or {domain}) and
                     context in (spec["contexts"] or [context]))
    elif wanted:
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
        for part in ("train", "early_stop", "validation", "test") + (("references",) if of_profiles else ()):
            if rows[part] != stored[part]:
                print(f"repeat {repeat}, fold {fold}: {part} has {len(stored[part])} records in the file, "
                      f"{len(rows[part])} by the rule, {len(set(rows[part]) ^ set(stored[part]))} differ")
                differences += 1
    if differences == 0:
        print(f"{found} {spec['kind']}: {len(made)} folds of {len(records)} records agree")
    return 0 if differences == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
