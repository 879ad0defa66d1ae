"""Real parts for the trainer's tests: a Supabase project with all migrations, Axolotl's environment, a model small enough to train in it."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import stack
from stack import Places

from trainer.finetune import REPOSITORY
from trainer.supabase_client import Project, open_project

AXOLOTL = REPOSITORY / ".axolotl"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not (AXOLOTL / "bin" / "axolotl").exists():
        for item in items:
            if item.get_closest_marker("axolotl"):
                item.add_marker(pytest.mark.skip(reason="Axolotl is not installed: run scripts/setup-axolotl"))


@pytest.fixture(scope="session")
def axolotl() -> Path:
    """Axolotl's environment; what needs it is skipped where it has not been made."""
    if not (AXOLOTL / "bin" / "axolotl").exists():
        pytest.skip("Axolotl is not installed: run scripts/setup-axolotl")
    return AXOLOTL


@pytest.fixture(scope="session")
def tiny_llama(axolotl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, 64 wide, with random weights and a byte tokenizer."""
    folder = tmp_path_factory.mktemp("tiny") / "llama"
    subprocess.run([str(axolotl / "bin" / "python"), str(Path(__file__).parent / "tiny_llama.py"), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def chat_rows(tmp_path: Path) -> Path:
    """32 short rows to train on."""
    turns = [[("system", "risk"), ("user", json.dumps({"n": n})), ("assistant", json.dumps({"twice": 2 * n}))] for n in range(32)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"messages": [{"role": role, "content": content} for role, content in row]}) + "\n" for row in turns))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Address and secret key of a running Supabase Lite."""
    yield from _running(tmp_path_factory.mktemp("lite"))


@pytest.fixture(scope="module")
def data_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Supabase Lite for one file of tests alone: they count every row of its tables."""
    yield from _running(tmp_path_factory.mktemp("data"))


@pytest.fixture
def data_project(data_lite: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name, value in data_lite.items():
        monkeypatch.setenv(name, value)
    with open_project() as project:
        yield project


def _running(state: Path) -> Iterator[dict[str, str]]:
    places = Places(state, _free_port() - 1, _free_port())
    places.logs.mkdir()
    keys = stack.read_keys(places)
    stack.prepare_database(places, keys)
    child = stack.lite(places, keys)
    try:
        stack.spawn(places, child)
        stack.wait_until_healthy(places, child)
        yield {"SUPABASE_URL": f"http://127.0.0.1:{places.lite_port}", "SUPABASE_SECRET_KEY": keys["SUPABASE_SECRET_KEY"], "SUPABASE_PUBLISHABLE_KEY": keys["SUPABASE_PUBLISHABLE_KEY"]}
    finally:
        stack.stop(places)


@pytest.fixture
def environment(lite: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in lite.items():
        monkeypatch.setenv(name, value)
    return lite


@pytest.fixture
def project(environment: dict[str, str]) -> Iterator[Project]:
    """The project, opened as the commands open it."""
    assert environment
    with open_project() as project:
        yield project
