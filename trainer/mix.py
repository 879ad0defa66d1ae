"""Owns the order in which chat rows of several features are trained on. Knows nothing of what they say.

Each batch holds one feature's rows of like length, which saves padding; features take turns by chance, which keeps a model
from forgetting one while it sees the other.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.model_store import file_sha256
from trainer.data.row import write_lines

NEAR = 8
"""Batches that are sorted by length together: more would make neighbours too much alike."""


def mix_rows(files: Mapping[str, Path], target: Path, *, batch: int, seed: int, limit: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Write the rows of these files (by feature) in training order, at most `limit` of each. Facts: rows by feature, sha256."""
    rng = random.Random(seed)
    batches: list[tuple[str, list[str]]] = []
    for feature, path in files.items():
        rows = path.read_text(encoding="utf-8").split("\n")[:-1]
        rng.shuffle(rows)
        rows = rows[: (limit or {}).get(feature)]
        for start in range(0, len(rows), NEAR * batch):
            near = sorted(rows[start : start + NEAR * batch], key=len)
            batches += [(feature, near[i : i + batch]) for i in range(0, len(near), batch)]
    whole = [one for one in batches if len(one[1]) == batch]
    rng.shuffle(whole)
    ordered = [(feature, row) for feature, rows in [*whole, *(one for one in batches if len(one[1]) < batch)] for row in rows]
    write_lines(target, (row for _, row in ordered))
    return {"rows": {name: sum(feature == name for feature, _ in ordered) for name in files}, "sha256": file_sha256(target)}
