"""Owns the parity gate: what a GGUF must share with the weights that were trained before anyone may serve it.

In order: the file is the one that was written, its weights are the trained ones but for rounding, it is told the tokens that
were trained, and it goes on from them as the trained model does. Knows nothing of how files are made or chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inference.engine.gguf_header import read_header
from inference.errors import StartError
from inference.model_store import file_sha256
from shared_schemas.closed import Closed
from trainer.errors import ParityFailed, StageFailed
from trainer.export.reading import Conversation, Reading, read_served
from trainer.export.tensors import compare_tensors
from trainer.format import Row

FaultName = Literal["truncated", "wrong_hash", "not_a_gguf", "other_model", "damaged_weights", "cannot_run", "wrong_bos", "wrong_template", "wrong_tokens", "missing_end_of_turn", "other_answers"]
Judge = Callable[[Path], Mapping[str, Sequence[float]]]
"""A task's scores of a model file: by metric, one figure per example, always in the same order."""

F16 = "f16"
_RESAMPLES = 2000


class Fault(Closed):
    """Why a file is refused: the field's name of it, and what was found."""

    name: FaultName
    found: str


class Tolerance(Closed):
    """How far a file may be from the trained weights. f16 must be the same model to the eye; a quantised one must only be sane
    here: whether it is good enough is the choice's business.

    `kl`: mean Kullback-Leibler divergence of the answers' first tokens, in nats. `agreement`: share of the answers' tokens at
    which both find the same token likeliest. Measured on the tuned SmolLM2-135M: f16 4e-7 and 1.0, Q8_0 6e-6 and 0.998, Q4_0
    3e-3 and 0.96.
    """

    f16_kl: float = Field(default=1e-4, gt=0)
    f16_agreement: float = Field(default=0.99, ge=0, le=1)
    quantised_kl: float = Field(default=0.1, gt=0)
    quantised_agreement: float = Field(default=0.85, ge=0, le=1)


class Interval(Closed):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class Written(Closed):
    """A file as it was written: what its manifest says."""

    path: Path
    sha256: str
    bytes: int


class FileParity(Closed):
    """One file's verdict; figures are None where the file was refused before they could be measured.

    `kl`, `agreement`: see Tolerance. `perplexity`: of the answers' tokens; `ratio`: to that of f16. `scores`: by metric the
    mean, `differences`: paired by example, this file's less f16's.
    """

    sha256: str
    bytes: int
    fault: Fault | None = None
    kl: float | None = None
    kl_max: float | None = None
    agreement: float | None = None
    perplexity: float | None = None
    ratio: float | None = None
    scores: dict[str, Interval] = Field(default_factory=dict)
    differences: dict[str, Interval] = Field(default_factory=dict)


class Parity(Closed):
    """The gate's record. `conversations`: how many were read; `files`: by quantisation, f16 first."""

    conversations: int
    tolerance: Tolerance
    files: dict[str, FileParity]

    @property
    def passed(self) -> bool:
        return all(file.fault is None for file in self.files.values())

    def require(self) -> None:
        """Raises ParityFailed with the first refusal."""
        for name, file in self.files.items():
            if file.fault:
                raise ParityFailed(f"Cannot serve {name}: {file.fault.name}: {file.fault.found}")


def check_parity(
    trained: Reading, files: Mapping[str, Written], rows: Sequence[Row], *, tolerance: Tolerance | None = None, judge: Judge | None = None, progress: Callable[[str], None] = lambda _: None
) -> Parity:
    """Compare each file, `f16` first, with the trained model's reading of the same rows; judge those that pass.

    A refused file is told by name in the record, and nothing further is asked of it; without a sound f16, nothing of any.
    """
    tolerance = tolerance or Tolerance()
    found: dict[str, FileParity] = {}
    exact: Reading | None = None
    scores: dict[str, Mapping[str, Sequence[float]]] = {}
    for name in sorted(files, key=lambda name: name != F16):
        reading, fault = _read(files[name], files[F16].path if exact else None, trained, rows)
        record = FileParity(sha256=files[name].sha256, bytes=files[name].bytes, fault=fault)
        if reading is not None and fault is None:
            exact = exact or reading
            record = _compared(record, trained, reading, exact)
            limits = (tolerance.f16_kl, tolerance.f16_agreement) if name == F16 else (tolerance.quantised_kl, tolerance.quantised_agreement)
            record = record.model_copy(update={"fault": _strayed(record, *limits)})
        if judge and record.fault is None:
            scores[name] = judge(files[name].path)
            record = record.model_copy(update=_judged(scores[name], scores[F16]))
        found[name] = record
        progress(f"parity: {name}: {record.fault.name if record.fault else f'as trained (KL {record.kl:.1e}, perplexity ratio {record.ratio:.4f})'}")
        if name == F16 and record.fault:
            break
    return Parity(conversations=len(rows), tolerance=tolerance, files=found)


def check_file(file: Written) -> Fault | None:
    """Size, hash and structure, in this order: nothing is mapped before the hash is right."""
    size = file.path.stat().st_size if file.path.is_file() else 0
    if size < file.bytes:
        return Fault(name="truncated", found=f"{file.path.name} has {size} of {file.bytes} bytes")
    sha256 = file_sha256(file.path)
    if sha256 != file.sha256 or size != file.bytes:
        return Fault(name="wrong_hash", found=f"{file.path.name}'s sha256 is {sha256[:12]}…, its manifest says {file.sha256[:12]}…")
    try:
        read_header(file.path)
    except StartError as error:
        return Fault(name="not_a_gguf", found=str(error))
    return None


