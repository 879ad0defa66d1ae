"""The statistics of a verdict agree with published examples and with SciPy, and mean what they say."""

import numpy as np
import pytest
from scipy import stats

from shared_schemas.calibration import IDENTITY, Identity, Isotonic, Temperature
from trainer.evaluation.confidence import LEAST, Case, find_line, fit_calibration, fit_isotonic, fit_temperature, percent, reliability
from trainer.evaluation.evaluation import macro_f1
from trainer.evaluation.statistics import figure, greatest_share, holm, mcnemar, paired_difference, paired_resampled, resampled


def pairs(both: int, ours: int, theirs: int, neither: int) -> tuple[list[float], list[float]]:
    """Zeros and ones of two models on the same examples."""
    return [1.0] * (both + ours) + [0.0] * (theirs + neither), [1.0] * both + [0.0] * ours + [1.0] * theirs + [0.0] * neither


def test_a_share_has_wilsons_interval_and_a_mean_the_bootstraps() -> None:
    share = figure([1.0] * 81 + [0.0] * 182)
    assert share
    assert (share.mean, share.n) == (0.308, 263)
    assert (share.low, share.high) == pytest.approx((0.2553, 0.3662), abs=1e-4), "Newcombe 1998, two-sided intervals, table I"
    values = np.linspace(0, 1, 200) ** 2
    mean = figure(list(values))
    by_theory = stats.t.interval(0.95, values.size - 1, loc=values.mean(), scale=stats.sem(values))
    assert mean
    assert (mean.low, mean.high) == pytest.approx(by_theory, abs=0.004)
    one = figure([0.4])
    assert one
    assert (one.low, one.high) == (0, 1), "one value says nothing of its spread"
    assert figure([]) is None


def test_nothing_refused_is_not_certainty() -> None:
    few = figure([1.0] * 3)
    assert few
    assert (few.mean, few.high) == (1.0, 1.0)
    assert few.low == pytest.approx(0.4385, abs=1e-4)


def test_a_paired_difference_of_shares_is_newcombes_with_mcnemars_test() -> None:
    found = paired_difference(*pairs(36, 12, 2, 0))
    assert (found.mean, found.n, found.test) == (0.2, 50, "McNemar, exact")
    assert (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=1e-4), "Newcombe 1998, paired data, method 10"
    assert found.p == pytest.approx(stats.binomtest(2, 14).pvalue)
    assert mcnemar(12, 2) == pytest.approx(0.012939, abs=1e-6)
    same = paired_difference(*pairs(20, 0, 0, 0))
    assert same.p == 1
    assert same.low < -0.1 < 0.1 < same.high, "twenty equal successes do not prove two models equal"


def test_newcombes_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        hard = rng.random(60)
        a, b = (hard + rng.normal(0, 0.1, 60) < 0.9).astype(float), (hard + rng.normal(0, 0.1, 60) < 0.8).astype(float)
        found = paired_difference(list(a), list(b))
        held += found.low <= 0.0925 <= found.high  # the true difference, by integration
    assert held >= 0.92 * 300


def test_a_paired_difference_of_means_has_a_permutation_test() -> None:
    ours, theirs = [0.5, 0.61, 0.7, 0.8], [0.4, 0.6, 0.9, 0.2]
    assert paired_difference(ours, theirs).p == 10 / 16, "of the 16 ways to change signs, 10 give as much"
    rng = np.random.default_rng(1)
    a = rng.normal(0.5, 0.1, 80)
    b = a - rng.normal(0.02, 0.06, 80)
    found = paired_difference(list(a), list(b))
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.01)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 79, loc=(a - b).mean(), scale=stats.sem(a - b)), abs=0.003)
    assert paired_difference(list(a), list(a)).p == 1
    assert paired_difference([0.4], [0.2]).p == 1, "one example proves nothing"


def test_many_tests_together_are_holms() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert max(holm([0.9, 0.8])) == 1


def test_macro_f1_is_the_mean_over_levels_that_are_used() -> None:
    wanted, said = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 2, 1, 0, 0, 1])
    assert macro_f1(wanted, said) == pytest.approx(0.26667, abs=1e-5), "the example of scikit-learn's f1_score"
    assert macro_f1(np.array([0, 0, 1]), np.array([0, 3, 1])) == pytest.approx((2 / 3 + 1) / 2), "one refused: its level is missed"


def test_a_statistic_of_the_whole_is_resampled() -> None:
    values = np.linspace(0, 1, 100)
    whole = resampled(lambda places: float(values[places].mean()), 100)
    assert whole.mean == 0.5
    assert whole.low < 0.45 < 0.55 < whole.high
    a, b = values, values[::-1]
    found = paired_resampled(lambda places: float((a[places] - b[places]).mean()), lambda sides: float(np.where(sides, b - a, a - b).mean()), 100)
    assert found.mean == 0
    assert found.p > 0.9


# --- confidence -----------------------------------------------------------------------------------------------------


