"""Owns cutting a stream of bytes into text: whole characters only, nothing from a stop sequence on. Knows nothing of HTTP."""

import codecs
from collections.abc import Sequence


class ChatText:
    """Bytes in, text out. Text that may be the beginning of a stop is held back until it is certain."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = stops
        self._held = ""
        self._is_over = False

    def feed(self, piece: bytes, *, final: bool = False) -> str:
        """The text that is certain now; with `final` all that is left of it."""
        if self._is_over:
            return ""
        self._held += self._decoder.decode(piece, final)
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        keep = 0 if final else self._possible_stop()
        end = min(found) if found else len(self._held) - keep
        self._is_over = final or bool(found)
        text, self._held = self._held[:end], self._held[end:]
        return text

    def _possible_stop(self) -> int:
        """How many characters at the end may turn out to be the beginning of a stop."""
        return max((n for stop in self._stops for n in range(1, min(len(stop), len(self._held) + 1)) if self._held.endswith(stop[:n])), default=0)
