"""Owns the answers that are judged: asked of a model as the service asks it, kept in a folder, never asked twice.

A model's answers to a feature lie in one JSONL file, named by the model and by the hash of everything that decides them. A
killed run left whole lines and at most one half: the next asks only what is missing. Knows nothing of judging.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field, ValidationError

import inference
import shared_schemas
from inference.errors import BadAnswer, PromptTooLong
from inference.model_store import ModelFiles, find_model, model_in
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature, compact_json
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import RiskOutput
from shared_schemas.model_version import ModelVersion
from trainer.data.row import Row, kept_private
from trainer.data.vault import answers as vault_answers
from trainer.errors import CannotJudge
from trainer.stage import digest, sources_sha256
from trainer.supabase_client import Project

CONTEXT_TOKENS = 6144
"""Of one answer at a time."""

Progress = Callable[[str], None]


class Answer(Closed):
    """What one model said to one example.

    `fault` says why there is no output, `code` in one word: `truncated`, `invalid_output`, `prompt_too_long` or `rejected` (valid,
    but it makes no sense). `attempts` 1 is the greedy one. `raw` are the figures behind `confidence`. Milliseconds are what a caller waits.
    What nobody measured is null.
    """

    example_id: str
    output: RiskOutput | PlanOutput | None
    fault: str | None = None
    code: str | None = None
    attempts: int | None = None
    confidence: int | None = None
    raw: dict[str, float] = Field(default_factory=dict)
    latency_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Judged(Protocol):
    """A model that is judged. `key` is the hash of all that decides its answers to a feature."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> ModelVersion | None: ...

    def key(self, feature: AnyFeature) -> str: ...

    def answers(self, rows: Sequence[Row]) -> Iterator[Answer]:
        """One answer for each row, in order; a row that was never shown to it has none."""
        ...


@dataclass(frozen=True)
class LocalModel:
    """A model of ours, asked through the service's own code path, one question at a time."""

    name: str
    files: ModelFiles
    threads: int = 2

    @property
    def version(self) -> ModelVersion:
        return self.files.version

    def key(self, feature: AnyFeature) -> str:
        """Weights, prompt, and the code that asks and accepts."""
        return digest([self.version.model_dump(), self.files.weights_sha256, feature.prompt_version(self.version.prompt_style), sources_sha256(shared_schemas, inference)])

    def answers(self, rows: Sequence[Row]) -> Iterator[Answer]:
        with _opened(self) as predictor:
            for row in rows:
                yield _asked(predictor, row)


@dataclass(frozen=True)
class RecordedModel:
    """A model whose answers were recorded: the vault's baseline. It is not asked again, so it may be gone by now."""

    name: str
    said: dict[str, Answer]
    version: ModelVersion | None = None

    def key(self, feature: AnyFeature) -> str:
        return digest([self.name, feature.name, [answer.model_dump(mode="json") for answer in self.said.values()]])

    def answers(self, rows: Sequence[Row]) -> Iterator[Answer]:
        return (self.said[row.id] for row in rows if row.id in self.said)


def local_model(name: str, settings: Settings) -> LocalModel:
    """`active`: what the service's own settings name; `base`: the base alone, told by instructions; else the model in that folder.

    Raises StartError where its files are not what they should be, and CannotJudge where there is no such folder.
    """
    if name == "active":
        return LocalModel(name, find_model(settings))
    if name == "base":
        return LocalModel(name, find_model(settings.model_copy(update={"adapter_path": Path("none")})))
    folder = Path(name)
    if not folder.is_dir():
        raise CannotJudge(f"Cannot judge {name}: there is no such folder (models are a folder with manifest.json, active, base, or baseline)")
    files = model_in(folder, settings)
    return LocalModel(files.version.name, files)


