"""Owns counting the bytes that PyTorch keeps for the backward pass of one more Llama layer with LoRA. Runs inside Axolotl's environment, not ours.

python tests/trainer/count_activations.py    (bytes a token: in float32, then under bfloat16)
"""

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SHAPE = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def kept(layers: int, dtype: torch.dtype, *, batch: int, tokens: int) -> int:
    """Distinct storages saved by a forward pass, without those of parameters."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, attn_implementation="sdpa", **SHAPE)).to(dtype)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=LINEARS)).train()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: list[torch.Tensor] = []

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    rows = torch.randint(0, SHAPE["vocab_size"], (batch, tokens))
    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        model(input_ids=rows, labels=rows)
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in saved}
    return sum(size for pointer, size in sizes.items() if pointer not in parameters)


if __name__ == "__main__":
    for dtype in (torch.float32, torch.bfloat16):
        few, many = (kept(3, dtype, batch=2, tokens=tokens) - kept(2, dtype, batch=2, tokens=tokens) for tokens in (50, 150))
        print((many - few) / (2 * 100))
