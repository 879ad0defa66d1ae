"""Owns one llama.cpp model with its context: load, tokenise, decode steps of many sequences, read logits.

Knows nothing of chat, grammars or JSON. One thread owns the context.
"""

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from inference.engine.opened import opened
from inference.errors import InferenceError, StartError

_LOG_LEVEL_ERROR = 4
"""`GGML_LOG_LEVEL_ERROR` of ggml.h; the binding does not export it."""

_log_lines: list[str] = []

_one_at_a_time = threading.RLock()
"""Held while contexts are made and closed: llama.cpp keeps all adapters of a model in one list that it does not guard."""


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _collect_log(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
    """Keep llama.cpp's last errors for our own one-line message instead of printing pages of log."""
    if level == _LOG_LEVEL_ERROR:
        _log_lines.append(text.decode("utf-8", "replace").strip())
        del _log_lines[:-5]


@dataclass(frozen=True)
class Vocabulary:
    """`pieces`: each token's bytes (control tokens: their name); `ends`: tokens that end an answer."""

    pieces: list[bytes]
    ends: frozenset[int]


class Batch:
    """Tokens of one step, whatever their sequences. Holds the arrays that llama.cpp reads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self.rows = 0
        self._token = np.zeros(size, np.int32)
        self._position = np.zeros(size, np.int32)
        self._seat = np.zeros(size, np.int32)
        self._seats_each = np.ones(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        self._seat_addresses = np.array(self._seat.ctypes.data + 4 * np.arange(size), np.uintp)
        self.struct = llama_cpp.llama_batch(
            0,
            self._token.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token)),
            None,
            self._position.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_pos)),
            self._seats_each.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            self._seat_addresses.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(llama_cpp.llama_seq_id))),
            self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self.used = self.rows = 0

    def add(self, seat: int, position: int, tokens: Sequence[int], rows: Sequence[int]) -> None:
        """Tokens of the sequence in `seat`, from `position` on; `rows` are the places whose logits are wanted."""
        here = slice(self.used, self.used + len(tokens))
        self._token[here] = tokens
        self._position[here] = np.arange(position, position + len(tokens))
        self._seat[here] = seat
        self._wanted[here] = 0
        self._wanted[self.used + np.asarray(rows, np.intp)] = 1
        self.used += len(tokens)
        self.rows += len(rows)
        self.struct.n_tokens = self.used


class Weights:
    """A loaded model file of `size` bytes, of that hash if one is given. It stays loaded when the file is deleted.

    Every context made over it holds it; the last one to let go frees it.
    """

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        llama_cpp.llama_log_set(_collect_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.path = path
        self.size = 0
        self.model: Any = None
        self.holders = 0
        try:
            with opened(path, sha256) as file:
                self.size = file.stat().st_size
                self.model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
                if not self.model:
                    raise StartError(f"Cannot load the model {path}: {_last_error().replace(str(file), str(path))}")
        except StartError:
            if self.model:
                llama_cpp.llama_model_free(self.model)
            raise

    @cached_property
    def vocabulary(self) -> Vocabulary:
        vocab: Any = llama_cpp.llama_model_get_vocab(self.model)
        tokens = range(llama_cpp.llama_vocab_n_tokens(vocab))
        return Vocabulary([_piece(vocab, token) for token in tokens], frozenset(token for token in tokens if llama_cpp.llama_vocab_is_eog(vocab, token)))

    def hold(self) -> bool:
        """Keep it loaded; False when it is freed already."""
        with _one_at_a_time:
            self.holders += bool(self.model)
            return bool(self.model)

    def let_go(self) -> None:
        with _one_at_a_time:
            self.holders -= 1
            if self.holders == 0:
                llama_cpp.llama_model_free(self.model)
                self.model = None


class Llama:
    """A model with one context of `n_cells` tokens, shared by up to `n_seats` sequences. `n_vocab` tokens.

    Several may be made over the same `Weights`, each with an adapter of its own, and work at the same time. The hashes are what the
    files must have; None: whatever they have.
    """

    def __init__(
        self, model: Path | Weights, *, adapter_path: Path | None, n_cells: int, n_seats: int, n_threads: int, n_batch: int = 512, sha256: str | None = None, adapter_sha256: str | None = None
    ) -> None:
        weights = model if isinstance(model, Weights) else Weights(model, sha256)
        if not weights.hold():
            raise StartError(f"Cannot use the model {weights.path}: it has been freed")
        self.weights = weights
        self.model: Any = weights.model
        self._context: Any = None
        self._adapter: Any = None
        try:
            with _one_at_a_time:
                self._open(adapter_path, adapter_sha256, n_cells, n_seats, n_threads, n_batch)
        except BaseException:
            self.close()
            raise

    def _open(self, adapter_path: Path | None, adapter_sha256: str | None, n_cells: int, n_seats: int, n_threads: int, n_batch: int) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = n_cells, n_seats, True
        params.n_batch = params.n_ubatch = min(n_batch, n_cells)
        params.n_threads = params.n_threads_batch = n_threads
        self._context = llama_cpp.llama_init_from_model(self.model, params)
        if not self._context:
            raise StartError(f"Cannot make a context of {n_cells} tokens for {self.weights.path}: {_last_error()}")
        if adapter_path is not None:
            self._apply_adapter(adapter_path, adapter_sha256)
        self._memory: Any = llama_cpp.llama_get_memory(self._context)
        self.vocab: Any = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.n_cells, self.n_seats, self.n_batch = n_cells, n_seats, int(params.n_batch)
        self.can_trim = not (llama_cpp.llama_model_is_recurrent(self.model) or llama_cpp.llama_model_is_hybrid(self.model))
        """Whether a sequence's last tokens can be taken back: without it nothing can be guessed or reused."""
        self.vocabulary = self.weights.vocabulary

    def _apply_adapter(self, path: Path, sha256: str | None) -> None:
        with opened(path, sha256) as file:
            self._adapter = llama_cpp.llama_adapter_lora_init(self.model, str(file).encode())
        if not self._adapter:
            raise StartError(f"Cannot load the adapter {path}: {_last_error()}")
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(self._adapter)
        if llama_cpp.llama_set_adapters_lora(self._context, adapters, 1, (ctypes.c_float * 1)(1.0)):
            raise StartError(f"Cannot apply the adapter {path}: {_last_error()}")
        self._warm_up()

    def _warm_up(self) -> None:
        """One token: only now does llama.cpp plan its memory, for which it walks through the model's adapters.

        On one thread: the loading thread must not get OpenMP workers of its own (`Engine` says why).
        """
        batch, n_threads = Batch(1), llama_cpp.llama_n_threads(self._context)
        batch.add(0, 0, [0], [])
        llama_cpp.llama_set_n_threads(self._context, 1, 1)
        if llama_cpp.llama_decode(self._context, batch.struct):
            raise StartError(f"Cannot use the adapter: {_last_error()}")
        llama_cpp.llama_set_n_threads(self._context, n_threads, n_threads)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    @property
    def is_closed(self) -> bool:
        return self._context is None

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; with `special` false, `<|im_end|>` typed by a user stays text. May be called from any thread."""
        data = text.encode()
        size = len(data) + 8
        ids = (llama_cpp.llama_token * size)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), ids, size, False, special)
        if count < 0:
            raise InferenceError(f"Cannot tokenise {len(data)} bytes: {-count} tokens do not fit {size}")
        return list(ids[:count])

    def piece(self, token: int) -> bytes:
        return self.vocabulary.pieces[token]

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.vocabulary.pieces[token] for token in tokens)

    def begin_of_text(self) -> list[int]:
        """The token that the model wants before everything else, if it wants one."""
        return [llama_cpp.llama_vocab_bos(self.vocab)] if llama_cpp.llama_vocab_get_add_bos(self.vocab) else []

    def end_text(self) -> str:
        """What the model's end token is written as in a chat template; empty when it has none."""
        end = llama_cpp.llama_vocab_eos(self.vocab)
        return _piece(self.vocab, end).decode("utf-8", "replace") if end >= 0 else ""

    def chat_template(self) -> str | None:
        template = llama_cpp.llama_model_chat_template(self.model, None)
        return template.decode() if template else None

    def special_text(self, token: int) -> str:
        return self.piece(token).decode("utf-8", "replace")

    def share(self, source: int, target: int, length: int) -> None:
        """Let the sequence in `target` begin with the first `length` tokens of the one in `source`: nothing is computed."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def forget(self, seat: int, position: int = 0) -> None:
        """Drop what the sequence in `seat` holds at and after `position`."""
        llama_cpp.llama_memory_seq_rm(self._memory, seat, position, -1)

    def held(self, seat: int) -> int:
        """How many tokens of the sequence in `seat` are in memory."""
        return 1 + int(llama_cpp.llama_memory_seq_pos_max(self._memory, seat))

    def forget_all(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, True)

    def decode(self, batch: Batch) -> NDArray[np.float32]:
        """Feed a batch; the logits of its wanted rows in order, shape (rows, n_vocab), valid until the next call."""
        status = llama_cpp.llama_decode(self._context, batch.struct)
        if status:
            raise InferenceError(f"llama.cpp could not decode {batch.used} tokens: status {status}")
        if batch.rows == 0:
            return np.empty((0, self.n_vocab), np.float32)
        logits = llama_cpp.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, shape=(batch.rows, self.n_vocab))

    def close(self) -> None:
        """Free the context, and the weights when nobody else holds them."""
        with _one_at_a_time:
            if self._context:
                llama_cpp.llama_free(self._context)
            if self._adapter:
                llama_cpp.llama_adapter_lora_free(self._adapter)
            self._context = self._adapter = None
            self.weights.let_go()


def _piece(vocab: Any, token: int) -> bytes:
    buffer = ctypes.create_string_buffer(256)
    count = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
    return buffer.raw[: max(0, count)]


def _last_error() -> str:
    return "; ".join(_log_lines[-2:]) or "llama.cpp gave no reason"
