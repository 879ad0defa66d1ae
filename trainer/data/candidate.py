"""Owns what extract hands to clean: one answer that the history may hold, with the database's rows just as they are.

Knows nothing of whether the answer is any good.
"""

from typing import Any, Literal

from shared_schemas.closed import Closed
from trainer.data.row import Source

Kind = Literal["ledger", "snapshot", "steps"]


class Candidate(Closed):
    """`ledger`: `request`. `snapshot`: `snapshot`, its `task` and its ledger row `request` (null when there is none).

    `steps`: the planned `steps` in phase order, the `tasks` that have exactly these (copies of one plan), `request`, and the
    `similar` tasks that the assistant would have been shown.
    """

    kind: Kind
    feature: str
    org_id: str | None
    sources: list[Source]
    since_ledger: bool
    found: dict[str, Any]
