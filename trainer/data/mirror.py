"""Owns the local copy of the history's tables: read page by page into one SQLite file, and proven whole day by day.

How it stays right: the database sums up the content of each day (`slm_history_days`); days whose sum is not the one that
was last proven are read again. A day counts as proven when its sum was the same before and after it was read and as many
rows arrived as it has. So equal times, rows that were committed late, edits, deletions, a page that the server cut and
rows that come in meanwhile are all seen, and a mismatch that stays stops the run. Knows nothing of what the rows mean.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from trainer.errors import HistoryIncomplete
from trainer.supabase_client import Project

ROUNDS = 5
"""How often a day that changes while it is read is read again before the run stops."""
WHOLE_SHARE = 0.2
"""From this share of a table on it is read whole, by its primary key: the app has no index on its times."""
UNDATED = "undated"

Days = Mapping[str, Sequence[Any]]
"""Of each day: how many rows, and the sum of their content."""
Progress = Callable[[str, int, int], None]
"""Is told the relation, how many rows have been read, and how many there are to read."""


@dataclass(frozen=True)
class Relation:
    """A table of the history: its columns that we read, when a row came about, and what a row is looked up by."""

    name: str
    dated: str
    columns: tuple[str, ...]
    ref: Callable[[Mapping[str, Any]], Any]


def _request_id(task: Mapping[str, Any]) -> Any:
    metadata = task["ai_metadata"]
    return metadata.get("request_id") if isinstance(metadata, dict) else None


RELATIONS: Mapping[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation(
            "slm_requests",
            "created_at",
            ("id", "created_at", "org_id", "user_id", "task_id", "feature", "prompt_input", "output", "provider", "model", "prompt_version", "status"),
            lambda row: row["feature"],
        ),
        Relation(
            "tasks",
            "created_at",
            ("id", "created_at", "started_at", "org_id", "title", "description", "skills", "allocated_hours", "assigned_to", "assigned_by", "ai_metadata"),
            _request_id,
        ),
        Relation(
            "task_steps",
            "created_at",
            ("id", "created_at", "org_id", "task_id", "stage_id", "step_title", "order_index", "estimated_hours", "created_by", "created_by_role"),
            lambda row: row["task_id"],
        ),
        Relation(
            "task_risk_snapshots",
            "computed_at",
            (
                "id",
                "computed_at",
                "org_id",
                "task_id",
                "elapsed_hours",
                "steps_completed",
                "total_steps",
                "progress_ratio",
                "predicted_total_hours",
                "predicted_delay_hours",
                "risk_level",
                "reasons",
                "recommended_actions",
                "model_used",
                "raw_llm_response",
            ),
            lambda row: row["task_id"],
        ),
    )
}


class Mirror:
    """The copy of one project's history. `database` is SQLite's: one table a relation with `id`, `day`, `ref` and `body` (JSON)."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def update(self, project: Project, relation: Relation, *, progress: Progress = lambda *_: None) -> dict[str, int]:
        """Bring one relation up to the database's present state. A killed update goes on where it was.

        Returns `rows` (in the copy), `read` (this time) and `later` (rows dated in the future, left for then).
        Raises HistoryIncomplete when what arrives is not what the database says it has, ProjectUnreachable.
        """
        counted = project.ask("slm_history_days", p_relation=relation.name)
        until, days, read = str(counted["until"]), dict(counted["days"]), 0
        for _ in range(ROUNDS):
            self._forget_other_days(relation, days)
            reading = self._open_reading(relation) or self._begin_reading(relation, until, days)
            if reading is None:
                return {"rows": sum(count for count, _ in days.values()), "read": read, "later": int(counted["later"])}
            read += self._read(project, relation, reading, progress)
            self._end_reading(relation, reading, project.ask("slm_history_days", p_relation=relation.name, p_until=reading.until)["days"])
            days = dict(project.ask("slm_history_days", p_relation=relation.name, p_until=until)["days"])
        self._forget_other_days(relation, days)
        day = min(self._stale(relation, days), default=None)
        if day is None:
            return {"rows": sum(count for count, _ in days.values()), "read": read, "later": int(counted["later"])}
        raise HistoryIncomplete(
            f"Cannot read {relation.name}: {day} has {days[day][0]} rows in the database, {self._count(relation, day)} arrived, and it was read {ROUNDS} times (does it change all the time? run again)"
        )

    def stale_rows(self, project: Project, relation: Relation) -> tuple[int, int]:
        """How many rows an update would read, and how many there are. Changes nothing."""
        days = project.ask("slm_history_days", p_relation=relation.name)["days"]
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
            keys, bounds = reading.window(relation, window)
            page = project.page(relation.name, ",".join(relation.columns), keys=keys, after=after, bounds=bounds)
            if page:
                after = [page[-1][key] for key in keys]
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
            at = instant(row[relation.dated])
            if at is None or at <= reading.until_instant:
                ref = relation.ref(row)
                rows.append((row["id"], at.date().isoformat() if at else UNDATED, ref if isinstance(ref, str) else None, json.dumps(row, separators=(",", ":")), reading.number))
        self.database.executemany(f"insert or replace into {relation.name} (id, day, ref, body, reading) values (?, ?, ?, ?, ?)", rows)

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
        known = {day for (day,) in self.database.execute("select day from days where relation = ?", (relation.name,))}
        with self.database:
            for day in known - set(days):
                self.database.execute(f"delete from {relation.name} where day = ?", (day,))
                self.database.execute("delete from days where relation = ? and day = ?", (relation.name, day))

    def _count(self, relation: Relation, day: str) -> int:
        return int(self.database.execute(f"select count(*) from {relation.name} where day = ?", (day,)).fetchone()[0])


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

    @property
    def until_instant(self) -> datetime:
        at = instant(self.until)
        assert at is not None
        return at

    def window(self, relation: Relation, number: int) -> tuple[tuple[str, ...], list[tuple[str, str, str]]]:
        """Keys to page by and bounds of one window. Undated rows have no bound that a server knows: they come with the whole table."""
        if not self.by_day:
            return ("id",), [] if UNDATED in self.days else [(relation.dated, "lte", self.until)]
        day = date.fromisoformat(self.by_day[number])
        bounds = [(relation.dated, "gte", f"{day}T00:00:00+00:00"), (relation.dated, "lte", self.until)]
        if day < date.max:
            bounds.append((relation.dated, "lt", f"{day + timedelta(days=1)}T00:00:00+00:00"))
        return (relation.dated, "id"), bounds


@contextmanager
def open_mirror(work: Path, project_url: str) -> Iterator[Mirror]:
    """The copy in a working folder, made when there is none. Raises HistoryIncomplete when it belongs to another project, or is in use."""
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = work / "history.sqlite"
    path.touch(mode=0o600)
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
    with database:
        database.execute("create table if not exists project (url text primary key)")
        database.execute("create table if not exists days (relation text, day text, proven text, primary key (relation, day))")
        database.execute("create table if not exists readings (number integer primary key, relation text, state text, after text, ended integer not null default 0)")
        for name in RELATIONS:
            database.execute(f"create table if not exists {name} (id text primary key, day text, ref text, body text, reading integer) without rowid")
            database.execute(f"create index if not exists {name}_day on {name} (day)")
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
