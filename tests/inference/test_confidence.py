"""How sure an answer is: measured where it was chosen, aggregated per step, calibrated as the model version says."""

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.confidence import level_confidence, plan_confidence
from inference.engine.completion import Completion, Job, Sampler
from inference.errors import StartError
from inference.model_store import STARTER, find_model
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.calibration import IDENTITY, KINDS, Isotonic, Temperature
from shared_schemas.features.plan import PLAN, PlanInput
from shared_schemas.features.risk import RISK, describe

TASK = describe(
    title="UI for Career page", level="medium", milestone="50_percent", micro_task=False, done_percent=25, steps_done=1, steps_left=3, budget_minutes=480, spent_minutes=240, delay_minutes=60
)
WISH = PlanInput(title="UI for Career page", description="Build it", skills=["React"], similar=[])

LEVELS_SEEN = Completion(first_letters={"l": 0.2, "m": 0.7, "h": 0.1}, allowed_mass=0.9)
COOLER = Isotonic(kind="isotonic", x=[0.0, 0.5, 1.0], y=[0.1, 0.4, 0.8])


def step(title: str) -> str:
    return json.dumps({"phase": "build_guidance", "title": title, "duration": 2, "risk": "low"}, ensure_ascii=False, separators=(",", ":"))


def plan(*titles: str) -> str:
    return '{"suggested_plan":[' + ",".join(map(step, titles)) + '],"overall_risks":[],"assumptions":["Nobody is {away}, [or ill]."]}'


def chosen(text: str, probabilities: dict[str, list[float]], under_mask: float | None = None) -> Completion:
    """A completion of `text` with choices at the first byte of each marked piece of it."""
    done = Completion(text=text)
    for piece, figures in probabilities.items():
        for p in figures:
            done.chosen_at.append(len(text[: text.index(piece)].encode()))
            done.log_probabilities.append(math.log(p))
            done.log_masked.append(under_mask and math.log(under_mask))
    return done


def test_a_plan_is_as_sure_as_its_steps_are_on_average() -> None:
    """Two sure steps and an unsure one; the remarks behind them do not count, the letters before are not all one byte."""
    done = chosen(plan("Prüfe die Größe", "Build {the} page", "Ship it"), {"Prüfe": [0.9, 0.9], "Build": [0.5, 0.5, 0.5, 0.5], "Ship": [0.7], "Nobody": [0.01] * 5})
    sure = plan_confidence(done)
    assert sure.details["p_step_mean"] == pytest.approx((0.9 + 0.5 + 0.7) / 3, abs=1e-6)
    assert sure.details["p_step_min"] == pytest.approx(0.5)
    assert sure.percent == 70
    assert sure.details["p_token_mean"] < 0.3


def test_figures_under_the_mask_are_kept_and_never_taken_for_the_models_own() -> None:
    unmasked, masked = chosen(plan("Ship it"), {"Ship": [0.2]}), chosen(plan("Ship it"), {"Ship": [0.2]}, under_mask=0.95)
    assert plan_confidence(unmasked).percent == plan_confidence(masked).percent == 20
    assert plan_confidence(masked).details["p_masked_mean"] == pytest.approx(0.95)
    assert plan_confidence(masked).details["p_unmasked_mean"] == pytest.approx(0.2)
    assert "p_masked_mean" not in plan_confidence(unmasked).details


def test_a_terse_plan_is_weighed_by_the_same_steps() -> None:
    words = '[[[0,"Prüfe [die] Größe",2,0],[2,"Build {the} page",4,1]],["Nobody is {away}, [or ill]."],[]]'
    sure = plan_confidence(chosen(words, {"Prüfe": [0.9], "Build": [0.5, 0.5], "Nobody": [0.01] * 5}))
    assert sure.details["p_step_mean"] == pytest.approx(0.7, abs=1e-6)
    assert plan_confidence(Completion(text="[[],[],[]]")).percent == 0


def test_a_terse_level_is_the_number_of_its_place() -> None:
    seen = Completion(first_letters={"0": 0.2, "1": 0.7, "2": 0.1}, allowed_mass=0.9)
    assert level_confidence(seen, "medium", style="terse") == level_confidence(LEVELS_SEEN, "medium")


def test_nothing_to_choose_is_no_confidence() -> None:
    assert plan_confidence(Completion(text=plan("Ship it"))).percent == 0
    assert level_confidence(Completion(), "low", Temperature(kind="temperature", temperature=2)).percent == 0


def test_a_level_is_calibrated_on_all_levels_or_on_its_own_probability() -> None:
    flat = level_confidence(LEVELS_SEEN, "medium", Temperature(kind="temperature", temperature=2))
    roots = [math.sqrt(p) for p in (0.2, 0.7, 0.1)]
    assert level_confidence(LEVELS_SEEN, "medium").percent == 70
    assert flat.percent == round(100 * roots[1] / sum(roots))
    assert level_confidence(LEVELS_SEEN, "medium", COOLER).percent == 56
    assert flat.details == {"p_low": 0.2, "p_medium": 0.7, "p_high": 0.1, "allowed_mass": 0.9, "calibration": KINDS.index("temperature")}


def test_a_plan_is_calibrated_on_its_raw_figure() -> None:
    done = chosen(plan("Ship it"), {"Ship": [0.8]})
    cooled = plan_confidence(done, Temperature(kind="temperature", temperature=2))
    assert cooled.percent == round(100 / (1 + math.exp(-math.log(4) / 2)))
    assert cooled.details["p_step_mean"] == pytest.approx(0.8)
    assert plan_confidence(done, COOLER).percent == 64


