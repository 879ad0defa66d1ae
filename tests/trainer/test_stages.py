"""Stages are done once, begin again when killed, and never leave half a result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import recipe
from trainer.axolotl_config import LoraRecipe, axolotl_config, write_axolotl_yaml
from trainer.data import format as formatting
from trainer.data import split, synthesise
from trainer.data.format import FormatOptions
from trainer.data.split import SplitOptions
from trainer.data.synthesise import SynthesiseOptions
from trainer.errors import BrokenRows, MissingEnvironment, TrainerError
from trainer.export import first_difference
from trainer.finetune import axolotl_environment, run_process
from trainer.stage import facts_before, run_stage, sources_sha256


class Killed(BaseException):
    pass


def test_a_stage_runs_once_for_the_same_inputs(tmp_path: Path) -> None:
    runs: list[Path] = []

    def make(folder: Path) -> dict[str, Any]:
        runs.append(folder)
        return {"rows": 3}

    assert run_stage(tmp_path / "s", {"seed": 1}, make) == {"rows": 3}
    assert run_stage(tmp_path / "s", {"seed": 1}, make) == {"rows": 3}
    assert len(runs) == 1
    run_stage(tmp_path / "s", {"seed": 2}, make)
    assert len(runs) == 2


def test_code_that_runs_in_another_environment_is_read_and_not_imported() -> None:
    """Axolotl's plugins import what is installed beside Axolotl alone."""
    assert sources_sha256("trainer.recipe") == sources_sha256(recipe)
    assert sources_sha256("trainer.quantisation_aware") != sources_sha256("trainer.axolotl_plugin")


@pytest.mark.parametrize(("keep", "left"), [(False, []), (True, ["checkpoint"])])
def test_a_killed_stage_runs_again(tmp_path: Path, keep: bool, left: list[str]) -> None:
    def killed(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").write_text("half")
        raise Killed

    seen: list[list[str]] = []

    def whole(folder: Path) -> dict[str, Any]:
        seen.append([path.name for path in folder.iterdir() if path.name != "begun"])
        return {}

    with pytest.raises(Killed):
        run_stage(tmp_path / "s", {}, killed, keep_partial=keep)
    assert not (tmp_path / "s" / "manifest.json").exists()
    run_stage(tmp_path / "s", {}, whole, keep_partial=keep)
    assert seen == [left]


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_text("half"), lambda path: path.write_text("ROWS")])
def test_a_stage_whose_files_are_gone_or_changed_is_not_done(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    def make(folder: Path) -> dict[str, Any]:
        (folder / "rows.jsonl").write_text("rows")
        return {"rows": 1}

    folder = tmp_path / "extract"
    run_stage(folder, {}, make)
    assert facts_before(folder, "clean") == {"rows": 1}
    harm(folder / "rows.jsonl")
    with pytest.raises(BrokenRows, match=r"a file is gone or is not what extract wrote \(run extract again\)"):
        facts_before(folder, "clean")
    run_stage(folder, {}, make)
    assert (folder / "rows.jsonl").read_text() == "rows"


@pytest.mark.parametrize(("name", "run"), [("synthesise", lambda previous, folder: synthesise.run(previous, folder, SynthesiseOptions("risk", 1))), ("split", lambda previous, folder: split.run(previous, folder, SplitOptions("risk"))), ("format", lambda previous, folder: formatting.run(previous, folder, FormatOptions("risk")))])  # fmt: skip
def test_no_stage_goes_on_from_one_that_has_not_finished(tmp_path: Path, name: str, run: Callable[[Path, Path], object]) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "rows.jsonl").write_text("")
    with pytest.raises(BrokenRows, match=rf"^Cannot {name} .*: before has not finished there"):
        run(tmp_path / "before", tmp_path / "now")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before"]


def test_a_checkpoint_of_other_inputs_is_not_kept(tmp_path: Path) -> None:
    def killed(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint").write_text("half")
        raise Killed

    with pytest.raises(Killed):
        run_stage(tmp_path / "s", {"data": "old"}, killed, keep_partial=True)
    run_stage(tmp_path / "s", {"data": "new"}, lambda folder: {"left": (folder / "checkpoint").exists()}, keep_partial=True)
    assert json.loads((tmp_path / "s" / "manifest.json").read_text())["facts"] == {"left": False}


def test_axolotls_settings_train_on_answers_only_and_need_no_gpu(tmp_path: Path) -> None:
    config = axolotl_config(LoraRecipe(), base=tmp_path, data=tmp_path, out=tmp_path)
    assert config["datasets"][0]["roles_to_train"] == ["assistant"]
    assert (config["bf16"], config["attn_implementation"], config["lora_mlp_kernel"]) == (False, "sdpa", False)
    write_axolotl_yaml(tmp_path / "c.yaml", config)
    assert "adapter: lora\n" in (tmp_path / "c.yaml").read_text()


def test_without_axolotl_the_operator_is_told_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingEnvironment, match="run scripts/setup-axolotl first"):
        axolotl_environment(tmp_path)


def test_a_failing_program_is_named_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "axolotl"
    program.write_text("#!/bin/sh\necho 'KeyError: 7'\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(TrainerError, match="axolotl train ended with 3: KeyError: 7"):
        run_process(["axolotl", "train"], axolotl=tmp_path, log=tmp_path / "log", progress=lambda _: None)


def test_the_first_difference_of_token_ids_is_named() -> None:
    assert first_difference([1, 2, 3], [1, 5, 3]) == "token 1 is 2, trained was 5"
    assert first_difference([1], [1, 2]) == "1 tokens, trained were 2"
