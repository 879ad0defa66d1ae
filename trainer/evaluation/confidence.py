"""Owns what a confidence is worth: the calibration fitted, the reliability measured, and the line under which an answer goes on to the next provider.

Fitted on the validation split, checked on the gold set. The service applies what comes out of here (`inference/confidence.py`);
it is stored in the model's manifest (`calibration`, by feature) and with its registration (`min_confidence`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from scipy import optimize, stats

from shared_schemas.calibration import IDENTITY, Calibration, Identity, Isotonic, Temperature
from shared_schemas.closed import Closed
from shared_schemas.features.risk import LEVELS, RiskOutput
from trainer.data.row import Row
from trainer.evaluation.answers import Answer
from trainer.evaluation.scores import is_wrong
from trainer.evaluation.statistics import Figure, figure, greatest_share

MOST_WRONG, SURE = 0.02, 0.95
"""The promise: of the answers that reach the line, at most this share is wrong, with that confidence."""
LEAST = math.ceil(math.log(1 - SURE) / math.log(1 - MOST_WRONG))
"""Answers, all of them right, from which on the promise can be made: 149."""
BINS, FOLDS = 10, 5
BETTER = 1e-3
"""A Brier score that is better by less is no reason for a calibration with more parameters."""
MOST_POINTS = 200


@dataclass(frozen=True)
class Case:
    """An accepted answer as the service weighs it: the probabilities it chose among (one, where it is not a choice), and whether it was right."""

    distribution: tuple[float, ...]
    chosen: int
    right: bool

    @property
    def raw(self) -> float:
        return self.distribution[self.chosen]


class Bin(Closed):
    """Answers of like confidence: `confidence` is their mean, `right` the share that was right."""

    confidence: float
    right: Figure


class Reliability(Closed):
    """`ece`: expected calibration error over ten bins of equal width (Naeini et al. 2015), the mean gap weighted by n."""

    n: int
    ece: float | None
    bins: list[Bin]


class Line(Closed):
    """`min_confidence` is null where nothing can be promised; `why` says what was found, or what is missing.

    `reached` and `wrong` count the validation answers from the line on, `gold_*` those of the gold set; `gold_at_most` is the
    share of wrong ones there that the true one does not exceed, with 95 % confidence.
    """

    min_confidence: int | None
    why: str
    reached: int
    wrong: int
    gold_reached: int
    gold_wrong: int
    gold_at_most: float | None


class Confidence(Closed):
    """What a model's confidence in its answers to one feature is worth, before and after calibration, on the gold set."""

    feature: str
    model: str
    validation: int
    calibration: Calibration
    line: Line
    before: Reliability
    after: Reliability
    fitted_on: Reliability


def fit_confidence(feature: str, model: str, *, validation: Sequence[tuple[Row, Answer]], gold: Sequence[tuple[Row, Answer]]) -> Confidence:
    """Fit calibration and line on the validation split's answers, and check them on the gold set's.

    Answers that were refused or not weighed are left out: no threshold ever sees them.
    """
    fitting, checking = list(_cases(validation)), list(_cases(gold))
    calibration = fit_calibration(fitting)
    return Confidence(
        feature=feature,
        model=model,
        validation=len(fitting),
        calibration=calibration,
        line=find_line(fitting, checking, calibration),
        before=reliability(checking, IDENTITY),
        after=reliability(checking, calibration),
        fitted_on=reliability(fitting, calibration),
    )


def percent(case: Case, calibration: Calibration) -> int:
    """The confidence, 0 to 100, that the service reports of such an answer."""
    return round(100 * min(1.0, max(0.0, _calibrated(case, calibration))))


def fit_calibration(cases: Sequence[Case]) -> Calibration:
    """The simplest of identity, temperature and isotonic whose Brier score in five-fold cross-validation is best."""
    kinds: list[Callable[[Sequence[Case]], Calibration]] = [lambda _: IDENTITY, fit_temperature]
    if len({case.raw for case in cases}) >= 2 * FOLDS:
        kinds.append(fit_isotonic)
    if len(cases) < 2 * FOLDS:
        return IDENTITY
    best, fit = math.inf, kinds[0]
    for one in kinds:
        score = _cross_validated(cases, one)
        if score < best - BETTER:
            best, fit = score, one
    return fit(cases)


