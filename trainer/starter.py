"""Owns the first pass of the learning loop, top to bottom: data, weights, fine-tune, export, check, verdict.

A template teacher's examples make one small adapter for both features, so that what answers is a tuned model and not noise.
"""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.model_store import ModelFiles, file_sha256
from inference.predict import Predictor
from shared_schemas.closed import Closed
from shared_schemas.example import Example
from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion
from trainer.axolotl_config import LoraRecipe
from trainer.evaluate import evaluate
from trainer.export import PATH_KEYS, check_tokens, export_adapter
from trainer.finetune import Progress, dequantise_base, finetune, package_versions
from trainer.format import format_conversations
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples
from trainer.split import split_kinds
from trainer.stage import run_stage, write_json
from trainer.task_titles import KINDS

PHRASES = 300
"""Answers of each feature that are shipped with the model: the engine guesses from them."""
MODEL_NAME = "smollm2-135m-starter-2"
CONTEXT_TOKENS = 6144


class StarterOptions(Closed):
    """What decides the starter adapter: the same options give the same data, byte for byte."""

    risk: int = 1100
    plan: int = 1500
    held_out: int = 60
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
    train = in_batches(train, options.recipe.batch, random.Random(seed))
    write_lines(folder / "train.jsonl", [json.dumps(row, ensure_ascii=False) for row in format_conversations(train, "tag")])
    write_lines(folder / "held_out.jsonl", [compact_json(example) for example in held_out])
    return {
        "train": {"rows": len(train), "sha256": file_sha256(folder / "train.jsonl")},
        "held_out": {"rows": len(held_out), "sha256": file_sha256(folder / "held_out.jsonl")},
    }


def in_batches(examples: Sequence[Example], batch: int, rng: random.Random) -> list[Example]:
    """The examples in training order: each batch holds one feature's answers of like length, and features take turns by chance.

    Like length saves the padding; turns keep a model from forgetting one feature while it sees the other.
    """
    batches: list[list[Example]] = []
    for feature in FEATURES:
        mine = [example for example in examples if example.feature == feature]
        rng.shuffle(mine)
        for start in range(0, len(mine), 8 * batch):
            near = sorted(mine[start : start + 8 * batch], key=lambda example: len(compact_json(example)))
            batches += [near[i : i + batch] for i in range(0, len(near), batch)]
    whole = [some for some in batches if len(some) == batch]
    rng.shuffle(whole)
    return [example for some in [*whole, *(some for some in batches if len(some) < batch)] for example in some]


def check_examples(examples: Sequence[Example]) -> None:
    """Refuse to train on an answer that the feature itself would reject."""
    for example in examples:
        faults = FEATURES[example.feature].reject(example.prompt_input, example.output)
        if faults:
            raise ValueError(f"The teacher wrote an unacceptable answer: {faults[0]}")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def run_starter(options: StarterOptions, *, base_gguf: Path, work: Path, axolotl: Path, publish: Path, init: Path | None, progress: Progress) -> dict[str, Any]:
    """The whole pass. Each stage is skipped when it is done; a killed run goes on where it was. Returns the manifest."""
    data = make_data(options, work / "data")
    progress(f"data: {data['train']['rows']} training rows, {data['held_out']['rows']} held out")
    base = {"base_sha256": file_sha256(base_gguf)}
    run_stage(work / "base", base, lambda folder: dequantise_base(base_gguf, folder, axolotl=axolotl, progress=progress))
    progress("base: weights ready")
    begun = {"init_sha256": file_sha256(init / "adapter_model.safetensors")} if init else {}
    tuned = run_stage(
        work / "adapter",
        {**base, **begun, "data": data["train"]["sha256"], "recipe": options.recipe.model_dump()},
        lambda folder: finetune(
            options.recipe, base=work / "base", data=work / "data" / "train.jsonl", out=folder, init=init, axolotl=axolotl, progress=lambda step: progress(str(step)), say=progress
        ),
        keep_partial=True,
    )
    weights = work / "adapter" / "adapter_model.safetensors"
    exported = run_stage(
        work / "export", {"weights": file_sha256(weights), "without": list(PATH_KEYS)}, lambda folder: export_adapter(work / "adapter", work / "base", folder, axolotl=axolotl, progress=progress)
    )
    version = ModelVersion(name=MODEL_NAME, base_sha256=base["base_sha256"], adapter_sha256=exported["sha256"], prompt_style="tag")
    held_out = read_examples(work / "data" / "held_out.jsonl")
    judged = run_stage(
        work / "evaluation",
        {"model": version.model_dump(), "held_out": data["held_out"]["sha256"]},
        lambda _folder: _judge(ModelFiles(base_gguf, work / "export" / "adapter.gguf", version), held_out, work / "base", axolotl, progress),
    )
    manifest = {
        "model": version.model_dump(),
        "licence": "Apache-2.0 (base: SmolLM2-135M-Instruct)",
        "options": options.model_dump(),
        "data": {"origin": "template", **data},
        "finetune": {**begun, **tuned},
        "adapter_bytes": exported["bytes"],
        **judged,
        "versions": package_versions(axolotl),
    }
    _publish(work / "export" / "adapter.gguf", manifest, publish)
    write_phrases(work / "data" / "train.jsonl", publish / "phrases.txt")
    progress(f"published: {publish}")
    return manifest


def _judge(files: ModelFiles, held_out: Sequence[Example], base: Path, axolotl: Path, progress: Progress) -> dict[str, Any]:
    predictor = Predictor(files, n_ctx=CONTEXT_TOKENS, n_threads=2)
    try:
        parity = check_tokens(predictor, base, held_out, axolotl=axolotl)
        progress(f"parity: the token ids of {parity['equal']} prompts are equal")
        return {"parity": parity, "held_out": evaluate(predictor, held_out, progress=progress)}
    finally:
        predictor.close()


def _publish(adapter: Path, manifest: dict[str, Any], folder: Path) -> None:
    """The adapter first, its manifest last. A run killed in between leaves a pair that inference refuses; the next run mends it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "adapter.gguf.part"
    shutil.copyfile(adapter, partial)
    if file_sha256(partial) != manifest["model"]["adapter_sha256"]:
        raise OSError(f"Cannot publish {adapter}: the copy differs")
    partial.replace(folder / "adapter.gguf")
    write_json(folder / "manifest.json", manifest)


def write_phrases(train: Path, target: Path) -> None:
    """The first answers of each feature, one a line behind the feature's name and a tab."""
    seen = dict.fromkeys(FEATURES, 0)
    lines = []
    for row in train.read_text(encoding="utf-8").splitlines():
        messages = json.loads(row)["messages"]
        name, answer = messages[0]["content"], messages[-1]["content"]
        seen[name] += 1
        if seen[name] <= PHRASES:
            lines.append(f"{name}\t{answer}")
    write_lines(target, lines)


def read_examples(path: Path) -> list[Example]:
    return [Example.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
