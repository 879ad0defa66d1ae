"""A fine-tune against Q4_0 computes with the very weights that llama.cpp will read."""

import subprocess
from pathlib import Path

import pytest

from trainer.finetune import REPOSITORY, axolotl_environment

SAME_AS_GGUF = """
import numpy as np, torch
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from trainer.quantisation_aware import q4_0
weights = torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
weights[3, :32] = 0
kept = dequantize(quantize(weights.numpy(), GGMLQuantizationType.Q4_0), GGMLQuantizationType.Q4_0)
assert np.array_equal(q4_0(weights).numpy(), kept)
"""
WHOLE_IS_ROUNDED = """
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import nn
from trainer.quantisation_aware import RoundedWeights, q4_0
model = get_peft_model(nn.Sequential(nn.Linear(64, 32, bias=False)), LoraConfig(r=4, lora_alpha=8, target_modules=["0"], init_lora_weights=False))
(layer,) = [module for module in model.modules() if isinstance(module, Linear)]
before = layer.get_base_layer().weight.clone()
delta = layer.get_delta_weight("default")
rounded = RoundedWeights([layer])
for _ in range(2):
    rounded.round()
    assert torch.allclose(layer.get_base_layer().weight + delta, q4_0(before + delta), atol=1e-6)
assert layer.get_base_layer().weight.grad is None and not layer.get_base_layer().weight.requires_grad
"""


@pytest.mark.axolotl
@pytest.mark.parametrize("program", [SAME_AS_GGUF, WHOLE_IS_ROUNDED], ids=["q4_0 is gguf's", "base and adapter together are rounded, however often"])
def test_the_weights_of_training_are_those_that_are_served(axolotl: Path, program: str) -> None:
    done = subprocess.run([str(axolotl / "bin" / "python"), "-c", program], env=dict(axolotl_environment(axolotl)), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
