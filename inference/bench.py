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
from inference.bench_steps import CONTEXT, StepCost, least, step_costs
from inference.engine.llama import Llama
from inference.engine.scheduler import SAME_TOKENS
from inference.errors import BadAnswer
from inference.model_store import ModelFiles, find_model
from inference.predict import Predictor
from inference.settings import read_settings
from shared_schemas.closed import Closed
from shared_schemas.features import FEATURES
from shared_schemas.prediction import Prediction

ABOUT = "Time answers to built-in inputs, one at a time and several at once. Settings come from the environment, as for serving."

EXAMPLES = """\
examples:
  python -m inference bench --n 20 --at-once 1 4 8 --json
  python -m inference bench --steps                 how near the engine comes to the least that its tokens cost
"""


@dataclass(frozen=True)
class Timed:
    """One feature, so many answers at once. A refused answer counts in the time and in nothing else; `ms` are means by stage.

    `steps_per_token`: steps that the engine made per token of an accepted answer, those for prompts and refused ones included.
    `computed`: tokens of an accepted answer that had to be computed, those of its prompt that were not shared and its own;
    `chosen`: those of them that the model chose. Means, of the attempt that was accepted.
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
    computed: float
    chosen: float
    ms: dict[str, float]


def bench(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference bench", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=_count, default=16, help="answers of each feature in each round (default: 16)")
    parser.add_argument("--at-once", type=_count, nargs="+", default=[1, 8], help="rounds: answers asked for at once (default: 1 8)")
    parser.add_argument("--feature", choices=list(NAMES), action="append", help="only this one (may be repeated)")
    parser.add_argument("--steps", action="store_true", help="also time single steps, and say what an answer's tokens cost at the very least")
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
    costs = _steps(files, options.at_once, threads) if options.steps else []
    if options.json:
        steps = {"steps": [asdict(one) for one in costs], "least": asdict(least(costs))} if costs else {}
        print(json.dumps({"model": files.version.model_dump(), "threads": threads, "parallel": settings.parallel, "timed": [asdict(one) for one in timed], **steps}, indent=2))
    else:
        _print(files.version.name, threads, timed)
        if costs:
            _print_steps(costs, timed)
    return 0 if all(one.answers for one in timed) else 1


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return number


def _steps(files: ModelFiles, at_once: Sequence[int], threads: int) -> list[StepCost]:
    """In a context of their own, once the engine's thread has ended: two that decode have more OpenMP workers than there are cores."""
    print("single steps …", file=sys.stderr)
    sequences = sorted({1, *(many for many in at_once if many <= SAME_TOKENS)})
    most = sequences[-1]
    llama = Llama(files.weights, adapter_path=files.runtime_adapter, n_cells=most * (CONTEXT + SAME_TOKENS), n_seats=most, n_threads=threads)
    try:
        return step_costs(llama, sequences)
    finally:
        llama.close()


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
        computed=round(sum(one.usage.prompt_tokens - one.usage.cached_tokens + one.usage.output_tokens for one in given) / max(1, len(given)), 1),
        chosen=round(sum(one.usage.output_tokens - one.usage.forced_tokens for one in given) / max(1, len(given)), 1),
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


def _print_steps(costs: Sequence[StepCost], timed: Sequence[Timed]) -> None:
    print(f"\n{'a step of':<24}{'ms':>8}{'a token':>9}{'ms with logits':>16}{'a token':>9}")
    for cost in costs:
        shape = f"{cost.tokens} tokens" if cost.sequences == 1 else f"{cost.sequences} x {cost.each} tokens"
        print(f"{shape:<24}{cost.ms:>8.1f}{cost.ms / cost.tokens:>9.2f}{cost.ms_with_logits:>16.1f}{cost.ms_with_logits / cost.tokens:>9.2f}")
    floor = least(costs)
    print(f"\nat the least {floor.token_ms:.2f} ms a token, {floor.chosen_ms:.2f} where the next one is chosen")
    print(f"{'':<6}{'at once':>8}{'computed':>10}{'chosen':>8}{'least ms':>10}{'ms an answer':>14}")
    for one in timed:
        took = 1000 / one.docs_per_s if one.docs_per_s else float("nan")
        print(f"{one.feature:<6}{one.at_once:>8}{one.computed:>10.0f}{one.chosen:>8.0f}{floor.of(one.computed, one.chosen):>10.0f}{took:>14.0f}")
