"""Owns the command `python -m inference schemas FOLDER`: what becomes of a public set of JSON schemas and their test instances.

Each schema is checked and compiled as one that a caller brings, and each instance is put to its grammar token by token, as if the model
had chosen it, with a mask at every token. Knows nothing of HTTP, prompts or what the model would say.

Two sets have the format: MaskBench (github.com/guidance-ai/jsonschemabench, `maskbench/data`; goal R3) and the official
JSON-Schema-Test-Suite (`tests/draft2020-12`).
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inference.answer_schema import AnswerSchema
from inference.errors import InvalidOutput, StartError, UnusableSchema
from inference.model_store import find_model
from inference.predict import Predictor
from inference.settings import read_settings

ABOUT = "Try the JSON schemas and test instances of a folder: are they enforced, refused by name, or neither. Settings come from the environment, as for serving."
EXAMPLES = """\
examples:
  python -m inference schemas JSON-Schema-Test-Suite/tests/draft2020-12
  python -m inference schemas jsonschemabench/maskbench/data --json

Files are *.json, in sub-folders too: {"schema": ..., "tests": [{"data": ..., "valid": true}]}, or a list of such.

Exit status: 0 when no invalid instance would be served and nothing failed in another way than by a refusal that says why; else 1.
"""
_SHOWN = 20
_LONGEST = 150


@dataclass(frozen=True)
class Case:
    """One schema with its instances: each the data, whether it is valid, and what it is about."""

    name: str
    schema: Any
    instances: Sequence[tuple[Any, bool, str]]


@dataclass
class Tried:
    """`taken`: by the grammar; `served`: by the validator behind it too. Times in seconds."""

    compiled: int = 0
    passing: int = 0
    """Schemas that are compiled, and whose instances all fare as they should."""
    refused: Counter[str] = field(default_factory=Counter)
    valid: int = 0
    valid_refused: list[str] = field(default_factory=list)
    invalid: int = 0
    invalid_taken: list[str] = field(default_factory=list)
    invalid_served: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    compile_s: list[float] = field(default_factory=list)
    mask_s: list[float] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not self.invalid_served and not self.failed


def schemas(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference schemas", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the set lies")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    cases = list(read_cases(options.folder))
    if not cases:
        raise StartError(f"Cannot find a schema with its tests in {options.folder}: *.json files are expected, see --help")
    settings = read_settings()
    predictor = Predictor(find_model(settings), n_ctx=settings.context_tokens, n_threads=settings.threads or os.cpu_count() or 1, parallel=1, waiting=1)
    try:
        found = try_all(predictor, cases)
    finally:
        predictor.close()
    print(json.dumps(_figures(found), indent=2, ensure_ascii=False) if options.json else _told(found))
    return 0 if found.held else 1


def read_cases(folder: Path) -> Iterator[Case]:
    """Every schema of the folder, file by file in order. Raises StartError for a file that cannot be read."""
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StartError(f"Cannot read {path}: {error}") from None
        for one in content if isinstance(content, list) else [content]:
            if isinstance(one, dict) and "schema" in one:
                instances = [(test["data"], bool(test["valid"]), str(test.get("description", ""))) for test in one.get("tests", ())]
                yield Case(f"{path.relative_to(folder)}: {one.get('description', '')}", one["schema"], instances)


def try_all(predictor: Predictor, cases: Sequence[Case]) -> Tried:
    found = Tried()
    for i, case in enumerate(cases, 1):
        if i % 500 == 0:
            print(f"{i} of {len(cases)} schemas, {found.compiled} enforced …", file=sys.stderr)
        try:
            _try(predictor, case, found)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what is looked for here
            found.failed.append(f"{case.name}: {type(error).__name__}: {error}"[:_LONGEST])
    return found


def _try(predictor: Predictor, case: Case, found: Tried) -> None:
    began = time.perf_counter()
    try:
        if not isinstance(case.schema, dict):
            raise UnusableSchema("The schema is no object")
        schema = predictor.answer_schemas.get(case.schema)
    except UnusableSchema as refusal:
        found.refused[_reason(str(refusal))] += 1
        return
    found.compile_s.append(time.perf_counter() - began)
    found.compiled += 1
    is_passing = True
    for data, is_valid, about in case.instances:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        is_taken, where = takes(predictor, schema, text, found.mask_s), f"{case.name}: {about}"
        found.valid += is_valid
        found.invalid += not is_valid
        is_passing &= is_taken == is_valid
        if is_valid and not is_taken:
            found.valid_refused.append(where)
        if is_taken and not is_valid:
            found.invalid_taken.append(where)
            if _is_served(schema, text):
                found.invalid_served.append(where)
    found.passing += is_passing


def takes(predictor: Predictor, schema: AnswerSchema, text: str, mask_s: list[float]) -> bool:
    """Whether the grammar takes the text as a whole answer; adds how long each token's mask took."""
    matcher = schema.grammar.begin()
    for token in predictor.llama.tokenize(text, special=False):
        if matcher.is_complete or not matcher.allows(token):
            return False
        matcher.consume([token])
        if not matcher.is_complete:
            began = time.perf_counter()
            allowed = matcher.allowed()
            mask_s.append(time.perf_counter() - began)
    return matcher.is_complete or bool(predictor.llama.vocabulary.ends & set(allowed.tolist()))


