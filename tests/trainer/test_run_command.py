"""What `python -m trainer run` makes of an operator's words, before it starts anything."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from trainer.data import cli as data
from trainer.memory_plan import adapter_parameters
from trainer.presets import PRESETS, Preset
from trainer.run_command import add_commands, from_history, run_options


def words(*said: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(), progress=lambda _: None)
    return parser.parse_args(["run", *said])


def test_one_budget_is_for_all_features_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: dict[str, float] = {}

    def synthesise(feature: str, options: argparse.Namespace, _: Any) -> dict[str, Any]:
        left[feature] = options.budget_usd
        return {"cost": {"usd": 0.75}}

    stages: dict[str, Any] = {name: lambda *_: {} for name in (*data.PIPELINE, "write-back")}
    monkeypatch.setattr(data, "STAGES", {**stages, "synthesise": synthesise})
    make = from_history(words("--budget-usd", "2", "--work-dir", str(tmp_path)))
    for feature in ("risk", "plan"):
        make(feature, lambda _: None)
    assert left == {"risk": 2.0, "plan": 1.25}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_no_presets_own_adapter_is_too_large_for_its_gate(preset: Preset, tmp_path: Path) -> None:
    base = tmp_path / "base.gguf"
    base.touch()
    limits = run_options(words("--preset", preset.name, "--base", str(base), "--inference", "none")).limits
    assert limits.adapter_bytes > 2 * adapter_parameters(preset.architecture, preset.recipe().rank)


def test_people_are_asked_where_it_is_wanted_and_a_share_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert (run_options(words()).limits.reviewed, run_options(words("--reviewed", "40", "--preferred", "0.45")).limits.preferred) == (0, 0.45)
    for wrong in (["--preferred", "40"], ["--margin", "-1"], ["--reviewed", "-3"]):
        with pytest.raises(SystemExit):
            words(*wrong)
    assert "must be from 0 to 1" in capsys.readouterr().err
