"""What is seen from outside: metrics that add up, traces that go on, log lines that quote nobody."""

import asyncio
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from inference.app import create_app
from inference.engine.completion import Completion, Job
from inference.logs import JsonLines, TextLines
from inference.predict import Predictor
from inference.settings import Settings
from inference.trace import begin_span
from shared_schemas.fault import FAULT_KINDS
from shared_schemas.features.plan import PlanInput
from shared_schemas.features.risk import RISK, RiskInput, RiskOutput, describe

TOKEN = "a-token-for-tests-only"
CANARY = "zanzibar-4711"
TASK = describe(
    title=f"Page {CANARY}", level="medium", milestone="50_percent", micro_task=False, done_percent=25, steps_done=1, steps_left=3, budget_minutes=480, spent_minutes=240, delay_minutes=60
).model_dump()
WISH = PlanInput(title=f"Page {CANARY}", description=f"Build {CANARY}", skills=[CANARY], similar=[]).model_dump()
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Lines:
    """All log lines of the process while a test runs, as the service would write them."""

    def __init__(self, stream: StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def all(self, event: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in lines if event in (None, line["event"])]


def listen(*, show_texts: bool) -> Iterator[Lines]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(show_texts=show_texts))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the tests' own client
    level = root.level
    root.setLevel(logging.INFO)
    yield Lines(stream)
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def lines() -> Iterator[Lines]:
    yield from listen(show_texts=False)


@pytest.fixture
def shown_lines() -> Iterator[Lines]:
    yield from listen(show_texts=True)