probabilities = st.floats(0, 1)
temperatures = st.builds(Temperature, kind=st.just("temperature"), temperature=st.floats(0.01, 100))


@st.composite
def isotonics(draw: st.DrawFn) -> Isotonic:
    x = sorted(draw(st.lists(probabilities, min_size=2, max_size=8, unique=True)))
    return Isotonic(kind="isotonic", x=x, y=sorted(draw(st.lists(probabilities, min_size=len(x), max_size=len(x)))))


@given(st.one_of(temperatures, isotonics(), st.just(IDENTITY)), st.lists(probabilities, min_size=2, max_size=9))
def test_no_calibration_changes_an_order_or_leaves_the_range(calibration: Any, raw: list[float]) -> None:
    calibrated = [calibration.apply(p) for p in sorted(raw)]
    assert all(0 <= p <= 1 for p in calibrated)
    assert all(a <= b + 1e-9 for a, b in pairwise(calibrated))


@given(temperatures, st.lists(probabilities, min_size=3, max_size=3))
def test_a_tempered_distribution_is_one(calibration: Temperature, raw: list[float]) -> None:
    tempered = [calibration.apply_to_choice(raw, i) for i in range(3)]
    assert sum(tempered) == pytest.approx(1 if max(raw) > 0 else 0)


def starter_with(folder: Path, calibration: object) -> Path:
    shutil.copytree(STARTER, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "calibration": calibration}))
    return folder


def test_the_calibration_comes_with_the_model_version(tmp_path: Path) -> None:
    files = find_model(Settings(adapter_path=starter_with(tmp_path / "a", {"risk": {"kind": "temperature", "temperature": 2}, "plan": COOLER.model_dump()}), model_cache=Path("none")))
    assert files.calibrations == {"risk": Temperature(kind="temperature", temperature=2), "plan": COOLER}


@pytest.mark.parametrize(
    ("calibration", "fault"),
    [
        (None, r"calibration: Input should be a valid dictionary"),
        ({"risk": 2}, r"calibration\.risk: Input should be a valid dictionary"),
        ({"risk": {"kind": "platt"}}, r"calibration\.risk: Input tag 'platt' found"),
        ({"risk": {"kind": "temperature"}}, r"calibration\.risk\.temperature\.temperature: Field required"),
        ({"risk": {"kind": "temperature", "temperature": 0}}, r"calibration\.risk\.temperature\.temperature: Input should be greater than or equal to 0\.01"),
        ({"risk": {"kind": "temperature", "temperature": math.nan}}, r"calibration\.risk\.temperature\.temperature: "),
        ({"risk": {"kind": "temperature", "temperature": "2"}}, r"calibration\.risk\.temperature\.temperature: Input should be a valid number"),
        ({"risk": {"kind": "identity", "t": 1}}, r"calibration\.risk\.identity\.t: Extra inputs are not permitted"),
        ({"plan": {"kind": "isotonic", "x": [0, 1], "y": [0.5]}}, r"calibration\.plan\.isotonic\.y: List should have at least 2 items"),
        ({"plan": {"kind": "isotonic", "x": [0, 0.5, 1], "y": [0.5, 1]}}, r"x has 3 points and y has 2"),
        ({"plan": {"kind": "isotonic", "x": [0, 0], "y": [0.5, 1]}}, r"x must rise"),
        ({"plan": {"kind": "isotonic", "x": [0, 1], "y": [0.9, 0.5]}}, r"y must not fall"),
        ({"plan": {"kind": "isotonic", "x": [0, 2], "y": [0.5, 0.9]}}, r"calibration\.plan\.isotonic\.x\.1: Input should be less than or equal to 1"),
        ({"leave": {"kind": "identity"}}, r"calibration\.leave: there is no such feature"),
    ],
    ids=range(14),
)
def test_a_malformed_calibration_stops_the_start_with_one_line(tmp_path: Path, calibration: object, fault: str) -> None:
    with pytest.raises(StartError, match=f"Cannot use the adapter's manifest .*: .*{fault}") as stopped:
        find_model(Settings(adapter_path=starter_with(tmp_path / "a", calibration)))
    assert "\n" not in str(stopped.value)


def test_a_real_answers_figures_are_those_of_its_tokens(predictor: Predictor) -> None:
    calibrations = find_model(Settings()).calibrations
    risk, planned = predictor.predict_now(RISK, TASK), predictor.predict_now(PLAN, WISH)
    assert [told.details["calibration"] for told in (risk, planned)] == [KINDS.index(calibrations[name].kind) for name in ("risk", "plan")]
    assert 0 < planned.details["p_step_min"] <= planned.details["p_step_mean"] <= 1
    assert planned.confidence == round(100 * calibrations["plan"].apply(planned.details["p_step_mean"]))


def test_where_a_mask_is_computed_its_figure_is_at_least_the_models_own(predictor: Predictor) -> None:
    """A drawn answer computes a mask for every choice."""
    wanted = Job(predictor.prompt_tokens(RISK, TASK), predictor.grammar("risk"), RISK.max_tokens, sampler=Sampler(0.7, 1))
    done = predictor.engine.submit(wanted).future.result(timeout=60)
    assert len(done.log_masked) == len(done.log_probabilities) == len(done.mask_s)
    assert all(masked is not None and masked >= own - 1e-4 for masked, own in zip(done.log_masked, done.log_probabilities, strict=True))
