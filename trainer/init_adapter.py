"""Owns turning an adapter GGUF back into a PEFT adapter that can be trained on. Runs inside Axolotl's environment, not ours.

    python -m trainer.init_adapter ADAPTER.gguf BASE_FOLDER FOLDER

For the Llama architecture. The converter interleaves the rows of q and k for llama.cpp's rotary embedding; transformers'
own reader undoes that for whole weights, and the same is done to the adapter's outputs here.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from transformers import AutoConfig

MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def restore(gguf: Path, base: Path, folder: Path) -> None:
    reader, config = GGUFReader(str(gguf)), AutoConfig.from_pretrained(base)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tensors: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        _, layer, module, _, side = tensor.name.split(".")
        values = np.array(tensor.data, dtype=np.float32)
        if side == "lora_b" and module in heads:
            values = unpermuted(values, heads[module])
        tensors[f"base_model.model.model.layers.{layer}.{MODULES[module]}.{side[:4]}_{side[5:].upper()}.weight"] = torch.from_numpy(values).contiguous()
    rank = next(len(values) for name, values in tensors.items() if "lora_A" in name)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({MODULES[name].rpartition(".")[2] for name in MODULES}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2))


def unpermuted(values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", heads: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """The rows of a q or k projection in transformers' order: the inverse of the converter's `permute`."""
    half = values.shape[0] // heads // 2
    return np.ascontiguousarray(values.reshape(heads, half, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape))


if __name__ == "__main__":
    restore(*map(Path, sys.argv[1:4]))
