"""Owns writing a dataset into the project, and taking the frozen gold set out of it.

Knows nothing of tables: the database's own functions write each batch whole or not at all. Everything may be repeated:
a run that was killed writes the same again and adds nothing twice.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from shared_schemas.feature import compact_json
from trainer.data.format import TOO_LONG
from trainer.data.leakage import Line
from trainer.data.report import figures, in_order
from trainer.data.row import Row, write_rows
from trainer.data.split import SPLITS
from trainer.errors import BrokenRows
from trainer.stage import read_manifest, write_json
from trainer.supabase_client import Project

BATCH = 200
"""Examples of one call, some 300 kB."""


@dataclass(frozen=True)
class WriteBackOptions:
    feature: str
    project: Project
    progress: Callable[[str], None] = lambda _: None


def run(previous: Path, folder: Path, options: WriteBackOptions) -> dict[str, Any]:
    """Write the dataset that `previous` (the format stage) describes, with the rows of the split stage beside it.

    A dataset is named by what is learned from it, so one that is there already may have new sources: it is written all the same.
    Facts: dataset_id, splits, gold (examples frozen: none while it is provisional), was (its status before). Raises ProjectUnreachable with what the database says: another
    gold set is frozen, or a row is of a person who asked to be forgotten since.
    """
    formatted = read_manifest(previous).get("facts")
    split = previous.parent / "split"
    if formatted is None:
        raise BrokenRows(f"Cannot write back {previous}: it has no manifest (run the format stage)")
    project, name = options.project, formatted["dataset_id"]
    sorted_out = read_manifest(split).get("facts", {})
    frozen = 0
    if sorted_out.get("gold") == "frozen":
        frozen = project.call("slm_freeze_gold", p_feature=options.feature, p_rows=list(_rows(split / "gold.jsonl")))
    counts = {split: facts["rows"] for split, facts in formatted["splits"].items()}
    manifest = {"split": sorted_out, "format": {key: value for key, value in formatted.items() if key != "sha256"}, "report": in_order(figures(previous.parent, options.feature))}
    status = project.call("slm_begin_dataset", p_id=name, p_feature=options.feature, p_splits=counts, p_manifest=manifest)
    lines, written = _examples(split, previous), 0
    while batch := list(islice(lines, BATCH)):
        project.call("slm_write_dataset", p_id=name, p_rows=batch)
        written += len(batch)
        options.progress(f"write back: {written} of {sum(counts.values())} examples")
    project.call("slm_finish_dataset", p_id=name)
    facts = {"dataset_id": name, "splits": counts, "gold": frozen, "was": status}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "manifest.json", {"key": name, "inputs": {"dataset_id": name}, "facts": facts})
    return facts


def refresh_gold(project: Project, feature: str, gold: Path, written: Path) -> int:
    """Make the local gold file what the project has frozen, if it has: on a new machine, or after an erasure. Returns how many.

    `written` is the folder that `run` left: once the gold set was frozen in the project, the local file goes with its last row.
    """
    frozen = [line["row"] for line in project.call("slm_gold_rows", p_feature=feature)]
    if frozen:
        gold.parent.mkdir(parents=True, exist_ok=True)
        write_rows(gold, (Row.model_validate_json(json.dumps(row)) for row in frozen))
    elif read_manifest(written).get("facts", {}).get("gold"):
        gold.unlink(missing_ok=True)
    return len(frozen)


def _examples(split: Path, formatted: Path) -> Iterator[dict[str, Any]]:
    too_long = {json.loads(line)["id"] for line in (formatted / TOO_LONG).read_text(encoding="utf-8").split("\n") if line}
    for name in SPLITS:
        yield from ({**row, "split": name} for row in _rows(split / f"{name}.jsonl") if row["id"] not in too_long)


def _rows(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(compact_json(Row.model_validate_json(line)))
