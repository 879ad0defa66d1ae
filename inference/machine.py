"""Owns what this machine has: cores, quota, memory, and how fast it reads memory. Linux; what cannot be known is None.

Knows nothing of models.
"""

import os
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_CGROUP = Path("/sys/fs/cgroup")
_CPU = Path("/sys/devices/system/cpu")


def logical_cores() -> int:
    """Cores that this process may run on, hardware threads counted each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_cores() -> int | None:
    places = {(_read(core / "topology" / "physical_package_id"), _read(core / "topology" / "core_id")) for core in _CPU.glob("cpu[0-9]*")}
    return len(places) if places and all(all(place) for place in places) else None


def core_quota() -> float | None:
    """Cores' worth of time that the control group grants; None: no limit."""
    words = (_read(_CGROUP / "cpu.max") or "").split()
    quota, period = words if len(words) == 2 else (_read(_CGROUP / "cpu" / "cpu.cfs_quota_us"), _read(_CGROUP / "cpu" / "cpu.cfs_period_us"))
    return int(quota) / int(period) if quota and period and quota.isdigit() and period.isdigit() else None


def free_memory() -> int | None:
    """Bytes that can still be had: the machine's, or the control group's where that is less."""
    kib = next((line.split()[1] for line in (_read(Path("/proc/meminfo")) or "").splitlines() if line.startswith("MemAvailable:")), None)
    free = [1024 * int(kib)] if kib else []
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        most, now = _read(_CGROUP / limit), _read(_CGROUP / used)
        if most and now and most.isdigit() and now.isdigit():
            free.append(max(0, int(most) - int(now)))
    return min(free, default=None)


def cache_bytes() -> int:
    """Of the largest cache of a core; 0 when not known."""
    sizes = [text for size in (_CPU / "cpu0" / "cache").glob("index*/size") if (text := _read(size))]
    return max((int(text[:-1]) * {"K": 1024, "M": 1024**2}[text[-1]] for text in sizes if text[-1:] in {"K", "M"}), default=0)


def read_bandwidth(threads: int, *, rounds: int = 3) -> float:
    """Bytes a second that so many threads read from memory together: the best of some rounds over more than the caches hold."""
    size = min(max(256 * 1024**2, 4 * cache_bytes()), 1024**3, max(64 * 1024**2, (free_memory() or 1024**3) // 4))
    parts = np.array_split(np.ones(size // 8, np.int64), threads)
    return max(size / _seconds_to_read(parts) for _ in range(rounds))


def _seconds_to_read(parts: list[NDArray[np.int64]]) -> float:
    readers = [threading.Thread(target=np.bitwise_or.reduce, args=(part,)) for part in parts]
    began = time.perf_counter()
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return time.perf_counter() - began


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
