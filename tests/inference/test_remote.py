"""A model at another server answers like one in this process, and whatever that server does wrong has a name.

The far side is a stand-in that speaks OpenAI's chat completions on a real port.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import AnyHttpUrl, SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from inference.app import create_app
from inference.errors import DeadlineExceeded, InvalidOutput, Overloaded, Rejected, RemoteRefused, Truncated, Unavailable
from inference.models import Models
from inference.remote import Remote
from inference.settings import Settings
from shared_schemas.features.plan import PLAN
from shared_schemas.features.risk import RISK

GOOD = {
    "risk_level": "medium",
    "reasons": ["Half of the time is used and 25% of the work is done."],
    "recommended_actions": ["Start the next open step now."],
}
PLANNED = {"suggested_plan": [{"phase": "build_guidance", "title": "Build the page", "duration": 4, "risk": "low"}], "overall_risks": [], "assumptions": []}


def token(text: str, p: float = 1.0, **others: float) -> dict[str, Any]:
    top = [{"token": other, "bytes": list(other.encode()), "logprob": math.log(q)} for other, q in ({text: p} | others).items()]
    return {**top[0], "top_logprobs": top}


def completion(content: str, *, tokens: list[dict[str, Any]] | None = None, finish: str = "stop") -> Response:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}, "logprobs": {"content": tokens} if tokens else None}
    usage = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140, "prompt_tokens_details": {"cached_tokens": 60}}
    return JSONResponse({"id": "1", "object": "chat.completion", "created": 1, "model": "big", "choices": [choice], "usage": usage})


Reply = Callable[[Request], Awaitable[Response]]


@dataclass
class FarSide:
    """Answers each question with the next of `replies`, the last one for ever; keeps what it was asked."""

    port: int = 0
    replies: list[Response | Reply] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def settings(self, **facts: Any) -> Settings:
        return Settings(remote_url=AnyHttpUrl(f"http://127.0.0.1:{self.port}/v1"), remote_model="big", remote_api_key=SecretStr("a-key"), **facts)

    async def chat(self, request: Request) -> Response:
        self.asked.append(json.loads(await request.body()))
        self.keys.append(request.headers["authorization"])
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply if isinstance(reply, Response) else await reply(request)

    async def models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "big", "object": "model", "created": 1, "owned_by": "far"}]})

    async def slow(self, request: Request) -> Response:
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.gone.set()
        return Response()


@asynccontextmanager
async def listening(far: FarSide) -> AsyncIterator[None]:
    routes = [Route("/v1/chat/completions", far.chat, methods=["POST"]), Route("/v1/models", far.models)]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=far.port, log_level="warning", log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    far.port = server.servers[0].sockets[0].getsockname()[1]
    yield
    server.should_exit = True
    await running


@pytest.fixture
async def far() -> AsyncIterator[FarSide]:
    far = FarSide()
    async with listening(far):
        yield far


@asynccontextmanager
async def remote(far: FarSide, **facts: Any) -> AsyncIterator[Remote]:
    remote = Remote(far.settings(**facts))
    yield remote
    await remote.stop()


def written(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer's tokens, the level chosen at 0.6 against 0.3 for high and 0.05 for something that the schema forbids."""
    before, after = json.dumps(answer).split('"medium"')
    return [token(before), token('"'), token("medium", 0.6, high=0.3, unknown=0.05), token('"'), token(after, 0.5)]


async def test_an_answer_is_asked_for_under_the_schema_and_weighed_like_our_own(far: FarSide) -> None:
    far.replies = [completion(json.dumps(GOOD), tokens=written(GOOD))]
    async with remote(far) as model:
        prediction = await model.predict(RISK, RISK.golden)
    assert prediction.output.model_dump() == GOOD
    assert (prediction.model.name, prediction.model.base_sha256, prediction.prompt_version) == ("big", None, "risk-1/instructions")
    assert prediction.confidence == 67
    assert prediction.details["p_medium"] == pytest.approx(2 / 3, abs=1e-6)
    assert prediction.details["allowed_mass"] == pytest.approx(0.9, abs=1e-6)
    assert (prediction.usage.prompt_tokens, prediction.usage.cached_tokens, prediction.usage.output_tokens) == (100, 60, 40)
    (asked,) = far.asked
    assert asked["messages"] == [{"role": "system", "content": RISK.instructions}, {"role": "user", "content": RISK.messages(RISK.golden, "tag")[1].content}]
    assert asked["response_format"] == {"type": "json_schema", "json_schema": {"name": "risk", "schema": RISK.output_schema(), "strict": True}}
    assert (asked["temperature"], asked["max_tokens"], asked["model"], far.keys) == (0, RISK.max_tokens, "big", ["Bearer a-key"])


async def test_vllm_is_told_the_schema_in_its_own_words(far: FarSide) -> None:
    far.replies = [completion(json.dumps(GOOD))]
    async with remote(far, remote_dialect="vllm", remote_prompt_style="tag") as model:
        await model.predict(RISK, RISK.golden)
    assert far.asked[0]["structured_outputs"] == {"json": RISK.output_schema(), "disable_any_whitespace": True}
    assert "response_format" not in far.asked[0]
    assert far.asked[0]["messages"][0]["content"] == "risk"


