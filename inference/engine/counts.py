"""Owns what the engine counts while it works: plain sums and how figures are spread. Knows nothing of who reads them.

Only the engine's thread writes; whoever reads in the meantime may see one step half counted, which a running total forgives.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field


class Spread:
    """How many figures fell at or below each of `bounds` (ascending) and above all of them; their number and sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    @property
    def n(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0

    def add(self, figure: float) -> None:
        self.counts[bisect_left(self.bounds, figure)] += 1
        self.total += figure


def tokens() -> Spread:
    return Spread((1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512, 1024))


def seconds() -> Spread:
    """For a step or a stage of an answer."""
    return Spread((0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20))


def fine_seconds() -> Spread:
    """For a single mask."""
    return Spread((2e-5, 4e-5, 6e-5, 1e-4, 1.5e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 3e-2, 0.1))


@dataclass
class Counts:
    """What the engine did since it began. `step_tokens`: fed in each step; `step_s`: seconds inside llama.cpp in each;
    `rows`: of logits. Tokens are those of all answers that have ended, whole or not.

    `mask_s` has each mask alone, `masks_s` all masks of one answer; `queue_s`, `prefill_s` and `decode_s` are of answers
    that were finished.
    """

    steps: int = 0
    step_tokens: Spread = field(default_factory=tokens)
    step_s: Spread = field(default_factory=seconds)
    rows: int = 0
    answers: int = 0
    failures: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    forced_tokens: int = 0
    guessed_tokens: int = 0
    mask_s: Spread = field(default_factory=fine_seconds)
    masks_s: Spread = field(default_factory=seconds)
    queue_s: Spread = field(default_factory=seconds)
    prefill_s: Spread = field(default_factory=seconds)
    decode_s: Spread = field(default_factory=seconds)
