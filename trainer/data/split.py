"""Owns who trains, who is held out, and what is put aside because it would leak from one into the other.

Whole groups go one way: rows of one organisation (where there are enough organisations), of one task, of one cluster of
near duplicates (unless these chain nearly all rows), a synthetic row with its seed. Where rows have a time the newest are held out. The gold set is frozen in a
file beside the stages as soon as it holds rows of the history, and nothing near it ever trains; until then it is provisional:
made-up rows, chosen anew each time. Rows stream by: only what is held out is kept in memory, and some bytes for each row.
"""

import json
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from inference.model_store import file_sha256
from trainer.data import leakage
from trainer.data.leakage import HeldOut, Line, count_leaks, kinship, shared_templates
from trainer.data.row import ROWS, written_whole
from trainer.errors import BrokenRows
from trainer.stage import facts_before, run_stage, sources_sha256, write_json

SYNTHETIC = {"teacher", "template"}
SPLITS = ("train", "validation", "test", "gold")
HELD_OUT = ("test", "gold", "validation")
"""In the order in which they take their groups, the newest first."""
GOLD = "gold.jsonl"
SET_ASIDE = "set_aside.jsonl"
LEAKAGE = "leakage.json"
GROUPINGS: tuple[tuple[str, ...], ...] = (("org", "task", "cluster", "child"), ("task", "cluster", "child"), ("task", "child"))
"""The first that leaves at least half of what each held-out split wants. One organisation alone cannot be split by organisation,
and where answers are alike, tasks and clusters chain all rows into one group: then clusters are cut, and what is near a
held-out row is put aside instead.
"""
TRAIN, ASIDE, LEAKED = 0, 255, 254


@dataclass(frozen=True)
class SplitOptions:
    """Shares of all rows, and the most that each split needs: a test on more rows says nothing more."""

    feature: str
    seed: int = 20261122
    validation: float = 0.05
    test: float = 0.1
    gold: float = 0.1
    most: tuple[int, int, int] = (1000, 2000, 200)
    """Of validation, test and gold."""
    progress: Callable[[str], None] = lambda _: None

    def wanted(self, split: str, rows: int) -> int:
        most = dict(zip(("validation", "test", "gold"), self.most, strict=True))
        return min(most[split], round(rows * {"validation": self.validation, "test": self.test, "gold": self.gold}[split]))


def run(previous: Path, folder: Path, options: SplitOptions) -> dict[str, Any]:
    """Facts: rows of each split and put aside, whether gold is frozen, how it was grouped, what leaked and was put aside, what is left (nothing)."""
    before, rows = facts_before(previous, "split"), previous / ROWS
    gold = choose_gold(rows, folder.parent / GOLD, options)
    inputs = {
        "rows": before.get("sha256"),
        "gold": sha256("".join(gold).encode()).hexdigest(),
        "options": [options.feature, options.seed, options.validation, options.test, options.gold, list(options.most)],
        "code": sources_sha256(leakage, sys.modules[__name__]),
    }
    return run_stage(folder, inputs, lambda folder: _make(rows, gold, folder, options))


def choose_gold(rows: Path, frozen: Path, options: SplitOptions) -> list[str]:
    """The lines of the frozen gold set; where there is none, those chosen now, which are frozen if they are of the history.

    Raises BrokenRows where there are no rows.
    """
    known = _real(_lines(frozen)) if frozen.exists() else []
    if known:
        return known
    plan = _plan(rows, [], options)
    if not plan.split:
        raise BrokenRows(f"Cannot split {rows}: it holds no rows (was there any history to extract, or anything to synthesise?)")
    which = 1 + HELD_OUT.index("gold")
    chosen = [line for i, line in enumerate(_lines(rows)) if plan.split[i] == which]
    real = _real(chosen)
    if real:
        with written_whole(frozen) as file:
            file.writelines(real)
    return real or chosen


def _real(lines: Iterable[str]) -> list[str]:
    """Without what a teacher made."""
    return [line for line in lines if json.loads(line)["origin"] not in SYNTHETIC]


@dataclass(frozen=True)
class Plan:
    """`split`: for each row, by its place in the file: 0 for training, 1 + the place in HELD_OUT, or ASIDE. `times`: of its newest source, in microseconds, or 0.

    `passed_over`: groups and rows that are newer than some that are held out, but too large to be.
    """

    split: bytearray
    grouped_by: tuple[str, ...]
    groups: int
    largest_group: int
    times: "array[int]"
    passed_over: tuple[int, int]


