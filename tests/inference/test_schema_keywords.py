"""Every keyword of JSON Schema 2020-12 is enforced or refused by name. The list comes from the standard's own meta-schemas."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema_specifications import REGISTRY

from inference.errors import UnusableSchema
from inference.predict import Predictor
from inference.schema_rules import FORMATS, KEYWORDS, check
from inference.schema_sets import takes
from tests.inference.conftest import TOKEN

DIALECT = "https://json-schema.org/draft/2020-12/"
VOCABULARIES = ("core", "applicator", "unevaluated", "validation", "meta-data", "format-annotation", "content")


def keywords() -> Iterator[str]:
    for document in ("schema", *(f"meta/{name}" for name in VOCABULARIES)):
        yield from REGISTRY.contents(DIALECT + document)["properties"]


ALL = sorted(set(keywords()))
OF_THE_WHOLE = {"$schema", "$id"}
"""Read at the root of a schema; refused by name anywhere else."""
UNSUPPORTED = [keyword for keyword in ALL if keyword not in KEYWORDS | OF_THE_WHOLE]
STANDARD_FORMATS = {
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri", "uri-reference", "iri", "iri-reference", "uuid", "uri-template",
    "json-pointer", "relative-json-pointer", "regex",
}  # fmt: skip
"""Section 7.3 of the standard's validation part; the meta-schemas do not list them."""

VALUES: dict[str, Any] = {
    "$anchor": "a", "$dynamicAnchor": "a", "$dynamicRef": "#a", "$id": "https://example.com/a", "$vocabulary": {}, "$recursiveAnchor": "a", "$recursiveRef": "#",
    "contentEncoding": "base64", "contentMediaType": "text/plain", "dependencies": {"a": ["b"]}, "dependentRequired": {"a": ["b"]}, "dependentSchemas": {"a": {}},
    "maxContains": 2, "minContains": 1, "uniqueItems": True,
}  # fmt: skip
"""What is sound under each keyword; a schema where nothing is said."""


def test_the_list_is_the_whole_standard() -> None:
    assert len(ALL) == 61
    assert {"$ref", "unevaluatedItems", "contentSchema", "if", "minContains"} <= set(ALL)
    assert set(ALL) >= KEYWORDS, "what is supported is of the standard"
    assert len(UNSUPPORTED) == len(ALL) - len(KEYWORDS) - len(OF_THE_WHOLE)
    assert FORMATS < STANDARD_FORMATS


