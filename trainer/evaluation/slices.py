"""Owns the slices of a gold set: kinds of examples that a model may be bad at although its mean is good.

An example's slices follow from its input alone (and, for typos, from how the other inputs spell), so that they are known before
anybody answers.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from shared_schemas.features.plan import PlanInput
from shared_schemas.features.risk import RiskInput
from trainer.data.coverage import domain_of
from trainer.data.row import Row

SLICES: Mapping[str, str] = {
    "micro-task": "the app calls it a micro-task",
    "milestone": "a milestone was reached: half or three quarters of the time used, an hour or half an hour left",
    "learning track": "the title is of a learning track, or 40 hours and more are planned",
    "typo": "a word of the title is one slip away from a word that the other inputs use often",
    "odd title": "no sense, no letters, all capitals, another script, or marks in a row",
    "short description": "the description says no more than the title, or nothing",
    "similar tasks": "earlier tasks serve as a guide",
}
LONG_MINUTES = 40 * 60
OFTEN, LONG_WORD = 3, 5
"""A word that so many inputs use is spelt right; shorter words have neighbours that are right too."""

_WORD = re.compile(r"[^\W\d_]+")
_ODD = re.compile(r"[^\w\s]{3,}|(.)\1{3,}")
_ENDINGS = re.compile(r"(?:ing|ed|es|er|s|d|r)$")


def slices_of(rows: Sequence[Row]) -> dict[str, frozenset[str]]:
    """The names of each row's slices, by its id."""
    counts = Counter(word for row in rows for word in set(_words(_text(row))))
    known = {word for word, count in counts.items() if count >= OFTEN}
    return {row.id: frozenset(_found(row, known)) for row in rows}


def _found(row: Row, known: set[str]) -> Iterable[str]:
    asked = row.prompt_input
    if domain_of(asked.title) == "learn" or (isinstance(asked, RiskInput) and asked.budget_minutes >= LONG_MINUTES):
        yield "learning track"
    if any(misspelt(word, known) for word in _words(asked.title)):
        yield "typo"
    if is_odd(asked.title):
        yield "odd title"
    match asked:
        case RiskInput():
            if asked.micro_task:
                yield "micro-task"
            if asked.milestone != "none":
                yield "milestone"
        case PlanInput():
            if len(set(_words(asked.description)) - set(_words(asked.title))) < 3:
                yield "short description"
            if asked.similar:
                yield "similar tasks"


def is_odd(title: str) -> bool:
    letters = [letter for letter in title if letter.isalpha()]
    return domain_of(title) == "junk" or len(letters) < 3 or (len(letters) > 6 and title.upper() == title) or any(letter > "\u024f" for letter in letters) or bool(_ODD.search(title))


def misspelt(word: str, known: set[str]) -> bool:
    """Whether one letter more, less, other or swapped with the next makes it a word that is known, beyond another ending of it."""
    if len(word) < LONG_WORD or word in known or not word.isascii():
        return False
    stem = _ENDINGS.sub("", word)
    return any(abs(len(word) - len(other)) < 2 and len(other) >= LONG_WORD and _ENDINGS.sub("", other) != stem and not _prefixes(word, other) and _one_slip(word, other) for other in known)


def _prefixes(a: str, b: str) -> bool:
    return a.startswith(b) or b.startswith(a)


def _one_slip(a: str, b: str) -> bool:
    """Damerau-Levenshtein distance of 1: what is left between the common beginning and the common end says so."""
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return max(len(a), len(b)) == 1 or (len(a) == 2 and a == b[::-1])


def _text(row: Row) -> str:
    return f"{row.prompt_input.title} {getattr(row.prompt_input, 'description', '')}"


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
