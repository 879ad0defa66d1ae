"""Owns a made-up but realistic history: organisations, people, tasks, steps, snapshots, ledger rows, and the truth about each.

One story a task, each with one trap of contract.md section 6 or none. Deterministic: the same seed and size give the same
rows, and a larger size begins with them. Knows nothing of how the history is read or judged: the metrics are written here
once more, from the contract.
"""

import random
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shared_schemas.features.plan import PHASES
from shared_schemas.features.risk import Level, RiskInput, RiskOutput, describe
from trainer.data.coverage import domain_of
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import coach
from trainer.task_titles import KINDS, make_task

LEDGER_SINCE = datetime(2026, 7, 1, tzinfo=UTC)
V1, V3, V4 = datetime(2026, 2, 19, tzinfo=UTC), datetime(2026, 2, 23, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)
END = datetime(2026, 10, 1, tzinfo=UTC)
STORIES_PER_ORG = 60
PEOPLE_PER_ORG = 8
BUDGETS = (0.5, 1, 2, 3, 4, 5, 6, 8, 8, 12, 16, 24, 40, 73, 105, 105, 171)
FIRST = ("Asha", "Ravi", "Meera", "Jürgen", "Mark", "Fatima", "Grace", "Tomás", "Priya", "Nikhil", "Zoë", "Arjun", "Will", "Lakshmi", "Seán", "Devi")
LAST = ("Rao", "Menon", "O'Brien", "Young", "Iyer", "Fernández", "Kapoor", "Nair", "Berg", "Chowdhury", "Price", "Banerjee")
KIND_NAMES = tuple(kind for kind in KINDS if kind.name not in {"junk", "other"})
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LARGE_STORIES = 1_000
"""Only the first stories hold texts of 77 KB: a million rows should fit a disk."""
TABLES = ("orgs", "profiles", "slm_org_settings", "tasks", "task_steps", "task_risk_snapshots", "slm_requests", "slm_erasures")
"""In the order in which they can be written."""
KEYS: Mapping[str, str] = {"slm_org_settings": "org_id", "slm_erasures": "user_id"}


@dataclass(frozen=True)
class Truth:
    """What a perfect reader does with one source row: `ends` is `kept`, `withheld`, or the reason of its rejection.

    `planted` holds personal data that must not be found in what is kept.
    """

    table: str
    id: str
    trap: str
    ends: str
    planted: tuple[str, ...] = ()


@dataclass
class Story:
    """All rows of one task, table by table, and the truth about those that may be an answer."""

    index: int
    rng: random.Random
    org: "Org"
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    truths: list[Truth] = field(default_factory=list)

    def id(self, name: str) -> str:
        return _id(f"story {self.index} {name}")

    def add(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        self.rows.setdefault(table, []).append(row)
        return row

    def tell(self, table: str, row: Mapping[str, Any], trap: str, ends: str, planted: Sequence[str] = ()) -> None:
        self.truths.append(Truth(table, row["id"], trap, ends, tuple(planted)))


@dataclass(frozen=True)
class Org:
    id: str
    allows_training: bool
    people: tuple[tuple[str, str], ...]
    """Ids and full names; the last one asked to be forgotten."""


def make_history(size: int, *, seed: int = 1) -> Iterator[Story]:
    """`size` stories (about 3 snapshots and 6 steps each); those of an organisation bring it along when it is new."""
    for index in range(size):
        rng = random.Random(f"{seed} {index}")
        number = index // STORIES_PER_ORG
        org = _org(number)
        story = Story(index, rng, org)
        if index % STORIES_PER_ORG == 0:
            _add_org(story)
        name, tell = _TRAPS[index % len(_TRAPS)]
        tell(story, name)
        _tell_of_other_steps(story)
        _pass_through_consent(story)
        yield story


def _id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"talentops history {name}"))


def _org(number: int) -> Org:
    rng = random.Random(number)
    people = tuple((_id(f"person {number} {i}"), f"{rng.choice(FIRST)} {rng.choice(LAST)}") for i in range(PEOPLE_PER_ORG))
    return Org(_id(f"org {number}"), number % 4 != 3, people)


