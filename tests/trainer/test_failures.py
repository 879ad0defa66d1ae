"""Each way in which a training can end has its own error and its own line; the ends here are real, the programs small."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainer.checkpoints import checkpoints, find_fault, remove_broken
from trainer.errors import BrokenCheckpoint, BrokenRows, DiskFull, Interrupted, LossDiverged, MissingEnvironment, OutOfMemory, StageFailed, TrainerError, WrongSetting
from trainer.failures import count_oom_kills, explain
from trainer.finetune import axolotl_environment, check_rows, check_tools, finetune, run_process
from trainer.progress import MARK, Stopwatch, TrainingProgress
from trainer.recipe import LoraRecipe, Machines

CUDA = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB"
WORKER_KILLED = "rank      : 0 (local_rank: 0)\n  traceback : Signal 15 (SIGTERM) received by PID 6\nRoot Cause (first observed failure):\n  exitcode  : -9 (pid: 7)\n  traceback : Signal 9 (SIGKILL) received by PID 7"
REFUSED = "pydantic_core._pydantic_core.ValidationError: 1 validation error for AxolotlConfigWCapabilities\nnum_epochs\n  Input should be a valid number\n    For further information"
LOAD = 'File "transformers/trainer.py", line 1, in _load_optimizer_and_scheduler\nValueError: loaded state dict has a different number of parameter groups'


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A place for programs that end as Axolotl may."""
    (tmp_path / "env" / "bin").mkdir(parents=True)
    return tmp_path / "env"


def program(environment: Path, script: str) -> None:
    path = environment / "bin" / "axolotl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(environment: Path, tmp_path: Path) -> list[str]:
    lines: list[str] = []
    run_process(["axolotl", "train"], axolotl=environment, log=tmp_path / "train.log", progress=lines.append)
    return lines


@pytest.mark.parametrize(
    ("returncode", "text", "oom_kills", "error", "line"),
    [
        (1, CUDA, 0, OutOfMemory, "more memory than the GPU has: python -m trainer plan-memory says what to change"),
        (1, "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", 0, OutOfMemory, "more memory than this machine has"),
        (-9, "step 3", 1, OutOfMemory, "killed by the kernel for lack of memory"),
        (-9, "step 3", 0, Interrupted, "ended by SIGKILL: run it again and it goes on from its last checkpoint"),
        (-15, "", 0, Interrupted, "ended by SIGTERM"),
        (130, "", 0, Interrupted, "ended by SIGINT"),
        (1, WORKER_KILLED, 0, Interrupted, "ended by SIGKILL"),
        (1, WORKER_KILLED, 2, OutOfMemory, "killed by the kernel"),
        (1, "FloatingPointError: the loss is nan at step 12", 0, LossDiverged, "the loss is nan at step 12; try a lower learning rate"),
        (1, "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)", 0, DiskFull, "make some on the disk of /out"),
        (1, "RuntimeError: [enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/3: file write failed", 0, DiskFull, "no room for its files"),
        (1, REFUSED, 0, WrongSetting, "Axolotl refuses the setting num_epochs: Input should be a valid number"),
        (1, LOAD, 0, BrokenCheckpoint, r"remove its checkpoint-\* folders"),
        (-11, "", 0, StageFailed, "ended with -11: no output"),
        (3, "KeyError: 7", 0, StageFailed, "ended with 3: KeyError: 7"),
    ],
)
def test_ends_are_told_apart(returncode: int, text: str, oom_kills: int, error: type[TrainerError], line: str) -> None:
    found = explain("axolotl train", returncode, text.splitlines(), log=Path("/out/train.log"), oom_kills=oom_kills)
    assert type(found) is error
    with pytest.raises(error, match=line):
        raise found
    assert "\n" not in str(found)
    assert "/out/train.log" in str(found)


def test_a_program_killed_from_outside_is_interrupted(environment: Path, tmp_path: Path) -> None:
    program(environment, "echo working; kill -9 $$")
    with pytest.raises(Interrupted, match="axolotl train was ended by SIGKILL"):
        run(environment, tmp_path)


