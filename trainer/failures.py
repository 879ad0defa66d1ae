"""Owns telling apart how a training ended: exit code and last words in, one typed error with one line out. Runs nothing."""

import errno
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import BrokenCheckpoint, DiskFull, Interrupted, LossDiverged, OutOfMemory, StageFailed, TrainerError, WrongSetting

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""How a write says that there is no room: on the disk, in the quota, or under the process's own limit."""

_DIVERGED = re.compile(r"FloatingPointError: the loss is (\S+) at step (\d+)")
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large|PytorchStreamWriter failed writing file|file write failed|os error (?:28|122|27)\b|unexpected pos \d+ vs \d+")
_GPU_MEMORY = re.compile(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
_MEMORY = re.compile(r"can't allocate memory|Cannot allocate memory|^MemoryError\b|std::bad_alloc", re.MULTILINE)
_CHECKPOINT = re.compile(
    r"in (?:_load_from_checkpoint|_load_optimizer_and_scheduler|_load_rng_state|load_checkpoint)\b|Can't find a valid checkpoint|doesn't match the model trained on the checkpoint"
)
_SETTING = re.compile(r"ValidationError: (?P<count>\d+) validation errors? for \S+\n(?P<first>.+)\n\s*(?P<why>.+)")
_WORKER = re.compile(r"Signal (?P<number>\d+) \(SIG\w+\) received by PID")
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP}


def explain(command: str, returncode: int, words: Sequence[str], *, log: Path, oom_kills: int = 0) -> TrainerError:
    """Why a program ended with `returncode` (negative: by that signal), from the last lines of its output.

    `oom_kills` says how many processes the kernel killed for lack of memory meanwhile, on the whole machine.
    """
    text = "\n".join(words)
    see = f"(see {log})"
    if found := _DIVERGED.search(text):
        return LossDiverged(f"The training was stopped: the loss is {found[1]} at step {found[2]}; try a lower learning rate {see}")
    killed_by = _signal(returncode, text)
    if _DISK_FULL.search(text) or killed_by == signal.SIGXFSZ:
        return DiskFull(f"{command} has no room for its files: make some on the disk of {log.parent}, then run it again {see}")
    if _GPU_MEMORY.search(text):
        return OutOfMemory(f"{command} took more memory than the GPU has: python -m trainer plan-memory says what to change {see}")
    if _MEMORY.search(text):
        return OutOfMemory(f"{command} took more memory than this machine has: try a smaller batch or sequence length {see}")
    if found := _SETTING.search(text):
        return WrongSetting(f"Axolotl refuses the setting {found['first'].strip()}: {found['why'].strip()} {see}")
    if killed_by == signal.SIGKILL and oom_kills > 0:
        return OutOfMemory(f"{command} was killed by the kernel for lack of memory: try a smaller batch or sequence length {see}")
    if killed_by in _ENDING:
        return Interrupted(f"{command} was ended by {signal.Signals(killed_by).name}: run it again and it goes on from its last checkpoint {see}")
    if _CHECKPOINT.search(text):
        return BrokenCheckpoint(f"{command} cannot go on from the checkpoint in {log.parent}: remove its checkpoint-* folders and run it again {see}")
    last = next((line.strip() for line in reversed(words) if line.strip()), "no output")
    return StageFailed(f"{command} ended with {returncode}: {last[:300]} {see}")


@contextmanager
def room_in(folder: Path, *, what: str) -> Iterator[None]:
    """Says DiskFull where a write of our own inside the block finds no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(f"There is no room for {what}: make some on the disk of {folder}, then run it again") from None


def _signal(returncode: int, text: str) -> int:
    """The signal that ended the program, or the worker that a launcher names as the root cause; shells say 128 + n."""
    if returncode < 0:
        return -returncode
    if "Root Cause" in text and (found := _WORKER.search(text, text.rindex("Root Cause"))):
        return int(found["number"])
    return returncode - 128 if returncode > 128 else 0


def count_oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """Processes that this kernel has killed for lack of memory since it started; 0 where it does not say."""
    try:
        lines = vmstat.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
