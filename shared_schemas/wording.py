"""Owns the checks of wording that every feature shares: sense, repetition, jargon.

Knows no feature and no model; each check returns a sentence of what is wrong, or nothing.
"""

import re
from collections.abc import Iterator, Sequence

from shared_schemas.fault import Fault

JARGON = ("allocated hours", "predicted delay", "predicted total", "velocity", "progress ratio", "threat level", "points/hour")
"""Words of the metrics layer that a person must not read (contract.md 1.4)."""

BEGINS = r"^\S"
"""A text begins with what can be read: a model that starts a word with its space would otherwise start a title with it."""

SAME = 0.85
"""Two texts that share this part of their distinct words (Jaccard) say the same thing twice."""

_UNCLEAN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_WORD = re.compile(r"[^\W\d_]{2,}")


def similar(first: str, second: str) -> bool:
    a, b = (frozenset(re.findall(r"\w+", text.casefold())) for text in (first, second))
    return a == b or len(a & b) >= SAME * len(a | b)


def repeats(texts: Sequence[str], what: str) -> Iterator[Fault]:
    for i, text in enumerate(texts):
        if any(similar(text, earlier) for earlier in texts[:i]):
            yield Fault("repetition", f"{what} repeat each other: {text!r}")


def jargon(texts: Sequence[str]) -> Iterator[Fault]:
    for text in texts:
        for word in JARGON:
            if word in text.casefold():
                yield Fault("jargon", f"jargon {word!r} in {text!r}")


def nonsense(texts: Sequence[str], *, words: int) -> Iterator[Fault]:
    """Texts with fewer than `words` distinct words, or with one word filling a third of six or more."""
    for text in texts:
        found = [word.casefold() for word in _WORD.findall(text)]
        if len(set(found)) < words:
            yield Fault("nonsense", f"not a sentence: {text!r}")
        elif len(found) >= 6 and max(found.count(word) for word in found) * 3 > len(found):
            yield Fault("nonsense", f"one word over and over: {text!r}")


def unclean(texts: Sequence[str]) -> Iterator[Fault]:
    """Texts with control characters or halves of characters: a model can spell them as escapes, PostgreSQL cannot store all of them."""
    for text in texts:
        if _UNCLEAN.search(text):
            yield Fault("control_character", f"a control character in {text!r}")


def cut_off(texts: Sequence[str]) -> Iterator[Fault]:
    """Sentences that stop before they end."""
    for text in texts:
        if text.rstrip()[-1:] not in {".", "!", "?"}:
            yield Fault("cut_off", f"ends in the middle of a sentence: {text!r}")
