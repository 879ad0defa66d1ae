"""Owns reading a caller's JSON without guessing: what two parsers could read differently is refused, and named.

Refused beyond what the grammar of JSON forbids: a key that comes twice, NaN, numbers that no double or no 64 bits hold, halves of
characters, NUL, and anything nested deeper than `DEEPEST`. Knows nothing of what the JSON means.
"""

import json
import math
import re
from typing import Any

from inference.errors import BadRequest

DEEPEST = 100
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


def read_json(body: bytes) -> Any:
    """The value of a body. Raises BadRequest, with the place where there is one."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start}", code="invalid_json") from None
    except RecursionError:
        raise BadRequest(f"The body is nested deeper than {DEEPEST} levels", code="too_deep") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at character {error.pos}", code="invalid_json") from None
    _check(value)
    return value


def place(path: tuple[str | int, ...]) -> str:
    """`messages[0].content` for a path of keys and positions."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _check(value: Any) -> None:
    """Without recursion: the depth is what is being checked."""
    todo: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while todo:
        here, path = todo.pop()
        if len(path) > DEEPEST:
            raise BadRequest(f"The body is nested deeper than {DEEPEST} levels", code="too_deep", param=str(path[0]))
        if isinstance(here, str):
            _check_text(here, path)
        elif isinstance(here, list):
            todo += [(item, (*path, i)) for i, item in enumerate(here) if isinstance(item, str | list | dict)]
        elif isinstance(here, dict):
            for key, item in here.items():
                _check_text(key, path)
                if isinstance(item, str | list | dict):
                    todo.append((item, (*path, key)))


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    found = _UNSTORABLE.search(text)
    if found:
        what = "the character U+0000" if found[0] == "\0" else "half a character (a lone surrogate)"
        raise BadRequest(f"{place(path) or 'body'}: text with {what} is not accepted", code="invalid_text", param=place(path) or None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadRequest(f"The key {_shown(key)} comes twice in one object", code="duplicate_key", param=_shown(key))
    return named


def _no_constant(name: str) -> Any:
    raise BadRequest(f"{name} is not a number of JSON", code="invalid_number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadRequest(f"The number {digits[:32]} is too large", code="invalid_number")
    return value


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise BadRequest(f"The number {digits[:32]} does not fit 64 bits", code="invalid_number")
    return int(digits)


def _shown(key: str) -> str:
    return key.encode("utf-8", "replace").decode()[:64]
