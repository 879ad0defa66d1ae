"""Base and adapter become one file that computes what both did, rounded as the adapter was trained for."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize

from inference.engine.merge import merge
from inference.errors import StartError
from inference.model_store import STARTER, default_model
from shared_schemas.model_version import Quantisation

ADAPTER = STARTER / "adapter.gguf"
LAYER = "blk.3.ffn_down.weight"


def whole(reader: gguf.GGUFReader, name: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    tensor = next(tensor for tensor in reader.tensors if tensor.name == name)
    return np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)


@pytest.fixture(scope="module", params=["Q8_0", "Q4_0"])
def merged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Quantisation, Path]:
    target = tmp_path_factory.mktemp("merged") / "merged.gguf"
    merge(default_model(), ADAPTER, target, request.param)
    return request.param, target


def test_what_the_adapter_changes_has_the_wanted_quantisation_and_the_vocabulary_eight_bits(merged: tuple[Quantisation, Path]) -> None:
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(merged[1]).tensors}
    assert {kind for name, kind in kinds.items() if name.startswith("blk.") and "norm" not in name} == {merged[0]}
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == "F32"


def test_a_merged_weight_is_the_rounded_sum_of_base_and_adapter(merged: tuple[Quantisation, Path]) -> None:
    lora = gguf.GGUFReader(ADAPTER)
    alpha = lora.get_field("adapter.lora.alpha")
    assert alpha is not None
    a, b = whole(lora, f"{LAYER}.lora_a"), whole(lora, f"{LAYER}.lora_b")
    total = whole(gguf.GGUFReader(default_model()), LAYER) + b @ (a * np.float32(float(alpha.contents()) / a.shape[0]))
    kind = gguf.GGMLQuantizationType[merged[0]]
    assert np.array_equal(whole(gguf.GGUFReader(merged[1]), LAYER), dequantize(quantize(total, kind), kind))


def test_vocabulary_and_chat_template_are_the_bases_own(merged: tuple[Quantisation, Path]) -> None:
    base, ours = gguf.GGUFReader(default_model()), gguf.GGUFReader(merged[1])
    for key in ("tokenizer.chat_template", "tokenizer.ggml.tokens", "tokenizer.ggml.eos_token_id"):
        fields = [reader.get_field(key) for reader in (base, ours)]
        assert fields[0] is not None
        assert fields[1] is not None
        assert fields[0].contents() == fields[1].contents()


def test_a_file_that_is_no_adapter_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="it is no LoRA adapter"):
        merge(default_model(), default_model(), tmp_path / "merged.gguf")
    assert not (tmp_path / "merged.gguf").exists()
