"""Owns the soak: callers of every kind at a full queue while models are swapped, and whether memory stays where it was.

Knows nothing of how the service was started.
"""

import asyncio
import itertools
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
from callers import REFUSED, WRONG, Call, Tally, any_kind, ask
from hang_ups import at_rest
from packages import StackError
from started_service import MODELS, Memory, Samples, Service, scrape, total
from verdict import Report, check_outcomes, check_rest

START = "@start"
FLAT = 0.02
WARM, WARM_S = 0.3, 60.0
"""Warm-up: this part of the run, or so long if that is more (but half of a short run): memory pools fill, the phrases of new answers are learned."""
_MORE = 6
"""Callers beyond those that the service has places for: somebody always is refused."""


@dataclass
class Seen:
    """What was seen of the service while it was at work. `at_rest`: seconds, and memory with one model loaded."""

    at_rest: list[tuple[float, Memory]] = field(default_factory=list)
    swaps: Counter[str] = field(default_factory=Counter)
    longest_queue: float = 0.0
    why: list[str] = field(default_factory=list)


async def run_soak(service: Service, *, minutes: float, swap_every_s: float, seed: int = 1) -> Report:
    """Load for so long, then silence, and the verdict."""
    tally, seen, chance = Tally(), Seen(), random.Random(seed)
    began = time.monotonic()
    until = began + 60 * minutes
    warm_s = warm_up_s(60 * minutes)
    at_start = service.memory()
    async with service.client() as client:
        numbers = itertools.count()

        async def call_on() -> None:
            while time.monotonic() < until:
                outcome = await ask(any_kind(chance), Call(client, next(numbers), chance, tally.typical_s), tally, deadline_s=service.deadline_s)
                if outcome in (REFUSED, WRONG):
                    await asyncio.sleep(chance.uniform(0.05, 0.5))

        watching = asyncio.create_task(_watch(service, client, seen, began))
        swapping = asyncio.create_task(_swap(service, client, seen, began + warm_s, until, swap_every_s))
        telling = asyncio.create_task(_tell(tally, service, began, until))
        await asyncio.gather(*(call_on() for _ in range(service.parallel + service.waiting + _MORE)))
        try:
            await swapping
        except httpx.TransportError as error:
            raise StackError(f"The service went away under load: {error!r}") from None
        for task in (watching, telling):
            task.cancel()
        samples = await at_rest(client)
        await _see_the_end(service, client, seen, began)
        answer = await client.get("/readyz")
    return _report(service, tally, seen, minutes, at_start, answer.status_code, samples)


async def _watch(service: Service, client: httpx.AsyncClient, seen: Seen, began: float) -> None:
    while True:
        await _look(service, client, seen, began)
        seen.longest_queue = max(seen.longest_queue, total(await scrape(client), "slm_queue_length"))
        await asyncio.sleep(1)


async def _look(service: Service, client: httpx.AsyncClient, seen: Seen, began: float) -> bool:
    """Note the memory, if one model is loaded before and after it is read."""
    was_alone, memory = await _is_alone(client), service.memory()
    if is_alone := was_alone and await _is_alone(client):
        seen.at_rest.append((time.monotonic() - began, memory))
    return is_alone


async def _see_the_end(service: Service, client: httpx.AsyncClient, seen: Seen, began: float) -> None:
    """Three looks once nobody asks any more, however long the last swap takes to drain (but not for ever)."""
    looks = 0
    for _ in range(int(service.deadline_s) + 30):
        looks += await _look(service, client, seen, began)
        if looks == 3:
            return
        await asyncio.sleep(1)


