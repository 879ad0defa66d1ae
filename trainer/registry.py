"""Owns where a finished model goes: its folder, the artifact store, the running inference service.

A store is a folder or a URL that fsspec knows. Everything may be repeated: what is there already and is right stays.
Knows nothing of training, gates or the database.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import httpx

from inference.artifacts import MANIFEST, ArtifactFile, check_files, described, fetch, read_files
from inference.errors import InferenceError
from trainer.errors import ArtifactBroken, Refused
from trainer.stage import read_manifest, write_json

BLOCK = 1 << 20
SWAP_S = 900.0
"""The longest that a service may take to fetch, load and test a model; another load there is waited for as long."""
ASK_AGAIN_S = 0.5
"""Between two questions whether that load has ended."""
MODELS_FAULT = (422, "failed_self_test")
"""The one answer that speaks of the model: what it said must not be used. All others are of the service: its store, its disk, its memory."""


def make_artifact(folder: Path, files: Mapping[str, Path], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a model's files into a folder, its manifest last. Returns the manifest, with `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in files.items():
        shutil.copyfile(source, folder / name)
    whole = {**manifest, "files": described(folder)}
    write_json(folder / MANIFEST, whole)
    return whole


def upload(folder: Path, store: str, name: str) -> str:
    """Put a model's folder into the store under its name, manifest last, and read all of it back. Returns where it lies.

    Raises ArtifactBroken when the store cannot be used, gives back something else, or has another model of that name.
    """
    place = f"{store.rstrip('/')}/{name}"
    try:
        check_files(folder)
        files = read_files(read_manifest(folder), folder)
        filesystem, root = fsspec.core.url_to_fs(place)
        there = _known(filesystem, root)
        if there and read_files(_parsed(there), place) != files:
            raise ArtifactBroken(f"Cannot upload {name}: {place} holds another model of that name")
        filesystem.makedirs(root, exist_ok=True)
        for file, wanted in files.items():
            if not _is_there(filesystem, f"{root}/{file}", wanted):
                _put(filesystem, (folder / file).read_bytes(), f"{root}/{file}")
                if not _is_there(filesystem, f"{root}/{file}", wanted):
                    raise ArtifactBroken(f"Cannot upload {name}: {place}/{file} is not what was written there")
        _put(filesystem, (folder / MANIFEST).read_bytes(), f"{root}/{MANIFEST}")
    except (ArtifactBroken, InferenceError) as error:
        raise ArtifactBroken(str(error)) from None
    except Exception as error:  # noqa: BLE001 -- each kind of store has exceptions of its own
        raise ArtifactBroken(f"Cannot upload {name} to {store}: {error or type(error).__name__}") from None
    return place


def download(place: str, into: Path) -> Path:
    """The folder of a model that `upload` put there, checked. Raises ArtifactBroken."""
    store, _, name = place.rstrip("/").rpartition("/")
    folder = into / name
    try:
        if folder.is_dir():
            check_files(folder)
            return folder
        into.mkdir(parents=True, exist_ok=True)
        return fetch(store, name, into)
    except InferenceError as error:
        raise ArtifactBroken(str(error)) from None


def _known(filesystem: Any, root: str) -> bytes | None:
    try:
        return bytes(filesystem.cat_file(f"{root}/{MANIFEST}"))
    except FileNotFoundError:
        return None


def _parsed(manifest: bytes) -> Any:
    try:
        return json.loads(manifest)
    except ValueError:
        return None


def _is_there(filesystem: Any, path: str, wanted: ArtifactFile) -> bool:
    filesystem.invalidate_cache()
    if not filesystem.exists(path) or filesystem.size(path) != wanted.bytes:
        return False
    digest = hashlib.sha256()
    with filesystem.open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == wanted.sha256


def _put(filesystem: Any, content: bytes, path: str) -> None:
    """In one step: a reader sees the old file or the whole new one."""
    with filesystem.transaction, filesystem.open(path, "wb") as file:
        file.write(content)


class Service:
    """The running inference service, as its operator reaches it."""

    def __init__(self, url: str, admin_token: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {admin_token}"} if admin_token else {}

    def put_to_work(self, name: str, features: Sequence[str]) -> None:
        """Have the service fetch, load and test a model, and answer these features by it from then on. Again: changes nothing.

        Raises Refused with the service's own words when the model is not fit for it, and ArtifactBroken when the service is not
        (wrong token, no such store, still busy): the model before goes on answering, and it may be asked again.
        """
        deadline = time.monotonic() + SWAP_S
        while True:
            response = self._post({"folder": name, "features": list(features)})
            if response.status_code != 409 or time.monotonic() > deadline:
                break
            time.sleep(ASK_AGAIN_S)
        if response.status_code == 200:
            return
        code, words = _error(response)
        if (response.status_code, code) == MODELS_FAULT:
            raise Refused(f"The inference service did not put {name} to work: {words}")
        raise ArtifactBroken(f"The inference service at {self._url} could not put {name} to work: {words} ({response.status_code}; the model is not to blame: run it again)")

    def _post(self, body: Mapping[str, Any]) -> httpx.Response:
        try:
            return httpx.post(f"{self._url}/v1/models", json=body, headers=self._headers, timeout=SWAP_S)
        except httpx.HTTPError as error:
            raise ArtifactBroken(f"Cannot reach the inference service at {self._url}: {error or type(error).__name__} (is it up? set INFERENCE_URL and INFERENCE_ADMIN_TOKEN)") from None


def _error(response: httpx.Response) -> tuple[str, str]:
    """The service's code and words, or as much as can be said of an answer that is not its own."""
    try:
        error = response.json()["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "", f"it answered {response.status_code}"
