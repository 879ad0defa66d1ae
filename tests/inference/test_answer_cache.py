"""Exact answers are kept only where the operator asks for it: the same input again costs the engine nothing, and says so."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from inference.answer_cache import FROM_CACHE, AnswerCache
from inference.app import create_app
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.closed import Closed
from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import RISK, RiskInput
from shared_schemas.prediction import Prediction
from tests.inference.conftest import TOKEN

OTHER_SHAPE: Any = PlanOutput


@pytest.fixture(scope="module")
def keeping(predictor: Predictor) -> Iterator[Predictor]:
    keeping = Predictor(replace(find_model(Settings()), phrases=None), n_ctx=2048, n_threads=1, parallel=1, waiting=4, beside=predictor, kept_answers=2)
    yield keeping
    keeping.close()


def other(i: int) -> RiskInput:
    return RISK.golden.model_copy(update={"title": f"Task {i}"})


def test_by_default_nothing_is_kept(predictor: Predictor) -> None:
    assert Settings().answer_cache == 0
    first, again = predictor.predict_now(RISK, RISK.golden), predictor.predict_now(RISK, RISK.golden)
    assert FROM_CACHE not in {**first.details, **again.details}
    assert (len(predictor.kept), predictor.kept.hits, predictor.kept.misses) == (0, 0, 0)


def test_the_same_again_asks_nothing_of_the_engine_and_says_so(keeping: Predictor) -> None:
    first = keeping.predict_now(RISK, RISK.golden)
    steps, hits = keeping.engine.counts.steps, keeping.kept.hits
    again = keeping.predict_now(RISK, RISK.golden)
    assert (keeping.engine.counts.steps, keeping.kept.hits) == (steps, hits + 1)
    assert (again.output, again.confidence, again.model) == (first.output, first.confidence, first.model)
    assert FROM_CACHE not in first.details
    assert again.details == {**first.details, FROM_CACHE: 1.0}
    assert set(again.timings.model_dump().values()) == {0}


async def test_hits_are_counted_apart_from_the_engines_figures(keeping: Predictor) -> None:
    app = create_app(Settings(inference_token=SecretStr(TOKEN)), keeping)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        for _ in range(2):
            assert (await client.post("/v1/features/risk", json=RISK.golden.model_dump())).status_code == 200
        told = (await client.get("/metrics")).text
    assert f'slm_answer_cache_total{{model="{keeping.version.name}",result="hit"}} {float(keeping.kept.hits)}' in told
    assert f'slm_answers_total{{end="finished",model="{keeping.version.name}"}} {float(keeping.engine.counts.answers)}' in told


@pytest.fixture(scope="module")
def given(predictor: Predictor) -> Prediction[Closed]:
    return predictor.predict_now(RISK, RISK.golden)


def test_the_latest_used_ones_are_kept_and_no_more(predictor: Predictor, given: Prediction[Closed]) -> None:
    kept = AnswerCache(predictor.version, predictor.weights_sha256, 2)
    for i in range(3):
        kept.keep(RISK, other(i), given)
        kept.find(RISK, other(0))
    assert len(kept) == 2
    assert [kept.find(RISK, other(i)) is not None for i in range(3)] == [True, False, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: {"version": one.version.model_copy(update={"adapter_sha256": "0" * 64})},
        lambda one: {"version": one.version.model_copy(update={"prompt_style": "instructions"})},
        lambda _: {"weights_sha256": "0" * 64},
        lambda _: {"feature": replace(RISK, version="risk-2")},
        lambda _: {"feature": replace(RISK, output=OTHER_SHAPE)},
        lambda _: {"prompt_input": other(1)},
    ],
    ids=["adapter", "prompt style", "weights", "prompt version", "schema", "input"],
)
def test_everything_that_an_answer_depends_on_is_in_its_key(predictor: Predictor, change: object) -> None:
    facts = {"version": predictor.version, "weights_sha256": predictor.weights_sha256, "feature": RISK, "prompt_input": RISK.golden}

    def key(version: object, weights_sha256: object, feature: object, prompt_input: object) -> bytes:
        return AnswerCache(version, weights_sha256, 1)._key(feature, prompt_input)  # type: ignore[arg-type]

    assert key(**facts) == key(**facts)
    assert key(**facts) != key(**{**facts, **change(predictor)})  # type: ignore[operator]