def baseline_model(project: Project, features: Sequence[str], *, today: str, model: str = "") -> RecordedModel:
    """The vault's answers of that provider's model, or of the first in the providers' order that has some.

    Raises CannotJudge when there are none, and says so when the model cannot be asked any more. `today`: an ISO date.
    """
    providers = project.rows("slm_providers", order="rank")
    known = [row for row in providers if model in {"", row["name"], row["model"]}]
    names = list(dict.fromkeys(row["model"] for row in known)) or [model]
    for name in names:
        lines = [line for feature in features for line in vault_answers(project, feature, name) if line["prompt_version"] == FEATURES[feature].prompt_version("instructions")]
        if lines:
            return RecordedModel(name, {line["example_id"]: _recorded(line) for line in lines})
    ended = ", ".join(f"{row['model']} ended on {row['ends_on']} and cannot be asked any more" for row in known if row["ends_on"] and row["ends_on"] <= today)
    advice = ended or f"run python -m trainer vault record --model {names[0]}"
    raise CannotJudge(f"Cannot judge the baseline: the vault holds no answers of {' or '.join(names)} to {' or '.join(features)} ({advice})")


def collect(model: Judged, rows: Sequence[Row], folder: Path, *, progress: Progress = lambda _: None) -> list[Answer]:
    """The model's answers to rows of one feature, in their order, those that lie in the folder already as they are.

    Recorded answers may be fewer than rows. The folder is its owner's alone: answers are made of people's own words.
    """
    if not rows:
        return []
    feature = FEATURES[rows[0].feature]
    if isinstance(model, RecordedModel):
        return list(model.answers(rows))
    with kept_private():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{feature.name}-{_file_name(model.name)}-{model.key(feature)[:16]}.jsonl"
        kept = _kept(path)
        missing = [row for row in rows if row.id not in kept]
        progress(f"evaluate {feature.name}: {model.name}, {len(rows) - len(missing)} of {len(rows)} answers are there")
        with path.open("a", encoding="utf-8", newline="\n") as file:
            for count, answer in enumerate(model.answers(missing) if missing else (), 1):
                file.write(f"{compact_json(answer)}\n")
                file.flush()
                kept[answer.example_id] = answer
                progress(f"evaluate {feature.name}: {model.name}, {len(rows) - len(missing) + count} of {len(rows)}, refused {sum(one.output is None for one in kept.values())}")
    return [kept[row.id] for row in rows]


@contextmanager
def _opened(model: LocalModel) -> Iterator[Predictor]:
    predictor = Predictor(model.files, n_ctx=CONTEXT_TOKENS, n_threads=model.threads, parallel=1)
    try:
        yield predictor
    finally:
        predictor.close()


def _asked(predictor: Predictor, row: Row) -> Answer:
    began = time.perf_counter()
    try:
        found = predictor.predict_now(FEATURES[row.feature], row.prompt_input)
    except (BadAnswer, PromptTooLong) as error:
        waited = round(1000 * (time.perf_counter() - began), 2)
        return Answer(example_id=row.id, output=None, fault=_storable(str(error)), code=error.code, latency_ms=waited)
    waited = round(1000 * (time.perf_counter() - began), 2)
    return Answer.model_validate(
        {
            "example_id": row.id,
            "output": found.output,
            "attempts": int(found.details["attempts"]),
            "confidence": found.confidence,
            "raw": {name: value for name, value in found.details.items() if name != "attempts"},
            "latency_ms": waited,
            "input_tokens": found.usage.prompt_tokens,
            "output_tokens": found.usage.output_tokens,
        }
    )


def _recorded(line: dict[str, Any]) -> Answer:
    """An answer of the vault. Its fault begins with what went wrong, in the vault's words."""
    fault = line["fault"]
    code = None if fault is None else "rejected" if fault.startswith("rejected") else "invalid_output" if fault.startswith("not") else "refused"
    known = {name: line[name] for name in ("example_id", "output", "fault", "latency_ms", "input_tokens", "output_tokens")}
    return Answer.model_validate_json(json.dumps({**known, "code": code, "attempts": 1}))


def _kept(path: Path) -> dict[str, Answer]:
    """The answers of a file by example, without a last line that was cut off; the file then ends with a whole one."""
    if not path.exists():
        return {}
    found: dict[str, Answer] = {}
    whole = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            answer = Answer.model_validate_json(line)
        except ValidationError:
            break
        if not line.endswith(b"\n"):
            break
        found[answer.example_id] = answer
        whole += len(line)
    os.truncate(path, whole)
    return found


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[-60:]
