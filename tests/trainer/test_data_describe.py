"""The trainer describes a task as the edge does, on the golden files that hold both to it."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.data.describe import clean_text, plan_input, risk_input, shorten

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> list[Any]:
    cases: list[Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert len(cases) > 5
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", golden("risk"))
def test_a_task_is_described_as_the_edge_does(case: dict[str, Any]) -> None:
    metrics, context = (value if isinstance(value, dict) else {} for value in (case["wire"].get("metrics"), case["wire"].get("employeeContext")))
    described = risk_input(case["wire"].get("taskTitle"), metrics, milestone=context.get("milestone_triggered"), micro_task=context.get("is_micro_task"))
    assert described.model_dump() == case["promptInput"]


@pytest.mark.parametrize("case", golden("plan"))
def test_a_plan_is_described_as_the_edge_does(case: dict[str, Any]) -> None:
    wire = case["wire"]
    described = plan_input(wire["title"], wire["description"], wire.get("skills"), case["similar"])
    assert described is not None
    assert described.model_dump() == case["promptInput"]


def test_what_the_edge_refuses_is_no_input() -> None:
    assert plan_input(" \ufeff", "x", []) is None
    assert plan_input("x", "\u0000\u0007", []) is None


def test_text_that_no_layer_holds_is_mended() -> None:
    assert clean_text("a\ud800b\r\nc\u0000 ") == "a\ufffdb\nc"
    assert clean_text("\ud83d\ude00") == "😀"
    assert clean_text(7) == ""
    assert len(shorten("x" * 10_000_000, 120)) == 120
