"""Owns what personal data is and how it is taken out of a text: replaced by numbered placeholders, never dropped.

Patterns run in Presidio's recognisers, without a language model and without the network; names come from the
organisation's own profiles. Knows nothing of rows.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import regex
from presidio_analyzer import AnalyzerEngine, LocalRecognizer, Pattern, PatternRecognizer, RecognizerRegistry, RecognizerResult
from presidio_analyzer.nlp_engine import NoOpNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    IbanRecognizer,
    InAadhaarRecognizer,
    InGstinRecognizer,
    InPanRecognizer,
    InVoterRecognizer,
    IpRecognizer,
    PhoneRecognizer,
)

LANGUAGE = "en"
PHONE_REGIONS = ("IN", "US", "GB", "DE", "AE", "SG", "AU")
PHONE_DIGITS = 8
"""Phone numbers have at least this many digits; fewer are figures of the task."""
PLAIN_PHONE_DIGITS = 10
"""The same for digits in a row: with fewer it is a phone only where a country says so."""
NAME_LETTERS = 3
"""Shorter parts of a name are initials: they count within a full name only."""
GLUED_LETTERS = 6
"""A full name without spaces has at least this many letters: shorter ones are words."""
LONGEST_HALF = 200
"""Characters before a cut that are looked at."""
MOST_PARTS = 6
"""Of a longer name, its first words are a name too."""
SHORT_TEXT = 20_000
"""Longer texts are looked at in pieces of this many characters."""

_URL = (
    r"\b(?:https?|ftp|wss?|postgres(?:ql)?|mongodb(?:\+srv)?|redis)://[^\s<>\"')\]]+|\bwww\.[^\s<>\"')\]]+"
    r"|(?<![\w@.-])(?:[a-z0-9-]{1,63}\.){1,5}[a-z]{2,12}/[^\s<>\"')\]]*"
)
_EMAIL = r"(?<![\w.%+'-])[\w.%+'-]{1,64}@[^\W_]{1,63}(?:-[^\W_]{1,63}){0,5}(?:\.[\w-]{1,63}){1,8}"
_ID = r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
_PHONE = r"(?<!\d|\d[.:-])(?:\+|00)\d{1,3}(?:[ ./–-]{0,3}\(?\d{1,5}\)?){2,6}(?!\d)|(?<!\d|\d[.:-])(?:\+|00)?\(?\d{1,4}\)?(?:[ ./–-]{0,3}\(?\d{2,5}\)?){2,5}(?!\d)"
_SECRETS = (
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    r"\b(?:sk|pk|rk|sb|gh[pousr]|glpat|xox[abprs]|hf|ya29|whsec|npm|dop_v1|shpat)[-_][\w-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}",
    r"\b(?:password|passwd|pwd|secret|api[ _-]?key|token)\s*[:=]\s*[^\s,;]{4,}",
    r"\b(?:password|passwd|pwd|passcode|secret|api[ _-]?key|token)\s+(?:is\s+)?(?!(?:oauth|sha|base|md|utf)-?\d)(?=[^\s,;]*\d)(?=[^\s,;]*[A-Za-z])[^\s,;]{5,}",
    r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z+/_-]*\d)(?=[\d+/_-]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}",
)
_DATE = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}([ T]\d{1,4})?|\d{1,2}[./-]\d{1,2}[./-]\d{4}([ T]\d{1,4})?")
_YEARS = re.compile(r"(?:(?:19|20)\d\d[ ./–-]*){2,}")
_THOUSANDS = re.compile(r"[1-9]\d?(?:[ .]\d{3}){2,}")
_SUSPICIOUS = re.compile(r"@|/|www\.|\d(?:\D{0,4}\d){6}|[\w-]{14}|[A-Za-z]{3,5}\d{4}|[:=]|BEGIN|\d{1,3}(?:\.\d{1,3}){3}|pass|pwd|secret|token|api[ _-]?key", re.I)
"""A text without any of these matches none of the patterns: most texts need no closer look."""
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}'’]*")
_BETWEEN = regex.compile(r"[\s\p{Cf}.,_-]{1,3}")
"""What may stand between the words of a name."""
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{2,}")
"""Scripts that write no spaces, so that a name ends where it pleases."""
_HALF = regex.compile(r"(?:[+(]?\d[\d ()./–-]*|\S*@\S*|\S*://\S*)…$")
"""What may be the rest of a number or an address, where a text was cut."""
_SENTENCE_START = re.compile(r"(?:^|[.!?:\n]\s*|^\s*[-*•]\s*)$")
_ORDINARY = """
amber art bill chase dawn drew frank grace grant hope joy june may mark max miles penny rich rob rose ruby sky sunny swift summer
tag test will young page king price
"""
ORDINARY = frozenset(_ORDINARY.split())
"""Names that are words too: they count as names only with a capital where no sentence begins."""

_KINDS = {
    "URL": "url",
    "EMAIL": "email",
    "ID": "id",
    "PHONE": "phone",
    "PHONE_NUMBER": "phone",
    "SECRET": "secret",
    "IP_ADDRESS": "ip",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "card",
    "IN_PAN": "id",
    "IN_AADHAAR": "id",
    "IN_GSTIN": "id",
    "IN_VOTER": "id",
}
_RANK = {kind: rank for rank, kind in enumerate(("url", "id", "secret", "email", "card", "ip", "phone"))}


class Phones(PatternRecognizer):
    """Runs of digits as people type phone numbers; dates and short figures are none."""

    def __init__(self) -> None:
        super().__init__("PHONE", patterns=[Pattern("phone", _PHONE, 0.5)], supported_language=LANGUAGE)

    def validate_result(self, pattern_text: str) -> bool | None:
        return _is_phone(pattern_text)


class Names:
    """The people of one organisation: each full name, in any case and however its words are joined, each run of two or more of
    its words, and each word of three letters or more. Names in scripts without spaces are found within any text.
    """

    def __init__(self, full_names: Iterable[str]) -> None:
        self.parts, self.glued, self.unspaced = set[str](), set[str](), set[str]()
        self.runs: dict[str, list[tuple[str, ...]]] = {}
        for name in full_names:
            whole = unicodedata.normalize("NFC", name)
            self.unspaced |= {one for found in _UNSPACED.findall(whole) for one in (found, found[1:] if len(found) == NAME_LETTERS else found)}
            words = tuple(word.casefold() for word in _WORD.findall(whole) if not _UNSPACED.fullmatch(word))
            self.parts |= {word for word in words if len(word) >= NAME_LETTERS}
            self._add_runs(words[:MOST_PARTS])
        for runs in self.runs.values():
            runs.sort(key=len, reverse=True)
        self._unspaced = regex.compile("|".join(map(regex.escape, sorted(self.unspaced, key=lambda one: (-len(one), one)))) or r"(?!)")

    def _add_runs(self, words: tuple[str, ...]) -> None:
        """All runs of two or more words, a name of one short word, and the whole name without spaces."""
        if len("".join(words)) >= GLUED_LETTERS:
            self.glued.add("".join(words))
        for start in range(len(words)):
            for end in range(start + 1, len(words) + 1):
                run = words[start:end]
                if len(run) > 1 or len(words) == 1:
                    known = self.runs.setdefault(run[0], [])
                    if run not in known:
                        known.append(run)

    def find(self, text: str) -> list[tuple[int, int, str]]:
        found = [(match.start(), match.end(), "name") for match in self._unspaced.finditer(text)]
        words = [(plain, word.start(), word.start() + len(plain)) for word in _WORD.finditer(text) if (plain := re.sub(r"['’]s$", "", word.group()))] if self.runs else []
        i = 0
        while i < len(words):
            count = self._longest(text, words[i : i + MOST_PARTS])
            if count:
                found.append((words[i][1], words[i + count - 1][2], "name"))
            i += count or 1
        return list(_joined(text, found))

    def _longest(self, text: str, words: Sequence[tuple[str, int, int]]) -> int:
        """How many of the words that come next are a name."""
        word, start, _ = words[0]
        plain = word.casefold()
        for run in self.runs.get(plain, ()):
            if len(run) <= len(words) and all(self._follows(text, words, i, part) for i, part in enumerate(run)) and self._is_name(run, words):
                return len(run)
        return int(plain in self.glued or (plain in self.parts and self._is_meant(word, text, start)) or (text.endswith("…") and start + len(word) == len(text) - 1 and _begins_one(plain, self.parts)))

    @staticmethod
    def _follows(text: str, words: Sequence[tuple[str, int, int]], i: int, part: str) -> bool:
        return words[i][0].casefold() == part and (i == 0 or _BETWEEN.fullmatch(text[words[i - 1][2] : words[i][1]]) is not None)

    @staticmethod
    def _is_name(run: Sequence[str], words: Sequence[tuple[str, int, int]]) -> bool:
        """A name of short or ordinary words only must be written as one, with capitals."""
        return any(len(part) >= NAME_LETTERS and part not in ORDINARY for part in run) or all(not word[0].islower() for word, _, _ in words[: len(run)])

    @staticmethod
    def _is_meant(word: str, text: str, start: int) -> bool:
        return word.casefold() not in ORDINARY or (word[0].isupper() and not _SENTENCE_START.search(text[:start][-20:]))


def _begins_one(word: str, parts: Iterable[str]) -> bool:
    """Whether a text that ends here was cut off in the middle of a name."""
    return len(word) >= NAME_LETTERS and any(part.startswith(word) for part in parts)


def _joined(text: str, found: list[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Names that follow each other are one: first and last."""
    before: tuple[int, int, str] | None = None
    for one in sorted(found):
        if before and one[0] < before[1]:
            continue
        if before and "\n" not in text[before[1] : one[0]] and text[before[1] : one[0]].isspace():
            before = (before[0], one[1], "name")
            continue
        if before:
            yield before
        before = one
    if before:
        yield before