@pytest.mark.parametrize("keyword", UNSUPPORTED)
def test_a_keyword_that_is_not_supported_is_a_400_that_names_it_and_its_place(service: str, keyword: str) -> None:
    faulty = {"type": "object", keyword: VALUES.get(keyword, {})}
    for schema, where in ((faulty, "at its root"), ({"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, faulty]}}}, "'/properties/a/anyOf/1'")):
        body = {"model": "default", "messages": [{"role": "user", "content": "hello"}], "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
        response = httpx.post(f"{service}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "unusable_schema", "response_format")
        assert repr(keyword) in error["message"]
        assert where in error["message"]


@pytest.mark.parametrize("keyword", sorted(OF_THE_WHOLE))
def test_what_names_the_whole_schema_is_refused_further_in(keyword: str) -> None:
    with pytest.raises(UnusableSchema, match=rf"the keyword '\{keyword}' at '/properties/a'"):
        check({"type": "object", "properties": {"a": {keyword: DIALECT + "schema"}}})


def test_a_schema_with_a_name_is_the_same_schema(predictor: Predictor) -> None:
    named = {"$id": "https://example.com/a", "$ref": "#/$defs/b", "$defs": {"b": {"type": "null"}}}
    assert allows(predictor, named, None)
    assert not allows(predictor, named, 1)


@pytest.mark.parametrize(
    ("odd", "said"), [({"$id": 1}, "'1' is no address"), ({"$id": "https://example.com/a", "$ref": "https://example.com/a#/$defs/b", "$defs": {"b": {}}}, "names no schema in it")]
)
def test_a_name_that_is_none_and_a_reference_by_name_are_refused(odd: dict[str, Any], said: str) -> None:
    with pytest.raises(UnusableSchema, match=said):
        check(odd)


@pytest.mark.parametrize("name", sorted(STANDARD_FORMATS - FORMATS))
def test_a_format_that_is_not_supported_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnusableSchema, match=f"'format' at its root: '{name}' is not one of"):
        check({"type": "string", "format": name})


ENFORCED: list[tuple[str, Any, Any, Any]] = [
    ("type", {"type": "integer"}, 1, "1"),
    ("enum", {"enum": ["a", 1]}, 1, 2),
    ("const", {"const": {"a": 1}}, {"a": 1}, {"a": 2}),
    ("minLength", {"type": "string", "minLength": 2}, "ab", "a"),
    ("maxLength", {"type": "string", "maxLength": 2}, "ab", "abc"),
    ("pattern", {"type": "string", "pattern": "^a+$"}, "aa", "ab"),
    ("format", {"type": "string", "format": "date"}, "2026-11-23", "2026-13-23"),
    ("minimum", {"type": "integer", "minimum": 3}, 3, 2),
    ("maximum", {"type": "integer", "maximum": 3}, 3, 4),
    ("exclusiveMinimum", {"type": "integer", "exclusiveMinimum": 3}, 4, 3),
    ("exclusiveMaximum", {"type": "integer", "exclusiveMaximum": 3}, 2, 3),
    ("multipleOf", {"type": "integer", "multipleOf": 3, "minimum": 0}, 6, 7),
    ("items", {"type": "array", "items": {"type": "null"}}, [None], [1]),
    ("prefixItems", {"type": "array", "prefixItems": [{"type": "null"}], "items": {"type": "integer"}}, [None, 1], [1]),
    ("minItems", {"type": "array", "items": {"type": "null"}, "minItems": 1}, [None], []),
    ("maxItems", {"type": "array", "items": {"type": "null"}, "maxItems": 1}, [None], [None, None]),
    ("properties", {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False}, {"a": None}, {"a": 1}),
    ("patternProperties", {"type": "object", "patternProperties": {"^a": {"type": "null"}}, "additionalProperties": False}, {"ab": None}, {"ab": 1}),
    ("additionalProperties", {"type": "object", "additionalProperties": {"type": "null"}}, {"a": None}, {"a": 1}),
    ("required", {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"], "additionalProperties": False}, {"a": None}, {}),
    ("minProperties", {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 1}, {"a": None}, {}),
    ("maxProperties", {"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 1}, {"a": None}, {"a": None, "b": None}),
    ("allOf", {"allOf": [{"type": "integer", "minimum": 1}, {"type": "integer", "maximum": 2}]}, 2, 3),
    ("anyOf", {"anyOf": [{"type": "null"}, {"type": "boolean"}]}, None, 1),
    ("oneOf", {"oneOf": [{"type": "null"}, {"type": "boolean"}]}, True, 1),
    ("$ref", {"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, None, 1),
    ("$defs", {"$ref": "#/$defs/a", "$defs": {"a": {"enum": ["x"]}}}, "x", "y"),
    ("definitions", {"$ref": "#/definitions/a", "definitions": {"a": {"enum": ["x"]}}}, "x", "y"),
]
NOTES = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}


def allows(predictor: Predictor, schema: dict[str, Any], value: Any) -> bool:
    """Whether the grammar takes the value's text as a whole answer."""
    return takes(predictor, predictor.answer_schemas.get(schema), json.dumps(value, separators=(",", ":")), [])


@pytest.mark.parametrize(("keyword", "schema", "good", "bad"), ENFORCED, ids=[keyword for keyword, *_ in ENFORCED])
def test_a_supported_keyword_is_enforced_by_the_grammar_itself(predictor: Predictor, keyword: str, schema: dict[str, Any], good: Any, bad: Any) -> None:
    assert keyword in json.dumps(schema)
    assert allows(predictor, schema, good)
    assert not allows(predictor, schema, bad)


def test_every_supported_keyword_is_among_those_tried() -> None:
    assert {keyword for keyword, *_ in ENFORCED} | NOTES == KEYWORDS
