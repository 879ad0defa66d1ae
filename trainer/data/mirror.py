"""Owns the local copy of what may be read of the history: page by page into one SQLite file, and proven whole day by day.

What may be read is the database's to say (`slm_history_query`): rows that lose consent, or whose person asks to be
forgotten, leave the copy with the next update. How it stays right: the database sums up the content of each day (`slm_history_days`); days whose sum is not the one that
was last proven are read again. A day counts as proven when its sum was the same before and after it was read and as many
rows arrived as it has. So equal times, rows that were committed late, edits, deletions, a page that the server cut and
rows that come in meanwhile are all seen, and a mismatch that stays stops the run. Memory holds one page: some 4 MB, or one row.
Knows nothing of what the rows mean.
"""

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.errors import HistoryIncomplete
from trainer.supabase_client import SLOW_S, Project

ROUNDS = 5
"""How often a day that changes while it is read is read again before the run stops."""
WHOLE_SHARE = 0.2
"""From this share of a table on it is read whole, by its primary key: the app has no index on its times."""
UNDATED = "undated"

DEEPEST = 20
"""Levels of nesting; the deepest answer has four."""
LONGEST_JSON = 64 * 1024
"""Characters; the database sends one more of a longer value."""
LONGEST_NUMBER = 40
UNREADABLE = "unreadable"
"""The only key of what stands for JSON that nobody could have been sent; its value says what is wrong with it."""
VERSION = 2
"""Of the file: an older one is emptied and read anew."""

Days = Mapping[str, Sequence[Any]]
"""Of each day: how many rows, and the sum of their content."""
Progress = Callable[[str, int, int], None]
"""Is told the relation, how many rows have been read, and how many there are to read."""


Found = dict[str, Any]


@dataclass(frozen=True)
class Relation:
    """A table of the history: when a row came about, its columns that arrive as JSON text, and what a row is looked up by.

    `ref` and `request` are the values of a row by which others find it: a feature or a task, and a ledger row.
    """

    name: str
    dated: str
    json: tuple[str, ...]
    ref: Callable[[Found], Any]
    request: Callable[[Found], Any] = lambda _: None


def _inside(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


RELATIONS: Mapping[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation("slm_requests", "created_at", ("prompt_input", "output"), lambda row: row["feature"]),
        Relation("slm_human_answers", "created_at", ("output",), lambda row: row["feature"], lambda row: row["request_id"]),
        Relation("tasks", "created_at", ("skills", "ai_metadata"), lambda _: None, lambda row: _inside(row["ai_metadata"], "request_id")),
        Relation("task_steps", "created_at", (), lambda row: row["task_id"]),
        Relation(
            "task_risk_snapshots",
            "computed_at",
            ("reasons", "recommended_actions", "raw_llm_response"),
            lambda row: row["task_id"],
            lambda row: _inside(row["raw_llm_response"], "_meta", "request_id"),
        ),
    )
}


