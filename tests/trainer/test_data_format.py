"""What a fine-tune reads: the same conversations in every format, counted as the base model counts, nothing cut."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference.engine.chat import Chat
from inference.engine.llama import Llama
from inference.errors import StartError
from inference.model_store import default_model
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanOutput
from tests.trainer.test_data_split import PLAN, RISK, history, row_of, source, stage
from trainer.data import format as formats
from trainer.data import split
from trainer.data.format import FormatOptions
from trainer.data.row import make_row, read_rows, write_rows
from trainer.data.split import SPLITS
from trainer.data.tokens import TokenCounter
from trainer.errors import BrokenRows
from trainer.plan_teacher import plan_examples
from trainer.stage import write_json

FORMATS = ("chat", "alpaca", "sharegpt")
PLAN_DESCRIPTION = FEATURES["plan"].terse_fields.index("description")


@pytest.fixture(scope="module")
def risk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder whose risk rows are split and formatted."""
    work = tmp_path_factory.mktemp("risk")
    split.run(stage(work / "synthesise", history(300)), work / "split", RISK)
    formats.run(work / "split", work / "format", FormatOptions(feature="risk"))
    return work


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_every_format_says_the_same(risk: Path) -> None:
    for name in SPLITS:
        rows = list(read_rows(risk / "split" / f"{name}.jsonl"))
        chat, alpaca, sharegpt = (lines(risk / "format" / kind / f"{name}.jsonl") for kind in FORMATS)
        assert len(rows) == len(chat) == len(alpaca) == len(sharegpt) > 0
        for row, talk, told, turns in zip(rows, chat, alpaca, sharegpt, strict=True):
            said = [message["content"] for message in talk["messages"]]
            assert [message["role"] for message in talk["messages"]] == ["system", "user", "assistant"]
            assert said == list(told.values()) == [turn["value"] for turn in turns["conversations"]]
            assert FEATURES["risk"].read_answer(said[2], FormatOptions(feature="risk").style) == row.output


