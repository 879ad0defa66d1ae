"""The service over HTTP: statuses, limits, errors; with the real model behind it."""

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from inference.engine.completion import Job
from inference.model_store import STARTER
from inference.predict import Predictor
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanInput
from shared_schemas.features.risk import describe

MODEL_NAME = json.loads((STARTER / "manifest.json").read_text())["model"]["name"]
SITUATION: dict[str, Any] = {
    "title": "UI for Career page",
    "level": "medium",
    "milestone": "50_percent",
    "micro_task": False,
    "done_percent": 25,
    "steps_done": 1,
    "steps_left": 3,
    "budget_minutes": 480,
    "spent_minutes": 240,
    "delay_minutes": 60,
}
RISK = describe(**SITUATION).model_dump()
PLAN = PlanInput(title="UI for Career page", description="Build it", skills=["React"], similar=[]).model_dump()


@pytest.mark.parametrize(("feature", "body"), [("risk", RISK), ("plan", PLAN)])
async def test_a_feature_is_answered(client: httpx.AsyncClient, feature: str, body: dict[str, Any]) -> None:
    response = await client.post(f"/v1/features/{feature}", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["model"]["name"] == MODEL_NAME
    assert 0 <= answer["confidence"] <= 100
    assert answer["usage"]["output_tokens"] > 20


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "body: Invalid JSON"),
        (b"{", "body: Invalid JSON"),
        (b"[]", "body: Input should be an object"),
        (b"{}", "title: Field required"),
        (json.dumps({**RISK, "full_name": "Asha"}).encode(), "full_name: Extra inputs are not permitted"),
        (json.dumps({**RISK, "done_percent": 101}).encode(), "done_percent: Input should be less than or equal to 100"),
        (json.dumps({**RISK, "done_percent": "25"}).encode(), "done_percent: Input should be a valid integer"),
        (json.dumps({**RISK, "done_percent": float("nan")}).encode(), "done_percent: Input should be a"),
        (json.dumps({**RISK, "level": "High"}).encode(), "level: Input should be 'low', 'medium' or 'high'"),
        (json.dumps({**RISK, "title": "x" * 121}).encode(), "title: String should have at most 120 characters"),
        (json.dumps(RISK).replace("Career", "\\ud800").encode(), "body: Invalid JSON"),
        (b'{"title":"\xff"}', "body: Invalid JSON"),
    ],
    ids=range(12),
)
async def test_a_wrong_input_is_422_and_named(client: httpx.AsyncClient, body: bytes, fault: str) -> None:
    response = await client.post("/v1/features/risk", content=body)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_input"
    assert any(said.startswith(fault) for said in response.json()["error"]["faults"]), response.text


@pytest.mark.parametrize("headers", [{"authorization": ""}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}])
async def test_without_the_token_nothing_is_answered(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.post("/v1/features/risk", json=RISK, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthorized"


async def test_an_unknown_feature_is_404(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/features/leave", json=RISK)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_a_large_body_is_413_before_it_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/features/risk", content=b" " * 70_000)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


async def test_a_large_body_that_does_not_announce_itself_is_413_too(client: httpx.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(70):
            yield b" " * 1000

    assert (await client.post("/v1/features/risk", content=chunks())).status_code == 413


async def test_a_short_deadline_is_504(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/features/plan", json=PLAN, headers={"x-deadline-ms": "1"})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


@pytest.mark.parametrize("deadline", ["0", "-5", "nan", "1e400", "1000000"])
async def test_a_senseless_deadline_is_422(client: httpx.AsyncClient, deadline: str) -> None:
    response = await client.post("/v1/features/risk", json=RISK, headers={"x-deadline-ms": deadline})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_input")
    assert response.json()["error"]["message"].startswith("x-deadline-ms: ")


async def test_past_its_queue_the_service_says_when_to_come_back(client: httpx.AsyncClient, predictor: Predictor) -> None:
    """The engine stands still; its places and its queue fill; the next one is refused at once, and the others are answered."""
    gate, reached = threading.Event(), threading.Event()

    def hold(_text: bytes) -> None:
        reached.set()
        gate.wait(30)

    held = predictor.engine.submit(Job(predictor.prompt_tokens(FEATURES["risk"], describe(**SITUATION)), predictor.grammar("risk"), 320, on_text=hold))
    await asyncio.to_thread(reached.wait, 30)
    waiting = []
    while not predictor.engine.is_full:
        before = predictor.engine.waiting
        waiting.append(asyncio.ensure_future(client.post("/v1/features/risk", json=RISK)))
        while predictor.engine.waiting == before:
            await asyncio.sleep(0.001)
    refused = await client.post("/v1/features/risk", json=RISK)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert (await client.get("/readyz")).status_code == 503
    gate.set()
    assert held.future.result(timeout=60).text
    assert [(await answer).status_code for answer in waiting] == [200] * len(waiting)


async def test_health_needs_no_token_and_readiness_names_the_model(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz", headers={"authorization": ""})).json() == {"status": "alive"}
    ready = (await client.get("/readyz", headers={"authorization": ""})).json()
    assert ready["model"]["name"] == MODEL_NAME


async def test_openapi_shows_each_features_own_shapes(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    schema = paths["/v1/features/risk"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["title"] == "RiskInput"
    assert "/v1/features/plan" in paths
