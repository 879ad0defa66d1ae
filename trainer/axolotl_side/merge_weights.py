"""Owns folding an adapter into Hugging Face weights, by peft. Runs inside Axolotl's environment, not ours.

python -m trainer.axolotl_side.merge_weights BASE_FOLDER ADAPTER_FOLDER MERGED_FOLDER
"""

import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def merge(base: Path, adapter: Path, merged: Path) -> None:
    """W' = W + (alpha / rank) B A in float32 (Hu et al. 2021); the tokenizer is the one that was trained with."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(merged)
    trained = adapter if (adapter / "tokenizer_config.json").exists() else base
    AutoTokenizer.from_pretrained(trained).save_pretrained(merged)


if __name__ == "__main__":
    merge(*(Path(argument) for argument in sys.argv[1:4]))
