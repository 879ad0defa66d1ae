"""Owns whether a checkpoint can be gone on from. Knows nothing of who writes it, beyond the form of its files."""

import json
import shutil
import zipfile
from pathlib import Path

NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt")
"""Without these a training begins anew; `trainer_state.json` is written last."""
SHARDED = ("trainer_state.json", "latest")
"""DeepSpeed keeps optimiser and scheduler in a folder of their own, which `latest` names."""


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints in a fine-tune's folder, newest first."""
    found = [path for path in out.glob("checkpoint-*") if path.is_dir() and _step(path) >= 0]
    return sorted(found, key=_step, reverse=True)


def remove_broken(out: Path) -> list[str]:
    """Remove the newest checkpoints as far as they are broken, so that a training goes on from the one before; say what was wrong.

    A killed run leaves half a checkpoint, a full disk a short file.
    """
    said = []
    for path in checkpoints(out):
        fault = find_fault(path)
        if fault is None:
            break
        said.append(f"{path.name} cannot be used: {fault}")
        shutil.rmtree(path)
    return said


def find_fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words, or None.

    The weights' header says how long their file is; the other files are zip archives with a checksum for each part.
    A changed byte inside the weights is not found: their format has no checksum.
    """
    needed = SHARDED if (checkpoint / "latest").exists() else NEEDED
    for name in needed:
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except ValueError:
        return "trainer_state.json is not whole"
    if not isinstance(state, dict) or state.get("global_step") != _step(checkpoint):
        return "trainer_state.json is of another step"
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        return "the weights are missing"
    archives = sorted(path for path in checkpoint.rglob("*") if path.suffix in {".pt", ".pth"})
    faulty = [path for path in weights if not _is_whole_safetensors(path)] + [path for path in archives if not _is_whole_archive(path)]
    return f"{faulty[0].name} is not whole" if faulty else None


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _is_whole_safetensors(path: Path) -> bool:
    """8 bytes of header length, the header (JSON with each tensor's place), then the tensors without a gap."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                return False
            header = json.loads(file.read(length))
        end = max((int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return size == 8 + length + end


def _is_whole_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, ValueError):
        return False
