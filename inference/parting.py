"""Owns why two greedy answers to one prompt part: where, between which tokens, and whether that is a near tie of floating point.

What they have in common is fed to the model again, once token by token and once in one batch. The two give slightly different
logits: that is what the shape of a batch does to them, measured at the very place. A gap between two tokens that is no larger than what
that moves it by is a near tie, and either token is the model's answer. Knows nothing of what is compared.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.engine.completion import Completion, Job
from inference.predict import Predictor

_SHOWN = 24


@dataclass(frozen=True)
class Parting:
    """`byte`: where the texts part; `token`: where the tokens do. `gaps`: between the logits of the two tokens, fed one by one and
    at once; `rounding`: the most that the two ways of feeding move a gap by."""

    what: str
    why: str
    is_explained: bool
    byte: int = 0
    token: int = 0
    gaps: tuple[float, float] = (0.0, 0.0)
    rounding: float = 0.0


@dataclass
class _Replay:
    """Picks given tokens, and keeps the logits at the end of them."""

    tokens: list[int]
    last: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    _at: int = 0

    def pick(self, logits: NDArray[np.float32]) -> int:
        self.last = logits.copy()
        self._at += 1
        return self.tokens[self._at - 1] if self._at <= len(self.tokens) else int(logits.argmax())


async def explain(plain: Predictor, what: str, prompt: list[int], first: Completion, second: Completion) -> Parting:
    """Why the second's text is not the first's; `plain` feeds both again."""
    token = next(i for i, (a, b) in enumerate(zip(first.tokens, second.tokens, strict=False)) if a != b)
    byte = next((i for i, (a, b) in enumerate(zip(first.text.encode(), second.text.encode(), strict=False)) if a != b), 0)
    common = first.tokens[:token]
    singly, at_once = await _logits(plain, prompt, common), await _logits(plain, [*prompt, *common], [])
    pair = [first.tokens[token], second.tokens[token]]
    gaps = (float(singly[pair[0]] - singly[pair[1]]), float(at_once[pair[0]] - at_once[pair[1]]))
    rounding = 2 * float(np.abs(singly - at_once).max())
    is_tie = min(map(abs, gaps)) <= rounding or gaps[0] * gaps[1] < 0
    said = [plain.llama.detokenize(one.tokens[token : token + 6]).decode("utf-8", "replace")[:_SHOWN] for one in (first, second)]
    seam = len(plain.llama.detokenize(common))
    where = f"byte {byte}, token {token} ({said[0]!r} or {said[1]!r})" + (
        f": other tokens for the same text from byte {seam}" if byte >= seam + min(len(plain.llama.piece(one)) for one in pair) else ""
    )
    why = f"{where}: gap {gaps[0]:+.4f} fed one by one, {gaps[1]:+.4f} at once, rounding {rounding:.4f}: {'near tie' if is_tie else 'NOT a tie'}"
    return Parting(what, why, is_tie, byte, token, gaps, rounding)


async def _logits(plain: Predictor, prompt: list[int], then: list[int]) -> NDArray[np.float32]:
    """What comes next after the prompt and these tokens, each fed in a step of its own."""
    replay = _Replay(then)
    await plain.complete(Job(prompt, None, len(then) + 1, sampler=replay))
    return replay.last