class Placeholders:
    """The placeholders of one row: the same words get the same number wherever they stand in it."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.given: dict[tuple[str, str], str] = {}

    @property
    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.given)

    def replace(self, text: str) -> str:
        """The text with every finding replaced by a placeholder such as `[email 1]`; what may be half a finding, where the text was cut, goes."""
        text = unicodedata.normalize("NFC", text)
        if text.endswith("…"):
            text = text[:-LONGEST_HALF] + _HALF.sub("…", text[-LONGEST_HALF:])
        patterns = _patterns(text)
        names = [name for name in self.names.find(text) if not any(name[0] < end and start < name[1] for start, end, _ in patterns)]
        said, done = [], 0
        for start, end, kind in sorted([*patterns, *names]):
            said += [text[done:start], self._placeholder(kind, text[start:end])]
            done = end
        return "".join([*said, text[done:]])

    def in_texts(self, value: Any) -> Any:
        """The same value with every text in it replaced; keys stay."""
        if isinstance(value, str):
            return self.replace(value)
        if isinstance(value, list):
            return [self.in_texts(item) for item in value]
        if isinstance(value, dict):
            return {key: self.in_texts(item) for key, item in value.items()}
        return value

    def _placeholder(self, kind: str, words: str) -> str:
        key = kind, " ".join(words.casefold().split())
        if key not in self.given:
            self.given[key] = f"[{kind} {self.counts[kind] + 1}]"
        return self.given[key]


@lru_cache(maxsize=50_000)
def _patterns(text: str) -> tuple[tuple[int, int, str], ...]:
    """Where the patterns match: start, end, kind. Where two overlap, the more specific one counts, then the longer one."""
    if not _SUSPICIOUS.search(text):
        return ()
    found: list[tuple[int, int, str]] = []
    for piece in range(0, len(text), SHORT_TEXT):
        results = _analyzer().analyze(text[piece : piece + SHORT_TEXT], LANGUAGE)
        for start, end, kind in sorted(
            ((piece + one.start, piece + one.end, _KINDS[one.entity_type]) for one in results if _is_meant(one, text, piece)), key=lambda one: (_RANK[one[2]], one[0] - one[1], one)
        ):
            if not any(start < other_end and other_start < end for other_start, other_end, _ in found):
                found.append((start, end, kind))
    return tuple(sorted(found))


def _is_meant(result: RecognizerResult, text: str, piece: int) -> bool:
    """Presidio's own phone recogniser takes dates and short figures for phones; its weakest patterns of ids match anything."""
    words = text[piece + result.start : piece + result.end]
    match result.entity_type:
        case "PHONE_NUMBER":
            return _is_phone(words)
        case "PHONE":
            return _is_phone(words) and (not words.isdigit() or len(words) >= PLAIN_PHONE_DIGITS or words.startswith("0"))
        case "IN_VOTER" | "IN_PAN":
            return words.isupper()
    return True


