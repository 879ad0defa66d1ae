"""Owns the first stage: the history's tables in, one candidate for each answer that they may hold out.

Which organisations let their history train, and who asked to be forgotten, is the database's to settle: the copy holds
nothing of the others. Who is involved in an answer is settled here. Whether it is any good is clean's to say.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from shared_schemas.features.plan import PHASES
from trainer.data import candidate as candidate_module
from trainer.data import describe
from trainer.data import mirror as mirror_module
from trainer.data.candidate import Candidate, planned
from trainer.data.describe import MOST_SIMILAR, SIMILAR_LIMIT, one_line, shorten
from trainer.data.mirror import RELATIONS, UNDATED, Found, Mirror, Progress, instant
from trainer.data.row import ROWS, Source, write_lines
from trainer.errors import ProjectUnreachable
from trainer.stage import digest, run_stage, sources_sha256
from trainer.supabase_client import Project

PEOPLE = "people.jsonl"
"""One line an organisation whose history is used: its id and the full names of its people."""
NEEDS: Mapping[str, tuple[str, ...]] = {
    "risk": ("slm_requests", "tasks", "task_risk_snapshots", "slm_human_answers"),
    "plan": ("slm_requests", "tasks", "task_steps", "slm_human_answers"),
}
SIMILAR_WITHIN = timedelta(days=183)
MOST_LOOKED_AT = 1_000
"""Earlier tasks of an organisation that are looked at for two similar ones, the newest first."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for a time that is none."""


def read_ledger_since(project: Project) -> datetime:
    """Since when an answer has its ledger row."""
    settings = project.rows("slm_operator_settings", order="id")
    since = instant(settings[0].get("ledger_since")) if settings else None
    if since is None:
        raise ProjectUnreachable("Cannot read slm_operator_settings: it does not say since when the ledger is kept (apply the migrations)")
    return since


def read_people(project: Project, orgs: Sequence[str | None]) -> dict[str, list[str]]:
    """The full names of these organisations' people."""
    people: dict[str, list[str]] = {}
    for org in orgs:
        names, after = set[str](), None
        while page := project.page("profiles", "id,full_name", after=after, bounds=[("org_id", "eq", org) if org else ("org_id", "is", "null")]):
            names |= {row["full_name"] for row in page if row["full_name"]}
            after = page[-1]["id"]
        people[org or ""] = sorted(names)
    return people


def update_mirror(mirror: Mirror, project: Project, feature: str, *, progress: Progress = lambda *_: None) -> dict[str, dict[str, int]]:
    """Bring what a feature needs, and whatever else the copy holds, up to the database's present state; facts of each relation."""
    return {name: mirror.update(project, relation, progress=progress) for name, relation in RELATIONS.items() if name in NEEDS[feature] or mirror.holds(relation)}