def _make(rows: Path, gold: Sequence[str], folder: Path, options: SplitOptions) -> dict[str, Any]:
    frozen = [json.loads(line) for line in gold]
    plan = _plan(rows, frozen, options)
    held: dict[str, list[Line]] = {"gold": frozen, "test": [], "validation": []}
    aside: Counter[str] = Counter()
    places = {1 + HELD_OUT.index(split): split for split in HELD_OUT if split != "gold"}
    gold_ids = {row["id"] for row in frozen}
    gold_seen = 0
    with written_whole(folder / SET_ASIDE) as put_aside:

        def leave_out(row: Line, reason: str, near: str | None) -> None:
            aside[reason] += 1
            put_aside.write(json.dumps({"reason": reason, "near": near, "row": row}, ensure_ascii=False, separators=(",", ":")) + "\n")

        for split in ("test", "validation"):
            against = HeldOut(held)
            chosen = {i: json.loads(line) for i, line in enumerate(_lines(rows)) if places.get(plan.split[i]) == split}
            for i, row in chosen.items():
                leak = against.leak(row)
                if leak:
                    plan.split[i] = LEAKED
                    leave_out(row, f"{leak.kind}, {leak.split}", leak.held_id)
                else:
                    held[split].append(row)
        against = HeldOut(held)
        with written_whole(folder / "train.jsonl") as train:
            for i, line in enumerate(_lines(rows)):
                if i % 50_000 == 0:
                    options.progress(f"split: {i} of {len(plan.split)} rows")
                if plan.split[i] not in (TRAIN, ASIDE):
                    continue
                row = json.loads(line)
                leak = against.leak(row)
                if leak or plan.split[i] == ASIDE:
                    plan.split[i] = LEAKED
                    if row["id"] in gold_ids:
                        gold_seen += 1
                    else:
                        leave_out(row, f"{leak.kind}, {leak.split}" if leak else "group, gold", leak.held_id if leak else None)
                else:
                    train.write(line)
    for split, lines in held.items():
        with written_whole(folder / f"{split}.jsonl") as file:
            file.writelines(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    report = {
        "grouped_by": list(plan.grouped_by),
        "groups": plan.groups,
        "largest_group": plan.largest_group,
        "times": _separation(plan),
        "newer_but_too_large_to_hold_out": dict(zip(("groups", "rows"), plan.passed_over, strict=True)),
        "set_aside": dict(sorted(aside.items())),
        "left": audit(folder),
        "same_answer_template_as_training": shared_templates(map(json.loads, _lines(folder / "train.jsonl")), held),
    }
    write_json(folder / LEAKAGE, report)
    counted = {split: _count(folder / f"{split}.jsonl") for split in SPLITS}
    told = counted["train"] + counted["validation"] + counted["test"] + gold_seen + aside.total()
    if told != len(plan.split):
        raise BrokenRows(f"Cannot split {rows}: of {len(plan.split)} rows {told} are in one split or put aside (this is a fault of the trainer's: please report it)")
    return {
        "rows": counted,
        "set_aside": aside.total(),
        "gold": "frozen" if _real(gold) else "provisional",
        "sha256": {split: file_sha256(folder / f"{split}.jsonl") for split in SPLITS},
        "leakage": report,
    }


def audit(folder: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Leaks from each split's written file into those that it must not touch, by kind: empty when there are none.

    Looks at the files alone, so it holds for any that somebody has put there.
    """
    held = {split: [json.loads(line) for line in _lines(folder / f"{split}.jsonl")] for split in ("gold", "test", "validation")}
    into = {"test": ("gold",), "validation": ("gold", "test"), "train": ("gold", "test", "validation")}
    found = {split: count_leaks(map(json.loads, _lines(folder / f"{split}.jsonl")), HeldOut({name: held[name] for name in others})) for split, others in into.items()}
    return {split: leaks for split, leaks in found.items() if leaks}


# --- groups --------------------------------------------------------------------------------------------------------


class Groups:
    """Which rows belong together (disjoint sets with path halving: Tarjan, van Leeuwen 1984), 4 bytes a row."""

    def __init__(self, rows: int) -> None:
        self._parent = array("I", range(rows))

    def join(self, a: int, b: int) -> None:
        a, b = self.of(a), self.of(b)
        self._parent[max(a, b)] = min(a, b)

    def of(self, row: int) -> int:
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row


def _plan(rows: Path, frozen: Sequence[Line], options: SplitOptions) -> Plan:
    """Where each row goes, before any words are compared."""
    seeds = {seed for line in _lines(rows) if '"seed_id":"' in line and (seed := json.loads(line)["seed_id"])}
    times, hashes = array("q"), array("Q")
    keys: dict[str, tuple[array[int], array[int]]] = {kind: (array("I"), array("Q")) for kind in GROUPINGS[0]}
    gold_keys = {_number(kind, value) for row in frozen for kind, value in _keys(row, None) if kind != "org"}
    gold_ids, gold_clusters = {row["id"] for row in frozen}, set[int]()
    gold_rows = bytearray()
    for i, line in enumerate(_lines(rows)):
        row = json.loads(line)
        is_gold = False
        for kind, value in _keys(row, seeds):
            number = _number(kind, value)
            keys[kind][0].append(i)
            keys[kind][1].append(number)
            is_gold = is_gold or number in gold_keys
            if kind == "cluster" and row["id"] in gold_ids:
                gold_clusters.add(number)
        times.append(max((_microseconds(source["created_at"]) for source in row["sources"]), default=0) if row["seed_id"] is None else 0)
        hashes.append(_number(str(options.seed), row["id"]))
        gold_rows.append(is_gold or _number("child", row["id"]) in gold_keys)
    # A cluster is called by its first row, so a new one may have renamed it since the gold set was frozen.
    for place, number in zip(*keys["cluster"], strict=True):
        gold_rows[place] |= number in gold_clusters
    plan = None
    for grouping in GROUPINGS:
        plan = _assigned(_grouped(len(times), [keys[kind] for kind in grouping]), times, hashes, gold_rows, grouping, options, has_gold=bool(frozen))
        counts = Counter(plan.split)
        wanted = {1 + place: options.wanted(split, len(times)) for place, split in enumerate(HELD_OUT) if not (frozen and split == "gold")}
        if all(2 * counts[place] >= count for place, count in wanted.items()):
            break
    assert plan is not None
    return plan


def _grouped(rows: int, keys: Iterable[tuple["array[int]", "array[int]"]]) -> Groups:
    groups = Groups(rows)
    for places, numbers in keys:
        first: dict[int, int] = {}
        for place, number in zip(places, numbers, strict=True):
            groups.join(first.setdefault(number, place), place)
    return groups


def _assigned(groups: Groups, times: "array[int]", hashes: "array[int]", aside: bytearray, grouping: tuple[str, ...], options: SplitOptions, *, has_gold: bool) -> Plan:
    """Whole groups to the held-out splits, the newest first; those without a time, by chance from the seed, in the same share.

    Gold is history where there is any: models are judged by what people really asked.
    """
    rows = len(times)
    size, newest, chance = array("I", bytes(4 * rows)), array("q", times), array("Q", hashes)
    for i in range(rows):
        if aside[i]:
            continue
        root = groups.of(i)
        size[root] += 1
        newest[root] = max(newest[root], times[i])
        chance[root] = min(chance[root], hashes[i])
    roots = [i for i in range(rows) if size[i]]
    place = bytearray(rows)
    passed_over: list[int] = []
    pools = [[root for root in roots if bool(newest[root]) is timed] for timed in (True, False)]
    sizes = [sum(size[root] for root in pool) for pool in pools]
    for pool, share in zip(pools, sizes, strict=True):
        left = {1 + which: round(options.wanted(split, sum(sizes)) * share / sum(sizes)) for which, split in enumerate(HELD_OUT) if share}
        gold = 1 + HELD_OUT.index("gold")
        if has_gold or (sizes[0] and pool is not pools[0]):
            left.pop(gold, None)
        elif left:
            left[gold] = options.wanted("gold", share)
        no_room: list[int] = []
        for root in sorted(pool, key=lambda root: (-newest[root], chance[root])):
            target = next((which for which, room in left.items() if size[root] <= room), TRAIN)
            if target:
                place[root] = target
                left[target] -= size[root]
                passed_over += no_room
                no_room.clear()
            elif not any(left.values()):
                break
            elif newest[root]:
                no_room.append(root)
    split = bytearray(ASIDE if aside[i] else place[groups.of(i)] for i in range(rows))
    return Plan(split, grouping, len(roots), max(size, default=0), times, (len(passed_over), sum(size[root] for root in passed_over)))


def _separation(plan: Plan) -> dict[str, Any]:
    """How far training and test lie apart in time. A group goes whole, so some training rows may be as new as the oldest of the test: they are counted."""
    test = 1 + HELD_OUT.index("test")
    newest = max((time for time, split in zip(plan.times, plan.split, strict=True) if split == TRAIN), default=0)
    oldest = min((time for time, split in zip(plan.times, plan.split, strict=True) if split == test and time), default=0)
    overlap = sum(split == TRAIN and time >= oldest for time, split in zip(plan.times, plan.split, strict=True)) if oldest else 0
    return {"newest_in_training": _text(newest), "oldest_in_test": _text(oldest), "training_rows_as_new_as_test": overlap}


def _keys(row: Line, seeds: set[str] | None) -> Iterator[tuple[str, str]]:
    """What binds a row to others. `seeds`: the rows that are varied (None: any may be)."""
    yield from (("org", source["org_id"]) for source in row["sources"] if source["org_id"])
    yield from ((kind, value) for kind, value in kinship(row) if kind != "child" or seeds is None or value in seeds)


def _number(kind: str, value: str) -> int:
    return int.from_bytes(blake2b(f"{kind} {value}".encode(), digest_size=8).digest(), "big")


def _microseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1_000_000)


def _text(microseconds: int) -> str | None:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat() if microseconds else None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except FileNotFoundError:
        raise BrokenRows(f"Cannot read {path}: it is not there (run the stage before it)") from None


def _count(path: Path) -> int:
    return sum(1 for _ in _lines(path))
