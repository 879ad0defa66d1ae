"""Owns what counts as a leak between splits, and finds them: the same work, the same words, the same template.

Knows nothing of how splits are made. A row is a JSON object of `rows.jsonl`, so that a million of them can stream by;
only what is held out is kept in memory.

Inputs are compared by their weighted Jaccard index: a piece of a word weighs the more, the fewer held-out inputs have it.
Near ones are found exactly, not by hashing: with an index of at least t, two inputs share one of the rarest pieces that
make up 1 - t of the weight of either (prefix filter: Chaudhuri, Ganti, Kaushik 2006), so only those that do are looked at,
and only those compared in full that could still get there (as in PPJoin: Xiao et al. 2008).
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Line = Mapping[str, Any]
Kind = Literal["child", "task", "cluster", "same_input", "near_input", "template"]

KINDS: Mapping[Kind, str] = {
    "child": "a synthetic row and its seed, or two of one seed",
    "task": "rows of one task",
    "cluster": "near duplicates, as cleaning found them",
    "same_input": "inputs of the same words and figures",
    "near_input": "nearly the same input: other word order, endings, typos, fillers",
    "template": "plans that differ only in figures and in words of their input",
}

NEAR: Mapping[str, float] = {"risk": 0.7, "plan": 0.6}
"""Index from which on two inputs are near. A risk input's figures count, so two moments of unlike tasks are not."""

HAS_TEMPLATES = {"plan"}
"""A risk answer is five short sentences about figures: two of the same wording are counted (`shared_templates`), but they are no leak."""
ROUNDING = 1e-9
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")
_STOP = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "by",
        "can",
        "could",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "i",
        "in",
        "into",
        "is",
        "it",
        "its",
        "may",
        "must",
        "need",
        "needs",
        "of",
        "on",
        "or",
        "our",
        "please",
        "pls",
        "should",
        "so",
        "that",
        "the",
        "their",
        "there",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
_RISK_FIGURES = ("level", "milestone", "micro_task", "pace", "done_percent", "gone_percent", "steps_done", "steps_left", "budget_minutes", "spent_minutes", "delay_minutes")


@dataclass(frozen=True)
class Leak:
    """A row outside a held-out split that shares something with a row in it."""

    kind: Kind
    split: str
    held_id: str


def members(row: Line) -> frozenset[str]:
    """What an input is compared by: three-letter pieces of its words, and a risk input's figures."""
    asked = row["prompt_input"]
    if row["feature"] == "risk":
        return frozenset(_pieces(asked["title"])) | {f"{name}={asked[name]}" for name in _RISK_FIGURES}
    return frozenset(_pieces(f"{asked['title']} {asked['description']}")) | {f"skill={skill}" for skill in asked["skills"]}


def skeleton(row: Line) -> int:
    """A hash of the answer without its figures and without the words that it shares with its input."""
    asked = row["prompt_input"]
    own = {word for word in _words(f"{asked['title']} {asked.get('description', '')}") if len(word) > 2}
    said = "\n".join(_texts(row["output"]))
    bare = " ".join("*" if word in own else _DIGITS.sub("0", word) for word in _WORD.findall(said.casefold()))
    return int.from_bytes(hashlib.blake2b(re.sub(r"\*( \*)+", "*", bare).encode(), digest_size=8).digest(), "big")


def kinship(row: Line) -> Iterator[tuple[Kind, str]]:
    """What a row is bound to: its tasks, its cluster, and the seed that it or others vary."""
    yield from (("task", source["task_id"]) for source in row["sources"] if source["task_id"])
    if row["cluster"]:
        yield "cluster", row["cluster"]
    yield "child", row["seed_id"] or row["id"]


