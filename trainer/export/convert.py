"""Owns running llama.cpp's own converters, of the version that llama-cpp-python pins. Knows nothing of what is converted."""

from collections.abc import Sequence
from pathlib import Path

from trainer.errors import MissingEnvironment
from trainer.finetune import run_process


def convert(script: str, arguments: Sequence[str], *, axolotl: Path, log: Path) -> None:
    """Run one of the converters in Axolotl's environment. Raises MissingEnvironment and StageFailed."""
    converter = axolotl / "llama.cpp" / script
    if not converter.exists():
        raise MissingEnvironment(f"Cannot find llama.cpp's converter at {converter}: run scripts/setup-axolotl first")
    run_process(["python", str(converter), *arguments], axolotl=axolotl, log=log, progress=lambda _line: None)
