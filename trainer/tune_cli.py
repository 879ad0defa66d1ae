"""Owns the commands presets, plan-memory and finetune: arguments in, tables out. Knows nothing of how either is done."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from inference.model_store import default_model, file_sha256
from trainer.axolotl_config import axolotl_config, override, read_overrides
from trainer.errors import TrainerError, WrongSetting
from trainer.finetune import REPOSITORY, check_rows, check_settings, dequantise_base, finetune, tuned_by
from trainer.memory_plan import GB, advise, plan_memory
from trainer.presets import DEFAULT_PRESET, PRESETS, Preset, find_preset
from trainer.recipe import LoraRecipe, Machines, Method
from trainer.stage import digest, run_stage, sources_sha256

METHODS = get_args(Method)
BASE = REPOSITORY / ".stack" / "base"
"""The default preset's weights, dequantised from the GGUF that is served."""
PLAN_EXAMPLES = """\
examples:
  python -m trainer plan-memory --preset mistral-7b-v0.3 --method qlora --gpu-gb 16
  python -m trainer plan-memory --preset llama-3.2-3b --method lora --batch 4 --sequence-len 4096
  python -m trainer plan-memory --all --gpu-gb 24
"""
FINETUNE_EXAMPLES = """\
examples:
  python -m trainer finetune --data train.jsonl --out .stack/adapter          SmolLM2-135M, on the CPU
  python -m trainer finetune --preset llama-3.2-1b --device gpu --base /models/Llama-3.2-1B-Instruct --data train.jsonl --out .stack/llama
  python -m trainer finetune --preset mistral-7b-v0.3 --device gpu --method qlora --data train.jsonl --out .stack/mistral --set optimizer=paged_adamw_8bit
  python -m trainer finetune --preset llama-3.2-3b --device gpu --processes 4 --deepspeed 2 --data train.jsonl --out .stack/llama
  python -m trainer finetune --preset phi-3.5-mini --device gpu --data train.jsonl --out .stack/phi --check     only asks Axolotl's schema

Each row of --data is {"messages": [...]}; the loss is on the assistant's turns. A run that was ended goes on from its last whole checkpoint.
"""
MIB = 2**20

Commands = Any
Progress = Callable[[str], None]


