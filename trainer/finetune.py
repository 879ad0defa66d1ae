"""Owns running Axolotl: its environment, its progress, its ways to fail. Knows nothing of features."""

import json
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from trainer.axolotl_config import axolotl_config, override, write_axolotl_yaml, write_zero_json
from trainer.checkpoints import checkpoints, remove_broken
from trainer.errors import BrokenRows, Interrupted, MissingEnvironment, StageFailed, WrongSetting
from trainer.failures import count_oom_kills, explain, room_in
from trainer.presets import DEFAULT_PRESET, PRESETS, Preset
from trainer.progress import Stopwatch, TrainingProgress
from trainer.recipe import LoraRecipe, Machines
from trainer.stage import sources_sha256

REPOSITORY = Path(__file__).resolve().parents[1]
GPU = Path("/dev/nvidiactl")
"""Without it DeepSpeed is told to use the CPU: looking for GPUs, it writes among the lines of whatever imports it."""
TUNED_BY = ("trainer.axolotl_config", "trainer.axolotl_plugin", "trainer.axolotl_watch", "trainer.finetune", "trainer.init_adapter", "trainer.quantisation_aware")
"""Our own code that decides an adapter; some of it runs in Axolotl's environment."""
LAST_LINES = 200
"""Of a program's output, to tell from them why it ended."""
GRACE_S = 10

Progress = Callable[[str], None]


def print_nothing(_line: str) -> None:
    pass


def axolotl_environment(folder: Path, *, online: bool = False) -> Mapping[str, str]:
    """The environment variables under which Axolotl's programs run, from the venv that `scripts/setup-axolotl` makes.

    Offline, unless weights have to be fetched from Hugging Face.
    """
    if not (folder / "bin" / "axolotl").exists():
        raise MissingEnvironment(f"Cannot find Axolotl in {folder}: run scripts/setup-axolotl first")
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "TRAINER_PID": str(os.getpid()),
        "AXOLOTL_DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **({} if online else {"HF_HUB_OFFLINE": "1"}),
        **({} if GPU.exists() else {"DS_ACCELERATOR": "cpu"}),
    }


def dequantise_base(gguf: Path, folder: Path, *, axolotl: Path, progress: Progress, preset: Preset = PRESETS[DEFAULT_PRESET]) -> dict[str, Any]:
    run_process(["python", "-m", "trainer.dequantise", str(gguf), str(folder), preset.end_of_turn, preset.pad], axolotl=axolotl, log=folder / "dequantise.log", progress=progress)
    return {"weights": "float32, dequantised"}


def tuned_by(recipe: LoraRecipe, *, preset: Preset, machines: Machines, axolotl: Path) -> dict[str, Any]:
    """All that decides an adapter besides its base and its rows: inputs of the stage that makes one. Raises MissingEnvironment."""
    return {
        "preset": preset.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "machines": machines.model_dump(mode="json"),
        "code": sources_sha256(*TUNED_BY),
        "versions": package_versions(axolotl),
    }


