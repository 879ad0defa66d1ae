"""Owns one Axolotl plugin: bfloat16 arithmetic on a CPU that has it. Runs inside Axolotl's environment, not ours.

Axolotl's own `bf16` setting asks for a GPU. Weights, adapter and optimiser stay float32; only products are bfloat16.
"""

from pathlib import Path
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin


class CpuBfloat16(BasePlugin):  # type: ignore[misc]
    """Runs the model's forward pass under autocast where the CPU multiplies bfloat16 natively."""

    def post_model_load(self, cfg: Any, model: Any) -> None:  # noqa: ARG002
        if not torch.cuda.is_available() and cpu_has_bfloat16():
            model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)


def cpu_has_bfloat16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text() for flag in ("avx512_bf16", "amx_bf16"))
