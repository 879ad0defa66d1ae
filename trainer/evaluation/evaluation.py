"""Owns the verdict: every model's figures on the gold set, their differences, and what the first one's confidence is worth.

Knows nothing of where models, rows and results lie. An example that a model was never shown (a recorded one's) is left out of
its figures and of its comparisons; each figure says its n.
"""

import statistics
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_schemas.closed import Closed
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import LEVELS, RiskOutput
from shared_schemas.model_version import ModelVersion
from trainer.data.diversity import diversity
from trainer.data.row import Row
from trainer.errors import CannotJudge
from trainer.evaluation.answers import Answer, Judged, Progress, collect
from trainer.evaluation.confidence import Confidence, fit_confidence
from trainer.evaluation.gold import is_made_up, rows_sha256
from trainer.evaluation.scores import metrics_of, scores, step_count_error
from trainer.evaluation.slices import slices_of
from trainer.evaluation.statistics import Difference, Figure, figure, holm, paired_difference, paired_resampled, resampled

REFUSED = "refused"
LEAST_IN_SLICE = 5
"""Fewer examples say nothing about a kind of work."""
SLICED = ("accepted", "level_right", "phases_agree", "rouge_l")
"""What is told of each slice, where the feature has it."""


class Scored(Closed):
    """One answer with its scores."""

    answer: Answer
    scores: dict[str, float]


class Latency(Closed):
    """Milliseconds that accepted answers took, and their mean tokens; null where none was accepted."""

    n: int
    p50_ms: float | None
    p95_ms: float | None
    input_tokens: float | None
    output_tokens: float | None


class ModelResult(Closed):
    """One model's figures. `confusion`: by the reference's level, how often each was answered (or refused). `diversity`: of what it accepted."""

    name: str
    version: ModelVersion | None
    n: int
    metrics: dict[str, Figure]
    refused: dict[str, int]
    confusion: dict[str, dict[str, int]] | None
    step_count_error: Figure | None
    latency: Latency
    diversity: dict[str, float]
    slices: dict[str, dict[str, Figure]]
    answers: dict[str, Scored]


class Comparison(Closed):
    """`ours` less `theirs`. `p_holm`: the p-value when all tests of the feature are looked at together (Holm 1979)."""

    metric: str
    ours: str
    theirs: str
    difference: Difference
    p_holm: float


class FeatureVerdict(Closed):
    """Everything about one feature. The first model is the one that is judged, the others are what it is held against."""

    feature: str
    gold_sha256: str
    n: int
    origins: dict[str, int]
    made_up: bool
    slices: dict[str, list[str]]
    gold_diversity: dict[str, float]
    models: list[ModelResult]
    comparisons: list[Comparison]
    confidence: Confidence | None
    rows: list[Row]

    @property
    def line_said(self) -> str:
        """The confidence under which an answer goes on to the next provider, or that there is none, and why."""
        if self.confidence is None:
            return "No min_confidence: there are no validation answers to find one by"
        line = self.confidence.line
        return f"{'No min_confidence' if line.min_confidence is None else f'min_confidence {line.min_confidence}'}: {line.why}"

    def summary(self) -> dict[str, Any]:
        """Figures alone: nothing that anybody wrote, so that it may outlive an erasure."""
        return self.model_dump(mode="json", exclude={"rows": True, "slices": True, "models": {"__all__": {"answers"}}})


class Evaluation(Closed):
    id: str
    created_at: str
    features: dict[str, FeatureVerdict]

    def calibrations(self) -> dict[str, Any]:
        """The first model's, by feature, as a manifest and slm_models take them; a feature without validation rows has none."""
        return {name: verdict.confidence.calibration.model_dump(mode="json") for name, verdict in self.features.items() if verdict.confidence}

    def min_confidences(self) -> dict[str, int | None]:
        """The line of each feature; null where nothing can be promised."""
        return {name: verdict.confidence.line.min_confidence if verdict.confidence else None for name, verdict in self.features.items()}

    def summary(self) -> dict[str, Any]:
        return {"id": self.id, "created_at": self.created_at, "features": {name: verdict.summary() for name, verdict in self.features.items()}}


