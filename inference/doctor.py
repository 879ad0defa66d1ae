"""Owns the command `python -m inference doctor`: will the service work here with these settings, and how near to its limit.

Each finding is ok, a warning, or a fault; a fault means that the service will not start or not answer.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

import llama_cpp

from inference import machine
from inference.engine.chat import Chat
from inference.engine.grammar import Grammars
from inference.engine.llama import Batch, Llama
from inference.errors import InferenceError, StartError
from inference.model_store import ModelFiles, find_model
from inference.settings import Settings, read_settings
from shared_schemas.features import FEATURES

DECODED = 48
"""Tokens that are decoded one by one to time the model."""

ABOUT = "Say what this machine can do with the settings and the model, and what will not work. Exit 1 when something will not."


@dataclass(frozen=True)
class Finding:
    level: Literal["ok", "warning", "fault"]
    about: str
    says: str


@dataclass
class Report:
    """`facts`: figures by name, in bytes, seconds, tokens a second; only those that could be known."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, float | str] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        return all(finding.level != "fault" for finding in self.findings)


def doctor(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference doctor", description=ABOUT, epilog="example: THREADS=4 python -m inference doctor --json")
    parser.add_argument("--json", action="store_true", help="print facts and findings as one JSON object")
    options = parser.parse_args(arguments)
    report = examine()
    if options.json:
        print(json.dumps({"well": report.is_well, **asdict(report)}, indent=2))
    else:
        for finding in report.findings:
            print(f"{finding.level:<8} {finding.about:<10} {finding.says}")
    return 0 if report.is_well else 1


def examine() -> Report:
    """Everything that can be said; what depends on a fault is left out."""
    report = Report()
    try:
        settings = read_settings()
    except StartError as error:
        report.findings += [Finding("fault", "settings", line) for line in str(error).splitlines()]
        return report
    report.findings += _threads(settings, report)
    try:
        report.findings += _model(settings, find_model(settings), report)
    except InferenceError as error:
        report.findings.append(Finding("fault", "model", str(error)))
    return report


def _threads(settings: Settings, report: Report) -> Iterator[Finding]:
    cores, physical, quota = machine.logical_cores(), machine.physical_cores(), machine.core_quota()
    threads = settings.threads or cores
    report.facts |= {"threads": threads, "cores": cores, "cpu_features": llama_cpp.llama_print_system_info().decode().strip(" |")}
    report.facts |= {name: value for name, value in (("physical_cores", physical), ("core_quota", quota)) if value is not None}
    yield Finding("ok", "processor", f"{cores} cores{f' ({physical} physical)' if physical else ''}, quota {quota or 'none'}; {report.facts['cpu_features']}")
    most = min(cores, quota or cores)
    if threads > most:
        yield Finding("warning", "threads", f"{threads} threads on {most:g} cores wait for each other: set THREADS to {max(1, int(most))}")
    elif physical and threads > physical:
        yield Finding("warning", "threads", f"{threads} threads share {physical} physical cores: THREADS={physical} may be faster, 'bench' shows it")
    else:
        yield Finding("ok", "threads", f"{threads} threads")
    if settings.log_prompts:
        yield Finding("warning", "logs", "LOG_PROMPTS is set: what users write is logged")
    longest = max(feature.max_tokens for feature in FEATURES.values())
    if settings.parallel * longest > settings.context_tokens:
        yield Finding("warning", "context", f"PARALLEL {settings.parallel} answers of up to {longest} tokens do not fit CONTEXT_TOKENS {settings.context_tokens} together: fewer will be made at once")


def _model(settings: Settings, files: ModelFiles, report: Report) -> Iterator[Finding]:
    """Raises InferenceError when the model cannot be used."""
    yield Finding("ok", "model", f"{files.version.name}, {files.weights} ({_mb(files.weights.stat().st_size)})")
    free = machine.free_memory()
    llama = Llama(files.weights, adapter_path=files.runtime_adapter, n_cells=512, n_seats=1, n_threads=settings.threads or machine.logical_cores())
    try:
        need = _need(llama, settings)
        report.facts |= {"memory_need_bytes": need, "model_bytes": int(llama_cpp.llama_model_size(llama.model))}
        if free is not None:
            report.facts["memory_free_bytes"] = free
            yield Finding("fault" if need > free else "ok", "memory", f"needs about {_mb(need)}, {_mb(free)} are free" + (": lower CONTEXT_TOKENS" if need > free else ""))
        trained = int(llama_cpp.llama_model_n_ctx_train(llama.model))
        if trained < max(feature.max_tokens for feature in FEATURES.values()):
            yield Finding("warning", "context", f"the model was trained on {trained} tokens at once, less than an answer may take")
        Chat(llama)
        grammars = Grammars(llama.vocab, llama.n_vocab)
        for feature in FEATURES.values():
            grammars.compile(feature.name, feature.output_schema())
        yield Finding("ok", "schemas", f"{', '.join(FEATURES)} can be enforced")
        yield _speed(llama, report)
    finally:
        llama.close()


def _need(llama: Llama, settings: Settings) -> int:
    """Bytes: weights, keys and values of all cells at 2 bytes a figure, logits of a full batch, and 150 MB for Python."""
    model = llama.model
    width = llama_cpp.llama_model_n_embd(model) // max(1, llama_cpp.llama_model_n_head(model)) * llama_cpp.llama_model_n_head_kv(model)
    cells = int(2 * 2 * width * llama_cpp.llama_model_n_layer(model) * settings.context_tokens)
    return int(llama_cpp.llama_model_size(model)) + cells + 4 * llama.n_vocab * min(512, settings.context_tokens) + 150_000_000


def _speed(llama: Llama, report: Report) -> Finding:
    """Decoding one answer reads all weights once a token, so memory bandwidth bounds it."""
    bandwidth = machine.read_bandwidth(int(report.facts["threads"]))
    limit, reached = bandwidth / float(report.facts["model_bytes"]), _tokens_per_s(llama)
    report.facts |= {"read_bandwidth_bytes_per_s": bandwidth, "tokens_per_s_limit": limit, "tokens_per_s": reached}
    return Finding("ok", "speed", f"{reached:.0f} tokens/s one by one; reading {_mb(int(bandwidth))}/s bounds it at {limit:.0f} ({100 * reached / limit:.0f} % reached)")


def _tokens_per_s(llama: Llama) -> float:
    batch, began = Batch(llama.n_batch), 0.0
    for position in range(DECODED + 8):
        if position == 8:  # the first ones find cold caches
            began = time.perf_counter()
        batch.clear()
        batch.add(0, position, [100 + position], [0])
        llama.decode(batch)
    return DECODED / (time.perf_counter() - began)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