class HeldOut:
    """What is held out, ready to be compared with any number of rows."""

    def __init__(self, splits: Mapping[str, Sequence[Line]]) -> None:
        self._rows = [(split, str(row["id"])) for split, rows in splits.items() for row in rows]
        lines = [row for rows in splits.values() for row in rows]
        self._members = [members(row) for row in lines]
        self._near = NEAR[lines[0]["feature"]] if lines else 1.0
        rarity = Counter(member for found in self._members for member in found)
        self._weights = {member: math.log(1 + len(lines) / count) for member, count in rarity.items()}
        self._unseen = math.log(2 + len(lines))
        self._totals = [self._weight(found) for found in self._members]
        self._by_member: dict[str, list[int]] = defaultdict(list)
        for i, found in enumerate(self._members):
            for member in found:
                self._by_member[member].append(i)
        self._kin: dict[tuple[Kind, str], int] = {}
        self._skeletons: dict[int, int] = {}
        for i, row in enumerate(lines):
            for key in kinship(row):
                self._kin.setdefault(key, i)
            if _may_copy(row):
                self._skeletons.setdefault(skeleton(row), i)

    def leak(self, row: Line) -> Leak | None:
        """The first kind of leak by which the row belongs to a held-out one, or none."""
        for key in kinship(row):
            if key in self._kin:
                return self._found(key[0], self._kin[key])
        near = self._nearest(members(row))
        if near is not None:
            return self._found("same_input" if near[0] > 1 - ROUNDING else "near_input", near[1])
        if self._skeletons and _may_copy(row):
            which = self._skeletons.get(skeleton(row))
            return None if which is None else self._found("template", which)
        return None

    def likeness(self, row: Line, which: int) -> float:
        """The index of a row and the held-out one at a place: 0 for nothing in common, 1 for the same words."""
        found, held = members(row), self._members[which]
        return self._weight(found & held) / self._weight(found | held)

    def _found(self, kind: Kind, which: int) -> Leak:
        return Leak(kind, *self._rows[which])

    def _nearest(self, found: frozenset[str]) -> tuple[float, int] | None:
        """The likest held-out input that is near: its index and its place, the first of equals."""
        mine, best = self._weight(found), (0.0, 0)
        rarest, rest = self._rarest(found, mine)
        shared: dict[int, float] = defaultdict(float)
        for member in rarest:
            for i in self._by_member.get(member, ()):
                shared[i] += self._weights[member]
        for i, weight in shared.items():
            both = mine + self._totals[i]
            if weight + rest >= both * self._near / (1 + self._near) - ROUNDING:
                common = self._weight(found & self._members[i])
                best = max(best, (common / (both - common), -i))
        return (best[0], -best[1]) if best[0] >= self._near - ROUNDING else None

    def _rarest(self, found: frozenset[str], whole: float) -> tuple[list[str], float]:
        """The members that the prefix filter needs, and the weight of the rest; one that is not held out at all is the rarest."""
        ordered = sorted(found, key=lambda member: (-self._weights.get(member, self._unseen), member))
        left = whole
        for i, member in enumerate(ordered):
            left -= self._weights.get(member, self._unseen)
            if left < self._near * whole:
                return ordered[: i + 1], left
        return ordered, 0.0

    def _weight(self, found: frozenset[str]) -> float:
        weights, unseen = self._weights, self._unseen
        return sum([weights.get(member, unseen) for member in found])


def count_leaks(rows: Iterable[Line], held: HeldOut) -> dict[str, dict[str, int]]:
    """How many rows leak into each held-out split, by kind."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        leak = held.leak(row)
        if leak:
            counts[leak.split][leak.kind] += 1
    return {split: dict(sorted(kinds.items())) for split, kinds in sorted(counts.items())}


def shared_templates(train: Iterable[Line], held: Mapping[str, Sequence[Line]]) -> dict[str, int]:
    """For each held-out split, how many of its answers follow the template of a training answer. Of the template teacher's, most do."""
    waiting = {split: Counter(skeleton(row) for row in rows) for split, rows in held.items()}
    shared = dict.fromkeys(held, 0)
    for row in train:
        found = skeleton(row)
        for split, templates in waiting.items():
            shared[split] += templates.pop(found, 0)
    return shared


def _may_copy(row: Line) -> bool:
    """Whether an answer of another row's template is a leak: the template teacher has nothing else, which is counted instead."""
    return row["feature"] in HAS_TEMPLATES and row["origin"] != "template"


def _pieces(text: str) -> Iterator[str]:
    for word in _words(text):
        if word not in _STOP:
            padded = f"_{word}_"
            yield from (padded[i : i + 3] for i in range(len(padded) - 2))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _texts(output: Line) -> Iterator[str]:
    """Every text that a person reads, of either feature; a step's phase comes with its title."""
    yield from (f"{step['phase']} {step['title']}" for step in output.get("suggested_plan", ()))
    for name in ("overall_risks", "assumptions", "reasons", "recommended_actions"):
        yield from output.get(name, ())
