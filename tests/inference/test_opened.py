"""What is loaded is what was hashed: nothing put in a file's place, nor written into it, gets in between (fault 23 of the limits)."""

import os
import shutil
from pathlib import Path

import llama_cpp
import pytest

from inference.engine.llama import Weights
from inference.engine.opened import opened
from inference.errors import StartError
from inference.model_store import STARTER, default_model, file_sha256


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return Path(shutil.copy(STARTER / "adapter.gguf", tmp_path / "adapter.gguf"))


def test_a_file_put_in_its_place_is_not_what_is_read(adapter: Path) -> None:
    wanted = adapter.read_bytes()
    other = adapter.with_name("other")
    other.write_bytes(b"GGUF of another")
    with opened(adapter, file_sha256(adapter)) as name:
        os.replace(other, adapter)
        assert name.read_bytes() == wanted
    assert adapter.read_bytes() != wanted


def test_a_file_that_changed_since_its_hash_is_refused(adapter: Path) -> None:
    sha256 = file_sha256(adapter)
    with adapter.open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    with pytest.raises(StartError, match=f"its sha256 is .* it was {sha256} when it was checked"), opened(adapter, sha256):
        pytest.fail("it was opened")


def test_a_write_while_it_is_loaded_is_noticed(adapter: Path) -> None:
    with pytest.raises(StartError, match="written to while it was loaded"), opened(adapter, file_sha256(adapter)), adapter.open("ab") as file:
        file.write(b"x")


def test_the_weights_are_loaded_from_the_file_that_was_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file takes the path at the last moment, right before llama.cpp opens what it is told to open."""
    path = tmp_path / "model.gguf"
    shutil.copy(default_model(), path)
    (tmp_path / "other").write_bytes(b"GGUF of another")
    load, asked = llama_cpp.llama_model_load_from_file, list[str]()

    def swapped(name: bytes, params: object) -> object:
        os.replace(tmp_path / "other", path)
        asked.append(name.decode())
        return load(name, params)

    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", swapped)
    weights = Weights(path, file_sha256(path))
    assert weights.hold()
    assert len(weights.vocabulary.pieces) == 49_152
    weights.let_go()
    assert asked[0].startswith("/proc/self/fd/")


def test_weights_of_another_hash_are_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "llama_model_load_from_file", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(StartError, match="when it was checked"):
        Weights(default_model(), "0" * 64)


def test_what_cannot_be_loaded_is_named_by_its_own_path(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(StartError) as refused:
        Weights(broken)
    assert str(broken) in str(refused.value)
    assert "/proc/" not in str(refused.value)
