"""Owns why two greedy answers to one prompt part: where, between which tokens, and whether that is a near tie of floating point.

What they have in common is fed to the model again, in a context of its own: with its memory cells in the order of the tokens, as an
answer that is made alone has them, and out of order in several ways, as they come to lie when answers are made together and take each
other's free cells. Attention then adds up in another order, and the gap between the two tokens moves. A gap that is no larger than what
that moves it by, or that it turns round, is a near tie, and either token is the model's answer. Knows nothing of what is compared.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.engine.completion import Completion
from inference.engine.llama import Batch, Llama, Weights
from inference.engine.scheduler import SAME_TOKENS

_SHOWN = 24
_MOST_PARTS = 8
_ORDERS = 40
"""Orders of cells that are tried, one after the other, until one explains a difference."""


@dataclass(frozen=True)
class Parting:
    """`byte`: where the texts part; `token`: where the tokens do. `gap`: between the logits of the two tokens, cells in order;
    `moved`: the most that the orders that were tried move it by; `is_turned`: one such order makes the other token the likelier one."""

    what: str
    why: str
    is_explained: bool
    byte: int = 0
    token: int = 0
    gap: float = 0.0
    moved: float = 0.0
    is_turned: bool = False


class Replay:
    """A context of its own over a model's weights. For one prompt at a time."""

    def __init__(self, llama: Llama) -> None:
        self.llama = llama

    def explain(self, what: str, prompt: list[int], first: Completion, second: Completion) -> Parting:
        """Why the second's text is not the first's."""
        token = next(i for i, (a, b) in enumerate(zip(first.tokens, second.tokens, strict=False)) if a != b)
        byte = next((i for i, (a, b) in enumerate(zip(first.text.encode(), second.text.encode(), strict=False)) if a != b), 0)
        common, one, other = first.tokens[:token], first.tokens[token], second.tokens[token]
        fed = [*prompt, *common]
        gap, moved, is_turned, is_tie = self._gap(fed, [range(len(fed))], one, other), 0.0, False, False
        for order in _orders(len(fed)):
            out_of_order = self._gap(fed, order, one, other)
            moved = max(moved, abs(out_of_order - gap))
            is_turned = out_of_order * gap <= 0
            is_tie = is_turned or abs(gap) <= moved
            if is_tie:
                break
        said = [self.llama.detokenize(done.tokens[token : token + 6]).decode("utf-8", "replace")[:_SHOWN] for done in (first, second)]
        seam = len(self.llama.detokenize(common))
        where = f"byte {byte}, token {token} ({said[0]!r} or {said[1]!r})" + (
            f": other tokens for the same text from byte {seam}" if byte >= seam + min(len(self.llama.piece(token)) for token in (one, other)) else ""
        )
        why = f"{where}: gap {gap:+.4f}, cells out of order move it by up to {moved:.4f}{' and turn it round' if is_turned else ''}: {'near tie' if is_tie else 'NOT a tie'}"
        return Parting(what, why, is_tie, byte, token, gap, moved, is_turned)

    def _gap(self, tokens: list[int], order: Sequence[range], one: int, other: int) -> float:
        logits = self._next(tokens, order)
        return float(logits[one] - logits[other])

    def _next(self, tokens: list[int], order: Sequence[range]) -> NDArray[np.float32]:
        """The logits after these tokens; their parts lie in memory cells in the given order."""
        self.llama.forget_all()
        for seat, part in enumerate(order, 1):  # each part's cells are held for it, and given to it when it is its turn
            self._feed(seat, [tokens[i] for i in part], 0)
        logits = np.empty(0, np.float32)
        for seat, part in sorted(enumerate(order, 1), key=lambda held: held[1].start):
            self.llama.forget(seat)
            logits = self._feed(0, [tokens[i] for i in part], part.start)
        return logits

    def _feed(self, seat: int, tokens: list[int], position: int) -> NDArray[np.float32]:
        batch, logits = Batch(SAME_TOKENS), np.empty((0, 0), np.float32)
        for at in range(0, len(tokens), SAME_TOKENS):
            piece = tokens[at : at + SAME_TOKENS]
            batch.clear()
            batch.add(seat, position + at, piece, [len(piece) - 1])
            logits = self.llama.decode(batch)
        last: NDArray[np.float32] = logits[-1].copy()
        return last


def _orders(length: int) -> Iterator[list[range]]:
    """Ways to lay out so many tokens: the second of two parts before the first, cut ever further on; then more parts, shuffled. The same each time."""
    for cut in sorted({length * twentieth // 20 for twentieth in range(1, 20)} - {0}):
        yield [range(cut, length), range(cut)]
    chance = random.Random(length)
    for _ in range(_ORDERS - 19):
        cuts = sorted(chance.sample(range(1, length), min(chance.randint(2, _MOST_PARTS - 1), length - 1)))
        parts = [range(begin, end) for begin, end in pairwise([0, *cuts, length])]
        chance.shuffle(parts)
        yield parts


@contextmanager
def replay(weights: Weights, adapter: Path | None, *, n_cells: int, n_threads: int) -> Iterator[Replay]:
    """For prompts and answers of up to half of `n_cells` tokens together."""
    llama = Llama(weights, adapter_path=adapter, n_cells=n_cells, n_seats=1 + _MOST_PARTS, n_threads=n_threads)
    try:
        yield Replay(llama)
    finally:
        llama.close()
