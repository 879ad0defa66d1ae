"""Owns the shape of training rows: chat messages as Axolotl's `chat_template` type reads them, strict JSON answers, terse ones where the style says so.

Knows nothing of where the rows are kept.
"""

from collections.abc import Iterable
from typing import Protocol

from shared_schemas.closed import Closed
from shared_schemas.feature import PromptStyle
from shared_schemas.features import FEATURES

Row = dict[str, list[dict[str, str]]]


class Pair(Protocol):
    """An input of a feature and a good answer to it."""

    @property
    def feature(self) -> str: ...
    @property
    def prompt_input(self) -> Closed: ...
    @property
    def output(self) -> Closed: ...


def format_conversations(pairs: Iterable[Pair], style: PromptStyle) -> list[Row]:
    return [conversation(pair, style) for pair in pairs]


def conversation(pair: Pair, style: PromptStyle) -> Row:
    asked = FEATURES[pair.feature].messages(pair.prompt_input, style)
    turns = [{"role": message.role, "content": message.content} for message in asked]
    return {"messages": [*turns, {"role": "assistant", "content": FEATURES[pair.feature].answer(pair.output, style)}]}