def _read(file: Written, f16: Path | None, trained: Reading, rows: Sequence[Row]) -> tuple[Reading | None, Fault | None]:
    fault = check_file(file) or (_weights_fault(f16, file.path) if f16 else None)
    if fault:
        return None, fault
    try:
        served = read_served(file.path, rows)
    except StageFailed as error:
        return None, Fault(name="cannot_run", found=str(error))
    return served, _token_fault(trained, served)


def _weights_fault(f16: Path, other: Path) -> Fault | None:
    faults = compare_tensors(f16, other)
    if faults.foreign:
        return Fault(name="other_model", found=faults.foreign)
    if len(faults.damaged) > faults.total / 2:
        return Fault(name="other_model", found=f"{len(faults.damaged)} of {faults.total} tensors hold other weights")
    if faults.damaged:
        return Fault(name="damaged_weights", found=f"{faults.damaged[0]} holds weights that rounding does not explain ({len(faults.damaged)} of {faults.total} tensors)")
    return None


def _token_fault(trained: Reading, served: Reading) -> Fault | None:
    if trained.vocabulary != served.vocabulary:
        return Fault(name="other_model", found=f"its vocabulary has {served.vocabulary} tokens, trained were {trained.vocabulary}")
    pairs = list(zip(trained.conversations, served.conversations, strict=True))
    return _bos_fault(trained, served, pairs) or next(filter(None, chain.from_iterable((_prompt_fault(a, b), _end_fault(a, b)) for a, b in pairs)), None) or _eos_fault(trained, served)


def _bos_fault(trained: Reading, served: Reading, pairs: Sequence[tuple[Conversation, Conversation]]) -> Fault | None:
    if trained.bos is not None and trained.bos != served.bos:
        return Fault(name="wrong_bos", found=f"its BOS is token {served.bos}, trained was {trained.bos}")
    for before, now in pairs:
        ours, theirs = (_leading(conversation.prompt, served.bos) for conversation in (now, before))
        if ours != theirs and now.prompt[ours:] == before.prompt[theirs:]:
            return Fault(name="wrong_bos", found=f"prompts begin with {ours} BOS tokens, trained was {theirs}")
    return None


def _leading(tokens: Sequence[int], bos: int | None) -> int:
    return next((i for i, token in enumerate(tokens) if token != bos), len(tokens))


def _prompt_fault(trained: Conversation, served: Conversation) -> Fault | None:
    if trained.prompt == served.prompt and trained.answer == served.answer:
        return None
    if trained.text.strip() != served.text.strip():
        at = next((i for i, (a, b) in enumerate(zip(trained.text, served.text, strict=False)) if a != b), min(len(trained.text), len(served.text)))
        return Fault(name="wrong_template", found=f"the prompt reads {served.text[at : at + 40]!r} at character {at}, trained was {trained.text[at : at + 40]!r}")
    ours, theirs = ([*served.prompt, *served.answer], [*trained.prompt, *trained.answer])
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return Fault(name="wrong_tokens", found=f"token {at} is {ours[at : at + 1]}, trained was {theirs[at : at + 1]}")


def _end_fault(trained: Conversation, served: Conversation) -> Fault | None:
    if not trained.end:
        return Fault(name="missing_end_of_turn", found="the trained template writes nothing behind an answer: such a model never stops")
    if not served.end or served.end[0] != trained.end[0]:
        return Fault(name="missing_end_of_turn", found=f"an answer ended with token {trained.end[0]} in training, generation does not stop there")
    return None


def _eos_fault(trained: Reading, served: Reading) -> Fault | None:
    if trained.eos is not None and served.eos != trained.eos:
        return Fault(name="missing_end_of_turn", found=f"its EOS is token {served.eos}, trained was {trained.eos}")
    return None


def _compared(record: FileParity, trained: Reading, served: Reading, exact: Reading) -> FileParity:
    divergence = _kl(trained.first, served.first)
    return record.model_copy(
        update={
            "kl": float(divergence.mean()),
            "kl_max": float(divergence.max()),
            "agreement": float((trained.chosen == served.chosen).mean()),
            "perplexity": float(np.exp(-served.likely.mean())),
            "ratio": float(np.exp(exact.likely.mean() - served.likely.mean())),
        }
    )


def _strayed(record: FileParity, kl: float, agreement: float) -> Fault | None:
    assert record.kl is not None
    assert record.agreement is not None
    if record.kl <= kl and record.agreement >= agreement:  # NaN is neither
        return None
    return Fault(name="other_answers", found=f"first tokens diverge by {record.kl:.2g} nats (at most {kl:g}), {record.agreement:.1%} of the likeliest tokens are the same (at least {agreement:.0%})")


def _kl(trained: NDArray[np.float32], served: NDArray[np.float32]) -> NDArray[np.float64]:
    """D(trained || served) in nats by row (Kullback and Leibler 1951), of logits; shape (rows,)."""
    first, second = (logits.astype(np.float64) - np.logaddexp.reduce(logits.astype(np.float64), axis=1, keepdims=True) for logits in (trained, served))
    divergence: NDArray[np.float64] = (np.exp(first) * (first - second)).sum(axis=1)
    return divergence


def _judged(scores: Mapping[str, Sequence[float]], exact: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Interval]]:
    return {
        "scores": {metric: bootstrap(values) for metric, values in scores.items()},
        "differences": {metric: bootstrap(np.subtract(values, exact[metric])) for metric, values in scores.items()},
    }


def bootstrap(values: Sequence[float] | NDArray[np.float64], *, seed: int = 0) -> Interval:
    """The mean with its 95 % percentile interval from 2,000 resamples (Efron 1979)."""
    figures = np.asarray(values, np.float64)
    means = np.random.default_rng(seed).choice(figures, (_RESAMPLES, figures.size)).mean(axis=1)
    return Interval(mean=float(figures.mean()), low=float(np.quantile(means, 0.025)), high=float(np.quantile(means, 0.975)))
