"""A real Supabase project for the operator's commands: Supabase Lite with all migrations, for this session's tests only."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import stack
from stack import Places

from trainer.supabase_client import Project, open_project


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


@pytest.fixture(scope="session")
def axolotl() -> Path:
    """Axolotl's environment. Tests that need it are skipped where it has not been made."""
    folder = Path(__file__).resolve().parents[2] / ".axolotl"
    if not (folder / "bin" / "axolotl").exists():
        pytest.skip("needs Axolotl's environment: run scripts/setup-axolotl")
    return folder
