"""Owns the command `python -m inference same`: whether the engine's shortcuts change what is answered, and why where they do.

Two comparisons over the same inputs, greedy: forced and guessed tokens against plain constrained decoding (the model chooses every
token, one a step), and eight answers at once against one by one. Where two answers part, `parting.py` says why. Forced runs
must be canonical: their text tokenised again gives the same tokens. Knows nothing of HTTP or speed.
"""

import argparse
import asyncio
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from inference.bench_inputs import NAMES, inputs
from inference.canonical import Canonical, canonical
from inference.engine.completion import Completion, Job
from inference.errors import BadAnswer
from inference.model_store import find_model
from inference.parting import Parting, Replay, replay
from inference.predict import Predictor
from inference.settings import read_settings
from shared_schemas.features import FEATURES

ABOUT = "Compare answers made with the engine's shortcuts and without: forced tokens, guesses, batches. Settings come from the environment, as for serving."
EXAMPLES = """\
examples:
  python -m inference same                    500 inputs, both features
  python -m inference same --count 24 --json
  THREADS=1 python -m inference same --feature risk --count 100

Exit status: 0 when at least 99 % of the answers are the same JSON with and without forced and guessed tokens, every difference is a near
tie, of batches too, and every forced run is canonical; else 1.
"""
GOAL = 0.99
MOST = 400
"""Inputs of one feature that are unlike each other."""


@dataclass(frozen=True)
class Answer:
    """`done` is None for an answer that must not be used; `text` says why then."""

    text: str
    done: Completion | None


@dataclass
class Compared:
    """How many answers of one way equal those of another, and how those that do not part."""

    of: str
    goal: float
    """The share of answers that must be the same; each of the others must be explained."""
    same: int = 0
    partings: list[Parting] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.same + len(self.partings)

    @property
    def held(self) -> bool:
        return self.same >= math.floor(self.goal * self.count) and all(parting.is_explained for parting in self.partings)


@dataclass
class Sameness:
    forced: Compared
    batched: Compared
    canonical: Canonical

    @property
    def held(self) -> bool:
        return self.forced.held and self.batched.held and not self.canonical.broken


@dataclass(frozen=True)
class _Asked:
    feature: str
    number: int
    prompt: list[int]


def same(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference same", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="inputs of all features together (default: 500)")
    parser.add_argument("--at-once", type=int, default=8, help="answers in a batch (default: 8)")
    parser.add_argument("--feature", choices=list(NAMES), action="append", help="only this one (may be repeated)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys(options.feature or NAMES))
    if not len(names) <= options.count <= MOST * len(names) or not 2 <= options.at_once <= 64:
        parser.error(f"--count must be from {len(names)} to {MOST * len(names)}, --at-once from 2 to 64")
    settings = read_settings()
    files = find_model(settings)
    threads = settings.threads or os.cpu_count() or 1
    fast = Predictor(files, n_ctx=settings.context_tokens, n_threads=threads, parallel=options.at_once, waiting=options.at_once)
    try:
        plain = Predictor(files, n_ctx=settings.context_tokens, n_threads=threads, parallel=1, waiting=1, beside=fast, is_plain=True)
        try:
            with replay(fast.llama.weights, files.runtime_adapter, n_cells=settings.context_tokens, n_threads=threads) as again:
                found = asyncio.run(compare(fast, plain, again, names, options.count, at_once=options.at_once))
        finally:
            plain.close()
    finally:
        fast.close()
    if options.json:
        print(json.dumps({"model": files.version.model_dump(), "weights_sha256": files.weights_sha256, "held": found.held, **_figures(found)}, indent=2, ensure_ascii=False))
    else:
        _print(files.version.name, found)
    return 0 if found.held else 1


async def compare(fast: Predictor, plain: Predictor, again: Replay, names: Sequence[str], count: int, *, at_once: int = 8) -> Sameness:
    """`fast` answers one by one and `at_once` together, `plain` (made with `is_plain`) one by one; the same `count` inputs."""
    asked = [_Asked(name, i, fast.prompt_tokens(FEATURES[name], one)) for name, n in _shares(names, count) for i, one in enumerate(inputs(name, 0, n))]
    found = Sameness(Compared("forced and guessed tokens against plain decoding", GOAL), Compared(f"{at_once} at once against one by one", 0), Canonical())
    for begin in range(0, len(asked), at_once):
        group = asked[begin : begin + at_once]
        alone = [await _answer(fast, one) for one in group]
        plainly = [await _answer(plain, one) for one in group]
        together = await asyncio.gather(*(_answer(fast, one) for one in group))
        for one, first, second, third in zip(group, alone, plainly, together, strict=True):
            _note(found.forced, again, one, first, second)
            _note(found.batched, again, one, third, first)
            for answer in (first, third):
                if answer.done:
                    found.canonical.add(canonical(fast.llama, answer.done))
        print(f"{min(begin + at_once, count)} of {count}, {len(found.forced.partings)} and {len(found.batched.partings)} differ …", file=sys.stderr)
    return found


def _shares(names: Sequence[str], count: int) -> list[tuple[str, int]]:
    return [(name, count // len(names) + (i < count % len(names))) for i, name in enumerate(names)]


async def _answer(predictor: Predictor, asked: _Asked) -> Answer:
    try:
        done = await predictor.complete(Job(asked.prompt, predictor.grammar(asked.feature), FEATURES[asked.feature].max_tokens))
    except BadAnswer as error:
        return Answer(error.code, None)
    return Answer(done.text, done)


def _note(compared: Compared, again: Replay, asked: _Asked, first: Answer, second: Answer) -> None:
    if first.text == second.text or (first.done and second.done and json.loads(first.text) == json.loads(second.text)):
        compared.same += 1
        return
    what = f"{asked.feature} {asked.number}"
    if first.done and second.done:
        compared.partings.append(again.explain(what, asked.prompt, first.done, second.done))
    else:
        compared.partings.append(Parting(what, why=f"one of them is {(second if first.done else first).text}", is_explained=False))


def _figures(found: Sameness) -> dict[str, Any]:
    sides = {
        name: {"count": one.count, "same": one.same, "held": one.held, "partings": [asdict(parting) for parting in one.partings]}
        for name, one in (("forced", found.forced), ("batched", found.batched))
    }
    return {**sides, "canonical": asdict(found.canonical)}


def _print(model: str, found: Sameness) -> None:
    print(model)
    for one in (found.forced, found.batched):
        ties = sum(parting.is_explained for parting in one.partings)
        print(f"{one.of}: {one.same} of {one.count} the same JSON ({one.same / one.count:.1%}), {ties} differences explained, {len(one.partings) - ties} not")
        for parting in one.partings:
            print(f"  {parting.what}: {parting.why}")
    runs = found.canonical
    print(f"forced runs: {runs.runs - runs.broken} of {runs.runs} canonical; whole answers: {runs.whole} of {runs.answers}, where the model itself chose otherwise in the others")
    for said in runs.examples:
        print(f"  not canonical: {said}")
    print("held" if found.held else "BROKEN")