async def _swap(service: Service, client: httpx.AsyncClient, seen: Seen, warm: float, until: float, every_s: float) -> None:
    """Put one model after another to work for both features; what answers nothing any more goes by itself, and then all is left
    alone for `every_s` seconds. The first swap belongs to the warm-up, the second one comes after it."""
    admin = {"authorization": f"Bearer {service.admin_token}"}
    for folder in itertools.cycle((*MODELS, START, "nobody")):
        response = await client.post("/v1/models", json={"folder": folder, "features": ["risk", "plan"]}, headers=admin, timeout=600)
        if folder == "nobody":
            seen.swaps["refused by name" if response.status_code == 404 else "wrong"] += 1
        else:
            seen.swaps["swapped" if response.status_code == 200 else "failed"] += 1
        if response.status_code not in (200, 404):
            seen.why.append(f"{folder}: {response.status_code} {response.text[:200]}")
        while not await _is_alone(client) and time.monotonic() < until + service.deadline_s:
            await asyncio.sleep(0.5)
        await asyncio.sleep(max(every_s, warm + every_s - time.monotonic()))
        if time.monotonic() > until - every_s:
            return


async def _is_alone(client: httpx.AsyncClient) -> bool:
    """Whether one model is loaded, and none comes or goes."""
    return [model["state"] for model in (await client.get("/v1/models")).json()["data"] if model["state"] != "failed"] == ["live"]


async def _tell(tally: Tally, service: Service, began: float, until: float) -> None:
    while True:
        await asyncio.sleep(30)
        left, done = until - time.monotonic(), sum(tally.counts.values())
        print(f"{time.monotonic() - began:5.0f} s: {done} requests, {service.memory().resident:.0f} MiB, {max(0, left):.0f} s to go", file=sys.stderr)


def warm_up_s(length_s: float) -> float:
    """The seconds of a run of this length (s) that are warm-up."""
    return max(WARM * length_s, min(WARM_S, length_s / 2))


def growth(points: Sequence[tuple[float, float]]) -> float:
    """By how much a straight line through the points (seconds, MiB) rises from its begin to its end, as a share of the begin (least squares)."""
    if len(points) < 3:
        return 0.0
    line = statistics.linear_regression([at for at, _ in points], [mib for _, mib in points])
    first, last = (line.intercept + line.slope * points[i][0] for i in (0, -1))
    return (last - first) / first


def _report(service: Service, tally: Tally, seen: Seen, minutes: float, at_start: Memory, ready: int, samples: Samples) -> Report:
    warm = [(at, memory) for at, memory in seen.at_rest if at >= warm_up_s(60 * minutes)]
    resident = growth([(at, memory.resident) for at, memory in warm])
    anonymous = growth([(at, memory.anonymous) for at, memory in warm])
    end = service.memory()
    report = Report(f"{minutes:g} minutes at a full queue, {service.parallel} answers at once and {service.waiting} waiting", tally, {
        "memory at start": f"{at_start.resident:.0f} MiB", "memory after warm-up": f"{warm[0][1].resident:.0f} MiB" if warm else "not seen at rest",
        "memory at the end": f"{end.resident:.0f} MiB", "growth after warm-up": f"{resident:+.2%} ({anonymous:+.2%} of what is no file's)",
        "samples with one model loaded": len(warm), "longest queue": f"{seen.longest_queue:.0f}", "swaps": dict(seen.swaps),
    })  # fmt: skip
    check_outcomes(report)
    report.check("the queue was full", tally.of(REFUSED) > 0 and seen.longest_queue >= service.waiting, f"up to {seen.longest_queue:.0f} waited, {tally.of(REFUSED)} were refused")
    report.check("models were swapped", seen.swaps["swapped"] > 0 and not seen.why, "; ".join(seen.why) or f"{seen.swaps['swapped']} times")
    report.check(f"memory is flat within {FLAT:.0%}", len(warm) >= 3 and resident <= FLAT, f"{resident:+.2%}")
    check_rest(report, live=total(samples, "slm_live_answers"), waiting=total(samples, "slm_queue_length"), cells=total(samples, "slm_cells", "answers"))
    report.check("it is ready", ready == 200, f"/readyz said {ready}")
    return report