def evaluate_models(
    models: Sequence[Judged],
    gold: Mapping[str, Sequence[Row]],
    *,
    validation: Mapping[str, Sequence[Row]] | None = None,
    folder: Path,
    progress: Progress = lambda _: None,
) -> Evaluation:
    """Judge models on the gold set (rows by feature); the first is compared with each other one.

    With validation rows the first one's confidence is fitted on them. Answers are kept in `folder`: a killed evaluation goes on
    where it was. Raises CannotJudge without models, rows, or answers of one, and what loading a model raises.
    """
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise CannotJudge(f"Cannot judge {', '.join(names) or 'nobody'}: " + ("two models have one name" if models else "no model is named"))
    if not any(gold.values()):
        raise CannotJudge("Cannot judge: the gold set is empty (run python -m trainer data)")
    verdicts = {name: _judged(models, list(rows), list((validation or {}).get(name, ())), folder, progress) for name, rows in gold.items() if rows}
    return Evaluation(id=str(uuid.uuid4()), created_at=datetime.now(UTC).isoformat(timespec="seconds"), features=verdicts)


def _judged(models: Sequence[Judged], rows: list[Row], validation: list[Row], folder: Path, progress: Progress) -> FeatureVerdict:
    rows = sorted({row.id: row for row in rows}.values(), key=lambda row: row.id)
    feature = rows[0].feature
    slices = slices_of(rows)
    tables = [_table(model, rows, collect(model, rows, folder, progress=progress)) for model in models]
    progress(f"evaluate {feature}: figures of {len(tables)} models")
    confidence = None
    if validation:
        progress(f"confidence of {feature}: {len(validation)} validation answers{_minutes(tables[0].answers, len(validation))}")
        answered = {answer.example_id: answer for answer in collect(models[0], validation, folder, progress=progress)}
        pairs = [(row, answered[row.id]) for row in validation if row.id in answered]
        confidence = fit_confidence(feature, models[0].name, validation=pairs, gold=tables[0].pairs)
    return FeatureVerdict(
        feature=feature,
        gold_sha256=rows_sha256(rows),
        n=len(rows),
        origins=dict(sorted(Counter(row.origin for row in rows).items())),
        made_up=is_made_up(rows),
        slices={name: sorted(found) for name, found in slices.items()},
        gold_diversity=_diversity(feature, [row.output for row in rows]),
        models=[table.result(model, slices) for table, model in zip(tables, models, strict=True)],
        comparisons=_compared(tables),
        confidence=confidence,
        rows=rows,
    )


