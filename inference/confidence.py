"""Owns how sure an answer is: from token probabilities, never from what the model says of itself.

Identity calibration: the raw figures are reported as they are until a model version brings its own calibration.
"""

import math
from dataclasses import dataclass

from inference.engine.completion import Completion
from shared_schemas.features.risk import LEVELS


@dataclass(frozen=True)
class Confidence:
    """`percent` 0 to 100; `details` holds the raw probabilities, 0 to 1."""

    percent: int
    details: dict[str, float]


def level_confidence(done: Completion, level: str) -> Confidence:
    """The probability of the chosen level among low, medium and high, read where the level was chosen.

    `allowed_mass` is what the model itself gave to all three: renormalised figures alone hide a model that
    wanted to say something else (llama.cpp PR 12643).
    """
    levels: dict[str, float] = {name: done.first_letters.get(name[0], 0.0) for name in LEVELS}
    return Confidence(_percent(levels[level]), {**{f"p_{name}": round(p, 6) for name, p in levels.items()}, "allowed_mass": round(done.allowed_mass, 6)})


def text_confidence(done: Completion) -> Confidence:
    """The geometric mean of the model's own probabilities of the tokens that it chose."""
    chosen = done.log_probabilities
    mean = math.exp(sum(chosen) / len(chosen)) if chosen else 0.0
    return Confidence(_percent(mean), {"p_token_mean": round(mean, 6), "p_token_min": round(math.exp(min(chosen, default=0.0)), 6)})


def _percent(probability: float) -> int:
    return round(100 * min(1.0, max(0.0, probability)))
