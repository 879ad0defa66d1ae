"""Owns guesses at what comes next: phrases of earlier answers, and words of the prompt. A guess costs little when it is
wrong and saves a step when it is right; the model's own choice always decides (speculative decoding by lookup: Saxena
2023, "Prompt Lookup Decoding"; Leviathan et al. 2023 for why nothing changes in what is answered).
"""

from collections.abc import Sequence

LONGEST = 6
"""Tokens before the next one that are looked up, the longest match first."""
_LOOKUP = (3, 2)


class Phrases:
    """What followed what in answers, by grammar. Bounded: at most `limit` contexts are remembered."""

    def __init__(self, limit: int = 300_000) -> None:
        self._limit = limit
        self._next: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._next)

    def learn(self, name: str, answer: Sequence[int]) -> None:
        """Remember an answer's tokens: each context keeps the token that followed it most (Boyer and Moore's vote)."""
        if len(self._next) > self._limit:
            self._next = dict(list(self._next.items())[self._limit // 2 :])
        context = begin(name)
        for token in answer:
            for n in range(1, LONGEST + 1):
                if n > len(context):
                    break
                key = hash((n, *context[-n:]))
                held, votes = self._next.get(key, (token, 0))
                if held == token:
                    self._next[key] = (token, min(votes + 1, 8))
                else:
                    self._next[key] = (held, votes - 1) if votes > 1 else (token, 1)
            context.append(token)

    def guess(self, context: Sequence[int], prompt: "PromptWords") -> int | None:
        """The likeliest next token after `context`, or None: nothing like it was seen."""
        for n in range(min(LONGEST, len(context)), 0, -1):
            if n == 3:
                found = prompt.after(context)
                if found is not None:
                    return found
            held = self._next.get(hash((n, *context[-n:])))
            if held is not None:
                return held[0]
        return None


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
