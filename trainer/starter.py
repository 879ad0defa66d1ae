"""Owns the first pass of the learning loop, top to bottom: data, weights, fine-tune, export, check, verdict.

A template teacher's examples make one small adapter for both features, so that what answers is a tuned model and not noise.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared_schemas.closed import Closed
from shared_schemas.example import Example
from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from trainer.axolotl_config import LoraRecipe
from trainer.finetune import Progress, dequantise_base, finetune
from trainer.format import format_conversations
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples
from trainer.split import split_kinds
from trainer.stage import run_stage, sha256
from trainer.task_titles import KINDS


class StarterOptions(Closed):
    """What decides the starter adapter: the same options give the same data, byte for byte."""

    risk: int = 1000
    plan: int = 1300
    held_out: int = 150
    seed: int = 20261122
    recipe: LoraRecipe = LoraRecipe()


def make_data(options: StarterOptions, folder: Path) -> dict[str, Any]:
    """Write train.jsonl (Axolotl's rows) and held_out.jsonl (examples), about disjoint subjects."""
    folder.mkdir(parents=True, exist_ok=True)
    train_kinds, held_out_kinds = split_kinds(KINDS)
    seed = options.seed
    train = risk_examples(options.risk, train_kinds, seed=seed) + plan_examples(options.plan, train_kinds, seed=seed + 1)
    held_out = risk_examples(options.held_out, held_out_kinds, seed=seed + 2) + plan_examples(options.held_out, held_out_kinds, seed=seed + 3)
    check_examples([*train, *held_out])
    random.Random(seed).shuffle(train)
    write_lines(folder / "train.jsonl", [json.dumps(row, ensure_ascii=False) for row in format_conversations(train, "tag")])
    write_lines(folder / "held_out.jsonl", [compact_json(example) for example in held_out])
    return {
        "train": {"rows": len(train), "sha256": sha256(folder / "train.jsonl")},
        "held_out": {"rows": len(held_out), "sha256": sha256(folder / "held_out.jsonl")},
    }


def check_examples(examples: Sequence[Example]) -> None:
    """Refuse to train on an answer that the feature itself would reject."""
    for example in examples:
        faults = FEATURES[example.feature].reject(example.prompt_input, example.output)
        if faults:
            raise ValueError(f"The teacher wrote an unacceptable answer: {faults[0]}")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def train_adapter(options: StarterOptions, *, base_gguf: Path, work: Path, axolotl: Path, progress: Progress) -> dict[str, Any]:
    """Data, trainable weights and the fine-tune; each stage is skipped when it is done. Returns their facts."""
    data = make_data(options, work / "data")
    progress(f"data: {data['train']['rows']} training rows, {data['held_out']['rows']} held out")
    base = {"base_sha256": sha256(base_gguf)}
    run_stage(work / "base", base, lambda folder: dequantise_base(base_gguf, folder, axolotl=axolotl, progress=progress))
    progress("base: weights ready")
    tune = run_stage(
        work / "adapter",
        {**base, "data": data["train"]["sha256"], "recipe": options.recipe.model_dump()},
        lambda folder: finetune(options.recipe, base=work / "base", data=work / "data" / "train.jsonl", out=folder, axolotl=axolotl, progress=progress),
        keep_partial=True,
    )
    return {"data": data, "finetune": tune}
