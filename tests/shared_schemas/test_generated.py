"""What is written from the features is not stale, and both languages agree on it."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared_schemas.feature import AnyFeature, PromptStyle
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import RISK, RiskInput, RiskOutput, describe
from shared_schemas.typescript import typescript

ROOT = Path(__file__).resolve().parents[2]


def golden(feature: str) -> list[Any]:
    cases: list[Any] = json.loads((ROOT / "tests" / "golden" / f"{feature}.json").read_text(encoding="utf-8"))
    assert len(cases) >= 10
    return cases


def test_the_typescript_file_is_what_the_features_say() -> None:
    written = (ROOT / "supabase" / "functions" / "_shared" / "features.gen.ts").read_text(encoding="utf-8")
    assert written == typescript(FEATURES), "run scripts/generate"


@pytest.mark.parametrize("feature", FEATURES.values(), ids=lambda feature: feature.name)
def test_messages_are_the_same_bytes_in_both_languages(feature: AnyFeature) -> None:
    for case in golden(feature.name):
        prompt_input = feature.prompt_input.model_validate(case["promptInput"])
        assert said(feature, prompt_input, "tag") == case["messages"], case["name"]
        if "instructed" in case:
            assert said(feature, prompt_input, "instructions") == case["instructed"]
    assert any("instructed" in case for case in golden(feature.name))


def said(feature: AnyFeature, prompt_input: Any, style: PromptStyle) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in feature.messages(prompt_input, style)]


@pytest.mark.parametrize("case", golden("risk"), ids=lambda case: case["name"])
def test_python_derives_the_same_fields_as_typescript(case: dict[str, Any]) -> None:
    derived = {"pace", "gone_percent", "left", "late", "suggested"}
    given = {name: value for name, value in case["promptInput"].items() if name not in derived}
    assert describe(**given).model_dump() == case["promptInput"]


@pytest.mark.parametrize("case", golden("risk"), ids=lambda case: case["name"])
def test_the_rules_answer_as_the_coach_must(case: dict[str, Any]) -> None:
    task, answer = RiskInput.model_validate(case["promptInput"]), RiskOutput.model_validate(case["rules"])
    assert RISK.reject(task, answer) == []
    assert answer.risk_level == task.suggested


def test_the_golden_verdicts_are_what_the_features_say() -> None:
    for case in golden("reject"):
        feature = FEATURES[case["feature"]]
        prompt_input, output = feature.prompt_input.model_validate(case["promptInput"]), feature.output.model_validate(case["output"])
        assert (feature.reject(prompt_input, output) == []) is case["accepted"], case["output"]
