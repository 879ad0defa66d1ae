"""Owns running Axolotl: its environment, its progress, its ways to fail. Knows nothing of features."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from trainer.axolotl_config import LoraRecipe, axolotl_config, write_axolotl_yaml
from trainer.errors import MissingEnvironment, StageFailed

REPOSITORY = Path(__file__).resolve().parents[1]
_STEP = re.compile(r"(\d+)/(\d+) \[(\S+?)<([^,\]]+)")
_LOSS = re.compile(r"'loss': '?([0-9.]+|nan)")

Progress = Callable[[str], None]


def axolotl_environment(folder: Path) -> Mapping[str, str]:
    """The environment variables under which Axolotl's programs run, from the venv that `scripts/setup-axolotl` makes."""
    if not (folder / "bin" / "axolotl").exists():
        raise MissingEnvironment(f"Cannot find Axolotl in {folder}: run scripts/setup-axolotl first")
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "HF_HUB_OFFLINE": "1",
        "AXOLOTL_DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def dequantise_base(gguf: Path, folder: Path, *, axolotl: Path, progress: Progress) -> dict[str, Any]:
    run_process(["python", "-m", "trainer.dequantise", str(gguf), str(folder)], axolotl=axolotl, log=folder / "dequantise.log", progress=progress)
    return {"weights": "float32, dequantised"}


def finetune(recipe: LoraRecipe, *, base: Path, data: Path, out: Path, init: Path | None, axolotl: Path, progress: Progress) -> dict[str, Any]:
    """Train one LoRA adapter into `out`; resumes from the last checkpoint there. Returns what the loss did."""
    config = out / "axolotl.yaml"
    write_axolotl_yaml(config, axolotl_config(recipe, base=base, data=data, out=out, init=init))
    last_loss = ""

    def watch(line: str) -> None:
        nonlocal last_loss
        if loss := _LOSS.search(line):
            last_loss = loss[1]
        if last_loss and (step := _STEP.search(line)):
            progress(f"fine-tune: step {step[1]} of {step[2]}, loss {last_loss}, {step[4]} left")

    run_process(["axolotl", "train", str(config), "--launcher", "python"], axolotl=axolotl, log=out / "train.log", progress=watch)
    if not (out / "adapter_model.safetensors").exists():
        raise StageFailed(f"Axolotl ended without an adapter: see {out / 'train.log'}")
    return _loss_facts(out)


def _loss_facts(out: Path) -> dict[str, Any]:
    """Steps and losses of the whole fine-tune, from the last checkpoint's history: this process may have seen only its end."""
    last = max(out.glob("checkpoint-*/trainer_state.json"), key=lambda path: int(path.parent.name.rpartition("-")[2]))
    losses = [entry["loss"] for entry in json.loads(last.read_text())["log_history"] if "loss" in entry]
    return {"steps": len(losses), "loss_first_10": round(fmean(losses[:10]), 4), "loss_last_10": round(fmean(losses[-10:]), 4)}


def run_process(command: list[str], *, axolotl: Path, log: Path, progress: Progress) -> None:
    """Run a program of Axolotl's environment, hand each line to `progress`, keep all of them in `log`."""
    program = axolotl / "bin" / command[0]
    with (
        log.open("a") as file,
        subprocess.Popen(
            [str(program), *command[1:]], env=dict(axolotl_environment(axolotl)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=REPOSITORY
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            progress(line)
    if process.returncode:
        raise StageFailed(f"{command[0]} {command[1]} ended with {process.returncode}: {_last_words(log)} (see {log})")


def package_versions(axolotl: Path) -> dict[str, str]:
    """What trained and converted: the versions in Axolotl's environment."""
    names = ["axolotl", "torch", "transformers", "peft", "gguf"]
    code = f"import json,importlib.metadata as m;print(json.dumps({{n:m.version(n) for n in {names!r}}}))"
    found = subprocess.run([str(axolotl / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(found.stdout))


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
