"""Owns whether an answer's tokens are those that its text is tokenised into, and whose doing it is where they are not.

A forced run must be: the model was trained on canonical tokens, and others lead it astray. What the model chose itself is its own
affair. Knows nothing of how an answer is made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from inference.engine.completion import Completion
from inference.engine.llama import Llama

_EXAMPLES = 10


@dataclass
class Canonical:
    """`runs` of forced tokens, and how many of them are `broken`: a token of the canonical text that is not there reaches into them.
    `whole`: answers all of whose tokens are canonical."""

    runs: int = 0
    broken: int = 0
    answers: int = 0
    whole: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Canonical") -> None:
        self.runs += other.runs
        self.broken += other.broken
        self.answers += other.answers
        self.whole += other.whole
        self.examples = [*self.examples, *other.examples][:_EXAMPLES]


def canonical(llama: Llama, done: Completion) -> Canonical:
    """Of one answer."""
    own, chosen = list(_spans(llama, done.tokens)), set(done.chosen_at)
    runs = [list(run) for is_forced, run in groupby(own, key=lambda span: span[0] not in chosen) if is_forced]
    there = set(own)
    missing = [span for span in _spans(llama, llama.tokenize(done.text, special=False)) if span not in there]
    broken = [run for run in runs if any(begin < run[-1][1] and end > run[0][0] for begin, end in missing)]
    text = done.text.encode()
    return Canonical(len(runs), len(broken), 1, not missing, [text[max(0, run[0][0] - 8) : run[-1][1] + 8].decode("utf-8", "replace") for run in broken[:_EXAMPLES]])


def _spans(llama: Llama, tokens: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each token stands in the text: its first byte, and the one after its last."""
    at = 0
    for token in tokens:
        end = at + len(llama.piece(token))
        yield at, end
        at = end
