"""Owns the shape of training rows: chat messages as Axolotl's `chat_template` type reads them, strict JSON answers.

Knows nothing of where the rows are kept.
"""

from collections.abc import Sequence

from shared_schemas.example import Example
from shared_schemas.feature import PromptStyle, compact_json
from shared_schemas.features import FEATURES

Row = dict[str, list[dict[str, str]]]


def format_conversations(examples: Sequence[Example], style: PromptStyle) -> list[Row]:
    return [_row(example, style) for example in examples]


def _row(example: Example, style: PromptStyle) -> Row:
    asked = FEATURES[example.feature].messages(example.prompt_input, style)
    turns = [{"role": message.role, "content": message.content} for message in asked]
    return {"messages": [*turns, {"role": "assistant", "content": compact_json(example.output)}]}
