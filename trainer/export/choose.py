"""Owns the choice among quantisations: the fastest whose quality is f16's within a stated margin. Measures nothing itself.

Which type is fast depends on the kernels that a CPU has for it; how good it is, on the model. So both are measured.
"""

from collections.abc import Mapping

from pydantic import Field

from shared_schemas.closed import Closed
from trainer.export.parity import F16, FileParity
from trainer.export.speed import Speed


class Margin(Closed):
    """`ratio`: perplexity to that of f16. `prompt`, `answer`: tokens of an everyday request, by which the two speeds are weighed.

    A task score is within noise unless the 95 % interval of the paired difference from f16 lies below zero.
    """

    ratio: float = Field(default=1.03, ge=1)
    prompt: int = Field(default=200, ge=1)
    answer: int = Field(default=80, ge=1)


class Row(Closed):
    """One quantisation in the table. `request_s`: seconds for an everyday request; `refused`: why it is no choice, or ""."""

    quantisation: str
    bytes: int
    ratio: float | None
    kl: float | None
    prefill: float | None
    decode: float | None
    request_s: float | None
    refused: str = ""


class Choice(Closed):
    """`chosen` is `f16` when nothing else is good enough. `table`: fastest first, then what was refused."""

    chosen: str
    margin: Margin
    table: tuple[Row, ...]


def choose_quantisation(files: Mapping[str, FileParity], speeds: Mapping[str, Speed], margin: Margin | None = None) -> Choice:
    """The fastest within the margin. Raises ValueError when not even f16 passed the gate."""
    margin = margin or Margin()
    rows = sorted((_row(name, file, speeds.get(name), margin) for name, file in files.items()), key=lambda row: (bool(row.refused), row.request_s or float("inf")))
    if not rows or rows[0].refused:
        raise ValueError("no file passed the parity gate")
    return Choice(chosen=rows[0].quantisation, margin=margin, table=tuple(rows))


def _row(name: str, file: FileParity, speed: Speed | None, margin: Margin) -> Row:
    seconds = margin.prompt / speed.prefill + margin.answer / speed.decode if speed else None
    refused = _refused(name, file, margin) or ("" if speed else "its speed was not measured")
    return Row(
        quantisation=name,
        bytes=file.bytes,
        ratio=file.ratio,
        kl=file.kl,
        prefill=speed.prefill if speed else None,
        decode=speed.decode if speed else None,
        request_s=seconds,
        refused=refused,
    )


def _refused(name: str, file: FileParity, margin: Margin) -> str:
    if file.fault:
        return f"{file.fault.name}: {file.fault.found}"
    if name == F16:
        return ""
    if file.ratio is None or not file.ratio <= margin.ratio:
        return f"perplexity is {file.ratio or float('nan'):.3f} times that of f16, at most {margin.ratio:g} is allowed"
    worse = {metric: difference for metric, difference in file.differences.items() if difference.high < 0}
    if worse:
        metric, difference = min(worse.items(), key=lambda item: item[1].mean)
        return f"{metric} is worse than f16's by {-difference.mean:.3f} (95 % interval {-difference.high:.3f} to {-difference.low:.3f})"
    return ""
