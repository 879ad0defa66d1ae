"""Owns schemas that callers bring: checked, compiled and kept ready for the next time, at most `most` of them.

Each comes with a validator that shares no code with the engine's grammar. Knows nothing of HTTP.
"""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from inference.engine.grammar import Grammar, Grammars
from inference.errors import InvalidOutput, UnusableSchema
from inference.schema_rules import CheckedSchema, check

ANY_OBJECT: dict[str, Any] = {"type": "object"}
_NAME = "chat"


@dataclass(frozen=True)
class AnswerSchema:
    """A schema ready for use. `checked` knows whether an answer can fit."""

    checked: CheckedSchema
    grammar: Grammar
    _validator: jsonschema_rs.Draft202012Validator

    def check_answer(self, text: str) -> None:
        """Raises InvalidOutput unless `text` is JSON that the schema allows."""
        try:
            fault = next(self._validator.iter_errors(json.loads(text)), None)
        except (ValueError, RecursionError) as error:
            raise InvalidOutput(f"The model's answer cannot be read as JSON: {type(error).__name__}") from None
        if fault:
            raise InvalidOutput(f"The model's answer does not match the schema at {'/'.join(map(str, fault.schema_path))[:200]!r}")


class AnswerSchemas:
    """The schemas of one vocabulary, the latest used ones kept. May be used from many threads at once."""

    def __init__(self, grammars: Grammars, most: int = 64) -> None:
        self._grammars = grammars
        self._most = most
        self._kept: OrderedDict[str, AnswerSchema] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, schema: dict[str, Any]) -> AnswerSchema:
        """The schema compiled, from memory when it was used lately. Raises UnusableSchema."""
        key = json.dumps(schema, separators=(",", ":"))
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = self._make(schema)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def _make(self, schema: dict[str, Any]) -> AnswerSchema:
        checked = check(schema)
        try:  # the cheaper of the two goes first
            validator = jsonschema_rs.Draft202012Validator(checked.schema, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions())
        except (jsonschema_rs.ValidationError, ValueError) as error:
            raise UnusableSchema(f"Cannot enforce a 'pattern' of the schema (look-around, back-references and huge repetitions are not supported): {_first_line(error)}") from None
        return AnswerSchema(checked, self._grammars.compile(_NAME, checked.schema, learns=False), validator)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200]
