"""Owns the head of a GGUF file: the figures that say how much memory it will want, and whether every tensor that it promises
is there, whole and in its place. Reads no tensor, loads nothing.

The `gguf` package reads them too, with every token of the vocabulary: 3 s where this takes 15 ms (SmolLM2, 49,152 tokens).
"""

import math
import mmap
import struct
from pathlib import Path
from typing import Any

from gguf.constants import GGML_QUANT_SIZES

from inference.errors import StartError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST_KEPT = 4096
"""Elements; longer arrays (the vocabulary) are skipped and only counted."""

_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4
_LONGEST_NAME = 63
"""Bytes of a tensor's name; ggml's limit."""

_TYPES = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
"""By type: weights of a block, and its bytes."""


def read_header(path: Path) -> dict[str, Any]:
    """Metadata by key; of a long array only its length. Raises StartError for a file that is no whole GGUF."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).read()
    except OSError as error:
        raise StartError(f"Cannot read the model {path}: {error.strerror}") from None
    except (struct.error, ValueError, OverflowError):
        raise StartError(f"Cannot use {path}: it is not a whole GGUF file") from None


class _Reader:
    """Walks through the file's bytes. Raises struct.error and ValueError where they make no sense."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def read(self) -> dict[str, Any]:
        if self._data[:4] != b"GGUF":
            raise ValueError
        self._at = 4
        if self._number("<I") not in _VERSIONS:
            raise ValueError
        tensors = self._number("<Q")
        header: dict[str, Any] = {}
        for _ in range(self._number("<Q")):
            key = self._text()
            if key in header:
                raise ValueError
            header[key] = self._value(self._number("<I"))
        self._check_tensors(tensors, header.get("general.alignment", 32))
        return header

    def _check_tensors(self, count: int, alignment: Any) -> None:
        """They lie one behind the other, each at a multiple of the alignment, and the last one ends in the file."""
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise ValueError
        names, last, end = set(), 0, 0
        for _ in range(count):
            name = self._text()
            dimensions = self._number("<I")
            if name in names or len(name.encode()) > _LONGEST_NAME or not 1 <= dimensions <= _MOST_DIMENSIONS:
                raise ValueError
            names.add(name)
            shape = [self._number("<Q") for _ in range(dimensions)]
            kind, offset = self._number("<I"), self._number("<Q")
            if kind not in _TYPES or shape[0] % _TYPES[kind][0] or min(shape) < 1 or offset != end:
                raise ValueError
            last = offset + math.prod(shape) // _TYPES[kind][0] * _TYPES[kind][1]
            end = _aligned(last, alignment)
        if _aligned(self._at, alignment) + last > len(self._data):
            raise ValueError

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def _skip(self, length: int) -> None:
        self._at += length
        if self._at > len(self._data):
            raise ValueError

    def _text(self) -> str:
        length = self._number("<Q")
        begin = self._at
        self._skip(length)
        return self._data[begin : self._at].decode()

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            raise ValueError
        inner, count = self._number("<I"), self._number("<Q")
        if inner not in {_STRING, *_SCALARS}:
            raise ValueError
        if count <= _LONGEST_KEPT:
            return [self._value(inner) for _ in range(count)]
        if inner == _STRING:
            length, at = struct.Struct("<Q").unpack_from, self._at
            for _ in range(count):
                at += 8 + length(self._data, at)[0]
            self._skip(at - self._at)
        else:
            self._skip(count * struct.calcsize(_SCALARS[inner]))
        return count


def _aligned(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
