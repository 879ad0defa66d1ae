"""Owns guesses at what comes next: phrases of earlier answers, and words of the prompt, each with how likely it is. A guess
that is wrong costs a little and one that is right saves a step; the model's own choice always decides (speculative
decoding by lookup: Saxena 2023, "Prompt Lookup Decoding"; Leviathan et al. 2023 for why nothing changes in what is answered).
"""

from collections.abc import Sequence

LONGEST = 8
"""Tokens before the next one that are looked up, the longest match first."""
_LOOKUP = (3, 2)
_COPIED = 0.4
"""How likely a word of the prompt is taken to go on in the answer as it does there: of 0.4 and 0.6, what took less simulated time
on 64 held-out answers of each feature."""
_DOUBT = 0.5
"""Times that something else is taken to have come next, beside what was seen: one sighting is no certainty."""

Seen = tuple[int, int] | dict[int, int]
"""What came next, and how often: of one token alone, or of each."""


class Phrases:
    """What followed what in answers, by grammar: those that the model was trained on, and the newest that it gave.

    Of the newest, `recent` to twice as many contexts are remembered (about 0.2 KiB each), so that memory is full soon and then stays.
    """

    def __init__(self, recent: int = 20_000) -> None:
        self._recent = recent
        self._taught: dict[int, Seen] = {}
        self._heard: dict[int, Seen] = {}
        self._heard_before: dict[int, Seen] = {}

    def __len__(self) -> int:
        return len(self._taught) + len(self._heard) + len(self._heard_before)

    def teach(self, name: str, answer: Sequence[int]) -> None:
        """Remember an answer's tokens for good."""
        _note(self._taught, name, answer)

    def hear(self, name: str, answer: Sequence[int]) -> None:
        """Remember an answer's tokens until enough others came after it."""
        _note(self._heard, name, answer)
        if len(self._heard) >= self._recent:
            self._heard, self._heard_before = {}, self._heard

    def guess(self, context: Sequence[int], prompt: "PromptWords") -> tuple[int, float] | None:
        """The likeliest next token after `context` and its probability, or None: nothing like it was seen."""
        copied = prompt.after(context)
        for n in range(min(LONGEST, len(context)), 0, -1):
            seen = self._seen(hash((n, *context[-n:])))
            if seen is None:
                continue
            token, likely = _likeliest(seen)
            if copied == token:
                return token, 1 - (1 - likely) * (1 - _COPIED)
            if copied is not None and n <= max(_LOOKUP) and likely < _COPIED:
                break
            return token, likely
        return (copied, _COPIED) if copied is not None else None

    def _seen(self, key: int) -> Seen | None:
        """What came next in all that is remembered."""
        found = [seen for seen in (self._taught.get(key), self._heard.get(key), self._heard_before.get(key)) if seen is not None]
        if len(found) < 2:
            return found[0] if found else None
        counts: dict[int, int] = {}
        for seen in found:
            for token, count in [seen] if isinstance(seen, tuple) else seen.items():
                counts[token] = counts.get(token, 0) + count
        return counts


class PromptWords:
    """What followed what in one prompt."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._next = {hash((n, *prompt[i : i + n])): prompt[i + n] for n in _LOOKUP for i in range(len(prompt) - n)}

    def after(self, context: Sequence[int]) -> int | None:
        for n in _LOOKUP:
            found = self._next.get(hash((n, *context[-n:]))) if len(context) >= n else None
            if found is not None:
                return found
        return None


def begin(name: str) -> list[int]:
    """What stands before an answer's first token: something that no token is."""
    return [-1 - sum(name.encode())]


def _note(where: dict[int, Seen], name: str, answer: Sequence[int]) -> None:
    context = begin(name)
    for token in answer:
        for n in range(1, min(LONGEST, len(context)) + 1):
            key = hash((n, *context[-n:]))
            where[key] = _more(where.get(key), token)
        context.append(token)


def _more(seen: Seen | None, token: int) -> Seen:
    if seen is None:
        return token, 1
    if isinstance(seen, tuple):
        held, count = seen
        return (token, count + 1) if held == token else {held: count, token: 1}
    seen[token] = seen.get(token, 0) + 1
    return seen


def _likeliest(seen: Seen) -> tuple[int, float]:
    if isinstance(seen, tuple):
        token, count = seen
        return token, count / (count + _DOUBT)
    token = max(seen, key=seen.__getitem__)
    return token, seen[token] / (sum(seen.values()) + _DOUBT)
