"""Owns what personal data is and how it is taken out of a text: replaced by numbered placeholders, never dropped.

Patterns run in Presidio's recognisers, without a language model and without the network; names come from the
organisation's own profiles. Knows nothing of rows.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import regex
from presidio_analyzer import AnalyzerEngine, LocalRecognizer, Pattern, PatternRecognizer, RecognizerRegistry, RecognizerResult
from presidio_analyzer.nlp_engine import NoOpNlpEngine
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer

LANGUAGE = "en"
PHONE_REGIONS = ("IN", "US", "GB", "DE", "AE", "SG", "AU")
PHONE_DIGITS = 8
"""Phone numbers have at least this many digits; fewer are figures of the task."""
NAME_LETTERS = 3
"""Shorter parts of a name are initials."""
SHORT_TEXT = 20_000
"""Longer texts are looked at in pieces of this many characters."""

_URL = (
    r"\b(?:https?|ftp|wss?|postgres(?:ql)?|mongodb(?:\+srv)?|redis)://[^\s<>\"')\]]+|\bwww\.[^\s<>\"')\]]+"
    r"|(?<![\w@.-])(?:[a-z0-9-]{1,63}\.){1,5}[a-z]{2,12}/[^\s<>\"')\]]*"
)
_EMAIL = r"(?<![\w.%+'-])[\w.%+'-]{1,64}@[^\W_]{1,63}(?:-[^\W_]{1,63}){0,5}(?:\.[\w-]{1,63}){1,8}"
_ID = r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
_PHONE = r"(?<!\d|\d[.:-])(?:\+|00)?\(?\d{1,4}\)?(?:[ ./–-]{0,3}\(?\d{2,5}\)?){2,5}(?!\d)"
_SECRETS = (
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    r"\b(?:sk|pk|rk|sb|gh[pousr]|glpat|xox[abprs]|hf|ya29|whsec|npm|dop_v1|shpat)[-_][\w-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}",
    r"\b(?:password|passwd|pwd|secret|api[ _-]?key|token)\s*[:=]\s*[^\s,;]{4,}",
    r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z+/_-]*\d)(?=[\d+/_-]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}",
)
_DATE = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}([ T]\d{1,4})?|\d{1,2}[./-]\d{1,2}[./-]\d{4}([ T]\d{1,4})?")
_SUSPICIOUS = re.compile(r"@|/|www\.|\d(?:\D{0,4}\d){6}|[\w-]{14}|[:=]|BEGIN|\d{1,3}(?:\.\d{1,3}){3}")
"""A text without any of these matches none of the patterns: most texts need no closer look."""
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}'’]*")
_SENTENCE_START = re.compile(r"(?:^|[.!?:\n]\s*|^\s*[-*•]\s*)$")
_ORDINARY = """
amber art bill chase dawn drew frank grace grant hope joy june may mark max miles penny rich rob rose ruby sky sunny swift summer
tag test will young page king price
"""
ORDINARY = frozenset(_ORDINARY.split())
"""Names that are words too: they count as names only with a capital where no sentence begins."""

_KINDS = {"URL": "url", "EMAIL": "email", "ID": "id", "PHONE": "phone", "PHONE_NUMBER": "phone", "SECRET": "secret", "IP_ADDRESS": "ip", "CREDIT_CARD": "card", "IBAN_CODE": "card"}
_RANK = {kind: rank for rank, kind in enumerate(("url", "id", "secret", "email", "card", "ip", "phone"))}


class Phones(PatternRecognizer):
    """Runs of digits as people type phone numbers; dates and short figures are none."""

    def __init__(self) -> None:
        super().__init__("PHONE", patterns=[Pattern("phone", _PHONE, 0.5)], supported_language=LANGUAGE)

    def validate_result(self, pattern_text: str) -> bool | None:
        return _is_phone(pattern_text)


class Names:
    """The people of one organisation: each full name, and each part of a name of three letters or more, in any case."""

    def __init__(self, full_names: Iterable[str]) -> None:
        words = (word for name in full_names for word in _WORD.findall(unicodedata.normalize("NFC", name)))
        self.parts = frozenset(word.casefold() for word in words if len(word) >= NAME_LETTERS)

    def find(self, text: str) -> list[tuple[int, int, str]]:
        found: list[tuple[int, int, str]] = []
        for word in _WORD.finditer(text) if self.parts else ():
            plain = re.sub(r"['’]s$", "", word.group())
            if plain.casefold() in self.parts and self._is_meant(plain, text, word.start()):
                start, end = word.start(), word.start() + len(plain)
                if found and text[found[-1][1] : start].isspace() and "\n" not in text[found[-1][1] : start]:
                    start = found.pop()[0]
                found.append((start, end, "name"))
        return found

    @staticmethod
    def _is_meant(word: str, text: str, start: int) -> bool:
        return word.casefold() not in ORDINARY or (word[0].isupper() and not _SENTENCE_START.search(text[:start][-20:]))


class Placeholders:
    """The placeholders of one row: the same words get the same number wherever they stand in it."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.given: dict[tuple[str, str], str] = {}

    @property
    def counts(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.given)

    def replace(self, text: str) -> str:
        """The text with every finding replaced by a placeholder such as `[email 1]`."""
        text = unicodedata.normalize("NFC", text)
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
    """Where the patterns match: start, end, kind. Where two overlap, the more specific one counts."""
    if not _SUSPICIOUS.search(text):
        return ()
    found: list[tuple[int, int, str]] = []
    for piece in range(0, len(text), SHORT_TEXT):
        results = _analyzer().analyze(text[piece : piece + SHORT_TEXT], LANGUAGE)
        for start, end, kind in sorted(((piece + one.start, piece + one.end, _KINDS[one.entity_type]) for one in results if _is_meant(one, text, piece)), key=lambda one: (_RANK[one[2]], one)):
            if not any(start < other_end and other_start < end for other_start, other_end, _ in found):
                found.append((start, end, kind))
    return tuple(sorted(found))


def _is_meant(result: RecognizerResult, text: str, piece: int) -> bool:
    """Presidio's own phone recogniser takes dates and short figures for phones."""
    return result.entity_type != "PHONE_NUMBER" or _is_phone(text[piece + result.start : piece + result.end])


def _is_phone(words: str) -> bool:
    return len(re.sub(r"\D", "", words)) >= PHONE_DIGITS and not _DATE.fullmatch(words.strip(" ()"))


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
    ]
    engine = NoOpNlpEngine(models=[{"lang_code": LANGUAGE, "model_name": "none"}])
    return AnalyzerEngine(registry=RecognizerRegistry(recognizers=recognizers, supported_languages=[LANGUAGE]), nlp_engine=engine, supported_languages=[LANGUAGE])