def _is_phone(words: str) -> bool:
    digits, plain = re.sub(r"\D", "", words), words.strip(" ()")
    return len(digits) >= PHONE_DIGITS and not digits.endswith("00000") and not any(figures.fullmatch(plain) for figures in (_DATE, _YEARS, _THOUSANDS))


@lru_cache(maxsize=1)
def _analyzer() -> AnalyzerEngine:
    def pattern(entity: str, *expressions: str) -> PatternRecognizer:
        return PatternRecognizer(entity, patterns=[Pattern(entity.lower(), expression, 0.9) for expression in expressions], supported_language=LANGUAGE)

    recognizers: list[LocalRecognizer] = [
        pattern("URL", _URL),
        pattern("EMAIL", _EMAIL),
        pattern("ID", _ID),
        pattern("SECRET", *_SECRETS),
        Phones(),
        PhoneRecognizer(supported_regions=PHONE_REGIONS),
        CreditCardRecognizer(),
        IbanRecognizer(),
        IpRecognizer(),
        InPanRecognizer(patterns=InPanRecognizer.PATTERNS[:2]),
        InAadhaarRecognizer(),
        InGstinRecognizer(),
        InVoterRecognizer(),
    ]
    engine = NoOpNlpEngine(models=[{"lang_code": LANGUAGE, "model_name": "none"}])
    return AnalyzerEngine(registry=RecognizerRegistry(recognizers=recognizers, supported_languages=[LANGUAGE]), nlp_engine=engine, supported_languages=[LANGUAGE])
