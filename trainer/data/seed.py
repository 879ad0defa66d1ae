"""Owns putting the made-up history into a local project, and the comparison of what became of it with the truth.

Knows nothing of how rows are judged.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import regex

from trainer.data.history import KEYS, LEDGER_SINCE, TABLES, Truth, make_history
from trainer.data.row import REJECTED, ROWS, stage_folder, write_lines
from trainer.errors import BrokenRows, ProjectUnreachable
from trainer.supabase_client import PAGE, Project

TRUTH = "truth.jsonl"
GOAL = 0.99
_TOKEN = regex.compile(r"\p{L}{2,}|\d{3,}")
_PLACEHOLDER = regex.compile(r"\[(?:name|email|phone|url|secret|id|ip|card) \d+\]")


def seed_history(project: Project, url: str, work: Path, *, size: int, seed: int, progress: Callable[[str, int, int], None] = lambda *_: None) -> dict[str, int]:
    """Write the history into the project and its truth into the working folder. Again: changes nothing.

    Returns how many rows each table got. Raises ProjectUnreachable for a project that is not on this machine: a made-up
    history never gets into a real one.
    """
    if urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise ProjectUnreachable(f"Cannot seed {url}: only a project on this machine is given a made-up history")
    waiting: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    counts: Counter[str] = Counter()

    def flush() -> None:
        for table in TABLES:
            for columns in {tuple(row) for row in waiting[table]}:
                project.add(table, [row for row in waiting[table] if tuple(row) == columns], key=KEYS.get(table, "id"))
            counts[table] += len(waiting[table])
            waiting[table] = []

    def lines() -> Iterator[str]:
        for number, story in enumerate(make_history(size, seed=seed), 1):
            for table, rows in story.rows.items():
                waiting[table] += rows
            yield from (json.dumps(asdict(truth), ensure_ascii=False) for truth in story.truths)
            if max(map(len, waiting.values())) >= PAGE:
                flush()
                progress("seed", number, size)
        flush()
        progress("seed", size, size)

    project.update("slm_operator_settings", ("id", "true"), ledger_since=LEDGER_SINCE.isoformat())
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_lines(work / TRUTH, lines())
    return dict(counts)


@dataclass(frozen=True)
class Agreement:
    """How rows of one kind ended beside how they should have: counts of rows."""

    rows: int
    should_be_kept: int
    kept: int
    rightly_kept: int
    right_end: int

    @property
    def precision(self) -> float:
        return self.rightly_kept / self.kept if self.kept else 1.0

    @property
    def recall(self) -> float:
        return self.rightly_kept / self.should_be_kept if self.should_be_kept else 1.0

    @property
    def right(self) -> float:
        """The share that ended as it should: kept, withheld, or rejected for the right reason."""
        return self.right_end / self.rows

    @property
    def is_good(self) -> bool:
        return min(self.precision, self.recall, self.right) >= GOAL


@dataclass(frozen=True)
class Report:
    sources: dict[str, Agreement]
    traps: dict[str, Agreement]
    personal_data: dict[str, float]
    wrong: list[str]
    """The first rows that did not end as they should."""

    @property
    def is_good(self) -> bool:
        agreed = all(one.is_good for one in [*self.sources.values(), *self.traps.values()])
        return agreed and min(self.personal_data["recall"], self.personal_data["precision"]) >= GOAL


def check_history(work: Path) -> Report:
    """Compare what clean left with the truth. Raises BrokenRows when either is not there."""
    truths = [Truth(**{**json.loads(line), "planted": tuple(json.loads(line)["planted"])}) for line in _lines(work / TRUTH, "seed")]
    ends, kept_texts = _ends(work)
    by_source, by_trap = defaultdict[str, list[tuple[Truth, str]]](list), defaultdict[str, list[tuple[Truth, str]]](list)
    wrong: list[str] = []
    for truth in truths:
        end = ends.get((truth.table, truth.id), "withheld")
        by_source[truth.table].append((truth, end))
        by_trap[truth.trap].append((truth, end))
        if end != truth.ends and len(wrong) < 20:
            wrong.append(f"{truth.table} {truth.id} ({truth.trap}): {end} instead of {truth.ends}")
    return Report(_agreements(by_source), _agreements(by_trap), _personal_data(truths, kept_texts), wrong)


def _ends(work: Path) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """How each source row ended, and the text of the row that kept it. A row that was kept once is kept."""
    ends: dict[tuple[str, str], str] = {}
    texts: dict[tuple[str, str], str] = {}
    for feature in ("risk", "plan"):
        folder = stage_folder(work, feature, "clean")
        for line in _lines(folder / REJECTED, "clean"):
            rejected = json.loads(line)
            source = rejected["candidate"]["sources"][0]
            ends[source["table"], source["id"]] = rejected["reason"]
            if rejected["candidate"]["kind"] == "steps":
                ends |= {(one["table"], one["id"]): rejected["reason"] for one in rejected["candidate"]["sources"] if one["table"] == "tasks"}
        for line in _lines(folder / ROWS, "clean"):
            row = json.loads(line)
            for source in row["sources"]:
                ends[source["table"], source["id"]] = "kept"
                texts[source["table"], source["id"]] = json.dumps([row["prompt_input"], row["output"]], ensure_ascii=False)
    return ends, texts


def _agreements(groups: dict[str, list[tuple[Truth, str]]]) -> dict[str, Agreement]:
    return {
        name: Agreement(
            rows=len(pairs),
            should_be_kept=sum(truth.ends == "kept" for truth, _ in pairs),
            kept=sum(end == "kept" for _, end in pairs),
            rightly_kept=sum(truth.ends == end == "kept" for truth, end in pairs),
            right_end=sum(truth.ends == end for truth, end in pairs),
        )
        for name, pairs in sorted(groups.items())
    }


def _personal_data(truths: list[Truth], texts: dict[tuple[str, str], str]) -> dict[str, float]:
    """Of what was planted in kept rows, how much is gone whole: no word or run of three digits of it is left between other
    words (recall). Of the placeholders there, how many stand for something planted (precision).
    """
    planted = gone = placeholders = rightly = 0
    for truth in truths:
        text = texts.get((truth.table, truth.id))
        if text is not None:
            here = len(set(_PLACEHOLDER.findall(text)))
            words = set(_TOKEN.findall(_PLACEHOLDER.sub(" ", text).casefold()))
            gone_here = sum(words.isdisjoint(_TOKEN.findall(secret.casefold())) for secret in truth.planted)
            planted, gone, placeholders, rightly = planted + len(truth.planted), gone + gone_here, placeholders + here, rightly + min(here, len(truth.planted))
    return {"planted": planted, "recall": gone / planted if planted else 1.0, "placeholders": placeholders, "precision": rightly / placeholders if placeholders else 1.0}


def _lines(path: Path, stage: str) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except FileNotFoundError:
        raise BrokenRows(f"Cannot check {path}: it is not there (run `data {stage}` first)") from None
