"""Owns the data report: what a dataset is made of and what was left out, as one HTML file and as figures for the console.

Reads what the stages left behind; knows nothing of how they work, and asks nothing of a network. A stage that has not run is
named, not guessed.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from shared_schemas.features import FEATURES
from trainer.data.coverage import AXES, axis_counts
from trainer.data.extract import PEOPLE
from trainer.data.judge import REASONS
from trainer.data.leakage import KINDS
from trainer.data.row import REJECTED, ROWS, kept_private, stage_folder, written_whole
from trainer.errors import BrokenRows
from trainer.finetune import REPOSITORY
from trainer.stage import read_manifest

WORK = REPOSITORY / ".stack" / "data"
SPLITS = ("train", "validation", "test", "gold")
STAGES = ("extract", "clean", "synthesise", "split", "format")
EXAMPLES = 6
BIN = 16
"""Tokens a bar, as the format stage counts them."""
BALANCE = {"risk": ("Risk levels", ("low", "medium", "high")), "plan": ("Numbers of steps", AXES["plan"]["steps"])}
GRID = {"risk": (("level", "progress"), "milestone"), "plan": (("domain",), "skill")}
"""Which axes the grid's lines and columns show; the others have tables of their own."""


def write_report(work: Path, out: Path) -> None:
    """Write the report of every feature that has a stage's folder under `work`. Raises BrokenRows when none has."""
    found = [collect(work, name) for name in FEATURES if any(read_manifest(stage_folder(work, name, stage)) for stage in STAGES)]
    if not found:
        raise BrokenRows(f"Cannot report on {work}: no stage has run there (run python -m trainer data)")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(files("trainer.data").joinpath("report.html").read_text(encoding="utf-8"))
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as file:
        file.write(template.render(features=found, bin=BIN))


def collect(work: Path, name: str) -> dict[str, Any]:
    """What the template shows of one feature."""
    folders = {stage: stage_folder(work, name, stage) for stage in STAGES}
    facts = _facts(folders)
    shown = figures(work / name, name)
    return {**shown, "kept": list(_kept(folders, facts, sorted(shown["origins"]))), "left_out": list(_left_out(folders))}


