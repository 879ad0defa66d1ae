"""Owns how a model lies in an artifact store, and how it gets from there into MODEL_FOLDER: whole and proved, or not at all.

A store is a folder or a URL that fsspec knows (s3://bucket/models). A model is `<name>/` with its files, and `manifest.json`,
written last, which names each file with its bytes and sha256. Knows nothing of models at work.
"""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import fsspec
from pydantic import Field, TypeAdapter, ValidationError

from inference.errors import StartError, UnknownModel
from inference.model_store import file_sha256
from shared_schemas.closed import Closed
from shared_schemas.model_version import Sha256

MANIFEST = "manifest.json"
FILES = ("adapter.gguf", "model.gguf", "phrases.txt")
"""What a model may consist of beside its manifest."""
MAX_MANIFEST_BYTES = 4_000_000


class ArtifactFile(Closed):
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


_FILES: TypeAdapter[dict[str, ArtifactFile]] = TypeAdapter(dict[str, ArtifactFile])


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """What a manifest says under `files` of those that lie in this folder."""
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)} for name in FILES if (folder / name).exists()}


def check_files(folder: Path) -> None:
    """Raises StartError unless every file that the folder's manifest names under `files` is there with its size and its sha256.

    Sizes are looked at first. Whether there is a manifest, and what the weights are, is model_store's to prove.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return
    files = read_files(manifest, folder / MANIFEST)
    for name, wanted in files.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != wanted.bytes:
            raise StartError(f"Cannot use {path}: " + ("it is not there" if found is None else f"it has {found} bytes, its manifest says {wanted.bytes}"))
    for name, wanted in files.items():
        sha256 = file_sha256(folder / name)
        if sha256 != wanted.sha256:
            raise StartError(f"Cannot use {folder / name}: its sha256 is {sha256}, its manifest says {wanted.sha256}")


def read_files(manifest: Any, place: object) -> dict[str, ArtifactFile]:
    """By name. Raises StartError when the manifest cannot be understood, or names a file that no model has."""
    try:
        files = _FILES.validate_python(manifest.get("files", {}) if isinstance(manifest, dict) else None)
    except ValidationError as error:
        raise StartError(f"Cannot use the manifest {place}: files.{'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}") from None
    unknown = sorted(set(files) - set(FILES))
    if unknown:
        raise StartError(f"Cannot use the manifest {place}: a model has no file {unknown[0][:100]!r}")
    return files


def fetch(store: str, name: str, into: Path) -> Path:
    """The model's folder under `into`, fetched from the store: it appears under its name only when every file is proved.

    Raises UnknownModel when the store has no such model, StartError when it cannot be read, is not what its manifest says,
    or does not fit the disk.
    """
    try:
        filesystem, root = fsspec.core.url_to_fs(store)
        there = f"{root.rstrip('/')}/{name}"
        manifest = _read_manifest(filesystem, f"{there}/{MANIFEST}", name, store)
        files = read_files(manifest, f"{store}/{name}/{MANIFEST}")
        if not files:
            raise StartError(f"Cannot use the manifest {store}/{name}/{MANIFEST}: it names no files")
        free, wanted = shutil.disk_usage(into).free, sum(file.bytes for file in files.values())
        if wanted > free:
            raise StartError(f"Cannot fetch {name!r}: it has {wanted:,} bytes, {into} has {free:,} free")
        partial = into / f".fetch-{name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            for file, described in files.items():
                if filesystem.size(f"{there}/{file}") != described.bytes:
                    raise StartError(f"Cannot fetch {name!r}: {file} has {filesystem.size(f'{there}/{file}')} bytes, its manifest says {described.bytes}")
                filesystem.get_file(f"{there}/{file}", str(partial / file))
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
            check_files(partial)
            return partial.rename(into / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except (StartError, UnknownModel):
        raise
    except Exception as error:  # noqa: BLE001 -- each kind of store has exceptions of its own
        raise StartError(f"Cannot fetch {name!r} from {store}: {error or type(error).__name__}") from None


def _read_manifest(filesystem: Any, path: str, name: str, store: str) -> dict[str, Any]:
    try:
        content = filesystem.cat_file(path, start=0, end=MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise UnknownModel(f"Cannot load {name!r}: neither MODEL_FOLDER nor {store} has it") from None
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        raise StartError(f"Cannot use the manifest {store}/{name}/{MANIFEST}: it is not JSON") from None
