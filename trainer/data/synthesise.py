"""Owns the stage that adds a teacher's examples where the coverage grid has gaps, and finds the near duplicates of old and new rows.

Reads the rows of the stage before it, writes them with the new ones. Knows nothing of splits. A teacher that is not
private sees made-up inputs only: no word of an organisation's rows.
"""

import heapq
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import shared_schemas
from shared_schemas.closed import Closed
from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanInput, SimilarTask
from trainer import plan_teacher, risk_teacher, task_titles
from trainer.data import asking, clean, coverage, duplicates, judge, neighbours, personal_data
from trainer.data.asking import ask_all, strict_schema
from trainer.data.clean import without_personal_data
from trainer.data.coverage import AXES, axis_counts, cell_of, domain_of, fill
from trainer.data.diversity import diversity
from trainer.data.house_style import coach_style, plan_style
from trainer.data.judge import Kept, Rejected, check_wording
from trainer.data.neighbours import Neighbours
from trainer.data.personal_data import Names, Placeholders
from trainer.data.row import REJECTED, ROWS, Origin, Row, make_row, read_rows, write_lines, write_rows
from trainer.data.spending import CallLog, Question, Reply, agree, estimate, make_question, open_log
from trainer.data.teacher import TEMPLATE, Teacher
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import coach, situation
from trainer.stage import digest, facts_before, run_stage, sources_sha256
from trainer.task_titles import ALL_SKILLS, KINDS, make_task

DRAWS = 12
"""Candidates drawn for each example wanted: the grid chooses among them."""
PATIENCE = 40
"""Candidates in vain, one after another, after which the teacher has nothing new to say."""
SEEDS = 2000
SEEDED = 0.5
"""Share of candidates that vary a row of the history, where there are any that the teacher may see."""

WISHES = {
    "urgent": "Press for action within minutes.",
    "encouraging": "Praise what is done and cheer the person on.",
    "plain": "Stay calm and factual.",
    "1-4": "Plan 3 or 4 steps",
    "5-6": "Plan 5 or 6 steps",
    "7-8": "Plan 7 or 8 steps",
    "under_11h": "10 hours or less in all.",
    "under_19h": "12 to 18 hours in all.",
    "over_18h": "20 hours or more in all.",
}  # fmt: skip
FEASIBLE = (("1-4", "under_11h"), ("1-4", "under_19h"), ("5-6", "under_11h"), ("5-6", "under_19h"), ("5-6", "over_18h"), ("7-8", "under_19h"), ("7-8", "over_18h"))
"""Numbers of steps with the hours that steps of 2 or 4 hours can make of them."""


@dataclass(frozen=True)
class SynthesiseOptions:
    """`teacher`: None for the offline templates. The last four decide how it is asked, not what comes out."""

    feature: str
    count: int = 1000
    seed: int = 20261122
    teacher: Teacher | None = None
    budget_usd: float = 1.0
    yes: bool = False
    concurrency: int = 8
    progress: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Candidate:
    """An input to be answered, the templates' answer to it, and the row that it varies."""

    prompt_input: Any
    output: Any
    seed: Row | None


@dataclass(frozen=True)
class Answer:
    """What was answered to a candidate: the feature's output, or the raw text of one that is not kept, with the reason."""

    candidate: Candidate
    output: Any
    reason: str = ""
    detail: str = ""


NOBODY = Names(())
"""A teacher knows no names: those of a varied row are replaced already."""
NO_COST = {"calls": 0, "usd": 0.0, "input_tokens": 0, "output_tokens": 0}


def run(previous: Path, folder: Path, options: SynthesiseOptions) -> dict[str, Any]:
    """Facts: rows, sha256, added, short (of those wanted: the teacher had nothing new), rejected by reason, coverage before and after, diversity, style, cost."""
    before = facts_before(previous, "synthesise")
    teacher = options.teacher
    inputs = {
        "rows": before.get("sha256"),
        "feature": options.feature,
        "count": options.count,
        "seed": options.seed,
        "teacher": [teacher.endpoint, teacher.model, teacher.is_private] if teacher else TEMPLATE,
        "code": sources_sha256(shared_schemas, asking, clean, coverage, duplicates, neighbours, personal_data, judge, plan_teacher, risk_teacher, task_titles, sys.modules[__name__]),
    }
    return run_stage(folder, inputs, lambda folder: _make(previous / ROWS, folder, options))


