"""Owns the weights themselves: whether a quantised file holds the same tensors as the f16 file that it was made from.

A flipped byte answers well enough on most prompts; here no block can hide. Knows nothing of answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray

_BLOCK = 32
"""Weights that share a scale in most quantisations; longer blocks are made of such."""

_FINEST = 0.02
_COARSEST = 0.9
"""A weight's largest error as a share of its neighbours' largest weight. Rounding to 8 bits costs 1/254; to 4 bits an eighth,
and where a column hardly counts up to half (measured). One wrong high bit costs all of it."""

_FINE = ("F32", "F16", "BF16", "Q8_0")


@dataclass(frozen=True)
class TensorFaults:
    """`foreign`: why the file is of another model, or "". `damaged`: tensors with a block that rounding does not explain, of `total`."""

    foreign: str
    damaged: tuple[str, ...]
    total: int


def compare_tensors(f16: Path, other: Path) -> TensorFaults:
    """Raises ValueError for a file that the gguf package cannot read."""
    ours, theirs = gguf.GGUFReader(f16), gguf.GGUFReader(other)
    shapes, found = ({tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors} for reader in (ours, theirs))
    if shapes != found:
        name = next(name for name in sorted({*shapes, *found}) if shapes.get(name) != found.get(name))
        return TensorFaults(f"its {name} is {found.get(name, 'not there')}, of this model {shapes.get(name, 'not there')}", (), len(shapes))
    quantised = {tensor.name: tensor for tensor in theirs.tensors}
    damaged = tuple(tensor.name for tensor in ours.tensors if not _is_rounded(tensor, quantised[tensor.name]))
    return TensorFaults("", damaged, len(shapes))


def _is_rounded(exact: gguf.ReaderTensor, rounded: gguf.ReaderTensor) -> bool:
    allowed = _FINEST if rounded.tensor_type.name in _FINE else _COARSEST
    for before, after in zip(_pieces(exact), _pieces(rounded), strict=True):
        if not np.isfinite(after).all():
            return False
        error, largest = (np.abs(values).reshape(-1, min(_BLOCK, values.shape[-1])).max(axis=1) for values in (after - before, before))
        span = np.maximum(largest, np.abs(before).max() * 0.02)
        if (error > allowed * span).any():
            return False
    return True


def _pieces(tensor: gguf.ReaderTensor) -> Iterator[NDArray[np.float32]]:
    """The tensor in 32 bits, some thousand rows at a time: the whole would take twice the memory of the model."""
    data = tensor.data if tensor.data.ndim > 1 else tensor.data.reshape(1, -1)
    for at in range(0, len(data), 4096):
        yield dequantize(data[at : at + 4096], tensor.tensor_type).astype(np.float32)
