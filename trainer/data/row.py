"""Owns the shape between the stages of data: one row, and the folder that a stage leaves behind.

Every stage writes `rows.jsonl` (one compact JSON a line, in the order of the rows' ids) and, last, `manifest.json`
(trainer/stage.py). Clean also writes `rejected.jsonl`. Knows nothing of what a stage does to a row.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

from pydantic import Field, StringConstraints, ValidationError, model_validator

from shared_schemas.closed import Closed
from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanInput, PlanOutput
from shared_schemas.features.risk import RiskInput, RiskOutput
from trainer.errors import BrokenRows

ROWS = "rows.jsonl"
REJECTED = "rejected.jsonl"

Origin = Literal["ledger", "snapshot", "steps", "human", "teacher", "template"]
"""Who says that the answer is good. Of the history, people are trusted most, who corrected it or agreed on it in blind review; then the
ledger, which has the full input, snapshots and steps."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
"""A time in UTC with microseconds: such texts sort as the times do."""


class Source(Closed):
    """One row of the database that a row of ours came from; what is not known there is null.

    `people` are the ids of all whose words or work it holds: an erasure of any of them reaches it.
    """

    table: str
    id: str
    org_id: str | None
    user_id: str | None
    task_id: str | None
    created_at: Time
    people: list[str] = Field(default_factory=list)


class Row(Closed):
    """One example on its way into a dataset.

    `sources` are all database rows that collapsed into it, by table and id. A teacher's row that varies another has that
    row's sources, so that an erasure reaches it too, and names it as `seed_id`. `copies` counts what collapsed. `cell` is
    its place in the coverage grid, `cluster` the id of the first row of its near-duplicates. `quality` holds figures from 0
    to 1 about the answer, such as the share of a proposed plan that the manager kept.
    """

    id: Sha256
    feature: str
    origin: Origin
    sources: list[Source]
    prompt_version: str
    prompt_input: RiskInput | PlanInput = Field(union_mode="smart")
    output: RiskOutput | PlanOutput = Field(union_mode="smart")
    seed_id: Sha256 | None = None
    cell: str | None = None
    copies: Annotated[int, Field(ge=1)] = 1
    cluster: Sha256 | None = None
    quality: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_what_it_says(self) -> "Row":
        feature: Any = FEATURES.get(self.feature)
        if feature is None or not isinstance(self.prompt_input, feature.prompt_input) or not isinstance(self.output, feature.output):
            raise ValueError(f"its shapes do not belong to the feature {self.feature!r}")
        if self.id != content_id(self.feature, self.prompt_input, self.output):
            raise ValueError("its id is not the hash of its content")
        return self


def make_row(feature: str, origin: Origin, prompt_input: Any, output: Any, **rest: Any) -> Row:
    """A row with its id. `rest`: at least `sources` and `prompt_version`."""
    return Row(id=content_id(feature, prompt_input, output), feature=feature, origin=origin, prompt_input=prompt_input, output=output, **rest)


def content_id(feature: str, prompt_input: Closed, output: Closed) -> str:
    """Hex SHA-256 of what a model would learn from: feature, input and answer, as compact JSON a line each."""
    return hashlib.sha256("\n".join((feature, compact_json(prompt_input), compact_json(output))).encode()).hexdigest()


@contextmanager
def kept_private() -> Iterator[None]:
    """Files and folders made in this block are their owner's alone: they hold people's own words."""
    usual = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(usual)


def stage_folder(work: Path, feature: str, stage: str) -> Path:
    return work / feature / stage


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, one at a time. Raises BrokenRows with the line that is none."""
    for number, line in enumerate(_lines(path), 1):
        try:
            yield Row.model_validate_json(line)
        except ValidationError as error:
            raise BrokenRows(f"Cannot read line {number} of {path}: {error.errors()[0]['msg']} (run its stage again)") from None


def write_rows(path: Path, rows: Iterable[Row]) -> dict[str, Any]:
    """Write rows as they come; the file is there whole or not at all. Returns `rows` (how many) and `sha256` of the file."""
    return write_lines(path, (compact_json(row) for row in rows))


def write_lines(path: Path, lines: Iterable[str]) -> dict[str, Any]:
    """Write lines as they come, as `write_rows` does."""
    count, digest = 0, hashlib.sha256()
    with written_whole(path) as file:
        for line in lines:
            text = f"{line}\n"
            file.write(text)
            digest.update(text.encode())
            count += 1
    return {"rows": count, "sha256": digest.hexdigest()}


@contextmanager
def written_whole(path: Path) -> Iterator[TextIO]:
    """A file that appears under its name only when the block ends well, and is on the disk then."""
    partial = path.with_name(f"{path.name}.part")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except FileNotFoundError:
        raise BrokenRows(f"Cannot read {path}: it is not there (run the stage before it)") from None