def drawn(count: int, *, seed: int = 2) -> list[Case]:
    """Answers of raw probability p that are right with probability p squared: surer than they should be."""
    rng = np.random.default_rng(seed)
    raws = rng.uniform(0.5, 1, count)
    return [Case((round(float(raw), 6),), 0, bool(rng.random() < raw**2)) for raw in raws]


def test_overconfidence_is_fitted_away() -> None:
    fitting, checking = drawn(2000), drawn(2000, seed=9)
    calibration = fit_calibration(fitting)
    assert not isinstance(calibration, Identity)
    before, after = reliability(checking, IDENTITY), reliability(checking, calibration)
    assert before.ece is not None
    assert after.ece is not None
    assert after.ece < 0.03 < 0.1 < before.ece
    assert sum(one.right.n for one in after.bins) == after.n == 2000


def test_what_is_calibrated_already_stays_as_it_is() -> None:
    rng = np.random.default_rng(4)
    raws = rng.uniform(0.3, 1, 800)
    assert fit_calibration([Case((float(raw),), 0, bool(rng.random() < raw)) for raw in raws]) == IDENTITY
    assert fit_calibration([Case((0.9,), 0, True)]) == IDENTITY, "one answer fits nothing"


def test_a_temperature_is_found_again() -> None:
    rng = np.random.default_rng(5)
    truth = Temperature(kind="temperature", temperature=2.5)
    cases = []
    for _ in range(3000):
        distribution = tuple(round(float(p), 6) for p in rng.dirichlet([0.4, 0.4, 0.4]))
        chosen = int(np.argmax(distribution))
        cases.append(Case(distribution, chosen, bool(rng.random() < truth.apply_to_choice(distribution, chosen))))
    assert fit_temperature(cases).temperature == pytest.approx(2.5, rel=0.12)


def test_an_isotonic_curve_never_falls_and_is_one_that_the_service_takes() -> None:
    curve = fit_isotonic(drawn(1000))
    assert isinstance(curve, Isotonic)
    assert Isotonic.model_validate(curve.model_dump()) == curve
    assert fit_isotonic([Case((1.0,), 0, True)] * 20) == IDENTITY, "one raw figure has no curve"


def test_no_line_is_promised_from_too_few() -> None:
    line = find_line([Case((0.9,), 0, True)] * (LEAST - 1), [], IDENTITY)
    assert LEAST == 149
    assert line.min_confidence is None
    assert line.why == "too few: 148 validation answers were accepted and weighed, and even if none of them is wrong 149 are needed to promise at most 2 % wrong with 95 % confidence"
    assert find_line([Case((0.9,), 0, True)] * LEAST, [], IDENTITY).min_confidence == 90


def test_no_line_is_promised_where_the_surest_are_wrong_too() -> None:
    line = find_line(drawn(1000), [], IDENTITY)
    assert line.min_confidence is None
    assert line.why.endswith("at most 2 % cannot be promised")


def sure_or_not(count: int, seed: int) -> list[Case]:
    """Under 0.7 one of five is wrong, over it one of two hundred."""
    rng = np.random.default_rng(seed)
    return [Case((round(float(raw), 6),), 0, bool(rng.random() > (0.2 if raw < 0.7 else 0.005))) for raw in rng.uniform(0, 1, count) ** 0.5]


def test_the_line_keeps_what_it_promises() -> None:
    """At most 2 % wrong, in at least 95 of 100 fits: the true share above each line is known here."""
    broken = found = 0
    for seed in range(60):
        line = find_line(sure_or_not(1200, seed), [], IDENTITY).min_confidence
        if line is None:
            continue
        found += 1
        least = max(0.0, (line - 0.5) / 100)
        low_share = max(0.0, 0.49 - least**2) / (1 - least**2)
        broken += 0.2 * low_share + 0.005 * (1 - low_share) > 0.02
    assert found > 40
    assert broken <= 0.05 * 60


def test_a_gold_set_of_another_kind_of_work_takes_the_promise_back() -> None:
    fitting = [Case((0.9,), 0, True)] * 300
    checking = [Case((0.9,), 0, i % 5 > 0) for i in range(50)]
    line = find_line(fitting, checking, IDENTITY)
    assert line.min_confidence is None
    assert (line.gold_reached, line.gold_wrong) == (50, 10)
    assert "nothing is promised" in line.why
    assert line.gold_at_most == pytest.approx(greatest_share(10, 50), abs=1e-4)
    assert greatest_share(0, 149) < 0.02 < greatest_share(0, 148), "the line's least count, by Clopper and Pearson"


def test_a_calibration_that_changes_the_order_promises_nothing() -> None:
    """Two answers of one raw figure, told apart by the rest of their distributions, are no set that was tested."""
    fitting = [Case((0.6, 0.4, 0.0), 0, True)] * 150 + [Case((0.6, 0.2, 0.2), 0, False)] * 3 + [Case((0.55, 0.45, 0.0), 0, False)] * 100
    temperature = Temperature(kind="temperature", temperature=0.5)
    assert percent(fitting[0], temperature) < percent(fitting[150], temperature)
    assert find_line(fitting, [], temperature).min_confidence is None
