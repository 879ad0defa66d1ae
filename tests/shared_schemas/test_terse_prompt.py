"""What a tuned model is told of an input: its values, without their names."""

import json

import pytest

from shared_schemas.feature import AnyFeature
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PLAN, SimilarTask
from shared_schemas.features.risk import RISK


def test_a_terse_prompt_holds_the_values_alone_and_what_somebody_typed_last() -> None:
    told = json.loads(RISK.messages(RISK.golden, "terse")[1].content)
    assert told == ["medium", "medium", "50_percent", "behind", False, 25, 50, 1, 3, "4 h", "8 h", "UI for Career page"]


def test_a_terse_prompt_of_a_plan_keeps_which_step_is_of_which_earlier_task() -> None:
    task = PLAN.golden.model_copy(update={"similar": [SimilarTask(title="UI for Team page", steps=["Sketch it", "Build it"])]})
    told = json.loads(PLAN.messages(task, "terse")[1].content)
    assert told == [[["UI for Team page", ["Sketch it", "Build it"]]], ["React"], "UI for Career page", "Build it. It must have a filter by department."]


@pytest.mark.parametrize("feature", FEATURES.values(), ids=list(FEATURES))
def test_a_terse_prompt_names_fields_of_its_input_and_each_once(feature: AnyFeature) -> None:
    assert len(set(feature.terse_fields)) == len(feature.terse_fields)
    assert set(feature.terse_fields) <= set(feature.prompt_input.model_fields)


@pytest.mark.parametrize("feature", FEATURES.values(), ids=list(FEATURES))
def test_a_terse_prompt_has_the_tag_of_the_feature_before_it(feature: AnyFeature) -> None:
    assert [message.content for message in feature.constant_messages("terse")] == [feature.name]
