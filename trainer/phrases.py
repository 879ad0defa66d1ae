"""Owns the answers that are shipped with a model: the engine guesses from them. Knows nothing of the engine."""

import json
from pathlib import Path

from shared_schemas.features import FEATURES
from trainer.data.row import write_lines

PHRASES = 300
"""Answers of each feature."""


def write_phrases(train: Path, target: Path) -> Path:
    """The first answers of each feature among chat rows, one a line behind the feature's name and a tab."""
    seen = dict.fromkeys(FEATURES, 0)
    lines = []
    for row in train.read_text(encoding="utf-8").split("\n")[:-1]:
        messages = json.loads(row)["messages"]
        name, answer = _feature(messages[0]["content"]), messages[-1]["content"]
        seen[name] += 1
        if seen[name] <= PHRASES:
            lines.append(f"{name}\t{answer}")
    write_lines(target, lines)
    return target


def _feature(system: str) -> str:
    """Whose first message that is, in whatever style."""
    return next(name for name, feature in FEATURES.items() if system in {name, feature.instructions})
