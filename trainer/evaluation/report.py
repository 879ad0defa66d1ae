"""Owns the evaluation report: one HTML file with the verdict first, then what it rests on. It asks nothing of a network and runs nothing.

Knows nothing of how figures come about. It quotes inputs and answers: it is for its owner's eyes, and is not written into the project.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from shared_schemas.features.plan import PlanInput, PlanOutput
from shared_schemas.features.risk import RiskInput, RiskOutput
from trainer.data.house_style import PHASE_NAMES
from trainer.data.row import Row, written_whole
from trainer.evaluation.answers import Answer
from trainer.evaluation.confidence import Reliability
from trainer.evaluation.evaluation import Comparison, Evaluation, FeatureVerdict, ModelResult
from trainer.evaluation.scores import METRICS, WRONG_TITLES
from trainer.evaluation.slices import SLICES

EXAMPLES = 3
"""Of each kind: the best, the worst, and those that changed most."""
SURE = 0.05
NAMES: Mapping[str, str] = {
    "valid": "valid",
    "accepted": "accepted",
    "first_try": "accepted at first attempt",
    "level_right": "level right",
    "macro_f1": "macro-F1 of levels",
    "phases_agree": "phases agree",
    "steps_agree": "number of steps agrees",
    "hours_agree": "hours agree",
    "rouge_l": "ROUGE-L, all texts",
    "rouge_reasons": "ROUGE-L, reasons",
    "rouge_actions": "ROUGE-L, actions",
    "rouge_titles": "ROUGE-L, step titles",
    "house_voice": "house voice",
    "no_jargon": "no jargon",
}
MEANINGS = {**METRICS, "macro_f1": "the mean over levels of the harmonic mean of precision and recall"}


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Write the page; it is there whole or not at all."""
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        files("trainer.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    page = template.render(created_at=evaluation.created_at[:16].replace("T", " "), features=[collect(verdict) for verdict in evaluation.features.values()], slices_mean=SLICES)
    with written_whole(out) as file:
        file.write(page.encode("utf-8", "replace").decode())


def collect(verdict: FeatureVerdict) -> dict[str, Any]:
    """What the template shows of one feature."""
    metrics = [name for name in NAMES if name in verdict.models[0].metrics]
    return {
        "name": verdict.feature,
        "n": verdict.n,
        "gold": verdict.gold_sha256[:12],
        "made_up": verdict.made_up,
        "origins": ", ".join(f"{count:,} {origin}" for origin, count in verdict.origins.items()),
        "verdict": list(_verdict(verdict)),
        "models": verdict.models,
        "metrics": [{"name": NAMES[name], "meaning": MEANINGS[name], "figures": [model.metrics.get(name) for model in verdict.models]} for name in metrics],
        "comparisons": [_against(verdict, other) for other in verdict.models[1:]],
        "confidence": _confidence(verdict),
        "slices": _slices(verdict),
        "sliced": [NAMES[name] for name in _sliced(verdict)],
        "variety": [("gold set's own answers", verdict.gold_diversity), *((model.name, model.diversity) for model in verdict.models)],
        "slowest": max((model.latency.p95_ms or 0 for model in verdict.models), default=0) or 1,
        "examples": _examples(verdict),
    }


def _verdict(verdict: FeatureVerdict) -> Iterator[dict[str, str]]:
    """The sentences that a reader needs first, each with its tone."""
    first = verdict.models[0]
    told = ("accepted", "level_right" if verdict.feature == "risk" else "phases_agree", "rouge_l")
    yield {"tone": "", "text": f"{first.name}: " + ", ".join(f"{NAMES[name]} {_interval(first.metrics[name])}" for name in told) + f" (n = {first.n})."}
    for other in verdict.models[1:]:
        mine = [one for one in verdict.comparisons if one.theirs == other.name]
        better = [one for one in mine if one.p_holm < SURE and one.difference.mean > 0]
        worse = [one for one in mine if one.p_holm < SURE and one.difference.mean < 0]
        unsure = len(mine) - len(better) - len(worse)
        said = [f"{word} in {', '.join(_differs(one) for one in some)}" for word, some in (("better", better), ("worse", worse)) if some]
        rest = f"{unsure} of {len(mine)} metrics do not differ beyond chance" if said else f"no metric of {len(mine)} differs beyond chance"
        tone = "wrong" if worse else "ok" if better else ""
        yield {"tone": tone, "text": f"Against {other.name}: {'; '.join([*said, rest])}."}
    has_line = verdict.confidence is not None and verdict.confidence.line.min_confidence is not None
    yield {"tone": "ok" if has_line else "", "text": f"{verdict.line_said}."}


def _differs(one: Comparison) -> str:
    return f"{NAMES[one.metric]} ({one.difference.mean:+.2f})"


def _interval(figure: Any) -> str:
    return f"{figure.mean:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def _against(verdict: FeatureVerdict, other: ModelResult) -> dict[str, Any]:
    mine = [one for one in verdict.comparisons if one.theirs == other.name]
    widest = max((max(abs(one.difference.low), abs(one.difference.high)) for one in mine), default=1.0) or 1.0
    return {"ours": verdict.models[0].name, "theirs": other.name, "lines": [{"name": NAMES[one.metric], "one": one, "sure": one.p_holm < SURE} for one in mine], "widest": min(1.0, max(widest, 0.05))}


def _confidence(verdict: FeatureVerdict) -> dict[str, Any] | None:
    found = verdict.confidence
    if found is None:
        return None
    what = "its level is not the reference's" if verdict.feature == "risk" else f"its phases are not the reference's, or its titles share less than {WRONG_TITLES} with the reference's (ROUGE-L)"
    calibration = {"identity": "left as it is", "temperature": "temperature", "isotonic": "isotonic curve"}[found.calibration.kind]
    if found.calibration.kind == "temperature":
        calibration = f"temperature {found.calibration.temperature:g}"
    diagrams = [{"title": title, "reliability": some, "points": _points(some)} for title, some in (("before", found.before), ("after", found.after))]
    return {"model": found.model, "validation": found.validation, "calibration": calibration, "wrong_means": what, "line": found.line, "diagrams": diagrams}


def _points(reliability: Reliability) -> list[dict[str, Any]]:
    most = max((one.right.n for one in reliability.bins), default=1)
    return [{"x": one.confidence, "right": one.right, "size": 3 + 5 * (one.right.n / most) ** 0.5} for one in reliability.bins]


def _sliced(verdict: FeatureVerdict) -> list[str]:
    found = {name for model in verdict.models for figures in model.slices.values() for name in figures}
    return [name for name in NAMES if name in found]


def _slices(verdict: FeatureVerdict) -> list[dict[str, Any]]:
    """Each slice with the figures of each model, and all examples together as the last."""
    names = [name for name in SLICES if any(name in model.slices for model in verdict.models)]
    tables = {name: [model.slices.get(name, {}) for model in verdict.models] for name in names} | {"all": [model.metrics for model in verdict.models]}
    counts = {name: sum(name in slices for slices in verdict.slices.values()) for name in names} | {"all": verdict.n}
    return [
        {"name": name, "meaning": SLICES.get(name, ""), "n": counts[name], "figures": [[figures.get(metric) for figures in models] for metric in _sliced(verdict)]} for name, models in tables.items()
    ]


def _examples(verdict: FeatureVerdict) -> dict[str, list[dict[str, Any]]]:
    """The best and the worst of the first model, and where it differs most from the second."""
    first = verdict.models[0]
    shown = sorted((row for row in verdict.rows if row.id in first.answers), key=lambda row: (_merit(first, row), row.id))
    kinds = {"best": shown[-EXAMPLES:][::-1], "worst": shown[:EXAMPLES]}
    if len(verdict.models) > 1:
        second = verdict.models[1]
        both = [row for row in shown if row.id in second.answers]
        kinds[f"most changed against {second.name}"] = sorted(both, key=lambda row: (-abs(_merit(first, row) - _merit(second, row)), row.id))[:EXAMPLES]
    return {kind: [_example(verdict, row) for row in rows] for kind, rows in kinds.items()}


def _merit(model: ModelResult, row: Row) -> float:
    """What an example is ranked by: whether it was accepted, then whether the judgement is right, then the words."""
    scores = model.answers[row.id].scores
    return scores["accepted"] + scores.get("level_right", scores.get("phases_agree", 0)) + scores["rouge_l"]


def _example(verdict: FeatureVerdict, row: Row) -> dict[str, Any]:
    asked = row.prompt_input
    facts = (
        f"level {asked.level}, suggested {asked.suggested}, milestone {asked.milestone.replace('_', ' ')}, done {asked.done_percent} %, time gone {asked.gone_percent} %"
        if isinstance(asked, RiskInput)
        else asked.description
        if isinstance(asked, PlanInput)
        else ""
    )
    said = [{"who": "reference", "note": "", "good": True, "head": _head(row.output), "lines": _lines(row.output)}]
    for model in verdict.models:
        if row.id in model.answers:
            one = model.answers[row.id]
            said.append({"who": model.name, "note": _note(one.answer, one.scores), "good": one.answer.output is not None, "head": _head(one.answer.output), "lines": _lines(one.answer.output)})
    return {"title": asked.title, "facts": facts, "slices": verdict.slices[row.id], "said": said}


def _note(answer: Answer, scores: Mapping[str, float]) -> str:
    if answer.output is None:
        return f"{(answer.code or 'refused').replace('_', ' ')}: {answer.fault}"
    parts = [f"ROUGE-L {scores['rouge_l']:.2f}"]
    parts += [f"confidence {answer.confidence}"] if answer.confidence is not None else []
    parts += [f"attempt {answer.attempts}"] if answer.attempts and answer.attempts > 1 else []
    return ", ".join(parts)


def _head(output: Any) -> str:
    return output.risk_level if isinstance(output, RiskOutput) else ""


def _lines(output: Any) -> Sequence[str]:
    match output:
        case RiskOutput():
            return [*output.reasons, *(f"→ {action}" for action in output.recommended_actions)]
        case PlanOutput():
            return [*(f"{PHASE_NAMES[step.phase].split()[0]}: {step.title} ({step.duration} h, {step.risk})" for step in output.suggested_plan), *output.overall_risks, *output.assumptions]
        case _:
            return []
