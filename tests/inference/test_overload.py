"""Ten times what the service can do: what is too much is refused at once, what is taken is answered. Speeds are for scripts/soak to tell."""

import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from overload import run_overload
from pydantic import SecretStr

from inference.app import create_app
from inference.engine.completion import Job
from inference.errors import Overloaded
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.features.risk import RISK
from tests.inference.conftest import TOKEN


@pytest.fixture(scope="module")
def small(predictor: Predictor) -> Iterator[Predictor]:
    """Two answers at once, and two may wait."""
    small = Predictor(replace(find_model(Settings()), phrases=None), n_ctx=4096, n_threads=1, parallel=2, waiting=2, beside=predictor)
    yield small
    small.close()


@pytest_asyncio.fixture
async def caller(small: Predictor) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(inference_token=SecretStr(TOKEN), deadline_s=120), small)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", headers={"authorization": f"Bearer {TOKEN}"}, timeout=180) as client:
        yield client


async def test_excess_is_refused_and_what_was_taken_is_answered(caller: httpx.AsyncClient, small: Predictor) -> None:
    report = await run_overload(caller, parallel=2, deadline_s=120, seconds=1, least_rate=200, least=30, kinds=("risk",))
    checks = {check.promise: check for check in report.checks}
    speed = [promise for promise in checks if promise.startswith("goodput")]
    assert len(speed) == 1
    assert [check for promise, check in checks.items() if promise not in speed and not check.held] == [], report.as_text()
    assert report.tally.of("refused") > 0
    assert report.tally.of("answered") >= small.engine.parallel
    assert report.tally.of("stuck") == report.tally.of("wrong") == 0


def job(predictor: Predictor, **facts: Any) -> Job:
    return Job(predictor.prompt_tokens(RISK, RISK.golden), predictor.grammar("risk"), RISK.max_tokens, **facts)


def test_who_would_wait_past_his_deadline_is_refused_at_once_while_places_are_taken(small: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer takes 30 s of late: a deadline in 30 s can be kept by who is served now, not by who waits first."""
    engine, gate, reached = small.engine, threading.Event(), threading.Event()

    def hold(_text: bytes) -> None:
        reached.set()
        gate.wait(60)

    monkeypatch.setattr(engine, "_recent_s", 30.0)
    jobs = [engine.submit(job(small, on_text=hold, deadline=time.monotonic() + 1000))]
    assert reached.wait(60)
    hasty = engine.submit(job(small, deadline=time.monotonic() + 30))
    hasty.cancel()
    while engine.live + engine.waiting < engine.parallel:
        jobs.append(engine.submit(job(small)))
    with pytest.raises(Overloaded) as refused:
        engine.submit(job(small, deadline=time.monotonic() + 30))
    assert refused.value.retry_after_s >= 30
    jobs.append(engine.submit(job(small, deadline=time.monotonic() + 1000)))
    engine.submit(job(small, deadline=time.monotonic() + 30), is_again=True).cancel()
    gate.set()
    assert all(one.future.result(timeout=180).text for one in jobs)
