"""Owns the overload: ten times what the service can do is offered, and what it still gets done is held against its best.

"Full" is a fixed number of callers, a few more than are served at once; "over" offers requests at a fixed rate whatever comes
back (an open loop). Rounds go full, over, over, full, so that what else the machine does falls on both. Knows nothing of how
the service was started.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
from callers import ANSWERED, LATE, REFUSED, Call, Tally, ask
from hang_ups import at_rest
from started_service import total
from verdict import Report, check_outcomes, check_rest

TIMES = 10
GOAL = 0.95
_MORE = 2
"""Callers beyond those that are served at once when the service is full but not overloaded."""
KINDS = ("risk", "risk", "plan")
"""What is asked for in turn."""


@dataclass
class Round:
    """`answered_at`, and how long refusals took: seconds; `began` after the first answers, when the service is in full swing."""

    began: float
    seconds: float
    answered_at: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)
    asked: int = 0

    @property
    def goodput(self) -> float:
        """Answers per second."""
        return sum(self.began <= at < self.began + self.seconds for at in self.answered_at) / self.seconds


@dataclass
class _Load:
    """One service under one kind of load after another."""

    client: httpx.AsyncClient
    tally: Tally
    deadline_s: float
    kinds: Sequence[str]
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    number: int = 0

    async def ask(self, here: Round) -> None:
        self.number += 1
        here.asked += 1
        began = time.monotonic()
        outcome = await ask(self.kinds[self.number % len(self.kinds)], Call(self.client, self.number, self.chance, 1), self.tally, deadline_s=self.deadline_s)
        now = time.monotonic()
        if outcome == ANSWERED:
            here.answered_at.append(now)
        elif outcome == REFUSED:
            here.refusals_s.append(now - began)

    async def full(self, callers: int, warm_s: float, seconds: float) -> Round:
        here = Round(time.monotonic() + warm_s, seconds)

        async def on_and_on() -> None:
            while time.monotonic() < here.began + seconds:
                await self.ask(here)

        await asyncio.gather(*(on_and_on() for _ in range(callers)))
        return here

    async def over(self, rate: float, warm_s: float, seconds: float, least: int) -> Round:
        here = Round(time.monotonic() + warm_s, seconds)
        asked: list[asyncio.Task[None]] = []
        while time.monotonic() < here.began + seconds or len(asked) < least:
            asked.append(asyncio.create_task(self.ask(here)))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*asked)
        return here


async def run_overload(client: httpx.AsyncClient, *, parallel: int, deadline_s: float, seconds: float, turns: int = 1, least_rate: float = 1.0, least: int = 1, kinds: Sequence[str] = KINDS) -> Report:
    """`turns` times four rounds of `seconds` each, after a warm-up of a quarter of that. At least `least_rate` requests a second are offered,
    and `least` in a round."""
    load = _Load(client, tally := Tally(), deadline_s, kinds)
    rounds: dict[str, list[Round]] = {"full": [], "over": []}
    warm_s = seconds / 4
    for name in ("full", "over", "over", "full") * turns:
        peak = max((one.goodput for one in rounds["full"]), default=0.0)
        print(f"{name} …", file=sys.stderr)
        one = await (load.full(parallel + _MORE, warm_s, seconds) if name == "full" else load.over(max(least_rate, TIMES * peak), warm_s, seconds, least))
        print(f"  {one.goodput:.2f} answers/s of {one.asked} requests, {len(one.refusals_s)} refused", file=sys.stderr)
        rounds[name].append(one)
        samples = await at_rest(client)
    full, over = (statistics.mean(one.goodput for one in rounds[name]) for name in rounds)
    offered = sum(one.asked for one in rounds["over"]) / sum(one.seconds + warm_s for one in rounds["over"])
    refusals = sorted(s for one in rounds["over"] for s in one.refusals_s)
    report = Report(f"{TIMES}-fold overload", tally, {
        "goodput, full": _spread([one.goodput for one in rounds["full"]]), "goodput, overload": _spread([one.goodput for one in rounds["over"]]),
        "offered, overload": f"{offered:.1f} requests/s, {offered / full:.1f} times the goodput at full load" if full else "nothing was answered",
        "refusals": f"{len(refusals)}, after {1000 * _at(refusals, 0.5):.0f} ms (median), {1000 * _at(refusals, 0.95):.0f} ms (95 %), {1000 * _at(refusals, 1):.0f} ms (longest)",
        "accepted and then too late": tally.of(LATE),
    })  # fmt: skip
    check_outcomes(report)
    check_rest(report, live=total(samples, "slm_live_answers"), waiting=total(samples, "slm_queue_length"), cells=total(samples, "slm_cells", "answers"))
    report.check("excess was refused, with Retry-After", bool(refusals), f"{len(refusals)} of {sum(one.asked for one in rounds['over'])} requests")
    report.check(f"goodput stays at {GOAL:.0%} of the peak", full > 0 and over >= GOAL * full, f"{over / full:.0%}" if full else "nothing was answered")
    return report


def _spread(figures: Sequence[float]) -> str:
    return f"{statistics.mean(figures):.2f} answers/s ({min(figures):.2f} to {max(figures):.2f})"


def _at(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else 0.0
