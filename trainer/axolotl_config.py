"""Owns the settings of a fine-tune and writes them as Axolotl reads them. Knows nothing of data or of running."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from shared_schemas.closed import Closed


class LoraRecipe(Closed):
    """What decides a LoRA fine-tune. Ranks and rates follow design.md's measured recipe."""

    rank: int = 8
    alpha: int = 16
    learning_rate: float = 1e-3
    epochs: float = 1.0
    batch: int = 4
    sequence_len: int = 1024
    warmup_steps: int = 20
    seed: int = Field(default=7, ge=0)
    rounded_to: Literal["Q4_0"] | None = None
    """The quantisation that the weights feel in training (trainer/quantisation_aware.py); served in any other, they lose by it."""


def axolotl_config(recipe: LoraRecipe, *, base: Path, data: Path, out: Path, init: Path | None = None) -> dict[str, Any]:
    """Axolotl's settings for one LoRA over all linear layers, loss on the answer only, without a GPU.

    Rows are taken in the order of the file (`curriculum_sampling`): the data stage has arranged them in batches.
    `init` is the folder of an adapter to go on from.
    """
    return {
        **({"lora_model_dir": str(init)} if init else {}),
        "base_model": str(base),
        "datasets": [{"path": str(data), "type": "chat_template", "field_messages": "messages", "roles_to_train": ["assistant"], "train_on_eos": "turn"}],
        "dataset_prepared_path": str(out / "prepared"),
        "output_dir": str(out),
        "plugins": ["trainer.axolotl_plugin.CpuBfloat16", *(["trainer.quantisation_aware.Q4Aware"] if recipe.rounded_to else [])],
        "adapter": "lora",
        "lora_r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": 0.0,
        "lora_target_linear": True,
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        "sequence_len": recipe.sequence_len,
        "sample_packing": False,
        "curriculum_sampling": True,
        "shuffle_merged_datasets": False,
        "micro_batch_size": recipe.batch,
        "gradient_accumulation_steps": 1,
        "num_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler": "cosine",
        "warmup_steps": recipe.warmup_steps,
        "optimizer": "adamw_torch",
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "gradient_checkpointing": False,
        "flash_attention": False,
        "sdp_attention": True,
        "logging_steps": 1,
        "save_steps": 60,
        "save_total_limit": 2,
        "auto_resume_from_checkpoints": True,
        "val_set_size": 0,
        "seed": recipe.seed,
        "special_tokens": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    }


def write_axolotl_yaml(path: Path, config: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(config, sort_keys=False))
