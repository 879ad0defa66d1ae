"""Owns counting tokens as a base model counts them: its vocabulary and chat template, without its weights."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from inference.engine.chat import Chat
from inference.engine.llama import Llama
from inference.errors import StartError
from shared_schemas.feature import Message

END_OF_TURN = 2
"""What the template writes after an answer: the end mark and a line break."""


class Vocabulary(Llama):
    """A GGUF's vocabulary alone: milliseconds and megabytes where the weights take seconds and gigabytes. It decodes nothing."""

    def __init__(self, path: Path) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self.model: Any = llama_cpp.llama_model_load_from_file(str(path).encode(), params) if path.exists() else None
        if not self.model:
            raise StartError(f"Cannot read the vocabulary of {path}: {'it is no GGUF file' if path.exists() else 'it is not there'}")
        self.vocab: Any = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def close(self) -> None:
        llama_cpp.llama_model_free(self.model)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(_level: int, _text: bytes, _user_data: ctypes.c_void_p) -> None:
    """Nothing: what llama.cpp has to say about a vocabulary is one line of ours."""


class TokenCounter:
    """Counts what a conversation takes of the sequence length that a fine-tune has."""

    def __init__(self, model: Path) -> None:
        self._vocabulary = Vocabulary(model)
        self._chat = Chat(self._vocabulary)

    def count(self, messages: Sequence[Message], answer: str) -> tuple[int, int]:
        """Tokens of the prompt, up to where the answer begins, and of the answer with its end."""
        return len(self._chat.tokens(messages)), len(self._vocabulary.tokenize(answer, special=False)) + END_OF_TURN

    def close(self) -> None:
        self._vocabulary.close()