def extract(mirror: Mirror, project: Project, feature: str, folder: Path, *, since: str | None = None, limit: int | None = None, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Write the candidates of one feature: `since` an ISO day or time, at most `limit` of each kind.

    Facts: `rows`, `sha256`, `kinds`, `read_up_to` (the newest day of each table); of this run, not kept: `tables` with
    `rows`, `read`, `later`, `withheld` of each, and `withheld` (rows of each that may not be read, and so never were).
    """
    tables = update_mirror(mirror, project, feature, progress=progress)
    ledger_since, people = read_ledger_since(project), read_people(project, mirror.orgs())
    inputs = {
        "feature": feature,
        "since": since,
        "limit": limit,
        "history": digest({name: mirror.proven(RELATIONS[name]) for name in NEEDS[feature]}),
        "ledger_since": ledger_since.isoformat(),
        "people": digest(people),
        "code": sources_sha256(candidate_module, describe, mirror_module, sys.modules[__name__]),
    }

    read_up_to = {name: max(set(mirror.proven(RELATIONS[name])) - {UNDATED}, default=None) for name in NEEDS[feature]}

    def make(folder: Path) -> dict[str, Any]:
        kinds: dict[str, int] = {}

        def lines() -> Iterator[str]:
            for candidate in candidates(mirror, feature, ledger_since):
                if (since and candidate.sources[0].created_at < since) or (limit and kinds.get(candidate.kind, 0) >= limit):
                    continue
                kinds[candidate.kind] = kinds.get(candidate.kind, 0) + 1
                yield json.dumps(candidate.model_dump(mode="json"), separators=(",", ":"))

        written = write_lines(folder / ROWS, lines())
        named = write_lines(folder / PEOPLE, (json.dumps([org, names], ensure_ascii=False) for org, names in people.items()))
        return {**written, "people_sha256": named["sha256"], "kinds": dict(sorted(kinds.items())), "read_up_to": read_up_to}

    return {**run_stage(folder, inputs, make), "tables": tables, "withheld": {name: facts["withheld"] for name, facts in tables.items() if name in NEEDS[feature]}}


def candidates(mirror: Mirror, feature: str, ledger_since: datetime) -> Iterator[Candidate]:
    """All candidates, in an order that depends on nothing but the history: ledger first, what people said of answers last."""
    for kind, sources, rows in chain(_risk(mirror) if feature == "risk" else _plans(mirror), _human(mirror, feature)):
        at = instant(sources[0].created_at)
        yield Candidate(kind=kind, feature=feature, org_id=sources[0].org_id, sources=sources, since_ledger=at is None or at >= ledger_since, found=rows)


def _risk(mirror: Mirror) -> Iterator[tuple[Any, list[Source], Found]]:
    for (body,) in mirror.database.execute("select body from slm_requests where ref = 'risk' order by id"):
        request = json.loads(body)
        yield "ledger", [_source("slm_requests", request)], {"request": request}
    rows = mirror.database.execute("select s.body, t.body, r.body from task_risk_snapshots as s left join tasks as t on t.id = s.ref left join slm_requests as r on r.id = s.request order by s.id")
    for bodies in rows:
        snapshot, task, request = (body and json.loads(body) for body in bodies)
        sources = [_source("task_risk_snapshots", snapshot), *([_source("slm_requests", request)] if request else [])]
        yield "snapshot", sources, {"snapshot": snapshot, "task": task, "request": request}


def _plans(mirror: Mirror) -> Iterator[tuple[Any, list[Source], Found]]:
    """Requests whose plan no task took over, then the plans of tasks: tasks with the same steps are copies of one plan.

    A plan of which a forgotten person wrote a step is none any more.
    """
    database = mirror.database
    database.execute("create index if not exists task_steps_ref on task_steps (ref)")
    database.execute("create index if not exists tasks_request on tasks (request)")
    database.execute("create temp table if not exists plans (signature text, task text)")
    database.execute("create temp table if not exists neighbours (org text, at text, task text, title text)")
    database.execute("create index if not exists neighbours_at on neighbours (org, at desc, task)")
    database.execute("create index if not exists neighbours_title on neighbours (org, title)")
    with database:
        database.execute("delete from plans")
        database.execute("delete from neighbours")
        for task_id, body in database.execute("select id, body from tasks order by id"):
            task, steps = json.loads(body), _all_steps(database, task_id)
            if steps and not any(step["is_forgotten"] for step in steps):
                database.execute("insert into plans (signature, task) values (?, ?)", (_signature(task, planned(task, steps) or steps), task_id))
                title = shorten(one_line(task["title"]), SIMILAR_LIMIT)
                database.execute("insert into neighbours (org, at, task, title) values (?, ?, ?, ?)", (task["org_id"], _text(instant(task["created_at"])), task_id, title))
    unused = database.execute("select body from slm_requests as r where ref = 'plan' and not exists (select 1 from tasks as t join task_steps as s on s.ref = t.id where t.request = r.id) order by id")
    for (body,) in unused:
        request, behind = _with_known_guides(database, json.loads(body))
        yield "ledger", [_source("slm_requests", request, behind)], {"request": request}
    for (copies,) in database.execute("select json_group_array(task) from (select signature, task from plans order by signature, task) group by signature order by signature"):
        tasks = [json.loads(database.execute("select body from tasks where id = ?", (task,)).fetchone()[0]) for task in json.loads(copies)]
        named = next((row for task in tasks if (row := _request(database, task))), None)
        known = _with_known_guides(database, named) if named else None
        similar = _similar(database, tasks[0]) if known is None and any(task["ai_metadata"] for task in tasks) else []
        guides = {person for guide in similar for person in guide["people"]}
        sources = [_source("tasks", task, guides | _people(_all_steps(database, task["id"]))) for task in tasks]
        steps = _all_steps(database, tasks[0]["id"])
        found = {"tasks": tasks, "steps": planned(tasks[0], steps) or steps, "request": known and known[0], "similar": similar}
        yield "steps", [*sources, *([_source("slm_requests", *known)] if known else [])], found


def _human(mirror: Mirror, feature: str) -> Iterator[tuple[Any, list[Source], Found]]:
    """Answers that reviewers corrected or agreed on. The earlier tasks in a plan's request are looked up where the plans left them.

    Both sources are dated when the question was asked: work does not become new by being reviewed. Whoever wrote a correction is
    among its people, as whoever wrote a step is; who only judged leaves nothing in it.
    """
    rows = mirror.database.execute("select h.body, r.body from slm_human_answers as h join slm_requests as r on r.id = h.request where h.ref = ? order by h.id", (feature,))
    for bodies in rows:
        answer, asked = (json.loads(body) for body in bodies)
        request, behind = _with_known_guides(mirror.database, asked)
        pair = _source("slm_review_items", {**request, "id": answer["item_id"]}, behind | set(answer["people"]))
        yield "human", [_source("slm_requests", request, behind), pair], {"request": request, "answer": answer}


def _people(rows: Sequence[Found]) -> set[str]:
    return {person for row in rows for person in row["people"]}


def _with_known_guides(database: Any, request: Found) -> tuple[Found, set[str]]:
    """A request for a plan without the earlier tasks in it that nobody knows any more, and the people behind the others.

    The ledger keeps their words, not their ids: a task that is gone, or whose person was forgotten, has no owner to ask.
    """
    told = request["prompt_input"]
    guides = told.get("similar") if isinstance(told, dict) else None
    if not isinstance(guides, list):
        return request, set()
    known, people = [], set[str]()
    for guide in guides:
        title = guide.get("title") if isinstance(guide, dict) else None
        tasks = database.execute("select task from neighbours where org is ? and title = ?", (request["org_id"], title)).fetchall() if isinstance(title, str) else []
        if tasks:
            known.append(guide)
        for (task_id,) in tasks:
            (body,) = database.execute("select body from tasks where id = ?", (task_id,)).fetchone()
            people |= _people([json.loads(body), *_all_steps(database, task_id)])
    return {**request, "prompt_input": {**told, "similar": known}}, people


def _request(database: Any, task: Mapping[str, Any]) -> Found | None:
    row = database.execute("select r.body from tasks as t join slm_requests as r on r.id = t.request where t.id = ?", (task["id"],)).fetchone()
    return json.loads(row[0]) if row else None


def _similar(database: Any, task: Mapping[str, Any]) -> list[Found]:
    """The tasks that the edge would have shown as a guide: `slm_similar_tasks`, asked on the day that the task was made."""
    at, wanted = instant(task["created_at"]), str(task["title"] or "").strip().lower()
    if at is None:
        return []
    found: list[Found] = []
    earlier = database.execute(
        "select tasks.id, tasks.body from neighbours join tasks on tasks.id = neighbours.task where neighbours.org = ? and at < ? and at > ? order by at desc, task limit ?",
        (task["org_id"], _text(at), _text(at - SIMILAR_WITHIN), MOST_LOOKED_AT),
    )
    for task_id, body in earlier:
        other = json.loads(body)
        if _skills(task) & _skills(other) or (len(wanted) >= 4 and wanted in str(other["title"] or "").lower()):
            steps = [step for step in _all_steps(database, task_id) if (instant(step["created_at"]) or EPOCH) <= at]
            found.append({"title": other["title"], "steps": [step["step_title"] for step in steps], "people": sorted(_people([other, *steps]))})
        if len(found) == MOST_SIMILAR:
            break
    return found


def _skills(task: Mapping[str, Any]) -> set[str]:
    return {skill for skill in task["skills"] if isinstance(skill, str)} if isinstance(task["skills"], list) else set()


def _all_steps(database: Any, task_id: str) -> list[Found]:
    """A task's steps in phase order, then `order_index`, then time (T29)."""
    steps = [json.loads(body) for (body,) in database.execute("select body from task_steps where ref = ? order by id", (task_id,))]
    steps.sort(key=lambda step: (PHASES.index(step["stage_id"]) if step["stage_id"] in PHASES else len(PHASES), step["order_index"] or 0, instant(step["created_at"]) or EPOCH, step["id"]))
    return steps


def _signature(task: Mapping[str, Any], steps: Sequence[Found]) -> str:
    said = [task["org_id"], task["title"], task["description"], *([step["stage_id"], step["step_title"], step["estimated_hours"]] for step in steps)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _source(table: str, row: Mapping[str, Any], others: Set[str] = frozenset()) -> Source:
    """The row as a source; its own people and `others` are involved in it."""
    at = instant(row.get("created_at") or row.get("computed_at")) or EPOCH
    task_id = row["id"] if table == "tasks" else row.get("task_id")
    people = sorted({*row["people"], *others})
    return Source(table=table, id=row["id"], org_id=row.get("org_id"), user_id=row.get("user_id"), task_id=task_id, created_at=_text(at), people=people)


def _text(at: datetime | None) -> str:
    return (at or EPOCH).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
