"""A model comes from the artifact store whole and proved, or not at all; and a restart comes back with what was put to work."""

import asyncio
import json
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from inference import artifacts, loader
from inference.errors import CannotServe, StartError, UnknownModel
from inference.live_list import read_live, write_live
from inference.loader import START, Loader
from inference.model_store import STARTER
from inference.models import Models
from inference.restart import come_back
from inference.settings import Settings, read_settings
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import RISK

STARTER_NAME = json.loads((STARTER / "manifest.json").read_text())["model"]["name"]


async def unloaded(models: Models) -> None:
    while any(facts.state == "draining" for facts in models.facts()):
        await asyncio.sleep(0.01)


def put(folder: Path, name: str) -> Path:
    """The starter under another name, as the trainer uploads a model."""
    there = folder / name
    there.mkdir(parents=True)
    shutil.copy(STARTER / "adapter.gguf", there)
    (there / "phrases.txt").write_text("".join((STARTER / "phrases.txt").read_text().splitlines(keepends=True)[::20]))
    manifest = json.loads((STARTER / "manifest.json").read_text())
    manifest["model"]["name"] = name
    (there / "manifest.json").write_text(json.dumps({**manifest, "files": artifacts.described(there)}))
    return there


@pytest.fixture
def store(tmp_path: Path) -> Path:
    put(tmp_path / "store", "model-a")
    return tmp_path / "store"


@pytest.fixture
def settings(store: Path, tmp_path: Path) -> Settings:
    (tmp_path / "models").mkdir()
    return Settings(inference_admin_token=SecretStr("an-operators-token-for-tests"), model_folder=tmp_path / "models", artifact_store=str(store), context_tokens=2048, threads=2, deadline_s=60)


