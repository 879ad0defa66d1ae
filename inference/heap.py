"""Owns how the process's C heap gives memory back. Knows nothing of who allocates it.

glibc opens an arena for every thread that finds the others busy, up to eight per core, and what a burst left in one is of no use
to the next: memory creeps up for hours without a leak (mallopt(3), M_ARENA_MAX; malloc_trim(3)). Another C library has neither,
and then nothing is done.
"""

import ctypes

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
_ARENAS = 2
_LARGE = 1024 * 1024
"""Bytes from which an allocation gets pages of its own, which go back when it is freed. Left to itself glibc raises this to 32 MiB once
something so large was freed, and from then on large tables lie about in the heap (mallopt(3), M_MMAP_THRESHOLD)."""


def keep_tidy() -> None:
    """Few arenas, and pages of its own for what is large. To be called before threads are started: an arena that exists is not given up."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Hand free pages to the system, some milliseconds of work: for after something large was freed."""
    if malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        malloc_trim(0)
