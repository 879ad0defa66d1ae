"""Owns noticing that a caller hung up while the answer is made. Knows nothing of what is asked."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from starlette.requests import Request

from inference.errors import Cancelled

T = TypeVar("T")


async def unless_gone(request: Request, answering: Awaitable[T]) -> T:
    """Await the answer, and stop making it when the caller hangs up. Raises Cancelled then. The body must have been read.

    It sleeps until either happens: looking every few milliseconds would take a core from the engine's threads each time.
    """
    task, hearing = asyncio.ensure_future(answering), asyncio.ensure_future(_hears_hang_up(request))
    try:
        await asyncio.wait({task, hearing}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Cancelled("The caller went away")
    finally:
        for one in (task, hearing):
            one.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await one


async def _hears_hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