def test_a_program_that_may_write_no_more_finds_the_disk_full(environment: Path, tmp_path: Path) -> None:
    program(environment, f"ulimit -f 8; exec dd if=/dev/zero of={tmp_path}/weights bs=4096 count=100")
    with pytest.raises(DiskFull, match="make some on the disk of"):
        run(environment, tmp_path)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow past 8 kB: to the program it looks as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_log_that_finds_no_room_is_a_full_disk_and_ends_the_program(environment: Path, tmp_path: Path) -> None:
    program(environment, f"echo $$ > {tmp_path}/pid; yes working")
    with pytest.raises(DiskFull, match="There is no room for the log: make some on the disk of"):
        run(environment, tmp_path)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_an_interrupt_here_ends_the_program_too(environment: Path, tmp_path: Path) -> None:
    program(environment, "echo $$; exec sleep 600")
    pids = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="axolotl train was interrupted"):
        run_process(["axolotl", "train"], axolotl=environment, log=tmp_path / "train.log", progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_the_kernels_count_of_memory_kills_is_read(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 5\noom_kill 3\npgfault 7\n")
    assert count_oom_kills(tmp_path / "vmstat") == 3
    assert count_oom_kills(tmp_path / "gone") == 0


def test_progress_is_read_from_among_other_lines() -> None:
    watch = Stopwatch()
    lines = ["loading\n", f'{MARK}{{"step": 11, "steps": 20, "loss": 2.5, "tokens_per_s": 0.0}}\n', f'{MARK}{{"step": 13, "steps": 20, "loss": null, "tokens_per_s": 160.4}}\n']
    seen = [watch.read(line, now=now) for now, line in zip((0.0, 10.0, 14.0), lines, strict=True)]
    assert seen == [None, TrainingProgress(11, 20, 2.5, 0.0, 0.0), TrainingProgress(13, 20, None, 160.4, 14.0)]
    assert str(seen[1]) == "fine-tune: step 11 of 20, loss 2.5, 0 tokens/s, 0 min 00 s left"
    assert str(TrainingProgress(1, 900, 0.041, 160.4, 3700)) == "fine-tune: step 1 of 900, loss 0.041, 160 tokens/s, 1 h 01 min left"


@pytest.mark.parametrize(("text", "line"), [(None, "there is no such file"), ("", "there is no row in it"), ("\n \n", "there is no row in it")])
def test_an_empty_dataset_is_refused_before_anything_runs(tmp_path: Path, text: str | None, line: str) -> None:
    path = tmp_path / "train.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BrokenRows, match=line):
        check_rows(path)


def test_a_missing_package_for_several_processes_is_named(environment: Path) -> None:
    with pytest.raises(MissingEnvironment, match="run scripts/setup-axolotl first"):
        axolotl_environment(environment)
    program(environment, "true")
    check_tools(environment, Machines())
    with pytest.raises(MissingEnvironment, match="Cannot find deepspeed"):
        check_tools(environment, Machines(zero=2))
    with pytest.raises(MissingEnvironment, match="run scripts/setup-axolotl --ray first"):
        check_tools(environment, Machines(ray=True))


def test_weights_are_fetched_only_where_there_is_no_folder(environment: Path) -> None:
    program(environment, "true")
    assert axolotl_environment(environment)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in axolotl_environment(environment, online=True)


SCRIPT = """
import sys
from pathlib import Path
from trainer.finetune import finetune
from trainer.recipe import LoraRecipe
base, data, out, axolotl = map(Path, sys.argv[1:])
recipe = LoraRecipe(rank=4, alpha=8, batch=2, sequence_len=256, warmup_steps=1, save_steps=4)
finetune(recipe, base=base, data=data, out=out, axolotl=axolotl, progress=lambda step: print(step.step, flush=True))
"""
TINY = LoraRecipe(rank=4, alpha=8, batch=2, sequence_len=256, warmup_steps=1, save_steps=4)


@pytest.mark.axolotl
def test_a_fine_tune_killed_half_way_goes_on_from_its_last_whole_checkpoint(axolotl: Path, tiny_llama: Path, chat_rows: Path, tmp_path: Path) -> None:
    """Its own process is killed, not Axolotl's; Axolotl ends with it. The newest checkpoint is then cut short, as a full disk does."""
    out = tmp_path / "out"
    out.mkdir()
    words = [sys.executable, "-c", SCRIPT, str(tiny_llama), str(chat_rows), str(out), str(axolotl)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as operator:
        assert operator.stdout is not None
        reached = next(int(line) for line in operator.stdout if int(line) >= 10)
        operator.kill()
    wait_until_quiet(out)
    assert reached < 16
    newest, before, *_ = checkpoints(out)
    assert [find_fault(newest), find_fault(before)] == [None, None]
    optimiser = newest / "optimizer.pt"
    optimiser.write_bytes(optimiser.read_bytes()[:-100])

    steps: list[TrainingProgress] = []
    said: list[str] = []
    facts = finetune(TINY, base=tiny_llama, data=chat_rows, out=out, axolotl=axolotl, progress=steps.append, say=said.append)
    assert said == [f"{newest.name} cannot be used: optimizer.pt is not whole"]
    assert [step.step for step in steps] == list(range(int(before.name.removeprefix("checkpoint-")) + 1, 17))
    assert facts["steps"] == 16
    assert (out / "adapter_model.safetensors").exists()
    breaks: dict[str, Callable[[Path], object]] = {
        "adapter_model.safetensors": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "trainer_state.json": lambda path: path.write_text(path.read_text()[:-5]),
        "scheduler.pt": lambda path: path.unlink(),
    }
    last = checkpoints(out)[0]
    for name, harm in breaks.items():
        whole = (last / name).read_bytes()
        harm(last / name)
        fault = find_fault(last)
        assert fault is not None
        assert fault.startswith(name)
        (last / name).write_bytes(whole)
    (last / "trainer_state.json").write_text(json.dumps({"global_step": 3}))
    assert find_fault(last) == "trainer_state.json is of another step"
    assert remove_broken(out) == [f"{last.name} cannot be used: trainer_state.json is of another step"]
    assert last not in checkpoints(out)


def wait_until_quiet(folder: Path) -> None:
    """Until no process names the folder in its arguments."""
    deadline = time.monotonic() + 60
    while any(str(folder) in (path.read_bytes().replace(b"\0", b" ").decode(errors="replace")) for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)):
        assert time.monotonic() < deadline, "the training outlived its operator"
        time.sleep(0.2)


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@pytest.mark.axolotl
def test_memory_that_is_not_there_is_told_from_other_ends(axolotl: Path, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match="more memory than this machine has"):
        run_process(["python", "-c", "import torch; torch.ones(1 << 50)"], axolotl=axolotl, log=tmp_path / "log", progress=lambda _: None)


@pytest.mark.axolotl
@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_training_at_once(axolotl: Path, tiny_llama: Path, chat_rows: Path, tmp_path: Path) -> None:
    steps: list[TrainingProgress] = []
    recipe = TINY.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(LossDiverged, match=r"the loss is \S+ at step \d+; try a lower learning rate"):
        finetune(recipe, base=tiny_llama, data=chat_rows, out=tmp_path, axolotl=axolotl, progress=steps.append)
    assert steps[-1].loss is None
    assert len(steps) < 16


@pytest.mark.axolotl
@pytest.mark.slow
def test_a_disk_that_fills_up_under_a_checkpoint_is_named(axolotl: Path, tiny_llama: Path, chat_rows: Path, tmp_path: Path) -> None:
    recipe = TINY.model_copy(update={"rank": 256})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        with pytest.raises(DiskFull, match="make some on the disk of"):
            finetune(recipe, base=tiny_llama, data=chat_rows, out=tmp_path, axolotl=axolotl, progress=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.axolotl
@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_processes_share_a_fine_tune_through_deepspeed(axolotl: Path, tiny_llama: Path, chat_rows: Path, tmp_path: Path, stage: int) -> None:
    machines = Machines.model_validate({"processes": 2, "zero": stage})
    steps: list[TrainingProgress] = []
    facts = finetune(TINY, base=tiny_llama, data=chat_rows, out=tmp_path, axolotl=axolotl, progress=steps.append, machines=machines)
    assert [step.step for step in steps] == list(range(1, 9)), "32 rows are 8 steps of 2 processes with 2 rows each"
    assert facts["steps"] == 8
    last = checkpoints(tmp_path)[0]
    assert find_fault(last) is None
    assert len(list(last.glob("global_step8/*zero_pp_rank_*_optim_states.pt"))) == 2, "each process keeps its own part of the optimiser"
