"""Owns turning a trained adapter into a GGUF of its own, for shipping and hot trials, and proof that it is told what it was trained on.

The converter is llama.cpp's own. Knows nothing of merged models.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.model_store import file_sha256
from inference.predict import Predictor
from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from trainer.errors import ParityFailed, StageFailed
from trainer.export.convert import convert
from trainer.export.metadata import Facts, rewrite
from trainer.finetune import REPOSITORY, Progress, axolotl_environment
from trainer.format import Pair, format_conversations


def export_adapter(adapter: Path, base: Path, out: Path, *, axolotl: Path, progress: Progress, facts: Facts | None = None) -> dict[str, Any]:
    """Write `out`/adapter.gguf at f16 with `facts` in its metadata. Whether it is too large is the gates' affair."""
    converted, gguf = out / "converted.gguf", out / "adapter.gguf"
    convert("convert_lora_to_gguf.py", ["--base", str(base), "--outtype", "f16", "--outfile", str(converted), str(adapter)], axolotl=axolotl, log=out / "export.log")
    rewrite(converted, gguf, facts=facts or {})
    converted.unlink()
    size = gguf.stat().st_size
    progress(f"export: adapter of {size / 1e6:.1f} MB")
    return {"bytes": size, "sha256": file_sha256(gguf)}


def check_tokens(predictor: Predictor, base: Path, examples: Sequence[Pair], *, axolotl: Path) -> dict[str, Any]:
    """Compare the prompts' token ids in llama.cpp with those of the trained tokenizer, on every example.

    A wrong template, a missing or doubled BOS, or another vocabulary is refused here, and not found in production.
    Raises ParityFailed with the first difference.
    """
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in format_conversations(examples, predictor.version.prompt_style))
    trained = subprocess.run(
        [str(axolotl / "bin" / "python"), "-m", "trainer.chat_tokens", str(base)], input=rows, env=dict(axolotl_environment(axolotl)), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if trained.returncode:
        raise StageFailed(f"Cannot tokenise with the trained tokenizer: {trained.stderr.strip().splitlines()[-1:]}")
    for example, line in zip(examples, trained.stdout.splitlines(), strict=True):
        served = predictor.prompt_tokens(FEATURES[example.feature], example.prompt_input)
        if served != json.loads(line):
            raise ParityFailed(f"llama.cpp reads other tokens than were trained: {first_difference(served, json.loads(line))}, in the prompt {compact_json(example.prompt_input)[:120]}")
    return {"prompts": len(examples), "equal": len(examples)}


def first_difference(served: Sequence[int], trained: Sequence[int]) -> str:
    for i, (ours, theirs) in enumerate(zip(served, trained, strict=False)):
        if ours != theirs:
            return f"token {i} is {ours}, trained was {theirs}"
    return f"{len(served)} tokens, trained were {len(trained)}"