def _add_org(story: Story) -> None:
    org = story.org
    story.add("orgs", {"id": org.id, "name": f"Organisation {org.id[:4]}"})
    for person, name in org.people:
        story.add("profiles", {"id": person, "full_name": name, "org_id": org.id, "email": f"{person[:8]}@example.com"})
    if org.allows_training:
        story.add("slm_org_settings", {"org_id": org.id, "allow_training": True})
    story.add("slm_erasures", {"user_id": org.people[-1][0], "at": _iso(END)})


def _pass_through_consent(story: Story) -> None:
    """In an organisation that does not let its history train, nothing is kept and nothing rejected: it never leaves."""
    if not story.org.allows_training:
        story.truths = [Truth(truth.table, truth.id, "no consent", "withheld") for truth in story.truths]


def _tell_of_other_steps(story: Story) -> None:
    """Steps that a story has beside what it is about were written by hand."""
    told, forgotten = {truth.id for truth in story.truths}, story.org.people[-1][0]
    with_steps = {step["task_id"] for step in story.rows.get("task_steps", ())}
    for task in story.rows.get("tasks", ()):
        if task["id"] in with_steps - told:
            story.tell("tasks", task, "hand-written steps", "withheld" if forgotten in {task["assigned_to"], task["assigned_by"]} else "not_a_plan")


# --- tasks and steps --------------------------------------------------------------------------------------------------


def _when(story: Story, start: datetime, end: datetime) -> datetime:
    return start + timedelta(seconds=story.rng.randrange(int((end - start).total_seconds())), microseconds=story.rng.randrange(1_000_000))


def _task(story: Story, at: datetime, *, name: str = "task", **changes: Any) -> dict[str, Any]:
    kind = story.rng.choice(KIND_NAMES)
    row: dict[str, Any] = {
        "id": story.id(name),
        "title": make_task(kind, story.rng).title,
        "description": None,
        "org_id": story.org.id,
        "assigned_to": story.rng.choice(story.org.people[:-1])[0],
        "assigned_by": story.org.people[0][0],
        "allocated_hours": story.rng.choice(BUDGETS),
        "skills": [],
        "ai_metadata": {},
        "status": "in_progress",
        "created_at": _iso(at),
    }
    return story.add("tasks", row | changes)


def _steps(story: Story, task: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], *, role: str = "manager", after: timedelta = timedelta(seconds=2), name: str = "step") -> None:
    """The steps of a plan as the app saves them: `order_index` begins anew in every phase (T29)."""
    seen: dict[str, int] = {}
    at = datetime.fromisoformat(task["created_at"]) + after
    rows = []
    for number, step in enumerate(steps):
        order = seen[step["phase"]] = seen.get(step["phase"], -1) + 1
        rows.append(
            {
                "id": story.id(f"{name} {task['id']} {number}"),
                "org_id": task["org_id"],
                "task_id": task["id"],
                "stage_id": step["phase"],
                "step_title": step["title"],
                "order_index": order,
                "estimated_hours": step["duration"],
                "created_by": task["assigned_by"],
                "created_by_role": role,
                "created_at": _iso(at),
            }
        )
    story.rng.shuffle(rows)
    for row in rows:
        story.add("task_steps", row)


def _some_steps(story: Story, count: int) -> list[dict[str, Any]]:
    phases = sorted((story.rng.choice(PHASES) for _ in range(count)), key=PHASES.index)
    return [
        {"phase": phase, "title": f"{story.rng.choice(('Check', 'Write', 'Build', 'Discuss', 'Send'))} part {i + 1} of the work", "duration": story.rng.choice((2, 4, 1, 0.5))}
        for i, phase in enumerate(phases)
    ]


# --- risk ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """What one version of the metrics says (contract.md 3.2), as the columns of a snapshot."""

    elapsed: float
    done: int
    steps: int
    progress: float
    total: float | None
    delay: float
    level: Level


