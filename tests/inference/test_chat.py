"""Chat completions as OpenAI's own client sees them, over a real connection to the real model."""

import json
import threading
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pydantic
import pytest

from inference.chat_text import ChatText
from inference.engine.completion import Job, Sampler
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.feature import Message
from shared_schemas.features import FEATURES
from tests.inference.conftest import TOKEN, given_up

RISK = FEATURES["risk"]
SURE: Any = [{"role": message.role, "content": message.content} for message in RISK.messages(RISK.golden, find_model(Settings()).version.prompt_style)]
"""What the model was tuned on."""
HELLO: Any = [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": "Say hello to the world in one sentence."}]


@pytest.fixture(scope="module")
def ask(service: str) -> Iterator[Any]:
    """The client's completions."""
    with openai.OpenAI(base_url=f"{service}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client.chat.completions


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def test_a_conversation_is_answered_and_counted(ask: Any, predictor: Predictor) -> None:
    first = ask.create(model="default", messages=SURE, max_tokens=200)
    again = ask.create(model=predictor.version.name, messages=SURE, max_completion_tokens=200)
    assert first.choices[0].message.role == "assistant"
    assert first.choices[0].message.content == again.choices[0].message.content
    assert (first.object, first.model, first.choices[0].finish_reason) == ("chat.completion", predictor.version.name, "stop")
    assert again.usage.total_tokens == again.usage.prompt_tokens + again.usage.completion_tokens
    assert 0 < again.usage.prompt_tokens_details.cached_tokens < again.usage.prompt_tokens


def test_our_own_message_can_be_sent_back(ask: Any) -> None:
    said = ask.create(model="default", messages=HELLO, max_tokens=8).choices[0].message
    parts = {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "text", "text": "again"}]}
    assert ask.create(model="default", messages=[*HELLO, said, parts], max_tokens=8).choices[0].message.content


