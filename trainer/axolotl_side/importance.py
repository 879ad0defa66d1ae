"""Owns the importance matrix: how much each input column of a linear layer carries. Runs inside Axolotl's environment, not ours.

    python -m trainer.axolotl_side.importance MERGED_FOLDER ARCHITECTURE OUT.npz < train.jsonl

Reads chat rows, writes for each tensor (by its name in GGUF) the mean square of each column of its input over all tokens,
shape (columns,): what llama.cpp's llama-imatrix collects.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def collect(folder: Path, architecture: str, rows: Iterable[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Mean squares by GGUF tensor name. With tied embeddings, the embedding matrix is the output layer's."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = gguf.get_tensor_name_map(_architecture(architecture), model.config.num_hidden_layers)
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str) -> Any:
        def hook(_module: Any, inputs: tuple[torch.Tensor, ...], _output: Any) -> None:
            seen = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).float()
            sums[name] = sums.get(name, torch.zeros(())) + seen.square().sum(0).double()
            counts[name] = counts.get(name, 0) + len(seen)

        return hook

    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            tied = path == "lm_head" and model.config.tie_word_embeddings
            name = names.get_name("model.embed_tokens.weight" if tied else f"{path}.weight", try_suffixes=(".weight",))
            if name:
                module.register_forward_hook(watch(f"{name}.weight" if not name.endswith(".weight") else name))
    with torch.no_grad():
        for row in rows:
            text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
            model(torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]]))
    return {name: (total / counts[name]).float().numpy() for name, total in sums.items()}


def _architecture(name: str) -> Any:
    return next(number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == name)


if __name__ == "__main__":
    np.savez(sys.argv[3], **collect(Path(sys.argv[1]), sys.argv[2], (json.loads(line) for line in sys.stdin)))  # type: ignore[arg-type]
