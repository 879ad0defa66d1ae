"""Owns when a stage is done: its folder holds a manifest, written last, made from the same inputs.

Knows nothing of what any stage does.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from inference.model_store import file_sha256
from trainer.errors import BrokenRows

Facts = Mapping[str, Any]


def run_stage(folder: Path, inputs: Facts, make: Callable[[Path], Facts], *, keep_partial: bool = False) -> dict[str, Any]:
    """Run `make(folder)` unless the folder already holds its result for these inputs; return the stage's facts.

    A killed run leaves no manifest, so the next run does the stage again: from nothing, or, with `keep_partial`,
    in the same folder as long as the inputs are the same.
    """
    key = digest(inputs)
    done = read_manifest(folder)
    if done.get("key") == key and is_whole(folder, done):
        return dict(done["facts"])
    (folder / "manifest.json").unlink(missing_ok=True)
    begun = folder / "begun"
    if not (keep_partial and begun.exists() and begun.read_text() == key):
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(key)
    facts = dict(make(folder))
    files = {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file() and path != begun}
    write_json(folder / "manifest.json", {"key": key, "inputs": dict(inputs), "facts": facts, "files": files})
    return facts


def is_whole(folder: Path, manifest: Facts) -> bool:
    """Whether every file that a stage left is still there as it was."""
    files = {folder / name: sha256 for name, sha256 in manifest.get("files", {}).items()}
    return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in files.items())


def facts_before(folder: Path, stage: str) -> dict[str, Any]:
    """The facts of the stage before, whose folder this is. Raises BrokenRows when it has not finished, or a file of it is not what it wrote."""
    manifest = read_manifest(folder)
    if not manifest:
        raise BrokenRows(f"Cannot {stage} {folder}: {folder.name} has not finished there (run the stage before it)")
    if not is_whole(folder, manifest):
        raise BrokenRows(f"Cannot {stage} {folder}: a file is gone or is not what {folder.name} wrote (run {folder.name} again)")
    return dict(manifest["facts"])


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write_json(path: Path, value: Any) -> None:
    """Write in one step: a reader sees the old file or the new one, never half of it."""
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    os.replace(partial, path)


def sources_sha256(*modules: ModuleType | str) -> str:
    """The hash of our own code in these modules and packages: a stage whose rules have changed is not done yet.

    One that runs in another environment, where what it imports is installed, is named: it is only read here.
    """
    files = sorted(path for module in modules for path in _files(module))
    return digest([[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files])


def _files(module: ModuleType | str) -> list[Path]:
    spec = find_spec(module) if isinstance(module, str) else module.__spec__
    path = Path(str(spec and spec.origin))
    return list(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
