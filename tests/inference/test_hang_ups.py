"""Callers who go away leave nothing behind: no answer in the making, no cell, and the next callers are answered.

When a place is free is counted in the engine's steps, never in time (goal P13).
"""

import threading
from collections.abc import Iterator
from dataclasses import replace

import httpx
import numpy as np
import pytest
from hang_ups import run_hang_ups
from numpy.typing import NDArray

from inference.engine.completion import Job
from inference.engine.llama import Batch, Llama
from inference.errors import Cancelled
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.features.plan import PLAN, PlanInput
from tests.inference.conftest import TOKEN


@pytest.fixture(scope="module")
def small(predictor: Predictor) -> Iterator[Predictor]:
    """Two answers at once."""
    small = Predictor(replace(find_model(Settings()), phrases=None), n_ctx=4096, n_threads=1, parallel=2, waiting=4, beside=predictor)
    yield small
    small.close()


def plan(predictor: Predictor, title: str) -> Job:
    return Job(predictor.prompt_tokens(PLAN, PlanInput(title=title, description="Build it", skills=["React"], similar=[])), predictor.grammar("plan"), PLAN.max_tokens)


def long(predictor: Predictor) -> Job:
    return Job([100 + i % 40_000 for i in range(1500)], predictor.grammar("risk"), 320)


def live(predictor: Predictor, job: Job) -> bool:
    return any(sequence.job is job for sequence in predictor.engine._live)


def answered_tokens(predictor: Predictor, job: Job) -> int:
    return next((len(sequence.done.tokens) for sequence in predictor.engine._live if sequence.job is job and not sequence.is_prefilling), 0)


MOMENTS = ("while it waits", "in its prefill", "at its first token", "in its decoding")


def has_come(moment: str, predictor: Predictor, job: Job) -> bool:
    if moment == "while it waits":
        return predictor.engine.waiting == 1 and not live(predictor, job)
    if moment == "in its prefill":
        return any(one.job is job and 0 < one.position < len(job.prompt) - 400 for one in predictor.engine._live)
    return answered_tokens(predictor, job) >= (1 if moment == "at its first token" else 40)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_place_is_free_in_the_step_after_its_caller_left(small: Predictor, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Others are served meanwhile, so that steps go on: none of them after the one in which the caller left serves that caller."""
    decode, engine = Llama.decode, small.engine
    others = [plan(small, f"Goes on {i}") for i in range(2 if moment == "while it waits" else 1)]
    leaver = long(small) if moment == "in its prefill" else plan(small, f"Leaves {moment}")
    served_after: list[bool] = []
    gone = threading.Event()

    def stepped(llama: Llama, batch: Batch) -> NDArray[np.float32]:
        if llama is small.llama and gone.is_set():
            served_after.append(live(small, leaver) or leaver in engine._waiting)
        logits = decode(llama, batch)
        if llama is small.llama and not gone.is_set() and has_come(moment, small, leaver):
            leaver.cancel()
            gone.set()
        return logits

    monkeypatch.setattr(Llama, "decode", stepped)
    with engine._news:  # all are there before the first step
        for job in (*others, leaver):
            engine.submit(job)
    with pytest.raises(Cancelled):
        leaver.future.result(timeout=120)
    assert gone.is_set()
    for other in others:
        PLAN.read_answer(other.future.result(timeout=120).text, small.version.prompt_style)
    assert served_after
    assert not any(served_after)
    assert_rest(small)


def assert_rest(predictor: Predictor) -> None:
    """No sequence is live, and llama.cpp's own memory holds nothing but what is pinned."""
    engine = predictor.engine
    while engine.live:  # a result is told a moment before its thread has gone on
        pass
    assert (engine.live, engine.waiting, engine.cells["answers"]) == (0, 0, 0)
    assert [seat for seat in engine._free if predictor.llama.held(seat)] == []
    on_purpose = engine._pinned
    assert {seat: predictor.llama.held(seat) for seat in on_purpose} == {seat: len(tokens) for seat, tokens in on_purpose.items()}
    assert len(engine._free) + len(on_purpose) == predictor.llama.n_seats
    assert sum(engine.cells.values()) == predictor.llama.n_cells


async def test_callers_who_leave_at_random_leave_nothing_behind(service: str, predictor: Predictor) -> None:
    """Over real connections; `scripts/soak hang-ups` does the same a thousand times."""
    async with httpx.AsyncClient(base_url=service, headers={"authorization": f"Bearer {TOKEN}"}, timeout=180) as client:
        report = await run_hang_ups(client, count=24, crowd=12, deadline_s=120)
    assert report.held, report.as_text()
    assert report.tally.of("left") >= 12
    assert_rest(predictor)
