"""The learning loop's own decisions, without a fine-tune: what a model is called, what is done again, what is compared with whom."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.model_store import file_sha256
from tests.trainer.tiny_gguf import write_tiny
from trainer.export.build import Sources, _facts
from trainer.export.metadata import rewrite
from trainer.run import RunOptions, _key, _lineage

DATASETS = {"risk": "ab" * 32, "plan": "cd" * 32}
TRAIN = {"sha256": "ef" * 32}


def options(folder: Path, **changes: Any) -> RunOptions:
    base = folder / "base.gguf"
    if not base.exists():
        write_tiny(base)
    plain: dict[str, Any] = {
        "features": ("risk", "plan"), "preset": "smollm2-135m", "base": base, "work": folder / "work", "axolotl": folder / "axolotl", "make_data": lambda *_: {}, "store": str(folder / "store"), "service": None,
    }  # fmt: skip
    return RunOptions(**{**plain, **changes})


# --- a model's name -------------------------------------------------------------------------------------------------


def weights(folder: Path, content: bytes = b"weights") -> tuple[Path, Path]:
    """A trained adapter and the phrases beside it."""
    adapter, phrases = folder / "adapter_model.safetensors", folder / "phrases.txt"
    adapter.write_bytes(content)
    phrases.write_text("risk\t{}\n")
    return adapter, phrases


def test_the_same_adapter_is_the_same_file_under_the_same_name_whatever_was_asked_besides(tmp_path: Path) -> None:
    """`run --allow latency` behind a refusal makes no second model of that name."""
    converted, adapter = write_tiny(tmp_path / "converted.gguf"), weights(tmp_path)
    asked = [options(tmp_path), options(tmp_path, allowed=("latency",), judged=100)]
    assert len({_key(one, DATASETS, TRAIN) for one in asked}) == 2
    lineages = [_lineage(one, DATASETS, (one.base, *adapter)) for one in asked]
    written = []
    for i, lineage in enumerate(lineages):
        rewrite(converted, tmp_path / f"{i}.gguf", facts=_facts(Sources(tmp_path, tmp_path, lineage, asked[i].base)))
        written.append(file_sha256(tmp_path / f"{i}.gguf"))
    assert len({lineage.name for lineage in lineages}) == 1
    assert len(set(written)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda one, files: (one, DATASETS, (*files[:1], weights(files[1].parent, b"others")[0], files[2])),
        lambda one, files: (one, {**DATASETS, "plan": "00" * 32}, files),
        lambda one, files: (options(one.work.parent, style="tag"), DATASETS, files),
        lambda one, files: (one, DATASETS, (*files[:2], files[0])),
    ],
    ids=["weights", "dataset", "prompt", "phrases"],
)
def test_whatever_changes_a_file_of_a_model_changes_its_name(tmp_path: Path, change: Callable[..., Any]) -> None:
    one = options(tmp_path)
    files = (one.base, *weights(tmp_path))
    name = _lineage(one, DATASETS, files).name
    assert name.startswith("smollm2-135m-")
    assert _lineage(*change(one, files)).name != name
