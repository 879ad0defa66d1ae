"""Owns which trace a request belongs to: W3C Trace Context, level 1. Knows nothing of logs or of where spans are kept."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

_HEADER = re.compile(r"(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<parent_id>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?", re.ASCII)
_SAMPLED = 1


@dataclass(frozen=True)
class Trace:
    """One span of a trace: ours. `parent_id` is the caller's span, None where the trace begins here."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    is_sampled: bool = True

    @property
    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def begin_span(headers: Sequence[str]) -> Trace:
    """A new span of the trace that the `traceparent` headers name; of a new trace where there is not exactly one, well formed."""
    given = _parsed(headers[0]) if len(headers) == 1 else None
    span_id = _random_hex(8)
    if given is None:
        return Trace(_random_hex(16), span_id)
    return Trace(given["trace_id"], span_id, given["parent_id"], bool(int(given["flags"], 16) & _SAMPLED))


def _parsed(header: str) -> re.Match[str] | None:
    match = _HEADER.fullmatch(header.strip(" \t"))
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["more"]):
        return None
    return match if int(match["trace_id"], 16) and int(match["parent_id"], 16) else None


def _random_hex(size: int) -> str:
    """`size` random bytes in hexadecimal, not all zero: that would be no id."""
    return next(text for text in iter(lambda: secrets.token_hex(size), "") if int(text, 16))
