"""Owns the first stage: the history's tables in, one candidate for each answer that they may hold out.

Which organisations let their history train, and who asked to be forgotten, is settled here: nothing of theirs leaves.
Whether an answer is any good is clean's to say.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shared_schemas.features.plan import PHASES
from trainer.data import candidate as candidate_module
from trainer.data import mirror as mirror_module
from trainer.data.candidate import Candidate
from trainer.data.describe import MOST_SIMILAR
from trainer.data.mirror import RELATIONS, UNDATED, Mirror, Progress, instant
from trainer.data.row import ROWS, Source, write_lines
from trainer.stage import digest, run_stage, sources_sha256
from trainer.supabase_client import Project

PEOPLE = "people.jsonl"
"""One line an organisation: its id and the full names of its people."""
NEEDS: Mapping[str, tuple[str, ...]] = {"risk": ("slm_requests", "tasks", "task_risk_snapshots"), "plan": ("slm_requests", "tasks", "task_steps")}
PLANNED_WITHIN = timedelta(minutes=10)
"""The app saves a plan's steps together with the task; what a manager adds later is no part of it."""
SIMILAR_WITHIN = timedelta(days=183)
MOST_LOOKED_AT = 1_000
"""Earlier tasks of an organisation that are looked at for two similar ones, the newest first."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for a time that is none."""

Found = dict[str, Any]


@dataclass(frozen=True)
class Consent:
    """Whose history may train."""

    allowed: Mapping[str | None, bool]
    forgotten: frozenset[str]
    ledger_since: datetime

    def why_not(self, orgs: set[str | None], people: set[str | None]) -> str | None:
        if not all(self.allowed.get(org, self.allowed.get(None, False)) for org in orgs):
            return "no_training"
        return "erased" if people & self.forgotten else None


def read_consent(project: Project) -> Consent:
    settings = _all(project, "slm_org_settings", "id,org_id,allow_training")
    erasures = _all(project, "slm_erasures", "user_id", key="user_id")
    since = instant(project.rows("slm_operator_settings", order="id")[0]["ledger_since"])
    assert since is not None
    return Consent({row["org_id"]: row["allow_training"] for row in settings}, frozenset(row["user_id"] for row in erasures), since)


def read_people(project: Project) -> dict[str, list[str]]:
    """The full names of every organisation's people."""
    people: dict[str, list[str]] = {}
    for row in _all(project, "profiles", "id,org_id,full_name"):
        if row["full_name"]:
            people.setdefault(row["org_id"] or "", []).append(row["full_name"])
    return {org: sorted(set(names)) for org, names in sorted(people.items())}


def _all(project: Project, relation: str, columns: str, *, key: str = "id") -> Iterator[dict[str, Any]]:
    after: list[str] | None = None
    while page := project.page(relation, columns, keys=(key,), after=after):
        yield from page
        after = [page[-1][key]]


def update_mirror(mirror: Mirror, project: Project, feature: str, *, progress: Progress = lambda *_: None) -> dict[str, dict[str, int]]:
    """Bring what a feature needs up to the database's present state; facts of each relation."""
    return {name: mirror.update(project, RELATIONS[name], progress=progress) for name in NEEDS[feature]}