def _figures(version: int, budget: float | None, elapsed: float, done: int, steps: int) -> Figures:
    if version <= 2:
        done = 0
    progress = done / steps if steps else 0.0
    if budget is None:
        total, delay = None, 0.0
    elif progress > 0:
        total = elapsed / progress
        delay = max(0.0, total - budget)
    elif version <= 3:
        total = budget * 1.3
        delay = max(0.0, total - budget)
    else:
        total, delay = (budget, 0.0) if elapsed <= budget else (elapsed + budget, elapsed - budget)
    level: Level = "high" if delay > 2 or (budget is not None and delay > 0.2 * budget) else "medium" if delay > 0.5 else "low"
    places = {3: 2, 4: 4}.get(version, 16)
    return Figures(round(elapsed, 2), done, steps, round(progress, places), None if total is None else round(total, 2), round(delay, 2), level)


def _described(task: Mapping[str, Any], figures: Figures) -> RiskInput:
    budget = int((task["allocated_hours"] or 0) * 60 + 0.5)
    return describe(
        title=task["title"].strip()[:120] or "Untitled task",
        level=figures.level,
        milestone="none",
        micro_task=0 < budget < 300,
        done_percent=100 if figures.progress >= 1 else min(99, int(figures.progress * 100 + 0.5)),
        steps_done=figures.done,
        steps_left=figures.steps - figures.done,
        budget_minutes=budget,
        spent_minutes=int(figures.elapsed * 60 + 0.5),
        delay_minutes=int(figures.delay * 60 + 0.5),
    )


def _snapshot(story: Story, task: Mapping[str, Any], figures: Figures, said: Mapping[str, Any], *, name: str, **changes: Any) -> dict[str, Any]:
    at = datetime.fromisoformat(task["created_at"]) + timedelta(hours=figures.elapsed, seconds=2)
    row = {
        "id": story.id(f"snapshot {name}"),
        "org_id": task["org_id"],
        "task_id": task["id"],
        "computed_at": _iso(at),
        "elapsed_hours": figures.elapsed,
        "steps_completed": figures.done,
        "total_steps": figures.steps,
        "progress_ratio": figures.progress,
        "predicted_total_hours": figures.total,
        "predicted_delay_hours": figures.delay,
        "risk_level": said["risk_level"],
        "confidence": 80,
        "reasons": said["reasons"],
        "recommended_actions": said["recommended_actions"],
        "model_used": "gpt-4o-mini",
        "raw_llm_response": dict(said),
    }
    return story.add("task_risk_snapshots", row | changes)


def _moments(story: Story, version: int, *, start: datetime, end: datetime, count: int | None = None, zero: bool = False) -> Iterator[tuple[dict[str, Any], Figures, RiskOutput]]:
    """One task and the coach's answers about it at some moments of its life."""
    task = _task(story, _when(story, start, end))
    steps = story.rng.choice((2, 3, 4, 5, 8))
    _steps(story, task, _some_steps(story, story.rng.choice((2, 3, 4))))
    budget, elapsed, done = task["allocated_hours"], 0.0, 0
    for _ in range(count or story.rng.choice((2, 3, 4, 5, 6))):
        elapsed += story.rng.uniform(0.1, 0.5) * budget
        done = min(steps, done + story.rng.choice((1, 1, 2)))
        figures = _figures(version, budget, elapsed, 0 if zero else done, steps)
        yield task, figures, coach(_described(task, figures), domain_of(task["title"]))


def _before_the_ledger(version: int, start: datetime, end: datetime, ends: str, *, zero: bool = False) -> Callable[[Story, str], None]:
    def tell(story: Story, trap: str) -> None:
        for i, (task, figures, said) in enumerate(_moments(story, version, start=start, end=end, zero=zero)):
            story.tell("task_risk_snapshots", _snapshot(story, task, figures, said.model_dump(), name=str(i)), trap, ends)

    return tell


