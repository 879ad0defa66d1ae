"""Owns the Python twin of the edge's describing: what a model would have been told about a task, from what the app kept.

Written beside `clean_text.ts`, `shorten.ts`, `describe_task.ts` and `describe_plan.ts`; tests/golden holds both languages
to the same result. Knows nothing of where a task comes from.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared_schemas.features.plan import PlanInput, SimilarTask
from shared_schemas.features.risk import LEVELS, Level, Milestone, RiskInput, describe

TITLE_LIMIT = 120
DESCRIPTION_LIMIT = 600
SKILL_LIMIT, MOST_SKILLS = 40, 8
SIMILAR_LIMIT, MOST_SIMILAR, MOST_SIMILAR_STEPS = 80, 2, 6
BYTES_PER_CHARACTER = 2
MAX_MINUTES = 600_000
MAX_STEPS = 999
MICRO_TASK_MINUTES = 300
MILESTONES: tuple[Milestone, ...] = ("50_percent", "75_percent", "1h_left", "30m_left")

_SPACE = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_SPACES = re.compile(f"[{_SPACE}]+")
_SPACES_IN_LINE = re.compile(f"[{_SPACE.replace(chr(10), '')}]+")
_EDGES = re.compile(f"^[{_SPACE}]+|[{_SPACE}]+$")
_LAST_WORD = re.compile(f"[{_SPACE}][^{_SPACE}]*$")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def risk_input(title: Any, metrics: Mapping[str, Any], *, milestone: Any = None, micro_task: Any = None) -> RiskInput:
    """The risk coach's input from metrics of any version, as `describeTask` makes it."""
    budget = _minutes(metrics.get("allocated_hours"))
    steps = _count(metrics.get("total_steps"))
    done = min(_count(metrics.get("steps_completed")), steps)
    return describe(
        title=shorten(one_line(title) or "Untitled task", TITLE_LIMIT),
        level=_level(metrics),
        milestone=milestone if milestone in MILESTONES else "none",
        micro_task=micro_task if isinstance(micro_task, bool) else 0 < budget < MICRO_TASK_MINUTES,
        done_percent=_done_percent(metrics),
        steps_done=done,
        steps_left=steps - done,
        budget_minutes=budget,
        spent_minutes=_minutes(metrics.get("elapsed_hours")),
        delay_minutes=_minutes(metrics.get("predicted_delay_hours")),
    )


def plan_input(title: Any, description: Any, skills: Any, similar: Sequence[Mapping[str, Any]] = ()) -> PlanInput | None:
    """The planning assistant's input, as `readPlanWish` and `describePlan` make it; None where they refuse (no title or description).

    `similar`: earlier tasks, each a `title` and its `steps` in order.
    """
    wish_title = one_line(title)
    wish = re.sub(r"\n{2,}", "\n", _SPACES_IN_LINE.sub(" ", clean_text(description)))
    if not wish_title or not wish:
        return None
    wanted = dict.fromkeys(skill for skill in map(clean_text, skills if isinstance(skills, list) else []) if skill)
    return PlanInput(
        title=shorten(wish_title, TITLE_LIMIT),
        description=shorten(wish, DESCRIPTION_LIMIT),
        skills=[shorten(skill, SKILL_LIMIT) for skill in list(wanted)[:MOST_SKILLS]],
        similar=[task for task in map(_similar, similar[:MOST_SIMILAR]) if task.steps],
    )


def _similar(task: Mapping[str, Any]) -> SimilarTask:
    steps = task["steps"] if isinstance(task["steps"], list) else []
    lines = [line for line in map(one_line, steps) if line]
    return SimilarTask(title=shorten(one_line(task["title"]) or "Untitled task", SIMILAR_LIMIT), steps=[shorten(line, SIMILAR_LIMIT) for line in lines[:MOST_SIMILAR_STEPS]])


def clean_text(value: Any) -> str:
    """Text that every layer can hold: no halves of characters, no control characters, line ends as `\\n`. Anything but text is empty."""
    if not isinstance(value, str):
        return ""
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _EDGES.sub("", _CONTROL.sub("", text))


def one_line(value: Any) -> str:
    return _SPACES.sub(" ", clean_text(value))


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters and twice as many bytes, cut at a word boundary where there is one near."""
    if len(text) <= limit and len(text.encode()) <= limit * BYTES_PER_CHARACTER:
        return text
    kept = _longest(text, limit - 1)
    boundary = _LAST_WORD.search(kept)
    if boundary and _units(kept[: boundary.start()]) > _units(kept) / 2:
        kept = kept[: boundary.start()]
    return f"{_EDGES.sub('', f'.{kept}')[1:]}…"


def _longest(text: str, limit: int) -> str:
    size = 0
    for end, character in enumerate(text[:limit]):
        size += len(character.encode())
        if size > limit * BYTES_PER_CHARACTER:
            return text[:end]
    return text[:limit]


def _units(text: str) -> int:
    """UTF-16 code units: what TypeScript counts."""
    return len(text.encode("utf-16-le")) // 2


def finite(value: Any) -> float | None:
    """A finite number, from a number or from the text of one; everything else is absent."""
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(_EDGES.sub("", value)) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _round(value: float) -> int:
    """Halves up, as `Math.round` does."""
    return math.floor(value + 0.5)


def _minutes(hours: Any) -> int:
    return _round(min(MAX_MINUTES, max(0, (finite(hours) or 0) * 60)))


def _count(value: Any) -> int:
    return min(MAX_STEPS, max(0, math.floor(finite(value) or 0)))


def _done_percent(metrics: Mapping[str, Any]) -> int:
    """100 only when everything is done: 99.6 % rounds to 99."""
    total = _count(metrics.get("total_steps"))
    ratio = finite(metrics.get("progress_ratio"))
    if ratio is None:
        ratio = _count(metrics.get("steps_completed")) / total if total else 0
    return 100 if ratio >= 1 else _round(min(99, max(0, ratio * 100)))


def _level(metrics: Mapping[str, Any]) -> Level:
    """V4 says `risk_level`, V1 to V3 say `base_risk_level` (trap T3)."""
    for said in (metrics.get("risk_level"), metrics.get("base_risk_level")):
        for level in LEVELS:
            if isinstance(said, str) and said.lower() == level:
                return level
    return "low"