@pytest.fixture
def never_mapped(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fails the test when llama.cpp is given anything to map."""
    mapped: list[str] = []
    monkeypatch.setattr(loader, "Predictor", lambda files, **_: mapped.append(str(files)))
    yield mapped
    assert mapped == []


def test_a_model_is_fetched_once_and_answers(settings: Settings, store: Path) -> None:
    live = Loader(settings)
    model = live.load("model-a")
    assert model.version.name == "model-a"
    folder = settings.model_folder
    assert folder is not None
    assert sorted(path.name for path in folder.iterdir()) == ["model-a"]
    shutil.rmtree(store)
    live.load("model-a")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def mutate(path: Path) -> None:
    content = bytearray(path.read_bytes())
    rng = random.Random(3)
    for _ in range(8):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def swap(path: Path) -> None:
    """Another file of the same length: what a size alone would not tell."""
    path.write_bytes(os.urandom(path.stat().st_size))


@pytest.mark.parametrize("where", ["in the store", "in MODEL_FOLDER"])
@pytest.mark.parametrize("file", ["adapter.gguf", "phrases.txt"])
@pytest.mark.parametrize(("harm", "said"), [(cut, "bytes, its manifest says"), (mutate, "its sha256 is"), (swap, "its sha256 is"), (Path.unlink, "adapter.gguf|phrases.txt")])
def test_what_is_not_as_its_manifest_says_is_refused_before_it_is_mapped(
    settings: Settings, store: Path, never_mapped: list[str], where: str, file: str, harm: Callable[[Path], None], said: str
) -> None:
    assert settings.model_folder is not None
    if where == "in MODEL_FOLDER":
        shutil.copytree(store / "model-a", settings.model_folder / "model-a")
    harm((store if where == "in the store" else settings.model_folder) / "model-a" / file)
    with pytest.raises(StartError, match=said):
        Loader(settings).load("model-a")
    if where == "in the store":
        assert list(settings.model_folder.iterdir()) == [], "nothing of it is left"


@pytest.mark.parametrize(
    ("manifest", "error", "said"),
    [
        ("{", StartError, "it is not JSON"),
        ("[]", StartError, "Cannot use the manifest"),
        ('{"files": {}}', StartError, "it names no files"),
        ('{"files": {"../../x": {"bytes": 1, "sha256": "' + "0" * 64 + '"}}}', StartError, "a model has no file '../../x'"),
        ('{"files": {"adapter.gguf": {"bytes": -1, "sha256": "x"}}}', StartError, r"files\.adapter\.gguf\.bytes"),
        ('{"files": {"adapter.gguf": {"bytes": 900000000000000, "sha256": "' + "0" * 64 + '"}}}', StartError, "it has 900,000,000,000,000 bytes, .* free"),
    ],
)
def test_a_manifest_that_cannot_be_believed_is_refused(settings: Settings, store: Path, never_mapped: list[str], manifest: str, error: type[Exception], said: str) -> None:
    (store / "model-a" / "manifest.json").write_text(manifest)
    with pytest.raises(error, match=said):
        Loader(settings).load("model-a")


@pytest.mark.parametrize(("store_url", "said"), [("nowhere://x", "Protocol not known: nowhere"), ("s3://", "from s3://")])
def test_a_store_that_cannot_be_used_is_named(settings: Settings, store_url: str, said: str) -> None:
    with pytest.raises((StartError, UnknownModel), match=said):
        Loader(settings.model_copy(update={"artifact_store": store_url})).load("model-a")


def test_a_model_that_nobody_has_is_unknown(settings: Settings, store: Path) -> None:
    with pytest.raises(UnknownModel, match=r"neither MODEL_FOLDER nor .* has it"):
        Loader(settings).load("model-b")
    (store / "model-a" / "manifest.json").unlink()
    with pytest.raises(UnknownModel):
        Loader(settings).load("model-a")


def test_a_store_without_a_folder_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACT_STORE", "s3://models")
    monkeypatch.delenv("MODEL_FOLDER", raising=False)
    with pytest.raises(StartError, match="ARTIFACT_STORE is set without MODEL_FOLDER"):
        read_settings()


async def test_a_restart_comes_back_with_what_was_put_to_work(settings: Settings, store: Path) -> None:
    put(store, "model-b")
    models = come_back(settings, Loader(settings))
    assert {name: models.version(name).name for name in FEATURES} == {"risk": STARTER_NAME, "plan": STARTER_NAME}
    await models.load("model-a", ["risk", "plan"])
    await models.load("model-b", ["plan"])
    await unloaded(models)
    await models.stop()
    assert settings.model_folder is not None
    assert read_live(settings.model_folder) == {"risk": "model-a", "plan": "model-b"}

    again = come_back(settings, Loader(settings))
    assert [(facts.name, list(facts.features)) for facts in again.facts()] == [("model-a", ["risk"]), ("model-b", ["plan"])], "and the settings' own model is not loaded"
    assert (await again.load("model-a", ["plan"])).features == ["risk", "plan"]
    await unloaded(again)
    await again.load(START, ["risk", "plan"])
    await unloaded(again)
    await again.stop()
    last = come_back(settings, Loader(settings))
    assert last.version("risk").name == STARTER_NAME
    await last.stop()


@pytest.mark.parametrize("content", ["{", '{"risk": 1}', '{"risk": "../model-z", "leave": "model-a"}'])
async def test_a_broken_list_falls_back_to_the_model_of_the_settings(settings: Settings, caplog: pytest.LogCaptureFixture, content: str) -> None:
    assert settings.model_folder is not None
    (settings.model_folder / "live.json").write_text(content)
    with caplog.at_level(logging.ERROR):
        models = come_back(settings, Loader(settings))
    assert models.version("risk").name == models.version("plan").name == STARTER_NAME
    await models.stop()
    assert len(caplog.records) == 1
    assert caplog.messages[0].endswith("the model of the settings answers")


async def test_a_model_that_was_harmed_meanwhile_does_not_come_back(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    assert settings.model_folder is not None
    put(settings.model_folder, "model-a")
    write_live(settings.model_folder, {"risk": "model-a", "plan": "model-a"})
    mutate(settings.model_folder / "model-a" / "adapter.gguf")
    models = come_back(settings, Loader(settings))
    assert models.version("risk").name == STARTER_NAME
    assert "Cannot come back with model-a: Cannot use" in caplog.text
    await models.stop()


async def test_a_swap_that_a_restart_would_forget_does_not_happen(settings: Settings, predictor: object) -> None:
    def full(_answering: object) -> None:
        raise CannotServe("Cannot write live.json: No space left on device")

    models = Models(Loader(settings).load(START), Loader(settings), longest_s=60, keep=full)
    with pytest.raises(CannotServe, match="No space left"):
        await models.load("model-a", ["risk"])
    assert models.version("risk").name == STARTER_NAME
    with models.answering("risk") as model:
        assert (await model.predict(RISK, RISK.golden, deadline_s=60)).model.name == STARTER_NAME
    await models.stop()
