"""What `python -m trainer run` makes of an operator's words, before it starts anything."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from trainer.data import cli as data
from trainer.run_command import add_commands, from_history


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
