"""Owns the terse form of a shape: the values of its JSON without their names, choices as their place in the list.

Objects are arrays of their values in declared order, and one of several words is a number from 0. It says the same in about
half of the tokens, and nothing is lost: `named` undoes `terse`. Knows nothing of any shape; its JSON schema tells all.
"""

from typing import Any

Schema = dict[str, Any]


def resolved(schema: Schema) -> Schema:
    """The same without `$defs`: every reference is replaced by what it names. For schemas that do not name themselves."""
    return dict(_resolved(schema, schema.get("$defs", {})))


def _resolved(schema: Any, names: Schema) -> Any:
    if isinstance(schema, list):
        return [_resolved(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(names[schema["$ref"].removeprefix("#/$defs/")], names)
    return {key: _resolved(value, names) for key, value in schema.items() if key != "$defs"}


def terse_schema(schema: Schema) -> Schema:
    """What the terse form of a `resolved` schema's values looks like."""
    if "properties" in schema:
        values = [terse_schema(one) for one in schema["properties"].values()]
        return {"type": "array", "prefixItems": values, "minItems": len(values), "maxItems": len(values)}
    if "items" in schema:
        return {**schema, "items": terse_schema(schema["items"])}
    if _is_choice(schema):
        return {"type": "integer", "enum": list(range(len(schema["enum"])))}
    return schema


def terse(value: Any, schema: Schema) -> Any:
    """The terse form of a value that the `resolved` schema allows."""
    if "properties" in schema:
        return [terse(value[name], inner) for name, inner in schema["properties"].items()]
    if "items" in schema:
        return [terse(one, schema["items"]) for one in value]
    return schema["enum"].index(value) if _is_choice(schema) else value


def named(value: Any, schema: Schema) -> Any:
    """The value whose terse form this is. None stands where it is none, which the shape's own validation then refuses."""
    if "properties" in schema:
        fields = schema["properties"]
        if not isinstance(value, list) or len(value) != len(fields):
            return None
        return {name: named(one, inner) for one, (name, inner) in zip(value, fields.items(), strict=True)}
    if "items" in schema:
        return [named(one, schema["items"]) for one in value] if isinstance(value, list) else None
    if _is_choice(schema):
        return schema["enum"][value] if type(value) is int and 0 <= value < len(schema["enum"]) else None
    return value


def _is_choice(schema: Schema) -> bool:
    """Whether it is one of several words: numbers are short as they are."""
    return schema.get("type") == "string" and "enum" in schema
