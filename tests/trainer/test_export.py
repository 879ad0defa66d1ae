"""A model is served only when its file says what was trained; what is wrong with one that does not is told by name."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from inference.model_store import file_sha256
from tests.trainer.tiny_gguf import TEMPLATE, patch, write_tiny
from trainer.cli import main
from trainer.errors import ParityFailed, StageFailed
from trainer.export import PATH_KEYS
from trainer.export.choose import Margin, choose_quantisation
from trainer.export.metadata import rewrite
from trainer.export.parity import Fault, FileParity, Interval, Parity, Tolerance, Written, check_file, check_parity
from trainer.export.quantise import parse, quantise
from trainer.export.reading import Reading, read_served
from trainer.export.speed import Speed, measure
from trainer.format import Row

LOOSE = Tolerance(f16_kl=1e-4, f16_agreement=0.99, quantised_kl=0.5, quantised_agreement=0.7)
"""A model of random weights is of two minds about each token: rounding changes more of them than in a trained one."""


def rows(count: int = 3) -> list[Row]:
    said = [("system", "risk"), ("user", '{"title":"Paint the fence"}'), ("assistant", '{"risk_level":"low"}')]
    return [{"messages": [{"role": role, "content": f"{text}{' ' * i}" if role == "user" else text} for role, text in said]} for i in range(count)]


def written(path: Path) -> Written:
    """The file with a manifest that agrees with it."""
    return Written(path=path, sha256=file_sha256(path), bytes=path.stat().st_size)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """f16.gguf and its Q8_0.gguf."""
    folder = tmp_path_factory.mktemp("export")
    quantise(write_tiny(folder / "f16.gguf"), folder / "Q8_0.gguf", "Q8_0")
    return folder


@pytest.fixture(scope="module")
def trained(places: Path) -> Reading:
    return read_served(places / "f16.gguf", rows())


def flipped(path: Path) -> None:
    """One high bit among the weights."""
    content = bytearray(path.read_bytes())
    content[-1500] ^= 0x40
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def test_a_sound_file_passes_and_bad_ones_are_refused_by_name(places: Path, trained: Reading, tmp_path: Path) -> None:
    q8 = places / "Q8_0.gguf"
    copies = {name: Path(shutil.copy(q8, tmp_path / f"{name}.gguf")) for name in ("flipped", "cut", "flipped, new manifest", "cut, new manifest")}
    flipped(copies["flipped"])
    flipped(copies["flipped, new manifest"])
    cut(copies["cut"])
    cut(copies["cut, new manifest"])
    other = write_tiny(tmp_path / "other.gguf", seed=1)
    sound = written(q8)
    files = {
        "Q8_0": sound,
        "f16": written(places / "f16.gguf"),
        **{name: sound.model_copy(update={"path": path}) if "new manifest" not in name else written(path) for name, path in copies.items()},
        "swapped": sound.model_copy(update={"path": other}),
        "swapped, new manifest": written(other),
        "another shape": written(write_tiny(tmp_path / "wide.gguf", width=96)),
        "gone": sound.model_copy(update={"path": tmp_path / "nowhere.gguf"}),
    }
    lines: list[str] = []
    scores = {"f16": [1.0, 0.5, 0.9], "Q8_0": [1.0, 0.5, 0.8]}
    parity = check_parity(trained, files, rows(), tolerance=LOOSE, judge=lambda path: {"score": scores[path.stem]}, progress=lines.append)
    assert {name: file.fault.name if file.fault else None for name, file in parity.files.items()} == {
        "f16": None,
        "Q8_0": None,
        "flipped": "wrong_hash",
        "cut": "truncated",
        "flipped, new manifest": "damaged_weights",
        "cut, new manifest": "not_a_gguf",
        "swapped": "wrong_hash",
        "swapped, new manifest": "other_model",
        "another shape": "other_model",
        "gone": "truncated",
    }
    assert not parity.passed
    assert "flipped: wrong_hash" in lines[2]
    q8_0, f16 = parity.files["Q8_0"], parity.files["f16"]
    assert f16.kl == pytest.approx(0, abs=1e-6)
    assert (f16.agreement, f16.ratio) == (1, 1)
    assert q8_0.kl is not None
    assert 0 < q8_0.kl < 0.5
    assert q8_0.differences["score"].low <= -0.03 <= q8_0.differences["score"].high <= 0
    assert Parity.model_validate_json(parity.model_dump_json()) == parity


def no_markup(path: Path) -> None:
    rewrite(path, path, facts={"tokenizer.chat_template": TEMPLATE.replace("<|im_start|>", "### ")})


def other_eos(path: Path) -> None:
    patch(path, "tokenizer.ggml.eos_token_id", (0).to_bytes(4, "little"))


def second_bos(path: Path) -> None:
    patch(path, "tokenizer.ggml.add_bos_token", b"\x01")


def other_bos(path: Path) -> None:
    patch(path, "tokenizer.ggml.bos_token_id", (2).to_bytes(4, "little"))


def other_letters(path: Path) -> None:
    """Two letters of the vocabulary change places: the same text, other tokens."""
    content = path.read_bytes()
    a, b = ((1).to_bytes(8, "little") + letter for letter in (b"a", b"b"))
    path.write_bytes(content.replace(a + b, b + a, 1))


def sentencepiece(path: Path) -> None:
    """What the converter makes of a tokenizer that transformers read from a GGUF: llama.cpp aborts on it."""
    rewrite(path, path, facts={"tokenizer.ggml.model": "llama"})


@pytest.mark.parametrize(
    ("harm", "name", "found"),
    [
        (no_markup, "wrong_template", "the prompt reads '### system"),
        (other_eos, "missing_end_of_turn", "its EOS is token 0, trained was 2"),
        (second_bos, "wrong_bos", "prompts begin with 2 BOS tokens, trained was 1"),
        (other_bos, "wrong_bos", "its BOS is token 2, trained was 1"),
        (other_letters, "wrong_tokens", "trained was"),
        (sentencepiece, "cannot_run", "reading was ended by SIGABRT"),
    ],
)
def test_a_file_that_is_told_other_tokens_is_refused_by_name(places: Path, trained: Reading, tmp_path: Path, harm: Callable[[Path], None], name: str, found: str) -> None:
    path = Path(shutil.copy(places / "f16.gguf", tmp_path / "f16.gguf"))
    harm(path)
    parity = check_parity(trained, {"f16": written(path), "Q8_0": written(places / "Q8_0.gguf")}, rows())
    fault = parity.files["f16"].fault
    assert fault
    assert (fault.name, list(parity.files)) == (name, ["f16"])
    assert found in fault.found
    with pytest.raises(ParityFailed, match=f"^Cannot serve f16: {name}: "):
        parity.require()


def test_a_model_whose_training_had_no_end_of_turn_is_refused(places: Path, trained: Reading) -> None:
    endless = dataclasses.replace(trained, conversations=[dataclasses.replace(one, end=[]) for one in trained.conversations])
    fault = check_parity(endless, {"f16": written(places / "f16.gguf")}, rows()).files["f16"].fault
    assert fault
    assert fault == Fault(name="missing_end_of_turn", found="the trained template writes nothing behind an answer: such a model never stops")


def test_weights_that_answer_otherwise_are_refused(places: Path, trained: Reading) -> None:
    astray = dataclasses.replace(trained, first=trained.first[:, ::-1])
    fault = check_parity(astray, {"f16": written(places / "f16.gguf")}, rows()).files["f16"].fault
    assert fault
    assert fault.name == "other_answers"


def test_a_file_is_hashed_before_anything_is_read_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no model at all")
    monkeypatch.setattr("mmap.mmap", None)
    fault = check_file(Written(path=path, sha256="0" * 64, bytes=15))
    assert fault
    assert fault.name == "wrong_hash"


def test_metadata_names_no_folder_and_carries_its_lineage(places: Path, tmp_path: Path) -> None:
    marked = tmp_path / "marked.gguf"
    rewrite(places / "f16.gguf", marked, facts={"general.base_model.0.name": "/home/someone", "general.tags": ["x"]})
    target = tmp_path / "model.gguf"
    rewrite(marked, target, facts={"talentops.run": "7", "talentops.datasets": ["ab", "cd"], "talentops.prompt_versions": []})
    fields = gguf.GGUFReader(target).fields
    assert not set(fields) & set(PATH_KEYS)
    assert (fields["talentops.run"].contents(), fields["talentops.datasets"].contents()) == ("7", ["ab", "cd"])
    assert "talentops.prompt_versions" not in fields
    assert fields["general.license"].contents() == "apache-2.0"


def test_quantising_is_repeatable_and_says_what_it_is(places: Path, tmp_path: Path) -> None:
    quantise(places / "f16.gguf", tmp_path / "mix.gguf", "Q4_0+ffn_down=Q8_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "mix.gguf").tensors}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.ffn_up.weight"]) == ("Q8_0", "Q4_0")
    assert gguf.GGUFReader(tmp_path / "mix.gguf").fields["talentops.quantisation"].contents() == "Q4_0+ffn_down=Q8_0"
    quantise(places / "f16.gguf", tmp_path / "again.gguf", "Q8_0")
    assert (tmp_path / "again.gguf").read_bytes() == (places / "Q8_0.gguf").read_bytes()


@pytest.mark.parametrize("name", ["Q9_9", "", "Q4_0+ffn_down", "Q4_0+ffn_down=Q9", "Q8_0; rm"])
def test_an_unknown_quantisation_is_one_clear_line(name: str) -> None:
    with pytest.raises(StageFailed, match=r"Cannot quantise to .*: known are Q8_0"):
        parse(name)


def test_a_file_that_cannot_be_quantised_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(StageFailed, match=r"quantise ended with 1: llama.cpp could not quantise"):
        quantise(tmp_path / "bad.gguf", tmp_path / "out.gguf", "Q8_0")


def test_speeds_are_measured_through_the_engine(places: Path) -> None:
    speeds = measure({"Q8_0": places / "Q8_0.gguf"}, rounds=1)
    assert min(speeds["Q8_0"].prefill, speeds["Q8_0"].decode) > 0


def parity_of(ratio: float, *, difference: tuple[float, float] = (-0.1, 0.1), fault: Fault | None = None) -> FileParity:
    low, high = difference
    return FileParity(sha256="0" * 64, bytes=1, fault=fault, ratio=ratio, kl=0, differences={"score": Interval(mean=(low + high) / 2, low=low, high=high)})


FILES = {"f16": parity_of(1), "Q8_0": parity_of(1.001), "Q4_K_M": parity_of(1.029), "Q4_0": parity_of(1.2)}
SPEEDS = {"f16": Speed(prefill=300, decode=60), "Q8_0": Speed(prefill=790, decode=150), "Q4_K_M": Speed(prefill=780, decode=170), "Q4_0": Speed(prefill=1290, decode=191)}


@pytest.mark.parametrize(
    ("change", "margin", "chosen", "why"),
    [
        ({}, Margin(), "Q4_K_M", {"Q4_0": "perplexity is 1.200 times"}),
        ({}, Margin(ratio=1.25), "Q4_0", {}),
        ({}, Margin(ratio=1.0), "f16", {"Q8_0": "perplexity is 1.001 times"}),
        ({"Q4_K_M": parity_of(1.02, difference=(-0.3, -0.1))}, Margin(), "Q8_0", {"Q4_K_M": r"score is worse than f16's by 0.200 (95 % interval 0.100 to 0.300)"}),
        ({"Q4_K_M": parity_of(1.02, fault=Fault(name="damaged_weights", found="x"))}, Margin(), "Q8_0", {"Q4_K_M": "damaged_weights: x"}),
        ({}, Margin(prompt=4000, answer=1), "Q8_0", {}),
        ({"Q5_0": parity_of(1.01)}, Margin(), "Q4_K_M", {"Q5_0": "its speed was not measured"}),
    ],
    ids=["default", "wide margin", "no margin", "worse at the task", "refused by the gate", "long prompts", "not measured"],
)
def test_the_fastest_within_the_margin_is_chosen(change: dict[str, FileParity], margin: Margin, chosen: str, why: dict[str, str]) -> None:
    choice = choose_quantisation({**FILES, **change}, SPEEDS, margin)
    assert choice.chosen == chosen
    for name, reason in why.items():
        assert next(row.refused for row in choice.table if row.quantisation == name).startswith(reason)


def test_nothing_is_chosen_where_f16_itself_was_refused() -> None:
    with pytest.raises(ValueError, match="no file passed"):
        choose_quantisation({"f16": parity_of(1, fault=Fault(name="wrong_bos", found="x"))}, SPEEDS)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "Cannot read .*: it is not there"), ("", "Cannot prove a model on .*: it is empty"), ("{}\n", "Cannot read line 1 of "), ("x\n", "Cannot read line 1 of ")],
    ids=["no file", "empty", "no examples", "no JSON"],
)
def test_bad_examples_are_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "held_out.jsonl").write_text(content)
    assert main(["export", "--adapter", str(tmp_path), "--base", str(tmp_path), "--out", str(tmp_path / "out"), "--held-out", str(tmp_path / "held_out.jsonl")]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.match(words, lines[0])
