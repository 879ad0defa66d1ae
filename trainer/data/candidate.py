"""Owns what extract hands to clean: one answer that the history may hold, with the database's rows just as they are.

Knows nothing of whether the answer is any good.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from shared_schemas.closed import Closed
from trainer.data.mirror import instant
from trainer.data.row import Source

PLANNED_WITHIN = timedelta(minutes=10)
"""The app saves a plan's steps together with the task; what a manager adds later is no part of it."""

Kind = Literal["ledger", "snapshot", "steps", "human"]


class Candidate(Closed):
    """`ledger`: `request`. `snapshot`: `snapshot`, its `task` and its ledger row `request` (null when there is none).

    `steps`: the planned `steps` in phase order, the `tasks` that have exactly these (copies of one plan), `request`, and the
    `similar` tasks that the assistant would have been shown. `human`: the `answer` that reviewers corrected or agreed on, and
    the `request` that it answers.
    """

    kind: Kind
    feature: str
    org_id: str | None
    sources: list[Source]
    since_ledger: bool
    found: dict[str, Any]


def planned(task: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The steps that were saved with the task by its manager."""
    began = instant(task["created_at"])
    return [step for step in steps if step["created_by_role"] == "manager" and began and (at := instant(step["created_at"])) and abs(at - began) <= PLANNED_WITHIN]
