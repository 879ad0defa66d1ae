"""Owns what a caller's JSON schema may ask for: a closed list of keywords, bounded size, an answer that can end.

Whatever is not listed here is refused by name, so that nothing is ever silently left out. Pure; compiles nothing.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from inference.errors import UnusableSchema

MOST_PLACES = 2000
"""Subschemas and enum values in one schema."""
MOST_REFERENCES = 100
LONGEST_PATTERN = 1024
LONGEST_POINTER = 2000
"""Characters of the path to a subschema: all property names on the way to it."""
LETTERS_PER_TOKEN = 16
"""More than any text but a run of blanks has: a schema that needs more tokens than allowed even so is refused."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS = {_DRAFT, "https://json-schema.org/draft/2019-09/schema", "http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-07/schema"}
_ONE = {"items", "additionalProperties"}
_LISTS = {"anyOf", "allOf", "oneOf", "prefixItems"}
_MAPS = {"properties", "patternProperties", "$defs", "definitions"}
_LIMITS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_NOTES = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
KEYWORDS = frozenset(_ONE | _LISTS | _MAPS | _LIMITS | _NOTES | {"type", "enum", "const", "required", "pattern", "format", "$ref"})
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
_HEAVY = ("minLength", "minItems", "minProperties", "const", "enum", "required", "$ref")
"""Keywords that can make an answer long, the first one present is blamed."""


@dataclass(frozen=True)
class CheckedSchema:
    """A schema within the rules. `places`: its subschemas by JSON pointer; `least`: tokens that each needs at least."""

    schema: dict[str, Any]
    places: dict[str, Any]
    least: dict[str, float]

    def check_fits(self, max_tokens: int) -> None:
        """Raises UnusableSchema, with the place, when no answer can be complete within so many tokens."""
        if self.least[""] <= max_tokens:
            return
        where = next(where for where, place in reversed(self.places.items()) if isinstance(place, dict) and self.least[where] > max_tokens)
        raise UnusableSchema(f"No answer within max_tokens {max_tokens} can satisfy the schema at {_named(where)}: {_blamed(self.places[where])} needs at least {math.ceil(self.least[where])} tokens")


def check(schema: Mapping[str, Any]) -> CheckedSchema:
    """Raises UnusableSchema naming the keyword and its place. Costs time in proportion to the schema's size.

    `$schema` and `$id` of the whole are read and left out: a reference can name a place in the schema by its path only, which does
    not depend on what the schema is called.
    """
    wanted = dict(schema)
    draft = wanted.pop("$schema", _DRAFT)
    called = wanted.pop("$id", "")
    if not isinstance(called, str):
        raise UnusableSchema(f"Cannot enforce '$id' at its root: {str(called)[:100]!r} is no address")
    if draft not in _DRAFTS:
        raise UnusableSchema(f"Cannot enforce '$schema' {str(draft)[:100]!r}: the dialect is {_DRAFT}")
    places = dict(_walk(wanted))
    _check_against_dialect(wanted)
    references = {target for place in places.values() if isinstance(place, dict) for target in _target(place)}
    if len(references) > MOST_REFERENCES:
        raise UnusableSchema(f"Cannot enforce a schema with '$ref' to {len(references)} places: the most is {MOST_REFERENCES}")
    for where, place in places.items():
        for target in _target(place):
            if target not in places:
                raise UnusableSchema(f"Cannot enforce '$ref' at {_named(where)}: {place['$ref'][:100]!r} names no schema in it")
    least = _least(places)
    for where, place in places.items():
        if isinstance(place, dict) and math.isinf(least[where]):
            raise UnusableSchema(f"No answer can satisfy the schema at {_named(where)}: {_blamed(place)} never ends or allows nothing")
    return CheckedSchema(wanted, places, least)


