"""Owns how a model reads conversations: the token ids it is told, and how likely it finds each token of the answers.

    python -m trainer.export.reading MODEL.gguf OUT.npz < rows.jsonl

The program reads with llama.cpp, as inference does, in a process of its own. `trainer.axolotl_side.trained_reading` writes
the same for Hugging Face weights. Knows nothing of what is a good reading.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from inference.engine.chat import Chat
from inference.engine.llama import Batch, Llama
from shared_schemas.feature import Message
from trainer.export.child import run_child
from trainer.format import Row

_THREADS = 2


@dataclass(frozen=True)
class Conversation:
    """Token ids. `end` is what the template writes behind an answer; of a GGUF, the token that ends a turn there, if one does.
    `text` is the prompt's."""

    text: str
    prompt: Sequence[int]
    answer: Sequence[int]
    end: Sequence[int]


@dataclass(frozen=True)
class Reading:
    """`first`: logits of each answer's first token, shape (conversations, vocabulary). Over the answers' tokens with the end
    of each: `chosen`, the likeliest token there, and `likely`, the log-probability of the token that stands there.
    `bos`, `eos`: of the vocabulary, None where it has none.
    """

    conversations: Sequence[Conversation]
    bos: int | None
    eos: int | None
    vocabulary: int
    first: NDArray[np.float32]
    chosen: NDArray[np.int32]
    likely: NDArray[np.float32]


def read_trained(merged: Path, rows: Sequence[Row], *, axolotl: Path) -> Reading:
    """How the Hugging Face model in a folder reads the rows. Raises StageFailed and MissingEnvironment."""
    return _run("trainer.axolotl_side.trained_reading", merged, rows, axolotl)


def read_served(gguf: Path, rows: Sequence[Row]) -> Reading:
    """How llama.cpp reads the rows with this file. Raises StageFailed, also when llama.cpp aborts."""
    return _run("trainer.export.reading", gguf, rows, None)


def _run(module: str, model: Path, rows: Sequence[Row], axolotl: Path | None) -> Reading:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "reading.npz"
        run_child(module, [model.resolve(), out], stdin="".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), axolotl=axolotl)
        with np.load(out) as found:
            about = json.loads(str(found["about"]))
            conversations = [Conversation(**conversation) for conversation in about.pop("conversations")]
            return Reading(conversations, **about, first=found["first"], chosen=found["chosen"], likely=found["likely"])


def _read(gguf: Path, rows: Sequence[Row]) -> Mapping[str, Any]:
    told = [([Message(turn["role"], turn["content"]) for turn in row["messages"][:-1]], row["messages"][-1]["content"]) for row in rows]  # type: ignore[arg-type]
    llama = Llama(gguf, adapter_path=None, n_cells=_cells(rows), n_seats=1, n_threads=_THREADS)
    try:
        chat = Chat(llama)
        conversations, first, chosen, likely = [], [], [], []
        for messages, text in told:
            prompt, answer = chat.tokens(messages), llama.tokenize(text, special=False)
            ends = _end(llama, chat.tokens([*messages, Message("assistant", text)]), [*prompt, *answer])
            conversations.append({"text": llama.detokenize(prompt).decode("utf-8", "replace"), "prompt": prompt, "answer": answer, "end": ends})
            logits = _answer_logits(llama, prompt, [*answer, *ends])
            logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
            first.append(logits[0])
            chosen.append(logits.argmax(axis=1))
            likely.append(logs[np.arange(len(logits)), [*answer, *ends]])
        bos, eos = (None if token < 0 else token for token in (llama_cpp.llama_vocab_bos(llama.vocab), llama_cpp.llama_vocab_eos(llama.vocab)))
        about = {"conversations": conversations, "bos": bos, "eos": eos, "vocabulary": llama.n_vocab}
    finally:
        llama.close()
    return {"about": np.array(json.dumps(about)), "first": np.stack(first), "chosen": np.concatenate(chosen).astype(np.int32), "likely": np.concatenate(likely)}


def _end(llama: Llama, conversation: Sequence[int], answered: Sequence[int]) -> list[int]:
    """The token that the template writes behind an answer, if generation stops at it."""
    behind = conversation[len(answered) : len(answered) + 1] if conversation[: len(answered)] == answered else [llama_cpp.llama_vocab_eos(llama.vocab)]
    return [token for token in behind if token in llama.vocabulary.ends]


def _answer_logits(llama: Llama, prompt: Sequence[int], answer: Sequence[int]) -> NDArray[np.float32]:
    """The logits that each token of the answer is drawn from, shape (len(answer), vocabulary)."""
    tokens, begin = [*prompt, *answer][:-1], len(prompt) - 1
    batch, rows = Batch(llama.n_batch), []
    llama.forget_all()
    for at in range(0, len(tokens), llama.n_batch):
        piece = tokens[at : at + llama.n_batch]
        batch.clear()
        batch.add(0, at, piece, [i for i in range(len(piece)) if at + i >= begin])
        rows.append(llama.decode(batch).copy())
    return np.concatenate(rows)


def _cells(rows: Sequence[Row]) -> int:
    """As many as the longest conversation can need: no token is shorter than a byte; templates take some more."""
    longest = max(sum(len(turn["content"].encode()) for turn in row["messages"]) for row in rows)
    return min(longest + 256, 8192)


if __name__ == "__main__":
    np.savez(sys.argv[2], **_read(Path(sys.argv[1]), [json.loads(line) for line in sys.stdin]))
