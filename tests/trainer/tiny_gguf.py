"""Owns a tiny random Llama as a GGUF: a byte for a token, SmolLM2's chat markup or Llama 3's, all that llama.cpp wants of a model."""

from pathlib import Path

import gguf
import numpy as np

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
LLAMA_3_SPECIAL = ("<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
LLAMA_3_TEMPLATE = "{% for message in messages %}{{'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
_NORMAL, _CONTROL = 1, 3


def write_tiny(path: Path, *, seed: int = 0, width: int = 64, layers: int = 2, context: int = 2048, special: tuple[str, ...] = SPECIAL, template: str = TEMPLATE) -> Path:
    """f16, four heads over two; the same arguments write the same bytes. `special`: what pads, begins and ends come first, in this order."""
    random = np.random.default_rng(seed)
    tokens = [*special, *_byte_letters(), "Ġt", "in"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(width // 4)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL] * len(special) + [_NORMAL] * (len(tokens) - len(special)))
    writer.add_token_merges(["Ġ t", "i n"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(template)

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.35 if name.startswith("token") else columns**-0.5, (rows, columns)).astype(np.float16))

    def vector(name: str) -> None:
        writer.add_tensor(name, np.ones(width, np.float32))

    matrix("token_embd.weight", len(tokens), width)
    for i in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            vector(f"blk.{i}.{norm}.weight")
        for name, rows, columns in (("attn_q", width, width), ("attn_k", width // 2, width), ("attn_v", width // 2, width), ("attn_output", width, width), ("ffn_gate", 2 * width, width), ("ffn_up", 2 * width, width), ("ffn_down", width, 2 * width)):  # fmt: skip
            matrix(f"blk.{i}.{name}.weight", rows, columns)
    vector("output_norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _byte_letters() -> list[str]:
    """The letters that stand for the 256 bytes in a byte-level vocabulary (Radford et al. 2019): printable ones for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def patch(path: Path, key: str, value: bytes) -> None:
    """Overwrite a scalar in the metadata, behind its key and its type."""
    content = bytearray(path.read_bytes())
    at = content.index(len(key).to_bytes(8, "little") + key.encode()) + 8 + len(key) + 4
    content[at : at + len(value)] = value
    path.write_bytes(content)
