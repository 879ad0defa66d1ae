"""Owns how much memory a model will want, and how much there is: in the machine, in its control group, in the budget.

Knows nothing of what is loaded, nor of how.
"""

from pathlib import Path
from typing import Any

from inference.engine.gguf_header import read_header

MIB = 1024 * 1024
_WORK = 128 * MIB
"""Vocabulary, schemas and llama.cpp's own working memory; measured at 90 to 120 MiB with SmolLM2-135M."""


def context_bytes(weights: Path, adapter: Path | None, *, n_cells: int, n_batch: int = 512) -> int:
    """What serving a model takes beside its weights, in bytes: its adapter, keys and values for `n_cells` tokens at 16 bits,
    logits of a whole batch at 32 bits, and working memory. Raises StartError for a file that is no GGUF."""
    header = read_header(weights)
    return (adapter.stat().st_size if adapter else 0) + n_cells * _bytes_per_cell(header) + n_batch * _vocabulary(header) * 4 + _WORK


def _bytes_per_cell(header: dict[str, Any]) -> int:
    """Keys and values of one token over all layers, 2 bytes each."""
    name = header.get("general.architecture", "")

    def figure(key: str, default: int = 0) -> Any:
        return header.get(f"{name}.{key}", default)

    layers, heads = int(figure("block_count")), figure("attention.head_count", 1)
    heads = max(heads) if isinstance(heads, list) else heads
    kv_heads = figure("attention.head_count_kv", heads)
    each = kv_heads if isinstance(kv_heads, list) else [kv_heads] * layers
    width = int(figure("embedding_length")) // max(1, heads)
    return sum(each) * 2 * (int(figure("attention.key_length", width)) + int(figure("attention.value_length", width)))


def _vocabulary(header: dict[str, Any]) -> int:
    tokens = header.get("tokenizer.ggml.tokens", 0)
    return len(tokens) if isinstance(tokens, list) else int(tokens)


def free_bytes(root: Path = Path("/")) -> int:
    """What may still be used: the machine's free memory, or what the control group leaves of its limit, whichever is less.

    `root` is where `proc` and `sys` are found. Without them (not on Linux) nothing is known and nothing is refused.
    """
    return min([_machine(root), *_groups(root)])


def _machine(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return 1 << 62
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 1 << 62)


def _groups(root: Path) -> list[int]:
    """What each control group above this process leaves: version 2 (`memory.max`) or 1 (`memory.limit_in_bytes`)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _number, kind, path = line.split(":", 2)
        if kind not in {"", "memory"}:
            continue
        top = root / "sys/fs/cgroup" / kind
        names = ("memory.max", "memory.current") if kind == "" else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        folder = top / path.lstrip("/")
        while folder.is_relative_to(top):
            limit, used = (_number_in(folder / name) for name in names)
            if limit is not None and used is not None:
                left.append(limit - used + _droppable(folder))
            folder = folder.parent
    return left


def _number_in(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _droppable(folder: Path) -> int:
    """File pages that the kernel gives back when asked; they count as used."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split() for line in lines)
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
