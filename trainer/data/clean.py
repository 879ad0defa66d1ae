"""Owns the second stage: every candidate ends as a row or as a rejection with a reason; duplicates become one row.

Where people have corrected an answer or agreed on one, it is the answer to its input: what models themselves answered to the same
input gives way to it (`overruled`), so that nothing is learned that people found worse or left unsaid. A plan that a manager took
over stays beside it: that is a person's choice too. Judging is judge.py's, personal data personal_data.py's, likeness duplicates.py's. Knows nothing of the database.
"""

import hashlib
import json
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import shared_schemas
from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from trainer.data import describe, duplicates, personal_data
from trainer.data import judge as judging
from trainer.data.candidate import Candidate
from trainer.data.describe import clean_text
from trainer.data.duplicates import find_near
from trainer.data.extract import PEOPLE
from trainer.data.judge import Kept, Rejected, check_wording, judge
from trainer.data.personal_data import Names, Placeholders
from trainer.data.row import REJECTED, ROWS, Row, Source, make_row, write_rows, written_whole
from trainer.errors import BrokenRows
from trainer.stage import facts_before, run_stage, sources_sha256

TEXTS = {"title", "step_title", "description", "skills", "steps", "reasons", "recommended_actions", "overall_risks", "assumptions"}
"""Fields that hold people's or models' own words; the others are figures and closed lists."""
TRUST = {"human": 0, "ledger": 1, "snapshot": 2, "steps": 3}
MODELS_OWN = {"ledger", "snapshot"}
"""Kinds of candidates whose answer is a model's, just as it came."""
COMMIT_EVERY = 5_000
KEPT = "kept"
"""Beside the reasons for rejection: how the other candidates end."""

Progress = Callable[[str, int, int], None]


def run(previous: Path, folder: Path, *, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Clean the candidates that extract left in `previous`. Raises BrokenRows when they are not there.

    Facts: `rows`, `sha256`, `candidates`, `rejected` (in all), `reasons`, `by_source` (of each, those kept and the reasons
    of the others), `same` and `nearly_same` (collapsed into another row), `overruled` (distinct answers that gave way to
    people's), `personal_data` (replaced, by kind). Every candidate is counted once: kept or rejected.
    """
    facts = facts_before(previous, "clean")
    inputs = {"rows": facts["sha256"], "people": facts["people_sha256"], "code": sources_sha256(shared_schemas, describe, duplicates, judging, personal_data, sys.modules[__name__])}
    return run_stage(folder, inputs, lambda folder: _clean(previous, folder, facts["rows"], progress))


def _clean(previous: Path, folder: Path, total: int, progress: Progress) -> dict[str, Any]:
    people: dict[str, list[str]] = dict(json.loads(line) for line in (previous / PEOPLE).read_text(encoding="utf-8").split("\n") if line)
    database = sqlite3.connect(folder / "kept.sqlite")
    database.execute("pragma journal_mode = off")
    database.execute("pragma synchronous = off")
    database.execute("pragma cache_size = -131072")
    database.execute("create table kept (id text primary key, trust text, origin text, asked text, models_own integer, row text) without rowid")
    database.execute("create table placed (id text primary key, trust text, same integer, cluster integer) without rowid")
    database.execute("create table sources (id text, source_table text, source_id text, body text, primary key (id, source_table, source_id)) without rowid")
    try:
        counts = _judge_all(database, previous / ROWS, folder / REJECTED, people, total, progress)
        progress("duplicates", 0, total)
        (distinct,) = database.execute("select count(*) from kept").fetchone()
        overruled = _overrule(database)
        _group(database, folder)
        written = write_rows(folder / ROWS, _rows(database))
        counts |= {"same": counts.pop("kept") - distinct, "overruled": overruled, "nearly_same": distinct - overruled - written["rows"]}
        return {**written, **counts}
    finally:
        database.close()
        (folder / "kept.sqlite").unlink()


def _judge_all(database: sqlite3.Connection, path: Path, rejected: Path, people: Mapping[str, Sequence[str]], total: int, progress: Progress) -> dict[str, Any]:
    names = lru_cache(maxsize=256)(lambda org: Names(people.get(org or "", ())))
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    replaced, number = Counter[str](), 0
    with written_whole(rejected) as file:
        for number, candidate in enumerate(_candidates(path), 1):
            placeholders = Placeholders(names(candidate.org_id))
            try:
                row = cleaned(candidate, placeholders)
            except Rejected as why:
                ends[candidate.kind][why.reason] += 1
                file.write(json.dumps({"reason": why.reason, "detail": why.detail, "candidate": candidate.model_dump(mode="json")}) + "\n")
            else:
                ends[candidate.kind][KEPT] += 1
                replaced.update(placeholders.counts)
                _keep(database, row, models_own=candidate.kind in MODELS_OWN)
            if number % COMMIT_EVERY == 0:
                database.commit()
                progress("clean", number, total)
    database.commit()
    progress("clean", number, total)
    reasons = sum(ends.values(), Counter[str]())
    kept = reasons.pop(KEPT, 0)
    by_source = {kind: dict(sorted(counts.items())) for kind, counts in sorted(ends.items())}
    return {"candidates": number, "rejected": reasons.total(), "kept": kept, "reasons": dict(sorted(reasons.items())), "by_source": by_source, "personal_data": dict(sorted(replaced.items()))}


def cleaned(candidate: Candidate, placeholders: Placeholders) -> Row:
    """The row that a candidate is worth, without personal data. Raises Rejected."""
    kept = _judged_without_personal_data(candidate, placeholders)
    return make_row(
        candidate.feature,
        kept.origin,
        kept.prompt_input,
        kept.output,
        sources=sorted(candidate.sources, key=lambda source: (source.table, source.id)),
        prompt_version=kept.prompt_version,
        quality=kept.quality,
        copies=copies(candidate.sources),
    )


def _judged_without_personal_data(candidate: Candidate, placeholders: Placeholders) -> Kept:
    """The verdict on the candidate's whole texts without personal data: once they are shortened, half a number is none. Raises Rejected."""
    kept = judge(candidate)
    found = _replaced(candidate.found, placeholders)
    if not placeholders.given:
        return kept
    try:
        return judge(candidate.model_copy(update={"found": found}))
    except Rejected as error:
        raise Rejected("personal_data", f"once {dict(placeholders.counts)} are replaced: {error.detail}") from None


def without_personal_data(name: str, kept: Kept, placeholders: Placeholders) -> Kept:
    """The same answer with placeholders. Raises Rejected when it no longer fits its shape, or says nothing any more."""
    prompt_input, output = (_replaced(shape.model_dump(), placeholders) for shape in (kept.prompt_input, kept.output))
    if not placeholders.given:
        return kept
    feature = FEATURES[name]
    try:
        clean = Kept(kept.origin, kept.prompt_version, feature.prompt_input.model_validate(prompt_input), feature.output.model_validate(output), kept.quality)
        check_wording(name, clean.prompt_input, clean.output)
    except (ValidationError, Rejected) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.detail
        raise Rejected("personal_data", f"once {dict(placeholders.counts)} are replaced: {fault}") from None
    return clean


def _replaced(value: Any, placeholders: Placeholders, *, words: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, placeholders, words=key in TEXTS) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, placeholders, words=words) for item in value]
    return placeholders.replace(clean_text(value)) if words and isinstance(value, str) else value


