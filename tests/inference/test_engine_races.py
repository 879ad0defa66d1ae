"""Races between callers and the engine's thread, each forced to happen: nobody waits for ever, and the thread lives on."""

import threading
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.engine.completion import Completion, Job
from inference.engine.llama import Batch, Llama
from inference.errors import Cancelled
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.features.risk import RISK, RiskInput, describe


def task(title: str) -> RiskInput:
    return describe(title=title, level="medium", milestone="50_percent", micro_task=False, done_percent=25, steps_done=1, steps_left=3, budget_minutes=480, spent_minutes=240, delay_minutes=60)


def job(predictor: Predictor, title: str) -> Job:
    return Job(predictor.prompt_tokens(RISK, task(title)), predictor.grammar("risk"), RISK.max_tokens)


def test_a_second_attempt_that_comes_during_an_admission_takes_nobodys_place(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine has looked at the first job and not yet taken it off; at that moment a second attempt goes to the front."""
    engine, has_room = predictor.engine, predictor.engine._has_room
    first, again = job(predictor, "Payroll report"), job(predictor, "Hiring portal")
    pushing = threading.Thread(target=lambda: engine.submit(again, is_again=True))

    def interrupted(cells: int) -> bool:
        if pushing.ident is None:
            pushing.start()
            pushing.join(timeout=0.2)  # it gets in at once where nothing holds it back, and has to wait where the engine does
        return has_room(cells)

    monkeypatch.setattr(engine, "_has_room", interrupted)
    engine.submit(first)
    answers = [one.future.result(timeout=60).text for one in (first, again)]
    pushing.join()
    assert all(RISK.read_answer(text, predictor.version.prompt_style) for text in answers)
    assert (engine.waiting, engine.live) == (0, 0)


class CancelledInTheGap(Future[Completion]):
    """A future whose caller cancels it right after somebody saw that it was not cancelled."""

    def cancelled(self) -> bool:
        was = super().cancelled()
        self.cancel()
        return was


@pytest.mark.parametrize("ends_well", [True, False], ids=["answered", "truncated"])
def test_a_future_cancelled_at_the_last_moment_does_not_end_the_engines_thread(predictor: Predictor, ends_well: bool) -> None:
    hasty = job(predictor, "Cohort list")
    hasty.max_tokens = RISK.max_tokens if ends_well else 12
    hasty.future = CancelledInTheGap()
    ended = threading.Event()
    hasty.future.add_done_callback(lambda _: ended.set())
    predictor.engine.submit(hasty)
    assert not hasty.future.cancel(), "what was submitted is the engine's to end"
    assert ended.wait(60)
    assert predictor.engine.submit(job(predictor, "Chat window")).future.result(timeout=60).text
    assert predictor.engine._thread.is_alive()


def test_a_future_cancelled_before_it_is_submitted_is_refused(predictor: Predictor) -> None:
    given_up = job(predictor, "Search filter")
    given_up.future.cancel()
    with pytest.raises(Cancelled):
        predictor.engine.submit(given_up)
    assert predictor.engine.submit(job(predictor, "Login screen")).future.result(timeout=60).text


def test_one_thread_alone_decodes_whoever_asks(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP keeps workers for each thread that ever decoded; once they outnumber the cores, every step takes up to twice as long."""
    decode, threads = Llama.decode, set[str]()

    def noted(llama: Llama, batch: Batch) -> NDArray[np.float32]:
        threads.add(threading.current_thread().name)
        return decode(llama, batch)

    monkeypatch.setattr(Llama, "decode", noted)
    second = Predictor(find_model(Settings()), n_ctx=2048, n_threads=1, beside=predictor)
    try:
        assert second.predict_now(RISK, RISK.golden).output
    finally:
        second.close()
    assert threads == {"engine"}
