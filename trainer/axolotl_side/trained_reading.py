"""Owns how the trained model reads conversations, in transformers. Runs inside Axolotl's environment, not ours.

    python -m trainer.axolotl_side.trained_reading MERGED_FOLDER OUT.npz < rows.jsonl

Reads chat rows whose last message is the answer; writes what `trainer.export.reading.Reading` holds.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def read(folder: Path, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Raises SystemExit when a conversation does not begin with its own prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    conversations, first, chosen, likely = [], [], [], []
    for row in rows:
        conversation = _conversation(tokenizer, row["messages"])
        conversations.append(conversation)
        prompt, answer = conversation["prompt"], [*conversation["answer"], *conversation["end"][:1]]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
        logs = torch.log_softmax(logits, dim=-1)
        first.append(logits[0].numpy())
        chosen.append(logits.argmax(dim=-1).numpy())
        likely.append(logs[torch.arange(len(answer)), torch.tensor(answer)].numpy())
    about = {"conversations": conversations, "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "vocabulary": model.config.vocab_size}
    return {"about": np.array(json.dumps(about)), "first": np.stack(first).astype(np.float32), "chosen": np.concatenate(chosen).astype(np.int32), "likely": np.concatenate(likely).astype(np.float32)}


def _conversation(tokenizer: Any, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Token ids of prompt, answer and what the template writes behind it, and the prompt's text."""
    text = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    before, answer, after = whole.rpartition(messages[-1]["content"])
    prompt = _ids(tokenizer, text)
    answered = _ids(tokenizer, before + answer)
    if answered[: len(prompt)] != prompt:
        raise SystemExit("the chat template writes another prompt in training than in use")
    return {"text": text, "prompt": prompt, "answer": answered[len(prompt) :], "end": _ids(tokenizer, after)}


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


if __name__ == "__main__":
    np.savez(sys.argv[2], **read(Path(sys.argv[1]), [json.loads(line) for line in sys.stdin]))  # type: ignore[arg-type]