def _changed(ends: str, change: Callable[[Story, dict[str, Any], dict[str, Any]], None], *, version: int = 4) -> Callable[[Story, str], None]:
    """A good snapshot with one thing changed about it (row, task): what it ends as."""

    def tell(story: Story, trap: str) -> None:
        for i, (task, figures, said) in enumerate(_moments(story, version, start=V4, end=LEDGER_SINCE - timedelta(days=60), count=3)):
            row = _snapshot(story, task, figures, said.model_dump(), name=str(i))
            change(story, row, task)
            story.tell("task_risk_snapshots", row, trap, ends)

    return tell


def _says(**said: Any) -> Callable[[Story, dict[str, Any], dict[str, Any]], None]:
    def change(_story: Story, row: dict[str, Any], _task: dict[str, Any]) -> None:
        row.update(said)
        row["raw_llm_response"] = {**row["raw_llm_response"], **said}

    return change


def _becomes(**columns: Any) -> Callable[[Story, dict[str, Any], dict[str, Any]], None]:
    return lambda _story, row, _task: row.update(columns)


def _two_levels_off(_story: Story, row: dict[str, Any], _task: dict[str, Any]) -> None:
    """The task is hopelessly late and the answer says low, or it is fine and the answer says high."""
    late = float(row["predicted_delay_hours"]) > 2
    if not late:
        row.update(
            steps_completed=row["total_steps"], progress_ratio=1, predicted_total_hours=row["elapsed_hours"], predicted_delay_hours=max(0, round(row["elapsed_hours"] - _task["allocated_hours"], 2))
        )
        late = row["predicted_delay_hours"] > 2 or row["predicted_delay_hours"] > 0.2 * _task["allocated_hours"]
    if not late and row["predicted_delay_hours"] > 0.5:
        row.update(elapsed_hours=0.1, predicted_total_hours=0.1, predicted_delay_hours=0, computed_at=_iso(datetime.fromisoformat(_task["created_at"]) + timedelta(hours=0.1)))
    wrong = "low" if late else "high"
    row.update(risk_level=wrong, raw_llm_response={**row["raw_llm_response"], "risk_level": wrong})


def _before_its_task(_story: Story, row: dict[str, Any], task: dict[str, Any]) -> None:
    row["computed_at"] = _iso(datetime.fromisoformat(task["created_at"]) - timedelta(days=3))


def _with_personal_data(story: Story, trap: str) -> None:
    """Names, addresses and keys where people type them: in the title, which the model is told."""
    name = story.rng.choice(story.org.people[:-1])[1]
    planted = story.rng.choice(
        (
            [name],
            [f"{name.split()[0].lower()}.x@inbox.example.org"],
            [f"+91 98{story.rng.randrange(10**8):08d}"],
            [f"https://drive.example.com/d/{story.rng.randrange(10**9)}"],
            [f"sk-{story.rng.randrange(10**16):016d}"],
        )
    )
    for i, (task, figures, said) in enumerate(_moments(story, 4, start=V4, end=LEDGER_SINCE - timedelta(days=60), count=2)):
        task["title"] = f"Ask about the {story.rng.choice(('invoice', 'login page', 'report'))}: {planted[0]}"
        row = _snapshot(story, task, figures, said.model_dump(), name=str(i))
        story.tell("task_risk_snapshots", row, trap, "kept", planted)


def _without_budget(story: Story, trap: str) -> None:
    task = _task(story, _when(story, V4, LEDGER_SINCE - timedelta(days=60)), allocated_hours=None)
    figures = _figures(4, None, story.rng.uniform(1, 50), 2, 4)
    row = _snapshot(story, task, figures, coach(_described(task, figures), domain_of(task["title"])).model_dump(), name="0")
    story.tell("task_risk_snapshots", row, trap, "kept")


def _of_a_forgotten_person(story: Story, trap: str) -> None:
    for i, (task, figures, said) in enumerate(_moments(story, 4, start=V4, end=LEDGER_SINCE - timedelta(days=60))):
        task["assigned_to"] = story.org.people[-1][0]
        story.tell("task_risk_snapshots", _snapshot(story, task, figures, said.model_dump(), name=str(i)), trap, "withheld")
    request = _request(story, "risk", {}, {}, at=_when(story, LEDGER_SINCE, END), name="erased", user_id=story.org.people[-1][0])
    story.tell("slm_requests", request, trap, "withheld")


