"""A damaged model file is refused before it is mapped. With a manifest that fits the damage, most are refused by their head,
and what llama.cpp makes of the rest happens in a child: one that ends the process there ends nothing else.

`MUTANTS=10000 pytest tests/inference/test_mutated_files.py` is the long form.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.trainer.tiny_gguf import write_tiny

REPOSITORY = Path(__file__).resolve().parents[2]
MUTANTS = int(os.environ.get("MUTANTS", "500"))


def fates(model: Path, count: int) -> dict[int, dict[str, Any]]:
    """By number. A child that llama.cpp ended is followed by another, which goes on behind the mutant that did it."""
    found: dict[int, dict[str, Any]] = {}
    while len(found) < count:
        child = subprocess.run([sys.executable, "-m", "tests.inference.mutants", str(model), str(len(found)), str(count)], env={**os.environ, "GGML_NO_BACKTRACE": "1"}, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # fmt: skip
        lines = [json.loads(line) for line in child.stdout.splitlines()]
        assert lines, child.stderr
        found |= {line["number"]: line for line in lines}
    return found


def test_no_mutant_is_let_in(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "whole.gguf", width=32, layers=1)
    found = fates(model, MUTANTS)
    assert len(found) == MUTANTS
    assert Counter(mutant["true_manifest"] for mutant in found.values()) == {"refused": MUTANTS}
    assert {mutant["head"] for mutant in found.values() if mutant["mutation"] in {"truncate", "cut_out"}} == {"refused"}
    print(Counter((mutant["mutation"], mutant["head"], mutant.get("llama", "")) for mutant in found.values()))
