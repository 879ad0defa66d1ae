"""What holds for every schema, every body and every text, tried on many made at random (the same ones each time).

A schema is refused by a 4xx that says why, or its answer is valid under another validator than the service's own.
"""

import codecs
import json
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.chat_text import ChatText
from inference.errors import BadRequest, UnusableSchema
from inference.schema_rules import KEYWORDS, check
from inference.strict_json import read_json
from tests.inference.conftest import TOKEN

NAMES = st.sampled_from(["a", "b", "title", "<|im_end|>", "x y", 'q"', "ü"])
small = st.integers(0, 4)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text('ab<|>é\n"', max_size=6))


def limits(low: str, high: str) -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(st.sampled_from([low, high]), small)


def arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {"prefixItems": st.lists(inner, min_size=1, max_size=2), "items": inner}
    return st.builds(lambda some, bounds: {"type": "array", **some, **bounds}, st.fixed_dictionaries({}, optional=fields), limits("minItems", "maxItems"))


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {"properties": st.dictionaries(NAMES, inner, max_size=3), "required": st.lists(NAMES, unique=True, max_size=2), "additionalProperties": inner | st.booleans()}
    return st.builds(lambda some, bounds: {"type": "object", **some, **bounds}, st.fixed_dictionaries({}, optional=fields), limits("minProperties", "maxProperties"))


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda keyword, some: {keyword: some}, st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner, min_size=1, max_size=3))


leaves = st.one_of(
    st.just({}),
    st.builds(lambda bounds: {"type": "string", **bounds}, limits("minLength", "maxLength")),
    st.builds(lambda kind, bounds: {"type": kind, **bounds}, st.sampled_from(["integer", "number"]), limits("minimum", "maximum")),
    st.builds(lambda step: {"type": "integer", "multipleOf": step, "minimum": 0, "maximum": 50}, st.integers(1, 7)),
    st.builds(lambda name: {"type": "string", "format": name}, st.sampled_from(["date", "time", "uuid", "ipv4", "shoe-size"])),
    st.builds(lambda text: {"type": "string", "pattern": text}, st.sampled_from(["^a+b$", "[0-9]{2,3}", "^(x|yy)*z$", "(", "^(?=a)"])),
    st.builds(lambda values: {"enum": values}, st.lists(scalars, min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2), max_leaves=4)),
    st.builds(lambda kinds: {"type": kinds}, st.lists(st.sampled_from(["boolean", "null", "integer", "string"]), min_size=1, max_size=2, unique=True)),
    st.sampled_from([{"$ref": "#"}, {"$ref": "#/$defs/a"}, {"not": {}}, {"uniqueItems": True}, {"type": "string", "title": "a note"}]),
)
schemas = st.recursive(leaves, lambda inner: arrays(inner) | objects(inner) | combined(inner), max_leaves=6)
json_values = st.recursive(scalars | st.floats(allow_nan=True), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)

FIELDS = ["model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop", "response_format", "stream", "stream_options", "n", "tools", "user", "metadata", "logprobs"]


@pytest.fixture(scope="module")
def post(service: str) -> Any:
    with httpx.Client(base_url=service, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        yield lambda content: client.post("/v1/chat/completions", content=content)


@settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(schema=schemas)
def test_every_schema_is_refused_by_name_or_its_answer_is_valid(post: Any, schema: dict[str, Any]) -> None:
    asked = {"name": "x", "schema": schema}
    response = post(json.dumps({"model": "default", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 24, "response_format": {"type": "json_schema", "json_schema": asked}}))
    if response.status_code == 200:
        choice = response.json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        jsonschema.Draft202012Validator(schema).validate(json.loads(choice["message"]["content"]))
        return
    error = response.json()["error"]
    assert (response.status_code, error["code"]) in {(400, "unusable_schema"), (422, "truncated")}, (schema, error)
    assert len(error["message"]) > 20


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(fields=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4), keeps=st.booleans())
def test_no_body_makes_the_service_fail(post: Any, fields: dict[str, Any], keeps: bool) -> None:
    sound = {"model": "default", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    response = post(json.dumps({**sound, **fields} if keeps else fields))
    assert response.status_code in (200, 400, 404, 422), response.text
    if response.status_code != 200:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=60))
def test_no_bytes_make_the_service_fail(post: Any, content: bytes) -> None:
    assert post(content).status_code == 400


@settings(max_examples=300, derandomize=True, database=None)
@given(value=json_values)
def test_what_the_strict_reader_takes_is_what_was_written(value: Any) -> None:
    try:
        read = read_json(json.dumps(value).encode())
    except BadRequest:
        return
    assert json.dumps(read) == json.dumps(value)


@settings(max_examples=200, derandomize=True, database=None)
@given(keyword=st.text(min_size=1, max_size=12).filter(lambda name: name not in KEYWORDS and name != "$schema"), value=json_values, depth=st.integers(0, 3))
def test_a_keyword_that_is_not_known_is_refused_by_name(keyword: str, value: Any, depth: int) -> None:
    schema: dict[str, Any] = {keyword: value}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(UnusableSchema) as refused:
        check(schema)
    assert repr(keyword) in str(refused.value)


@settings(max_examples=300, derandomize=True, database=None)
@given(text=st.text("ab漢é😀"), stops=st.lists(st.text("ab漢", min_size=1, max_size=3), max_size=3), cuts=st.lists(st.integers(1, 4)))
def test_a_text_in_pieces_is_the_text_up_to_its_first_stop(text: str, stops: list[str], cuts: list[int]) -> None:
    data, cut, said = text.encode(), ChatText(stops), ""
    for size in cuts:
        piece = cut.feed(data[:size])
        codecs.encode(piece, "utf-8")
        said += piece
        data = data[size:]
    said += cut.feed(data, final=True)
    found = [text.index(stop) for stop in stops if stop in text]
    assert text.startswith(said)
    assert not any(stop in said for stop in stops)
    assert found or said == text
