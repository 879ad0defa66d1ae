"""Owns what a step of llama.cpp costs by how much it feeds, and what that makes the least that an answer can take.

No order of steps and no guesses, were they all right, make an answer cheaper than its tokens, each at the least that a token was seen
to cost in a step of up to `SAME_TOKENS`. Knows nothing of how the engine orders its steps.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from inference.engine.llama import Batch, Llama
from inference.engine.scheduler import SAME_TOKENS

CONTEXT = 100
"""Tokens that each sequence has before the step: about what an answer has in its middle."""
EACH = (1, 2, 4, 8, 16, 32, 48)
TIMES = 11


@dataclass(frozen=True)
class StepCost:
    """Milliseconds (medians) of a step that feeds `each` tokens of each of `sequences`: for no logits, and for those of every token."""

    sequences: int
    each: int
    ms: float
    ms_with_logits: float

    @property
    def tokens(self) -> int:
        return self.sequences * self.each


@dataclass(frozen=True)
class Least:
    """The least milliseconds that a token was seen to cost, without its logits and with them: each in the step shape that is best for it."""

    token_ms: float
    chosen_ms: float

    def of(self, computed: float, chosen: float) -> float:
        """What no answer can undercut of which so many tokens must be computed, and behind so many of them the next one chosen."""
        return (computed - chosen) * self.token_ms + chosen * self.chosen_ms


def step_costs(llama: Llama, sequences: Sequence[int]) -> list[StepCost]:
    """Time steps of one token for each sequence and more, with and without logits in turn. The tokens before them of all
    sequences are in memory throughout. Uses the context's seats from 0 on."""
    for seat in range(max(sequences)):
        _feed(llama, [seat], CONTEXT, at=0, rows=False)
    return [_cost(llama, range(many), each) for many in sequences for each in EACH if many * each <= SAME_TOKENS]


def least(costs: Sequence[StepCost]) -> Least:
    return Least(min(cost.ms / cost.tokens for cost in costs), min(cost.ms_with_logits / cost.tokens for cost in costs))


def _cost(llama: Llama, seats: Sequence[int], each: int) -> StepCost:
    took: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(TIMES):
        for rows in took:
            began = time.perf_counter()
            _feed(llama, seats, each, at=CONTEXT, rows=rows)
            took[rows].append(1000 * (time.perf_counter() - began))
            for seat in seats:
                llama.forget(seat, CONTEXT)
    return StepCost(len(seats), each, round(statistics.median(took[False]), 2), round(statistics.median(took[True]), 2))


def _feed(llama: Llama, seats: Sequence[int], each: int, *, at: int, rows: bool) -> None:
    """Tokens that mean nothing: what they say costs nothing more or less."""
    batch = Batch(llama.n_batch)
    for seat in seats:
        batch.add(seat, at, [(100 + 777 * seat + at + i) % llama.n_vocab for i in range(each)], range(each) if rows else [])
    llama.decode(batch)
