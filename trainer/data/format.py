"""Owns the dataset's files: chat messages (Axolotl), Alpaca, ShareGPT and Parquet of each split.

Knows nothing of training. Every answer is checked once more, and a conversation that is longer than the sequence is
listed and left out whole, never cut.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import shared_schemas
from inference.model_store import default_model, file_sha256
from shared_schemas.feature import PromptStyle
from shared_schemas.features import FEATURES
from trainer import format as conversations
from trainer.axolotl_config import LoraRecipe
from trainer.data import tokens
from trainer.data.row import Row, read_rows, written_whole
from trainer.data.split import SPLITS
from trainer.data.tokens import TokenCounter
from trainer.errors import BrokenRows
from trainer.format import conversation
from trainer.stage import digest, facts_before, run_stage, sources_sha256

TOO_LONG = "too_long.jsonl"
BIN = 16
"""Tokens a bar of the length histogram."""
BATCH = 1000
"""Rows of a Parquet row group: what is in memory at a time."""

Messages = list[dict[str, str]]
PARQUET = pa.schema(
    [("id", pa.string()), ("feature", pa.string()), ("origin", pa.string()), ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))), ("tokens", pa.int32())]
)


@dataclass(frozen=True)
class FormatOptions:
    """`sequence_len`: the fine-tune's, in tokens. `model`: the GGUF whose tokenizer counts (default: the served base)."""

    feature: str
    style: PromptStyle = "terse"
    sequence_len: int = LoraRecipe().sequence_len
    model: Path | None = None
    progress: Callable[[str], None] = lambda _: None


def run(previous: Path, folder: Path, options: FormatOptions) -> dict[str, Any]:
    """Facts: dataset_id (the hash of all of it), rows, tokens and too long ones of each split, sha256 of each file."""
    model = options.model or default_model()
    inputs = {
        "splits": facts_before(previous, "format").get("sha256"),
        "options": [options.feature, options.style, options.sequence_len],
        "tokenizer": file_sha256(model),
        "code": sources_sha256(shared_schemas, conversations, tokens, sys.modules[__name__]),
    }
    return run_stage(folder, inputs, lambda folder: _make(previous, folder, model, options))


def _make(previous: Path, folder: Path, model: Path, options: FormatOptions) -> dict[str, Any]:
    counter = TokenCounter(model)
    try:
        with written_whole(folder / TOO_LONG) as too_long:
            splits = {split: _split(previous / f"{split}.jsonl", folder, split, counter, too_long, options) for split in SPLITS}
    finally:
        counter.close()
    files = {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.suffix in {".jsonl", ".parquet"}}
    dataset_id = digest({"feature": options.feature, **{name: sha256 for name, sha256 in files.items() if name.startswith("chat/")}})
    return {"dataset_id": dataset_id, "splits": splits, "sequence_len": options.sequence_len, "style": options.style, "sha256": files}


def _split(rows: Path, folder: Path, split: str, counter: TokenCounter, too_long: Any, options: FormatOptions) -> dict[str, Any]:
    lengths: Counter[int] = Counter()
    left_out = answer_tokens = 0
    for name in ("chat", "alpaca", "sharegpt", "parquet"):
        (folder / name).mkdir(exist_ok=True)
    with ExitStack() as stack:
        chat, alpaca, sharegpt = (stack.enter_context(written_whole(folder / name / f"{split}.jsonl")) for name in ("chat", "alpaca", "sharegpt"))
        parquet = stack.enter_context(pq.ParquetWriter(folder / "parquet" / f"{split}.parquet", PARQUET))
        batch: list[dict[str, Any]] = []
        for row, messages in _conversations(rows, options):
            about = FEATURES[row.feature].messages(row.prompt_input, options.style)
            tokens = counter.count(about, messages[-1]["content"])
            if sum(tokens) > options.sequence_len:
                left_out += 1
                too_long.write(strict({"id": row.id, "split": split, "tokens": sum(tokens)}) + "\n")
                continue
            lengths[sum(tokens)] += 1
            answer_tokens += tokens[1]
            chat.write(strict({"messages": messages}) + "\n")
            alpaca.write(strict(as_alpaca(messages)) + "\n")
            sharegpt.write(strict(as_sharegpt(messages)) + "\n")
            batch.append({"id": row.id, "feature": row.feature, "origin": row.origin, "messages": messages, "tokens": sum(tokens)})
            if len(batch) == BATCH:
                parquet.write_table(pa.Table.from_pylist(batch, PARQUET))
                batch.clear()
                options.progress(f"format {split}: {lengths.total()} rows")
        parquet.write_table(pa.Table.from_pylist(batch, PARQUET))
    return {"rows": lengths.total(), "too_long": left_out, "answer_tokens": answer_tokens, **_lengths(lengths)}


def _conversations(rows: Path, options: FormatOptions) -> Iterator[tuple[Row, Messages]]:
    for row in read_rows(rows):
        messages = conversation(row, options.style)["messages"]
        answer = FEATURES[row.feature].read_answer(messages[-1]["content"], options.style)
        faults = FEATURES[row.feature].reject(row.prompt_input, answer)
        if faults or FEATURES[row.feature].answer(answer, options.style) != messages[-1]["content"]:
            raise BrokenRows(f"Cannot format {row.id[:12]} of {rows}: {faults[0] if faults else 'its answer is not what it says'} (clean again)")
        yield row, messages


def as_alpaca(messages: Messages) -> dict[str, str]:
    system, user, assistant = (message["content"] for message in messages)
    return {"instruction": system, "input": user, "output": assistant}


def as_sharegpt(messages: Messages) -> dict[str, Messages]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[message["role"]], "value": message["content"]} for message in messages]}


def strict(value: Any) -> str:
    """JSON that every reader takes: no NaN, one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _lengths(lengths: Counter[int]) -> dict[str, Any]:
    """Tokens of all conversations, median, 95th percentile and longest one, and a histogram by lower edge."""
    bars: Counter[int] = Counter()
    at = {"p50": 0, "p95": 0, "longest": max(lengths, default=0)}
    seen = 0
    for length in sorted(lengths):
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            if seen <= share * lengths.total() < seen + lengths[length]:
                at[name] = length
        seen += lengths[length]
        bars[BIN * (length // BIN)] += lengths[length]
    return {"tokens": sum(length * count for length, count in lengths.items()), **at, "histogram": {str(edge): bars[edge] for edge in sorted(bars)}}