def _make(rows: Path, folder: Path, options: SynthesiseOptions) -> dict[str, Any]:
    """Asks in rounds, until as many are kept as were wanted, or there is nothing new to be had: no candidate left, or PATIENCE in vain.

    A candidate in vain counts as one of its cell's, so that the next ones are of cells where more is to be had.
    """
    have, seeds = _look(rows, options)
    pool = _pool(options, seeds)
    cells = {*have, *(cell for cell, _ in pool.values())}
    kept: dict[str, Row] = {}
    rejected: list[Answer] = []
    in_vain: Counter[str] = Counter()
    since_new = 0
    with Neighbours(folder) as neighbours, _answerer(folder, options) as answerer:
        neighbours.have(read_rows(rows))
        while pool and len(kept) < options.count and since_new < PATIENCE:
            chosen = fill(have + _cells(kept) + in_vain, ((cell, key) for key, (cell, _) in pool.items()), options.count - len(kept), seed=options.seed)
            answers = [_checked(options, answer) for answer in answerer.answers([pool.pop(key) for _, key in chosen])]
            written = {place: _row(options, answer) for place, answer in enumerate(answers) if not answer.reason}
            new = dict(zip(written, neighbours.add(list(written.values())), strict=True))
            for place, (cell, _) in enumerate(chosen):
                if new.get(place):
                    kept[written[place].id] = written[place]
                    since_new = 0
                else:
                    rejected.append(answers[place] if answers[place].reason else replace(answers[place], reason="duplicate"))
                    in_vain[cell] += 1
                    since_new += 1
            options.progress(f"{_origin(options)}: {len(kept)} of {options.count} examples")
        clusters = neighbours.clusters()
    added = sorted(kept.values(), key=lambda row: row.id)
    facts = write_rows(folder / ROWS, _merged(rows, added, clusters))
    write_lines(folder / REJECTED, map(_rejected_line, rejected))
    after = have + _cells(kept)
    outputs: list[Any] = [row.output for row in added]
    return {
        **facts,
        "added": len(added),
        "short": options.count - len(added),
        "seeded": sum(row.seed_id is not None for row in added),
        "origin": _origin(options),
        "rejected": dict(sorted(Counter(answer.reason for answer in rejected).items())),
        "coverage": {
            "cells_before": len(have),
            "cells_after": len(after),
            "cells_within_reach": len(cells),
            "axes_before": axis_counts(options.feature, have),
            "axes_after": axis_counts(options.feature, after),
        },
        "diversity": {
            "answers": diversity([" ".join(FEATURES[options.feature].prose(output)) for output in outputs]),
            "titles": diversity([row.prompt_input.title for row in added]),
        },
        "style": coach_style(outputs) if options.feature == "risk" else plan_style(outputs),
        "cost": answerer.cost(),
    }


def _cells(rows: Mapping[str, Row]) -> Counter[str]:
    return Counter(str(row.cell) for row in rows.values())


def _look(rows: Path, options: SynthesiseOptions) -> tuple[Counter[str], list[Row]]:
    """How full the grid is, and rows that may be varied: an even choice, at most SEEDS, none for a teacher outside the house."""
    have: Counter[str] = Counter()

    def counted() -> Iterator[Row]:
        for row in read_rows(rows):
            have[cell_of(row.prompt_input, row.output)] += 1
            yield row

    seeds = heapq.nsmallest(SEEDS, counted(), key=lambda row: digest([options.seed, row.id]))
    outside = options.teacher is not None and not options.teacher.is_private
    return have, [] if outside else seeds


def draw(options: SynthesiseOptions, seeds: Sequence[Row]) -> Iterator[tuple[str, Candidate]]:
    """Candidates with the cells that they will lie in, by chance from the seed; kinds of work take turns."""
    for i in range(DRAWS * options.count):
        rng = random.Random(f"{options.seed}/{options.feature}/{i}")
        seed = rng.choice(seeds) if seeds and rng.random() < SEEDED else None
        kind = KINDS[i % len(KINDS)]
        candidate = _risk(kind, seed, rng) if options.feature == "risk" else _plan(kind, seed if options.teacher else None, rng)
        yield _wanted_cell(candidate, options, rng), candidate


