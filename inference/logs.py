"""Owns what a log line looks like: one event a line, as JSON or as text, with the ids of the request that it belongs to.

No line quotes a prompt or an answer unless the operator asks for it (`show_texts`). An exception is therefore shown by its
type and where it was raised: its message may quote anything. Knows nothing of HTTP.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

LogFormat = Literal["json", "text"]

ids: ContextVar[Mapping[str, str] | None] = ContextVar("ids", default=None)
"""Which request, trace and span the current line of work belongs to."""

OURS = "inference"


def event(log: logging.Logger, level: int, name: str, facts: Mapping[str, object]) -> None:
    """Log an event with its facts. What a prompt or an answer says is no fact: see `show_texts`."""
    log.log(level, name, extra={"facts": facts})


def start_logging(log_format: LogFormat | None, *, show_texts: bool) -> None:
    """Send all logs of the process to stderr; without a format: text on a terminal, else JSON."""
    handler = logging.StreamHandler(sys.stderr)
    chosen = log_format or ("text" if sys.stderr.isatty() else "json")
    handler.setFormatter(JsonLines(show_texts=show_texts) if chosen == "json" else TextLines(show_texts=show_texts))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every URL that it asks
    if show_texts:
        logging.getLogger(OURS).warning("LOG_PROMPTS is set: prompts and answers are logged, and with them whatever users wrote")


class JsonLines(logging.Formatter):
    """Each record as one line of ASCII JSON."""

    def __init__(self, *, show_texts: bool) -> None:
        super().__init__()
        self._show_texts = show_texts

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.facts(record), default=str)

    def facts(self, record: logging.LogRecord) -> dict[str, object]:
        said = record.getMessage()
        if not self._show_texts and not record.name.startswith(OURS):
            said = said.partition("\n")[0]  # asyncio and uvicorn put reprs and tracebacks behind their first line
        facts: dict[str, object] = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"), "level": record.levelname.lower(), "logger": record.name, "event": said}
        facts |= ids.get() or {}
        facts |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[1]:
            facts |= self._of_error(record.exc_info[1])
        return facts

    def _of_error(self, error: BaseException) -> dict[str, object]:
        frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        said = {"message": str(error)} if self._show_texts else {}
        return {"error": type(error).__name__, "raised_at": frames[-6:], **said}


class TextLines(JsonLines):
    """The same facts for people: time, level, event, then the rest as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        facts = self.facts(record)
        head = " ".join(str(facts.pop(name)) for name in ("time", "level", "logger", "event"))
        return " ".join([head, *(f"{name}={json.dumps(fact, default=str)}" for name, fact in facts.items())])