def _candidates(path: Path) -> Iterator[Candidate]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Candidate.model_validate_json(line)
            except ValidationError as error:
                raise BrokenRows(f"Cannot read line {number} of {path}: {error.errors()[0]['msg']} (run extract again)") from None


def _keep(database: sqlite3.Connection, row: Row, *, models_own: bool) -> None:
    """Keep a row; of rows with the same content the most trusted and oldest stays, and all sources. It is a model's own while nobody else said it."""
    trust = f"{TRUST[row.origin]} {row.sources[0].created_at} {row.sources[0].id}"
    asked = hashlib.sha256(compact_json(row.prompt_input).encode()).hexdigest()
    database.execute(
        "insert into kept (id, trust, origin, asked, models_own, row) values (?, ?, ?, ?, ?, ?) on conflict (id) do update set "
        "models_own = min(models_own, excluded.models_own), trust = min(trust, excluded.trust), "
        "origin = iif(excluded.trust < trust, excluded.origin, origin), row = iif(excluded.trust < trust, excluded.row, row)",
        (row.id, trust, row.origin, asked, models_own, compact_json(row)),
    )
    database.executemany("insert or ignore into sources values (?, ?, ?, ?)", ((row.id, source.table, source.id, compact_json(source)) for source in row.sources))


def _overrule(database: sqlite3.Connection) -> int:
    """Drop models' own answers to inputs that people have answered; how many."""
    database.execute("create table answered as select distinct asked from kept where origin = 'human'")
    return database.execute("delete from kept where models_own and asked in (select asked from answered)").rowcount


def _group(database: sqlite3.Connection, folder: Path) -> None:
    """Give each distinct row its group of nearly the same rows and its cluster, as positions in the order of ids."""
    groups = find_near((likeness(Row.model_validate_json(text)) for (text,) in database.execute("select row from kept order by id")), folder)
    rows = database.execute("select id, trust from kept order by id")
    placed = ((*row, int(same), int(cluster)) for row, same, cluster in zip(rows, groups.same, groups.cluster, strict=True))
    database.executemany("insert into placed (id, trust, same, cluster) values (?, ?, ?, ?)", placed)
    database.execute("create index placed_same on placed (same, trust, id, cluster)")
    database.commit()


def likeness(row: Row) -> tuple[str, str]:
    """By what two rows are compared: what must be equal, and the words that may differ a little."""
    told = row.prompt_input
    if row.feature == "plan":
        steps = row.output.model_dump()["suggested_plan"]
        return " ".join(f"{step['phase']}{step['duration']}" for step in steps), "\n".join([told.title, told.model_dump()["description"], *FEATURES["plan"].prose(row.output)])
    given = told.model_dump()
    return f"{given['level']} {given['milestone']} {given['pace']} {row.output.model_dump()['risk_level']}", "\n".join([told.title, *FEATURES["risk"].prose(row.output)])


def _rows(database: sqlite3.Connection) -> Iterator[Row]:
    """The most trusted row of each group, with everybody's sources and its cluster's name, in the order of ids."""
    database.execute("create table chosen as select same, cluster, (select id from placed as one where one.same = placed.same order by trust, id limit 1) as id from placed group by same")
    database.execute("create table named as select cluster, min(id) as name from chosen group by cluster")
    database.execute("create index named_cluster on named (cluster)")
    chosen = database.execute("select kept.row, chosen.same, named.name from chosen join kept on kept.id = chosen.id join named on named.cluster = chosen.cluster order by kept.id")
    for text, same, cluster in chosen:
        row = Row.model_validate_json(text)
        bodies = database.execute("select distinct s.body from placed join sources as s on s.id = placed.id where placed.same = ? order by s.source_table, s.source_id", (same,))
        sources = [Source.model_validate_json(body) for (body,) in bodies]
        yield row.model_copy(update={"sources": sources, "copies": copies(sources), "cluster": cluster})


def copies(sources: Sequence[Source]) -> int:
    """How often an answer was found: an answer's ledger row and the snapshot of it are one."""
    return max(Counter(source.table for source in sources).values())
