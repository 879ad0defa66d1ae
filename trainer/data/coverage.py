"""Owns the planned grid: which cell an example lies in, which cells have too few, and which examples fill them first.

Knows nothing of teachers: it is given candidates and chooses among them. A cell is measured from an input and its answer
alone, so history, teacher and template are counted by the same rule.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from shared_schemas.features.plan import PlanInput, PlanOutput
from shared_schemas.features.risk import RiskInput, RiskOutput
from trainer.stage import digest

T = TypeVar("T")

AXES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "risk": {
        "level": ("low", "medium", "high"),
        "budget": ("no_budget", "under_5h", "under_16h", "long"),
        "progress": ("nothing_done", "under_half", "over_half", "all_done"),
        "milestone": ("none", "50_percent", "75_percent", "1h_left", "30m_left"),
        "micro_task": ("micro", "not_micro"),
        "voice": ("urgent", "encouraging", "plain"),
    },
    "plan": {
        "skill": ("no_skill", "frontend", "backend", "data", "ai", "people", "other_skill"),
        "size": ("under_11h", "under_19h", "over_18h"),
        "domain": ("learn", "soft", "fix", "migrate", "integrate", "ai_work", "document", "campaign", "screen", "build", "junk", "other"),
        "steps": ("1-4", "5-6", "7-8"),
    },
}
"""Each axis with its values, in the order in which a cell's name holds them."""

URGENT = re.compile(r"\b(now|right away|immediately|this very minute|set a timer|drop everything|put everything else aside|(in|within) (the next )?(\d+|few) minutes)\b", re.I)
ENCOURAGING = re.compile(r"\b(great|good work|well done|nice|you can (do|finish|make)|you are close|almost there|earned|keep (going|this|it)|carry on|stay with it|proud)\b", re.I)

_DOMAINS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (domain, re.compile(words, re.I))
    for domain, words in (
        ("learn", r"\b(development skills?|skill development|learn|upskill|training|skills:)"),
        ("soft", r"\b(soft ?skills?|communication|english|accountability|curiosity|abstract thinking|order thinking|first[- ]principle|learnability|compliance|teamwork|listening|ownership)"),
        ("fix", r"\b(fix|bug|resolve|error|crash|lag|slow|broken|wrong|missing|duplicate|timeout|overlapping|stale|leak)"),
        ("migrate", r"\b(migrat\w*|move|shift the|shift \w+ \w+ to|export)\b"),
        ("integrate", r"\b(int[ei]grat\w*|connect|api|gateway|webhook|setup)\b"),
        ("ai_work", r"\b(ai|llms?|rag|prompt\w*|model|classifier|assistant|summariser|recommendations|fine-?tuning|chatbot|bot)\b"),
        ("document", r"\b(document(?!s? (?:page|form|list|part|data|files|records))\w*|documention|guide|policy|manual|notes|handbook|readme)\b"),
        ("campaign", r"\b(workshop|campaign|drive|week|newsletter|event|organise)\b"),
        ("screen", r"\b(ui|page|form|screen|panel|list|modal|view|tab|dashboard|popup|cards|frontend|redesign|layout)\b"),
        ("build", r"\b(build|module|feature|flow|system|tracker|workflow|reminders|approval|portal|implement|impliment|develop\w*|create|add|backend|database)\b"),
    )
)  # fmt: skip
_SKILLS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (group, re.compile(words, re.I))
    for group, words in (
        ("ai", r"\b(ai|rag|llms?|prompt\w*|fine-?tuning|data labelling|agents|evaluation)\b"),
        ("data", r"\b(sql|databases?|data|vector)\b"),
        ("frontend", r"\b(react|typescript|front-?end|ui/ux|ui|css)\b"),
        ("backend", r"\b(node\.?js|python|back-?end|api|cloud|devops|docker|infrastructure|security|linux|git|testing|qa|workflows)\b"),
        ("people", r"\b(communication|documentation|project management|content|client|problem solving|english|thinking|accountability|compliance|learnability|curiosity|ambiti\w+)\b"),
    )
)  # fmt: skip
_LETTERS = re.compile(r"[^\W\d_]")


