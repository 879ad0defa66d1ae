"""Owns the command `python -m inference bench`: how fast this machine answers with this model, without HTTP.

Every prompt is new, so that no prompt is found in memory but for what all prompts of a feature share.
"""

import argparse
import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from inference.bench_inputs import NAMES, inputs
from inference.errors import BadAnswer
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import read_settings
from shared_schemas.closed import Closed
from shared_schemas.features import FEATURES
from shared_schemas.prediction import Prediction

ABOUT = "Time answers to built-in inputs, one at a time and several at once. Settings come from the environment, as for serving."


@dataclass(frozen=True)
class Timed:
    """One feature, so many answers at once. A refused answer counts in the time and in nothing else; `ms` are means by stage.

    `steps_per_token`: steps that the engine made per token of an accepted answer, those for prompts and refused ones included.
    """

    feature: str
    at_once: int
    answers: int
    refused: int
    p50_ms: float
    p95_ms: float
    docs_per_s: float
    tokens_per_s: float
    steps_per_token: float
    forced_share: float
    ms: dict[str, float]


def bench(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference bench", description=ABOUT, epilog="example: python -m inference bench --n 20 --at-once 1 4 8 --json")
    parser.add_argument("--n", type=_count, default=16, help="answers of each feature in each round (default: 16)")
    parser.add_argument("--at-once", type=_count, nargs="+", default=[1, 8], help="rounds: answers asked for at once (default: 1 8)")
    parser.add_argument("--feature", choices=list(NAMES), action="append", help="only this one (may be repeated)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    settings = read_settings()
    threads = settings.threads or os.cpu_count() or 1
    files = find_model(settings)
    most = max(options.at_once)
    predictor = Predictor(files, n_ctx=settings.context_tokens, n_threads=threads, parallel=settings.parallel, waiting=max(settings.queue_limit, most))
    try:
        timed = asyncio.run(_rounds(predictor, options.feature or list(NAMES), options.at_once, options.n))
    finally:
        predictor.close()
    if options.json:
        print(json.dumps({"model": files.version.model_dump(), "threads": threads, "parallel": settings.parallel, "timed": [asdict(one) for one in timed]}, indent=2))
    else:
        _print(files.version.name, threads, timed)
    return 0 if all(one.answers for one in timed) else 1


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return number


async def _rounds(predictor: Predictor, names: Sequence[str], at_once: Sequence[int], n: int) -> list[Timed]:
    timed: list[Timed] = []
    for name in names:
        await _ask(predictor, name, inputs(name, 0, 1), 1)  # the first answer finds cold caches
        for i, many in enumerate(at_once):
            print(f"{name}, {many} at once …", file=sys.stderr)
            timed.append(await measure(predictor, name, inputs(name, 1 + i * n, n), many))
    return timed


async def measure(predictor: Predictor, name: str, asked: Sequence[Closed], at_once: int) -> Timed:
    """Answer each input once, `at_once` of them at any time. Raises what `Predictor.predict` raises but for BadAnswer."""
    steps, began = predictor.engine.counts.steps, time.perf_counter()
    answered = await _ask(predictor, name, asked, at_once)
    took_s, steps = time.perf_counter() - began, predictor.engine.counts.steps - steps
    given = [prediction for prediction, _ in answered if prediction]
    took_ms = sorted(ms for prediction, ms in answered if prediction)
    tokens = sum(one.usage.output_tokens for one in given)
    return Timed(
        feature=name, at_once=at_once, answers=len(given), refused=len(asked) - len(given), p50_ms=_percentile(took_ms, 50), p95_ms=_percentile(took_ms, 95),
        docs_per_s=round(len(given) / took_s, 3), tokens_per_s=round(tokens / took_s, 1), steps_per_token=round(steps / max(1, tokens), 3),
        forced_share=round(sum(one.usage.forced_tokens for one in given) / max(1, tokens), 3),
        ms={stage: round(sum(getattr(one.timings, f"{stage}_ms") for one in given) / max(1, len(given)), 1) for stage in ("queue", "prefill", "decode")},
    )  # fmt: skip


async def _ask(predictor: Predictor, name: str, asked: Sequence[Closed], at_once: int) -> list[tuple[Prediction[Closed] | None, float]]:
    """Answers with the milliseconds that each took; None for one that was refused."""
    places = asyncio.Semaphore(at_once)

    async def one(prompt_input: Closed) -> tuple[Prediction[Closed] | None, float]:
        async with places:
            began = time.perf_counter()
            try:
                prediction: Prediction[Closed] | None = await predictor.predict(FEATURES[name], prompt_input)
            except BadAnswer:
                prediction = None
            return prediction, round(1000 * (time.perf_counter() - began), 1)

    return await asyncio.gather(*map(one, asked))


def _percentile(ascending: Sequence[float], percent: int) -> float:
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)] if ascending else 0.0


def _print(model: str, threads: int, timed: Sequence[Timed]) -> None:
    print(f"{model}, {threads} threads")
    print(f"{'':<6}{'at once':>8}{'answers':>9}{'refused':>9}{'p50 ms':>9}{'p95 ms':>9}{'docs/s':>8}{'tokens/s':>10}{'steps/token':>13}{'forced':>8}  queue, prefill, decode ms")
    for one in timed:
        figures = (
            f"{one.at_once:>8}{one.answers:>9}{one.refused:>9}{one.p50_ms:>9.0f}{one.p95_ms:>9.0f}{one.docs_per_s:>8.2f}{one.tokens_per_s:>10.0f}{one.steps_per_token:>13.2f}{one.forced_share:>8.0%}"
        )
        print(f"{one.feature:<6}{figures}  {', '.join(f'{ms:.0f}' for ms in one.ms.values())}")
