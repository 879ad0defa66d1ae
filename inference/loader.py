"""Owns making a model ready to answer: from a name to a folder, to checked files, to memory, to an engine.

Blocking: meant for a thread. One load at a time. Knows nothing of traffic.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from inference.answers import Answers
from inference.engine.llama import Weights
from inference.errors import CannotServe, StartError, UnknownModel
from inference.memory import MIB, context_bytes, free_bytes
from inference.model_store import ModelFiles, find_model, model_in
from inference.predict import Predictor
from inference.remote import Remote
from inference.settings import Settings

START = "@start"
"""The name of the model that the settings name; no folder has it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Loader:
    """Makes models for one service. Those over the same file share its weights."""

    def __init__(self, settings: Settings, *, free: Callable[[], int] = free_bytes) -> None:
        self._settings = settings
        self._free = free
        self._weights: dict[str, Weights] = {}
        self._contexts: dict[Predictor, int] = {}

    def load(self, name: str) -> Answers:
        """The model in the folder of that name under MODEL_FOLDER, or the settings' own. Raises StartError, UnknownModel and CannotServe."""
        if name != START:
            return self._load(model_in(self._folder(name), self._settings))
        if self._settings.remote_url is not None:
            return Remote(self._settings)
        return self._load(find_model(self._settings))

    def check_budget(self) -> None:
        """Raises StartError when the machine has less than MEMORY_MB."""
        budget, free = self._settings.memory_mb, self._free() // MIB
        if budget is not None and free < budget:
            raise StartError(f"Cannot keep to MEMORY_MB={budget}: the machine has {free} MiB free")

    def _folder(self, name: str) -> Path:
        root = self._settings.model_folder
        if root is None:
            raise CannotServe("Cannot load a model: MODEL_FOLDER is not set")
        if not _NAME.fullmatch(name):
            raise UnknownModel(f"Cannot load {name!r}: that is no name of a folder")
        top, folder = root.resolve(), (root / name).resolve()
        if not folder.is_dir():
            raise UnknownModel(f"Cannot load {name!r}: MODEL_FOLDER has no such folder")
        for path in (folder, *(path.resolve() for path in folder.iterdir())):
            if not path.is_relative_to(top):
                raise UnknownModel(f"Cannot load {name!r}: it leads out of MODEL_FOLDER")
        return folder

    def _load(self, files: ModelFiles) -> Predictor:
        settings = self._settings
        context = context_bytes(files.weights, files.runtime_adapter, n_cells=settings.context_tokens)
        self._check_memory(files, context)
        weights = self._shared(files)
        try:
            threads = settings.threads or os.cpu_count() or 1
            predictor = Predictor(files, n_ctx=settings.context_tokens, n_threads=threads, parallel=settings.parallel, waiting=settings.queue_limit, weights=weights)
        finally:
            weights.let_go()
        self._contexts[predictor] = context
        return predictor

    def _check_memory(self, files: ModelFiles, context: int) -> None:
        """Raises StartError when the machine or the budget has too little for one more model."""
        self._contexts = {predictor: size for predictor, size in self._contexts.items() if not predictor.llama.is_closed}
        self._weights = {sha256: weights for sha256, weights in self._weights.items() if weights.model}
        wanted = context + (0 if str(files.weights_sha256) in self._weights else files.weights.stat().st_size)
        free = self._free()
        if wanted > free:
            raise StartError(f"Cannot load {files.version.name!r}: it wants about {wanted // MIB} MiB, the machine has {free // MIB} MiB free (lower CONTEXT_TOKENS, or unload a model)")
        taken = sum(self._contexts.values()) + sum(weights.path.stat().st_size for weights in self._weights.values())
        if self._settings.memory_mb is not None and taken + wanted > self._settings.memory_mb * MIB:
            raise StartError(f"Cannot load {files.version.name!r}: it wants about {wanted // MIB} MiB, {taken // MIB} of MEMORY_MB={self._settings.memory_mb} are taken")

    def _shared(self, files: ModelFiles) -> Weights:
        """The weights of that file, held: those that are loaded already, where they are."""
        known = self._weights.get(str(files.weights_sha256))
        if known is not None and known.hold():
            return known
        weights = self._weights[str(files.weights_sha256)] = Weights(files.weights)
        weights.hold()
        return weights
