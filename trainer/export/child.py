"""Owns running one of our own programs in a process of its own: llama.cpp may abort there, and we live on.

Knows nothing of what the programs do.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.errors import StageFailed
from trainer.finetune import REPOSITORY, axolotl_environment


def run_child(module: str, arguments: Sequence[object], *, stdin: str = "", axolotl: Path | None = None) -> str:
    """What `python -m module` printed; in Axolotl's environment if one is given, else in ours.

    Raises StageFailed with its last words, or with the signal that ended it.
    """
    python = axolotl / "bin" / "python" if axolotl else Path(sys.executable)
    environment = {**(axolotl_environment(axolotl) if axolotl else os.environ), "PYTHONPATH": str(REPOSITORY), "GGML_NO_BACKTRACE": "1"}
    done = subprocess.run([str(python), "-m", module, *map(str, arguments)], input=stdin, env=environment, cwd=REPOSITORY, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise StageFailed(f"{module.rpartition('.')[2]} {_how(done.returncode)}: {_last_words(done.stderr)}")
    return done.stdout


def _how(returncode: int) -> str:
    return f"was ended by {signal.Signals(-returncode).name}" if returncode < 0 else f"ended with {returncode}"


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
