"""Owns what a model is judged by: the gold set's rows, found and checked. A set that leaks into training judges nobody."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from trainer.data.leakage import HeldOut, count_leaks
from trainer.data.row import Row, read_rows, stage_folder
from trainer.data.split import GOLD, SYNTHETIC
from trainer.errors import CannotJudge
from trainer.supabase_client import Project

Rows = Mapping[str, Sequence[Row]]
"""By feature."""


def find_gold(work: Path, feature: str) -> Path | None:
    """The frozen gold set of a feature, else the provisional one of the split stage, else none. An empty file is none."""
    places = (stage_folder(work, feature, GOLD), stage_folder(work, feature, "split") / GOLD)
    return next((path for path in places if path.exists() and path.stat().st_size), None)


def find_split(work: Path, feature: str, name: str) -> Path | None:
    """The file that the split stage wrote under that name, if it has."""
    path = stage_folder(work, feature, "split") / f"{name}.jsonl"
    return path if path.exists() else None


def read_gold(path: Path, features: Sequence[str] = tuple(FEATURES)) -> dict[str, list[Row]]:
    """The rows of a file by feature, each once. Raises CannotJudge when it holds none of them, BrokenRows for a line that is no row."""
    rows = {row.id: row for row in read_rows(path)}
    found = {name: [row for row in rows.values() if row.feature == name] for name in features}
    if not any(found.values()):
        raise CannotJudge(f"Cannot judge by {path}: it holds no rows of {' or '.join(features)} (run python -m trainer data)")
    return {name: some for name, some in found.items() if some}


def gold_of_project(project: Project, features: Sequence[str] = tuple(FEATURES)) -> dict[str, list[Row]]:
    """The gold set that is frozen in the project. Raises CannotJudge where none is."""
    found = {name: [Row.model_validate_json(json.dumps(line["row"])) for line in project.call("slm_gold_rows", p_feature=name)] for name in features}
    if not any(found.values()):
        raise CannotJudge(f"Cannot judge by the project: no gold set of {' or '.join(features)} is frozen there (run python -m trainer data --write-back)")
    return {name: some for name, some in found.items() if some}


def check_leaks(gold: Sequence[Row], train: Path) -> None:
    """Raises CannotJudge when a row of the training file is one of the gold set, near it, or of the same task, cluster or seed."""
    held = HeldOut({"gold": [json.loads(compact_json(row)) for row in gold]})
    feature = gold[0].feature
    rows = (json.loads(compact_json(row)) for row in read_rows(train) if row.feature == feature)
    leaks = count_leaks(rows, held).get("gold", {})
    if leaks:
        kinds = ", ".join(f"{kind} {count}" for kind, count in leaks.items())
        raise CannotJudge(f"Cannot judge {feature}: {sum(leaks.values())} rows of {train} leak into the gold set ({kinds}; run python -m trainer data --feature {feature})")


def is_made_up(rows: Sequence[Row]) -> bool:
    return all(row.origin in SYNTHETIC for row in rows)


def rows_sha256(rows: Sequence[Row]) -> str:
    """The hash of a set of rows, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(row.id for row in rows)).encode()).hexdigest()
