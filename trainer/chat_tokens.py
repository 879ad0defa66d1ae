"""Owns the token ids that the trained model saw. Runs inside Axolotl's environment, not ours.

    python -m trainer.chat_tokens BASE_FOLDER < train.jsonl > ids.jsonl

Reads chat rows, writes for each the token ids of its prompt: all messages but the answer, up to where the answer begins.
"""

import json
import sys

from transformers import AutoTokenizer


def main() -> None:
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    for line in sys.stdin:
        prompt = json.loads(line)["messages"][:-1]
        text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        print(json.dumps(tokenizer(text, add_special_tokens=False)["input_ids"]))


if __name__ == "__main__":
    main()