def _twice(story: Story, trap: str) -> None:
    """The page was loaded twice: the same answer about the same moment is saved again."""
    task, figures, said = next(_moments(story, 4, start=V4, end=LEDGER_SINCE - timedelta(days=60), count=1))
    for i in range(3):
        story.tell("task_risk_snapshots", _snapshot(story, task, figures, said.model_dump(), name=str(i)), trap, "kept")


def _since_the_ledger(provider: str, ends: str) -> Callable[[Story, str], None]:
    """An answer with its ledger row and the snapshot that the app saved of it, `model_used` as the app writes it (T22)."""

    def tell(story: Story, trap: str) -> None:
        for i, (task, figures, said) in enumerate(_moments(story, 4, start=LEDGER_SINCE + timedelta(days=1), end=END)):
            at = datetime.fromisoformat(task["created_at"]) + timedelta(hours=figures.elapsed)
            request = _request(story, "risk", _described(task, figures).model_dump(), said.model_dump(), at=at, name=str(i), provider=provider, task_id=task["id"])
            raw = {**said.model_dump(), "confidence": 77, "_meta": {"request_id": request["id"], "provider": provider, "model": request["model"]}}
            row = _snapshot(story, task, figures, said.model_dump(), name=str(i), raw_llm_response=raw)
            story.tell("slm_requests", request, trap, ends)
            story.tell("task_risk_snapshots", row, trap, ends)

    return tell


def _forged_since_the_ledger(story: Story, trap: str) -> None:
    """Nothing wrong with it but that nobody made it: without a ledger row, or with another task's (T33)."""
    other = _request(story, "risk", {}, {}, at=_when(story, LEDGER_SINCE, END), name="other", task_id=story.id("another task"), provider="none", output=None, fallback_reason="lost", status="lost")
    story.tell("slm_requests", other, trap, "unanswered")
    for i, (task, figures, said) in enumerate(_moments(story, 4, start=LEDGER_SINCE + timedelta(days=1), end=END, count=4)):
        raw = {**said.model_dump(), "_meta": {"request_id": other["id"] if i % 2 else story.id("nowhere")}}
        story.tell("task_risk_snapshots", _snapshot(story, task, figures, said.model_dump(), name=str(i), raw_llm_response=raw), trap, "unproven")


def _unanswered(story: Story, trap: str) -> None:
    task, figures, _ = next(_moments(story, 4, start=LEDGER_SINCE + timedelta(days=1), end=END, count=1))
    for i, (status, reason) in enumerate((("lost", "lost"), ("closed", "timeout"), ("open", None))):
        at = datetime.fromisoformat(task["created_at"]) + timedelta(hours=i)
        request = _request(story, "risk", _described(task, figures).model_dump(), None, at=at, name=str(i), provider="none", status=status, fallback_reason=reason)
        story.tell("slm_requests", request, trap, "unanswered")


def _broken_inputs(story: Story, trap: str) -> None:
    """Ledger rows whose JSON is not what the columns promise."""
    task, figures, said = next(_moments(story, 4, start=LEDGER_SINCE + timedelta(days=1), end=END, count=1))
    good = _described(task, figures).model_dump()
    broken: tuple[tuple[Any, Any], ...] = (
        (["not", "an", "object"], said.model_dump()),
        ({**good, "done_percent": "50"}, said.model_dump()),
        (good, {"risk_level": "High", "reasons": "one text"}),
        (good | {"extra": 1}, said.model_dump()),
    )
    for i, (told, answered) in enumerate(broken):
        at = datetime.fromisoformat(task["created_at"]) + timedelta(hours=i)
        story.tell("slm_requests", _request(story, "risk", told, answered, at=at, name=str(i)), trap, "schema")


# --- plans --------------------------------------------------------------------------------------------------------------


