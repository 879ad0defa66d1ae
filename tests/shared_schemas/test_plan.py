"""What makes a plan wrong although its JSON is valid."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared_schemas.features.plan import PlanInput, PlanOutput, reject, score

TASK = PlanInput(title="UI for Career page", description="Build it", skills=[], similar=[])


def step(title: str = "Build the career page", phase: str = "build_guidance", **changes: Any) -> dict[str, Any]:
    return {"phase": phase, "title": title, "duration": 4, "risk": "low", **changes}


def plan(*steps: dict[str, Any], risks: list[str] | None = None) -> PlanOutput:
    return PlanOutput.model_validate({"suggested_plan": list(steps), "overall_risks": risks or [], "assumptions": []})


def test_a_good_plan_is_accepted() -> None:
    assert reject(TASK, plan(step("Ask the team", "requirement_refiner"), step(), step("Test the page on a phone", "acceptance_criteria"))) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (plan(step("Release the page", "deployment"), step()), "not in lifecycle order"),
        (plan(step(), step("build the Career page!")), "repeat each other"),
        (plan(step("1.1.1.1.1.1")), "not a sentence"),
        (plan(step("Build the page ")), "spaces around"),
        (plan(step(), risks=["The design may change", "Old browsers may fail."]), "middle of a sentence"),
        (plan(step(), risks=["The design may change.", "The design may change!"]), "repeat each other"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_plan_is_rejected_in_words(answer: PlanOutput, fault: str) -> None:
    faults = reject(TASK, answer)
    assert any(fault in said for said in faults), faults


@pytest.mark.parametrize("steps", [[], [step()] * 9, [step(duration=3)], [step(duration="4")], [step(phase="testing")], [step(risk="critical")], [step(title="")], [step(hours=4)]], ids=str)
def test_the_output_is_closed(steps: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        plan(*steps)


def test_the_score_of_a_plan_against_itself_is_one() -> None:
    same = plan(step(), step("Release it", "deployment", duration=2))
    assert set(score(same, same).values()) == {1.0}


def test_the_score_counts_phases_steps_and_hours() -> None:
    wanted = plan(step(duration=2), step("Release it", "deployment", duration=2))
    assert score(plan(step(duration=4)), wanted) == {"phases_agree": 0.5, "steps_agree": 0.5, "hours_agree": 0.0}
