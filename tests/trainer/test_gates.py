"""Gates say no by name and by how much, and yes only to what was measured."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.gates import Evidence, Judged, Limits, Reviewed, Verdict, judge, lower_bound, percentile, refusals

LIMITS = Limits()


def rows(n: int = 40, *, rejected: int = 0, invalid: int = 0, wrong: int = 0, score: float = 0.8, ms: float = 900) -> list[Judged]:
    """The first ones are invalid, then come the rejected; the last ones judge wrongly, which is a sixth of a risk's score."""
    bad = rejected + invalid
    return [
        Judged(example_id=f"{i:03}", valid=i >= invalid, accepted=i >= bad, score=0.0 if i < bad else score - (i >= n - wrong) / 6, judgement=float(bad <= i < n - wrong), latency_ms=ms)
        for i in range(n)
    ]


def evidence(**changes: Any) -> Evidence:
    return Evidence(**{"candidate": rows(), "active": rows(), "parity": (40, 40), "adapter_bytes": 4_900_000, **changes})


def failed(found: Evidence, limits: Limits = LIMITS, allowed: tuple[str, ...] = ()) -> dict[str, Verdict]:
    return {verdict.gate: verdict for verdict in refusals(judge(found, limits), allowed)}


def test_a_good_candidate_passes_every_gate() -> None:
    verdicts = judge(evidence(), Limits())
    assert [verdict.gate for verdict in verdicts] == ["examples", "valid", "accepted", "not_worse", "judgement", "parity", "leakage", "size", "latency"]
    assert all(verdict.passed and verdict.by >= 0 for verdict in verdicts)


@pytest.mark.parametrize(
    ("changes", "gate", "by", "text"),
    [
        ({"candidate": rows(12), "active": None}, "examples", -8, "12 examples judged, at least 20"),
        ({"candidate": rows(invalid=1), "active": None}, "valid", -0.025, "0.975 of the answers match the schema, all must"),
        ({"candidate": rows(rejected=3), "active": None}, "accepted", -0.025, "0.925 accepted, at least 0.950"),
        ({"candidate": rows(score=0.7)}, "not_worse", -0.05, "score -0.100 against the active model (n = 40, 95 % at least -0.100), at least -0.050"),
        ({"candidate": rows(wrong=40), "active": rows(wrong=34)}, "judgement", -0.15, "judgement -0.150 against the active model (n = 40, 95 % at least -0.250), at least -0.100"),
        ({"active": None, "uncompared": "m-1 answers from another base"}, "not_worse", -1, "not compared with the active model: m-1 answers from another base"),
        ({"parity": (40, 39)}, "parity", -1, "39 of 40 prompts read as they were trained"),
        ({"parity": (0, 0)}, "parity", -1, "0 of 0 prompts read as they were trained"),
        ({"leaks": {"gold": 2, "test": 0}}, "leakage", -2, "2 of gold in training"),
        ({"adapter_bytes": 5_100_000}, "size", -100_000, "adapter of 5,100,000 bytes, at most 5,000,000"),
        ({"candidate": rows(ms=12_000)}, "latency", -2000, "p95 12000 ms, at most 10000"),
    ],
)
def test_each_gate_says_no_by_how_much(changes: dict[str, Any], gate: str, by: float, text: str) -> None:
    found = failed(evidence(**changes))
    assert list(found) == [gate]
    assert found[gate].text == text
    assert found[gate].by == pytest.approx(by)


@pytest.mark.parametrize(
    ("said", "by", "text"),
    [
        (Reviewed(pairs=0, share=0, low=0), -40, "0 pairs reviewed by people, at least 40 (the console draws them from this evaluation: run again once they are)"),
        (Reviewed(pairs=39, share=1, low=0.9), -1, "39 pairs reviewed by people, at least 40 (the console draws them from this evaluation: run again once they are)"),
        (Reviewed(pairs=50, share=0.5, low=0.366), -0.034, "people's win rate 0.500 (n = 50, 95 % at least 0.366), at least 0.400"),
    ],
)
def test_where_people_are_asked_a_candidate_waits_for_them_and_for_their_word(said: Reviewed, by: float, text: str) -> None:
    found = failed(evidence(reviewed=said), Limits(reviewed=40))
    assert {gate: verdict.text for gate, verdict in found.items()} == {"review": text}
    assert found["review"].by == pytest.approx(by)
    assert failed(evidence(reviewed=said)) == {}, "nobody is asked unless it is wanted"


def test_what_people_prefer_often_enough_passes() -> None:
    verdicts = judge(evidence(reviewed=Reviewed(pairs=60, share=0.55, low=0.43)), Limits(reviewed=40))
    assert (verdicts[-1].gate, verdicts[-1].passed, verdicts[-1].text) == ("review", True, "people's win rate 0.550 (n = 60, 95 % at least 0.430), at least 0.400")


def test_no_answer_at_all_fails_what_it_can() -> None:
    assert list(failed(evidence(candidate=[], active=None))) == ["examples", "valid", "accepted"]


def test_a_candidate_that_shares_no_example_with_the_active_model_is_not_called_as_good() -> None:
    others = [row.model_copy(update={"example_id": f"other {row.example_id}"}) for row in rows()]
    assert failed(evidence(active=others))["not_worse"].text == "no example was judged for both models"


def test_well_worded_answers_at_the_wrong_level_do_not_pass_for_as_good() -> None:
    """12 of 60 levels newly wrong: a mean of six figures, three of them of words, takes that for nothing."""
    found = judge(evidence(candidate=rows(60, wrong=12), active=rows(60)), LIMITS)
    assert {verdict.gate: verdict.passed for verdict in found if verdict.gate in {"not_worse", "judgement"}} == {"not_worse": True, "judgement": False}
    assert "judgement" in failed(evidence(candidate=rows(60, wrong=12), active=rows(60)), allowed=("not_worse",)), "it is allowed by its own name alone"
    assert failed(evidence(candidate=rows(60, wrong=2), active=rows(60))) == {}, "two of 60 are within what chance does"


def test_a_few_noisy_examples_do_not_show_that_a_candidate_is_as_good() -> None:
    """As good on average, sometimes much better and sometimes much worse: 20 examples cannot tell."""
    noisy = [row.model_copy(update={"score": 0.9 if i % 2 else 0.3}) for i, row in enumerate(rows(20))]
    other = [row.model_copy(update={"score": 0.3 if i % 2 else 0.9}) for i, row in enumerate(rows(20))]
    assert "not_worse" in failed(evidence(candidate=noisy, active=other))


def test_an_allowed_failure_is_still_a_failure() -> None:
    bad = evidence(candidate=rows(12, rejected=12), active=None)
    assert list(failed(bad, allowed=("examples",))) == ["accepted"]
    assert [verdict.gate for verdict in judge(bad, Limits()) if not verdict.passed] == ["examples", "accepted"]


def test_the_lower_bound_covers_as_it_says() -> None:
    """Over 200 samples of 40 differences with mean 0, the one-sided 95 % bound lies above 0 in about 5 %."""
    rng = random.Random(7)
    above = sum(lower_bound([rng.gauss(0, 0.2) for _ in range(40)], seed=i) > 0 for i in range(200))
    assert above <= 22


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