def test_a_stream_says_the_same_as_a_whole_answer(ask: Any) -> None:
    whole = ask.create(model="default", messages=SURE, max_tokens=200)
    chunks = list(ask.create(model="default", messages=SURE, max_tokens=200, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:-1])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1] if chunk.choices[0].finish_reason] == ["stop"]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], whole.usage.completion_tokens)
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done_and_without_usage_unless_asked(service: str) -> None:
    body = {"model": "default", "messages": HELLO, "max_tokens": 4, "stream": True}
    response = httpx.post(f"{service}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events[:-1])


def test_free_text_cut_by_its_limit_says_so(ask: Any) -> None:
    answer = ask.create(model="default", messages=HELLO, max_tokens=3)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_ends_the_answer_before_itself(ask: Any, stream: bool) -> None:
    whole = ask.create(model="default", messages=SURE, max_tokens=200).choices[0].message.content
    stop = whole[10:14]
    answer = ask.create(model="default", messages=SURE, max_tokens=200, stop=["never", stop], stream=stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in answer) if stream else answer.choices[0].message.content
    assert text == whole[: whole.index(stop)]


def test_a_seed_repeats_a_drawn_answer_and_another_draws_another(ask: Any) -> None:
    def draw(seed: int) -> str:
        return str(ask.create(model="default", messages=SURE, max_tokens=60, temperature=1.5, top_p=0.95, seed=seed).choices[0].message.content)

    assert len({draw(seed) for seed in (-1, 2, 3)}) > 1
    assert draw(5) == draw(5)


def test_top_p_leaves_the_unlikely_out() -> None:
    import numpy as np

    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(1.0, seed=1, top_p=0.75)
    assert {sampler.pick(logits) for _ in range(300)} == {0, 1}


def test_a_pydantic_class_comes_back_filled(ask: Any) -> None:
    class Step(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        title: str = pydantic.Field(max_length=20)
        risk: Literal["low", "high"]

    class Plan(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        steps: list[Step] = pydantic.Field(min_length=1, max_length=2)

    answer = ask.parse(model="default", messages=HELLO, response_format=Plan, max_tokens=200)
    assert 1 <= len(answer.choices[0].message.parsed.steps) <= 2


def test_a_schema_with_one_answer_only_needs_no_step(ask: Any) -> None:
    only = {"const": {"a": [1, None], "ä": "ü"}}
    assert json.loads(ask.create(model="default", messages=HELLO, response_format=schema_format(only)).choices[0].message.content) == only["const"]
    with pytest.raises(openai.UnprocessableEntityError):
        ask.create(model="default", messages=HELLO, response_format=schema_format({"const": "word " * 30}), max_tokens=10)


@pytest.mark.parametrize("fields", [{"response_format": schema_format({"type": "string", "minLength": 20})}, {"response_format": {"type": "json_object"}}])
def test_structured_text_cut_by_its_limit_is_an_error(ask: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask.create(model="default", messages=HELLO, max_tokens=2, **fields)
    assert refused.value.code == "truncated"


def test_a_stream_that_fails_midway_ends_with_the_error(ask: Any) -> None:
    texts: list[str] = []
    stream = ask.create(model="default", messages=HELLO, max_tokens=2, response_format=schema_format({"type": "string", "minLength": 20}), stream=True)
    with pytest.raises(openai.APIError, match="not complete after 2 tokens") as failed:
        texts.extend(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices[0].finish_reason is None)
    assert "".join(texts)
    assert failed.value.code == "truncated"


def test_the_client_raises_its_own_errors(service: str, ask: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        ask.create(model="gpt-4o", messages=HELLO)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as too_long:
        ask.create(model="default", messages=[{"role": "user", "content": "word " * 20_000}])
    assert too_long.value.code == "context_length_exceeded"
    with openai.OpenAI(base_url=f"{service}/v1", api_key="wrong", max_retries=0) as stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="default", messages=HELLO)


@pytest.mark.parametrize("stream", [False, True])
def test_past_its_queue_the_client_is_told_when_to_come_back(ask: Any, predictor: Predictor, stream: bool) -> None:
    engine, gate, reached = predictor.engine, threading.Event(), threading.Event()

    def hold(_text: bytes) -> None:
        reached.set()
        gate.wait(30)

    prompt = predictor.chat_tokens([Message("user", "hello")])
    jobs = [engine.submit(Job(prompt, None, 2, on_text=hold))]
    assert reached.wait(30)
    while not engine.is_full:
        jobs.append(engine.submit(Job(prompt, None, 2)))
    try:
        with pytest.raises(openai.InternalServerError) as refused:
            ask.create(model="default", messages=HELLO, stream=stream)
    finally:
        gate.set()
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1
    assert all(one.future.result(timeout=60).tokens for one in jobs)


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_hangs_up_frees_the_place(service: str, predictor: Predictor, stream: bool) -> None:
    engine = predictor.engine
    cancelled, times = engine.counts.cancelled, 5
    endless = schema_format({"type": "string", "minLength": 2000})
    body = {"model": "default", "messages": HELLO, "response_format": endless, "max_tokens": 4000, "stream": stream}
    for i in range(times):
        with httpx.Client(base_url=service, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
            if stream:
                with client.stream("POST", "/v1/chat/completions", json=body) as response:
                    next(response.iter_bytes())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post("/v1/chat/completions", json=body, timeout=0.3)
        given_up(predictor, cancelled + i + 1)
        assert (engine.live, engine.waiting) == (0, 0)
    assert engine.counts.cancelled == cancelled + times


def test_characters_are_never_split() -> None:
    text = "ä漢😀é"
    cut = ChatText()
    pieces = [cut.feed(bytes([byte])) for byte in text.encode()] + [cut.feed(b"", final=True)]
    assert [piece for piece in pieces if piece] == list(text)


def test_half_a_stop_sequence_is_held_back_until_it_is_certain() -> None:
    cut = ChatText(["END"])
    assert [cut.feed(piece) for piece in (b"a E", b"N", b"x EN", b"D tail")] == ["a ", "", "ENx ", ""]
    assert cut.feed(b"more", final=True) == ""
