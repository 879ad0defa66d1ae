"""The rooms import one way: shared_schemas knows nobody, inference knows shared_schemas, trainer knows both."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {"shared_schemas": {"shared_schemas"}, "inference": {"shared_schemas", "inference"}, "trainer": {"shared_schemas", "inference", "trainer"}}
IMPURE = {"os", "pathlib", "socket", "subprocess", "httpx", "urllib", "fastapi", "supabase", "llama_cpp"}


def imports(folder: str) -> Iterator[tuple[Path, str]]:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from ((path, name.split(".")[0]) for name in names)


def test_imports_go_one_way() -> None:
    seen = [(folder, path, name) for folder in MAY_IMPORT for path, name in imports(folder) if name in MAY_IMPORT]
    assert len(seen) > 50, "the test looked at nothing"
    assert [(str(path), name) for folder, path, name in seen if name not in MAY_IMPORT[folder]] == []


def test_shared_schemas_is_pure() -> None:
    assert [(str(path), name) for path, name in imports("shared_schemas") if name in IMPURE] == []


def test_every_module_says_what_it_owns() -> None:
    modules = [path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 30
    assert [str(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []
