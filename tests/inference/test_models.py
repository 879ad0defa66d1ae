"""Models come and go while requests are answered: nothing is dropped, a bad one never gets to answer, and each says its name."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from inference.answers import Answers
from inference.app import create_app
from inference.engine.completion import Job
from inference.engine.llama import Weights
from inference.errors import CannotServe, FailedSelfTest, ModelBusy, StartError, UnknownModel
from inference.loader import START, Loader
from inference.memory import MIB
from inference.model_store import STARTER, default_model, file_sha256
from inference.models import Models
from inference.models_command import models as models_command
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import RISK

CALLER, ADMIN = "a-token-for-tests-only", "an-operators-token-for-tests"
AS_CALLER, AS_ADMIN = {"authorization": f"Bearer {CALLER}"}, {"authorization": f"Bearer {ADMIN}"}
STARTER_NAME = json.loads((STARTER / "manifest.json").read_text())["model"]["name"]
GOLDEN = {name: feature.golden.model_dump() for name, feature in FEATURES.items()}


def make_adapter(folder: Path, **changes: Any) -> None:
    """The starter with another manifest, and few of its phrases: learning them all takes a second."""
    shutil.copytree(STARTER, folder)
    phrases = (folder / "phrases.txt").read_text().splitlines(keepends=True)
    (folder / "phrases.txt").write_text("".join(phrases[::20]))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"].update(changes)
    del manifest["files"]  # the phrases are not all of them
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models under names of their own, all of them the starter's weights; and some that are not what they say."""
    top = tmp_path_factory.mktemp("store")
    models = top / "models"
    make_adapter(models / "first")
    for name in ("second", "third"):
        make_adapter(models / name, name=f"model-{name}")
    make_adapter(models / "wrong-hash", adapter_sha256="0" * 64)
    make_adapter(models / "other-base", base_sha256="0" * 64)
    make_adapter(top / "outside", name="model-outside")
    (models / "link-out").symlink_to(top / "outside")
    make_adapter(models / "inner-link")
    (models / "inner-link" / "adapter.gguf").unlink()
    (models / "inner-link" / "adapter.gguf").symlink_to(top / "outside" / "adapter.gguf")
    (models / "empty").mkdir()
    untuned = models / "untuned"
    untuned.mkdir()
    shutil.copy(default_model(), untuned / "model.gguf")
    version = {"name": "untuned", "base_sha256": file_sha256(default_model()), "prompt_style": "tag"}
    (untuned / "manifest.json").write_text(json.dumps({"model": version}))
    shutil.copytree(untuned, models / "cut-short")
    (models / "cut-short" / "model.gguf").write_bytes((untuned / "model.gguf").read_bytes()[:50_000_000])
    return models


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(inference_token=SecretStr(CALLER), inference_admin_token=SecretStr(ADMIN), model_folder=folder, adapter_path=folder / "first", context_tokens=4096, threads=2, deadline_s=60)


def url(server: uvicorn.Server) -> str:
    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


@asynccontextmanager
async def serving(settings: Settings, models: Models) -> AsyncIterator[httpx.AsyncClient]:
    """The service on a real port."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings, models), port=0, log_level="warning", log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=url(server), timeout=120, headers=AS_CALLER) as client:
        yield client
    server.should_exit = True
    await running


@pytest.fixture
def models(settings: Settings, predictor: Predictor) -> Iterator[Models]:
    """The shared model in front; for loads that must fail and leave it where it is."""
    models = Models(predictor, Loader(settings), longest_s=60)
    yield models
    assert [facts.name for facts in models.facts() if facts.state == "live"] == [STARTER_NAME]


def weights_of(model: Answers) -> Weights:
    assert isinstance(model, Predictor)
    return model.llama.weights


async def unloaded(models: Models) -> None:
    while any(facts.state == "draining" for facts in models.facts()):
        await asyncio.sleep(0.01)


async def test_ten_swaps_under_load_drop_no_request(settings: Settings) -> None:
    loader = Loader(settings)
    models = Models(first := loader.load(START), loader, longest_s=60)
    weights = weights_of(first)
    answered: list[tuple[int, str]] = []
    done = asyncio.Event()

    async def ask_on(client: httpx.AsyncClient, number: int) -> None:
        while not done.is_set():
            response = await client.post("/v1/features/risk", json={**GOLDEN["risk"], "title": f"Payroll report {number}"})
            answered.append((response.status_code, response.json()["model"]["name"]))

    async with serving(settings, models) as client:
        clients = [asyncio.create_task(ask_on(client, number)) for number in range(6)]
        for wanted in (*("second", "third", START) * 3, "second", START)[1:]:
            loaded = await client.post("/v1/models", json={"folder": wanted, "features": ["risk"]}, headers=AS_ADMIN)
            assert loaded.status_code == 200, loaded.text
            assert "risk" in loaded.json()["features"]
            while answered[-1:] != [(200, loaded.json()["id"])]:
                await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*clients)
        await unloaded(models)
        assert [(model["id"], model["state"]) for model in (await client.get("/v1/models")).json()["data"]] == [(STARTER_NAME, "live")]
    assert {status for status, _name in answered} == {200}
    assert {name for _status, name in answered} == {STARTER_NAME, "model-second", "model-third"}
    assert weights.model is None, "the service has ended: nothing is left in memory"


async def test_each_feature_has_its_own_model_and_both_share_the_weights(settings: Settings) -> None:
    loader = Loader(settings)
    models = Models(first := loader.load(START), loader, longest_s=60)
    weights = weights_of(first)
    async with serving(settings, models) as client:
        assert (await client.post("/v1/models", json={"folder": "second", "features": ["risk"]}, headers=AS_ADMIN)).status_code == 200
        names = {name: (await client.post(f"/v1/features/{name}", json=body)).json()["model"]["name"] for name, body in GOLDEN.items()}
        assert names == {"risk": "model-second", "plan": STARTER_NAME}
        ready = (await client.get("/readyz")).json()
        assert (ready["status"], ready["model"]["name"], ready["models"]) == ("ready", "model-second", names)
        assert weights.holders == 2

        listed = (await client.get("/v1/models")).json()
        assert listed["object"] == "list"
        assert [(model["id"], model["features"]) for model in listed["data"]] == [(STARTER_NAME, ["plan"]), ("model-second", ["risk"])]
        assert listed["data"][1]["weights_sha256"] == file_sha256(weights.path)
        assert listed["data"][1]["adapter_sha256"] == file_sha256(STARTER / "adapter.gguf")

        refused = await client.delete("/v1/models/model-second", headers=AS_ADMIN)
        assert (refused.status_code, refused.json()["error"]["message"]) == (409, "Cannot unload 'model-second': it answers risk (put another model to work first)")
        back = await client.post("/v1/models", json={"folder": START, "features": ["risk"]}, headers=AS_ADMIN)
        assert (back.status_code, back.json()["features"]) == (200, ["risk", "plan"])
        await unloaded(models)
        assert weights.holders == 1
        assert (await client.get("/readyz")).json()["models"] == {"risk": STARTER_NAME, "plan": STARTER_NAME}


async def test_a_request_at_work_finishes_on_the_model_it_began_with(settings: Settings) -> None:
    loader = Loader(settings)
    models = Models(loader.load(START), loader, longest_s=60)
    with models.answering("risk") as old:
        await models.load("second", ["risk", "plan"])
        assert {facts.name: facts.state for facts in models.facts()} == {"model-second": "live", STARTER_NAME: "draining"}
        assert (await old.predict(RISK, RISK.golden, deadline_s=60)).model.name == STARTER_NAME
    await unloaded(models)
    assert [facts.name for facts in models.facts()] == ["model-second"]
    await models.stop()


async def test_an_operator_loads_and_unloads_by_command(settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_TOKEN", CALLER)
    monkeypatch.setenv("INFERENCE_ADMIN_TOKEN", ADMIN)
    loader = Loader(settings)
    models = Models(loader.load(START), loader, longest_s=60)

    async def command(*words: str) -> tuple[int, str]:
        status = await asyncio.to_thread(models_command, [*words, "--url", str(client.base_url)])
        said = capsys.readouterr()
        return status, said.out + said.err

    async with serving(settings, models) as client:
        status, said = await command("load", "second", "--no-wait")
        assert (status, said.split()[:2]) == (0, ["second", "loading"])
        assert await command("load", "third") == (1, "Cannot load 'third': 'second' is being loaded\n")
        while "loading" in said:
            status, said = await command("list")
        assert [line.split()[:3] for line in said.splitlines()] == [[STARTER_NAME, "live", "risk,plan"], ["model-second", "live", "-"]]
        assert (await command("unload", "model-second"))[1].split()[:2] == ["model-second", "draining"]
        await unloaded(models)
        assert len((await command("list"))[1].splitlines()) == 1
        status, said = await command("unload", "nobody")
        assert (status, said.startswith("Cannot unload 'nobody': no live model is called that")) == (1, True)


async def test_a_model_that_fails_its_self_test_never_answers(models: Models) -> None:
    with pytest.raises(FailedSelfTest, match=r"Cannot put 'untuned' to work: its self-test of 'risk' failed: "):
        await models.load("untuned", ["risk", "plan"])
    assert FailedSelfTest.code != CannotServe.code, "who loads it is told that the model is to blame"
    assert models.version("risk").name == models.version("plan").name == STARTER_NAME
    failed = models.facts()[-1]
    assert (failed.name, failed.state) == ("untuned", "failed")
    assert "self-test" in str(failed.why)
    with models.answering("risk") as model:
        assert (await model.predict(RISK, RISK.golden, deadline_s=60)).model.name == STARTER_NAME


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("nowhere", 404, "MODEL_FOLDER has no such folder"),
        ("../outside", 404, "that is no name of a folder"),
        ("..", 404, "that is no name of a folder"),
        ("/etc", 404, "that is no name of a folder"),
        ("second/../third", 404, "that is no name of a folder"),
        ("link-out", 404, "it leads out of MODEL_FOLDER"),
        ("inner-link", 404, "it leads out of MODEL_FOLDER"),
        ("wrong-hash", 422, "its manifest says 0000"),
        ("other-base", 422, "it was trained on another base"),
        ("cut-short", 422, "its manifest names"),
        ("empty", 422, "Cannot read the adapter's manifest"),
        ("first", 422, f"another live model is called '{STARTER_NAME}' too"),
    ],
)
async def test_a_wrong_folder_is_refused_by_name_and_changes_nothing(settings: Settings, models: Models, name: str, status: int, said: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(settings, models)), base_url="http://service") as client:
        response = await client.post("/v1/models", json={"folder": name, "features": ["risk"]}, headers=AS_ADMIN)
    assert response.status_code == status, response.text
    assert said in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [{"folder": "second", "features": ["leave"]}, {"folder": ""}, {"folder": "second", "wait": "no"}, {"folder": "second", "path": "/"}, {}], ids=str)
async def test_a_wrong_wish_is_422(settings: Settings, models: Models, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(settings, models)), base_url="http://service") as client:
        response = await client.post("/v1/models", json=body, headers=AS_ADMIN)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_input")


async def test_a_model_that_was_not_answered_in_time_has_not_failed_its_self_test(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was too busy, perhaps: another time it may pass."""
    monkeypatch.setattr(models, "_longest_s", 0.001)
    with pytest.raises(CannotServe, match="self-test of") as told:
        await models.load("second", ["risk"])
    assert type(told.value) is CannotServe


