"""Owns how TalentOps sounds: what belongs into each lifecycle phase, and how the coach speaks. It measures; it rejects nothing."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from shared_schemas import wording
from shared_schemas.features.plan import PHASES, Phase, PlanOutput
from shared_schemas.features.risk import RiskOutput
from trainer.data.coverage import voice_of

PHASE_NAMES: Mapping[Phase, str] = {
    "requirement_refiner": "Requirement Refiner",
    "design_guidance": "Design Guidance",
    "build_guidance": "Build Guidance",
    "acceptance_criteria": "Acceptance Criteria",
    "deployment": "Deployment",
}
"""The phases as the app's people call them."""

_FIRST_WORDS: Mapping[Phase, str] = {
    "requirement_refiner": "agree|analy[sz]e|ask|clarify|collect|confirm|count|define|discuss|document|find out|gather|identify|interview|list|note|read|reproduce|research|review|set|specify|understand|write down",
    "design_guidance": "agree|choose|create|decide|define|design|draft|draw|find|list|map|model|outline|pick|plan|prepare|prototype|select|sketch|structure|trace",
    "build_guidance": "add|adjust|apply|book|build|code|complete|configure|connect|correct|create|define|design|develop|do|finish|fix|handle|implement|improve|index|integrate|invite"
    "|make|migrate|move|practi[sc]e|prepare|put together|refactor|set up|solve|start|store|study|take|tidy|try|update|use|work|write",
    "acceptance_criteria": "ask|check|compare|confirm|demonstrate|explain|get|have|let|measure|review|run|score|take|test|try|validate|verify|write",
    "deployment": "announce|deploy|hand|launch|merge|migrate|monitor|move|present|publish|put|release|roll|run|set|share|ship|show|switch|train",
}
_BEGINS = {phase: re.compile(rf"(?:{words})\b", re.I) for phase, words in _FIRST_WORDS.items()}
_TO_THE_PERSON = re.compile(r"\b(you|your|yourself)\b", re.I)
_ABOUT_THE_PERSON = re.compile(r"\b(the employee|the user|the assignee|he|she|they)\b", re.I)


def plan_style(plans: Iterable[PlanOutput]) -> dict[str, Any]:
    """For each phase the share of plans that use it and the share of its step titles that begin as such a step does."""
    used, steps, fitting, count = Counter[str](), Counter[str](), Counter[str](), 0
    for plan in plans:
        count += 1
        used.update({step.phase for step in plan.suggested_plan})
        for step in plan.suggested_plan:
            steps[step.phase] += 1
            fitting[step.phase] += bool(_BEGINS[step.phase].match(step.title))
    return {PHASE_NAMES[phase]: {"used": _share(used[phase], count), "titles_fit": _share(fitting[phase], steps[phase])} for phase in PHASES}


def coach_style(answers: Iterable[RiskOutput]) -> dict[str, Any]:
    """Shares of answers that speak to the person, that speak about the person, that use jargon; and each voice's share."""
    counts, voices, count = Counter[str](), Counter[str](), 0
    for answer in answers:
        count += 1
        said = [*answer.reasons, *answer.recommended_actions]
        text = " ".join(said)
        counts["to_the_person"] += _to_the_person(answer)
        counts["about_the_person"] += bool(_ABOUT_THE_PERSON.search(text))
        counts["jargon"] += any(wording.jargon(said))
        voices[voice_of(answer)] += 1
    shares = {name: _share(counts[name], count) for name in ("to_the_person", "about_the_person", "jargon")}
    return {**shares, "voices": {voice: _share(voices[voice], count) for voice in sorted(voices)}}


def speaks_to_the_person(answer: RiskOutput) -> bool:
    """Whether one answer speaks to the person and never about them."""
    return _to_the_person(answer) and not _ABOUT_THE_PERSON.search(" ".join([*answer.reasons, *answer.recommended_actions]))


def titles_that_fit(plan: PlanOutput) -> float:
    """The share of one plan's step titles that begin as a step of their phase does."""
    return _share(sum(bool(_BEGINS[step.phase].match(step.title)) for step in plan.suggested_plan), len(plan.suggested_plan))


def _to_the_person(answer: RiskOutput) -> bool:
    """With `you`, or in the imperative: an action that begins as a step does."""
    text = " ".join([*answer.reasons, *answer.recommended_actions])
    return bool(_TO_THE_PERSON.search(text)) or any(begins.match(action) for begins in _BEGINS.values() for action in answer.recommended_actions)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
