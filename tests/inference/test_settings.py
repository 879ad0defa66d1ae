"""Settings are read once, and every fault is named."""

import socket
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from inference.__main__ import check_free
from inference.auth import is_allowed
from inference.errors import StartError
from inference.settings import Settings, read_settings

LONG = "a-token-of-sixteen-or-more"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def read(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return read_settings()


def test_loopback_needs_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, {}).inference_token is None
    assert read(monkeypatch, {"INFERENCE_HOST": "::1"}).inference_host == "::1"


def test_a_token_opens_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, {"INFERENCE_HOST": "0.0.0.0", "INFERENCE_TOKEN": LONG}).inference_host == "0.0.0.0"


@pytest.mark.parametrize(
    ("environment", "faults"),
    [
        ({"INFERENCE_HOST": "0.0.0.0"}, ["INFERENCE_TOKEN is not set and INFERENCE_HOST '0.0.0.0' is not loopback: anybody could ask"]),
        ({"inference_host": "0.0.0.0"}, ["INFERENCE_TOKEN is not set and INFERENCE_HOST '0.0.0.0' is not loopback: anybody could ask"]),
        ({"inference_token": "short"}, ["INFERENCE_TOKEN is shorter than 16 characters"]),
        ({"INFERENCE_HOST": "slm.example"}, ["INFERENCE_TOKEN is not set and INFERENCE_HOST 'slm.example' is not loopback: anybody could ask"]),
        ({"INFERENCE_TOKEN": "short"}, ["INFERENCE_TOKEN is shorter than 16 characters"]),
        ({"MODEL_SHA256": "0" * 64}, ["MODEL_SHA256 is set without MODEL_PATH"]),
        ({"INFERENCE_ADMIN_TOKEN": "short"}, ["INFERENCE_ADMIN_TOKEN is shorter than 16 characters"]),
        ({"INFERENCE_TOKEN": LONG, "INFERENCE_ADMIN_TOKEN": LONG}, ["INFERENCE_ADMIN_TOKEN is the same as INFERENCE_TOKEN: every caller could load models"]),
        ({"REMOTE_URL": "http://gpu:8000/v1"}, ["REMOTE_URL and REMOTE_MODEL belong together: one of them is not set"]),
        ({"REMOTE_MODEL": "big"}, ["REMOTE_URL and REMOTE_MODEL belong together: one of them is not set"]),
        ({"REMOTE_URL": "gpu:8000", "REMOTE_MODEL": "big"}, ["REMOTE_URL: URL scheme should be 'http' or 'https'"]),
        ({"REMOTE_URL": "http://gpu/v1", "REMOTE_MODEL": "big", "REMOTE_DIALECT": "ollama"}, ["REMOTE_DIALECT: Input should be 'openai' or 'vllm'"]),
        ({"MEMORY_MB": "1"}, ["MEMORY_MB: Input should be greater than or equal to 64"]),
        ({"INFERENCE_PORT": "99999"}, ["INFERENCE_PORT: Input should be less than or equal to 65535"]),
        ({"INFERENCE_PORT": "http"}, ["INFERENCE_PORT: Input should be a valid integer, unable to parse string as an integer"]),
        ({"DEADLINE_S": "nan"}, ["DEADLINE_S: Input should be less than or equal to 120"]),
        ({"QUEUE_LIMIT": "0", "THREADS": "-1"}, ["THREADS: Input should be greater than or equal to 1", "QUEUE_LIMIT: Input should be greater than or equal to 1"]),
        (
            {"INFERENCE_HOST": "0.0.0.0", "INFERENCE_PORT": "http", "MODEL_SHA256": "0" * 64},
            [
                "INFERENCE_PORT: Input should be a valid integer, unable to parse string as an integer",
                "INFERENCE_TOKEN is not set and INFERENCE_HOST '0.0.0.0' is not loopback: anybody could ask",
                "MODEL_SHA256 is set without MODEL_PATH",
            ],
        ),
        ({"MODEL_PATH": "/m.gguf", "MODEL_SHA256": "abc"}, ["MODEL_SHA256: String should match pattern '^[0-9a-f]{64}$'"]),
    ],
    ids=str,
)
def test_wrong_settings_are_named_all_at_once(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], faults: list[str]) -> None:
    with pytest.raises(StartError) as error:
        read(monkeypatch, environment)
    assert str(error.value).splitlines() == [f"Cannot use the settings: {fault}" for fault in faults]


@pytest.mark.parametrize("header", [None, "", "Bearer", f"Bearer {LONG}x", f"Bearer {LONG[:-1]}", f"Basic {LONG}", LONG, "Bearer ünïcödé"])
def test_another_token_is_refused(header: str | None) -> None:
    assert not is_allowed(SecretStr(LONG), header)


def test_the_token_is_allowed() -> None:
    assert is_allowed(SecretStr(LONG), f"Bearer {LONG}")
    assert is_allowed(SecretStr(LONG), f"bearer {LONG}")
    assert is_allowed(None, None)


def test_a_busy_port_is_named_before_a_model_is_loaded() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as busy,
        pytest.raises(StartError, match=r"Cannot listen on 127\.0\.0\.1:\d+: Address already in use \(choose others with INFERENCE_HOST and INFERENCE_PORT\)"),
    ):
        check_free("127.0.0.1", busy.getsockname()[1])
