"""What a model will want, and what the machine leaves: read from the same places as the kernel writes them."""

from pathlib import Path

import pytest

from inference.engine.gguf_header import read_header
from inference.errors import StartError
from inference.memory import MIB, context_bytes, free_bytes
from inference.model_store import default_model


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal: 4000000 kB\nMemFree: 100 kB\nMemAvailable: 1024000 kB\n"


def test_the_machines_free_memory_counts(tmp_path: Path) -> None:
    assert free_bytes(write(tmp_path, proc__meminfo=MEMINFO)) == 1000 * MIB


def test_a_control_group_that_leaves_less_counts(tmp_path: Path) -> None:
    files = {"proc__meminfo": MEMINFO, "proc__self__cgroup": "0::/app/worker\n"}
    group = {"sys__fs__cgroup__app__memory_DOT_max": str(600 * MIB), "sys__fs__cgroup__app__memory_DOT_current": str(200 * MIB), "sys__fs__cgroup__app__memory_DOT_stat": f"inactive_file {50 * MIB}\n"}
    unlimited = {"sys__fs__cgroup__app__worker__memory_DOT_max": "max\n", "sys__fs__cgroup__app__worker__memory_DOT_current": "1\n"}
    assert free_bytes(write(tmp_path, **files, **group, **unlimited)) == 450 * MIB


def test_the_older_control_groups_count_too(tmp_path: Path) -> None:
    files = {"proc__meminfo": MEMINFO, "proc__self__cgroup": "4:memory:/app\n1:cpu:/\n"}
    group = {"sys__fs__cgroup__memory__app__memory_DOT_limit_in_bytes": str(300 * MIB), "sys__fs__cgroup__memory__app__memory_DOT_usage_in_bytes": str(100 * MIB)}
    assert free_bytes(write(tmp_path, **files, **group)) == 200 * MIB


def test_where_nothing_is_known_nothing_is_refused(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 1 << 60
    assert 0 < free_bytes() < 1 << 60, "this machine says it"


def test_keys_and_values_are_counted_by_the_models_own_shape() -> None:
    """SmolLM2-135M: 30 layers, 3 heads of 64 for keys and as many for values, 2 bytes each."""
    small, large = (context_bytes(default_model(), None, n_cells=cells) for cells in (0, 12_288))
    assert large - small == 12_288 * 30 * 3 * (64 + 64) * 2
    assert read_header(default_model())["tokenizer.ggml.tokens"] == 49_152


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"GGUF" + b"\x03\0\0\0" + b"\0" * 8 + b"\xff\xff\xff\xff\0\0\0\0", b"PK\x03\x04" * 20], ids=range(5))
def test_a_file_that_is_no_gguf_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(StartError, match=r"Cannot .*model\.gguf"):
        read_header(tmp_path / "model.gguf")
    half = default_model().read_bytes()[:100_000]
    (tmp_path / "half.gguf").write_bytes(half)
    with pytest.raises(StartError, match="it is not a whole GGUF file"):
        read_header(tmp_path / "half.gguf")