def fit_temperature(cases: Sequence[Case]) -> Temperature:
    """The temperature under which right answers are likeliest, wrong ones least likely."""
    targets = _targets(cases)

    def loss(log_temperature: float) -> float:
        calibration = Temperature(kind="temperature", temperature=math.exp(log_temperature))
        ps = np.clip([_calibrated(case, calibration) for case in cases], 1e-9, 1 - 1e-9)
        return float(-(targets * np.log(ps) + (1 - targets) * np.log(1 - ps)).sum())

    found = optimize.minimize_scalar(loss, bounds=(math.log(0.02), math.log(50)), method="bounded")
    return Temperature(kind="temperature", temperature=round(math.exp(float(found.x)), 4))


def fit_isotonic(cases: Sequence[Case]) -> Identity | Isotonic:
    """The never falling curve that is nearest (pool adjacent violators; for calibration: Zadrozny, Elkan 2002); identity where there is one raw figure only."""
    ordered = sorted(zip((case.raw for case in cases), _targets(cases), strict=True))
    groups = [(raw, [target for _, target in some]) for raw, some in groupby(ordered, key=lambda one: one[0])]
    if len(groups) < 2:
        return IDENTITY
    curve = optimize.isotonic_regression([np.mean(targets) for _, targets in groups], weights=[len(targets) for _, targets in groups]).x
    points = [(raw, float(y)) for (raw, _), y in zip(groups, curve, strict=True)]
    corners = [points[0], *(here for before, here, after in zip(points, points[1:], points[2:], strict=False) if not before[1] == here[1] == after[1]), points[-1]]
    kept = corners if len(corners) <= MOST_POINTS else [corners[round(i * (len(corners) - 1) / (MOST_POINTS - 1))] for i in range(MOST_POINTS)]
    # What was pooled is equal but for rounding: a curve that the service takes never falls.
    ys = np.maximum.accumulate([round(y, 6) for _, y in kept])
    return Isotonic(kind="isotonic", x=[x for x, _ in kept], y=[float(y) for y in ys])


def find_line(fitting: Sequence[Case], checking: Sequence[Case], calibration: Calibration) -> Line:
    """The lowest confidence for which the promise holds: at most 2 % of what reaches it is wrong, with 95 % confidence.

    Learn then test (Angelopoulos et al. 2021, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control"),
    which is stricter than conformal risk control (Angelopoulos et al. 2022): that bounds the expected share of answers that are
    both given and wrong, this the share of wrong ones among those given, with high probability. The surest answers are tested
    first (half of them, but at least `LEAST`), then ever more, by a binomial test against 2 %; the first failure ends it, so
    that all tests together err in 5 % of cases at most. The order is the raw figures', so fitting the calibration on the same
    answers changes nothing; a line that would let through another set than one that was tested is passed over.
    """
    passed, failure = _passing_sets(fitting)
    found = next(_lines_that_let_through(fitting, calibration, passed), None)
    if found is None:
        why = failure or "no whole confidence tells the answers that were tested from the rest"
        return Line(min_confidence=None, why=why, reached=0, wrong=0, gold_reached=0, gold_wrong=0, gold_at_most=None)
    reached, seen = ([case for case in cases if percent(case, calibration) >= found] for cases in (fitting, checking))
    wrong, gold_wrong = (sum(not case.right for case in cases) for cases in (reached, seen))
    why = f"of {len(reached)} validation answers from {found} on {wrong} are wrong: at most {100 * MOST_WRONG:.0f} % of such answers are, with {100 * SURE:.0f} % confidence"
    is_broken = bool(seen) and stats.binomtest(gold_wrong, len(seen), MOST_WRONG, alternative="greater").pvalue < 1 - SURE
    if is_broken:
        why += f"; but of {len(seen)} gold answers {gold_wrong} are: the gold set is another kind of work than the validation split, so nothing is promised"
    return Line(
        min_confidence=None if is_broken else found,
        why=why,
        reached=len(reached),
        wrong=wrong,
        gold_reached=len(seen),
        gold_wrong=gold_wrong,
        gold_at_most=round(greatest_share(gold_wrong, len(seen), confidence=SURE), 4) if seen else None,
    )


