"""Owns who is served when: one thread that owns the context, and steps that serve all live answers at once.

Prompts share the beginnings that are pinned; a long prompt is fed in pieces, so that it holds up nobody. Nothing else is remembered
of a prompt once it is answered. Knows nothing of features, messages or HTTP.

An answer that is made alone does not depend on what was fed in which step: up to `SAME_TOKENS` in a step, and with the cells of a
sequence in the order of its tokens, llama.cpp's CPU kernels compute a token's logits to the same bits in every step shape (measured:
steps of 1 to 63, wrong guesses taken back, shared beginnings, other sequences beside it). Beyond that many it takes another
attention kernel, and out of order attention adds up in another order: either moves logits by 1 to 3 once Q4_0 layers have amplified it.
Answers that are made together take each other's free cells, so theirs may fall otherwise where two tokens are near.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from inference.engine.completion import Completion, Job
from inference.engine.counts import Counts
from inference.engine.llama import Batch, Llama
from inference.engine.phrases import Phrases
from inference.engine.sequence import Feed
from inference.engine.sequence import Sequence as Live
from inference.errors import Cancelled, DeadlineExceeded, InferenceError, Overloaded, PromptTooLong

PREFILL_TOKENS = 96
"""Prompt tokens that a step may feed while others are waiting for their next token: what a long prompt costs them."""
SAME_TOKENS = 63
"""Tokens that a step feeds at most, but while a `LONG` prompt is read. From 64 on llama.cpp takes an attention kernel that gives other
bits (63 measured the same, 141 not), and that looks at the cells of all sequences: eight at once, 62 tokens took 100 ms, 64 took 133.
"""
LONG = 8 * SAME_TOKENS
GUESSED_TOKENS = 64
"""Guessed tokens that a step may feed for all sequences together, and `MOST_GUESSED` for one."""
MOST_GUESSED = 24
STEP_COST = 2.0
"""What a step costs beside its tokens, counted in tokens; all who are served in it share that. (SmolLM2-135M at Q8_0, two cores,
300 tokens of context: 7.5 ms for one token, 2.5 for each further one.)
"""
SHORT = 48
"""A sequence with at most this many tokens to feed needs no piecewise feeding."""

log = logging.getLogger("inference.engine")


class Engine:
    """Answers jobs on a thread of its own. `parallel` answers are made at once; at most `waiting` more may wait.

    `is_plain`: the model chooses every token, one a step: nothing is forced and nothing guessed. For comparison only.
    """

    def __init__(self, llama: Llama, *, parallel: int, waiting: int, phrases: Phrases | None = None, is_plain: bool = False) -> None:
        self.llama = llama
        self.parallel = parallel
        self.counts = Counts()
        self.phrases = phrases or Phrases()
        self._is_plain = is_plain
        self._most_waiting = waiting
        self._waiting: deque[Job] = deque()
        self._live: list[Live] = []
        self._pinned: dict[int, list[int]] = {}
        self._free = list(range(llama.n_seats))
        self._batch = Batch(llama.n_batch)
        self._news = threading.Condition()
        self._is_stopping = False
        self._recent_s = 1.0
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def is_full(self) -> bool:
        """Whether the next job is refused."""
        return len(self._waiting) + len(self._live) >= self.parallel + self._most_waiting

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def live(self) -> int:
        return len(self._live)

    @property
    def cells(self) -> dict[str, int]:
        """Memory cells by what they are for: set aside for answers in the making, pinned, free."""
        answers = sum(live.cells for live in list(self._live))
        pinned = sum(map(len, self._pinned.values()))
        return {"answers": answers, "pinned": pinned, "free": max(0, self.llama.n_cells - answers - pinned)}

    def pin(self, prefix: Sequence[int]) -> None:
        """Keep a beginning of prompts in memory from `start` on. Before `start` only."""
        if self.llama.can_trim and prefix:
            self._pinned[self._free.pop()] = list(prefix)

    def start(self) -> None:
        """Begin to take jobs, once all pinned beginnings are computed. Raises InferenceError when they cannot be."""
        self._thread.start()
        self._started.result()

    def submit(self, job: Job, *, is_again: bool = False) -> Job:
        """Take a job; its future gets a Completion or an InferenceError. Raises Overloaded, PromptTooLong and Cancelled at once.

        A job that would have to wait past its deadline is refused too: answers that come too late would take the place of others.
        `is_again`: another attempt at a request that was let in before; it goes to the front and is not refused.
        """
        room = self.llama.n_cells - sum(len(prefix) for prefix in self._pinned.values())
        if len(job.prompt) + job.max_tokens > room:
            raise PromptTooLong(f"Cannot answer: {len(job.prompt)} prompt tokens and {job.max_tokens} for the answer exceed the context of {room}")
        with self._news:
            if self._is_stopping:
                raise Overloaded(0, retry_after_s=1)
            if not is_again and (self.is_full or self._is_too_late(job)):
                raise Overloaded(len(self._waiting), retry_after_s=max(1, round(self._recent_s * (len(self._waiting) + len(self._live)) / self.parallel)))
            if not job.future.set_running_or_notify_cancel():  # from here on only the engine ends it: a cancelled caller is told by `gone`
                raise Cancelled("Nobody waits for the answer any more")
            (self._waiting.appendleft if is_again else self._waiting.append)(job)
            self._news.notify()
        return job

    def stop(self) -> None:
        """Finish what is live, refuse what waits, end the thread."""
        with self._news:
            self._is_stopping = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        """All decoding is this thread's, the pinned beginnings too: OpenMP keeps workers for each thread that ever decoded, and
        once there are more of them than cores they no longer spin but sleep at every barrier (steps took up to twice as long).
        """
        try:
            for seat, prefix in self._pinned.items():
                self._compute(seat, prefix)
        except Exception as error:  # noqa: BLE001  # whoever waits for the start is told, whatever it is
            self._started.set_exception(error)
            return
        self._started.set_result(None)
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._live or self._is_stopping)
                if self._is_stopping:
                    while self._waiting:
                        self._fail(self._waiting.popleft(), Overloaded(0, retry_after_s=1))
                    if not self._live:
                        return
            try:
                self._drop_the_gone()
                self._admit()
                if self._live:
                    self._step()
            except Exception as error:  # noqa: BLE001  # without this thread every caller would wait for ever: no fault may end it
                self._fail_all(error)

    def _fail_all(self, error: Exception) -> None:
        """What the engine did not foresee ends the answers that are live or waiting, and nothing after them."""
        log.exception("The engine failed")
        failure = InferenceError(f"The engine failed: {type(error).__name__}")
        for sequence in list(self._live):
            self._end(sequence, failure)
        with self._news:
            while self._waiting:
                self._fail(self._waiting.popleft(), failure)

    def _compute(self, seat: int, prefix: Sequence[int]) -> None:
        for at in range(0, len(prefix), self.llama.n_batch):
            self._batch.clear()
            self._batch.add(seat, at, prefix[at : at + self.llama.n_batch], [])
            self.llama.decode(self._batch)

    def _drop_the_gone(self) -> None:
        now = time.monotonic()
        for sequence in list(self._live):
            error = _ended(sequence.job, now)
            if error:
                self._end(sequence, error)
        with self._news:
            for job in [job for job in self._waiting if _ended(job, now)]:
                self._waiting.remove(job)
                self._fail(job, _ended(job, now) or Cancelled())

    def _admit(self) -> None:
        while self._waiting and len(self._live) < self.parallel:
            with self._news:  # a second attempt may come to the front at any moment
                job = self._waiting[0]
                if not self._has_room(len(job.prompt) + job.max_tokens):
                    return  # first come, first served: a long job is not overtaken for ever
                self._waiting.popleft()
            seat = self._free.pop()
            source, shared = self._best_beginning(job.prompt)
            if shared:
                self.llama.share(source, seat, shared)
            try:
                sequence = Live(job, seat, shared, self.llama.vocabulary, self.phrases, forces=not self._is_plain)
            except Exception as error:  # noqa: BLE001  # as in `_step`
                self._release(seat)
                self._fail(job, _as_failure(error))
                continue
            self._live.append(sequence)
            if sequence.is_finished:  # its grammar allows one answer only
                self._give(sequence)

    def _has_room(self, cells: int) -> bool:
        """Whether a seat and so many cells are free. Shared cells count twice: never too few."""
        return bool(self._free) and cells <= self.cells["free"]

    def _best_beginning(self, prompt: Sequence[int]) -> tuple[int, int]:
        """The pinned seat whose tokens begin most like the prompt, and how many are the same. The last one is always fed anew."""
        best = (-1, 0)
        for seat, tokens in self._pinned.items():
            same = _common(tokens, prompt[:-1])
            if same > best[1]:
                best = (seat, same)
        return best

    def _release(self, seat: int) -> None:
        self.llama.forget(seat)
        self._free.append(seat)

    def _step(self) -> None:
        self._batch.clear()
        feeds = list(self._plan())
        for sequence, feed in feeds:
            self._batch.add(sequence.seat, sequence.position, feed.tokens, feed.rows)
        began = time.perf_counter()
        try:
            logits = self.llama.decode(self._batch)
        except InferenceError as error:
            log.error("%s", error)
            for sequence in list(self._live):
                self._end(sequence, error)
            return
        self.counts.step_s.add(time.perf_counter() - began)
        self.counts.steps += 1
        self.counts.step_tokens.add(self._batch.used)
        self.counts.rows += self._batch.rows
        row = 0
        for sequence, feed in feeds:
            fed_to = sequence.position + len(feed.tokens)
            try:
                sequence.read(feed, logits[row : row + len(feed.rows)])
            except Exception as error:  # noqa: BLE001  # what goes wrong in one answer is no other's affair
                self._end(sequence, _as_failure(error))
            else:
                if sequence.is_finished:
                    self._give(sequence)
                elif sequence.position < fed_to:
                    self.llama.forget(sequence.seat, sequence.position)
            row += len(feed.rows)

    def _plan(self) -> Iterator[tuple[Live, Feed]]:
        """What each sequence feeds in this step: all that is short, then pieces of long prompts, the oldest and the shortest first."""
        short = [live for live in self._live if len(live.tail) <= SHORT]
        long = [live for live in self._live if len(live.tail) > SHORT]
        guesses = min(MOST_GUESSED, GUESSED_TOKENS // len(short)) if short and self.llama.can_trim and not self._is_plain else 0
        room = self.llama.n_batch if any(len(live.tail) > LONG for live in long) else min(self.llama.n_batch, SAME_TOKENS)
        kept = min(room // 3, sum(len(live.tail) for live in long))
        for live in short:
            if room <= kept:
                break
            feed = live.feed(room - kept, guesses, STEP_COST / len(short))
            room -= len(feed.tokens)
            yield live, feed
        if not long:
            return
        share = min(room, PREFILL_TOKENS if short else room)
        first, *others = long
        for live in [first, *sorted(others, key=lambda live: len(live.tail))]:
            piece = share if live is not first or not others else (share + 1) // 2
            piece = min(piece, len(live.tail))
            if piece < 1:
                return
            feed = live.feed(piece, 0)
            share -= len(feed.tokens)
            yield live, feed

    def _end(self, sequence: Live, error: InferenceError) -> None:
        self._leave(sequence)
        self._fail(sequence.job, error)

    def _leave(self, sequence: Live) -> None:
        self._live.remove(sequence)
        self._release(sequence.seat)
        self._count(sequence.done)

    def _give(self, sequence: Live) -> None:
        done = sequence.result()  # while it is live: what goes wrong here must still reach whoever waits
        self._leave(sequence)
        self._count_finished(done)
        self._recent_s = 0.8 * self._recent_s + 0.2 * (done.prefill_ms + done.decode_ms) / 1000
        sequence.job.future.set_result(done)

    def _is_too_late(self, job: Job) -> bool:
        """Whether a job that has to wait would, by what answers took lately, not be answered in time. One that finds a place is always tried."""
        ahead = len(self._waiting) + len(self._live) + 1 - self.parallel
        return ahead > 0 and time.monotonic() + self._recent_s * (1 + ahead / self.parallel) > job.deadline

    def _fail(self, job: Job, error: InferenceError) -> None:
        if isinstance(error, Cancelled):
            self.counts.cancelled += 1
        else:
            self.counts.failures += 1
        job.future.set_exception(error)

    def _count(self, done: Completion) -> None:
        self.counts.prompt_tokens += done.prompt_tokens
        self.counts.cached_tokens += done.cached_tokens
        self.counts.answer_tokens += len(done.tokens)
        self.counts.forced_tokens += done.forced_tokens
        self.counts.guessed_tokens += done.guessed_tokens
        for mask_s in done.mask_s:
            self.counts.mask_s.add(mask_s)

    def _count_finished(self, done: Completion) -> None:
        self.counts.answers += 1
        self.counts.queue_s.add(done.queue_ms / 1000)
        self.counts.prefill_s.add(done.prefill_ms / 1000)
        self.counts.decode_s.add(done.decode_ms / 1000)
        self.counts.masks_s.add(sum(done.mask_s))


def _as_failure(error: Exception) -> InferenceError:
    if isinstance(error, InferenceError):
        return error
    log.error("An answer failed", exc_info=error)
    return InferenceError(f"The answer failed: {type(error).__name__}")


def _ended(job: Job, now: float) -> InferenceError | None:
    if job.gone.is_set():
        return Cancelled("Nobody waits for the answer any more")
    if now >= job.deadline:
        return DeadlineExceeded("No answer within its deadline")
    return None


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))
