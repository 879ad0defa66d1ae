"""Owns one llama.cpp model with its context: load, tokenise, decode, read logits.

Knows nothing of chat, grammars or JSON. Not thread-safe: one thread owns it.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from inference.errors import InferenceError, StartError

_GGUF_MAGIC = b"GGUF"
_LOG_LEVEL_ERROR = 4
"""`GGML_LOG_LEVEL_ERROR` of ggml.h; the binding does not export it."""

_log_lines: list[str] = []


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _collect_log(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
    """Keep llama.cpp's last errors for our own one-line message instead of printing pages of log."""
    if level == _LOG_LEVEL_ERROR:
        _log_lines.append(text.decode("utf-8", "replace").strip())
        del _log_lines[:-5]


class Llama:
    """A loaded model. `n_vocab` tokens; the context holds `n_ctx` of them, in one sequence."""

    def __init__(self, model_path: Path, *, adapter_path: Path | None, n_ctx: int, n_threads: int) -> None:
        _check_gguf(model_path)
        llama_cpp.llama_log_set(_collect_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        self._model: Any = llama_cpp.llama_model_load_from_file(str(model_path).encode(), model_params)
        if not self._model:
            raise StartError(f"Cannot load the model {model_path}: {_last_error()}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = min(512, n_ctx)
        params.n_threads = params.n_threads_batch = n_threads
        self._context: Any = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise StartError(f"Cannot make a context of {n_ctx} tokens for {model_path}: {_last_error()}")
        if adapter_path is not None:
            self._apply_adapter(adapter_path)
        self._memory: Any = llama_cpp.llama_get_memory(self._context)
        self.vocab: Any = llama_cpp.llama_model_get_vocab(self._model)
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.n_ctx = n_ctx
        self._n_batch: int = params.n_batch

    def _apply_adapter(self, path: Path) -> None:
        _check_gguf(path)
        adapter: Any = llama_cpp.llama_adapter_lora_init(self._model, str(path).encode())
        if not adapter:
            raise StartError(f"Cannot load the adapter {path}: {_last_error()}")
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
        if llama_cpp.llama_set_adapters_lora(self._context, adapters, 1, (ctypes.c_float * 1)(1.0)):
            raise StartError(f"Cannot apply the adapter {path}: {_last_error()}")

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; with `special` false, `<|im_end|>` typed by a user stays text."""
        data = text.encode()
        size = len(data) + 8
        ids = (llama_cpp.llama_token * size)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, size, False, special)
        if count < 0:
            raise InferenceError(f"Cannot tokenise {len(data)} bytes: {-count} tokens do not fit {size}")
        return list(ids[:count])

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        pieces = []
        for token in tokens:
            count = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
            pieces.append(buffer.raw[: max(0, count)])
        return b"".join(pieces)

    def begin_of_text(self) -> list[int]:
        """The token that the model wants before everything else, if it wants one."""
        return [llama_cpp.llama_vocab_bos(self.vocab)] if llama_cpp.llama_vocab_get_add_bos(self.vocab) else []

    def chat_template(self) -> str | None:
        template = llama_cpp.llama_model_chat_template(self._model, None)
        return template.decode() if template else None

    def special_text(self, token: int) -> str:
        return self.detokenize([token]).decode("utf-8", "replace")

    def forget_from(self, position: int) -> int:
        """Drop what the context holds at and after `position`; how much is left: a recurrent model can only forget all."""
        if llama_cpp.llama_memory_seq_rm(self._memory, 0, position, -1):
            return position
        llama_cpp.llama_memory_clear(self._memory, True)
        return 0

    def decode(self, tokens: Sequence[int], check: Callable[[], None] = lambda: None) -> NDArray[np.float32]:
        """Append tokens to the context; the logits after the last one, shape (n_vocab,), valid until the next call.

        `check` is called before each batch of 512 and may raise to stop.
        """
        for start in range(0, len(tokens), self._n_batch):
            check()
            chunk = tokens[start : start + self._n_batch]
            array = (llama_cpp.llama_token * len(chunk))(*chunk)
            status = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(chunk)))
            if status:
                raise InferenceError(f"llama.cpp could not decode {len(chunk)} tokens: status {status}")
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(logits, shape=(self.n_vocab,))

    def close(self) -> None:
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)


def _check_gguf(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise StartError(f"Cannot read the model {path}: {error.strerror}") from None
    if magic != _GGUF_MAGIC:
        raise StartError(f"Cannot use {path}: it is not a GGUF file (it begins with {magic!r})")


def _last_error() -> str:
    return "; ".join(_log_lines[-2:]) or "llama.cpp gave no reason"
