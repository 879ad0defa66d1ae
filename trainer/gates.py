"""Owns what a candidate must show before it may answer: one typed verdict a gate. Pure functions over figures that others measured.

Knows nothing of models, files or the database.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from shared_schemas.closed import Closed

Gate = Literal["examples", "valid", "accepted", "not_worse", "judgement", "parity", "leakage", "size", "latency", "review"]
GATES: tuple[Gate, ...] = ("examples", "valid", "accepted", "not_worse", "judgement", "parity", "leakage", "size", "latency", "review")

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
RESAMPLES = 2000
ALPHA = 0.05


class Judged(Closed):
    """One answer of one model to one example. `score` from 0 to 1 is what a person would call its quality, `judgement` how far it
    decided rightly, whatever its words (a risk's level, a plan's phases); both 0 where the answer was not accepted.
    """

    example_id: str
    valid: bool
    accepted: bool
    score: Share
    judgement: Share
    latency_ms: Annotated[float, Field(ge=0)]


class Reviewed(Closed):
    """What people said of the candidate's answers beside another's, blind: settled pairs, its win rate (ties count half), and the
    lower end of that rate's 95 % interval."""

    pairs: Annotated[int, Field(ge=0)]
    share: Share
    low: Share


class Evidence(Closed):
    """All that the gates look at, for one feature. `active`: the model at work on the same examples, if there is one that could
    be asked; `uncompared`: why the one that there is could not be.

    `parity`: prompts (or outputs) compared, and how many were equal. `leaks`: held-out rows, by split, that training rows
    give away.
    """

    candidate: Sequence[Judged]
    active: Sequence[Judged] | None = None
    uncompared: str | None = None
    parity: tuple[int, int]
    leaks: Mapping[str, int] = {}
    adapter_bytes: int
    reviewed: Reviewed = Reviewed(pairs=0, share=0, low=0)


class Limits(Closed):
    """Where the gates stand. `margin`, `judgement_margin`: how much lower the candidate's mean score and judgement may be than the
    active model's. Judgement is a sixth of a score at most: well-worded answers at the wrong level hardly lower it. `reviewed`:
    how many pairs people must have settled, 0 to ask nobody; `preferred`: the least that the lower end of the win rate may be.
    """

    examples: Annotated[int, Field(ge=1)] = 20
    accepted: Share = 0.95
    margin: Share = 0.05
    judgement_margin: Share = 0.1
    adapter_bytes: int = 5_000_000
    p95_ms: Annotated[float, Field(gt=0)] = 10_000
    reviewed: Annotated[int, Field(ge=0)] = 0
    preferred: Share = 0.4


class Verdict(Closed):
    """`by` is the distance from the limit in the gate's own unit: 0 or more passes. `text` says it in words."""

    gate: Gate
    passed: bool
    by: float
    text: str


def judge(evidence: Evidence, limits: Limits) -> list[Verdict]:
    """A verdict of each gate that applies: judgement is only ever held against another model's, and people are asked only if wanted."""
    return list(_verdicts(evidence, limits))


def refusals(verdicts: Sequence[Verdict], allowed: Sequence[str] = ()) -> list[Verdict]:
    """Those that stand in the way: failed, and not allowed to."""
    return [verdict for verdict in verdicts if not verdict.passed and verdict.gate not in allowed]


def lower_bound(differences: Sequence[float], *, seed: int = 0) -> float:
    """The one-sided 95 % lower bound of a mean paired difference: 5th percentile of 2,000 bootstrap resamples.

    Efron and Tibshirani 1993, chapter 13. A difference that is the same everywhere has no spread and is its own bound.
    """
    rng = random.Random(seed)
    means = sorted(fmean(rng.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    return means[int(ALPHA * RESAMPLES)]


def _verdicts(evidence: Evidence, limits: Limits) -> Iterator[Verdict]:
    judged = evidence.candidate
    yield _at_least("examples", len(judged), limits.examples, f"{len(judged)} examples judged, at least {limits.examples}")
    valid, accepted = _share([row.valid for row in judged]), _share([row.accepted for row in judged])
    yield _at_least("valid", valid, 1.0, f"{valid:.3f} of the answers match the schema, all must")
    yield _at_least("accepted", accepted, limits.accepted, f"{accepted:.3f} accepted, at least {limits.accepted:.3f}")
    yield from _not_worse(evidence, limits)
    compared, equal = evidence.parity
    yield Verdict(gate="parity", passed=0 < compared == equal, by=equal - compared if compared else -1, text=f"{equal} of {compared} prompts read as they were trained")
    leaked = {split: rows for split, rows in evidence.leaks.items() if rows}
    yield Verdict(
        gate="leakage",
        passed=not leaked,
        by=0.0 - sum(leaked.values()),
        text=", ".join(f"{rows} of {split}" for split, rows in leaked.items()) + " in training" if leaked else "no held-out row in training",
    )
    yield _at_most("size", evidence.adapter_bytes, limits.adapter_bytes, f"adapter of {evidence.adapter_bytes:,} bytes, at most {limits.adapter_bytes:,}")
    p95 = percentile([row.latency_ms for row in judged], 0.95)
    yield _at_most("latency", p95, limits.p95_ms, f"p95 {p95:.0f} ms, at most {limits.p95_ms:.0f}")
    if limits.reviewed:
        yield _reviewed(evidence.reviewed, limits)


def _not_worse(evidence: Evidence, limits: Limits) -> Iterator[Verdict]:
    if evidence.uncompared:
        yield Verdict(gate="not_worse", passed=False, by=-1, text=f"not compared with the active model: {evidence.uncompared}")
    elif evidence.active is None:
        yield Verdict(gate="not_worse", passed=True, by=limits.margin, text="no model is active to be worse than")
    else:
        theirs = {row.example_id: row for row in evidence.active}
        pairs = [(row, theirs[row.example_id]) for row in evidence.candidate if row.example_id in theirs]
        yield _held_against("not_worse", "score", [mine.score - its.score for mine, its in pairs], limits.margin)
        yield _held_against("judgement", "judgement", [mine.judgement - its.judgement for mine, its in pairs], limits.judgement_margin)


def _held_against(gate: Gate, what: str, differences: Sequence[float], margin: float) -> Verdict:
    """Non-inferiority: the lower bound of the mean paired difference is above the margin."""
    if not differences:
        return Verdict(gate=gate, passed=False, by=-1, text="no example was judged for both models")
    mean, low = fmean(differences), lower_bound(differences)
    return _at_least(gate, low, -margin, f"{what} {mean:+.3f} against the active model (n = {len(differences)}, 95 % at least {low:+.3f}), at least {-margin:+.3f}")


def _reviewed(said: Reviewed, limits: Limits) -> Verdict:
    if said.pairs < limits.reviewed:
        return _at_least(
            "review", said.pairs, limits.reviewed, f"{said.pairs} pairs reviewed by people, at least {limits.reviewed} (the console draws them from this evaluation: run again once they are)"
        )
    text = f"people's win rate {said.share:.3f} (n = {said.pairs}, 95 % at least {said.low:.3f}), at least {limits.preferred:.3f}"
    return _at_least("review", said.low, limits.preferred, text)


def _at_least(gate: Gate, measured: float, limit: float, text: str) -> Verdict:
    return Verdict(gate=gate, passed=measured >= limit, by=round(measured - limit, 6), text=text)


def _at_most(gate: Gate, measured: float, limit: float, text: str) -> Verdict:
    return Verdict(gate=gate, passed=measured <= limit, by=round(limit - measured, 6), text=text)


def _share(values: Sequence[bool]) -> float:
    return fmean(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is at least as large as `share` of them; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
