"""Owns what decides a fine-tune of an adapter, whatever the base and the machine."""

from typing import Literal

from pydantic import Field

from shared_schemas.closed import Closed

Method = Literal["lora", "qlora"]
Zero = Literal[1, 2, 3]


class LoraRecipe(Closed):
    """What decides a LoRA fine-tune. The defaults follow design.md's measured recipe for SmolLM2 on two cores.

    With `qlora` the base is held in 4 bits (NF4) while the adapter learns. `batch` rows are seen at once by each process,
    `batch` × `accumulation` × processes in each step.
    """

    method: Method = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: int = 16
    learning_rate: float = Field(default=1e-3, gt=0)
    epochs: float = Field(default=1.0, gt=0)
    batch: int = Field(default=4, ge=1)
    accumulation: int = Field(default=1, ge=1)
    sequence_len: int = Field(default=1024, ge=16)
    warmup_steps: int = Field(default=20, ge=0)
    save_steps: int = Field(default=60, ge=1)
    gradient_checkpointing: bool = False
    seed: int = Field(default=7, ge=0)
    rounded_to: Literal["Q4_0"] | None = None
    """The quantisation that the weights feel in training (trainer/quantisation_aware.py); served in any other, they lose by it."""


class Machines(Closed):
    """Where a fine-tune runs: one process by default, or several that share the work."""

    device: Literal["cpu", "gpu"] = "cpu"
    processes: int = Field(default=1, ge=1)
    """On each node: one per GPU."""
    nodes: int = Field(default=1, ge=1)
    meeting: str | None = None
    """host:port of the first node, the same on every node."""
    zero: Zero | None = None
    """DeepSpeed's stage: 1 shards the optimiser, 2 the gradients too, 3 the weights too (Rajbhandari et al. 2020)."""
    ray: bool = False
