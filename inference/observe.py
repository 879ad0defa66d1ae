"""Owns what is known of a request from outside: its ids, how it ended, how long it took. One log line and one count each.

Pure ASGI, around everything else. Knows nothing of features or of how an answer is made.
"""

import logging
import re
import time
import uuid
from contextvars import ContextVar

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.logs import event, ids
from inference.metrics import Metrics
from inference.trace import begin_span

_QUIET = frozenset({"healthz", "readyz", "metrics", "console"})
"""Routes that are asked by machines every few seconds: neither logged nor counted unless they fail."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

_facts: ContextVar[dict[str, object] | None] = ContextVar("facts", default=None)

log = logging.getLogger("inference.request")


def note(**facts: object) -> None:
    """Add to what the current request's log line says. `code` says how it ended, and is a metric's label: one of few words."""
    known = _facts.get()
    if known is not None:
        known.update(facts)


class Observe:
    """Answers an exception that nobody expected with 500, so that its text reaches neither the caller nor the log."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        trace = begin_span(_header(scope, b"traceparent"))
        request_id = next(filter(_REQUEST_ID.fullmatch, _header(scope, b"x-request-id")), None) or str(uuid.uuid4())
        parent = {"parent_id": trace.parent_id} if trace.parent_id else {}
        ids.set({"request_id": request_id, "trace_id": trace.trace_id, "span_id": trace.span_id, **parent})
        facts: dict[str, object] = {}
        _facts.set(facts)
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"traceparent", trace.header.encode()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            log.exception("a fault of the service")
            facts["code"] = "internal"
            if status:
                raise
            message = "The service has a fault"
            await JSONResponse({"error": {"code": "internal", "message": message, "faults": [message]}}, 500)(scope, receive, noting)
        finally:
            self._close(scope, facts, status or 499, time.perf_counter() - began)

    def _close(self, scope: Scope, facts: dict[str, object], status: int, took_s: float) -> None:
        name = str(getattr(scope.get("route"), "name", "none"))
        if name in _QUIET and status < 500:
            return
        code = str(facts.pop("code", "ok" if status < 400 else "cancelled" if status == 499 else "refused"))
        self._metrics.answered(feature=name, status=status, code=code, took_s=took_s)
        level = logging.WARNING if status >= 500 else logging.INFO
        event(log, level, "request", {"route": name, "status": status, "code": code, "ms": round(1000 * took_s, 1), **facts})


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]