def cell_of(prompt_input: Any, output: Any) -> str:
    """The cell's name: one value of each axis, in their order, with `|` between them."""
    values: tuple[str, ...]
    match prompt_input, output:
        case RiskInput(), RiskOutput():
            values = (output.risk_level, _budget(prompt_input), _progress(prompt_input), prompt_input.milestone, "micro" if prompt_input.micro_task else "not_micro", voice_of(output))
        case PlanInput(), PlanOutput():
            values = (_skill(prompt_input.skills), _size(output), domain_of(prompt_input.title), _steps(output))
        case _:
            raise TypeError(f"{type(prompt_input).__name__} and {type(output).__name__} belong to no grid")
    return "|".join(values)


def axis_counts(feature: str, cells: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """How many examples each value of each axis has: the coverage table."""
    table = {axis: dict.fromkeys(values, 0) for axis, values in AXES[feature].items()}
    for cell, count in cells.items():
        for axis, value in zip(table, cell.split("|"), strict=True):
            table[axis][value] += count
    return table


def fill(have: Mapping[str, int], candidates: Iterable[tuple[str, T]], count: int, *, seed: int) -> list[tuple[str, T]]:
    """At most `count` of the candidates, those of the emptiest cells first; the same input chooses the same.

    Between equally empty cells, the one goes first whose rarest value is rarest, so that no level or milestone is left behind.
    """
    waiting: dict[str, list[tuple[str, T]]] = defaultdict(list)
    for cell, candidate in candidates:
        waiting[cell].append((cell, candidate))
    counts, values = Counter(have), Counter[tuple[int, str]]()
    for cell, number in have.items():
        values.update(dict.fromkeys(enumerate(cell.split("|")), number))

    def emptiness(cell: str) -> tuple[int, int, str]:
        return counts[cell], min(values[axis, value] for axis, value in enumerate(cell.split("|"))), digest([seed, cell])

    queue = [(emptiness(cell), cell) for cell in waiting]
    heapq.heapify(queue)
    chosen: list[tuple[str, T]] = []
    while queue and len(chosen) < count:
        known, cell = heapq.heappop(queue)
        if known != (now := emptiness(cell)) and queue and now > queue[0][0]:
            heapq.heappush(queue, (now, cell))
            continue
        chosen.append(waiting[cell].pop())
        counts[cell] += 1
        values.update(enumerate(cell.split("|")))
        if waiting[cell]:
            heapq.heappush(queue, (emptiness(cell), cell))
    return chosen


def voice_of(output: RiskOutput) -> str:
    """How the coach speaks: pressing for action at once, praising and cheering on, or plainly."""
    actions = " ".join(output.recommended_actions)
    return "urgent" if URGENT.search(actions) else "encouraging" if ENCOURAGING.search(" ".join([actions, *output.reasons])) else "plain"


def domain_of(title: str) -> str:
    """The kind of work that a title is about, by its words; `junk` for one without two words of sense."""
    for domain, words in _DOMAINS:
        if words.search(title):
            return domain
    return "junk" if title.isascii() and len(_LETTERS.findall(title)) < 12 and " " not in title.strip() else "other"


def _budget(task: RiskInput) -> str:
    minutes = task.budget_minutes
    return "no_budget" if minutes == 0 else "under_5h" if minutes < 300 else "under_16h" if minutes < 960 else "long"


def _progress(task: RiskInput) -> str:
    done = task.done_percent
    return "nothing_done" if done == 0 else "under_half" if done < 50 else "over_half" if done < 100 else "all_done"


def _skill(skills: Sequence[str]) -> str:
    """The group of the first skill that has one."""
    if not skills:
        return "no_skill"
    return next((group for skill in skills for group, words in _SKILLS if words.search(skill)), "other_skill")


def _size(plan: PlanOutput) -> str:
    hours = sum(step.duration for step in plan.suggested_plan)
    return "under_11h" if hours < 11 else "under_19h" if hours < 19 else "over_18h"


def _steps(plan: PlanOutput) -> str:
    count = len(plan.suggested_plan)
    return "1-4" if count < 5 else "5-6" if count < 7 else "7-8"