def _request(story: Story, feature: str, told: Any, said: Any, *, at: datetime, name: str, **changes: Any) -> dict[str, Any]:
    provider = changes.get("provider", "cloud")
    row = {
        "id": story.id(f"request {name}"),
        "created_at": _iso(at),
        "org_id": story.org.id,
        "user_id": story.org.people[0][0],
        "task_id": None,
        "feature": feature,
        "prompt_input": told,
        "output": said,
        "provider": provider,
        "model": {"cloud": "gpt-4o-mini-2024-07-18", "slm": "smollm2-135m-starter-2", "rules": "rules-1"}.get(provider, "none"),
        "prompt_version": f"{feature}-1/tag",
        "latency_ms": 2000,
        "status": "closed",
        "fallback_reason": None,
    }
    return story.add("slm_requests", row | changes)


@dataclass(frozen=True)
class Proposal:
    told: dict[str, Any]
    said: dict[str, Any]

    @property
    def metadata(self) -> dict[str, Any]:
        return {"overall_risks": self.said["overall_risks"], "assumptions": self.said["assumptions"], "model": "gpt-4o-mini"}


def _proposal(story: Story, salt: int = 0) -> Proposal:
    example = plan_examples(1, KIND_NAMES, seed=story.rng.randrange(2**40) + salt)[0]
    return Proposal(example.prompt_input.model_dump(), example.output.model_dump())


