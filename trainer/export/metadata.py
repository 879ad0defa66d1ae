"""Owns what a GGUF says about itself: whose vocabulary it has, where it comes from, and nothing of the machine that made it.

Knows nothing of weights: they are copied as they are.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
from gguf.constants import GGUFValueType

from trainer.errors import StageFailed

PATH_KEYS = (
    *(f"general.{what}.{key}" for what in ("base_model", "dataset") for key in ("count", "0.name", "0.repo_url")),
    "general.tags",
)
"""Where the converter writes the folders of the machine that trained: nobody else's business."""

CHAT_TEMPLATE = "tokenizer.chat_template"
TOKENS = "tokenizer.ggml.tokens"
_WRITERS_OWN = ("GGUF.", "general.architecture")

Facts = Mapping[str, str | Sequence[str]]
"""Metadata by key; an empty list is left out, because GGUF cannot hold one."""


def rewrite(source: Path, target: Path, *, facts: Facts, vocabulary_of: Path | None = None) -> None:
    """Write `source` with `facts`, without the paths, and with the vocabulary of another GGUF if one is named.

    A tokenizer that transformers read from a GGUF converts into a sentencepiece vocabulary, on which llama.cpp aborts: such a
    model gets the vocabulary of the file that it came from. The chat template stays: it is the one that was trained.
    `target` appears in one step. Raises StageFailed when the vocabularies differ in size.
    """
    reader = gguf.GGUFReader(source)
    fields = {key: field for key, field in reader.fields.items() if key not in PATH_KEYS and key not in facts}
    if vocabulary_of is not None:
        fields = _with_vocabulary(fields, gguf.GGUFReader(vocabulary_of), source)
    partial = target.with_suffix(".part")
    writer = gguf.GGUFWriter(partial, str(reader.fields["general.architecture"].contents()))
    for key, field in fields.items():
        if not key.startswith(_WRITERS_OWN):
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
    for key, value in facts.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif value:
            writer.add_array(key, list(value))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, target)


def _with_vocabulary(fields: dict[str, gguf.ReaderField], other: gguf.GGUFReader, source: Path) -> dict[str, gguf.ReaderField]:
    ours, theirs = (len(found[TOKENS].data) if TOKENS in found else 0 for found in (fields, other.fields))
    if ours != theirs:
        raise StageFailed(f"Cannot give {source.name} its base's vocabulary: it has {ours} tokens, the base {theirs}")
    kept = {key: field for key, field in fields.items() if not key.startswith("tokenizer.") or key == CHAT_TEMPLATE}
    return {**{key: field for key, field in other.fields.items() if key.startswith("tokenizer.")}, **kept}
