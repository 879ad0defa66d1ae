"""Owns the line before the engine: one thread, a bounded queue, a deadline, cancellation. Knows nothing of features."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from inference.errors import Cancelled, DeadlineExceeded, Overloaded

T = TypeVar("T")
Check = Callable[[], None]


class Worker:
    """Runs one job at a time on its own thread; at most `limit` more may wait."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.inside = 0
        self._recent_s = 1.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    @property
    def is_full(self) -> bool:
        """Whether one runs and `limit` wait: the next one is refused."""
        return self.inside > self._limit

    async def run(self, job: Callable[[float, Check], T], *, deadline_s: float) -> T:
        """Run `job(queue_ms, check)`; it must call `check` between its steps.

        Raises Overloaded at once when the queue is full and DeadlineExceeded when the time is over, waiting included.
        From then on, or when the awaiting task is cancelled, `check` raises Cancelled in the job.
        """
        if self.is_full:
            raise Overloaded(self._limit, retry_after_s=max(1, round(self._recent_s * self.inside)))
        gone = threading.Event()
        arrived = time.monotonic()

        def check() -> None:
            if gone.is_set():
                raise Cancelled("Nobody waits for the answer any more")

        def timed() -> T:
            check()
            begun = time.monotonic()
            try:
                return job(1000 * (begun - arrived), check)
            finally:
                self._recent_s = 0.8 * self._recent_s + 0.2 * (time.monotonic() - begun)

        self.inside += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, timed)
        future.add_done_callback(self._left)
        try:
            await asyncio.wait({future}, timeout=deadline_s)
        finally:
            gone.set()
        if not future.done():
            raise DeadlineExceeded(f"No answer within {deadline_s:g} s")
        return future.result()

    def _left(self, future: "asyncio.Future[T]") -> None:
        self.inside -= 1
        if not future.cancelled():
            future.exception()

    async def close(self) -> None:
        """Wait for what is running and end the thread."""
        await asyncio.to_thread(self._thread.shutdown, wait=True)