def _risk(kind: Any, seed: Row | None, rng: random.Random) -> Candidate:
    """A title, new or from the history, at another moment. A manager's form calls a task micro under one hour only (trap T6)."""
    title = seed.prompt_input.title if seed else make_task(kind, rng).title
    task = situation(title, rng)
    if task.micro_task and task.budget_minutes >= 60 and rng.random() < 0.3:
        task = task.model_copy(update={"micro_task": False})
    return Candidate(task, coach(task, domain_of(title) if seed else kind.name), seed)


def _plan(kind: Any, seed: Row | None, rng: random.Random) -> Candidate:
    """A made-up task, or a task of the history with other skills and without its neighbours; the templates know made-up ones only."""
    example = plan_examples(1, (kind,), seed=rng.getrandbits(32))[0]
    if seed is None:
        return Candidate(example.prompt_input, example.output, None)
    skills = rng.sample(ALL_SKILLS, rng.choice((0, 1, 2)))
    similar: list[SimilarTask] = []
    return Candidate(PlanInput(title=seed.prompt_input.title, description=seed.prompt_input.description, skills=skills, similar=similar), example.output, seed)  # type: ignore[union-attr]


def _wanted_cell(candidate: Candidate, options: SynthesiseOptions, rng: random.Random) -> str:
    """The templates' answer is known; of another teacher a voice, or a number of steps and hours, is asked for."""
    values = cell_of(candidate.prompt_input, candidate.output).split("|")
    if options.teacher:
        axes = list(AXES[options.feature])
        if options.feature == "risk":
            values[axes.index("voice")] = rng.choice(AXES["risk"]["voice"])
        else:
            values[axes.index("steps")], values[axes.index("size")] = rng.choice(FEASIBLE)
    return "|".join(values)


def _pool(options: SynthesiseOptions, seeds: Sequence[Row]) -> dict[str, tuple[str, Candidate]]:
    """The candidates by what makes them different: the answer too where it is known, else what is asked for."""
    pool: dict[str, tuple[str, Candidate]] = {}
    for cell, candidate in draw(options, seeds):
        known = cell if options.teacher else compact_json(candidate.output)
        pool.setdefault(digest([compact_json(candidate.prompt_input), known]), (cell, candidate))
    return pool


class Templates:
    """Answer at once, for nothing."""

    def answers(self, chosen: Sequence[tuple[str, Candidate]]) -> list[Answer]:
        return [Answer(candidate, candidate.output) for _, candidate in chosen]

    def cost(self) -> dict[str, Any]:
        return NO_COST


class Asked:
    """A teacher that is asked and paid, within one budget for all rounds."""

    def __init__(self, teacher: Teacher, log: CallLog, options: SynthesiseOptions) -> None:
        self._teacher, self._log, self._options = teacher, log, options
        self._questions: dict[str, Question] = {}

    def answers(self, chosen: Sequence[tuple[str, Candidate]]) -> list[Answer]:
        """In the order of the candidates."""
        teacher, log, options = self._teacher, self._log, self._options
        questions = [ask_about(teacher, options.feature, cell, candidate.prompt_input) for cell, candidate in chosen]
        self._questions |= {question.key: question for question in questions}
        missing = log.unanswered(questions)
        if missing:
            agree(teacher, estimate(teacher, missing), budget_usd=options.budget_usd - log.spent_usd(self._questions.keys()), yes=options.yes)
        ask_all(teacher, list(self._questions.values()), log, budget_usd=options.budget_usd, concurrency=options.concurrency, progress=options.progress)
        return [_answer(options.feature, candidate, log.replies[question.key]) for (_, candidate), question in zip(chosen, questions, strict=True)]

    def cost(self) -> dict[str, Any]:
        replies = [self._log.replies[key] for key in self._questions]
        return {
            "calls": len(replies),
            "usd": round(self._log.spent_usd(self._questions.keys()), 6),
            "input_tokens": sum(reply.input_tokens for reply in replies),
            "output_tokens": sum(reply.output_tokens for reply in replies),
        }


