"""From trained weights to files that are proved: real peft, real converters, real llama.cpp, on a model of a few thousand weights."""

import json
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from inference.engine.merge import merge
from inference.model_store import file_sha256
from tests.trainer.test_export import LOOSE, rows
from tests.trainer.tiny_gguf import write_tiny
from trainer.errors import ParityFailed, StageFailed
from trainer.export.build import Lineage, Sources, Trials, export_model, read_export
from trainer.export.parity import Tolerance
from trainer.finetune import axolotl_environment, dequantise_base

TRAIN = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
torch.manual_seed(0)
model = get_peft_model(AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
for name, weights in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(weights, std=0.1)
model.save_pretrained(sys.argv[2])
"""


@pytest.fixture(scope="module")
def sources(axolotl: Path, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """A tiny base that transformers read from a GGUF, and an adapter whose weights are not zero."""
    folder = tmp_path_factory.mktemp("sources")
    original = write_tiny(folder / "original.gguf")
    (folder / "base").mkdir()
    dequantise_base(original, folder / "base", axolotl=axolotl, progress=lambda _line: None)
    subprocess.run([str(axolotl / "bin" / "python"), "-c", TRAIN, str(folder / "base"), str(folder / "adapter")], env=dict(axolotl_environment(axolotl)), check=True, capture_output=True)
    lineage = Lineage(name="tiny-1", base="tiny", licence="apache-2.0", run="run-7", datasets=("ab" * 32,), prompt_versions=("risk: 1/tag",))
    return Sources(folder / "base", folder / "adapter", lineage, original)


def test_an_export_is_proved_complete_and_done_once(axolotl: Path, sources: Sources, tmp_path: Path) -> None:
    out, lines = tmp_path / "export", list[str]()
    trials = Trials(held_out=rows(2), calibration=rows(1), tolerance=LOOSE, rounds=1)

    manifest = export_model(sources, out, quantisations=["Q4_0"], trials=trials, axolotl=axolotl, progress=lines.append)

    assert manifest == read_export(out)
    assert {name: file["fault"] for name, file in manifest["parity"]["files"].items()} == {"f16": None, "Q4_0": None}
    assert manifest["parity"]["files"]["f16"]["kl"] < 1e-4
    assert set(manifest["files"]) == {"f16/model.gguf", "Q4_0/model.gguf", "adapter/adapter.gguf"}
    for name, facts in manifest["files"].items():
        assert (facts["sha256"], facts["bytes"]) == (file_sha256(out / name), (out / name).stat().st_size)
        fields = gguf.GGUFReader(out / name).fields
        assert (fields["talentops.run"].contents(), fields["talentops.datasets"].contents(), fields["general.license"].contents()) == ("run-7", ["ab" * 32], "apache-2.0")
        assert str(tmp_path.parent).encode() not in (out / name).read_bytes()
    assert gguf.GGUFReader(out / "Q4_0" / "model.gguf").fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert_merged_alike(sources, out)

    seen = len(lines)
    assert export_model(sources, out, quantisations=["Q4_0"], trials=trials, axolotl=axolotl, progress=lines.append) == manifest
    assert lines[seen:] == []


def assert_merged_alike(sources: Sources, out: Path) -> None:
    """peft's merge in float32 and inference's merge of the two GGUF files give the same weights, but for rounding."""
    assert sources.base_gguf
    merge(sources.base_gguf, out / "adapter" / "adapter.gguf", out / "numpy.gguf")
    ours = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(out / "numpy.gguf").tensors}
    for tensor in gguf.GGUFReader(out / "f16" / "model.gguf").tensors:
        theirs = dequantize(tensor.data, tensor.tensor_type)
        assert np.abs(ours[tensor.name] - theirs).max() <= 0.02 * np.abs(theirs).max(), tensor.name


def test_without_the_bases_vocabulary_llama_cpp_aborts_and_we_live(axolotl: Path, sources: Sources, tmp_path: Path) -> None:
    bare = Sources(sources.base, sources.adapter, sources.lineage)
    with pytest.raises(ParityFailed, match=r"^Cannot serve f16: (cannot_run|wrong_tokens|wrong_template): "):
        export_model(bare, tmp_path, quantisations=[], trials=Trials(held_out=rows(1), tolerance=Tolerance()), axolotl=axolotl, progress=lambda _line: None)
    assert json.loads((tmp_path / "parity" / "manifest.json").read_text())["facts"]["files"]["f16"]["fault"]
    assert not (tmp_path / "manifest.json").exists()


def test_missing_parts_are_one_clear_line(axolotl: Path, sources: Sources, tmp_path: Path) -> None:
    for wrong, words in (
        (Sources(tmp_path, sources.adapter, sources.lineage), "there is no .*config.json"),
        (Sources(sources.base, tmp_path, sources.lineage), "there is no .*adapter_model.safetensors"),
    ):
        with pytest.raises(StageFailed, match=f"Cannot export .*: {words}"):
            export_model(wrong, tmp_path / "out", quantisations=["Q8_0"], trials=Trials(held_out=rows(1)), axolotl=axolotl, progress=lambda _line: None)
