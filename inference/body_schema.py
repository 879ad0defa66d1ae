"""Owns a body's schema as OpenAPI can show it: whole, without references, which would point out of the schema."""

from typing import Any

from pydantic import BaseModel


def body_schema(shape: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a shape that does not contain itself."""
    schema = shape.model_json_schema()
    definitions = schema.pop("$defs", {})
    whole: dict[str, Any] = _inlined(schema, definitions)
    return whole


def _inlined(here: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(here, list):
        return [_inlined(item, definitions) for item in here]
    if not isinstance(here, dict):
        return here
    if isinstance(here.get("$ref"), str):
        return _inlined({**definitions[here["$ref"].removeprefix("#/$defs/")], **{key: value for key, value in here.items() if key != "$ref"}}, definitions)
    return {key: _inlined(value, definitions) for key, value in here.items() if key != "discriminator" or not isinstance(value, dict)}