def finetune(
    recipe: LoraRecipe,
    *,
    base: Path | str,
    data: Path,
    out: Path,
    axolotl: Path,
    progress: Callable[[TrainingProgress], None],
    say: Progress = print_nothing,
    init: Path | None = None,
    preset: Preset = PRESETS[DEFAULT_PRESET],
    machines: Machines = Machines(),  # noqa: B008
    changes: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Train one adapter into the folder `out`, going on from the last whole checkpoint there. Returns steps and losses.

    `progress` hears of every step, `say` of what a person should know besides (a checkpoint passed over). `changes` go over
    Axolotl's settings, which its schema then judges first; the settings without them a test has put to it. Raises MissingEnvironment, BrokenRows when there is nothing to train on, WrongSetting, or the
    StageFailed that says how the training ended.
    """
    check_rows(data)
    check_tools(axolotl, machines)
    for words in remove_broken(out):
        say(words)
    config = axolotl_config(recipe, base=base, data=data, out=out, init=init, preset=preset, machines=machines)
    for change in changes:
        config = override(config, change)
    with room_in(out, what="the settings"):
        write_axolotl_yaml(out / "axolotl.yaml", config)
        if machines.zero:
            write_zero_json(out / "zero.json", machines.zero)
    if changes and (fault := check_settings([(config, machines)], axolotl=axolotl)[0]):
        raise WrongSetting(f"Axolotl refuses the settings: {fault}")
    stopwatch = Stopwatch()

    def read(line: str) -> None:
        if step := stopwatch.read(line, now=time.monotonic()):
            progress(step)

    run_process(["axolotl", "train", str(out / "axolotl.yaml"), *launch_words(machines)], axolotl=axolotl, log=out / "train.log", progress=read, online=not Path(base).exists())
    if not (out / "adapter_model.safetensors").exists():
        raise StageFailed(f"Axolotl ended without an adapter: see {out / 'train.log'}")
    return _loss_facts(out)


def launch_words(machines: Machines) -> list[str]:
    """How Axolotl starts its processes: Ray by itself, several through torchrun, one directly."""
    if machines.ray:
        return []
    if machines.processes * machines.nodes == 1 and machines.zero is None:
        return ["--launcher", "python"]
    words = ["--launcher", "torchrun", "--", f"--nproc_per_node={machines.processes}"]
    if machines.nodes > 1:
        words += [f"--nnodes={machines.nodes}", "--rdzv_backend=c10d", f"--rdzv_endpoint={machines.meeting}", "--rdzv_id=fine-tune"]
    return words


def check_rows(data: Path) -> None:
    """Raises BrokenRows unless there is a row to train on."""
    if not data.is_file():
        raise BrokenRows(f"Cannot fine-tune on {data}: there is no such file")
    with data.open("rb") as file:
        if not any(line.strip() for line in file):
            raise BrokenRows(f"Cannot fine-tune on {data}: there is no row in it")


def check_tools(axolotl: Path, machines: Machines) -> None:
    """Raises MissingEnvironment when Axolotl, or a package that only several processes need, is not installed."""
    axolotl_environment(axolotl)
    wanted = {"deepspeed": machines.zero is not None, "ray": machines.ray}
    for package in (name for name, needed in wanted.items() if needed):
        if not any((axolotl / "lib").glob(f"python*/site-packages/{package}/__init__.py")):
            flag = " --ray" if package == "ray" else ""
            raise MissingEnvironment(f"Cannot find {package} in {axolotl}: run scripts/setup-axolotl{flag} first")


def check_settings(asked: Sequence[tuple[Mapping[str, Any], Machines]], *, axolotl: Path) -> list[str]:
    """What Axolotl's own schema says to each of the settings: one line, empty when it takes them.

    One process for all, since it takes seconds to load; it believes in a GPU where the machines have one.
    """
    words = json.dumps([{"gpu": machines.device == "gpu", "settings": dict(config)} for config, machines in asked])
    done = subprocess.run(
        [str(axolotl / "bin" / "python"), "-m", "trainer.axolotl_check"], input=words, env=dict(axolotl_environment(axolotl)), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StageFailed(f"Cannot ask Axolotl's schema: {done.stderr.strip().splitlines()[-1:]}")
    return [str(line) for line in json.loads(done.stdout.splitlines()[-1])]


def _loss_facts(out: Path) -> dict[str, Any]:
    """Steps and losses of the whole fine-tune, from the last checkpoint's history: this process may have seen only its end."""
    last = checkpoints(out)[0] / "trainer_state.json"
    losses = [entry["loss"] for entry in json.loads(last.read_text())["log_history"] if "loss" in entry]
    return {"steps": len(losses), "loss_first_10": round(fmean(losses[:10]), 4), "loss_last_10": round(fmean(losses[-10:]), 4)}


def run_process(command: list[str], *, axolotl: Path, log: Path, progress: Progress, online: bool = False) -> None:
    """Run a program of Axolotl's environment, hand each line to `progress`, keep all of them in `log`.

    Raises the StageFailed that fits its end; after an interrupt here, once the program has ended too.
    """
    program = axolotl / "bin" / command[0]
    name, words, killed_before = " ".join(command[:2]), deque[str](maxlen=LAST_LINES), count_oom_kills()
    environment = dict(axolotl_environment(axolotl, online=online))
    try:
        with room_in(log.parent, what="the log"), log.open("a") as file, _started([str(program), *command[1:]], environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                words.append(line.rstrip("\n"))
                progress(line)
    except KeyboardInterrupt:
        raise Interrupted(f"{name} was interrupted: run it again and it goes on from its last checkpoint (see {log})") from None
    if process.returncode:
        raise explain(name, process.returncode, list(words), log=log, oom_kills=count_oom_kills() - killed_before)


@contextmanager
def _started(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The running program. Whatever ends the block, the program has ended after it: two of them never write into one folder."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=REPOSITORY) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def package_versions(axolotl: Path) -> dict[str, str]:
    """What trained and converted: the versions in Axolotl's environment. Raises MissingEnvironment."""
    axolotl_environment(axolotl)
    names = ["axolotl", "torch", "transformers", "peft", "gguf"]
    code = f"import json,importlib.metadata as m;print(json.dumps({{n:m.version(n) for n in {names!r}}}))"
    found = subprocess.run([str(axolotl / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(found.stdout))
