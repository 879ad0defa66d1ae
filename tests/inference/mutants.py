"""Owns mutated model files: makes them, and says what becomes of each. Run in a process of its own, because llama.cpp may abort.

    python -m tests.inference.mutants MODEL.gguf FROM TO

Prints, for each number, a line of JSON: the mutation; whether the file is refused under its true manifest, before anything is
mapped; whether its head is refused where the manifest says that the hash is right; and what llama.cpp makes of the rest.
"""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from inference.engine.gguf_header import read_header
from inference.engine.llama import Weights
from inference.errors import StartError
from inference.model_store import file_sha256, model_in
from inference.settings import Settings


def flip_head(content: bytearray, rng: random.Random, head: int) -> None:
    """A few bytes of the head."""
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(head)] ^= rng.randint(1, 255)


def wrong_length(content: bytearray, rng: random.Random, head: int) -> None:
    """Eight bytes that may be a length: huge, negative, or anything."""
    at = rng.choice([8, 16, 24, rng.randrange(head - 8)])
    content[at : at + 8] = rng.choice([b"\xff" * 8, (1 << 63).to_bytes(8, "little"), rng.randbytes(8), bytes(8), rng.randrange(1 << 20).to_bytes(8, "little")])


def truncate(content: bytearray, rng: random.Random, head: int) -> None:
    del content[rng.choice([rng.randrange(head), rng.randrange(len(content))]) :]


def wrong_offset(content: bytearray, rng: random.Random, head: int) -> None:
    """Eight bytes of what the head says about a tensor: its shape, type or offset."""
    at = content.rindex(b".weight", 0, head) + 7 + 4 + rng.choice([0, 8, 12]) if rng.random() < 0.3 else rng.randrange(head * 2 // 3, head - 8)
    content[at : at + 8] = rng.choice([b"\xff" * 8, rng.randbytes(8), rng.randrange(1 << 24).to_bytes(8, "little")])


def cut_out(content: bytearray, rng: random.Random, head: int) -> None:
    """Some bytes less in the middle: all that follows is in the wrong place."""
    at = rng.randrange(head)
    del content[at : at + rng.randint(1, 64)]


MUTATIONS: tuple[Callable[[bytearray, random.Random, int], None], ...] = (flip_head, wrong_length, truncate, wrong_offset, cut_out)


def head_size(content: bytes) -> int:
    """Up to where the last tensor's description ends, about: behind it the weights begin."""
    return content.rindex(b".weight") + 40


def fate(number: int, whole: bytes, folder: Path, say: Callable[[dict[str, Any]], None]) -> None:
    rng = random.Random(number)
    mutation, content = MUTATIONS[number % len(MUTATIONS)], bytearray(whole)
    mutation(content, rng, head_size(whole))
    if content == whole:
        content[4] ^= 0xFF
    path = folder / "model.gguf"
    path.write_bytes(content)
    mutant = {"number": number, "mutation": mutation.__name__, "true_manifest": "refused" if _is_refused_unmapped(folder) else "let in"}
    try:
        read_header(path)
    except StartError:
        say({**mutant, "head": "refused"})
        return
    say({**mutant, "head": "let in", "llama": "ended the process"})
    try:
        Weights(path)
        verdict = "loaded"
    except StartError:
        verdict = "refused"
    say({**mutant, "head": "let in", "llama": verdict})


def _is_refused_unmapped(folder: Path) -> bool:
    """Whether the folder is refused while nothing may be mapped."""
    mapped = AssertionError("mapped")
    with patch("mmap.mmap", side_effect=mapped), patch("numpy.memmap", side_effect=mapped), patch("llama_cpp.llama_model_load_from_file", side_effect=mapped):
        try:
            model_in(folder, Settings(model_folder=folder.parent))
        except StartError:
            return True
    return False


def main(model: Path, first: int, last: int) -> None:
    whole = model.read_bytes()
    manifest = {"model": {"name": "tiny", "base_sha256": file_sha256(model), "adapter_sha256": None, "prompt_style": "tag"}}
    with TemporaryDirectory() as root:
        folder = Path(root) / "mutant"
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        for number in range(first, last):
            fate(number, whole, folder, lambda line: print(json.dumps(line), flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