def reliability(cases: Sequence[Case], calibration: Calibration) -> Reliability:
    """How far confidences are from the share that is right, in ten bins of equal width."""
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for case in cases:
        confidence = percent(case, calibration) / 100
        bins[min(BINS - 1, int(confidence * BINS))].append((confidence, float(case.right)))
    told = [Bin(confidence=round(float(np.mean([c for c, _ in some])), 4), right=right) for some in bins if (right := figure([hit for _, hit in some]))]
    ece = round(sum(one.right.n * abs(one.confidence - one.right.mean) for one in told) / len(cases), 4) if cases else None
    return Reliability(n=len(cases), ece=ece, bins=told)


def _cases(pairs: Sequence[tuple[Row, Answer]]) -> Iterator[Case]:
    for row, answer in pairs:
        if answer.output is None or answer.raw.get("measured") == 0:
            continue
        right = not is_wrong(row, answer)
        if isinstance(answer.output, RiskOutput) and "p_low" in answer.raw:
            yield Case(tuple(answer.raw[f"p_{level}"] for level in LEVELS), LEVELS.index(answer.output.risk_level), right)
        elif "p_step_mean" in answer.raw:
            yield Case((answer.raw["p_step_mean"],), 0, right)


def _calibrated(case: Case, calibration: Calibration) -> float:
    return calibration.apply(case.raw) if len(case.distribution) == 1 else calibration.apply_to_choice(case.distribution, case.chosen)


def _targets(cases: Sequence[Case]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Right and wrong as figures that no finite sample makes 1 or 0 (Platt 1999)."""
    right = sum(case.right for case in cases)
    yes, no = (right + 1) / (right + 2), 1 / (len(cases) - right + 2)
    return np.array([yes if case.right else no for case in cases])


def _cross_validated(cases: Sequence[Case], fit: Callable[[Sequence[Case]], Calibration]) -> float:
    errors = []
    for fold in range(FOLDS):
        calibration = fit([case for i, case in enumerate(cases) if i % FOLDS != fold])
        errors += [(_calibrated(case, calibration) - case.right) ** 2 for i, case in enumerate(cases) if i % FOLDS == fold]
    return float(np.mean(errors))


def _passing_sets(cases: Sequence[Case]) -> tuple[set[int], str]:
    """The sizes of the sets of surest answers that pass, and why the first one does not (empty when some do)."""
    if len(cases) < LEAST:
        return (
            set(),
            f"too few: {len(cases)} validation answers were accepted and weighed, and even if none of them is wrong {LEAST} are needed to promise at most {100 * MOST_WRONG:.0f} % wrong with {100 * SURE:.0f} % confidence",
        )
    first = max(LEAST, math.ceil(len(cases) / 2))
    ordered = sorted(cases, key=lambda case: -case.raw)
    ends = [i + 1 for i, (here, after) in enumerate(pairwise(ordered)) if here.raw != after.raw] + [len(ordered)]
    passed: set[int] = set()
    for size in ends:
        if size < first:
            continue
        wrong = sum(not case.right for case in ordered[:size])
        if stats.binom.cdf(wrong, size, MOST_WRONG) > 1 - SURE:
            return passed, "" if passed else f"of the {size} surest validation answers {wrong} are wrong: at most {100 * MOST_WRONG:.0f} % cannot be promised"
        passed.add(size)
    return passed, ""


def _lines_that_let_through(cases: Sequence[Case], calibration: Calibration, sizes: set[int]) -> Iterator[int]:
    """Confidences, the lowest first, that let through as many of the surest answers as one of the sizes says, and no others."""
    weighed = [(percent(case, calibration), case.raw) for case in cases]
    for line in sorted({confidence for confidence, _ in weighed}):
        through = [raw for confidence, raw in weighed if confidence >= line]
        rest = [raw for confidence, raw in weighed if confidence < line]
        if len(through) in sizes and min(through) > max(rest, default=-1.0):
            yield line