@dataclass(frozen=True)
class _Table:
    """One model's answers to the rows that it was shown, in the rows' order, with their scores."""

    name: str
    rows: Sequence[Row]
    answers: Sequence[Answer]
    scores: Sequence[dict[str, float]]

    @property
    def pairs(self) -> list[tuple[Row, Answer]]:
        return list(zip(self.rows, self.answers, strict=True))

    @cached_property
    def place(self) -> dict[str, int]:
        return {row.id: i for i, row in enumerate(self.rows)}

    def result(self, model: Judged, slices: Mapping[str, frozenset[str]]) -> ModelResult:
        feature = self.rows[0].feature
        accepted = [answer for answer in self.answers if answer.output is not None]
        metrics = {name: found for name in metrics_of(feature) if (found := figure([one[name] for one in self.scores]))}
        if feature == "risk":
            metrics["macro_f1"] = resampled(lambda places: macro_f1(*self.levels(places)), len(self.rows))
        errors = [float(error) for row, answer in self.pairs if (error := step_count_error(row, answer)) is not None]
        return ModelResult(
            name=self.name,
            version=model.version,
            n=len(self.rows),
            metrics=metrics,
            refused=dict(Counter(answer.code or REFUSED for answer in self.answers if answer.output is None)),
            confusion=self._confusion() if feature == "risk" else None,
            step_count_error=figure(errors),
            latency=_latency(accepted),
            diversity=_diversity(feature, [answer.output for answer in accepted]),
            slices=self._slices(slices),
            answers={row.id: Scored(answer=answer, scores=found) for (row, answer), found in zip(self.pairs, self.scores, strict=True)},
        )

    def levels(self, places: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The references' levels and the answers', as places in LEVELS; one that was refused is one further."""
        return self._levels[0][places], self._levels[1][places]

    @cached_property
    def _levels(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        wanted = [LEVELS.index(row.output.risk_level) for row in self.rows if isinstance(row.output, RiskOutput)]
        said = [LEVELS.index(answer.output.risk_level) if isinstance(answer.output, RiskOutput) else len(LEVELS) for answer in self.answers]
        return np.array(wanted, dtype=np.intp), np.array(said, dtype=np.intp)

    def _confusion(self) -> dict[str, dict[str, int]]:
        wanted, said = self._levels
        answered = (*LEVELS, REFUSED)
        return {level: {name: int(((wanted == i) & (said == j)).sum()) for j, name in enumerate(answered)} for i, level in enumerate(LEVELS)}

    def _slices(self, slices: Mapping[str, frozenset[str]]) -> dict[str, dict[str, Figure]]:
        counts = Counter(name for row in self.rows for name in slices[row.id])
        names = sorted(name for name, count in counts.items() if count >= LEAST_IN_SLICE)
        found: dict[str, dict[str, Figure]] = {}
        for name in names:
            inside = [one for row, one in zip(self.rows, self.scores, strict=True) if name in slices[row.id]]
            found[name] = {metric: told for metric in SLICED if metric in inside[0] and (told := figure([one[metric] for one in inside]))}
        return found


def _table(model: Judged, rows: Sequence[Row], answers: Sequence[Answer]) -> _Table:
    said = {answer.example_id: answer for answer in answers}
    shown = [row for row in rows if row.id in said]
    if not shown:
        raise CannotJudge(f"Cannot judge {model.name}: it has answered none of the {len(rows)} gold examples of {rows[0].feature}")
    mine = [said[row.id] for row in shown]
    return _Table(model.name, shown, mine, [scores(row, answer) for row, answer in zip(shown, mine, strict=True)])


def macro_f1(wanted: NDArray[np.intp], said: NDArray[np.intp]) -> float:
    """The mean over levels of the harmonic mean of precision and recall, 2 tp / (2 tp + fp + fn); levels that nobody uses do not count."""
    size = len(LEVELS) + 1
    counts = np.bincount(wanted * size + said, minlength=size * size)[: size * size].reshape(size, size)
    right, used = np.diag(counts)[:-1], (counts.sum(axis=0) + counts.sum(axis=1))[:-1]
    return float((2 * right[used > 0] / used[used > 0]).mean()) if used.any() else 0.0


def _compared(tables: Sequence[_Table]) -> list[Comparison]:
    ours, feature = tables[0], tables[0].rows[0].feature
    found: list[tuple[str, str, Difference]] = []
    for theirs in tables[1:]:
        both = [row.id for row in ours.rows if row.id in theirs.place]
        if not both:
            continue
        mine, other = ([table.place[name] for name in both] for table in (ours, theirs))
        for metric in metrics_of(feature):
            a, b = ([table.scores[i][metric] for i in places] for table, places in ((ours, mine), (theirs, other)))
            found.append((metric, theirs.name, paired_difference(a, b)))
        if feature == "risk":
            found.append(("macro_f1", theirs.name, _f1_difference(ours, np.array(mine), theirs, np.array(other))))
    together = holm([difference.p for _, _, difference in found])
    return [Comparison(metric=metric, ours=ours.name, theirs=name, difference=difference, p_holm=p) for (metric, name, difference), p in zip(found, together, strict=True)]


def _f1_difference(ours: _Table, mine: NDArray[np.intp], theirs: _Table, other: NDArray[np.intp]) -> Difference:
    wanted, a = ours.levels(mine)
    b = theirs.levels(other)[1]

    def difference(places: NDArray[np.intp]) -> float:
        return macro_f1(wanted[places], a[places]) - macro_f1(wanted[places], b[places])

    def swapped(sides: NDArray[np.bool_]) -> float:
        return macro_f1(wanted, np.where(sides, b, a)) - macro_f1(wanted, np.where(sides, a, b))

    return paired_resampled(difference, swapped, len(wanted))


def _latency(accepted: Sequence[Answer]) -> Latency:
    times = [answer.latency_ms for answer in accepted if answer.latency_ms is not None]
    p50, p95 = (round(float(np.quantile(times, share)), 1) if times else None for share in (0.5, 0.95))
    return Latency(n=len(times), p50_ms=p50, p95_ms=p95, input_tokens=_mean([answer.input_tokens for answer in accepted]), output_tokens=_mean([answer.output_tokens for answer in accepted]))


def _minutes(answers: Sequence[Answer], count: int) -> str:
    """How long so many more answers take, by those that are there; nothing where nobody measured those."""
    times = [answer.latency_ms for answer in answers if answer.latency_ms is not None]
    return f", at most about {max(1.0, count * statistics.fmean(times) / 60_000):.0f} min" if times else ""


def _mean(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 1) if known else None


def _diversity(feature: str, outputs: Sequence[Any]) -> dict[str, float]:
    return diversity(["\n".join(FEATURES[feature].prose(output)) for output in outputs])
