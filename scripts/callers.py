"""Owns callers of an inference service, well-behaved and not: what they ask, how they leave, and what came of it.

Knows nothing of how the service was started, nor of what is made of the outcomes.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from inference.bench_inputs import inputs

CHAT = "/v1/chat/completions"
RISK, PLAN = "/v1/features/risk", "/v1/features/plan"

ANSWERED, REFUSED, LATE, UNUSABLE, NAMED, LEFT, WRONG, STUCK = "answered", "refused", "too late", "unusable", "named", "left", "wrong", "stuck"
OUTCOMES = (ANSWERED, REFUSED, LATE, UNUSABLE, NAMED, LEFT, WRONG, STUCK)
"""`refused`: 503 with Retry-After; `too late`: 504; `unusable`: an answer that must not be used (502, or 422 for one cut by its
limit); `named`: a 4xx that says what is wrong; `left`: the caller went away. `wrong` is whatever else came, `stuck` nothing at all."""

_ORDINARY = {ANSWERED, REFUSED, LATE, UNUSABLE}
_LEAVES = {*_ORDINARY, LEFT}
_MARGIN_S = 30
"""How much longer than its deadline an answer is waited for before it counts as stuck."""
_NUMBERS = {
    "type": "object",
    "properties": {"level": {"enum": ["low", "high"]}, "days": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["level", "days"],
    "additionalProperties": False,
}


@dataclass
class Tally:
    """What came of requests, by kind. `typical_s` is how long an answer takes at present; `odd` keeps a few of what was wrong."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    typical_s: float = 1.0

    def note(self, kind: str, outcome: str, took_s: float, said: str = "") -> None:
        self.counts[kind, outcome] += 1
        if outcome == ANSWERED and kind in ("risk", "plan"):
            self.typical_s = 0.9 * self.typical_s + 0.1 * took_s
        if outcome in (WRONG, STUCK) and len(self.odd) < 20:
            self.odd.append(f"{kind}: {outcome} after {took_s:.1f} s: {said[:300]}")

    def of(self, outcome: str) -> int:
        return sum(n for (_, found), n in self.counts.items() if found == outcome)


@dataclass(frozen=True)
class Call:
    """One request in the making. `number` makes its input unlike the others'; `random` decides how it leaves."""

    client: httpx.AsyncClient
    number: int
    random: random.Random
    typical_s: float


def outcome_of(status: int, headers: Mapping[str, str], text: str) -> str:
    """What a whole answer is."""
    if status == 200:
        return ANSWERED
    try:
        error = json.loads(text)["error"]
        says, code = bool(error["message"]), error["code"]
    except (ValueError, KeyError, TypeError):
        return WRONG
    if not says:
        return WRONG
    if status == 503:
        return REFUSED if headers.get("retry-after", "").isdigit() and int(headers["retry-after"]) >= 1 else WRONG
    if status == 504:
        return LATE
    if status == 502 or (status == 422 and code == "truncated"):
        return UNUSABLE
    return NAMED if 400 <= status < 500 else WRONG


def feature_body(path: str, number: int) -> dict[str, Any]:
    feature = path.rpartition("/")[2]
    return inputs(feature, number % 400, 1)[0].model_dump(mode="json")


def chat_body(content: str, **fields: Any) -> dict[str, Any]:
    return {"model": "default", "messages": [{"role": "user", "content": content}], "max_tokens": 48, **fields}


Said = tuple[str, str]
"""An outcome, and what was answered."""


async def _post(call: Call, path: str, body: Any) -> Said:
    response = await call.client.post(path, json=body)
    return outcome_of(response.status_code, response.headers, response.text), f"{response.status_code} {response.text}"


async def _risk(call: Call) -> Said:
    return await _post(call, RISK, feature_body(RISK, call.number))


async def _plan(call: Call) -> Said:
    return await _post(call, PLAN, feature_body(PLAN, call.number))


async def _chat(call: Call) -> Said:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": _NUMBERS}}
    return await _post(call, CHAT, chat_body(f"How long does task {call.number} take?", response_format=wanted, temperature=call.random.choice((0, 1))))


async def _stream(call: Call, events: int = 100_000) -> Said:
    """Read so many events of a stream, and then leave."""
    async with call.client.stream("POST", CHAT, json=chat_body(f"Tell of task {call.number}", stream=True, temperature=1)) as response:
        if response.status_code != 200:
            text = (await response.aread()).decode()
            return outcome_of(response.status_code, response.headers, text), f"{response.status_code} {text}"
        last = ""
        async for line in response.aiter_lines():
            last = line or last
            events -= bool(line)
            if events <= 0:
                return LEFT, ""
    if last == "data: [DONE]":
        return ANSWERED, last
    return (outcome_of(504 if '"timeout"' in last else 502, {}, last.removeprefix("data: ")) if '"error"' in last else WRONG), last