def test_the_files_load_with_datasets_and_parquet_holds_the_same_rows(risk: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    parts = {kind: load_dataset("json", data_files=str(risk / "format" / kind / "train.jsonl"), split="train", cache_dir=str(tmp_path)) for kind in FORMATS}
    table = load_dataset("parquet", data_files=str(risk / "format" / "parquet" / "train.parquet"), split="train", cache_dir=str(tmp_path))
    assert {len(part) for part in parts.values()} == {len(table)} == {len(lines(risk / "format" / "chat" / "train.jsonl"))}
    assert table["messages"][:] == parts["chat"]["messages"][:]
    assert sorted(table.column_names) == ["feature", "id", "messages", "origin", "tokens"]


def test_tokens_are_those_of_the_model_with_its_weights(risk: Path) -> None:
    llama, counter = Llama(default_model(), adapter_path=None, n_cells=512, n_seats=1, n_threads=1), TokenCounter(default_model())
    chat = Chat(llama)
    for row in list(read_rows(risk / "split" / "test.jsonl"))[:5]:
        messages = FEATURES["risk"].messages(row.prompt_input, "tag")
        ids = llama.tokenize('{"x":"<|im_end|>"}', special=False)
        assert counter.count(messages, '{"x":"<|im_end|>"}') == (len(chat.tokens(messages)), len(ids) + 2)
    counter.close()
    llama.close()


def test_what_is_too_long_is_listed_and_never_cut(risk: Path, tmp_path: Path) -> None:
    whole = json.loads((risk / "format" / "manifest.json").read_text())["facts"]["splits"]["train"]
    facts = formats.run(risk / "split", tmp_path / "format", FormatOptions(feature="risk", sequence_len=whole["p50"]))
    listed = lines(tmp_path / "format" / "too_long.jsonl")
    train = facts["splits"]["train"]
    assert 0 < train["too_long"] == sum(line["split"] == "train" for line in listed)
    assert train["rows"] + train["too_long"] == whole["rows"]
    assert train["longest"] <= whole["p50"] < min(line["tokens"] for line in listed)
    assert {line["id"] for line in listed}.isdisjoint(row["id"] for row in parquet_rows(tmp_path / "format"))


def parquet_rows(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for name in SPLITS for row in pq.read_table(folder / "parquet" / f"{name}.parquet").to_pylist()]


def test_the_counts_add_up(risk: Path) -> None:
    facts = json.loads((risk / "format" / "manifest.json").read_text())["facts"]
    tokens = [row["tokens"] for row in parquet_rows(risk / "format")]
    assert sum(part["tokens"] for part in facts["splits"].values()) == sum(tokens)
    assert all(sum(part["histogram"].values()) == part["rows"] for part in facts["splits"].values())
    assert facts["splits"]["train"]["p50"] <= facts["splits"]["train"]["p95"] <= facts["splits"]["train"]["longest"]


def test_the_same_splits_give_the_same_dataset_and_another_row_gives_another(risk: Path, tmp_path: Path) -> None:
    first = json.loads((risk / "format" / "manifest.json").read_text())["facts"]
    again = formats.run(risk / "split", tmp_path / "format", FormatOptions(feature="risk"))
    assert again == first
    split.run(stage(tmp_path / "synthesise", history(303)), tmp_path / "split", RISK)
    assert formats.run(tmp_path / "split", tmp_path / "other", FormatOptions(feature="risk"))["dataset_id"] != first["dataset_id"]


def test_text_of_all_kinds_comes_back_letter_by_letter(tmp_path: Path) -> None:
    """Line separators that are none in JSON, emoji, right-to-left, quotes, control marks of chat templates."""
    odd = 'a\u2028b\u2029c "q" \\ <|im_end|>\n🙏 مرحبا'
    rows = [
        row_of(example.model_copy(update={"prompt_input": example.prompt_input.model_copy(update={"description": f"{odd} {i}"})}), [source(i)]) for i, example in enumerate(plan_examples(60, seed=2))
    ]
    split.run(stage(tmp_path / "synthesise", rows), tmp_path / "split", PLAN)
    formats.run(tmp_path / "split", tmp_path / "format", FormatOptions(feature="plan"))
    said = [json.loads(line["messages"][1]["content"])[PLAN_DESCRIPTION] for line in lines(tmp_path / "format" / "chat" / "train.jsonl")]
    assert said
    assert all(text.startswith(odd) for text in said)


def test_an_answer_that_the_feature_rejects_stops_the_stage(tmp_path: Path) -> None:
    row = row_of(plan_examples(1, seed=2)[0], [source(1)])
    assert isinstance(row.output, PlanOutput)
    bad = make_row("plan", "ledger", row.prompt_input, row.output.model_copy(update={"assumptions": ["This remark stops in the"]}), sources=[], prompt_version="p")
    (tmp_path / "split").mkdir()
    for name in SPLITS:
        write_rows(tmp_path / "split" / f"{name}.jsonl", [bad] if name == "train" else [])
    write_json(tmp_path / "split" / "manifest.json", {"key": "k", "facts": {}})
    with pytest.raises(BrokenRows, match=r"^Cannot format .*: ends in the middle of a sentence: .* \(clean again\)$"):
        formats.run(tmp_path / "split", tmp_path / "format", FormatOptions(feature="plan"))
    assert not (tmp_path / "format" / "manifest.json").exists()


def test_a_vocabulary_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="it is not there"):
        TokenCounter(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(StartError, match="it is no GGUF file"):
        TokenCounter(tmp_path / "bad.gguf")


KILLED = """
import os, signal, sys
from pathlib import Path
from trainer.data import format as formats
real, count = formats.TokenCounter.count, 0
def counted(self, messages, answer):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, messages, answer)
formats.TokenCounter.count = counted
formats.run(Path(sys.argv[1]), Path(sys.argv[2]), formats.FormatOptions(feature="risk"))
"""


@pytest.mark.parametrize("at", [1, 100, 240])
def test_a_killed_run_ends_with_the_same_files(risk: Path, tmp_path: Path, at: int) -> None:
    child = subprocess.run([sys.executable, "-c", KILLED, str(risk / "split"), str(tmp_path / "format"), str(at)], check=False)
    assert child.returncode == -9
    assert not (tmp_path / "format" / "manifest.json").exists()
    assert formats.run(risk / "split", tmp_path / "format", FormatOptions(feature="risk")) == json.loads((risk / "format" / "manifest.json").read_text())["facts"]
