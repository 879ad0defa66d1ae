"""Owns the statistics of a verdict: intervals of means and shares, and tests of paired differences. Knows nothing of models.

Everything is drawn with fixed seeds: the same figures give the same verdict.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from shared_schemas.closed import Closed

RESAMPLES, PERMUTATIONS = 4_000, 20_000
"""Of a bootstrap, and of a test that cannot look at all sign changes: p-values under 1 in 10,000 are not told apart."""
SEED = 20261122
_BATCH = 500

Floats = NDArray[np.float64]


class Figure(Closed):
    """A mean with its 95 % interval; `n` is how many values it is the mean of."""

    mean: float
    low: float
    high: float
    n: int


class Difference(Closed):
    """Mean of ours less mean of theirs on the same examples, with a 95 % interval; `p` is two-sided."""

    mean: float
    low: float
    high: float
    n: int
    p: float
    test: str


def figure(values: Sequence[float]) -> Figure | None:
    """The mean with its interval: of zeros and ones Wilson's (1927), else the bootstrap's percentiles (Efron 1979), for one value alone all that a score can be; nothing of nothing."""
    if not values:
        return None
    found = np.asarray(values, dtype=float)
    if is_binary(found):
        low, high = _wilson(int(found.sum()), found.size)
    elif found.size > 1:
        low, high = _bootstrap(found)
    else:
        low, high = 0.0, max(1.0, float(found[0]))
    return Figure(mean=_rounded(found.mean()), low=_rounded(low), high=_rounded(high), n=found.size)


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The difference on the same examples, in their order.

    Of zeros and ones Newcombe's interval and McNemar's exact test (1947), which looks at the pairs that differ; else a bootstrap
    over the pairs, and a permutation test that changes the signs of the differences (in every way where they are few).
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    differences = a - b
    if is_binary(a) and is_binary(b):
        low, high = _newcombe(a, b)
        p, test = mcnemar(int((differences > 0).sum()), int((differences < 0).sum())), "McNemar, exact"
        return Difference(mean=_rounded(differences.mean()), low=_rounded(low), high=_rounded(high), n=differences.size, p=p, test=test)
    low, high = _bootstrap(differences) if differences.size > 1 else (-1.0, 1.0)
    if differences.size < 2 or not differences.any():
        p, test = 1.0, "permutation"
    else:
        found = stats.permutation_test((differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=PERMUTATIONS, batch=_BATCH, rng=np.random.default_rng(SEED))
        p, test = float(found.pvalue), "permutation"
    return Difference(mean=_rounded(differences.mean()), low=_rounded(low), high=_rounded(high), n=differences.size, p=p, test=test)


def resampled(statistic: Callable[[NDArray[np.intp]], float], n: int) -> Figure:
    """A statistic of the whole (not a mean of the parts) with its bootstrap interval. `statistic` is given places among `n`."""
    rng = np.random.default_rng(SEED)
    drawn = [statistic(rng.integers(0, n, n)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Figure(mean=_rounded(statistic(np.arange(n))), low=_rounded(low), high=_rounded(high), n=n)


def paired_resampled(ours: Callable[[NDArray[np.intp]], float], swapped: Callable[[NDArray[np.bool_]], float], n: int) -> Difference:
    """The same for the difference of two: `ours` gives it for places, `swapped` for pairs of which some have changed sides."""
    rng = np.random.default_rng(SEED)
    whole = ours(np.arange(n))
    interval = np.quantile([ours(rng.integers(0, n, n)) for _ in range(RESAMPLES)], (0.025, 0.975))
    as_far = sum(abs(swapped(rng.random(n) < 0.5)) >= abs(whole) - 1e-12 for _ in range(RESAMPLES))
    return Difference(mean=_rounded(whole), low=_rounded(interval[0]), high=_rounded(interval[1]), n=n, p=(as_far + 1) / (RESAMPLES + 1), test="permutation")


def mcnemar(only_ours: int, only_theirs: int) -> float:
    """Two-sided p of pairs of which only one side succeeded: a binomial test against a half."""
    return float(stats.binomtest(only_ours, only_ours + only_theirs).pvalue) if only_ours + only_theirs else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values as they are when all of them are looked at together (Holm 1979), in their order."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, highest = [0.0] * len(ps), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[i]))
        adjusted[i] = highest
    return adjusted


def greatest_share(hits: int, n: int, *, confidence: float = 0.95) -> float:
    """The share that the true one does not exceed, with that confidence (Clopper, Pearson 1934, one-sided); 1 of nothing."""
    return float(stats.binomtest(hits, n, alternative="less").proportion_ci(confidence, method="exact").high) if n else 1.0


def is_binary(values: Floats) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _wilson(hits: int, n: int) -> tuple[float, float]:
    interval = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _newcombe(a: Floats, b: Floats) -> tuple[float, float]:
    """95 % interval of the difference of two shares of the same examples (Newcombe 1998, "Improved confidence intervals for the
    difference between binomial proportions based on paired data", method 10): unlike a bootstrap it is not a point where no pair differs.
    """
    n, first, second = a.size, float(a.mean()), float(b.mean())
    (low_a, high_a), (low_b, high_b) = _wilson(int(a.sum()), n), _wilson(int(b.sum()), n)
    both, neither = float((a * b).sum()), float(((1 - a) * (1 - b)).sum())
    agree = both * neither - float((a * (1 - b)).sum()) * float(((1 - a) * b).sum())
    spread = np.sqrt(a.sum() * (n - a.sum()) * b.sum() * (n - b.sum()))
    likeness = (max(agree - n / 2, 0.0) if agree > 0 else agree) / spread if spread else 0.0
    down, up = first - low_a, high_a - first
    below, above = second - low_b, high_b - second
    low = first - second - np.sqrt(max(0.0, down**2 - 2 * likeness * down * above + above**2))
    high = first - second + np.sqrt(max(0.0, up**2 - 2 * likeness * up * below + below**2))
    return max(-1.0, float(low)), min(1.0, float(high))


def _bootstrap(values: Floats) -> tuple[float, float]:
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.bootstrap((values,), np.mean, n_resamples=RESAMPLES, batch=_BATCH, method="percentile", rng=np.random.default_rng(SEED)).confidence_interval
    return float(found.low), float(found.high)


def _rounded(value: float) -> float:
    return round(float(value), 4)
