"""What makes the coach's answer wrong although its JSON is valid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared_schemas.features.risk import LEVELS, Level, Milestone, RiskInput, RiskOutput, describe, duration_in_words, reject

GOOD = RiskOutput(
    risk_level="medium",
    reasons=["Half of your time for this task is used.", "25% of the work is done, a little behind the clock."],
    recommended_actions=["Pick the smallest open step and finish it within the next 30 minutes."],
)


def task(level: Level = "medium", milestone: Milestone = "50_percent", done: int = 25) -> RiskInput:
    return describe(
        title="UI for Career page", level=level, milestone=milestone, micro_task=False, done_percent=done, steps_done=1, steps_left=3, budget_minutes=480, spent_minutes=240, delay_minutes=60
    )


def changed(**changes: object) -> RiskOutput:
    return RiskOutput.model_validate({**GOOD.model_dump(), **changes})


def test_a_good_answer_is_accepted() -> None:
    assert reject(task(), GOOD) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (changed(reasons=["Half of your time is used.", "Half of your time is used!"]), "repeat each other"),
        (changed(recommended_actions=["Half of your time for this task is used."]), "repeat each other"),
        (changed(reasons=["Half the allocated hours are used."]), "jargon 'allocated hours'"),
        (changed(reasons=["Half is gone and the predicted delay is 2 h."]), "jargon 'predicted delay'"),
        (changed(reasons=["You have done a little work so far."]), "milestone '50_percent' is not addressed"),
        (changed(reasons=["Half of the time is used and 60% is done."]), "figure 60 % is not in the task"),
        (changed(reasons=["Half of your time is used.", "50% of the work is done."]), "50 % is not what is done"),
        (changed(recommended_actions=["Finish half of it within the next 30 minutes."], reasons=["You have done a little work so far."]), "is not addressed"),
        (changed(reasons=["Half of your time is used.", "Everything is ticked off, which is great work."]), "not everything is done"),
        (changed(reasons=["Half of your time is used.", "No step is ticked off yet."]), "something is done"),
        (changed(reasons=["1.1.1.1.1.1.1.1.1.1.1.", "Half of your time is used."]), "not a sentence"),
        (changed(reasons=["Half of time and time and time and time and time."]), "one word over and over"),
        (changed(reasons=["Half of your time for this task is"]), "ends in the middle of a sentence"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_answer_is_rejected_in_words(answer: RiskOutput, fault: str) -> None:
    faults = reject(task(), answer)
    assert any(fault in said for said in faults), faults


@pytest.mark.parametrize(("metrics", "answer", "ok"), [("low", "high", False), ("high", "low", False), ("low", "medium", True), ("high", "medium", True), ("high", "high", True)])
def test_the_level_stays_within_one_step_of_the_metrics(metrics: Level, answer: Level, ok: bool) -> None:
    assert (reject(task(level=metrics), changed(risk_level=answer)) == []) is ok


@pytest.mark.parametrize(("said", "ok"), [("You have about 45 min left for this task.", True), ("About one hour is left for this task.", True), ("You have about 40 min left for this task.", False)])
def test_the_last_hour_of_a_short_task_is_what_it_was_given(said: str, ok: bool) -> None:
    """The app fires the milestone of the last hour for a task of 45 minutes at its start."""
    short = describe(title="Call back", level="low", milestone="1h_left", micro_task=True, done_percent=0, steps_done=0, steps_left=2, budget_minutes=45, spent_minutes=5, delay_minutes=0)
    assert (reject(short, changed(risk_level="low", reasons=[said])) == []) is ok


def test_a_milestone_does_not_let_the_wall_clock_speak() -> None:
    """Trap T4: at half of the business-hour budget the wall clock may stand at 300 %."""
    at_half = describe(title="t", level="high", milestone="50_percent", micro_task=False, done_percent=50, steps_done=2, steps_left=2, budget_minutes=480, spent_minutes=1440, delay_minutes=2400)
    assert (at_half.gone_percent, at_half.left, at_half.late, at_half.pace) == (50, "4 h", "", "on_pace")


def test_zero_progress_near_the_end_is_raised_and_progress_ahead_of_time_lowered() -> None:
    """Traps T7 and T20: the metrics rate zero progress low until the budget is gone, and alert managers too easily."""
    assert task(level="low", milestone="75_percent", done=0).suggested == "medium"
    assert task(level="low", milestone="50_percent", done=0).suggested == "low"
    assert task(level="high", milestone="50_percent", done=80).suggested == "medium"
    assert task(level="high", milestone="75_percent", done=10).suggested == "high"


@pytest.mark.parametrize(("minutes", "words"), [(0, ""), (1, "1 min"), (59, "59 min"), (60, "1 h"), (67, "1 h"), (68, "1 h 15 min"), (480, "8 h"), (599, "10 h"), (6300, "105 h")])
def test_durations_read_as_people_say_them(minutes: int, words: str) -> None:
    assert duration_in_words(minutes) == words


@given(
    level=st.sampled_from(LEVELS),
    milestone=st.sampled_from(["none", "50_percent", "75_percent", "1h_left", "30m_left"]),
    done=st.integers(0, 100),
    budget=st.integers(0, 600_000),
    spent=st.integers(0, 600_000),
    delay=st.integers(0, 600_000),
)
def test_every_task_can_be_described(level: Level, milestone: Milestone, done: int, budget: int, spent: int, delay: int) -> None:
    described = describe(title="t", level=level, milestone=milestone, micro_task=False, done_percent=done, steps_done=0, steps_left=0, budget_minutes=budget, spent_minutes=spent, delay_minutes=delay)
    assert abs(LEVELS.index(described.suggested) - LEVELS.index(level)) <= 1


@pytest.mark.parametrize("change", [{"confidence": 80}, {"risk_level": "High"}, {"reasons": []}, {"reasons": "text"}, {"reasons": ["a good sentence"] * 4}, {"recommended_actions": [1]}])
def test_the_output_is_closed(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        changed(**change)