async def test_only_an_operator_may_load_or_unload(settings: Settings, models: Models) -> None:
    wish = {"folder": "second"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(settings, models)), base_url="http://service") as client:
        assert (await client.post("/v1/models", json=wish, headers=AS_CALLER)).status_code == 401
        assert (await client.delete("/v1/models/x", headers=AS_CALLER)).status_code == 401
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=AS_CALLER)).status_code == 200
    closed = settings.model_copy(update={"inference_admin_token": None})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(closed, models)), base_url="http://service") as client:
        response = await client.post("/v1/models", json=wish, headers=AS_ADMIN)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert "INFERENCE_ADMIN_TOKEN is not set" in response.json()["error"]["message"]


async def test_one_model_is_loaded_at_a_time(models: Models) -> None:
    first = asyncio.create_task(models.load("wrong-hash", ["risk"]))
    await asyncio.sleep(0)
    with pytest.raises(ModelBusy, match="'wrong-hash' is being loaded"):
        await models.load("second", ["risk"])
    with pytest.raises(CannotServe):
        await first


async def test_of_two_loads_that_nobody_waits_for_the_second_is_refused_at_once(models: Models) -> None:
    models.load_later("wrong-hash", ["risk"])
    with pytest.raises(ModelBusy, match="'wrong-hash' is being loaded"):
        models.load_later("second", ["risk"])
    while models.facts()[-1].state == "loading":
        await asyncio.sleep(0.01)
    assert (models.facts()[-1].name, models.facts()[-1].state) == ("wrong-hash", "failed")


@pytest.mark.parametrize(("error", "said"), [(None, "MODEL_FOLDER has no such folder"), (PermissionError(13, "Permission denied"), "Permission denied"), (RuntimeError("a bug"), "a bug")], ids=str)
async def test_a_load_that_nobody_waits_for_is_listed_as_failed_whatever_it_failed_of(models: Models, monkeypatch: pytest.MonkeyPatch, error: Exception | None, said: str) -> None:
    if error:
        monkeypatch.setattr(Loader, "load", Mock(side_effect=error))
    models.load_later("nowhere", ["risk"])
    while models.facts()[-1].state == "loading":
        await asyncio.sleep(0.01)
    failed = models.facts()[-1]
    assert (failed.name, failed.state) == ("nowhere", "failed")
    assert said in str(failed.why)


