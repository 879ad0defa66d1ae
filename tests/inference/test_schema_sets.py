"""What `python -m inference schemas` says of a set: enforced, refused by reason, and the wrong that it is there to find."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.answer_schema import AnswerSchema
from inference.errors import StartError
from inference.predict import Predictor
from inference.schema_sets import read_cases, schemas, try_all

DATES = {"type": "string", "format": "date"}


def instance(data: Any, *, is_valid: bool) -> dict[str, Any]:
    return {"description": "an instance", "data": data, "valid": is_valid}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set in both formats: a list of schemas in one file, one schema in another, and what is neither."""
    numbers = {"description": "numbers", "schema": {"type": "integer", "minimum": 3}, "tests": [instance(3, is_valid=True), instance(2, is_valid=False)]}
    nots = {"description": "nots", "schema": {"not": {"type": "null"}}, "tests": [instance(3, is_valid=True)]}
    (tmp_path / "suite.json").write_text(json.dumps([numbers, nots, {"description": "all", "schema": True, "tests": []}]))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one.json").write_text(json.dumps({"schema": DATES, "tests": [instance("2024-02-29", is_valid=True), instance("2023-02-29", is_valid=False)]}))
    (tmp_path / "package.json").write_text("{}")
    return tmp_path


def test_a_set_is_enforced_or_refused_and_its_instances_fare_as_they_should(predictor: Predictor, folder: Path) -> None:
    found = try_all(predictor, list(read_cases(folder)))
    assert (found.compiled, found.passing, found.valid, found.invalid) == (2, 1, 2, 2)
    assert dict(found.refused) == {"Cannot enforce the keyword 'not'": 1, "The schema is no object": 1}
    assert (found.valid_refused, found.invalid_taken) == ([], ["sub/one.json: : an instance"]), "29 February is the validator's to refuse"
    assert (found.invalid_served, found.failed, found.held) == ([], [], True)
    assert len(found.compile_s) == 2
    assert len(found.mask_s) > 10


def test_an_invalid_instance_that_would_be_served_breaks_it(predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnswerSchema, "check_answer", lambda _self, _text: None)
    found = try_all(predictor, list(read_cases(folder)))
    assert (found.invalid_served, found.held) == (["sub/one.json: : an instance"], False)


def test_a_crash_in_one_schema_is_noted_and_the_others_are_tried(predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get = type(predictor.answer_schemas).get

    def crashes(self: Any, schema: dict[str, Any]) -> AnswerSchema:
        if schema == DATES:
            raise RuntimeError("a table is full")
        return get(self, schema)

    monkeypatch.setattr(type(predictor.answer_schemas), "get", crashes)
    found = try_all(predictor, list(read_cases(folder)))
    assert (found.compiled, found.failed, found.held) == (1, ["sub/one.json: : RuntimeError: a table is full"], False)


def test_the_command_tells_it_all_and_ends_with_0_where_nothing_wrong_is_served(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas([str(folder)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("4 schemas: 2 enforced (1 of them with every instance as it should be), 2 refused, 0 failed\n2 valid instances, 0 refused; 2 invalid ones, 1 taken by the grammar, 0 by")
    assert "    1 Cannot enforce the keyword 'not'\n" in told
    assert told.endswith("held\n")


def test_a_folder_without_a_set_and_a_file_that_is_no_json_are_said(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"Cannot find a schema with its tests in .*\*\.json"):
        schemas([str(tmp_path)])
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(StartError, match=r"Cannot read .*broken\.json"):
        schemas([str(tmp_path)])
