"""Owns the operator's hand on a rollout: look, advance, roll back, pin, pause, run the guard. The stages live in the database."""

from typing import Any

from trainer.errors import WrongRollout
from trainer.supabase_client import Project

ORDER: tuple[tuple[str, int], ...] = (("off", 0), ("shadow", 0), ("canary", 1), ("canary", 10), ("canary", 50), ("full", 100))
"""Stage and percent of the organisations, from today's all-cloud state to all private."""


def show(project: Project) -> list[dict[str, Any]]:
    """Every feature's stage, with its latest events."""
    events = project.rows("slm_rollout_events", order="id", descending=True, limit=100)
    return [{**row, "events": [event for event in events if event["feature"] == row["feature"]][:5]} for row in project.rows("slm_rollouts", order="feature")]


def advance(project: Project, feature: str, *, by: str, reason: str) -> dict[str, Any]:
    """One stage on. Raises WrongRollout after the last."""
    return _move(project, feature, 1, by, reason or "advanced by hand")


def rollback(project: Project, feature: str, *, by: str, reason: str) -> dict[str, Any]:
    """One stage back. Raises WrongRollout before the first."""
    return _move(project, feature, -1, by, reason or "rolled back by hand")


def set_stage(project: Project, feature: str, stage: str, *, by: str, reason: str) -> dict[str, Any]:
    """Straight to a stage written as `off`, `shadow`, `canary-1`, `canary-10`, `canary-50` or `full`."""
    names = {name(*where): where for where in ORDER}
    if stage not in names:
        raise WrongRollout(f"There is no stage {stage!r}: the stages are {', '.join(names)}")
    find(project, feature)
    _set(project, feature, *names[stage], by=by, reason=reason or "set by hand")
    return find(project, feature)


def pin(project: Project, feature: str, *, pinned: bool) -> dict[str, Any]:
    """A pinned stage is not promoted by the guard; it is still rolled back."""
    find(project, feature)
    project.update("slm_rollouts", ("feature", feature), is_pinned=pinned)
    return find(project, feature)


def pause(project: Project, feature: str, *, paused: bool) -> dict[str, Any]:
    """A paused guard neither promotes nor rolls back."""
    find(project, feature)
    project.update("slm_rollouts", ("feature", feature), is_paused=paused)
    return find(project, feature)


def guard(project: Project) -> list[dict[str, Any]]:
    """Run the guard of every feature once; what each saw and did."""
    return [project.call("slm_guard", p_feature=row["feature"]) for row in project.rows("slm_rollouts", order="feature")]


def find(project: Project, feature: str) -> dict[str, Any]:
    known = {row["feature"]: row for row in project.rows("slm_rollouts", order="feature")}
    if feature not in known:
        raise WrongRollout(f"There is no feature {feature!r}: the features are {', '.join(known)}")
    return known[feature]


def name(stage: str, share: int) -> str:
    return f"{stage}-{share}" if stage == "canary" else stage


def _move(project: Project, feature: str, by_steps: int, by: str, reason: str) -> dict[str, Any]:
    row = find(project, feature)
    at = ORDER.index((row["stage"], row["share"])) + by_steps
    if not 0 <= at < len(ORDER):
        raise WrongRollout(f"Cannot move {feature}: {name(row['stage'], row['share'])} is the {'last' if by_steps > 0 else 'first'} stage")
    _set(project, feature, *ORDER[at], by=by, reason=reason)
    return find(project, feature)


def _set(project: Project, feature: str, stage: str, share: int, *, by: str, reason: str) -> None:
    project.call("slm_set_rollout", p_feature=feature, p_stage=stage, p_share=share, p_by=by, p_reason=reason)
