"""Owns how sure an answer is: from token probabilities, never from what the model says of itself.

The raw figure goes through the calibration of the model version; raw figures and what was applied stay in the details.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from inference.engine.completion import Completion
from shared_schemas.calibration import IDENTITY, KINDS, Calibration
from shared_schemas.feature import PromptStyle
from shared_schemas.features.risk import LEVELS, Level

_STEPS = re.compile(r'\s*(\{\s*"suggested_plan"\s*:|\[)\s*\[\s*')
"""How every plan begins, with names or terse: what follows are its steps."""
_NEXT = re.compile(r"\s*,\s*")


@dataclass(frozen=True)
class Confidence:
    """`percent` 0 to 100, calibrated; `details` holds the raw probabilities, 0 to 1, and `calibration`, which is the
    place of the kind applied in `calibration.KINDS` (0: identity)."""

    percent: int
    details: dict[str, float]


def level_confidence(done: Completion, level: Level, calibration: Calibration = IDENTITY, style: PromptStyle = "tag") -> Confidence:
    """The probability of the chosen level among low, medium and high, read where the level was chosen.

    `allowed_mass` is what the model itself gave to all three: renormalised figures alone hide a model that
    wanted to say something else (llama.cpp PR 12643).
    """
    levels = [done.first_letters.get(mark, 0.0) for mark in level_marks(style)]
    details = {f"p_{name}": p for name, p in zip(LEVELS, levels, strict=True)}
    return _confidence(calibration.apply_to_choice(levels, LEVELS.index(level)), {**details, "allowed_mass": done.allowed_mass}, calibration)


def level_marks(style: PromptStyle) -> list[str]:
    """The letter that tells each level from the others where a model writes it."""
    return [str(place) if style == "terse" else level[0] for place, level in enumerate(LEVELS)]


def level_at(style: PromptStyle) -> int:
    """Where in a risk answer that letter stands, in bytes."""
    return len("[") if style == "terse" else len('{"risk_level":"')


def plan_confidence(done: Completion, calibration: Calibration = IDENTITY) -> Confidence:
    """The mean over the plan's steps of the geometric mean of the model's own probabilities of what it chose in each.

    `p_step_min` is the step that it was least sure of. Figures of all tokens stand beside them.
    """
    choices = list(zip(done.chosen_at, done.log_probabilities, strict=True))
    inside = ([weight for at, weight in choices if first <= at < end] for first, end in _step_spans(done.text))
    steps = [_geometric_mean(weights) for weights in inside if weights]
    raw = fmean(steps) if steps else 0.0
    return _confidence(calibration.apply(raw), {"p_step_mean": raw, "p_step_min": min(steps, default=0.0), **_of_tokens(done)}, calibration)


def text_confidence(done: Completion, calibration: Calibration = IDENTITY) -> Confidence:
    """The geometric mean of the model's own probabilities of the tokens that it chose."""
    details = _of_tokens(done)
    return _confidence(calibration.apply(details["p_token_mean"]), details, calibration)


def _of_tokens(done: Completion) -> dict[str, float]:
    """`p_token_*`: the model's own, of every choice. `masked_share`: of the choices, those where the schema's mask was
    computed; there `p_masked_mean` is the geometric mean of the probabilities under it, `p_unmasked_mean` of the model's own."""
    own = done.log_probabilities
    figures = {"p_token_mean": _geometric_mean(own), "p_token_min": math.exp(min(own, default=0.0))}
    masked = [(under, mine) for under, mine in zip(done.log_masked, own, strict=True) if under is not None]
    figures["masked_share"] = len(masked) / len(own) if own else 0.0
    if masked:
        figures |= {"p_masked_mean": _geometric_mean([under for under, _ in masked]), "p_unmasked_mean": _geometric_mean([mine for _, mine in masked])}
    return figures


def _step_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each step's JSON object, or terse array, stands in a plan's text, in bytes: its first one, and the one after its last."""
    decoder, begin = json.JSONDecoder(), _STEPS.match(text)
    while begin and text.startswith(("{", "["), begin.end()):
        end = decoder.raw_decode(text, begin.end())[1]
        yield len(text[: begin.end()].encode()), len(text[:end].encode())
        begin = _NEXT.match(text, end)


def _geometric_mean(log_probabilities: Sequence[float]) -> float:
    return math.exp(fmean(log_probabilities)) if log_probabilities else 0.0


def _confidence(calibrated: float, raw: dict[str, float], calibration: Calibration) -> Confidence:
    details = {name: round(figure, 6) for name, figure in raw.items()}
    return Confidence(round(100 * min(1.0, max(0.0, calibrated))), {**details, "calibration": float(KINDS.index(calibration.kind))})