class Mirror:
    """The copy of one project's history. `database` is SQLite's: one table a relation with `id`, `day`, `org`, `ref`, `request` and `body` (JSON)."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def update(self, project: Project, relation: Relation, *, progress: Progress = lambda *_: None) -> dict[str, int]:
        """Bring one relation up to the database's present state. A killed update goes on where it was.

        Returns `rows` (in the copy), `read` (this time), `later` (rows dated in the future, left for then) and `withheld`
        (rows that may not be read). Raises HistoryIncomplete when what arrives is not what the database says it has, ProjectUnreachable.
        """
        counted = count_days(project, relation)
        until, days, read = str(counted["until"]), dict(counted["days"]), 0
        for _ in range(ROUNDS):
            self._forget_other_days(relation, days)
            reading = self._open_reading(relation) or self._begin_reading(relation, until, days)
            if reading is None:
                break
            read += self._read(project, relation, reading, progress)
            days = count_days(project, relation, until)["days"]
            self._end_reading(relation, reading, days if reading.until == until else count_days(project, relation, reading.until)["days"])
        self._forget_other_days(relation, days)
        day = min(self._stale(relation, days), default=None)
        if day is not None:
            raise HistoryIncomplete(
                f"Cannot read {relation.name}: {day} has {days[day][0]} rows in the database, {self._count(relation, day)} arrived, and it was read {ROUNDS} times (does it change all the time? run again)"
            )
        rows, kept = sum(count for count, _ in days.values()), self._count(relation)
        if kept != rows:
            raise HistoryIncomplete(f"Cannot read {relation.name}: the copy holds {kept} rows, the database {rows} (run again)")
        return {"rows": rows, "read": read, "later": int(counted["later"]), "withheld": int(counted["withheld"])}

    def holds(self, relation: Relation) -> bool:
        return bool(self.database.execute(f"select exists (select 1 from {relation.name})").fetchone()[0])

    def orgs(self) -> list[str | None]:
        """Every organisation that the copy holds rows of."""
        found = " union ".join(f"select org from {name}" for name in RELATIONS)
        return [org for (org,) in self.database.execute(f"{found} order by 1")]

    def stale_rows(self, project: Project, relation: Relation) -> tuple[int, int]:
        """How many rows an update would read, and how many there are. Changes nothing."""
        days = count_days(project, relation)["days"]
        return sum(days[day][0] for day in self._stale(relation, days)), sum(count for count, _ in days.values())

    def proven(self, relation: Relation) -> dict[str, list[Any]]:
        """The days of a relation that the copy is known to hold whole, each with its rows and sum: what is not among them is read next time."""
        return {day: json.loads(sums) for day, sums in self.database.execute("select day, proven from days where relation = ? order by day", (relation.name,))}

    # --- one reading: the days that it is for, what is left of it, and how far it has come ---

    def _begin_reading(self, relation: Relation, until: str, days: Days) -> "Reading | None":
        stale = self._stale(relation, days)
        if not stale:
            return None
        wanted, total = sum(days[day][0] for day in stale), sum(count for count, _ in days.values())
        whole = UNDATED in stale or wanted >= WHOLE_SHARE * total
        number = int(self.database.execute("select coalesce(max(number), 0) + 1 from readings").fetchone()[0])
        reading = Reading(number, until, {day: list(days[day]) for day in stale}, [] if whole else sorted(stale), total if whole else wanted)
        with self.database:
            self.database.execute("insert into readings (number, relation, state, after) values (?, ?, ?, null)", (number, relation.name, json.dumps(reading.__dict__)))
        return reading

    def _open_reading(self, relation: Relation) -> "Reading | None":
        row = self.database.execute("select state from readings where relation = ? and not ended", (relation.name,)).fetchone()
        return Reading(**json.loads(row[0])) if row else None

    def _read(self, project: Project, relation: Relation, reading: "Reading", progress: Progress) -> int:
        (position,) = self.database.execute("select after from readings where number = ?", (reading.number,)).fetchone()
        window, after = json.loads(position) if position else (0, None)
        read = 0
        while window < reading.windows:
            page = read_page(project, relation, reading.until, reading.day(window), after)
            if page:
                after = [page[-1][relation.dated], page[-1]["id"]]
            else:
                window, after = window + 1, None
            with self.database:
                self._keep(relation, reading, page)
                self.database.execute("update readings set after = ? where number = ?", (json.dumps([window, after]), reading.number))
            read += len(page)
            progress(relation.name, read, reading.rows)
        return read

    def _keep(self, relation: Relation, reading: "Reading", page: Sequence[Mapping[str, Any]]) -> None:
        rows = []
        for row in page:
            whole = {**row, **{column: read_json(row[column]) for column in relation.json}}
            at = instant(row[relation.dated])
            refs = (value if isinstance(value, str) else None for value in (relation.ref(whole), relation.request(whole)))
            rows.append((row["id"], at.date().isoformat() if at else UNDATED, row["org_id"], *refs, json.dumps(whole, separators=(",", ":"), allow_nan=False), reading.number))
        self.database.executemany(f"insert or replace into {relation.name} (id, day, org, ref, request, body, reading) values (?, ?, ?, ?, ?, ?, ?)", rows)

    def _end_reading(self, relation: Relation, reading: "Reading", now: Days) -> None:
        with self.database:
            for day, before in reading.days.items():
                self.database.execute(f"delete from {relation.name} where day = ? and reading <> ?", (day, reading.number))
                if list(now.get(day, ())) == before and self._count(relation, day) == before[0]:
                    self.database.execute("insert or replace into days (relation, day, proven) values (?, ?, ?)", (relation.name, day, json.dumps(before)))
            self.database.execute("update readings set ended = 1 where number = ?", (reading.number,))

    def _stale(self, relation: Relation, days: Days) -> set[str]:
        proven = self.proven(relation)
        return {day for day, sums in days.items() if proven.get(day) != list(sums)}

    def _forget_other_days(self, relation: Relation, days: Days) -> None:
        known = {day for (day,) in self.database.execute(f"select distinct day from {relation.name} union select day from days where relation = ?", (relation.name,))}
        with self.database:
            for day in known - set(days):
                self.database.execute(f"delete from {relation.name} where day = ?", (day,))
                self.database.execute("delete from days where relation = ? and day = ?", (relation.name, day))

    def _count(self, relation: Relation, day: str | None = None) -> int:
        which, values = ("where day = ?", (day,)) if day else ("", ())
        return int(self.database.execute(f"select count(*) from {relation.name} {which}", values).fetchone()[0])


@dataclass(frozen=True)
class Reading:
    """One pass over the days that are to be read: day by day by time, or (`by_day` empty) the whole table by its primary key."""

    number: int
    until: str
    days: dict[str, list[Any]]
    by_day: list[str]
    rows: int

    @property
    def windows(self) -> int:
        return len(self.by_day) or 1

    def day(self, window: int) -> str | None:
        """The day of one window; None for the whole table, undated rows included."""
        return self.by_day[window] if self.by_day else None


def count_days(project: Project, relation: Relation, until: str | None = None) -> dict[str, Any]:
    """What the database says it has: `until`, `days`, `later`, `withheld`."""
    limits = {"p_until": until} if until else {}
    return project.ask("slm_history_days", timeout_s=SLOW_S, p_relation=relation.name, **limits)


def read_page(project: Project, relation: Relation, until: str, day: str | None, after: Sequence[str] | None) -> list[Found]:
    """The next rows behind the time and id `after`, as few as the database finds right; none: that was all."""
    place = {"p_id": after[1]} if after and day is None else {"p_at": after[0], "p_id": after[1]} if after else {}
    window = {"p_day": day} if day else {}
    return project.ask_rows("slm_history_page", timeout_s=SLOW_S, p_relation=relation.name, p_until=until, **window, **place)


def read_json(text: str | None) -> Any:
    """The value of JSON that anybody may have written; where nobody could have been sent it, `{UNREADABLE: why}`."""
    if text is None:
        return None
    if len(text) > LONGEST_JSON:
        return {UNREADABLE: f"longer than {LONGEST_JSON} characters"}
    try:
        value = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError) as error:
        return {UNREADABLE: str(error) if isinstance(error, ValueError) else f"nested deeper than {DEEPEST} levels"}
    level, depth = [value], 0
    while level := [inner for outer in level if isinstance(outer, list | dict) for inner in (outer.values() if isinstance(outer, dict) else outer)]:
        depth += 1
        if depth > DEEPEST:
            return {UNREADABLE: f"nested deeper than {DEEPEST} levels"}
    return value


def _number(text: str) -> int | float:
    if len(text) > LONGEST_NUMBER or not math.isfinite(float(text)):
        raise ValueError(f"a number of {len(text)} characters that is no figure of a task")
    return float(text) if set(text) & set(".eE") else int(text)


@contextmanager
def open_mirror(work: Path, project_url: str) -> Iterator[Mirror]:
    """The copy in a working folder, made when there is none. Raises HistoryIncomplete when it belongs to another project, or is in use."""
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = work / "history.sqlite"
    path.touch(mode=0o600)
    path.chmod(0o600)
    database = sqlite3.connect(path, timeout=1)
    try:
        _prepare(database, path, project_url)
        yield Mirror(database)
    except sqlite3.OperationalError as error:
        raise HistoryIncomplete(f"Cannot use {path}: {error} (does another run use it?)") from None
    except sqlite3.DatabaseError as error:
        raise HistoryIncomplete(f"Cannot use {path}: {error} (delete it to read the history anew)") from None
    finally:
        database.close()


def _prepare(database: sqlite3.Connection, path: Path, project_url: str) -> None:
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    database.execute("pragma cache_size = -65536")
    database.execute("pragma locking_mode = exclusive")
    database.execute("pragma secure_delete = on")
    if database.execute("pragma user_version").fetchone() != (VERSION,):
        for name in ("days", "readings", *RELATIONS):
            database.execute(f"drop table if exists {name}")
        database.execute(f"pragma user_version = {VERSION}")
    with database:
        database.execute("create table if not exists project (url text primary key)")
        database.execute("create table if not exists days (relation text, day text, proven text, primary key (relation, day))")
        database.execute("create table if not exists readings (number integer primary key, relation text, state text, after text, ended integer not null default 0)")
        for name in RELATIONS:
            database.execute(f"create table if not exists {name} (id text primary key, day text, org text, ref text, request text, body text, reading integer) without rowid")
            for column in ("day", "org"):
                database.execute(f"create index if not exists {name}_{column} on {name} ({column})")
        database.execute("insert into project (url) select ? where not exists (select 1 from project)", (project_url,))
    (kept,) = database.execute("select url from project").fetchone()
    if kept != project_url:
        raise HistoryIncomplete(f"Cannot use {path}: it holds the history of {kept} (choose another --work-dir)")


def instant(text: Any) -> datetime | None:
    """A time as the database writes it, in UTC; None for what has no place in a calendar."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
