"""The memory plan against hand-worked numbers, against files that were really written, and against the tensors that PyTorch keeps."""

import json
import subprocess
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.memory_plan import GB, NF4_BITS, activation_bytes, adapter_parameters, advise, logit_bytes, plan_memory, weight_bytes
from trainer.presets import PRESETS, Architecture, Preset
from trainer.recipe import LoraRecipe

SMALL = Architecture(layers=2, hidden=8, intermediate=16, heads=2, kv_heads=1, vocab=100, tied_embeddings=False)
"""kv is 4 wide: q 8 × 8, k and v 8 × 4, o 8 × 8, gate and up 8 × 16, down 16 × 8: 576 weights a layer."""
TRAINED = Path(__file__).resolve().parents[2] / ".stack" / "run"


def test_parameters_by_hand() -> None:
    assert SMALL.linear_parameters() == 2 * (64 + 32 + 32 + 64 + 128 + 128 + 128)
    assert SMALL.other_parameters() == 2 * 100 * 8 + 5 * 8
    assert adapter_parameters(SMALL, 4) == 2 * 4 * (16 + 12 + 12 + 16 + 24 + 24 + 24)


def test_weights_by_hand_plain_and_in_four_bits() -> None:
    assert weight_bytes(SMALL, LoraRecipe(), width=2) == 2 * (1152 + 1640)
    assert pytest.approx(4.127, abs=5e-4) == NF4_BITS
    assert weight_bytes(SMALL, LoraRecipe(method="qlora"), width=2) == pytest.approx(1152 * 4.127 / 8 + 4 * 1640, abs=0.1)


def test_activations_and_logits_by_hand() -> None:
    kept, recomputed = LoraRecipe(batch=3, sequence_len=16, rank=4), LoraRecipe(batch=3, sequence_len=16, rank=4, gradient_checkpointing=True)
    a_layer = 48 * (24 * 8 + 2 * (2 * 4 + 4 * 16 + 7 * 4) + 4 * 2 + 8)
    assert activation_bytes(SMALL, kept, width=2) == 2 * a_layer
    assert activation_bytes(SMALL, recomputed, width=2) == 2 * 48 * 2 * 8 + a_layer
    assert logit_bytes(SMALL, kept, width=2) == 48 * 100 * 14


def test_mistral_by_hand_fits_a_16_gb_card_in_four_bits_only() -> None:
    """7.248 × 10⁹ weights are 14.5 GB in 16 bits; in 4 bits 6.979 × 10⁹ of them are 3.60 GB, and 0.269 × 10⁹ in float32 1.07 GB."""
    mistral = PRESETS["mistral-7b-v0.3"]
    assert plan_memory(mistral, mistral.recipe("lora")).weights / GB == pytest.approx(14.50, abs=0.01)
    assert plan_memory(mistral, mistral.recipe("qlora")).weights / GB == pytest.approx(3.60 + 1.07, abs=0.01)
    assert advise(mistral, mistral.recipe("qlora"), gpu_gb=16) == []
    changes = advise(mistral, mistral.recipe("lora"), gpu_gb=16)
    assert [change.words for change in changes] == ["--method qlora"]
    assert changes[-1].plan.total < 16 * GB


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_each_presets_first_recipe_fits_a_16_gb_card(preset: Preset) -> None:
    assert plan_memory(preset, preset.recipe()).total < 16 * GB


def test_where_nothing_fits_the_last_change_is_the_smallest_there_is() -> None:
    mistral = PRESETS["mistral-7b-v0.3"]
    last = advise(mistral, mistral.recipe("lora").model_copy(update={"batch": 4, "gradient_checkpointing": False}), gpu_gb=4)[-1]
    assert (last.recipe.batch, last.recipe.accumulation, last.recipe.method, last.recipe.sequence_len) == (1, 32, "qlora", 512)
    assert last.plan.total > 4 * GB


@pytest.mark.skipif(not (TRAINED / "base" / "model.safetensors").exists(), reason="no fine-tune has been run here (.stack/run)")
def test_the_plan_agrees_with_the_files_of_a_real_fine_tune() -> None:
    """The weights' file holds nothing but float32 weights behind a header of some kilobytes; the adapter's file likewise."""
    smollm2 = PRESETS["smollm2-135m"]
    plan = plan_memory(smollm2, smollm2.recipe(), device="cpu")
    assert (TRAINED / "base" / "model.safetensors").stat().st_size == pytest.approx(plan.weights, rel=1e-4)
    assert (TRAINED / "adapter" / "adapter_model.safetensors").stat().st_size == pytest.approx(plan.adapter, rel=1e-2)
    optimiser = next((TRAINED / "adapter").glob("checkpoint-*/optimizer.pt"))
    assert optimiser.stat().st_size == pytest.approx(plan.optimiser, rel=3e-2)


@pytest.mark.axolotl
def test_a_layers_activations_are_what_pytorch_really_keeps(axolotl: Path) -> None:
    done = subprocess.run([str(axolotl / "bin" / "python"), str(Path(__file__).parent / "count_activations.py")], check=True, capture_output=True, text=True)
    shape = Architecture(layers=1, hidden=64, intermediate=160, heads=4, kv_heads=2, vocab=300, tied_embeddings=False)
    planned = [activation_bytes(shape, LoraRecipe(batch=1, sequence_len=16, rank=8), width=width) / 16 for width in (4, 2)]
    assert [float(line) for line in done.stdout.splitlines()[-2:]] == pytest.approx(planned, rel=0.01)


def test_the_command_says_what_fits_and_what_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan-memory", "--preset", "llama-3.2-1b", "--gpu-gb", "16"]) == 0
    assert "Fits (activations recomputed): 12." in capsys.readouterr().out
    assert main(["plan-memory", "--preset", "llama-3.2-1b", "--gpu-gb", "8", "--batch", "8"]) == 0
    out = capsys.readouterr().out
    assert "Does not fit" in out
    assert "--batch 1" in out
    assert main(["plan-memory", "--all", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert len(every) == 2 * len(PRESETS)
    assert [(found["preset"], found["recipe"]["method"]) for found in every if not found["fits"]] == [("mistral-7b-v0.3", "lora")]
    for found in every:
        assert sum(found["parts_gb"].values()) == pytest.approx(found["total_gb"], abs=0.005)
