"""Owns how one answer is scored against its reference. Knows nothing of models, means or tests.

Every score is from 0 to 1, more is better, and an answer that was refused scores 0 in all of them.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from shared_schemas import wording
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import RiskOutput
from trainer.data.house_style import speaks_to_the_person, titles_that_fit
from trainer.data.row import Row
from trainer.evaluation.answers import Answer

METRICS: Mapping[str, str] = {
    "valid": "the schema's shape, complete",
    "accepted": "valid, and not refused as nonsense: what the service would give to the app",
    "first_try": "accepted at the first, greedy attempt",
    "level_right": "the risk level is the reference's",
    "phases_agree": "phases used: shared over all (Jaccard)",
    "steps_agree": "number of steps: the smaller over the larger",
    "hours_agree": "mean hours of a step: 1 less half their difference",
    "rouge_l": "ROUGE-L of all texts together",
    "rouge_reasons": "ROUGE-L of the reasons",
    "rouge_actions": "ROUGE-L of the recommended actions",
    "rouge_titles": "ROUGE-L of the step titles",
    "house_voice": "risk: speaks to the person, not about them; plan: the share of titles that begin as a step of their phase does",
    "no_jargon": "without the words of the metrics layer",
}
_COMMON = ("valid", "accepted", "first_try")
_OF: Mapping[str, tuple[str, ...]] = {
    "risk": (*_COMMON, "level_right", "rouge_l", "rouge_reasons", "rouge_actions", "house_voice", "no_jargon"),
    "plan": (*_COMMON, "phases_agree", "steps_agree", "hours_agree", "rouge_l", "rouge_titles", "house_voice", "no_jargon"),
}
JUDGEMENT: Mapping[str, str] = {"risk": "level_right", "plan": "phases_agree"}
"""By feature, the score of what an answer decides, whatever its words."""
WRONG_TITLES = 0.3
"""A plan whose titles share less than this with the reference's (ROUGE-L) is another plan."""


def metrics_of(feature: str) -> tuple[str, ...]:
    """The names of the scores that an answer to a feature has, in the order in which they are shown."""
    return _OF[feature]


def scores(row: Row, answer: Answer) -> dict[str, float]:
    """The scores of one answer; those that nobody measured (a recorded answer's attempts) are left out."""
    found = dict.fromkeys(_OF[row.feature], 0.0)
    output = answer.output
    found["valid"] = float(output is not None or answer.code == "rejected")
    if output is None:
        return found
    feature = FEATURES[row.feature]
    said, wanted = feature.prose(output), feature.prose(row.output)
    found |= {"accepted": 1.0, "first_try": float(answer.attempts == 1), **feature.score(output, row.output)}
    found |= {"rouge_l": rouge_l(wanted, said), "no_jargon": float(not any(wording.jargon(said)))}
    match output, row.output:
        case RiskOutput(), RiskOutput():
            found["rouge_reasons"] = rouge_l(row.output.reasons, output.reasons)
            found["rouge_actions"] = rouge_l(row.output.recommended_actions, output.recommended_actions)
            found["house_voice"] = float(speaks_to_the_person(output))
        case PlanOutput(), PlanOutput():
            found["rouge_titles"] = rouge_l(_titles(row.output), _titles(output))
            found["house_voice"] = titles_that_fit(output)
    return {name: round(value, 6) for name, value in found.items()}


def is_wrong(row: Row, answer: Answer) -> bool:
    """Whether an accepted answer should not have been given: what the acceptance threshold promises to be rare.

    Risk: its level is not the reference's. Plan: its step titles share less than `WRONG_TITLES` (ROUGE-L) with the reference's,
    or it does not use the same phases.
    """
    match answer.output, row.output:
        case RiskOutput(), RiskOutput():
            return answer.output.risk_level != row.output.risk_level
        case PlanOutput(), PlanOutput():
            mine, theirs = ({step.phase for step in plan.suggested_plan} for plan in (answer.output, row.output))
            return mine != theirs or rouge_l(_titles(row.output), _titles(answer.output)) < WRONG_TITLES
        case _:
            raise TypeError("an answer that was refused is not accepted, so it is neither right nor wrong")


def step_count_error(row: Row, answer: Answer) -> int | None:
    """By how many steps a plan differs from the reference's; none for what is no plan."""
    match answer.output, row.output:
        case PlanOutput(), PlanOutput():
            return abs(len(answer.output.suggested_plan) - len(row.output.suggested_plan))
        case _:
            return None


def rouge_l(wanted: Sequence[str], said: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words (Lin 2004), texts joined line by line."""
    return float(_scorer().score("\n".join(wanted), "\n".join(said))["rougeL"].fmeasure)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # it takes a second to load

    return RougeScorer(["rougeL"], use_stemmer=False)


def _titles(plan: PlanOutput) -> list[str]:
    return [step.title for step in plan.suggested_plan]
