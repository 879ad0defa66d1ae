"""Owns callers who go away at random moments, one at a time and in crowds, and what the service is like after them.

Knows nothing of how the service was started.
"""

import asyncio
import random
import sys
from typing import Any

import httpx
from callers import LEAVING, PLAN, RISK, Call, Tally, ask
from started_service import Samples, scrape, total
from verdict import Report, check_outcomes, check_rest

from shared_schemas.features import FEATURES

_REST_S = 60
"""How long the service may take to notice the last caller who left; it is a step, this is to find what is stuck."""


async def run_hang_ups(client: httpx.AsyncClient, *, count: int, crowd: int, deadline_s: float, seed: int = 1) -> Report:
    """`count` callers leave: a third alone, so that they are met in prefill and decoding, the others `crowd` at once, so that most still wait."""
    tally, chance = Tally(), random.Random(seed)
    before = await _answers(client, tally)
    counted = await scrape(client)
    places = asyncio.Semaphore(1)

    async def leave(number: int) -> None:
        async with places:
            await ask(chance.choice(LEAVING), Call(client, number, chance, tally.typical_s), tally, deadline_s=deadline_s)
            if number % 100 == 99:
                print(f"{number + 1} of {count} callers are gone …", file=sys.stderr)

    alone = count // 3
    await asyncio.gather(*(leave(number) for number in range(alone)))
    places = asyncio.Semaphore(crowd)
    await asyncio.gather(*(leave(number) for number in range(alone, count)))
    samples = await at_rest(client)
    after = await _answers(client, tally)
    given_up = round(total(samples, "slm_answers_total", "cancelled") - total(counted, "slm_answers_total", "cancelled"))
    report = Report(f"{count} callers who leave", tally, {"answers that the engine gave up": given_up, "the golden answers' wording": "as before" if before == after else "another (near ties)"})
    check_outcomes(report)
    check_rest(report, live=total(samples, "slm_live_answers"), waiting=total(samples, "slm_queue_length"), cells=total(samples, "slm_cells", "answers"))
    missing = [path for path, output in after.items() if output is None]
    report.check("the golden inputs are answered as before", not missing, f"no answer from {', '.join(missing)}" if missing else "each with an accepted answer")
    return report


async def at_rest(client: httpx.AsyncClient) -> Samples:
    """The metrics once nothing is at work any more, or what they still are after a while."""
    samples = await scrape(client)
    for _ in range(int(_REST_S / 0.1)):
        if total(samples, "slm_live_answers") == total(samples, "slm_queue_length") == 0:
            break
        await asyncio.sleep(0.1)
        samples = await scrape(client)
    return samples


async def _answers(client: httpx.AsyncClient, tally: Tally) -> dict[str, Any]:
    """What is said to each feature's golden input; how long that takes is noted."""
    said = {}
    for path in (RISK, PLAN):
        response = await client.post(path, json=FEATURES[path.rpartition("/")[2]].golden.model_dump(mode="json"))
        took_s = response.elapsed.total_seconds()
        tally.typical_s = max(took_s, 0.7 * tally.typical_s) if tally.counts else took_s
        said[path] = response.json().get("output")
    return said
