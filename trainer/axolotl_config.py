"""Owns the settings of a fine-tune and writes them as Axolotl reads them. Knows nothing of data or of running."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from shared_schemas.closed import Closed
from trainer.errors import WrongSetting
from trainer.presets import DEFAULT_PRESET, PRESETS, Preset
from trainer.recipe import LoraRecipe, Machines, Zero

__all__ = ["AxolotlConfig", "LoraRecipe", "Rows", "axolotl_config", "override", "read_overrides", "write_axolotl_yaml", "zero_settings"]

Settings = dict[str, Any]


class Rows(Closed):
    """A file of chat rows. The loss is on the answers alone, their end of turn included."""

    path: str
    type: Literal["chat_template"] = "chat_template"
    field_messages: str = "messages"
    roles_to_train: tuple[str, ...] = ("assistant",)
    train_on_eos: Literal["turn"] = "turn"


class AxolotlConfig(Closed):
    """What we set of Axolotl's settings, under its own names; what is None is left to Axolotl."""

    base_model: str
    lora_model_dir: str | None
    datasets: tuple[Rows, ...]
    dataset_prepared_path: str
    output_dir: str
    plugins: tuple[str, ...]
    adapter: Literal["lora", "qlora"]
    load_in_4bit: bool | None
    lora_r: int
    lora_alpha: int
    lora_dropout: float = 0.0
    lora_target_modules: tuple[str, ...]
    lora_mlp_kernel: bool = False
    lora_qkv_kernel: bool = False
    lora_o_kernel: bool = False
    sequence_len: int
    sample_packing: bool = False
    pad_to_sequence_len: bool | None
    """False: a batch is as long as its longest row. Left to Axolotl, its length is rounded up to 64, which suits a GPU's tiles."""
    curriculum_sampling: bool = True
    shuffle_merged_datasets: bool = False
    micro_batch_size: int
    gradient_accumulation_steps: int
    num_epochs: float
    learning_rate: float
    lr_scheduler: str = "cosine"
    warmup_steps: int
    optimizer: str = "adamw_torch"
    bf16: bool | Literal["auto"]
    fp16: bool
    tf32: bool
    gradient_checkpointing: bool
    attn_implementation: str = "sdpa"
    logging_steps: int = 1
    save_steps: int
    save_total_limit: int = 2
    auto_resume_from_checkpoints: bool = True
    val_set_size: float = 0
    seed: int
    special_tokens: dict[str, str]
    eot_tokens: tuple[str, ...]
    deepspeed: str | None
    accelerator_config: dict[str, bool] | None
    use_ray: bool | None
    ray_num_workers: int | None
    resources_per_worker: dict[str, int] | None


def axolotl_config(recipe: LoraRecipe, *, base: Path | str, data: Path, out: Path, init: Path | None = None, preset: Preset = PRESETS[DEFAULT_PRESET], machines: Machines = Machines()) -> Settings:  # noqa: B008
    """Axolotl's settings for one adapter over all linear layers, loss on the answer only.

    Rows are taken in the order of the file (`curriculum_sampling`): the data stage has arranged them in batches.
    `base` is a folder or a Hugging Face id, `init` the folder of an adapter to go on from. Several processes without GPUs
    form their group before transformers does, which is then told to keep it. Raises WrongSetting for parts that do not go together.
    """
    if recipe.rounded_to and recipe.method == "qlora":
        raise WrongSetting("Cannot train a QLoRA adapter against Q4_0 rounding: its base is held in 4 bits of another kind (use --method lora)")
    gpu = machines.device == "gpu"
    plugins = ["trainer.axolotl_watch.Watch"]
    if not gpu:
        plugins.append("trainer.axolotl_plugin.CpuBfloat16")
    together = not gpu and machines.processes * machines.nodes > 1 and not machines.ray
    if recipe.rounded_to:
        plugins.append("trainer.quantisation_aware.Q4Aware")
    if together:
        plugins.append("trainer.axolotl_watch.CpuProcesses")
    config = AxolotlConfig(
        base_model=str(base),
        lora_model_dir=str(init) if init else None,
        datasets=(Rows(path=str(data)),),
        dataset_prepared_path=str(out / "prepared"),
        output_dir=str(out),
        plugins=tuple(plugins),
        adapter=recipe.method,
        load_in_4bit=True if recipe.method == "qlora" else None,
        lora_r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_target_modules=preset.architecture.linears,
        sequence_len=recipe.sequence_len,
        pad_to_sequence_len=None if gpu else False,
        micro_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulation,
        num_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.warmup_steps,
        bf16="auto" if gpu else False,
        fp16=False,
        tf32=False,
        gradient_checkpointing=recipe.gradient_checkpointing,
        save_steps=recipe.save_steps,
        seed=recipe.seed,
        special_tokens={**({"eos_token": preset.eos} if preset.eos else {}), "pad_token": preset.pad},
        eot_tokens=(preset.end_of_turn,),
        deepspeed=str(out / "zero.json") if machines.zero else None,
        accelerator_config={"use_configured_state": True} if together else None,
        use_ray=True if machines.ray else None,
        ray_num_workers=machines.processes * machines.nodes if machines.ray else None,
        resources_per_worker=({"GPU": 1} if gpu else {"CPU": 1}) if machines.ray else None,
    )
    return config.model_dump(mode="json", exclude_none=True)


def write_axolotl_yaml(path: Path, config: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False))


def zero_settings(stage: Zero) -> Settings:
    """DeepSpeed's own settings for a ZeRO stage; "auto" is filled in from Axolotl's by transformers."""
    sharding: Settings = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if stage == 3:
        sharding |= {"stage3_gather_16bit_weights_on_model_save": True, "stage3_param_persistence_threshold": "auto", "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto"}
    return {
        "zero_optimization": sharding,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def write_zero_json(path: Path, stage: Zero) -> None:
    path.write_text(json.dumps(zero_settings(stage), indent=2) + "\n")


OURS = ("output_dir", "dataset_prepared_path", "datasets", "plugins", "deepspeed", "use_ray")
"""Settings that a fine-tune here stands on."""


def override(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Settings:
    """The settings with changes over them: a mapping goes into a mapping, null removes, everything else replaces."""
    merged = dict(config)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = override(merged[key], value)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def read_overrides(file: Path | None, pairs: Sequence[str] = ()) -> list[Settings]:
    """Changes to put over the settings one after the other: those of a YAML file, then `key=value` words (`a.b=value` reaches into a mapping).

    Raises WrongSetting where one cannot be read, or would pull the ground from under the fine-tune.
    """
    changes = [_read_mapping(file)] if file is not None else []
    changes += [_read_pair(pair) for pair in pairs]
    for key in OURS:
        if any(key in change for change in changes):
            raise WrongSetting(f"Cannot override {key}: the fine-tune sets it itself")
    return changes


def _read_pair(pair: str) -> Settings:
    key, equals, text = pair.partition("=")
    if not equals or not all(key.split(".")):
        raise WrongSetting(f"Cannot read the setting {pair!r}: write it as key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise WrongSetting(f"Cannot read the setting {pair!r}: {text!r} is not YAML") from None
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _read_mapping(file: Path) -> Settings:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongSetting(f"Cannot read the overrides in {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongSetting(f"Cannot read the overrides in {file}: it is not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise WrongSetting(f"Cannot read the overrides in {file}{where}: {getattr(error, 'problem', None) or 'it is not YAML'}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise WrongSetting(f"Cannot read the overrides in {file}: it must be a YAML mapping of Axolotl's settings")
    return found
