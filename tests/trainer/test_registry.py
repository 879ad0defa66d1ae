"""A model is put into the store whole, once, and what the store gives back is what was put there: a folder or S3."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import httpx
import pytest
from moto.server import ThreadedMotoServer

from inference.model_store import STARTER
from trainer import registry
from trainer.errors import ArtifactBroken, Refused
from trainer.registry import Service, download, make_artifact, upload


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server of this machine's own."""
    port = _free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": request.getfixturevalue("s3"), "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    bucket = f"models-{abs(hash(str(tmp_path))) % 10**8}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/slm"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "m-1"
    (tmp_path / "phrases.txt").write_text("risk\t{}\n")
    make_artifact(folder, {"adapter.gguf": STARTER / "adapter.gguf", "phrases.txt": tmp_path / "phrases.txt"}, json.loads((STARTER / "manifest.json").read_text()))
    return folder


def test_what_comes_back_is_what_was_put_there(store: str, model: Path, tmp_path: Path) -> None:
    place = upload(model, store, "m-1")
    assert place == f"{store}/m-1"
    assert upload(model, store, "m-1") == place, "again: nothing changes"
    back = download(place, tmp_path / "back")
    assert {path.name: path.read_bytes() for path in back.iterdir() if path.suffix != ".json"} == {path.name: path.read_bytes() for path in model.iterdir() if path.suffix != ".json"}
    assert json.loads((back / "manifest.json").read_text()) == json.loads((model / "manifest.json").read_text())


def test_an_upload_that_was_cut_off_is_finished_by_the_next(store: str, model: Path, tmp_path: Path) -> None:
    filesystem, root = fsspec.core.url_to_fs(f"{store}/m-1")
    filesystem.makedirs(root, exist_ok=True)
    filesystem.pipe_file(f"{root}/adapter.gguf", (model / "adapter.gguf").read_bytes()[:1000])
    with pytest.raises(ArtifactBroken, match=r"Cannot load 'm-1': neither"):
        download(f"{store}/m-1", tmp_path / "back")
    download(upload(model, store, "m-1"), tmp_path / "back")


def test_a_name_belongs_to_its_files(store: str, model: Path, tmp_path: Path) -> None:
    upload(model, store, "m-1")
    other = tmp_path / "other"
    shutil.copytree(model, other)
    make_artifact(other, {"phrases.txt": STARTER / "phrases.txt"}, json.loads((model / "manifest.json").read_text()))
    with pytest.raises(ArtifactBroken, match="holds another model of that name"):
        upload(other, store, "m-1")


def test_a_model_that_was_harmed_before_is_not_uploaded(tmp_path: Path, model: Path) -> None:
    (model / "adapter.gguf").write_bytes(b"GGUF")
    with pytest.raises(ArtifactBroken, match="its manifest says"):
        upload(model, str(tmp_path / "store"), "m-1")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("store", ["nowhere://x", "/proc/nobody-may-write"])
def test_a_store_that_cannot_be_used_gives_one_line(model: Path, store: str) -> None:
    with pytest.raises(ArtifactBroken, match=r"^Cannot upload m-1 to (nowhere|/proc)"):
        upload(model, store, "m-1")


def test_a_service_that_is_not_there_gives_one_line() -> None:
    with pytest.raises(ArtifactBroken, match=r"^Cannot reach the inference service at http://127\.0\.0\.1:1"):
        Service("http://127.0.0.1:1", None).put_to_work("m-1", ["risk"])


class Answering:
    """An inference service that gives these answers, the last one again and again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: httpx.Response) -> None:
        self.asked: list[Any] = []
        self._answers = list(answers)
        monkeypatch.setattr(httpx, "post", self._post)
        monkeypatch.setattr(registry, "ASK_AGAIN_S", 0.0)

    def _post(self, url: str, **asked: Any) -> httpx.Response:
        self.asked.append((url, asked["json"], asked["headers"]))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def answer(status: int, code: str = "", message: str = "the service's own words") -> httpx.Response:
    return httpx.Response(status, json={"error": {"code": code, "message": message}} if code else {})


def test_only_what_the_service_says_of_the_model_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    Answering(monkeypatch, answer(422, "failed_self_test", "its self-test of 'risk' failed"))
    with pytest.raises(Refused, match=r"^The inference service did not put m-1 to work: its self-test of 'risk' failed$"):
        Service("http://x", "token").put_to_work("m-1", ["risk"])


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "unknown_model"), (408, "too_slow"), (422, "cannot_serve"), (422, "invalid_input"), (500, "internal"), (502, ""), (503, "overloaded")],
)
def test_what_is_wrong_with_the_service_is_no_refusal_of_the_model(monkeypatch: pytest.MonkeyPatch, status: int, code: str) -> None:
    """A refusal sticks, and the run that ends in one is not repeated."""
    Answering(monkeypatch, answer(status, code))
    with pytest.raises(ArtifactBroken, match=rf"^The inference service at http://x could not put m-1 to work: .* \({status}; the model is not to blame: run it again\)$"):
        Service("http://x", "token").put_to_work("m-1", ["risk"])


def test_another_load_is_waited_for_as_long_as_one_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = answer(409, "model_busy", "'m-0' is being loaded")
    service = Answering(monkeypatch, busy, busy, answer(200))
    Service("http://x", "token").put_to_work("m-1", ["risk"])
    assert service.asked == [("http://x/v1/models", {"folder": "m-1", "features": ["risk"]}, {"authorization": "Bearer token"})] * 3

    clock = iter([0.0, registry.SWAP_S - 1, registry.SWAP_S + 1])
    monkeypatch.setattr(registry, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    service = Answering(monkeypatch, busy)
    with pytest.raises(ArtifactBroken, match="'m-0' is being loaded"):
        Service("http://x", "token").put_to_work("m-1", ["risk"])
    assert len(service.asked) == 2
