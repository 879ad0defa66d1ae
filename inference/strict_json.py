"""Owns reading a caller's JSON without guessing: what two parsers could read differently is refused, and named.

Refused beyond what the grammar of JSON forbids: a key that comes twice, NaN, numbers that no double or no 64 bits hold, halves of
characters, NUL, and anything nested deeper than `DEEPEST` or of more than `MOST_VALUES` parts. Knows nothing of what the JSON means.
"""

import json
import math
import re
from collections import Counter
from typing import Any

from inference.errors import BadRequest

DEEPEST = 100
MOST_VALUES = 50_000
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")


def read_json(body: bytes) -> Any:
    """The value of a body. Raises BadRequest, with the place where there is one."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start}", code="invalid_json") from None
    except RecursionError:
        raise BadRequest(f"The body is nested deeper than {DEEPEST} levels", code="too_deep") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at character {error.pos}", code="invalid_json") from None
    except ValueError:  # an integer of more digits than Python converts
        raise BadRequest("The body holds a number that does not fit 64 bits", code="invalid_number") from None
    _check(value)
    return value


def place(path: tuple[str | int, ...]) -> str:
    """`messages[0].content` for a path of keys and positions."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _check(value: Any) -> None:
    """Without recursion: the depth is what is being checked."""
    todo: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    count = 0
    while todo:
        here, path = todo.pop()
        if len(path) > DEEPEST:
            raise BadRequest(f"The body is nested deeper than {DEEPEST} levels", code="too_deep", param=str(path[0]))
        if isinstance(here, str):
            _check_text(here, path)
        elif isinstance(here, int) and not -(2**63) <= here < 2**64:
            raise BadRequest(f"{place(path) or 'body'}: a number that does not fit 64 bits", code="invalid_number", param=place(path) or None)
        elif isinstance(here, list | dict):
            count += len(here)
            if count > MOST_VALUES:
                raise BadRequest(f"The body holds more than {MOST_VALUES} values", code="too_large", param=str(path[0]) if path else None)
            if isinstance(here, dict):
                for key in here:
                    _check_text(key, path)
            todo += ((item, (*path, key)) for key, item in (here.items() if isinstance(here, dict) else enumerate(here)))


def _check_text(text: str, path: tuple[str | int, ...]) -> None:
    found = _UNSTORABLE.search(text)
    if found:
        what = "the character U+0000" if found[0] == "\0" else "half a character (a lone surrogate)"
        raise BadRequest(f"{place(path) or 'body'}: text with {what} is not accepted", code="invalid_text", param=place(path) or None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        key = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise BadRequest(f"The key {_shown(key)} comes twice in one object", code="duplicate_key", param=_shown(key))
    return named


def _no_constant(name: str) -> Any:
    raise BadRequest(f"{name} is not a number of JSON", code="invalid_number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadRequest(f"The number {digits[:32]} is too large", code="invalid_number")
    return value


def _shown(key: str) -> str:
    return key.encode("utf-8", "replace").decode()[:64]