def add_commands(commands: Commands, *, progress: Progress) -> None:
    listing = commands.add_parser("presets", help="the base models that can be trained")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    listing.set_defaults(run=_presets)

    plan = commands.add_parser("plan-memory", help="what a fine-tune will take of a GPU's memory", epilog=PLAN_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = plan.add_mutually_exclusive_group()
    which.add_argument("--preset", default=DEFAULT_PRESET, help="the base model (default: %(default)s; see presets)")
    which.add_argument("--all", action="store_true", help="every preset and method, each with its own recipe")
    plan.add_argument("--gpu-gb", type=_positive, default=16.0, help="the card's memory in GB of 10⁹ bytes (default: 16)")
    _add_recipe(plan)
    plan.add_argument("--json", action="store_true", help="print JSON instead of a table")
    plan.set_defaults(run=_plan)

    tune = commands.add_parser("finetune", help="train one adapter with Axolotl", epilog=FINETUNE_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    tune.add_argument("--preset", default=DEFAULT_PRESET, help="the base model (default: %(default)s; see presets)")
    tune.add_argument("--base", help="folder or Hugging Face id of its weights (default: the preset's id; for smollm2-135m the weights that are served)")
    tune.add_argument("--data", type=Path, required=True, help="chat rows to train on, JSON lines")
    tune.add_argument("--out", type=Path, required=True, help="folder for the adapter, its checkpoints and its log")
    tune.add_argument("--init", type=Path, help="go on from the adapter in this folder")
    _add_recipe(tune)
    tune.add_argument("--learning-rate", type=_positive, help="at its peak")
    tune.add_argument("--epochs", type=_positive, help="times that each row is seen")
    tune.add_argument("--seed", type=int, help="of the adapter's first weights")
    tune.add_argument("--device", choices=("cpu", "gpu"), help="default: the preset's")
    tune.add_argument("--processes", type=_natural, default=1, help="on each node, one per GPU (default: 1)")
    tune.add_argument("--nodes", type=_natural, default=1, help="machines; run the same command on each (default: 1)")
    tune.add_argument("--meeting", metavar="HOST:PORT", help="of the first node, when there are several")
    tune.add_argument("--deepspeed", type=int, choices=(1, 2, 3), help="ZeRO stage: share the optimiser, the gradients too, the weights too")
    tune.add_argument("--ray", action="store_true", help="start the processes through Ray Train instead of torchrun (GPUs only)")
    tune.add_argument("--override", type=Path, metavar="FILE", help="YAML with Axolotl settings that go over the preset's")
    tune.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="one such setting; may be repeated")
    tune.add_argument("--check", action="store_true", help="ask Axolotl's schema whether it takes the settings, and train nothing")
    tune.add_argument("--axolotl", type=Path, default=REPOSITORY / ".axolotl", help="Axolotl's environment (default: .axolotl)")
    tune.set_defaults(run=lambda options: _finetune(options, progress))


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", choices=METHODS, help="default: the one that suits the preset")
    parser.add_argument("--rank", type=_natural, help="of the adapter; alpha is twice that")
    parser.add_argument("--batch", type=_natural, help="rows at once")
    parser.add_argument("--accumulation", type=_natural, help="batches in one step")
    parser.add_argument("--sequence-len", type=_natural, help="tokens that a row may have")


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _recipe(preset: Preset, options: argparse.Namespace) -> LoraRecipe:
    words = ("rank", "batch", "accumulation", "sequence_len", "learning_rate", "epochs", "seed")
    given = {name: value for name in words if (value := getattr(options, name, None)) is not None}
    if "rank" in given:
        given["alpha"] = 2 * given["rank"]
    return preset.recipe(options.method).model_copy(update=given)


def _presets(options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps([preset.model_dump(mode="json") for preset in PRESETS.values()], indent=2))
        return
    table = Table()
    for column in ("preset", "base", "licence", "parameters", "first method", "on", "end of turn", "adapted layers"):
        table.add_column(column)
    for preset in PRESETS.values():
        linears = ", ".join(name.removesuffix("_proj") for name in preset.architecture.linears)
        table.add_row(
            preset.name, preset.hugging_face, preset.licence, f"{preset.architecture.parameters() / 1e6:,.0f} M", preset.recipe().method, preset.device, preset.end_of_turn.replace("[", "\\["), linears
        )
    _wide().print(table)


def _plan(options: argparse.Namespace) -> None:
    if options.all:
        _plan_all(options)
        return
    preset = find_preset(options.preset)
    recipe = _recipe(preset, options)
    found = _plan_facts(preset, recipe, options.gpu_gb)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    with_and_without = [plan_memory(preset, recipe.model_copy(update={"gradient_checkpointing": choice})) for choice in (True, False)]
    print(f"{preset.name}, {recipe.method}, rank {recipe.rank}, batch {recipe.batch} of {recipe.sequence_len} tokens: GB of a {options.gpu_gb:g} GB card, with activations recomputed or kept")
    table = Table()
    for column in ("part", "recomputed", "kept"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in vars(with_and_without[0]):
        table.add_row(part, *(f"{getattr(plan, part) / GB:.2f}" for plan in with_and_without))
    table.add_section()
    table.add_row("total", *(f"{plan.total / GB:.2f}" for plan in with_and_without))
    _wide().print(table)
    print("\n".join(_verdict(found)))


def _plan_facts(preset: Preset, recipe: LoraRecipe, gpu_gb: float) -> dict[str, Any]:
    plan, changes = plan_memory(preset, recipe), advise(preset, recipe, gpu_gb=gpu_gb)
    return {
        "preset": preset.name,
        "recipe": recipe.model_dump(mode="json"),
        "gpu_gb": gpu_gb,
        "fits": not changes and plan.total <= gpu_gb * GB,
        "total_gb": _gb(plan.total),
        "parts_gb": {part: _gb(value) for part, value in vars(plan).items()},
        "changes": [{"change": change.words, "total_gb": _gb(change.plan.total)} for change in changes],
    }


def _verdict(found: dict[str, Any]) -> list[str]:
    choice = "activations recomputed" if found["recipe"]["gradient_checkpointing"] else "activations kept"
    if found["fits"]:
        return [f"Fits ({choice}): {found['total_gb']:.1f} of {found['gpu_gb']:g} GB, {found['gpu_gb'] - found['total_gb']:.1f} GB to spare."]
    lines = [f"Does not fit ({choice}): {found['total_gb']:.1f} of {found['gpu_gb']:g} GB. Change, one after the other:"]
    lines += [f"  {change['change']}: {change['total_gb']:.1f} GB" for change in found["changes"]]
    if not found["changes"] or found["changes"][-1]["total_gb"] > found["gpu_gb"]:
        lines.append("  and that is not enough: take a larger card, a smaller preset, or several cards (finetune --processes N --deepspeed 3)")
    return lines


def _plan_all(options: argparse.Namespace) -> None:
    every = [
        _plan_facts(preset, recipe, options.gpu_gb) for preset in PRESETS.values() for method in METHODS for recipe in [_recipe(preset, argparse.Namespace(**{**vars(options), "method": method}))]
    ]
    if options.json:
        print(json.dumps(every, indent=2))
        return
    table = Table(title=f"A {options.gpu_gb:g} GB card, GB", title_justify="left")
    for column in ("preset", "method", "batch × tokens", "weights", "adapter + optimiser", "activations", "logits", "rest", "total", "fits", "what makes it fit"):
        table.add_column(column)
    for found in every:
        parts, recipe = found["parts_gb"], found["recipe"]
        trained = parts["adapter"] + parts["gradients"] + parts["optimiser"]
        numbers = (parts["weights"], trained, parts["activations"], parts["logits"], parts["working"] + parts["overhead"], found["total_gb"])
        enough = found["changes"] and found["changes"][-1]["total_gb"] <= found["gpu_gb"]
        change = "; ".join(change["change"] for change in found["changes"]) if enough else "nothing does" if found["changes"] or not found["fits"] else ""
        table.add_row(found["preset"], recipe["method"], f"{recipe['batch']} × {recipe['sequence_len']}", *(f"{number:.2f}" for number in numbers), "yes" if found["fits"] else "no", change)
    _wide().print(table)


def _finetune(options: argparse.Namespace, progress: Progress) -> None:
    preset = find_preset(options.preset)
    recipe, changes = _recipe(preset, options), read_overrides(options.override, options.settings)
    machines = _machines(preset, options)
    data, out = options.data.resolve(), options.out.resolve()
    if options.check:
        config = axolotl_config(recipe, base=options.base or preset.hugging_face, data=data, out=out, init=options.init, preset=preset, machines=machines)
        for change in changes:
            config = override(config, change)
        if fault := check_settings([(config, machines)], axolotl=options.axolotl)[0]:
            raise WrongSetting(f"Axolotl refuses the settings: {fault}")
        print(f"Axolotl takes the settings of {preset.name}, {recipe.method}, on the {machines.device}")
        return
    check_rows(data)
    if out.exists() and any(out.iterdir()) and not (out / "begun").exists():
        raise TrainerError(f"Cannot fine-tune into {out}: it holds files that no fine-tune made")
    base = _base(preset, options, progress)
    init = options.init.resolve() if options.init else None
    inputs = {
        **tuned_by(recipe, preset=preset, machines=machines, axolotl=options.axolotl),
        "base": _identity(base),
        "data": file_sha256(data),
        "init": _identity(init) if init else None,
        "changes": changes,
    }
    facts = run_stage(
        out,
        inputs,
        lambda folder: finetune(
            recipe,
            base=base,
            data=data,
            out=folder,
            axolotl=options.axolotl,
            progress=lambda step: progress(str(step)),
            say=progress,
            init=init,
            preset=preset,
            machines=machines,
            changes=changes,
        ),
        keep_partial=True,
    )
    size = (out / "adapter_model.safetensors").stat().st_size / MIB
    print(f"adapter: {out} ({size:.1f} MiB, {facts['steps']} steps, loss {facts['loss_first_10']} → {facts['loss_last_10']})")


def _machines(preset: Preset, options: argparse.Namespace) -> Machines:
    if options.nodes > 1 and not options.meeting and not options.ray:
        raise WrongSetting("Cannot start several nodes without a place where they meet: give --meeting HOST:PORT of the first")
    device = options.device or preset.device
    if options.ray and device == "cpu":
        raise WrongSetting("Cannot start workers through Ray without GPUs: Axolotl asks Ray for them (use --deepspeed, or --device gpu)")
    return Machines(device=device, processes=options.processes, nodes=options.nodes, meeting=options.meeting, zero=options.deepspeed, ray=options.ray)


def _base(preset: Preset, options: argparse.Namespace, progress: Progress) -> Path | str:
    """A folder that exists, or an id for Hugging Face; the default preset's weights are made from the model that is served."""
    if options.base:
        folder = Path(options.base)
        if not folder.exists() and (folder.is_absolute() or options.base.count("/") != 1):
            raise TrainerError(f"Cannot find the base in {options.base}: it is neither a folder nor a Hugging Face id")
        return folder.resolve() if folder.exists() else str(options.base)
    if preset.name != DEFAULT_PRESET:
        return preset.hugging_face
    gguf = default_model()
    run_stage(BASE, {"base_sha256": file_sha256(gguf), "code": sources_sha256("trainer.dequantise")}, lambda folder: dequantise_base(gguf, folder, axolotl=options.axolotl, progress=progress))
    return BASE


def _identity(base: Path | str) -> str:
    """Enough to tell one folder of weights from another without reading gigabytes: names, sizes, and the small files' bytes."""
    if isinstance(base, str):
        return base
    files = sorted(path for path in base.iterdir() if path.is_file() and path.suffix in {".json", ".safetensors"})
    return digest([[path.name, path.stat().st_size, file_sha256(path) if path.stat().st_size < MIB else ""] for path in files])


def _gb(value: float) -> float:
    return round(value / GB, 3)


def _wide() -> Console:
    return Console(width=max(Console().width, 170))
