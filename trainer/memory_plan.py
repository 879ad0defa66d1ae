"""Owns how much memory a fine-tune takes, worked out before it is started. Knows nothing of Axolotl.

Bytes are counted as the training allocates them; a "16 GB" card is taken as 16 × 10⁹ bytes, a little less than it has.

Sources:
- LoRA's parameters: Hu et al. 2021, "LoRA", section 4.1.
- NF4 with double quantisation: Dettmers et al. 2023, "QLoRA", section 3.
- Adam's two moments, in float32: Kingma and Ba 2015; the 16 bytes a trained parameter of Rajbhandari et al. 2020, "ZeRO", section 3.1.
- Activations, and what recomputing them saves: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models",
  sections 4.1 and 5, whose 34·s·b·h a layer is counted again for a gated MLP, grouped queries and a frozen base. A test counts the
  tensors that PyTorch really keeps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.presets import Architecture, Preset
from trainer.recipe import LoraRecipe

GB = 1e9
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""4 bits a weight, an 8-bit scale for each 64, a float32 scale for each 256 of those: 4.127 bits."""
CUDA_BYTES = 1.0e9
"""The context, the kernels and cuBLAS's workspace: 0.5 to 1 GB on common cards. An assumption, not measured here."""
FRAGMENTATION = 0.05
"""What the caching allocator loses between blocks, of all that it holds. An assumption too."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by what they are for."""

    weights: float
    adapter: float
    gradients: float
    optimiser: float
    activations: float
    logits: float
    working: float
    overhead: float

    @property
    def total(self) -> float:
        return float(sum(vars(self).values()))


@dataclass(frozen=True)
class Change:
    """A recipe that needs less memory than the one before it."""

    words: str
    recipe: LoraRecipe
    plan: MemoryPlan


def adapter_parameters(architecture: Architecture, rank: int) -> int:
    """r·(inputs + outputs) for each adapted matrix (Hu et al. 2021): A is r × inputs, B outputs × r."""
    return architecture.layers * sum(rank * (inputs + outputs) for inputs, outputs in architecture.linear_shapes())


def weight_bytes(architecture: Architecture, recipe: LoraRecipe, *, width: int) -> float:
    """The base's weights, `width` bytes each; under QLoRA the linear layers take NF4_BITS, and PEFT holds the rest in float32."""
    if recipe.method == "lora":
        return float(architecture.parameters() * width)
    return architecture.linear_parameters() * NF4_BITS / 8 + architecture.other_parameters() * 4


def activation_bytes(architecture: Architecture, recipe: LoraRecipe, *, width: int) -> float:
    """What the forward pass keeps for the backward pass, without the output head.

    For each layer and token: 24·h + w·(2·kv + 4·i + n·r) + 4·a + 8 bytes, where h is the hidden width, kv that of the keys,
    i the MLP's, n the adapted matrices, r the rank, a the heads, w the bytes of a product (2 under bfloat16, 4 in float32).
    RMSNorm keeps float32 inputs (8·h), the rest of 24·h are norm outputs, queries and attention's output; attention itself
    keeps no s × s matrix (Korthikanti's 5·a·s²·b falls away with a fused kernel).

    With gradient checkpointing each layer keeps its input alone, w·h, and one layer at a time is computed again.
    """
    a, tokens = architecture, recipe.batch * recipe.sequence_len
    a_layer = tokens * (24 * a.hidden + width * (2 * a.kv_width + 4 * a.intermediate + len(a.linears) * recipe.rank) + 4 * a.heads + 8)
    if recipe.gradient_checkpointing:
        return float(a.layers * tokens * width * a.hidden + a_layer)
    return float(a.layers * a_layer)


def logit_bytes(architecture: Architecture, recipe: LoraRecipe, *, width: int) -> float:
    """The output head at its peak, as the backward pass begins: logits, log-probabilities and two gradients, the last three in float32."""
    return float(recipe.batch * recipe.sequence_len * architecture.vocab * (width + 4 + 4 + 4))


def working_bytes(architecture: Architecture, recipe: LoraRecipe, *, width: int) -> float:
    """What lives only within one layer: gradients of its widest activations, and under QLoRA its largest matrix, dequantised."""
    matrix = max(inputs * outputs for inputs, outputs in architecture.linear_shapes()) if recipe.method == "qlora" else 0
    return float(width * (matrix + recipe.batch * recipe.sequence_len * 2 * (architecture.intermediate + architecture.hidden)))


def plan_memory(preset: Preset, recipe: LoraRecipe, *, device: Literal["cpu", "gpu"] = "gpu") -> MemoryPlan:
    """The plan for one process. A GPU computes in bfloat16; a CPU holds everything in float32.

    The adapter, its gradients and Adam's two moments are float32: 4 + 4 + 8 bytes a trained parameter.
    """
    width = 2 if device == "gpu" else 4
    shape, trained = preset.architecture, adapter_parameters(preset.architecture, recipe.rank)
    held = {
        "weights": weight_bytes(shape, recipe, width=width),
        "adapter": 4.0 * trained,
        "gradients": 4.0 * trained,
        "optimiser": 8.0 * trained,
        "activations": activation_bytes(shape, recipe, width=width),
        "logits": logit_bytes(shape, recipe, width=width),
        "working": working_bytes(shape, recipe, width=width),
    }
    overhead = FRAGMENTATION * sum(held.values()) + CUDA_BYTES if device == "gpu" else 0.0
    return MemoryPlan(**held, overhead=overhead)


def advise(preset: Preset, recipe: LoraRecipe, *, gpu_gb: float) -> list[Change]:
    """What to change, least harm first and each on top of those before, until it fits; empty where the recipe fits as it is.

    The last change fits, unless nothing does: then its recipe is the smallest that there is.
    """
    changes: list[Change] = []
    plan = plan_memory(preset, recipe)
    smaller = _smaller(recipe)
    while plan.total > gpu_gb * GB and (found := next(smaller, None)):
        words, recipe = found
        plan = plan_memory(preset, recipe)
        changes.append(Change(words, recipe, plan))
    return changes


def _smaller(recipe: LoraRecipe) -> Iterator[tuple[str, LoraRecipe]]:
    """Recomputing costs time alone and fewer rows at once nothing but time; 4 bits cost a little quality, a shorter sequence cuts rows off."""
    if not recipe.gradient_checkpointing:
        recipe = recipe.model_copy(update={"gradient_checkpointing": True})
        yield "recompute activations (gradient checkpointing)", recipe
    while recipe.batch > 1:
        batch = recipe.batch // 2
        recipe = recipe.model_copy(update={"batch": batch, "accumulation": recipe.accumulation * recipe.batch // batch})
        yield f"--batch {batch}, with {recipe.accumulation} times accumulated", recipe
    if recipe.method == "lora":
        recipe = recipe.model_copy(update={"method": "qlora"})
        yield "--method qlora", recipe
    while recipe.sequence_len > 512:
        recipe = recipe.model_copy(update={"sequence_len": recipe.sequence_len // 2})
        yield f"--sequence-len {recipe.sequence_len}", recipe
