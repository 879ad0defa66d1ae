"""Owns making a model ready to answer: from a name to a folder, to checked files, to memory, to an engine.

Blocking: meant for a thread. One load at a time. Knows nothing of traffic.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from weakref import WeakKeyDictionary

from inference import artifacts
from inference.answers import Answers
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
        self._made: WeakKeyDictionary[Predictor, int] = WeakKeyDictionary()

    def load(self, name: str) -> Answers:
        """The model in the folder of that name under MODEL_FOLDER (fetched from ARTIFACT_STORE where it is not there yet), or the settings' own.

        Raises StartError, UnknownModel and CannotServe.
        """
        if name != START:
            folder = self._folder(name)
            artifacts.check_files(folder)
            return self._load(model_in(folder, self._settings))
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
            if self._settings.artifact_store is None:
                raise UnknownModel(f"Cannot load {name!r}: MODEL_FOLDER has no such folder")
            folder = artifacts.fetch(self._settings.artifact_store, name, top)
        for path in (folder, *(path.resolve() for path in folder.iterdir())):
            if not path.is_relative_to(top):
                raise UnknownModel(f"Cannot load {name!r}: it leads out of MODEL_FOLDER")
        return folder

    def _load(self, files: ModelFiles) -> Predictor:
        settings = self._settings
        context = context_bytes(files.weights, files.runtime_adapter, n_cells=settings.context_tokens)
        beside = next((made for made in self._live() if made.weights_sha256 == files.weights_sha256 and made.llama.weights.hold()), None)
        try:
            self._check_memory(files, context + (0 if beside else files.weights.stat().st_size))
            threads = settings.threads or os.cpu_count() or 1
            predictor = Predictor(files, n_ctx=settings.context_tokens, n_threads=threads, parallel=settings.parallel, waiting=settings.queue_limit, beside=beside, kept_answers=settings.answer_cache)
        finally:
            if beside:
                beside.llama.weights.let_go()
        self._made[predictor] = context
        return predictor

    def _live(self) -> list[Predictor]:
        return [predictor for predictor in list(self._made) if not predictor.llama.is_closed]

    def _check_memory(self, files: ModelFiles, wanted: int) -> None:
        """Raises StartError when the machine or the budget has too little for one more model."""
        free, budget = self._free(), self._settings.memory_mb
        if wanted > free:
            raise StartError(f"Cannot load {files.version.name!r}: it wants about {wanted // MIB} MiB, the machine has {free // MIB} MiB free (lower CONTEXT_TOKENS, or unload a model)")
        live = self._live()
        taken = sum(self._made[predictor] for predictor in live) + sum(weights.size for weights in {predictor.llama.weights for predictor in live})
        if budget is not None and taken + wanted > budget * MIB:
            raise StartError(f"Cannot load {files.version.name!r}: it wants about {wanted // MIB} MiB, {taken // MIB} of MEMORY_MB={budget} are taken")
