"""`doctor` says what will not work before a user finds out; `bench` counts what it times."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference import machine
from inference.bench import measure
from inference.bench_inputs import NAMES, inputs
from inference.bench_steps import EACH, StepCost, least, step_costs
from inference.engine.llama import Llama
from inference.predict import Predictor
from shared_schemas.features import FEATURES

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inference", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120, check=False)


def examined(**settings: str) -> tuple[int, dict[str, Any]]:
    done = run("doctor", "--json", **settings)
    return done.returncode, json.loads(done.stdout)


def test_a_machine_that_will_do_is_measured() -> None:
    status, report = examined()
    assert (status, report["well"]) == (0, True)
    facts = report["facts"]
    assert facts["cores"] >= 1
    assert facts["memory_need_bytes"] > facts["model_bytes"] > 80e6
    assert facts["tokens_per_s_limit"] == pytest.approx(facts["read_bandwidth_bytes_per_s"] / facts["model_bytes"])
    assert facts["tokens_per_s"] > 0
    assert "=" in facts["cpu_features"]


@pytest.mark.parametrize(
    ("settings", "about", "says"),
    [
        ({"MODEL_PATH": "/nowhere.gguf"}, "model", "Cannot read /nowhere.gguf"),
        ({"INFERENCE_PORT": "http", "INFERENCE_HOST": "0.0.0.0"}, "settings", "INFERENCE_PORT"),
    ],
    ids=["no model", "wrong settings"],
)
def test_what_will_not_work_is_a_fault(settings: dict[str, str], about: str, says: str) -> None:
    status, report = examined(**settings)
    assert (status, report["well"]) == (1, False)
    assert any(one["level"] == "fault" and one["about"] == about and says in one["says"] for one in report["findings"])


def test_settings_that_slow_or_show_things_are_warned_of() -> None:
    _, report = examined(THREADS="200", LOG_PROMPTS="true", PARALLEL="64", CONTEXT_TOKENS="2000", MODEL_PATH="/nowhere.gguf")
    assert {one["about"] for one in report["findings"] if one["level"] == "warning"} == {"threads", "logs", "context"}


def test_the_control_groups_share_is_read_in_both_its_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.core_quota() is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.core_quota() == 1.5
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.core_quota() == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.core_quota() is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert machine.free_memory() == 600


@pytest.mark.parametrize("feature", NAMES)
def test_no_input_of_a_bench_is_asked_twice(feature: str) -> None:
    made = [one.model_dump_json() for one in inputs(feature, 0, 400)]
    assert len(set(made)) == 400


def test_every_feature_can_be_benched() -> None:
    assert set(NAMES) == set(FEATURES)


def test_a_bench_counts_what_it_times(predictor: Predictor) -> None:
    timed = asyncio.run(measure(predictor, "risk", inputs("risk", 350, 3), 3))
    assert timed.answers + timed.refused == 3
    assert 0 < timed.p50_ms <= timed.p95_ms
    assert 0 < timed.steps_per_token < 1
    assert 0 < timed.forced_share < 1
    assert set(timed.ms) == {"queue", "prefill", "decode"}
    assert 0 < timed.chosen < timed.computed


def test_a_bench_says_what_an_answer_takes_at_the_least(predictor: Predictor) -> None:
    """However many are made at once, and were every guess right."""
    llama = Llama(predictor.llama.weights, adapter_path=None, n_cells=512, n_seats=2, n_threads=2)
    try:
        costs = step_costs(llama, [1, 2])
    finally:
        llama.close()
    assert {(cost.sequences, cost.each) for cost in costs} == {*((1, each) for each in EACH), *((2, each) for each in EACH if each < 32)}
    assert all(cost.ms > 0 and cost.ms_with_logits > 0 for cost in costs)


def test_the_least_takes_each_kind_of_token_from_its_own_best_step() -> None:
    floor = least([StepCost(1, 1, 5, 6), StepCost(1, 16, 16, 32), StepCost(8, 2, 24, 28)])
    assert (floor.token_ms, floor.chosen_ms) == (1.0, 1.75)
    assert floor.of(computed=110, chosen=60) == 50 * 1.0 + 60 * 1.75


def test_wrong_arguments_are_told() -> None:
    assert run("--json").returncode == 2
    assert run("bench", "--n", "0").returncode == 2
    helped = run("--help")
    assert helped.returncode == 0
    assert all(name in helped.stdout for name in ("bench", "doctor", "LOG_FORMAT", "LOG_PROMPTS"))
