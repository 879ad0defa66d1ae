"""Rows to judge by and models whose answers are written down: as good or bad as a test wants, the same every time."""

import random
from collections.abc import Callable, Sequence

from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import LEVELS, RiskOutput
from tests.trainer.test_data_split import row_of, source
from trainer.data.row import Row
from trainer.evaluation.answers import Answer, RecordedModel
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples
from trainer.task_titles import KINDS


def risk_rows(count: int, *, seed: int = 5) -> list[Row]:
    return [row_of(example, [source(i)]) for i, example in enumerate(risk_examples(count, KINDS, seed=seed))]


def plan_rows(count: int, *, seed: int = 6) -> list[Row]:
    return [row_of(example, [source(i)]) for i, example in enumerate(plan_examples(count, KINDS, seed=seed))]


def said(row: Row, output: RiskOutput | PlanOutput | None = None, *, sure: float = 0.99, attempts: int = 1, ms: float = 900.0, code: str = "rejected") -> Answer:
    """An answer to a row: the reference's own where none is given, refused where `sure` is 0."""
    if sure == 0:
        return Answer(example_id=row.id, output=None, fault="The model's answer is not acceptable: 'x' is no sentence", code=code, latency_ms=3 * ms)
    told = output or row.output
    if isinstance(told, RiskOutput):
        rest = round((1 - sure) / 2, 6)
        raw = {f"p_{level}": sure if level == told.risk_level else rest for level in LEVELS} | {"allowed_mass": 0.9, "calibration": 0.0}
    else:
        raw = {"p_step_mean": sure, "p_step_min": sure / 2, "calibration": 0.0}
    return Answer(example_id=row.id, output=told, attempts=attempts, confidence=round(100 * sure), raw=raw, latency_ms=ms, input_tokens=160, output_tokens=70)


def model(name: str, rows: Sequence[Row], answer: Callable[[Row, random.Random], Answer], *, seed: int = 1) -> RecordedModel:
    rng = random.Random(seed)
    return RecordedModel(name, {row.id: answer(row, rng) for row in rows})


def good(row: Row, rng: random.Random) -> Answer:
    """Nine of ten as the reference, less sure of the others, which are another example's words."""
    return said(row, sure=0.9 + 0.099 * rng.random(), ms=700 + 400 * rng.random()) if rng.random() < 0.9 else said(row, off(row), sure=0.5 + 0.4 * rng.random(), attempts=2, ms=1800)


def poor(row: Row, rng: random.Random) -> Answer:
    """One of three refused, the others off, and very sure of it."""
    return said(row, sure=0, ms=900) if rng.random() < 0.33 else said(row, off(row), sure=0.95 + 0.05 * rng.random(), ms=900 + 900 * rng.random())


def off(row: Row) -> RiskOutput | PlanOutput:
    """Another level with other words, or half of the plan."""
    match row.output:
        case RiskOutput():
            level = LEVELS[(LEVELS.index(row.output.risk_level) + 1) % 3]
            return RiskOutput(risk_level=level, reasons=["The work goes on as it should, more or less."], recommended_actions=["He could look at it again at some point."])
        case PlanOutput():
            steps = row.output.suggested_plan[: max(1, len(row.output.suggested_plan) // 2)]
            return PlanOutput(suggested_plan=[step.model_copy(update={"title": f"Thing number {i} that is wanted"}) for i, step in enumerate(steps)], overall_risks=[], assumptions=[])
