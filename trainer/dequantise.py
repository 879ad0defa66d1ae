"""Owns turning a GGUF into Hugging Face weights that can be trained. Runs inside Axolotl's environment, not ours.

python -m trainer.dequantise MODEL.gguf FOLDER END_OF_TURN PAD
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def dequantise(gguf: Path, folder: Path, end_of_turn: str, pad: str) -> None:
    """Write float32 weights and a tokenizer whose end of turn is the right one.

    transformers reads the end of text of SmolLM2's GGUF as `<|im_start|>`; trained that way a model never stops.
    """
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer.eos_token, tokenizer.pad_token = end_of_turn, pad
    end = tokenizer.convert_tokens_to_ids(end_of_turn)
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    dequantise(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