def _is_served(schema: AnswerSchema, text: str) -> bool:
    try:
        schema.check_answer(text)
    except InvalidOutput:
        return False
    return True


def _reason(refusal: str) -> str:
    """A refusal without its place, so that equal ones can be counted."""
    return refusal.split(" at ")[0].split(": ")[-1 if refusal.startswith("Cannot enforce the schema of") else 0][:80]


def _figures(found: Tried) -> dict[str, Any]:
    return {
        "schemas": found.compiled + found.refused.total() + len(found.failed),
        "enforced": found.compiled,
        "passing": found.passing,
        "refused": dict(found.refused.most_common()),
        "valid": found.valid,
        "valid_refused": found.valid_refused,
        "invalid": found.invalid,
        "invalid_taken": found.invalid_taken,
        "invalid_served": found.invalid_served,
        "failed": found.failed,
        "compile_ms": _spread(found.compile_s, 1e3),
        "mask_us": _spread(found.mask_s, 1e6),
        "held": found.held,
    }


def _spread(seconds: Sequence[float], scale: float) -> dict[str, float]:
    times = np.array(seconds or [0.0]) * scale
    return {"mean": round(float(times.mean()), 1), "p99": round(float(np.percentile(times, 99)), 1), "most": round(float(times.max()), 1)}


def _told(found: Tried) -> str:
    figures = _figures(found)
    lines = [
        f"{figures['schemas']} schemas: {found.compiled} enforced ({found.passing} of them with every instance as it should be), {found.refused.total()} refused, {len(found.failed)} failed",
        f"{found.valid} valid instances, {len(found.valid_refused)} refused; {found.invalid} invalid ones, {len(found.invalid_taken)} taken by the grammar, {len(found.invalid_served)} by the validator behind it too",
        *(f"{what}: {times['mean']} on average, {times['p99']} at p99, {times['most']} at most" for what, times in (("ms to compile", figures["compile_ms"]), ("us for a mask", figures["mask_us"]))),
    ]
    listed = {
        "refused, by reason": [f"{count:5} {reason}" for reason, count in found.refused.most_common()],
        "valid but refused": found.valid_refused,
        "invalid but taken by the grammar": found.invalid_taken,
        "INVALID BUT SERVED": found.invalid_served,
        "FAILED": found.failed,
    }
    for what, each in listed.items():
        if each:
            lines += [f"{what}:", *(f"  {one[:_LONGEST]}" for one in each[:_SHOWN]), *([f"  and {len(each) - _SHOWN} more"] if len(each) > _SHOWN else [])]
    return "\n".join([*lines, "held" if found.held else "BROKEN"])
