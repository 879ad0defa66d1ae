"""Owns what is asked of the engine and what it gives back. Knows nothing of how an answer comes about."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.engine.grammar import Grammar


@dataclass
class Completion:
    """What came out. `log_probabilities`: the model's own, of each token that was chosen rather than forced; `chosen_at`
    says where each of them stands in the text (its first byte). `log_masked`: its log-probability among what the schema
    allowed there, where that was computed, else None: never the model's own (llama.cpp PR 12643 confused the two).

    `first_letters`: the distribution over the answer's byte at the watched position, renormalised over what the schema
    allows there; `allowed_mass`: the probability that the model itself gave to all of that. `mask_s`: seconds that each
    mask took. `is_cut`: free text that reached its limit.
    """

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    forced_tokens: int = 0
    guessed_tokens: int = 0
    steps: int = 0
    log_probabilities: list[float] = field(default_factory=list)
    chosen_at: list[int] = field(default_factory=list)
    log_masked: list[float | None] = field(default_factory=list)
    first_letters: dict[str, float] = field(default_factory=dict)
    allowed_mass: float = 0.0
    is_cut: bool = False
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    mask_s: list[float] = field(default_factory=list)


class Picks(Protocol):
    """Decides for a token."""

    def pick(self, logits: NDArray[np.float32]) -> int:
        """An index into `logits`, which are valid until it returns."""
        ...


@dataclass
class Sampler:
    """Draws tokens by chance, sharpened by `temperature`, among the likeliest that make up `top_p`; the same seed draws the same."""

    temperature: float
    seed: int
    top_p: float = 1.0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def pick(self, logits: NDArray[np.float32]) -> int:
        """An index into `logits`. The likeliest one stays, however small `top_p` is."""
        weights = np.exp((logits - logits.max()).astype(np.float64) / self.temperature)
        weights /= weights.sum()
        if self.top_p < 1:
            order = np.argsort(-weights, kind="stable")
            before = np.cumsum(weights[order]) - weights[order]
            weights[order[1:][before[1:] >= self.top_p]] = 0
            weights /= weights.sum()
        return int(self._random.choice(logits.size, p=weights))


@dataclass
class Job:
    """One answer that is wanted: under a grammar, or free text when there is none.

    Free text also ends behind any of `stops`, which it then contains. `watch_at` is the byte position of the answer whose
    distribution is recorded (-1: none). `deadline` is in seconds of `time.monotonic()`. `on_text` is called from the engine's
    thread with each new piece of the answer.
    """

    prompt: Sequence[int]
    grammar: Grammar | None
    max_tokens: int
    watch_at: int = -1
    sampler: Picks | None = None
    deadline: float = float("inf")
    on_text: Callable[[bytes], None] | None = None
    stops: Sequence[bytes] = ()
    arrived: float = field(default_factory=time.monotonic)
    future: "Future[Completion]" = field(default_factory=Future)
    gone: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: its place is free within one step."""
        self.gone.set()