def over(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", headers={"authorization": f"Bearer {TOKEN}", **headers})


Key = tuple[str, frozenset[str]]


def key(name: str, *labels: str) -> Key:
    return name, frozenset(labels)


async def scraped(client: httpx.AsyncClient) -> dict[Key, float]:
    """Samples by name and label values."""
    response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {key(sample.name, *sample.labels.values()): sample.value for family in text_string_to_metric_families(response.text) for sample in family.samples}


# --- metrics -------------------------------------------------------------------------------------------------------


async def test_metrics_add_up_with_what_callers_were_told(client: httpx.AsyncClient, predictor: Predictor) -> None:
    model = predictor.version.name
    before = await scraped(client)
    answers = [(await client.post("/v1/features/risk", json=TASK)).json() for _ in range(2)]
    after = await scraped(client)

    def grown(*of: str) -> float:
        return after[key(*of)] - before.get(key(*of), 0.0)

    attempts = sum(answer["details"]["attempts"] for answer in answers)
    assert grown("slm_requests_total", "risk", "200", "ok") == 2
    assert grown("slm_answers_total", model, "finished") == attempts
    assert grown("slm_stage_seconds_count", model, "queue") == grown("slm_stage_seconds_count", model, "check") == attempts
    if attempts == 2:
        usage = [answer["usage"] for answer in answers]
        assert grown("slm_prompt_tokens_total", model, "cached") == sum(one["cached_tokens"] for one in usage) > 0
        assert grown("slm_prompt_tokens_total", model, "computed") == sum(one["prompt_tokens"] - one["cached_tokens"] for one in usage)
        assert sum(grown("slm_answer_tokens_total", model, kind) for kind in ("forced", "guessed", "sampled")) == sum(one["output_tokens"] for one in usage)
        assert grown("slm_answer_tokens_total", model, "forced") == sum(one["forced_tokens"] for one in usage)
        assert grown("slm_stage_seconds_sum", model, "decode") == pytest.approx(sum(answer["timings"]["decode_ms"] for answer in answers) / 1000, abs=1e-4)
    assert grown("slm_step_tokens_count", model) == grown("slm_step_seconds_count", model) > 0
    assert grown("slm_mask_seconds_count", model) >= 2, "where the level is chosen a mask is always computed"
    assert after[key("slm_queue_length", model)] == after[key("slm_live_answers", model)] == 0
    assert any(name == "slm_model_info" and predictor.version.base_sha256 in labels for name, labels in after)
    assert after[key("process_resident_memory_bytes")] > 50e6


async def test_the_queue_and_the_live_answers_are_seen_while_they_last(client: httpx.AsyncClient, predictor: Predictor) -> None:
    gate, reached = threading.Event(), threading.Event()

    def hold(_text: bytes) -> None:
        if predictor.engine.live:
            reached.set()
            gate.wait(30)

    prompt, grammar = predictor.prompt_tokens(RISK, RiskInput.model_validate(TASK)), predictor.grammar("risk")
    jobs = [predictor.engine.submit(Job(prompt, grammar, 320, on_text=hold))]
    await asyncio.to_thread(reached.wait, 30)
    jobs.append(predictor.engine.submit(Job(prompt, grammar, 320)))
    seen = await scraped(client)
    gate.set()
    assert (seen[key("slm_live_answers", predictor.version.name)], seen[key("slm_queue_length", predictor.version.name)]) == (1, 1)
    assert all([(await asyncio.wrap_future(one.future)).text for one in jobs])


async def test_rejections_are_counted_by_kind_and_never_by_text(client: httpx.AsyncClient, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine gives an answer that quotes the canary and says so twice: both kinds of fault are counted, at each attempt."""
    say(monkeypatch, predictor, {"risk_level": "medium", "reasons": [f"{CANARY} velocity is low at 77 % now."], "recommended_actions": ["Finish the next open step."]})
    before = await scraped(client)
    response = await client.post("/v1/features/risk", json=TASK)
    after = await scraped(client)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "rejected")
    grown = {reason: after[now] - before.get(now, 0) for reason in (*FAULT_KINDS, "other") if (now := key("slm_rejections_total", predictor.version.name, "risk", reason)) in after}
    assert {"jargon": 3, "figure": 3, "milestone": 3}.items() <= grown.items()
    assert len(grown) == sum(name == "slm_rejections_total" for name, _ in after)
    assert after[key("slm_requests_total", "risk", "502", "rejected")] == 1
    assert not any(CANARY in label for _, labels in after for label in labels)


def say(monkeypatch: pytest.MonkeyPatch, predictor: Predictor, output: dict[str, Any]) -> None:
    whole = output.keys() == RiskOutput.model_fields.keys()
    text = RISK.answer(RiskOutput(**output), predictor.version.prompt_style) if whole else json.dumps(output)

    async def complete(_job: Job, *, is_again: bool = False) -> Completion:
        return Completion(text=text)

    monkeypatch.setattr(predictor, "complete", complete)


async def test_metrics_need_the_token_and_labels_stay_few(client: httpx.AsyncClient) -> None:
    assert (await client.get("/metrics", headers={"authorization": ""})).status_code == 401
    for path in (f"/{CANARY}", "/v1/features/leave", "/.env"):
        await client.get(path)
    requests = {labels for name, labels in await scraped(client) if name == "slm_requests_total"}
    assert requests == {frozenset({"none", "404", "not_found"})}


async def test_services_in_one_process_have_metrics_of_their_own(predictor: Predictor) -> None:
    first, second = (create_app(Settings(), predictor) for _ in range(2))
    await over(first).post("/v1/features/risk", json={})
    told = key("slm_requests_total", "risk", "422", "invalid_input")
    assert told in await scraped(over(first))
    assert told not in await scraped(over(second))


# --- traces --------------------------------------------------------------------------------------------------------


async def test_a_trace_goes_on_through_the_answer_and_the_log(client: httpx.AsyncClient, lines: Lines) -> None:
    response = await client.post("/v1/features/risk", json={}, headers={"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "11581cf8-0424-4c6f-99b1-d4354626f0be"})
    match = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", response.headers["traceparent"])
    assert match
    assert match[1] != SPAN
    assert response.headers["x-request-id"] == "11581cf8-0424-4c6f-99b1-d4354626f0be"
    (line,) = lines.all("request")
    assert (line["trace_id"], line["span_id"], line["parent_id"], line["request_id"]) == (TRACE, match[1], SPAN, response.headers["x-request-id"])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}x-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0١",
    ],
    ids=range(12),
)
def test_a_malformed_trace_is_ignored(header: str) -> None:
    span = begin_span([header])
    assert span.trace_id != TRACE
    assert span.parent_id is None
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", span.header)


def test_a_later_version_is_read_as_far_as_it_is_known_and_two_headers_are_none() -> None:
    later = begin_span([f"01-{TRACE}-{SPAN}-02-something new"])
    assert (later.trace_id, later.parent_id) == (TRACE, SPAN)
    assert later.header == f"00-{TRACE}-{later.span_id}-00"
    assert begin_span([f"00-{TRACE}-{SPAN}-01"] * 2).trace_id != TRACE
    assert begin_span([]).parent_id is None


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, '"}{"', "a/../b"])
async def test_a_request_id_that_is_no_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    response = await client.get("/healthz", headers=[("x-request-id", given)])
    assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["x-request-id"])


# --- logs ----------------------------------------------------------------------------------------------------------


async def test_a_successful_request_is_one_line_with_what_it_took(client: httpx.AsyncClient, lines: Lines) -> None:
    assert (await client.post("/v1/features/plan", json=WISH)).status_code == 200
    (line,) = lines.all("request")
    assert (line["route"], line["status"], line["code"], line["level"]) == ("plan", 200, "ok", "info")
    assert {"output_tokens", "forced_tokens", "decode_ms", "queue_ms", "model", "attempts"} <= set(line)
    assert CANARY not in lines.text


async def test_health_is_not_logged(client: httpx.AsyncClient, lines: Lines) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await client.get(path)).status_code == 200
    assert lines.all("request") == []


FAILURES = [
    ("a field that does not exist", {"json": {**TASK, CANARY: 1}}, "invalid_input"),
    ("a value of the wrong kind", {"json": {**TASK, "level": CANARY}}, "invalid_input"),
    ("broken JSON", {"content": f'{{"title": "{CANARY}'}, "invalid_input"),
    ("a body too large", {"content": CANARY * 10_000}, "too_large"),
    ("a senseless header", {"json": TASK, "headers": {"x-deadline-ms": CANARY}}, "invalid_input"),
    ("a wrong token", {"json": TASK, "headers": {"authorization": f"Bearer {CANARY}"}}, "unauthorized"),
    ("a deadline that is over", {"json": TASK, "headers": {"x-deadline-ms": "1"}}, "timeout"),
]


@pytest.mark.parametrize(("request_", "code"), [(request, code) for _, request, code in FAILURES], ids=[name for name, _, _ in FAILURES])
async def test_no_failure_quotes_the_prompt(client: httpx.AsyncClient, lines: Lines, request_: dict[str, Any], code: str) -> None:
    response = await client.post("/v1/features/risk", **request_)
    assert response.json()["error"]["code"] == code
    (line,) = lines.all("request")
    assert (line["code"], line["status"]) == (code, response.status_code)
    assert CANARY not in lines.text


async def test_no_path_or_query_is_quoted(client: httpx.AsyncClient, lines: Lines) -> None:
    assert (await client.get(f"/{CANARY}?q={CANARY}")).status_code == 404
    assert lines.all("request")[0]["route"] == "none"
    assert CANARY not in lines.text


BAD_OUTPUTS = [
    ({"risk_level": "medium", "reasons": [f"{CANARY} {CANARY} {CANARY}"], "recommended_actions": [f"{CANARY}."]}, "rejected"),
    ({"risk_level": "medium", "reasons": [f"{CANARY} is not everything at 99 % done."], "recommended_actions": ["Finish the next open step."]}, "rejected"),
    ({"risk_level": CANARY}, "invalid_output"),
]


@pytest.mark.parametrize(("output", "code"), BAD_OUTPUTS, ids=["nonsense", "a figure of its own", "off the schema"])
async def test_no_refused_answer_is_quoted(client: httpx.AsyncClient, lines: Lines, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, output: dict[str, Any], code: str) -> None:
    say(monkeypatch, predictor, output)
    response = await client.post("/v1/features/risk", json=TASK)
    assert response.json()["error"]["code"] == code
    assert lines.all("request")[0]["level"] == "warning"
    assert CANARY not in lines.text


@pytest.fixture
async def broken(app: FastAPI, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A service with a fault of its own, whose exception quotes the prompt."""

    async def complete(_job: Job, *, is_again: bool = False) -> Completion:
        raise ValueError(f"cannot handle {CANARY}")

    monkeypatch.setattr(predictor, "complete", complete)
    async with over(app) as client:
        yield client


async def test_a_fault_of_the_service_is_500_and_its_text_stays_inside(broken: httpx.AsyncClient, lines: Lines) -> None:
    response = await broken.post("/v1/features/risk", json=TASK, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert CANARY not in response.text + lines.text
    (line,) = lines.all("a fault of the service")
    assert (line["error"], line["trace_id"]) == ("ValueError", TRACE)
    assert any("predict.py" in place for place in line["raised_at"])


async def test_a_caller_who_went_away_is_counted_and_not_quoted(app: FastAPI, lines: Lines) -> None:
    """Real ASGI: the body comes, then the disconnect."""
    messages = iter([{"type": "http.request", "body": json.dumps(WISH).encode(), "more_body": False}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/features/plan", "raw_path": b"", "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("s", 80)}
    await app(scope, receive, send)
    (line,) = lines.all("request")
    assert (line["status"], line["code"]) == (499, "cancelled")
    assert CANARY not in lines.text


def test_other_libraries_are_cut_to_their_first_line_and_no_exception_shows_its_text(lines: Lines) -> None:
    """asyncio puts the exception's repr behind its first line, uvicorn the traceback."""
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: <Task exception=%r>", error, exc_info=error)
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    assert [line["error"] for line in lines.all()] == ["ValueError", "ValueError"]
    assert CANARY not in lines.text


async def test_prompts_and_answers_are_logged_when_the_operator_asks(predictor: Predictor, shown_lines: Lines) -> None:
    client = over(create_app(Settings(inference_token=SecretStr(TOKEN), log_prompts=True), predictor))
    assert (await client.post("/v1/features/risk", json=TASK)).status_code == 200
    (line,) = shown_lines.all("request")
    assert CANARY in line["prompt_input"]["title"]
    assert line["output"]["risk_level"] in {"low", "medium", "high"}


def test_a_text_line_is_one_line_whatever_its_facts_say() -> None:
    record = logging.makeLogRecord({"name": "inference.request", "levelname": "INFO", "msg": "request", "facts": {"status": 200, "odd": "a\nb c"}})
    line = TextLines(show_texts=False).format(record)
    assert "\n" not in line
    assert line.endswith('info inference.request request status=200 odd="a\\nb c"')
