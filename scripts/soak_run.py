"""Owns the soak: callers of every kind at a full queue while models are swapped, and whether memory stays where it was.

Knows nothing of how the service was started.
"""

import asyncio
import itertools
import math
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
FULL_MINUTES = 30
"""From this length on the growth itself must be within `FLAT`; a shorter run must be sure that it is not before it says so."""
WARM = 1 + len(MODELS)
"""Models whose time is warm-up: each of them once. Memory falls when a model goes and rises for some ten seconds while the next one's
pools fill, so that only the most that each came to can be compared; it stays where it is from the third on (measured: 717, 725, 740, 734,
734, 743, 741 MiB)."""
_LEAST = 5
"""Models after the warm-up without which nothing is said of memory."""
_SURE = statistics.NormalDist().inv_cdf(0.99)
"""Standard errors by which growth must be over the limit to be called so: in a short run one model's top is some 8 MiB beside the
next one's, and a line through seven of them is 0.9 % unsure. Half an hour has the models to see 2 %; minutes see what leaks with each
(6 MiB with each would be +5 %)."""
_MORE = 6
"""Callers beyond those that the service has places for: somebody always is refused."""


@dataclass
class Seen:
    """What was seen of the service while it was at work. `times`: for each model in turn, memory while it was the only one loaded."""

    times: list[list[Memory]] = field(default_factory=lambda: [[]])
    swaps: Counter[str] = field(default_factory=Counter)
    longest_queue: float = 0.0
    why: list[str] = field(default_factory=list)


async def run_soak(service: Service, *, minutes: float, swap_every_s: float, seed: int = 1) -> Report:
    """Load for so long, then silence, and the verdict."""
    tally, seen, chance = Tally(), Seen(), random.Random(seed)
    began = time.monotonic()
    until = began + 60 * minutes
    at_start = service.memory()
    async with service.client() as client:
        numbers = itertools.count()

        async def call_on() -> None:
            while time.monotonic() < until:
                outcome = await ask(any_kind(chance), Call(client, next(numbers), chance, tally.typical_s), tally, deadline_s=service.deadline_s)
                if outcome in (REFUSED, WRONG):
                    await asyncio.sleep(chance.uniform(0.05, 0.5))

        watching = asyncio.create_task(_watch(service, client, seen))
        swapping = asyncio.create_task(_swap(service, client, seen, until, swap_every_s))
        telling = asyncio.create_task(_tell(tally, service, began, until))
        await asyncio.gather(*(call_on() for _ in range(service.parallel + service.waiting + _MORE)))
        try:
            await swapping
        except httpx.TransportError as error:
            raise StackError(f"The service went away under load: {error!r}") from None
        for task in (watching, telling):
            task.cancel()
        samples = await at_rest(client)
        await _see_the_end(service, client, seen)
        answer = await client.get("/readyz")
    return _report(service, tally, seen, minutes, at_start, answer.status_code, samples)


async def _watch(service: Service, client: httpx.AsyncClient, seen: Seen) -> None:
    while True:
        await _look(service, client, seen)
        seen.longest_queue = max(seen.longest_queue, total(await scrape(client), "slm_queue_length"))
        await asyncio.sleep(1)


async def _look(service: Service, client: httpx.AsyncClient, seen: Seen) -> bool:
    """Note the memory, if one model is loaded before and after it is read."""
    was_alone, memory = await _is_alone(client), service.memory()
    if is_alone := was_alone and await _is_alone(client):
        seen.times[-1].append(memory)
    return is_alone


async def _see_the_end(service: Service, client: httpx.AsyncClient, seen: Seen) -> None:
    """Three looks once nobody asks any more, however long the last swap takes to drain (but not for ever)."""
    looks = 0
    for _ in range(int(service.deadline_s) + 30):
        looks += await _look(service, client, seen)
        if looks == 3:
            return
        await asyncio.sleep(1)


async def _swap(service: Service, client: httpx.AsyncClient, seen: Seen, until: float, every_s: float) -> None:
    """Put one model after another to work for both features; what answers nothing any more goes by itself, and then all is left
    alone for `every_s` seconds."""
    admin = {"authorization": f"Bearer {service.admin_token}"}
    for folder in itertools.cycle((*MODELS, START, "nobody")):
        response = await client.post("/v1/models", json={"folder": folder, "features": ["risk", "plan"]}, headers=admin, timeout=600)
        if folder == "nobody":
            seen.swaps["refused by name" if response.status_code == 404 else "wrong"] += 1
        else:
            seen.swaps["swapped" if response.status_code == 200 else "failed"] += 1
            seen.times.append([])
        if response.status_code not in (200, 404):
            seen.why.append(f"{folder}: {response.status_code} {response.text[:200]}")
        while not await _is_alone(client) and time.monotonic() < until + service.deadline_s:
            await asyncio.sleep(0.5)
        await asyncio.sleep(every_s)
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


def growth(figures: Sequence[float]) -> tuple[float, float]:
    """By how much a straight line through three figures or more rises from the first to the last, as a share of its begin (least
    squares), and the standard error of that."""
    n, places = len(figures), range(len(figures))
    line = statistics.linear_regression(places, figures)
    squares = sum((figure - line.intercept - line.slope * i) ** 2 for i, figure in enumerate(figures))
    error = math.sqrt(squares / (n - 2) / (n * (n * n - 1) / 12))
    return line.slope * (n - 1) / line.intercept, error * (n - 1) / line.intercept


def _report(service: Service, tally: Tally, seen: Seen, minutes: float, at_start: Memory, ready: int, samples: Samples) -> Report:
    most = [max(time, key=lambda memory: memory.resident) for time in seen.times if time][WARM:]
    is_enough = len(most) >= _LEAST
    doubt = 0.0 if minutes >= FULL_MINUTES else _SURE
    resident, anonymous = (growth([getattr(memory, kind) for memory in most]) if is_enough else (0.0, 0.0) for kind in ("resident", "anonymous"))
    end = service.memory()
    report = Report(f"{minutes:g} minutes at a full queue, {service.parallel} answers at once and {service.waiting} waiting", tally, {
        "memory at start": f"{at_start.resident:.0f} MiB", "memory at the end": f"{end.resident:.0f} MiB",
        "the most with each model, warm-up left out": ", ".join(f"{memory.resident:.0f}" for memory in most) + " MiB",
        "growth after warm-up": f"{resident[0]:+.2%} ± {resident[1]:.2%} (standard error; {anonymous[0]:+.2%} of what is no file's)" if is_enough else "too few swaps to say", "longest queue": f"{seen.longest_queue:.0f}", "swaps": dict(seen.swaps),
    })  # fmt: skip
    check_outcomes(report)
    report.check("the queue was full", tally.of(REFUSED) > 0 and seen.longest_queue >= service.waiting, f"up to {seen.longest_queue:.0f} waited, {tally.of(REFUSED)} were refused")
    report.check("models were swapped", seen.swaps["swapped"] > 0 and not seen.why, "; ".join(seen.why) or f"{seen.swaps['swapped']} times")
    report.check(
        f"memory is flat within {FLAT:.0%}",
        is_enough and resident[0] - doubt * resident[1] <= FLAT,
        f"{resident[0]:+.2%} ± {resident[1]:.2%} over {len(most)} models" if is_enough else f"only {len(most)} models came after the warm-up, {_LEAST} are needed",
    )
    check_rest(report, live=total(samples, "slm_live_answers"), waiting=total(samples, "slm_queue_length"), cells=total(samples, "slm_cells", "answers"))
    report.check("it is ready", ready == 200, f"/readyz said {ready}")
    return report