def _walk(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every subschema with its JSON pointer, parents first. Without recursion, and no further than MOST_PLACES."""
    todo: list[tuple[str, Any]] = [("", schema)]
    seen = 0
    while todo:
        where, here = todo.pop()
        seen += 1 + (len(here["enum"]) if isinstance(here, dict) and isinstance(here.get("enum"), list) else 0)
        if seen + len(todo) > MOST_PLACES:
            raise UnusableSchema(f"Cannot enforce a schema of more than {MOST_PLACES} subschemas and enum values (reached at {_named(where)})")
        if len(where) > LONGEST_POINTER:
            raise UnusableSchema(f"Cannot enforce the schema at {_named(where)}: the names on the way to it exceed {LONGEST_POINTER} characters")
        if isinstance(here, dict):
            _check_keywords(where, here)
            todo += reversed(list(_children(where, here)))
        elif not isinstance(here, bool):
            raise UnusableSchema(f"Cannot enforce the schema at {_named(where)}: it is neither an object nor a boolean")
        yield where, here


def _check_keywords(where: str, here: dict[str, Any]) -> None:
    for keyword, value in here.items():
        if keyword not in KEYWORDS:
            raise UnusableSchema(f"Cannot enforce the keyword {keyword[:100]!r} at {_named(where)}: it is not supported")
        if keyword == "format" and value not in FORMATS:
            raise UnusableSchema(f"Cannot enforce 'format' at {_named(where)}: {str(value)[:100]!r} is not one of {', '.join(sorted(FORMATS))}")
        if keyword == "pattern" and len(str(value)) > LONGEST_PATTERN:
            raise UnusableSchema(f"Cannot enforce 'pattern' at {_named(where)}: it is longer than {LONGEST_PATTERN} characters")


def _children(where: str, here: Any) -> Iterator[tuple[str, Any]]:
    for keyword, value in here.items() if isinstance(here, dict) else ():
        if keyword in _ONE:
            yield f"{where}/{keyword}", value
        elif keyword in _LISTS and isinstance(value, list):
            yield from ((f"{where}/{keyword}/{i}", item) for i, item in enumerate(value))
        elif keyword in _MAPS and isinstance(value, dict):
            yield from ((f"{where}/{keyword}/{_escaped(name)}", item) for name, item in value.items())


def _check_against_dialect(schema: dict[str, Any]) -> None:
    try:
        jsonschema_rs.meta.validate({**schema, "$schema": _DRAFT})
    except jsonschema_rs.ValidationError as error:
        raise UnusableSchema(f"Cannot enforce the schema at {_named(''.join(f'/{part}' for part in error.instance_path))}: {error.message[:200]}") from None


def _target(place: Any) -> list[str]:
    """The JSON pointer that a subschema's reference names; a reference out of the schema names none that there is."""
    if not isinstance(place, dict) or "$ref" not in place:
        return []
    reference = str(place["$ref"])
    return [unquote(reference[1:]) if reference.startswith("#") else reference]


def _least(places: dict[str, Any]) -> dict[str, float]:
    """The fewest tokens that each place can take; infinite where nothing fits, or where it contains itself without end."""
    dependents: dict[str, list[str]] = {where: [] for where in places}
    for where, place in places.items():
        for other in (*(child for child, _ in _children(where, place)), *_target(place)):
            dependents[other].append(where)
    least = dict.fromkeys(places, math.inf)
    todo = dict.fromkeys(reversed(places))  # children before parents, each at most once at a time
    while todo:
        where = next(iter(todo))
        del todo[where]
        found = _least_here(where, places[where], least)
        if found < least[where]:
            least[where] = found
            todo.update(dict.fromkeys(dependents[where]))
    return least


def _least_here(where: str, here: Any, least: Mapping[str, float]) -> float:
    if isinstance(here, bool):
        return 1 if here else math.inf
    bounds = [1.0, *(least[target] for target in _target(here))]
    if "const" in here:
        bounds.append(_written(here["const"]))
    if "enum" in here:
        bounds.append(min(map(_written, here["enum"]), default=math.inf))
    for keyword in ("anyOf", "oneOf"):
        if keyword in here:
            bounds.append(min(least[f"{where}/{keyword}/{i}"] for i in range(len(here[keyword]))))
    bounds += [least[f"{where}/allOf/{i}"] for i in range(len(here.get("allOf", ())))]
    kinds = here.get("type", "number")
    bounds.append(min((_least_of_kind(kind, where, here, least) for kind in ([kinds] if isinstance(kinds, str) else kinds)), default=math.inf))
    return max(bounds)


def _least_of_kind(kind: str, where: str, here: dict[str, Any], least: Mapping[str, float]) -> float:
    if kind == "string":
        return max(1, _count(here, "minLength") / LETTERS_PER_TOKEN)
    if kind == "array":
        first, count = len(here.get("prefixItems", ())), _count(here, "minItems")
        total = sum(least[f"{where}/prefixItems/{i}"] for i in range(min(first, count)))
        return max(1, total + (count - first) * least.get(f"{where}/items", 1) if count > first else total)
    if kind == "object":
        other = least.get(f"{where}/additionalProperties", 1)
        required = set(here.get("required", ()))
        patterned = "patternProperties" in here
        named = sum(least.get(f"{where}/properties/{_escaped(name)}", 1 if patterned else other) for name in required)
        return max(1, named, _count(here, "minProperties"))
    return 1


def _count(here: dict[str, Any], keyword: str) -> int:
    """A limit from the schema; one of a thousand digits must not overflow what is reckoned with it."""
    return min(int(here.get(keyword, 0)), 1_000_000_000)


def _written(value: Any) -> float:
    return max(1, len(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) / LETTERS_PER_TOKEN)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _blamed(place: dict[str, Any]) -> str:
    return next((repr(keyword) for keyword in _HEAVY if keyword in place), "it")


def _named(where: str) -> str:
    return repr(where[:200]) if where else "its root"
