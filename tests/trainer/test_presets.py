"""Every preset has a shape that adds up, and settings that Axolotl's own schema takes."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from trainer.axolotl_config import axolotl_config, override, read_overrides, write_axolotl_yaml, write_zero_json, zero_settings
from trainer.cli import main
from trainer.errors import WrongPreset, WrongSetting
from trainer.finetune import check_settings, launch_words
from trainer.presets import PRESETS, find_preset
from trainer.recipe import LoraRecipe, Machines, Method

PUBLISHED = {"smollm2-135m": 134_515_008, "llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824, "mistral-7b-v0.3": 7_248_023_552, "phi-3.5-mini": 3_821_079_552}
"""Parameters, as the models' own cards and safetensors indices count them."""

METHODS: tuple[Method, ...] = ("lora", "qlora")
DEVICES: tuple[Literal["cpu", "gpu"], ...] = ("cpu", "gpu")


def settings(name: str = "smollm2-135m", method: Any = None, **machines: Any) -> dict[str, Any]:
    preset = PRESETS[name]
    return axolotl_config(preset.recipe(method), base="a/b", data=Path("train.jsonl"), out=Path("out"), preset=preset, machines=Machines(**machines))


def test_each_shape_adds_up_to_the_published_number_of_parameters() -> None:
    assert {name: preset.architecture.parameters() for name, preset in PRESETS.items()} == PUBLISHED


def test_an_unknown_preset_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WrongPreset, match=r"There is no preset 'gpt-5': the presets are smollm2-135m, llama-3\.2-1b"):
        find_preset("gpt-5")
    assert main(["plan-memory", "--preset", "gpt-5"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.axolotl
def test_axolotls_own_schema_takes_every_preset_method_and_machine(axolotl: Path, tmp_path: Path) -> None:
    for stage in (1, 2, 3):
        write_zero_json(tmp_path / f"{stage}.json", stage)
    kinds = [Machines(device=device, processes=2, zero=zero, ray=ray) for device in DEVICES for zero in (None, 1, 2, 3) for ray in (False, True)]
    kinds += [Machines(device=device) for device in DEVICES]
    wanted = [(preset, method, machines) for preset in PRESETS.values() for method in METHODS for machines in kinds]
    asked = []
    for preset, method, machines in wanted:
        config = axolotl_config(preset.recipe(method), base="a/b", data=Path("train.jsonl"), out=tmp_path, preset=preset, machines=machines)
        if machines.zero:
            write_zero_json(tmp_path / f"zero-{machines.zero}.json", machines.zero)
            config["deepspeed"] = str(tmp_path / f"zero-{machines.zero}.json")
        asked.append((config, machines))
    good = asked[0][0]
    bad = [({**good, "lora_rank": 8}, Machines()), ({**good, "num_epochs": "many"}, Machines())]
    *faults, unknown, wrong = check_settings([*asked, *bad], axolotl=axolotl)
    assert len(faults) == len(PRESETS) * 2 * 18
    assert [(case, fault) for case, fault in zip(wanted, faults, strict=True) if fault] == []
    assert unknown == "lora_rank: Axolotl knows no such setting"
    assert wrong.startswith("num_epochs: Input should be a valid number")


def test_phi_adapts_its_fused_matrices_and_each_preset_ends_its_own_turn() -> None:
    assert settings("phi-3.5-mini")["lora_target_modules"] == ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    assert {name: settings(name)["eot_tokens"] for name in PRESETS} == {
        "smollm2-135m": ["<|im_end|>"],
        "llama-3.2-1b": ["<|eot_id|>"],
        "llama-3.2-3b": ["<|eot_id|>"],
        "mistral-7b-v0.3": ["</s>"],
        "phi-3.5-mini": ["<|end|>"],
    }
    assert all(settings(name)["special_tokens"]["pad_token"] not in settings(name)["eot_tokens"] for name in PRESETS)


def test_qlora_holds_the_base_in_four_bits_and_a_gpu_computes_in_bfloat16() -> None:
    config = settings("mistral-7b-v0.3", "qlora", device="gpu")
    assert (config["adapter"], config["load_in_4bit"], config["bf16"]) == ("qlora", True, "auto")
    assert "load_in_4bit" not in settings("mistral-7b-v0.3", "lora", device="gpu")


def test_qlora_against_q4_0_rounding_is_refused() -> None:
    with pytest.raises(WrongSetting, match="Cannot train a QLoRA adapter against Q4_0 rounding"):
        axolotl_config(LoraRecipe(method="qlora", rounded_to="Q4_0"), base="b", data=Path("d"), out=Path("o"))


def test_several_processes_start_through_torchrun_or_ray() -> None:
    assert launch_words(Machines()) == ["--launcher", "python"]
    assert launch_words(Machines(processes=4, zero=2)) == ["--launcher", "torchrun", "--", "--nproc_per_node=4"]
    assert "--rdzv_endpoint=first:29500" in launch_words(Machines(processes=4, nodes=2, meeting="first:29500"))
    assert launch_words(Machines(processes=4, ray=True)) == []
    ray = settings(device="gpu", processes=4, nodes=2, ray=True)
    assert (ray["use_ray"], ray["ray_num_workers"], ray["resources_per_worker"]) == (True, 8, {"GPU": 1})
    assert [zero_settings(stage)["zero_optimization"]["stage"] for stage in (1, 2, 3)] == [1, 2, 3]


def test_overrides_go_over_the_settings_file_first(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("optimizer: adamw_8bit\nspecial_tokens: {pad_token: <unk>}\nseed: null\n")
    config = settings()
    for change in read_overrides(tmp_path / "mine.yaml", ["optimizer=paged_adamw_8bit", "special_tokens.bos_token=<s>", "learning_rate=0.0003"]):
        config = override(config, change)
    assert (config["optimizer"], config["learning_rate"]) == ("paged_adamw_8bit", 0.0003)
    assert config["special_tokens"] == {"eos_token": "<|im_end|>", "pad_token": "<unk>", "bos_token": "<s>"}
    assert "seed" not in config
    write_axolotl_yaml(tmp_path / "axolotl.yaml", config)
    assert yaml.safe_load((tmp_path / "axolotl.yaml").read_text()) == config


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        (b"a: 1\nb: [2\n", [], "line 3: "),
        (b"- a\n- b\n", [], "it must be a YAML mapping of Axolotl's settings"),
        (b"", [], "it must be a YAML mapping"),
        (b"\xff\xfe\x00", [], "it is not UTF-8 text"),
        (b"output_dir: /\n", [], "Cannot override output_dir: the fine-tune sets it itself"),
        (None, [], "No such file or directory"),
        (b"a: 1", ["rank"], "Cannot read the setting 'rank': write it as key=value"),
        (b"a: 1", ["a..b=1"], "write it as key=value"),
        (b"a: 1", ["a=[1"], r"'\[1' is not YAML"),
    ],
)
def test_a_broken_override_is_one_clear_line(tmp_path: Path, text: bytes | None, words: list[str], line: str) -> None:
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(WrongSetting, match=line) as caught:
        read_overrides(file, words)
    assert "\n" not in str(caught.value)


def test_the_presets_are_listed_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in PRESETS)
    assert main(["presets", "--json"]) == 0
    assert [preset["name"] for preset in json.loads(capsys.readouterr().out)] == list(PRESETS)
