"""A terse answer says what the named one says in fewer tokens, and nothing else."""

import json

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from shared_schemas.example import Example
from shared_schemas.feature import AnyFeature, compact_json
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import RISK, RiskOutput
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples

COACHED = RiskOutput(risk_level="high", reasons=["Half of the planned time is gone."], recommended_actions=["Finish one small step today.", "Ask for help if you are stuck."])
EXAMPLES = [*risk_examples(40, seed=1), *plan_examples(40, seed=2)]


def test_a_terse_answer_holds_values_alone_and_a_choice_as_its_place() -> None:
    assert RISK.answer(COACHED, "terse") == '[2,["Half of the planned time is gone."],["Finish one small step today.","Ask for help if you are stuck."]]'
    step = json.loads(FEATURES["plan"].answer(EXAMPLES[-1].output, "terse"))[0][0]
    assert [type(value) for value in step] == [int, str, int, int]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_it_says_the_same_and_its_schema_allows_it(example: Example) -> None:
    feature = FEATURES[example.feature]
    said = feature.answer(example.output, "terse")
    Draft202012Validator(feature.answer_schema("terse")).validate(json.loads(said))
    assert feature.read_answer(said, "terse") == example.output
    assert len(said) < len(compact_json(example.output))


@pytest.mark.parametrize("said", ["", "[", "[3,[],[]]", "[true,[],[]]", "[-1,[],[]]", "[1.0,[],[]]", "[1,[]]", "[1,[],[],[]]", '["low",[],[]]', "{}", "null", '[1,"a","b"]', compact_json(COACHED)])
def test_what_is_no_terse_answer_is_refused(said: str) -> None:
    with pytest.raises(ValidationError):
        RISK.read_answer(said, "terse")


@pytest.mark.parametrize("feature", FEATURES.values(), ids=list(FEATURES))
def test_other_styles_answer_by_name(feature: AnyFeature) -> None:
    example = next(example for example in EXAMPLES if example.feature == feature.name)
    for style in ("tag", "instructions"):
        assert feature.answer_schema(style) == feature.output_schema()
        assert feature.read_answer(feature.answer(example.output, style), style) == example.output
