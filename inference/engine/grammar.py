"""Owns what a schema allows: compiled once, copied for each answer. Knows nothing of models beyond their vocabulary."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llguidance import LLMatcher
from llguidance.llamacpp import lltokenizer_from_vocab
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from numpy.typing import NDArray

from inference.errors import InferenceError, UnusableSchema

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


class Matcher:
    """Where an answer stands in its grammar. A token is consumed once it is certain."""

    def __init__(self, matcher: LLMatcher, n_vocab: int) -> None:
        self._matcher = matcher
        self._n_vocab = n_vocab

    @property
    def is_complete(self) -> bool:
        return bool(self._matcher.is_stopped())

    def copy(self) -> "Matcher":
        return Matcher(self._matcher.deep_copy(), self._n_vocab)

    def allows(self, token: int) -> bool:
        return bool(self._matcher.validate_tokens([token]) == 1)

    def consume(self, tokens: Sequence[int]) -> None:
        """Raises UnusableSchema when the grammar disagrees, or gives up because it is too complex: no fault of the model's."""
        if tokens and not self._matcher.consume_tokens(list(tokens)):
            raise UnusableSchema(f"The grammar refused its own tokens: {_first_line(self._matcher.get_error())}")

    def force(self) -> list[int]:
        """Consume what can come next in one way only, as the tokens that the model would use; the tokens."""
        forced: list[int] = self._matcher.compute_ff_tokens()
        self.consume(forced)
        if self._matcher.is_error():
            raise UnusableSchema(f"The grammar failed: {_first_line(self._matcher.get_error())}")
        return forced

    def allowed(self) -> NDArray[np.int64]:
        """All tokens that may come next. The dear way: `allows` is enough where the model's best token is allowed."""
        mask = allocate_token_bitmask(1, self._n_vocab)
        fill_next_token_bitmask(self._matcher, mask)
        if self._matcher.is_error():
            raise UnusableSchema(f"The grammar failed: {_first_line(self._matcher.get_error())}")
        return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[: self._n_vocab])


@dataclass(frozen=True)
class Grammar:
    """A compiled schema. `name` also keeps the phrases of one kind of answer apart from another's; a grammar that does not
    `learns` leaves none behind."""

    name: str
    _first: Matcher
    learns: bool = True

    def begin(self) -> Matcher:
        return self._first.copy()


class Grammars:
    """Compiles schemas for one vocabulary."""

    def __init__(self, vocab: Any, n_vocab: int) -> None:
        self._tokenizer: Any = lltokenizer_from_vocab(vocab)
        self._n_vocab = n_vocab

    def compile(self, name: str, schema: dict[str, Any], *, learns: bool = True) -> Grammar:
        """A grammar for compact JSON. Raises UnusableSchema when the schema cannot be enforced: it is never dropped."""
        grammar = LLMatcher.grammar_from_json_schema(json.dumps({**schema, "x-guidance": _COMPACT}))
        fault = LLMatcher.validate_grammar(grammar, self._tokenizer)
        matcher = LLMatcher(self._tokenizer, grammar)
        first = Matcher(matcher, self._n_vocab)
        if fault or matcher.is_error():
            raise UnusableSchema(f"Cannot enforce the schema of {name!r}: {_first_line(fault or matcher.get_error())}")
        try:  # some faults, such as a reference to itself, show at the first mask or the first forced token only
            first.copy().allowed()
            first.copy().force()
        except InferenceError as error:
            raise UnusableSchema(f"Cannot enforce the schema of {name!r}: {error}") from None
        return Grammar(name, first, learns)


def _first_line(fault: str) -> str:
    """What llguidance says, without the state of its parser."""
    return " ".join(fault.partition("<state>")[0].split())[:300]
