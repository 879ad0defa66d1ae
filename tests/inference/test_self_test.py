"""No model takes traffic before it gave an accepted answer to each feature's golden request: the settings' own one neither."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.errors import Rejected, StartError
from inference.live_list import write_live
from inference.loader import START, Loader
from inference.predict import Predictor
from inference.restart import come_back
from inference.settings import Settings
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion

Given = Callable[[str], Any]


class Folders(Loader):
    """A loader that gives the one loaded model under several names."""

    def __init__(self, predictor: Predictor, answers: dict[str, Any]) -> None:
        self._predictor = predictor
        self._answers = answers

    def load(self, name: str) -> Any:
        return self._answers.get(name, self._predictor)


@pytest.fixture
def failing(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """The same model, that gets nothing accepted in one feature; it is not really closed."""

    def make(feature: str, style: str = "tag") -> Predictor:
        copy = object.__new__(Predictor)
        copy.__dict__.update(predictor.__dict__)
        copy.version = ModelVersion.model_validate({**predictor.version.model_dump(), "name": f"fails-{feature}", "prompt_style": style})
        predict = predictor.predict

        async def refuse(asked: Any, prompt_input: Any, **facts: Any) -> Any:
            if asked.name == feature:
                raise Rejected(["repetition: it says the same twice"])
            return await predict(asked, prompt_input, **facts)

        monkeypatch.setattr(copy, "predict", refuse, raising=False)
        monkeypatch.setattr(copy, "close", lambda: closed.append(copy.version.name), raising=False)
        return copy

    closed: list[str] = []
    make.closed = closed  # type: ignore[attr-defined]
    return make


def test_the_settings_model_answers_every_golden_request_before_it_serves(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    predict = Predictor.predict

    async def noted(self: Predictor, feature: Any, prompt_input: Any, **facts: Any) -> Any:
        assert prompt_input == feature.golden
        asked.append(feature.name)
        return await predict(self, feature, prompt_input, **facts)

    monkeypatch.setattr(Predictor, "predict", noted)
    come_back(Settings(), Folders(predictor, {}))
    assert sorted(asked) == sorted(FEATURES)


def test_a_tuned_model_that_fails_stops_the_start_by_name(predictor: Predictor, failing: Any) -> None:
    with pytest.raises(StartError, match=r"Cannot put 'fails-plan' to work: its self-test of 'plan' failed: .* says the same twice"):
        come_back(Settings(), Folders(predictor, {START: failing("plan")}))
    assert failing.closed == ["fails-plan"]


def test_a_model_that_was_never_tuned_is_warned_of_and_serves(predictor: Predictor, failing: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        models = come_back(Settings(), Folders(predictor, {START: failing("risk", "instructions")}))
    assert models.version("risk").name == "fails-risk"
    assert "its self-test of 'risk' failed" in caplog.text
    assert failing.closed == []


def test_a_model_that_fails_after_a_restart_leaves_its_feature_to_the_settings_model(predictor: Predictor, failing: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_live(tmp_path, {"risk": "harmed", "plan": "harmed"})
    models = come_back(Settings(model_folder=tmp_path), Folders(predictor, {"harmed": failing("plan")}))
    assert {models.version(name).name for name in FEATURES} == {predictor.version.name}
    assert "Cannot come back with harmed: Cannot put 'fails-plan' to work" in caplog.text
    assert failing.closed == ["fails-plan"]


def test_only_what_a_model_shall_answer_is_asked_of_it(predictor: Predictor, failing: Any, tmp_path: Path) -> None:
    write_live(tmp_path, {"risk": "other"})
    models = come_back(Settings(model_folder=tmp_path), Folders(predictor, {"other": failing("plan")}))
    assert {name: models.version(name).name for name in FEATURES} == {"risk": "fails-plan", "plan": predictor.version.name}
