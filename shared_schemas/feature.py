"""Owns the concept of a feature: a name with everything under it.

Knows nothing of any particular feature, and nothing of how an answer is made.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from shared_schemas.closed import Closed
from shared_schemas.terse import named, resolved, terse, terse_schema

InputT = TypeVar("InputT", bound=Closed)
OutputT = TypeVar("OutputT", bound=Closed)

PromptStyle = Literal["terse", "tag", "instructions"]
"""How a model is told what to do: by instructions; a tuned model by a one-word tag; by `terse`, one that was also trained to
read an input's values without their names, and to answer so (terse.py)."""


@dataclass(frozen=True)
class Message:
    """One chat message; `content` is data, never template text."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Feature(Generic[InputT, OutputT]):
    """A name with everything under it.

    `reject` says in words why an output is unacceptable although its JSON is valid (empty = accepted).
    `score` compares an output with a reference: a figure from 0 to 1 under each metric's name.
    `prose` lists the texts of an output that a person would read, for ROUGE-L and repetition checks.
    `max_tokens` bounds an answer; reaching it is an error, never a truncated answer.
    `golden` is an everyday input that a model must answer acceptably before it takes traffic.
    `terse_fields` names the fields that a terse prompt holds, in its order: what few inputs differ in comes first, so that prompts
    begin alike, and what people typed comes last.
    """

    name: str
    version: str
    prompt_input: type[InputT]
    output: type[OutputT]
    instructions: str
    max_tokens: int
    reject: Callable[[InputT, OutputT], Sequence[str]]
    score: Callable[[OutputT, OutputT], Mapping[str, float]]
    prose: Callable[[OutputT], Sequence[str]]
    golden: InputT
    terse_fields: Sequence[str]

    def prompt_version(self, style: PromptStyle) -> str:
        return f"{self.version}/{style}"

    def messages(self, prompt_input: InputT, style: PromptStyle) -> list[Message]:
        """The exact messages a model sees: constant first part, then the compact JSON of the input, or of its values."""
        told = values_json(prompt_input, self.terse_fields) if style == "terse" else compact_json(prompt_input)
        return [*self.constant_messages(style), Message("user", told)]

    def constant_messages(self, style: PromptStyle) -> list[Message]:
        """The part that is the same for every input."""
        return [Message("system", self.instructions if style == "instructions" else self.name)]

    def output_schema(self) -> dict[str, Any]:
        return self.output.model_json_schema()

    def answer_schema(self, style: PromptStyle) -> dict[str, Any]:
        """What a model that is told so may answer."""
        return terse_schema(resolved(self.output_schema())) if style == "terse" else self.output_schema()

    def answer(self, output: OutputT, style: PromptStyle) -> str:
        """The exact words in which a model that is told so should say this."""
        if style != "terse":
            return compact_json(output)
        return json.dumps(terse(output.model_dump(mode="json"), resolved(self.output_schema())), ensure_ascii=False, separators=(",", ":"))

    def read_answer(self, text: str, style: PromptStyle) -> OutputT:
        """What a model that was told so has said. Raises pydantic's ValidationError."""
        if style == "terse":
            with contextlib.suppress(ValueError):
                text = json.dumps(named(json.loads(text), resolved(self.output_schema())))
        return self.output.model_validate_json(text)

    def input_schema(self) -> dict[str, Any]:
        return self.prompt_input.model_json_schema()


AnyFeature: TypeAlias = Feature[Any, Any]


def compact_json(shape: Closed) -> str:
    """JSON without spaces, keys in declared order: the same bytes as `JSON.stringify` gives in TypeScript."""
    return json.dumps(shape.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))


def values_json(shape: Closed, fields: Sequence[str]) -> str:
    """The values of these fields as a JSON array without spaces; objects inside are arrays of their values, in declared order."""
    values = shape.model_dump(mode="json")
    return json.dumps([_values(values[field]) for field in fields], ensure_ascii=False, separators=(",", ":"))


def _values(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [_values(inner) for inner in value.values()]
    return [_values(inner) for inner in value] if isinstance(value, list) else value
