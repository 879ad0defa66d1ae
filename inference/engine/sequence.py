"""Owns one answer in the making: what must be fed next, and what the logits then mean.

A step feeds the tokens that are certain and a few that are guessed; the logits after each choice point say whether the
guess was the model's own choice. Knows nothing of other sequences, nor of llama.cpp.
"""

import time
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.engine.completion import Completion, Job
from inference.engine.llama import Vocabulary
from inference.engine.phrases import LONGEST, Phrases, PromptWords, begin
from inference.errors import Truncated, UnusableSchema

Logits = NDArray[np.float32]


@dataclass
class Feed:
    """Tokens for one sequence in a step; `rows` are the places in `tokens` whose logits are wanted."""

    tokens: Tokens[int]
    rows: list[int] = field(default_factory=list)


class Sequence:
    """A job at work. `seat` is its sequence number in the context; `position` counts its tokens that are in memory."""

    def __init__(self, job: Job, seat: int, cached: int, vocabulary: Vocabulary, phrases: Phrases, *, forces: bool = True) -> None:
        self.job = job
        self.seat = seat
        self.position = cached
        self.done = Completion(prompt_tokens=len(job.prompt), cached_tokens=cached)
        self.is_finished = False
        self._vocabulary = vocabulary
        self._phrases = phrases
        self._words: PromptWords | None = None
        self._matcher = job.grammar.begin() if job.grammar else None
        self._forces = forces
        self._recent = begin(job.grammar.name if job.grammar else "")
        self._answer = bytearray()
        self._admitted = time.monotonic()
        self._began: float | None = None
        self.done.queue_ms = 1000 * (self._admitted - job.arrived)
        self._segments: list[list[int]] = []
        self._guesses: list[int] = []
        self.tail: list[int] = list(job.prompt[cached:])
        """Tokens that are certain and not yet in memory."""
        if self._matcher:
            if self._forces:
                self._append(self._matcher.force())
            self.is_finished = self._matcher.is_complete
            self._check_length()

    @property
    def cells(self) -> int:
        """The most memory cells that this sequence may come to use."""
        return len(self.job.prompt) + self.job.max_tokens

    @property
    def is_prefilling(self) -> bool:
        return self.position < len(self.job.prompt)

    def feed(self, room: int, guesses: int, saved: float = 1.0) -> Feed:
        """The next tokens, at most `room`; behind the last certain one up to `guesses` guessed ones, while they are likely to pay.

        `saved` is what a step less saves, counted in tokens fed.
        """
        if len(self.tail) > room:
            return Feed(self.tail[:room])
        left = self.job.max_tokens - len(self.done.tokens)  # beyond it are other answers' memory cells
        self._draft(min(guesses, room - len(self.tail), left), saved)
        tokens, rows = list(self.tail), [len(self.tail) - 1]
        for segment in self._segments:
            tokens += segment
            rows.append(len(tokens) - 1)
        return Feed(tokens, rows)

    def read(self, fed: Feed, logits: Logits) -> None:
        """Take in what the model said, shape (len(fed.rows), n_vocab); `position` is then how much of the memory holds.

        Raises Truncated, and InferenceError when the grammar fails.
        """
        self.done.steps += 1
        if not fed.rows:
            self.position += len(fed.tokens)
            del self.tail[: len(fed.tokens)]
            return
        if self._began is None:
            self._began = time.monotonic()
        self.position += len(self.tail)
        best = logits.argmax(axis=1)
        chosen: list[int] = []
        for row in range(len(fed.rows)):
            self.tail = []
            token, log_masked = self._choose(logits[row], int(best[row]))
            chosen.append(token)
            self.done.log_masked.append(log_masked)
            if self._take(token):
                break
            if row >= len(self._segments) or token != self._guesses[row]:
                break
            self.position += len(self._segments[row])
            self.done.guessed_tokens += 1
        self._weigh(logits[: len(chosen)], chosen)

    def result(self) -> Completion:
        now = time.monotonic()
        began = self._began or now
        self.done.text = self._answer.decode("utf-8", "replace")
        self.done.prefill_ms, self.done.decode_ms = 1000 * (began - self._admitted), 1000 * (now - began)
        if self.job.grammar and self.job.grammar.learns:
            self._phrases.hear(self.job.grammar.name, self.done.tokens)
        return self.done

    def _draft(self, most: int, saved: float) -> None:
        """Guess on, as far as the grammar agrees and a step saved outweighs tokens fed in vain; what the grammar then forces comes along."""
        self._segments, self._guesses = [], []
        if most < 1 or self._matcher is None:
            return
        if self._words is None:
            self._words = PromptWords(self.job.prompt)
        matcher, context, length, likely = self._matcher.copy(), list(self._recent), 0, 1.0
        while length < most:
            guess = self._phrases.guess(context, self._words)
            if guess is None or not matcher.allows(guess[0]):
                return
            try:
                matcher.consume([guess[0]])
                segment = [guess[0], *matcher.force()]
            except UnusableSchema:
                return  # too complex to look ahead: the next real token says whether it can go on
            length += len(segment)
            likely *= guess[1]
            if length > most or likely * saved < (1 - likely) * len(segment):
                return
            self._guesses.append(guess[0])
            if matcher.is_complete:
                return  # whether it is right shows in the logits before it: it need not be fed
            self._segments.append(segment)
            context = [*context, *segment][-LONGEST:]

    def _choose(self, logits: Logits, best: int) -> tuple[int, float | None]:
        """The next token, and its log-probability under the mask if one was computed."""
        if self._matcher is None:
            return (self.job.sampler.pick(logits) if self.job.sampler else best), None
        ahead = self.job.watch_at - len(self._answer)
        watching = ahead >= 0
        if not (watching or self.job.sampler) and self._matcher.allows(best):
            return best, None
        began = time.perf_counter()
        allowed = self._matcher.allowed()
        self.done.mask_s.append(time.perf_counter() - began)
        if watching:
            self._record(allowed, logits, ahead)
        among = logits[allowed]
        place = self.job.sampler.pick(among) if self.job.sampler else int(among.argmax())
        return int(allowed[place]), float(among[place] - among.max() - np.log(np.exp(among - among.max()).sum()))

    def _take(self, token: int) -> bool:
        """The token is certain; whether the answer is complete. Raises Truncated."""
        if token in self._vocabulary.ends:  # no text, whether free or where a grammar may stop and need not
            self.done.log_masked.pop()
            self.is_finished = True
            return True
        self.done.chosen_at.append(len(self._answer))
        if self._matcher is None:
            self._append([token])
            self.done.is_cut = len(self.done.tokens) >= self.job.max_tokens and not self._has_stop(token)
            self.is_finished = self.done.is_cut or self._has_stop(token)
        else:
            self._matcher.consume([token])
            self._append([token], forced=False)
            if self._forces and not self._matcher.is_complete:
                self._append(self._matcher.force())
            self.is_finished = self._matcher.is_complete
        self._check_length()
        return self.is_finished

    def _check_length(self) -> None:
        """Raises Truncated. What is forced may complete an answer beyond its limit: its place in memory ends there all the same."""
        count = len(self.done.tokens)
        if count > self.job.max_tokens or (count == self.job.max_tokens and not self.is_finished):
            raise Truncated(f"The answer was not complete after {self.job.max_tokens} tokens")

    def _has_stop(self, token: int) -> bool:
        """Whether the answer's last token completes a stop."""
        new = len(self._vocabulary.pieces[token])
        return any(stop in self._answer[-new - len(stop) + 1 :] for stop in self.job.stops) if new else False

    def _append(self, tokens: list[int], *, forced: bool = True) -> None:
        self.tail += tokens
        self.done.tokens += tokens
        self._recent = [*self._recent, *tokens][-LONGEST:]
        if forced and self._matcher:
            self.done.forced_tokens += len(tokens)
        text = b"".join(self._vocabulary.pieces[token] for token in tokens)
        self._answer += text
        if self.job.on_text and text:
            self.job.on_text(text)

    def _weigh(self, logits: Logits, chosen: list[int]) -> None:
        top = logits.max(axis=1)
        total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        weights = [float(logits[row, token] - total[row]) for row, token in enumerate(chosen)]
        self.done.log_probabilities += weights[: len(self.done.chosen_at) - len(self.done.log_probabilities)]

    def _record(self, allowed: NDArray[np.int64], logits: Logits, ahead: int) -> None:
        weights = np.exp(logits - logits.max())
        probability = weights[allowed] / weights.sum()
        mass: dict[str, float] = {}
        for token, p in zip(allowed.tolist(), probability.tolist(), strict=True):
            piece = self._vocabulary.pieces[token]
            if len(piece) > ahead:
                letter = chr(piece[ahead])
                mass[letter] = mass.get(letter, 0.0) + p
        if mass:
            self.done.allowed_mass = sum(mass.values())
            self.done.first_letters = {letter: p / self.done.allowed_mass for letter, p in mass.items()}
