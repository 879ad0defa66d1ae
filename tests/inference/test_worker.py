"""The line before the engine: one at a time, bounded, timed, cancellable."""

import asyncio
import threading

import pytest

from inference.errors import Cancelled, DeadlineExceeded, Overloaded
from inference.worker import Check, Worker


async def test_jobs_run_one_at_a_time_in_order() -> None:
    worker, order, running = Worker(10), list[int](), threading.Lock()

    def job(number: int) -> None:
        assert running.acquire(blocking=False), "two jobs at once"
        order.append(number)
        running.release()

    await asyncio.gather(*(worker.run(lambda _ms, _check, n=n: job(n), deadline_s=5) for n in range(8)))  # type: ignore[misc]
    assert order == list(range(8))


async def test_a_job_past_its_deadline_is_stopped_at_its_next_check() -> None:
    def endless(_queue_ms: float, check: Check) -> None:
        while True:
            check()

    with pytest.raises(DeadlineExceeded):
        await Worker(1).run(endless, deadline_s=0.05)


async def test_the_deadline_counts_the_waiting_too() -> None:
    """Behind a job that never checks, a request gives up when its own time is over."""
    worker, release = Worker(5), threading.Event()
    first = asyncio.ensure_future(worker.run(lambda _ms, _check: release.wait(), deadline_s=30))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await worker.run(lambda _ms, _check: None, deadline_s=0.05)
    assert not first.done()
    release.set()
    await first


async def test_a_job_whose_caller_went_away_stops_and_frees_the_line() -> None:
    worker, begun, stopped = Worker(1), threading.Event(), threading.Event()

    def endless(_queue_ms: float, check: Check) -> None:
        begun.set()
        try:
            while True:
                check()
        except Cancelled:
            stopped.set()
            raise

    task = asyncio.ensure_future(worker.run(endless, deadline_s=30))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await worker.run(lambda _ms, _check: "next", deadline_s=5) == "next"
    assert stopped.is_set()


async def test_a_full_line_refuses_at_once_with_a_time_to_come_back() -> None:
    worker, release = Worker(1), threading.Event()
    jobs = [asyncio.ensure_future(worker.run(lambda _ms, _check: release.wait(), deadline_s=30)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as error:
        await worker.run(lambda _ms, _check: None, deadline_s=30)
    assert error.value.retry_after_s >= 1
    release.set()
    await asyncio.gather(*jobs)
    assert worker.inside == 0


async def test_a_failing_job_fails_its_caller_only() -> None:
    worker = Worker(1)
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda _ms, _check: 1 / 0, deadline_s=5)
    assert await worker.run(lambda _ms, _check: 1, deadline_s=5) == 1
