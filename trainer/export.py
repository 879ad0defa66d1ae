"""Owns turning a trained adapter into the file that is served, and proof that llama.cpp reads what was trained.

The converter is llama.cpp's own. Knows nothing of data or verdicts.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.model_store import file_sha256
from inference.predict import Predictor
from shared_schemas.example import Example
from shared_schemas.features import FEATURES
from trainer.errors import MissingEnvironment, ParityFailed, StageFailed
from trainer.finetune import REPOSITORY, Progress, axolotl_environment, run_process
from trainer.format import format_conversations

MAX_ADAPTER_BYTES = 5_000_000
PATH_KEYS = (
    *(f"general.{what}.{key}" for what in ("base_model", "dataset") for key in ("count", "0.name", "0.repo_url")),
    "general.tags",
)
"""Where the converter writes the folders of the machine that trained: nobody else's business."""


def export_adapter(adapter: Path, base: Path, out: Path, *, axolotl: Path, progress: Progress) -> dict[str, Any]:
    """Write `out`/adapter.gguf at f16. Raises StageFailed when it is larger than 5 MB."""
    converter = axolotl / "llama.cpp" / "convert_lora_to_gguf.py"
    if not converter.exists():
        raise MissingEnvironment(f"Cannot find llama.cpp's converter at {converter}: run scripts/setup-axolotl first")
    converted, gguf, log = out / "converted.gguf", out / "adapter.gguf", out / "export.log"
    command = ["python", str(converter), "--base", str(base), "--outtype", "f16", "--outfile", str(converted), str(adapter)]
    run_process(command, axolotl=axolotl, log=log, progress=lambda _line: None)
    removals = [word for key in PATH_KEYS for word in ("--remove-metadata", key)]
    run_process(["gguf-new-metadata", *removals, "--force", str(converted), str(gguf)], axolotl=axolotl, log=log, progress=lambda _line: None)
    converted.unlink()
    size = gguf.stat().st_size
    progress(f"export: {size / 1e6:.1f} MB")
    if size > MAX_ADAPTER_BYTES:
        raise StageFailed(f"The adapter has {size} bytes, more than {MAX_ADAPTER_BYTES}: choose a smaller rank")
    return {"bytes": size, "sha256": file_sha256(gguf)}


def check_tokens(predictor: Predictor, base: Path, examples: Sequence[Example], *, axolotl: Path) -> dict[str, Any]:
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
            raise ParityFailed(f"llama.cpp reads other tokens than were trained: {first_difference(served, json.loads(line))}, in the prompt for {example.prompt_input.title!r}")
    return {"prompts": len(examples), "equal": len(examples)}


def first_difference(served: Sequence[int], trained: Sequence[int]) -> str:
    for i, (ours, theirs) in enumerate(zip(served, trained, strict=False)):
        if ours != theirs:
            return f"token {i} is {ours}, trained was {theirs}"
    return f"{len(served)} tokens, trained were {len(trained)}"
