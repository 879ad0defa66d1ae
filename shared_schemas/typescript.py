"""Owns the TypeScript that the edge functions get: types, schemas, instructions, limits; written from the features alone."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from shared_schemas import wording
from shared_schemas.feature import AnyFeature, PromptStyle
from shared_schemas.features import risk

_HEADER = """\
// Written by scripts/generate from shared_schemas. Do not edit: a test fails when this file is stale.
// Owns what both languages must agree on: shapes, limits, instructions, words that decide. Knows nothing of HTTP.
"""
_STYLES: tuple[PromptStyle, ...] = ("terse", "instructions")


def typescript(features: Mapping[str, AnyFeature]) -> str:
    """The whole text of `features.gen.ts`."""
    parts = [_HEADER]
    shapes: dict[str, dict[str, Any]] = {}
    for feature in features.values():
        for schema in (feature.input_schema(), feature.output_schema()):
            shapes.update(schema.get("$defs", {}))
            shapes[schema["title"]] = schema
    parts += [f"export type {name} = {_type(schema)};\n" for name, schema in shapes.items()]
    parts.append(f"export const features = {json.dumps({name: _facts(feature) for name, feature in features.items()}, indent=2, ensure_ascii=False)} as const;\n")
    parts.append("export type FeatureName = keyof typeof features;\n")
    parts.append(f"/** What `reject` looks for: regular expressions, all but `figure` in any case. */\nexport const wording = {json.dumps(_wording(), indent=2)} as const;\n")
    return "\n".join(parts)


def _wording() -> dict[str, Any]:
    return {
        "jargon": wording.JARGON,
        "same": wording.SAME,
        "milestoneWords": {milestone: words.pattern for milestone, words in risk.MILESTONE_WORDS.items()},
        "milestoneFigures": risk.MILESTONE_FIGURES,
        "allDone": risk.ALL_DONE.pattern,
        "noneDone": risk.NONE_DONE.pattern,
        "figure": risk.FIGURE.pattern,
        "doneFigure": risk.DONE_FIGURE.pattern,
    }


def _facts(feature: AnyFeature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "promptVersions": {style: feature.prompt_version(style) for style in _STYLES},
        "instructions": feature.instructions,
        "inputSchema": feature.input_schema(),
        "outputSchema": feature.output_schema(),
    }


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    match schema["type"]:
        case "object":
            return "{ " + " ".join(_members(schema)) + " }"
        case "array":
            return f"Array<{_type(schema['items'])}>"
        case "integer" | "number":
            return "number"
        case kind:
            return str(kind)


def _members(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, member in schema["properties"].items():
        yield f"{name}: {_type(member)};"