async def test_a_level_that_begins_inside_a_token_is_found(far: FarSide) -> None:
    before, after = json.dumps(GOOD).split('"medium"')
    far.replies = [completion(json.dumps(GOOD), tokens=[token(before), token('"medium', 0.4, **{'"low': 0.1, '"': 0.5}), token('"' + after)])]
    async with remote(far) as model:
        details = (await model.predict(RISK, RISK.golden)).details
    assert details["p_low"] == pytest.approx(0.2, abs=1e-6)


async def test_a_plans_confidence_counts_values_only(far: FarSide) -> None:
    text = json.dumps(PLANNED, separators=(",", ":"))
    before, after = text.split("Build the page")
    far.replies = [completion(text, tokens=[token(before, 0.001), token("Build", 0.8), token(" the", 0.8), token(" page", 0.8), token('"', 0.8), token(after[1:], 0.001)])]
    async with remote(far) as model:
        prediction = await model.predict(PLAN, PLAN.golden)
    assert prediction.details["p_token_mean"] == pytest.approx(0.8, abs=1e-6)


async def test_a_server_without_probabilities_gives_no_confidence(far: FarSide) -> None:
    far.replies = [completion(json.dumps(GOOD))]
    async with remote(far) as model:
        prediction = await model.predict(RISK, RISK.golden)
    assert (prediction.confidence, prediction.details) == (0, {"measured": 0.0, "attempts": 1.0})


async def test_a_rejected_answer_is_asked_for_again_by_chance(far: FarSide) -> None:
    far.replies = [completion(json.dumps({**GOOD, "reasons": ["Some time is left for the work."]})), completion(json.dumps(GOOD))]
    async with remote(far) as model:
        assert (await model.predict(RISK, RISK.golden)).details["attempts"] == 2
        assert [(asked["temperature"], asked["seed"]) for asked in far.asked] == [(0, 0), (0.7, 1)]
        far.replies = [completion(json.dumps({**GOOD, "reasons": ["Some time is left for the work."]}))]
        with pytest.raises(Rejected):
            await model.predict(RISK, RISK.golden)
    assert len(far.asked) == 5


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (completion("Sure! Here is your JSON."), InvalidOutput),
        (completion(json.dumps({**GOOD, "risk_level": "High"})), InvalidOutput),
        (completion(json.dumps(GOOD)[:40], finish="length"), Truncated),
        (completion(""), RemoteRefused),
        (JSONResponse({"choices": []}), RemoteRefused),
        (JSONResponse([]), RemoteRefused),
        (HTMLResponse("<h1>It works!</h1>"), RemoteRefused),
        (Response("{", media_type="application/json"), RemoteRefused),
        (JSONResponse({"error": {"message": "no such key"}}, 401), RemoteRefused),
        (JSONResponse({"error": {"message": "no such model"}}, 404), RemoteRefused),
        (JSONResponse({"error": {"message": "oops"}}, 500), RemoteRefused),
        (JSONResponse({"error": {"message": "loading"}}, 503), Unavailable),
        (JSONResponse({"error": {"message": "slow down"}}, 429, {"retry-after": "7"}), Overloaded),
    ],
    ids=range(13),
)
async def test_what_the_far_side_does_wrong_has_a_name(far: FarSide, reply: Response, error: type[Exception]) -> None:
    far.replies = [reply]
    async with remote(far) as model:
        with pytest.raises(error) as raised:
            await model.predict(RISK, RISK.golden)
    assert "a-key" not in str(raised.value)
    if isinstance(raised.value, Overloaded):
        assert raised.value.retry_after_s == 7


async def test_an_answer_that_is_late_is_given_up_on_both_sides(far: FarSide) -> None:
    far.replies = [far.slow]
    async with remote(far) as model:
        with pytest.raises(DeadlineExceeded):
            await model.predict(RISK, RISK.golden, deadline_s=0.2)
        await asyncio.wait_for(far.gone.wait(), 30)


async def test_more_than_may_wait_are_refused(far: FarSide) -> None:
    far.replies = [far.slow]
    async with remote(far, parallel=1, queue_limit=1) as model:
        waiting = [asyncio.create_task(model.predict(RISK, RISK.golden)) for _ in range(2)]
        while not far.asked:
            await asyncio.sleep(0.01)
        assert await model.readiness() == "full"
        with pytest.raises(Overloaded):
            await model.predict(RISK, RISK.golden)
        assert len(far.asked) == 1, "the second one waits here"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_whole_service_over_a_server_that_goes_and_comes_back() -> None:
    far = FarSide(replies=[completion(json.dumps(GOOD), tokens=written(GOOD))])
    async with listening(far):
        settings = far.settings()
        model = Remote(settings)
        app = create_app(settings, Models(model))
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
        answered = await client.post("/v1/features/risk", json=RISK.golden.model_dump())
        assert (answered.status_code, answered.json()["model"]["name"]) == (200, "big")
        assert (await client.get("/readyz")).json()["status"] == "ready"
        (listed,) = (await client.get("/v1/models")).json()["data"]
        assert (listed["id"], listed["owned_by"], listed["state"], listed["base_sha256"]) == ("big", "remote", "live", None)
    refused = await client.post("/v1/features/risk", json=RISK.golden.model_dump())
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "unreachable")
    async with listening(far):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
        assert (await client.post("/v1/features/risk", json=RISK.golden.model_dump())).status_code == 200
    await client.aclose()
    await model.stop()