@contextmanager
def _answerer(folder: Path, options: SynthesiseOptions) -> Iterator[Templates | Asked]:
    """Who answers. The log of a teacher lies beside the stages and outlives them."""
    if options.teacher is None:
        yield Templates()
    else:
        with open_log(folder.parent / "teacher" / "calls.jsonl") as log:
            yield Asked(options.teacher, log, options)


def _answer(feature: str, candidate: Candidate, reply: Reply) -> Answer:
    if reply.fault:
        return Answer(candidate, reply.said, reply.fault.replace(" ", "_"))
    try:
        return Answer(candidate, FEATURES[feature].output.model_validate_json(reply.said))
    except ValidationError as error:
        return Answer(candidate, reply.said, "schema", error.errors()[0]["msg"])


def ask_about(teacher: Teacher, feature: str, cell: str, prompt_input: Any) -> Question:
    """The question for one cell: the feature's instructions, what the cell wants, the lengths that schemas cannot say."""
    about = FEATURES[feature]
    wishes = " ".join(wish for value, wish in WISHES.items() if value in cell.split("|"))
    lengths = "Sentences have 12 to 140 characters and end with a full stop." if feature == "risk" else "Step titles have 6 to 90 characters, remarks 12 to 140, and remarks end with a full stop."
    messages = [{"role": message.role, "content": message.content} for message in about.messages(prompt_input, "instructions")]
    messages[0]["content"] += f"\n{lengths} {wishes}"
    schema = {"name": feature, "strict": True, "schema": strict_schema(about.output_schema())}
    return make_question(teacher, {"messages": messages, "max_completion_tokens": 2 * about.max_tokens, "response_format": {"type": "json_schema", "json_schema": schema}})


def _checked(options: SynthesiseOptions, answer: Answer) -> Answer:
    """The answer as cleaning leaves it, or with the reason why it is not kept: the rules of the history, whoever wrote it."""
    if answer.reason:
        return answer
    candidate, version = answer.candidate, FEATURES[options.feature].prompt_version("instructions" if options.teacher else "tag")
    try:
        check_wording(options.feature, candidate.prompt_input, answer.output)
        cleaned = without_personal_data(options.feature, Kept(_origin(options), version, candidate.prompt_input, answer.output), Placeholders(NOBODY))
    except Rejected as why:
        return replace(answer, reason=why.reason, detail=why.detail)
    return replace(answer, candidate=replace(candidate, prompt_input=cleaned.prompt_input), output=cleaned.output)


def _row(options: SynthesiseOptions, answer: Answer) -> Row:
    """A varied row keeps the sources of the row that it varies: whoever wrote that may ask to be forgotten."""
    prompt_input, seed = answer.candidate.prompt_input, answer.candidate.seed
    return make_row(
        options.feature,
        _origin(options),
        prompt_input,
        answer.output,
        sources=seed.sources if seed else [],
        prompt_version=FEATURES[options.feature].prompt_version("instructions" if options.teacher else "tag"),
        seed_id=seed.id if seed else None,
        cell=cell_of(prompt_input, answer.output),
    )


def _origin(options: SynthesiseOptions) -> Origin:
    return "teacher" if options.teacher else "template"


def _merged(rows: Path, added: Sequence[Row], clusters: Mapping[str, str]) -> Iterator[Row]:
    """The rows before and the new ones by id, each with its cluster."""
    old = (row.model_copy(update={"cell": cell_of(row.prompt_input, row.output)}) for row in read_rows(rows))
    for row in heapq.merge(old, added, key=lambda row: row.id):
        yield row.model_copy(update={"cluster": clusters.get(row.id, row.id)})


def _rejected_line(answer: Answer) -> str:
    output = compact(answer.output) if isinstance(answer.output, Closed) else answer.output
    return json.dumps({"reason": answer.reason, "detail": answer.detail, "row": {"prompt_input": compact(answer.candidate.prompt_input), "output": output}}, ensure_ascii=False, separators=(",", ":"))


def compact(shape: Closed) -> Any:
    return shape.model_dump(mode="json")