def _facts(folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    return {stage: read_manifest(folder).get("facts", {}) for stage, folder in folders.items()}


def figures(work: Path, name: str) -> dict[str, Any]:
    """Counts and shares of one feature's dataset, whose stages' folders lie in `work`: nothing that anybody wrote, so that it may outlive an erasure."""
    folders = {stage: work / stage for stage in STAGES}
    facts = _facts(folders)
    origins, balance, cells = _counts(folders, facts, name)
    formatted, leakage = facts["format"], facts["split"].get("leakage", {})
    train = formatted.get("splits", {}).get("train", {})
    return {
        "name": name,
        "missing": [stage for stage in STAGES if not facts[stage]],
        "dataset_id": formatted.get("dataset_id"),
        "numbers": _numbers(facts),
        "origins": dict(sum(origins.values(), Counter[str]()).most_common()),
        "origins_by_split": {split: dict(counts) for split, counts in origins.items()},
        "balance_of": BALANCE[name][0],
        "balance_values": BALANCE[name][1],
        "balance": balance,
        "reasons": _most_first(facts["clean"].get("reasons", {})),
        "meanings": {reason: REASONS[reason] for reason in facts["clean"].get("reasons", {})},
        "by_source": facts["clean"].get("by_source", {}),
        "refused": _most_first(facts["synthesise"].get("rejected", {})),
        "grid": _grid(name, cells) if cells else None,
        "cells": _cells(facts["synthesise"].get("coverage", {})),
        "axes": {axis: counts for axis, counts in axis_counts(name, cells).items() if axis not in {*GRID[name][0], GRID[name][1]}},
        "histogram": train.get("histogram"),
        "length": f"median {train['p50']:,} tokens, 95 % up to {train['p95']:,}, longest {train['longest']:,}; the sequence holds {formatted['sequence_len']:,}, and {_too_long(formatted)} longer ones are left out whole"
        if train
        else "",
        "leakage": leakage,
        "aside": [_aside(reason, rows) for reason, rows in leakage.get("set_aside", {}).items()],
        "wrote": _wrote(facts["synthesise"]),
    }


def in_order(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Figures for the database, whose objects forget the order of their names: what has one becomes pairs."""
    grid = shown["grid"] and {**shown["grid"], "lines": list(shown["grid"]["lines"].items())}
    axes = [(axis, list(counts.items())) for axis, counts in shown["axes"].items()]
    pairs = {name: list(shown[name].items()) for name in ("numbers", "reasons", "refused", "wrote")}
    return {**shown, **pairs, "grid": grid, "axes": axes, "histogram": shown["histogram"] and list(shown["histogram"].items())}


def _counts(folders: Mapping[str, Path], facts: Mapping[str, Any], name: str) -> tuple[dict[str, Counter[str]], dict[str, dict[str, int]], Counter[str]]:
    """Origins of each split, what it holds of each level or span of steps, and grid cells; before there are splits, of all rows."""
    origins, cells, balance = dict[str, Counter[str]](), Counter[str](), dict[str, dict[str, int]]()
    paths = {split: folders["split"] / f"{split}.jsonl" for split in SPLITS} if facts["split"] else {"not split": _rows_so_far(folders, facts)}
    for split, path in paths.items():
        counts, origins[split] = Counter[str](), Counter[str]()
        for row in _lines(path):
            origins[split][row["origin"]] += 1
            counts[row["output"]["risk_level"] if name == "risk" else _steps(row["output"]["suggested_plan"])] += 1
            if row["cell"]:
                cells[row["cell"]] += 1
        balance[split] = dict(counts)
    return origins, balance, cells


def _steps(plan: Sequence[Any]) -> str:
    return next(span for span in AXES["plan"]["steps"] if len(plan) <= int(span.split("-")[1]))


def _rows_so_far(folders: Mapping[str, Path], facts: Mapping[str, Any]) -> Path:
    return folders["synthesise" if facts["synthesise"] else "clean"] / ROWS


def _numbers(facts: Mapping[str, Any]) -> dict[str, int]:
    """The way of the rows, first to last."""
    split, clean = facts["split"], facts["clean"]
    numbers = {
        "candidates in the history": facts["extract"].get("rows"),
        "left out": sum(clean["reasons"].values()) if "reasons" in clean else None,
        "collapsed into others": clean["same"] + clean["nearly_same"] if "same" in clean else None,
        "overruled by people": clean.get("overruled"),
        "kept": clean.get("rows"),
        "added by a teacher": facts["synthesise"].get("added"),
        "put aside against leaks": split.get("set_aside"),
        **{f"in {name}": split["rows"][name] for name in SPLITS if split},
    }
    return {name: number for name, number in numbers.items() if number is not None}


def _grid(name: str, cells: Mapping[str, int]) -> dict[str, Any]:
    axes = list(AXES[name])
    lines, column = GRID[name]
    counts: Counter[tuple[str, str]] = Counter()
    for cell, count in cells.items():
        values = dict(zip(axes, cell.split("|"), strict=True))
        counts[", ".join(values[line] for line in lines), values[column]] += count
    names = [""]
    for line in lines:
        names = [f"{before}, {value}".removeprefix(", ") for before in names for value in AXES[name][line]]
    columns = AXES[name][column]
    return {"rows_are": " and ".join(lines), "columns_are": column, "columns": columns, "lines": {line: [counts[line, value] for value in columns] for line in names}, "most": max(counts.values())}


def _cells(coverage: Mapping[str, Any]) -> str:
    if not coverage:
        return ""
    return f"All axes together: {coverage['cells_before']:,} cells held a row before the teacher wrote, {coverage['cells_after']:,} after; {coverage['cells_within_reach']:,} were within reach."


def _too_long(formatted: Mapping[str, Any]) -> int:
    return sum(split["too_long"] for split in formatted["splits"].values())


def _aside(reason: str, rows: int) -> dict[str, Any]:
    kind, _, split = reason.partition(", ")
    return {"kind": kind.replace("_", " "), "split": split, "rows": rows, "meaning": {str(one): text for one, text in KINDS.items()}.get(kind, "its task, cluster or seed")}


def _wrote(facts: Mapping[str, Any]) -> dict[str, str]:
    if "diversity" not in facts:
        return {}
    answers, titles, cost = facts["diversity"]["answers"], facts["diversity"]["titles"], facts["cost"]
    return {
        "teacher": f"{facts['origin']}; {facts['seeded']:,} examples vary a row of the history",
        "answers": f"distinct-1 {answers['distinct_1']:.3f}, distinct-2 {answers['distinct_2']:.3f}, self-similarity {answers['self_similarity']:.2f} (ROUGE-L with the nearest other)",
        "titles": f"distinct-1 {titles['distinct_1']:.3f}, distinct-2 {titles['distinct_2']:.3f}, self-similarity {titles['self_similarity']:.2f}",
        **{what.replace("_", " "): _style(figure) for what, figure in facts["style"].items()},
        "cost": f"{cost['calls']:,} calls, {cost['input_tokens']:,} tokens in, {cost['output_tokens']:,} out, ${cost['usd']:.4f}",
    }


def _style(figure: Any) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in figure.items()) if isinstance(figure, dict) else f"{figure:.0%}"


def _kept(folders: Mapping[str, Path], facts: Mapping[str, Any], origins: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The first of each origin in turn, each of another cell."""
    most = {origin: EXAMPLES // len(origins) + (i < EXAMPLES % len(origins)) for i, origin in enumerate(origins)}
    seen, cells = Counter[str](), set[str]()
    for row in _lines(folders["split"] / "train.jsonl" if facts["split"] else _rows_so_far(folders, facts)):
        if seen[row["origin"]] < most[row["origin"]] and (row["cell"] is None or row["cell"] not in cells):
            seen[row["origin"]] += 1
            cells.add(row["cell"])
            yield _example(f"{row['origin']}{', found ' + str(row['copies']) + ' times' if row['copies'] > 1 else ''}", row["prompt_input"], row["output"])


def _left_out(folders: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """One example of each reason, until there are enough. What cleaning left out still holds personal data: it is replaced here too."""
    from trainer.data.personal_data import Names, Placeholders

    people = dict(_lines(folders["extract"] / PEOPLE))
    seen: set[str] = set()
    for stage in ("clean", "synthesise"):
        for line in _lines(folders[stage] / REJECTED):
            if line["reason"] not in seen and len(seen) < EXAMPLES:
                seen.add(line["reason"])
                told = line.get("row") or _found(line["candidate"])
                hide = Placeholders(Names(people.get(line.get("candidate", {}).get("org_id") or "", ()))).replace
                yield _example(f"{line['reason']}: {line['detail']}".removesuffix(": "), told["prompt_input"], told["output"], hide)


def _found(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """A rejected candidate's title and answer, wherever its source keeps them."""
    found = candidate["found"]
    request, snapshot = found.get("request") or {}, found.get("snapshot") or {}
    task = found.get("task") or next(iter(found.get("tasks") or ()), None) or request.get("prompt_input") or {}
    steps = [step.get("step_title") for step in found.get("steps") or ()]
    said = (found.get("answer") or request).get("output")
    return {"prompt_input": task if isinstance(task, dict) else {}, "output": snapshot or said or {"suggested_plan": steps}}


def _example(tag: str, asked: Mapping[str, Any], output: Any, hide: Callable[[str], str] = str) -> dict[str, Any]:
    figures = [f"{name.replace('_', ' ')} {asked[name]}" for name in ("level", "milestone", "done_percent", "gone_percent") if name in asked]
    shown = {"tag": tag, "title": asked.get("title"), "asked": asked.get("description") or ", ".join(figures)}
    return {**{name: _short(hide(_line(text))) for name, text in shown.items()}, "said": [_short(hide(_line(text))) for text in _texts(output)[:8]]}


def _texts(output: Any) -> list[Any]:
    """What a person would have read of an answer, of whatever shape it is."""
    if not isinstance(output, dict):
        return [output] if output else []
    steps = output.get("suggested_plan") or []
    texts: Sequence[Any] = [step.get("title") if isinstance(step, dict) else step for step in steps] if isinstance(steps, list) else [steps]
    for name in ("reasons", "recommended_actions"):
        said = output.get(name) or []
        texts = [*texts, *(said if isinstance(said, list) else [said])]
    return [text for text in texts if text]


def _line(text: Any) -> str:
    """Any value as a line that can be written: halves of characters cannot."""
    return " ".join(str(text if text is not None else "").encode("utf-8", "replace").decode().split())


def _short(line: str, most: int = 220) -> str:
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _lines(path: Path) -> Iterator[Any]:
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)


# --- command line --------------------------------------------------------------------------------------------------


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("report", help="one HTML page that shows the dataset: sources, reasons, coverage, leaks, examples")
    parser.add_argument("--work-dir", type=Path, default=WORK, help="folder of the stages' results (default: .stack/data)")
    parser.add_argument("--out", type=Path, help="the page (default: report.html in the work folder)")
    parser.set_defaults(run=_report)


@kept_private()
def _report(options: argparse.Namespace) -> None:
    out = options.out or options.work_dir / "report.html"
    write_report(options.work_dir, out)
    print(out)