async def test_without_a_loader_a_load_that_nobody_waits_for_is_refused_at_once(predictor: Predictor) -> None:
    with pytest.raises(ModelBusy, match="this service keeps to one model"):
        Models(predictor).load_later("second", ["risk"])


async def test_a_live_model_that_is_being_put_to_work_is_not_unloaded(settings: Settings) -> None:
    loader = Loader(settings)
    models = Models(loader.load(START), loader, longest_s=60)
    await models.load("second", [])
    loading = asyncio.create_task(models.load("second", ["risk"]))
    await asyncio.sleep(0)
    with pytest.raises(ModelBusy, match="Cannot unload 'model-second': it is being put to work"):
        models.unload("model-second")
    await loading
    with models.answering("risk") as model:
        assert (await model.predict(RISK, RISK.golden, deadline_s=60)).model.name == "model-second"
    await models.stop()


async def test_a_live_model_whose_file_is_deleted_goes_on_and_others_are_loaded_beside_it(settings: Settings, tmp_path: Path) -> None:
    """As when a merged file is pruned from the cache, or an operator clears up, while another model is being loaded."""

    def free() -> int:
        if live:
            weights_of(live[0].loaded()[0]).path.unlink()
        return 10_000 * MIB

    loader, live = Loader(settings.model_copy(update={"model_cache": tmp_path}), free=free), list[Models]()
    live.append(Models(loader.load(START), loader, longest_s=60))
    assert (await live[0].load("second", ["risk"])).features == ["risk"]
    with live[0].answering("plan") as model:
        assert (await model.predict(FEATURES["plan"], FEATURES["plan"].golden, deadline_s=60)).model.name == STARTER_NAME
    await live[0].stop()


async def test_a_model_that_does_not_fit_the_memory_is_refused(settings: Settings, predictor: Predictor) -> None:
    models = Models(predictor, Loader(settings, free=lambda: 100 * MIB))
    with pytest.raises(CannotServe, match=r"Cannot load 'model-second': it wants about \d+ MiB, the machine has 100 MiB free"):
        await models.load("second", ["risk"])


def test_the_budget_is_kept_and_must_be_there(settings: Settings) -> None:
    loader = Loader(settings.model_copy(update={"memory_mb": 640}), free=lambda: 10_000 * MIB)
    loader.check_budget()
    first = loader.load(START)
    with pytest.raises(StartError, match=r"it wants about \d+ MiB, \d+ of MEMORY_MB=640 are taken"):
        loader.load("second")
    asyncio.run(first.stop())
    asyncio.run(loader.load("second").stop())
    with pytest.raises(StartError, match="Cannot keep to MEMORY_MB=20000: the machine has 10000 MiB free"):
        Loader(settings.model_copy(update={"memory_mb": 20_000}), free=lambda: 10_000 * MIB).check_budget()


def test_without_a_folder_nothing_can_be_loaded(settings: Settings) -> None:
    with pytest.raises(CannotServe, match="MODEL_FOLDER is not set"):
        Loader(settings.model_copy(update={"model_folder": None})).load("second")


def first_words(model: Predictor) -> bytes:
    """How the model answers the golden task when no schema holds it."""
    job = Job(model.prompt_tokens(RISK, RISK.golden), None, 12)
    return model.engine.submit(job).future.result(timeout=60).text.encode()


async def test_adapters_applied_at_run_time_share_one_base_and_leave_it_alone(settings: Settings) -> None:
    """The bare base and two adapters over it: one copy of the weights, and each context its own adapter."""
    loader = Loader(settings.model_copy(update={"model_cache": Path("none"), "adapter_path": Path("none"), "context_tokens": 2048}))
    bare, second, third = (loader.load(name) for name in (START, "second", "third"))
    weights = weights_of(bare)
    assert (weights.path, weights.holders) == (default_model(), 3)
    assert isinstance(bare, Predictor)
    assert isinstance(second, Predictor)
    await third.stop()
    assert first_words(second).startswith(b"[1,[")
    assert not first_words(bare).startswith(b"["), "the adapter is the context's own"
    assert (await second.predict(RISK, RISK.golden, deadline_s=60)).model.name == "model-second", "which the bare base never gets accepted"
    await second.stop()
    assert weights.holders == 1
    await bare.stop()
    assert weights.model is None


async def test_an_unknown_model_is_named(models: Models) -> None:
    with pytest.raises(UnknownModel, match=f"No live model is called 'nobody' .live: {STARTER_NAME}."):
        models.using("nobody")