def extract(mirror: Mirror, project: Project, feature: str, folder: Path, *, since: str | None = None, limit: int | None = None, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Write the candidates of one feature: `since` an ISO day or time, at most `limit` of each kind.

    Facts: `rows`, `sha256`, `kinds`, `withheld`, `read_up_to` (the newest day of each table); of this run, not kept: `tables`
    with `rows`, `read`, `later` of each.
    """
    tables = update_mirror(mirror, project, feature, progress=progress)
    consent, people = read_consent(project), read_people(project)
    inputs = {
        "feature": feature,
        "since": since,
        "limit": limit,
        "history": digest({name: mirror.proven(RELATIONS[name]) for name in NEEDS[feature]}),
        "consent": digest([sorted(map(str, consent.allowed.items())), sorted(consent.forgotten), consent.ledger_since.isoformat()]),
        "people": digest(people),
        "code": sources_sha256(candidate_module, mirror_module, sys.modules[__name__]),
    }

    read_up_to = {name: max(set(mirror.proven(RELATIONS[name])) - {UNDATED}, default=None) for name in NEEDS[feature]}

    def make(folder: Path) -> dict[str, Any]:
        withheld, kinds = Counter[str](), Counter[str]()

        def lines() -> Iterator[str]:
            for candidate in candidates(mirror, feature, consent, withheld):
                if (since and candidate.sources[0].created_at < since) or (limit and kinds[candidate.kind] >= limit):
                    continue
                kinds[candidate.kind] += 1
                yield json.dumps(candidate.model_dump(mode="json"), separators=(",", ":"))

        written = write_lines(folder / ROWS, lines())
        named = write_lines(folder / PEOPLE, (json.dumps([org, names], ensure_ascii=False) for org, names in people.items()))
        return {**written, "people_sha256": named["sha256"], "kinds": dict(sorted(kinds.items())), "withheld": dict(sorted(withheld.items())), "read_up_to": read_up_to}

    return {**run_stage(folder, inputs, make), "tables": tables}


def candidates(mirror: Mirror, feature: str, consent: Consent, withheld: Counter[str]) -> Iterator[Candidate]:
    """All candidates that may be used, in an order that depends on nothing but the history: ledger first. Counts the others in `withheld`."""
    found = _risk(mirror) if feature == "risk" else _plans(mirror, consent.forgotten)
    for kind, rows in found:
        sources = _sources(kind, rows)
        orgs, people = _involved(kind, rows)
        why_not = consent.why_not(orgs, people)
        if why_not:
            withheld[f"{sources[0].table} {why_not}"] += len(sources)
            continue
        at = instant(sources[0].created_at)
        yield Candidate(kind=kind, feature=feature, org_id=sources[0].org_id, sources=sources, since_ledger=at is None or at >= consent.ledger_since, found=rows)


def _risk(mirror: Mirror) -> Iterator[tuple[Any, Found]]:
    yield from (("ledger", {"request": json.loads(body)}) for (body,) in mirror.database.execute("select body from slm_requests where ref = 'risk' order by id"))
    rows = mirror.database.execute(
        "select s.body, t.body, r.body from task_risk_snapshots as s left join tasks as t on t.id = s.ref"
        " left join slm_requests as r on r.id = json_extract(s.body, '$.raw_llm_response._meta.request_id') order by s.id"
    )
    for snapshot, task, request in rows:
        yield "snapshot", {"snapshot": json.loads(snapshot), "task": task and json.loads(task), "request": request and json.loads(request)}


def _plans(mirror: Mirror, forgotten: frozenset[str]) -> Iterator[tuple[Any, Found]]:
    """Requests whose plan no task took over, then the plans of tasks: tasks with the same steps are copies of one plan."""
    database = mirror.database
    database.execute("create index if not exists task_steps_ref on task_steps (ref)")
    database.execute("create index if not exists tasks_ref on tasks (ref)")
    database.execute("create temp table if not exists plans (signature text, task text)")
    database.execute("create temp table if not exists neighbours (org text, at text, task text)")
    database.execute("create index if not exists neighbours_at on neighbours (org, at desc, task)")
    with database:
        database.execute("delete from plans")
        database.execute("delete from neighbours")
        for task_id, body in database.execute("select id, body from tasks order by id"):
            task = json.loads(body)
            steps = _planned(database, task_id, task)
            if steps:
                database.execute("insert into plans (signature, task) values (?, ?)", (_signature(task, steps), task_id))
                if not {task["assigned_to"], task["assigned_by"]} & forgotten:
                    database.execute("insert into neighbours (org, at, task) values (?, ?, ?)", (task["org_id"], _text(instant(task["created_at"])), task_id))
    unused = database.execute("select body from slm_requests as r where ref = 'plan' and not exists (select 1 from tasks as t join task_steps as s on s.ref = t.id where t.ref = r.id) order by id")
    yield from (("ledger", {"request": json.loads(body)}) for (body,) in unused)
    for (copies,) in database.execute("select json_group_array(task) from (select signature, task from plans order by signature, task) group by signature order by signature"):
        tasks = [json.loads(database.execute("select body from tasks where id = ?", (task,)).fetchone()[0]) for task in json.loads(copies)]
        request = next((row for task in tasks if (row := _request(database, task))), None)
        similar = _similar(database, tasks[0]) if request is None and any(task["ai_metadata"] for task in tasks) else []
        yield "steps", {"tasks": tasks, "steps": _planned(database, tasks[0]["id"], tasks[0]), "request": request, "similar": similar}


def _request(database: Any, task: Mapping[str, Any]) -> Found | None:
    named = RELATIONS["tasks"].ref(task)
    row = database.execute("select body from slm_requests where id = ?", (named,)).fetchone() if isinstance(named, str) else None
    return json.loads(row[0]) if row else None


def _similar(database: Any, task: Mapping[str, Any]) -> list[Found]:
    """The tasks that the edge would have shown as a guide: `slm_similar_tasks`, asked on the day that the task was made."""
    at, wanted = instant(task["created_at"]), str(task["title"] or "").strip().lower()
    if at is None:
        return []
    found: list[Found] = []
    earlier = database.execute(
        "select tasks.id, tasks.body from neighbours join tasks on tasks.id = neighbours.task where org = ? and at < ? and at > ? order by at desc, task limit ?",
        (task["org_id"], _text(at), _text(at - SIMILAR_WITHIN), MOST_LOOKED_AT),
    )
    for task_id, body in earlier:
        other = json.loads(body)
        if set(task["skills"] or ()) & set(other["skills"] or ()) or (len(wanted) >= 4 and wanted in str(other["title"] or "").lower()):
            steps = [step["step_title"] for step in _all_steps(database, task_id) if (instant(step["created_at"]) or EPOCH) <= at]
            found.append({"title": other["title"], "steps": steps})
        if len(found) == MOST_SIMILAR:
            break
    return found


def _planned(database: Any, task_id: str, task: Mapping[str, Any]) -> list[Found]:
    """The steps that were saved with the task by its manager, in phase order; all of its steps where none were."""
    steps = _all_steps(database, task_id)
    began = instant(task["created_at"])
    planned = [step for step in steps if step["created_by_role"] == "manager" and began and (at := instant(step["created_at"])) and abs(at - began) <= PLANNED_WITHIN]
    return planned or steps


def _all_steps(database: Any, task_id: str) -> list[Found]:
    """A task's steps in phase order, then `order_index`, then time (T29)."""
    steps = [json.loads(body) for (body,) in database.execute("select body from task_steps where ref = ? order by id", (task_id,))]
    steps.sort(key=lambda step: (PHASES.index(step["stage_id"]) if step["stage_id"] in PHASES else len(PHASES), step["order_index"] or 0, instant(step["created_at"]) or EPOCH, step["id"]))
    return steps


def _signature(task: Mapping[str, Any], steps: Sequence[Found]) -> str:
    said = [task["org_id"], task["title"], task["description"], *([step["stage_id"], step["step_title"], step["estimated_hours"]] for step in steps)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _sources(kind: str, rows: Found) -> list[Source]:
    if kind == "ledger":
        return [_source("slm_requests", rows["request"])]
    request = [_source("slm_requests", rows["request"])] if rows["request"] else []
    if kind == "snapshot":
        return [_source("task_risk_snapshots", rows["snapshot"]), *request]
    return [*(_source("tasks", task) for task in rows["tasks"]), *request]


def _source(table: str, row: Mapping[str, Any]) -> Source:
    at = instant(row.get("created_at") or row.get("computed_at")) or EPOCH
    task_id = row["id"] if table == "tasks" else row.get("task_id")
    return Source(table=table, id=row["id"], org_id=row.get("org_id"), user_id=row.get("user_id"), task_id=task_id, created_at=_text(at))


def _text(at: datetime | None) -> str:
    return (at or EPOCH).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _involved(kind: str, rows: Found) -> tuple[set[str | None], set[str | None]]:
    """Every organisation and every person that the rows belong to or are about."""
    tasks = rows.get("tasks") or [rows.get("task") or {}]
    others = [row for row in (rows.get("request"), rows.get("snapshot")) if row]
    orgs = {row.get("org_id") for row in [*others, *(task for task in tasks if task)]}
    people = {task.get(role) for task in tasks for role in ("assigned_to", "assigned_by")} | {row.get("user_id") for row in others} | {step.get("created_by") for step in rows.get("steps", [])}
    return orgs, people - {None}