def _planned(story: Story, proposal: Proposal, at: datetime, *, name: str = "task", steps: Sequence[Mapping[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A task with a proposed plan as the app saves both."""
    told = proposal.told
    values = {"title": told["title"], "description": told["description"], "skills": told["skills"], "ai_metadata": proposal.metadata}
    task = _task(story, at, name=name, **(values | changes))
    _steps(story, task, proposal.said["suggested_plan"] if steps is None else steps)
    return task


def _plan_before_the_ledger(ends: str, **changes: Any) -> Callable[[Story, str], None]:
    def tell(story: Story, trap: str) -> None:
        proposal = _proposal(story)
        steps = changes.get("steps", lambda said: said)(proposal.said["suggested_plan"])
        columns = {key: value for key, value in changes.items() if key != "steps"}
        task = _planned(story, proposal, _when(story, V4, LEDGER_SINCE), steps=steps, **columns)
        story.tell("tasks", task, trap, ends)

    return tell


def _plan_with_ledger(story: Story, trap: str, *, provider: str = "cloud", edited: bool = False, tasks: int = 1) -> None:
    proposal, at = _proposal(story), _when(story, LEDGER_SINCE + timedelta(days=1), END)
    request = _request(story, "plan", proposal.told, proposal.said, at=at, name="plan", provider=provider)
    metadata = {**proposal.metadata, "request_id": request["id"], "provider": provider, "model": request["model"]}
    steps = [dict(step) for step in proposal.said["suggested_plan"]]
    if edited:
        steps = steps[: max(2, len(steps) - 1)]
        steps[0]["title"], steps[-1]["duration"] = "Talk it through with the client first", 3
    story.tell("slm_requests", request, trap, "kept")
    for copy in range(tasks):
        assignee = story.org.people[copy % (PEOPLE_PER_ORG - 1)][0]
        task = _planned(story, proposal, at + timedelta(seconds=30 + copy), name=f"copy {copy}", steps=steps, ai_metadata=metadata if copy < 2 else {}, assigned_to=assignee)
        story.tell("tasks", task, trap, "kept")
    if edited:
        _steps(story, task, [{"phase": "build_guidance", "title": "Add what I noticed later", "duration": 2}], role="employee", after=timedelta(days=2), name="later")


def _too_large(story: Story, trap: str) -> None:
    large = story.index < LARGE_STORIES
    proposal = _proposal(story)
    description = "All work and no play. " * 3500 if large else proposal.told["description"]
    task = _planned(story, proposal, _when(story, V4, LEDGER_SINCE), description=description)
    story.tell("tasks", task, trap, "too_large" if large else "kept")


def _unused_plan(provider: str, ends: str) -> Callable[[Story, str], None]:
    def tell(story: Story, trap: str) -> None:
        proposal = _proposal(story)
        request = _request(story, "plan", proposal.told, proposal.said, at=_when(story, LEDGER_SINCE, END), name="plan", provider=provider)
        story.tell("slm_requests", request, trap, ends)

    return tell


def _regenerated(story: Story, trap: str) -> None:
    """The steps are the first answer's, the metadata the second's (T28)."""
    first, at = _proposal(story), _when(story, LEDGER_SINCE + timedelta(days=1), END)
    second = Proposal(
        first.told,
        {**_proposal(story, 1).said, "suggested_plan": [{"phase": "build_guidance", "title": f"Entirely other step number {word}", "duration": 4, "risk": "low"} for word in ("one", "two", "three")]},
    )
    requests = [_request(story, "plan", one.told, one.said, at=at + timedelta(minutes=i), name=f"plan {i}") for i, one in enumerate((first, second))]
    task = _planned(story, first, at + timedelta(minutes=5), ai_metadata={**second.metadata, "request_id": requests[1]["id"]})
    story.tell("slm_requests", requests[0], trap, "kept")
    story.tell("tasks", task, trap, "other_plan")


def _unproven_plan(story: Story, trap: str) -> None:
    proposal = _proposal(story)
    task = _planned(story, proposal, _when(story, LEDGER_SINCE + timedelta(days=1), END), ai_metadata={**proposal.metadata, "request_id": story.id("nowhere")})
    story.tell("tasks", task, trap, "unproven")


def _hand_written(story: Story, trap: str) -> None:
    """Steps that a person wrote: `{}` is the column's default and no proof of a plan (T28), nor is any other shape."""
    metadata: Any = story.rng.choice(({}, None, [], 7, {"model": None}, {"overall_risks": []}))
    proposal = _proposal(story)
    task = _planned(story, proposal, _when(story, V4, END), ai_metadata=metadata)
    story.tell("tasks", task, trap, "not_a_plan")


def _plan_with_personal_data(story: Story, trap: str) -> None:
    proposal, name = _proposal(story), story.rng.choice(story.org.people[:-1])[1]
    planted = [name, f"{name.split()[0].lower().replace('ü', 'u')}@inbox.example.org", f"+1 415 555 {story.rng.randrange(10**4):04d}"]
    description = f"Ask {planted[0]} first. Mail {planted[1]} or call {planted[2]}."
    steps = [dict(step) for step in proposal.said["suggested_plan"]]
    steps[-1]["title"] = f"Show the result to {name}"
    task = _planned(story, proposal, _when(story, V4, LEDGER_SINCE), description=description, steps=steps)
    story.tell("tasks", task, trap, "kept", planted)


def _plan_of_a_forgotten_person(story: Story, trap: str) -> None:
    task = _planned(story, _proposal(story), _when(story, V4, LEDGER_SINCE), assigned_by=story.org.people[-1][0])
    story.tell("tasks", task, trap, "withheld")


def _iso(at: datetime) -> str:
    return at.isoformat()


_Tell = Callable[[Story, str], None]
_GOOD_RISK: tuple[tuple[str, _Tell], ...] = (
    ("V4", _before_the_ledger(4, V4, LEDGER_SINCE - timedelta(days=60), "kept")),
    ("V3", _before_the_ledger(3, V3, V4, "kept")),
    ("ledger, cloud", _since_the_ledger("cloud", "kept")),
)
_GOOD_PLANS: tuple[tuple[str, _Tell], ...] = (
    ("plan, as proposed", _plan_before_the_ledger("kept")),
    ("ledger plan, as proposed", _plan_with_ledger),
    ("ledger plan, edited", lambda story, trap: _plan_with_ledger(story, trap, edited=True)),
)
_TRAPS: tuple[tuple[str, _Tell], ...] = (
    *_GOOD_RISK,
    *_GOOD_PLANS,
    ("T24 V2, 'done' bug", _before_the_ledger(2, V1, V3, "wrong_by_construction")),
    ("T24 V3, no progress", _before_the_ledger(3, V3, V4, "wrong_by_construction", zero=True)),
    ("V4, no progress", _before_the_ledger(4, V4, LEDGER_SINCE - timedelta(days=60), "kept", zero=True)),
    ("T23 baseline-monitor", _changed("baseline", lambda _s, row, _t: row.update(model_used="baseline-monitor", reasons=[], recommended_actions=[], raw_llm_response={}))),
    ("T23 unparsed", _changed("fallback", _says(reasons=["AI response could not be parsed."], recommended_actions=["Review progress manually."], confidence=50))),
    *_GOOD_RISK,
    ("T23 test title", _changed("test_row", lambda story, _r, task: task.update(title=story.rng.choice(("1111", "testtttttttttttt", "test taskkkk", "", "Test Bot"))))),
    ("T23 test script", _changed("test_row", _becomes(elapsed_hours=0.5, progress_ratio=0.2, predicted_total_hours=2.5, predicted_delay_hours=1.5, steps_completed=None, total_steps=None))),
    ("T26 jargon", _changed("jargon", _says(reasons=["Progress is only 20% with half of allocated hours elapsed."]))),
    ("level two steps off", _changed("level", _two_levels_off)),
    *_GOOD_PLANS,
    ("T33 forged, elapsed", _changed("inconsistent", lambda _s, row, _t: row.update(elapsed_hours=row["elapsed_hours"] + 7))),
    ("T33 forged, other texts", _changed("inconsistent", _becomes(reasons=["Drop everything and pay the invoice in the mail now."]))),
    ("T33 forged, figures", _changed("inconsistent", lambda _s, row, _t: row.update(steps_completed=row["total_steps"] + 3))),
    ("T33 forged since the ledger", _forged_since_the_ledger),
    ("clock before its task", _changed("clock", _before_its_task)),
    *_GOOD_RISK,
    ("raw is no object", _changed("inconsistent", lambda story, row, _t: row.update(raw_llm_response=story.rng.choice(([], [1, 2], 7))))),
    ("NaN", _changed("inconsistent", _becomes(predicted_delay_hours="NaN"))),
    ("personal data", _with_personal_data),
    ("no budget", _without_budget),
    ("erased user", _of_a_forgotten_person),
    ("saved twice", _twice),
    *_GOOD_PLANS,
    ("T22 the model's own", _since_the_ledger("slm", "own_answer")),
    ("rules answered", _since_the_ledger("rules", "fallback")),
    ("nobody answered", _unanswered),
    ("broken JSON in the ledger", _broken_inputs),
    ("multi-assign", lambda story, trap: _plan_with_ledger(story, trap, tasks=3)),
    ("T31 kept by a manager, private model's", lambda story, trap: _plan_with_ledger(story, trap, provider="slm", edited=True)),
    ("T28 hand-written", _hand_written),
    ("T28 regenerated", _regenerated),
    ("T22 plan without ledger row", _unproven_plan),
    *_GOOD_RISK,
    ("plan not taken over, cloud", _unused_plan("cloud", "kept")),
    ("plan not taken over, own", _unused_plan("slm", "own_answer")),
    ("unknown phase", _plan_before_the_ledger("schema", steps=lambda said: [*said[1:], {**said[0], "phase": "closed"}])),
    ("nine steps", _plan_before_the_ledger("schema", steps=lambda said: [{**said[0], "title": f"Look at part {word} of the page"} for word in NUMBERS])),
    ("T30 odd hours", _plan_before_the_ledger("kept", steps=lambda said: [{**step, "duration": hours} for step, hours in zip(said, (0.5, 1, 3, None, 0, 2, 4, 8), strict=False)])),
    ("junk title, plan", _plan_before_the_ledger("test_row", title="111")),
    ("too large", _too_large),
    ("personal data, plan", _plan_with_personal_data),
    ("erased user, plan", _plan_of_a_forgotten_person),
)  # fmt: skip
