"""One real model for all tests of the service: loading takes a second, faking it would prove nothing."""

import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from inference.app import create_app
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import Settings

TOKEN = "a-token-for-tests-only"


def given_up(predictor: Predictor, count: int) -> None:
    """Wait until the engine has given up so many answers in all: it counts one a moment after its place is free."""
    ends = time.monotonic() + 30
    while predictor.engine.counts.cancelled < count:
        assert time.monotonic() < ends, f"{predictor.engine.counts.cancelled} given up, not {count}"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def predictor() -> Iterator[Predictor]:
    predictor = Predictor(find_model(Settings()), n_ctx=12_288, n_threads=2, parallel=8, waiting=8)
    yield predictor
    predictor.close()


@pytest.fixture
def app(predictor: Predictor) -> FastAPI:
    return create_app(Settings(inference_token=SecretStr(TOKEN), queue_limit=2, deadline_s=120), predictor)


@pytest_asyncio.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        yield client


@pytest.fixture(scope="session")
def service(predictor: Predictor) -> Iterator[str]:
    """The address of the service behind a real server, for what only a real connection can show."""
    settings = Settings(inference_token=SecretStr(TOKEN), deadline_s=120, body_deadline_s=1)
    server = uvicorn.Server(uvicorn.Config(create_app(settings, predictor), port=0, log_level="error", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
