"""Owns noticing that a caller hung up while the answer is made. Knows nothing of what is asked."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request

from inference.errors import Cancelled

DISCONNECT_POLL_S = 0.02
T = TypeVar("T")


async def unless_gone(request: Request, answering: Awaitable[T]) -> T:
    """Await the answer, and stop making it when the caller hangs up. Raises Cancelled then."""
    task = asyncio.ensure_future(answering)
    while not (await asyncio.wait({task}, timeout=DISCONNECT_POLL_S))[0]:
        if await request.is_disconnected():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            raise Cancelled("The caller went away")
    return task.result()
