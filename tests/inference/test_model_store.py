"""Only the right files are served, and a wrong one gives one clear line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inference.errors import StartError
from inference.model_store import MERGED_KEPT, STARTER, default_model, file_sha256, find_model, prune_merged
from inference.predict import Predictor
from inference.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_default_is_the_packaged_model_with_the_starter_adapter() -> None:
    model = find_model(Settings())
    assert model.version.name == json.loads((STARTER / "manifest.json").read_text())["model"]["name"]
    assert model.adapter == STARTER / "adapter.gguf"
    assert (STARTER / "adapter.gguf").stat().st_size <= 5_000_000


def test_the_starter_adapter_names_no_folder_of_the_machine_that_trained_it() -> None:
    metadata = (STARTER / "adapter.gguf").read_bytes()[:4096]
    assert b"adapter.lora.alpha" in metadata
    assert b"general.base_model" not in metadata
    assert b"general.dataset" not in metadata


def copied_adapter(folder: Path, **changes: str) -> Path:
    shutil.copytree(STARTER, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"].update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="it was trained on another base"):
        find_model(Settings(adapter_path=copied_adapter(tmp_path / "a", base_sha256="0" * 64)))


def test_a_flipped_bit_in_the_adapter_is_refused(tmp_path: Path) -> None:
    folder = copied_adapter(tmp_path / "a")
    content = bytearray((folder / "adapter.gguf").read_bytes())
    content[-1] ^= 1
    (folder / "adapter.gguf").write_bytes(content)
    with pytest.raises(StartError, match="its manifest says"):
        find_model(Settings(adapter_path=folder))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}', '{"model": {"name": 5}}'])
def test_a_broken_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StartError, match="Cannot use the adapter's manifest"):
        find_model(Settings(adapter_path=tmp_path))


def test_a_missing_adapter_or_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"Cannot read the adapter's manifest .*: No such file or directory"):
        find_model(Settings(adapter_path=tmp_path / "nowhere"))
    with pytest.raises(StartError, match=r"Cannot read .*nowhere.gguf: No such file or directory"):
        find_model(Settings(model_path=tmp_path / "nowhere.gguf"))


def test_a_model_with_another_hash_is_refused() -> None:
    with pytest.raises(StartError, match="expected 0000"):
        find_model(Settings(model_path=default_model(), model_sha256="0" * 64))


def damaged(folder: Path, kind: str) -> Path:
    path = folder / "model.gguf"
    content = default_model().read_bytes()
    path.write_bytes({"foreign": b"PK\x03\x04" + content[4:2000], "empty": b"", "truncated": content[: len(content) // 2], "only magic": b"GGUF" + b"\x00" * 60}[kind])
    return path


@pytest.mark.parametrize("kind", ["foreign", "empty", "truncated", "only magic"])
def test_a_damaged_model_gives_one_line_and_exit_1(tmp_path: Path, kind: str) -> None:
    """In a process of its own, as the operator starts it."""
    path = damaged(tmp_path, kind)
    run = subprocess.run(
        [sys.executable, "-m", "inference"], env={"PATH": "/usr/bin:/bin", "MODEL_PATH": str(path), "INFERENCE_PORT": "58199"}, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert len(run.stderr.strip().splitlines()) == 1
    assert run.stderr.startswith("Cannot ")
    assert str(path) in run.stderr


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    path = shutil.copy(STARTER / "adapter.gguf", tmp_path / "adapter.gguf")
    with pytest.raises(StartError, match="Cannot load the model"):
        Predictor(find_model(Settings(model_path=Path(path))), n_ctx=512, n_threads=1)


def test_the_cache_keeps_what_was_asked_for_last(tmp_path: Path) -> None:
    merged = [tmp_path / f"{i}.gguf" for i in range(MERGED_KEPT + 2)]
    for i, path in enumerate(merged):
        path.write_bytes(b"m")
        path.with_suffix(".sha256").write_text("s")
        os.utime(path, (1000 + i, 1000 + i))
    prune_merged(tmp_path, merged[0])
    assert sorted(path.stem for path in tmp_path.glob("*.gguf")) == sorted(path.stem for path in (merged[0], *merged[3:]))
    assert sorted(path.stem for path in tmp_path.glob("*.sha256")) == sorted(path.stem for path in tmp_path.glob("*.gguf"))


def test_a_cache_that_is_gone_or_only_read_is_no_fault(tmp_path: Path) -> None:
    prune_merged(tmp_path / "gone", tmp_path / "gone" / "m.gguf")


def test_file_sha256_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
