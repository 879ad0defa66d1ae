"""Owns inputs to time the service with: made by rule, each different, as long as real ones. They judge no quality."""

from itertools import product

from shared_schemas.closed import Closed
from shared_schemas.features.plan import PlanInput
from shared_schemas.features.risk import LEVELS, describe

_THINGS = ("Career page", "payroll report", "landing page", "cohort list", "chat window", "hiring portal", "search filter", "login screen", "expense form", "leave calendar")
_DEEDS = ("Build the", "Mend the", "Redesign the", "Document the", "Speed up the", "Test the", "Translate the", "Move the")
_WISHES = ("must work on mobile", "must filter by department", "is slow on old laptops", "looks dated", "loses what was typed")


def inputs(feature: str, begin: int, count: int) -> list[Closed]:
    """`count` prompt inputs of a feature, from the one at `begin` on; no two of the first 400 are the same."""
    titles = [f"{deed} {thing}" for deed, thing in product(_DEEDS, _THINGS)]
    return [_MAKE[feature](i, titles[i * 7 % len(titles)]) for i in range(begin, begin + count)]


def _risk(i: int, title: str) -> Closed:
    done, budget = 5 + 13 * i % 90, 60 * (2 + i % 23)
    return describe(
        title=title, level=LEVELS[i % 3], milestone="50_percent" if i % 2 else "75_percent", micro_task=i % 5 == 0, done_percent=done, steps_done=done // 13,
        steps_left=1 + i % 6, budget_minutes=budget, spent_minutes=budget * (40 + i % 60) // 100, delay_minutes=i % 4 * 30,
    )  # fmt: skip


def _plan(i: int, title: str) -> Closed:
    wish = _WISHES[(i + i // 80) % len(_WISHES)]
    return PlanInput(title=title, description=f"It {wish}. Version {1 + i} is due soon.", skills=[("React", "Python", "SQL", "Figma")[i % 4]], similar=[])


_MAKE = {"risk": _risk, "plan": _plan}

NAMES: tuple[str, ...] = tuple(_MAKE)
"""The features that have inputs."""
