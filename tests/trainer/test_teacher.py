"""The template teacher writes what the features accept, the same each time, and never about held-out subjects."""

from collections import Counter

import pytest

from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanInput
from shared_schemas.features.risk import RiskInput, RiskOutput
from trainer.plan_teacher import PLAYBOOKS, plan_examples
from trainer.risk_teacher import risk_examples
from trainer.task_titles import KINDS

MAKERS = {"risk": risk_examples, "plan": plan_examples}


@pytest.mark.parametrize("name", MAKERS)
def test_every_example_is_acceptable(name: str) -> None:
    examples = MAKERS[name](600, seed=3)
    assert [FEATURES[name].reject(example.prompt_input, example.output) for example in examples if FEATURES[name].reject(example.prompt_input, example.output)] == []


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_writes_the_same_and_another_seed_does_not(name: str) -> None:
    assert MAKERS[name](50, seed=3) == MAKERS[name](50, seed=3)
    assert MAKERS[name](50, seed=3) != MAKERS[name](50, seed=4)


def test_the_levels_are_balanced_and_follow_the_rule() -> None:
    examples = risk_examples(900, seed=5)
    levels = Counter(example.output.risk_level for example in examples if isinstance(example.output, RiskOutput))
    assert min(levels.values()) > 0.25 * len(examples), levels
    assert all(isinstance(e.prompt_input, RiskInput) and isinstance(e.output, RiskOutput) and e.output.risk_level == e.prompt_input.suggested for e in examples)


def test_the_apps_own_titles_are_not_copied() -> None:
    """Titles of contract.md section 4, but for its learning tracks, which are combinations of the same skills."""
    own = {"ui for career page", "cohort modifications", "hiring portal modification", "landing page chnages", "documentation for talent ops", "native ai", "ui changes"}
    titles = {example.prompt_input.title.lower() for name in MAKERS for example in MAKERS[name](1500, seed=1)}
    assert titles.isdisjoint(own)


def test_every_kind_of_task_has_a_playbook() -> None:
    assert {kind.name for kind in KINDS} == set(PLAYBOOKS)


def test_plans_read_the_description() -> None:
    """A wish in the description becomes a step."""
    wished = [e for e in plan_examples(1500, seed=2) if isinstance(e.prompt_input, PlanInput) and "must have dark mode" in e.prompt_input.description]
    assert wished
    assert all("dark mode" in " ".join(FEATURES["plan"].prose(e.output)) for e in wished)
