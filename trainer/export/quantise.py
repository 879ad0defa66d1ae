"""Owns quantising a GGUF with llama.cpp's own `llama_model_quantize`. Its program runs in a process of its own.

    python -m trainer.export.quantise SOURCE.gguf TARGET.gguf Q4_0 [IMPORTANCE.npz]

Knows nothing of which quantisation is good.
"""

import ctypes
import re
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from gguf.constants import GGMLQuantizationType

from trainer.errors import StageFailed
from trainer.export.child import run_child

QUANTISATIONS = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS")
KEY = "talentops.quantisation"
_STRING_OVERRIDE = 3
"""`LLAMA_KV_OVERRIDE_TYPE_STR` of llama.h."""

_MIX = re.compile(r"(?P<type>\w+)(?P<parts>(\+\w+=\w+)*)")


def parse(quantisation: str) -> tuple[str, dict[str, str]]:
    """The type and the tensors that get another: `Q4_0+ffn_down=Q8_0` is Q4_0 with each `ffn_down` in Q8_0. Raises StageFailed."""
    found = _MIX.fullmatch(quantisation)
    parts = dict(part.split("=") for part in found["parts"].split("+")[1:]) if found else {}
    if not found or found["type"] not in QUANTISATIONS or not all(part in GGMLQuantizationType.__members__ for part in parts.values()):
        raise StageFailed(f"Cannot quantise to {quantisation!r}: known are {', '.join(QUANTISATIONS)}, and mixes like Q4_0+ffn_down=Q8_0")
    return found["type"], parts


def quantise(source: Path, target: Path, quantisation: str, *, importance: Path | None = None) -> None:
    """Write `source` (f16) as `quantisation`; the same inputs give the same bytes. Raises StageFailed."""
    parse(quantisation)
    run_child("trainer.export.quantise", [source, target, quantisation, *([importance] if importance else [])])


def _quantise(source: str, target: str, quantisation: str, importance: str | None) -> None:
    kind, parts = parse(quantisation)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.nthread = 2
    overrides = (llama_cpp.llama_model_kv_override * 2)()
    overrides[0].tag, overrides[0].key = _STRING_OVERRIDE, KEY.encode()
    overrides[0].value.val_str = quantisation.encode()
    params.kv_overrides = ctypes.cast(overrides, type(params.kv_overrides))
    kept: list[Any] = [overrides]
    if parts:
        tensors = (llama_cpp.llama_model_tensor_override * (len(parts) + 1))()
        for i, (name, part) in enumerate(parts.items()):
            tensors[i].pattern, tensors[i].type = name.encode(), int(GGMLQuantizationType[part])
        params.tt_overrides = ctypes.cast(tensors, type(params.tt_overrides))
        kept.append(tensors)
    if importance:
        columns = {name: np.ascontiguousarray(values, np.float32) for name, values in np.load(importance).items()}
        matrix = (llama_cpp.llama_model_imatrix_data * (len(columns) + 1))()
        for i, (name, values) in enumerate(columns.items()):
            matrix[i].name, matrix[i].size = name.encode(), values.size
            matrix[i].data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        params.imatrix = ctypes.cast(matrix, type(params.imatrix))
        kept += [columns, matrix]
    status = llama_cpp.llama_model_quantize(source.encode(), target.encode(), params)
    del kept
    if status:
        raise SystemExit(f"llama.cpp could not quantise: status {status}")


if __name__ == "__main__":
    _quantise(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None)
