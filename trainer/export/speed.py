"""Owns how fast a model file is in inference's own engine room (`inference.engine.llama`). Its program runs in a process of its own.

    python -m trainer.export.speed MODEL.gguf

The work is the same for every file: fixed tokens, no grammar, no guesses. Knows nothing of quality.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from inference.engine.llama import Batch, Llama
from shared_schemas.closed import Closed
from trainer.export.child import run_child

PROMPT, ANSWER = 256, 48
"""Tokens: about what a feature's prompt and half of its answer have."""

_THREADS = 2


class Speed(Closed):
    """Tokens per second."""

    prefill: float
    decode: float


def measure(files: Mapping[str, Path], *, rounds: int = 3, progress: Callable[[str], None] = lambda _: None) -> dict[str, Speed]:
    """The median of some rounds over all files in turn: what else the machine does meets them all alike. Raises StageFailed."""
    seen: dict[str, list[Speed]] = {name: [] for name in files}
    for i in range(rounds):
        for name, path in files.items():
            progress(f"speed: round {i + 1} of {rounds}, {name}")
            seen[name].append(Speed.model_validate_json(run_child("trainer.export.speed", [path.resolve()])))
    return {name: Speed(prefill=statistics.median(speed.prefill for speed in found), decode=statistics.median(speed.decode for speed in found)) for name, found in seen.items()}


def _measure(path: Path) -> dict[str, float]:
    llama = Llama(path, adapter_path=None, n_cells=PROMPT + ANSWER, n_seats=1, n_threads=_THREADS)
    try:
        prompt = [100 + i % max(1, min(1000, llama.n_vocab - 101)) for i in range(PROMPT)]
        batch = Batch(PROMPT)
        _fed(llama, batch, 0, prompt[:32])
        llama.forget_all()
        prefill = _fed(llama, batch, 0, prompt)
        decode = sum(_fed(llama, batch, PROMPT + i, prompt[i : i + 1]) for i in range(ANSWER))
    finally:
        llama.close()
    return {"prefill": PROMPT / prefill, "decode": ANSWER / decode}


def _fed(llama: Llama, batch: Batch, at: int, tokens: list[int]) -> float:
    """Seconds."""
    batch.clear()
    batch.add(0, at, tokens, [len(tokens) - 1])
    began = time.perf_counter()
    llama.decode(batch)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]))))
