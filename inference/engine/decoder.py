"""Owns greedy decoding under a JSON schema, with a record of how sure the model was at each choice.

Knows nothing of features or messages. One request at a time; the prompt's tokens that are still in memory are reused.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llguidance import LLMatcher
from llguidance.llamacpp import lltokenizer_from_vocab
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from inference.engine.llama import Llama
from inference.errors import InferenceError, PromptTooLong, StartError, Truncated

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


@dataclass(frozen=True)
class Grammar:
    """A compiled schema; copied for each request."""

    matcher: LLMatcher


@dataclass
class Completion:
    """What came out. `log_probabilities`: the model's own, of each token that was chosen rather than forced.

    `first_letters`: the distribution over the answer's byte at the watched position, renormalised over what the schema
    allows there; `allowed_mass`: the probability that the model itself gave to all of that.
    """

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    forced_tokens: int = 0
    log_probabilities: list[float] = field(default_factory=list)
    first_letters: dict[str, float] = field(default_factory=dict)
    allowed_mass: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0


@dataclass
class Sampler:
    """Draws tokens by chance, sharpened by `temperature`; the same seed draws the same."""

    temperature: float
    seed: int

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)

    def pick(self, logits: NDArray[np.float32]) -> int:
        """An index into `logits`."""
        weights = np.exp((logits - logits.max()) / self.temperature)
        return int(self._random.choice(logits.size, p=weights / weights.sum()))


class Decoder:
    """Decodes on one `Llama`; must be used from the thread that owns it."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama
        self._tokenizer: Any = lltokenizer_from_vocab(llama.vocab)
        self._mask = allocate_token_bitmask(1, llama.n_vocab)
        self._in_memory: list[int] = []

    def compile(self, name: str, schema: dict[str, Any]) -> Grammar:
        """A grammar for compact JSON. Raises StartError when the schema cannot be enforced: it is never dropped."""
        grammar = LLMatcher.grammar_from_json_schema(json.dumps({**schema, "x-guidance": _COMPACT}))
        fault = LLMatcher.validate_grammar(grammar, self._tokenizer)
        matcher = LLMatcher(self._tokenizer, grammar)
        if fault or matcher.is_error():
            raise StartError(f"Cannot enforce the schema of {name!r}: {fault or matcher.get_error()}")
        return Grammar(matcher)

    def complete(self, prompt: Sequence[int], grammar: Grammar, *, max_tokens: int, watch_at: int = -1, sampler: Sampler | None = None, check: Callable[[], None] = lambda: None) -> Completion:
        """Answer the prompt under the grammar: the best token each time, or by chance with a `sampler`.

        `check` is called before every step and may raise to stop. `watch_at` is the byte position of the answer
        whose distribution is recorded. Raises PromptTooLong, Truncated.
        """
        if len(prompt) + max_tokens > self._llama.n_ctx:
            raise PromptTooLong(f"Cannot answer: {len(prompt)} prompt tokens and {max_tokens} for the answer exceed the context of {self._llama.n_ctx}")
        done = Completion(prompt_tokens=len(prompt))
        started = time.perf_counter()
        logits = self._prefill(prompt, done, check)
        done.prefill_ms = 1000 * (time.perf_counter() - started)
        started = time.perf_counter()
        done.text = self._answer(logits, grammar.matcher.deep_copy(), done, max_tokens, watch_at, sampler, check).decode()
        done.decode_ms = 1000 * (time.perf_counter() - started)
        return done

    def _prefill(self, prompt: Sequence[int], done: Completion, check: Callable[[], None]) -> NDArray[np.float32]:
        done.cached_tokens = self._llama.forget_from(_common_prefix(self._in_memory, prompt[:-1]))
        self._in_memory = list(prompt[: done.cached_tokens])
        return self._feed(prompt[done.cached_tokens :], check)

    def _answer(self, logits: NDArray[np.float32], matcher: LLMatcher, done: Completion, max_tokens: int, watch_at: int, sampler: Sampler | None, check: Callable[[], None]) -> bytes:
        answer = b""
        while True:
            forced = matcher.compute_ff_tokens()
            if forced:
                _consume(matcher, forced)
                done.forced_tokens += len(forced)
                step = forced
            elif matcher.is_stopped():
                return answer
            else:
                step = [self._choose(logits, matcher, done, watch_at - len(answer), sampler)]
            done.tokens += step
            answer += self._llama.detokenize(step)
            if matcher.is_stopped():
                return answer
            if len(done.tokens) >= max_tokens:
                raise Truncated(f"The answer was not complete after {len(done.tokens)} tokens")
            check()
            logits = self._feed(step)

    def _choose(self, logits: NDArray[np.float32], matcher: LLMatcher, done: Completion, watch_ahead: int, sampler: Sampler | None) -> int:
        log_probability = logits - _log_sum_exp(logits)
        best = int(np.argmax(logits))
        watching = watch_ahead >= 0
        if sampler or watching or matcher.validate_tokens([best]) != 1:
            fill_next_token_bitmask(matcher, self._mask)
            allowed = np.flatnonzero(np.unpackbits(self._mask.view(np.uint8), bitorder="little")[: logits.size])
            best = int(allowed[sampler.pick(logits[allowed]) if sampler else np.argmax(logits[allowed])])
            if watching:
                self._record(allowed, np.exp(log_probability[allowed]), watch_ahead, done)
        _consume(matcher, [best])
        done.log_probabilities.append(float(log_probability[best]))
        return best

    def _record(self, allowed: NDArray[np.int64], probability: NDArray[np.float32], ahead: int, done: Completion) -> None:
        mass: dict[str, float] = {}
        for token, p in zip(allowed.tolist(), probability.tolist(), strict=True):
            piece = self._llama.detokenize([token])
            if len(piece) > ahead:
                letter = chr(piece[ahead])
                mass[letter] = mass.get(letter, 0.0) + p
        if mass:
            done.allowed_mass = sum(mass.values())
            done.first_letters = {letter: p / done.allowed_mass for letter, p in mass.items()}

    def _feed(self, tokens: Sequence[int], check: Callable[[], None] = lambda: None) -> NDArray[np.float32]:
        logits = self._llama.decode(tokens, check)
        self._in_memory += tokens
        return logits


def _consume(matcher: LLMatcher, tokens: list[int]) -> None:
    """Tell the grammar what was written. Raises InferenceError when it disagrees: that is a fault of ours, not the model's."""
    if not matcher.consume_tokens(tokens):
        raise InferenceError(f"The grammar refused its own tokens: {matcher.get_error()}")


def _log_sum_exp(logits: NDArray[np.float32]) -> float:
    top = float(logits.max())
    return top + float(np.log(np.exp(logits - top).sum()))


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))
