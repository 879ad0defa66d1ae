"""Owns one Axolotl plugin: a fine-tune that feels the rounding of the file that will be served. Runs inside Axolotl's environment.

Under it the weights W + s B A (Hu et al. 2021) that the model computes with are always ones that Q4_0 can say, so the
adapter learns to be right after rounding, not before it. Gradients pass the rounding unchanged (straight-through
estimator: Bengio et al. 2013), which for an adapter needs no arithmetic of its own: the rounding error of the whole is
added to the frozen base, and reaches no gradient.
"""

from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from peft.tuners.lora import Linear
from torch import Tensor
from transformers import TrainerCallback

STEPS = 8
"""Optimiser steps after which the rounding is worked out again: between them the weights move by less than a rounding step."""
BLOCK = 32
"""Weights that share a scale in Q4_0."""


class Q4Aware(BasePlugin):  # type: ignore[misc]
    """Trains against Q4_0 rounding of every linear layer that has an adapter."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:  # noqa: ARG002
        return [RoundedWeights([module for module in trainer.model.modules() if isinstance(module, Linear)])]


class RoundedWeights(TrainerCallback):  # type: ignore[misc]
    """Keeps each layer's base weight at Q4_0(W + s B A) - s B A, from a copy of W."""

    def __init__(self, layers: list[Any]) -> None:
        self._layers = [(layer, layer.get_base_layer().weight.detach().clone()) for layer in layers]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.round()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step % STEPS == 0:
            self.round()

    def round(self) -> None:
        with torch.no_grad():
            for layer, weight in self._layers:
                (name,) = layer.active_adapters
                delta = layer.scaling[name] * (layer.lora_B[name].weight @ layer.lora_A[name].weight)
                layer.get_base_layer().weight.copy_(q4_0(weight + delta) - delta)


def q4_0(weights: Tensor) -> Tensor:
    """The values that llama.cpp's Q4_0 keeps of `weights`, whose last dimension is a multiple of 32: a scale in 16 bits for
    each block, and 4 bits for each weight."""
    blocks = weights.float().reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
    scale = largest / -8
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    steps = (blocks * inverse + 8.5).trunc().clamp(0, 15) - 8
    return (steps * scale.half().float()).reshape(weights.shape)
