"""Owns a file that is proved and then loaded: hash and load go through one opened file, so that nothing can be put in its place between.

llama.cpp opens files by name only. Linux gives every opened file a name of its own, /proc/self/fd/N, which stays with that file
whatever happens to its path. Two things remain: where there is no /proc the path itself is loaded, and who may write into the very
file can change it after its hash. The first is other systems'; of the second, a write up to the end of the load is noticed, a later
one is not (the weights are mapped, not copied): nobody but the operator may have the right to write there.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.errors import StartError

_GGUF_MAGIC = b"GGUF"


@contextmanager
def opened(path: Path, sha256: str | None = None) -> Iterator[Path]:
    """A name for the file that lies at `path` now, whose hash is `sha256` if one is given. Valid within the block.

    Raises StartError when it cannot be read, is no GGUF, has another hash, or was written to before the block ended.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise StartError(f"Cannot read the model {path}: {error.strerror}") from None
    with file:
        magic = file.read(4)
        if magic != _GGUF_MAGIC:
            raise StartError(f"Cannot use {path}: it is not a GGUF file (it begins with {magic!r})")
        before = _written(file.fileno())
        file.seek(0)
        if sha256 and (found := hashlib.file_digest(file, "sha256").hexdigest()) != sha256:
            raise StartError(f"Cannot use {path}: its sha256 is {found}, it was {sha256} when it was checked")
        own = Path(f"/proc/self/fd/{file.fileno()}")
        yield own if own.exists() else path
        if _written(file.fileno()) != before:
            raise StartError(f"Cannot use {path}: it was written to while it was loaded")


def _written(file: int) -> tuple[int, int]:
    """Its size and when it was last written to; not when its names changed, which another process may do rightly."""
    facts = os.fstat(file)
    return facts.st_size, facts.st_mtime_ns