async def _leave_a_stream(call: Call) -> Said:
    return await _stream(call, call.random.randint(1, 20))


async def _leave(call: Call) -> Said:
    """Ask, and go away at any moment of the answer's making."""
    path = call.random.choice((RISK, PLAN))
    try:
        return await asyncio.wait_for(_post(call, path, feature_body(path, call.number)), call.random.random() * 1.2 * call.typical_s)
    except TimeoutError:
        return LEFT, ""


async def _leave_before_the_body_ends(call: Call) -> Said:
    body = json.dumps(feature_body(RISK, call.number)).encode()
    await _raw(call.client, RISK, len(body), body[: call.random.randrange(len(body))], stays=False)
    return LEFT, ""


async def _too_large(call: Call) -> Said:
    if call.random.random() < 0.5:
        return await _raw(call.client, call.random.choice((RISK, PLAN, CHAT)), 60_000_000, b"{", stays=True)
    return await _post(call, CHAT, chat_body("many words " * 20_000, max_tokens=call.random.randint(1, 500)))


_SAID = chat_body("hello")
_ODD: tuple[tuple[str, bytes], ...] = (
    (RISK, b""), (PLAN, b"null"), (RISK, b"\xff\xfe"), (RISK, b'{"title": "\\ud800"}'), (PLAN, b"[" * 30_000), (CHAT, b"{" * 500_000),
    (CHAT, json.dumps({**_SAID, "tools": []}).encode()), (CHAT, json.dumps({**_SAID, "max_tokens": 10**12}).encode()), (CHAT, json.dumps({**_SAID, "model": "nobody"}).encode()),
    (CHAT, json.dumps({**_SAID, "messages": [{"role": "hacker", "content": "x"}]}).encode()), (CHAT, json.dumps({**_SAID, "temperature": "NaN"}).encode()),
    (CHAT, json.dumps({**_SAID, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}}).encode()),
    (CHAT, json.dumps({**_SAID, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}}).encode()),
    ("/v1/features/nobody", b"{}"), ("/v1/models", b"{}"), ("/../etc/passwd", b""),
)  # fmt: skip


async def _odd(call: Call) -> Said:
    path, content = call.random.choice(_ODD)
    response = await call.client.post(path, content=content)
    return outcome_of(response.status_code, response.headers, response.text), f"{path} {response.status_code} {response.text}"


@dataclass(frozen=True)
class Kind:
    """`share` says how often it comes beside the others; an outcome that is not among `may_end` is wrong."""

    share: int
    ask: Callable[[Call], Awaitable[Said]]
    may_end: frozenset[str]


KINDS: Mapping[str, Kind] = {
    "risk": Kind(6, _risk, frozenset(_ORDINARY)),
    "plan": Kind(3, _plan, frozenset(_ORDINARY)),
    "chat": Kind(2, _chat, frozenset(_ORDINARY)),
    "stream": Kind(2, _stream, frozenset(_ORDINARY)),
    "leaves": Kind(3, _leave, frozenset(_LEAVES)),
    "leaves a stream": Kind(2, _leave_a_stream, frozenset(_LEAVES)),
    "leaves half said": Kind(1, _leave_before_the_body_ends, frozenset(_LEAVES)),
    "too large": Kind(1, _too_large, frozenset({NAMED})),
    "odd": Kind(2, _odd, frozenset({NAMED})),
}
LEAVING = ("leaves", "leaves a stream", "leaves half said")


async def ask(kind: str, call: Call, tally: Tally, *, deadline_s: float) -> str:
    """Make one request, and note what came of it."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(deadline_s + _MARGIN_S):
            outcome, said = await KINDS[kind].ask(call)
    except TimeoutError:
        outcome, said = STUCK, "no answer"
    except (httpx.HTTPError, OSError) as error:
        outcome, said = WRONG, repr(error)
    if outcome not in KINDS[kind].may_end | {STUCK}:
        outcome = WRONG
    tally.note(kind, outcome, time.monotonic() - began, said)
    return outcome


def any_kind(chance: random.Random) -> str:
    return chance.choices(list(KINDS), [kind.share for kind in KINDS.values()])[0]


async def _raw(client: httpx.AsyncClient, path: str, announced: int, begun: bytes, *, stays: bool) -> Said:
    """Announce a body, send some of it, and leave, or hear what is said to that."""
    place = urlsplit(str(client.base_url))
    head = f"POST {path} HTTP/1.1\r\nhost: service\r\nauthorization: {client.headers['authorization']}\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n\r\n"
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(head.encode() + begun)
        await writer.drain()
        if not stays:
            return LEFT, ""
        answer = (await reader.read()).decode("utf-8", "replace")
        return outcome_of(int(answer[9:12] or 0), {}, answer.partition("\r\n\r\n")[2]), answer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
