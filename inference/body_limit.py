"""Owns the largest and the slowest body that is read. Pure ASGI: a body that announces more is refused before a byte of it is read."""

import asyncio
import time
from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.observe import note


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BodyLimit:
    """`max_bytes` for each path, or what `larger` says of it; all of a body within `max_s` seconds."""

    def __init__(self, app: ASGIApp, max_bytes: int, larger: Mapping[str, int], max_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger
        self._max_s = max_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._larger.get(scope["path"], self._max_bytes)
        too_large = _Refused(413, "too_large", f"The body is larger than {most} bytes")
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > most):
            await _refuse(too_large, scope, receive, send)
            return
        read, is_whole, deadline = 0, False, time.monotonic() + self._max_s

        async def limited() -> Message:
            nonlocal read, is_whole
            if is_whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), deadline - time.monotonic())
            except TimeoutError:
                raise _Refused(408, "too_slow", f"The body did not come within {self._max_s:g} s") from None
            if message["type"] == "http.disconnect":
                raise _Refused(400, "incomplete", "The body ended before its announced length")
            read += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if read > most:
                raise too_large
            return message

        try:
            await self._app(scope, limited, send)
        except _Refused as refused:
            await _refuse(refused, scope, receive, send)


async def _refuse(refused: _Refused, scope: Scope, receive: Receive, send: Send) -> None:
    note(code=refused.code)
    message = str(refused)
    error = {"code": refused.code, "message": message, "faults": [message], "type": "invalid_request_error", "param": None}
    await JSONResponse({"error": error}, refused.status, {"connection": "close"})(scope, receive, send)
