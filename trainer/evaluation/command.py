"""Owns the command `evaluate`: which models, which gold set, where the verdict goes. Exit 1 when a model is under the operator's lines."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from inference.settings import read_settings
from shared_schemas.features import FEATURES
from trainer.data.row import Row, kept_private
from trainer.errors import CannotJudge, UnderTheLine
from trainer.evaluation.answers import Judged, baseline_model, local_model
from trainer.evaluation.gold import check_leaks, find_gold, find_split, gold_of_project, read_gold
from trainer.stage import write_json
from trainer.supabase_client import Project, open_project

if TYPE_CHECKING:
    from trainer.evaluation.evaluation import Evaluation, FeatureVerdict

# SciPy takes a second to load: what needs it is imported when it runs.

PROJECT = "project"
SHOWN = ("accepted", "first_try", "level_right", "macro_f1", "phases_agree", "steps_agree", "hours_agree", "rouge_l", "house_voice", "no_jargon")


def has_gold(work: Path, features: Sequence[str]) -> bool:
    return any(find_gold(work, feature) for feature in features)


@kept_private()
def run(options: argparse.Namespace, progress: Callable[[str], None]) -> None:
    """Judge, write down, print, and hold against the lines. Raises UnderTheLine, CannotJudge, and what reading and loading raise."""
    from trainer.evaluation.evaluation import evaluate_models
    from trainer.evaluation.promptfoo import promptfoo_json
    from trainer.evaluation.report import write_report
    from trainer.evaluation.results import write_results

    lines = read_lines(options.fail_under)
    features = list(FEATURES) if options.feature == "all" else [options.feature]
    with ExitStack() as stack:
        opened: list[Project] = []

        def project() -> Project:
            if not opened:
                opened.append(stack.enter_context(open_project()))
            return opened[0]

        gold = _gold(options, features, project)
        for name, rows in gold.items():
            train = find_split(options.work_dir, name, "train")
            if train:
                check_leaks(rows, train)
        models = _models(options.models.split(","), list(gold), project)
        evaluation = evaluate_models(models, gold, validation=_validation(options, list(gold)), folder=options.work_dir / "evaluation", progress=progress)
        where = options.report or options.work_dir / "evaluation" / "report.html"
        write_report(evaluation, where)
        if options.promptfoo:
            write_json(options.promptfoo, promptfoo_json(evaluation))
        if options.write_back:
            write_results(project(), evaluation, report=where.name, progress=progress)
    if options.json:
        print(json.dumps(evaluation.summary(), indent=2))
    else:
        show(evaluation)
        print(f"report: {where}")
    check_lines(evaluation, lines)


def read_lines(text: str) -> dict[str, float]:
    """`accepted=0.95,rouge_l=0.5` as figures. Raises CannotJudge for what is none."""
    lines: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, figure = part.partition("=")
        try:
            lines[name.strip()] = float(figure)
        except ValueError:
            raise CannotJudge(f"Cannot use --fail-under {part!r}: it must be METRIC=FIGURE, such as accepted=0.95") from None
    return lines


def check_lines(evaluation: "Evaluation", lines: Mapping[str, float]) -> None:
    """Hold the first model against the lines, in every feature that has the metric. Raises UnderTheLine with each miss."""
    misses, known = [], set[str]()
    for verdict in evaluation.features.values():
        first = verdict.models[0]
        known |= set(first.metrics)
        for name, line in lines.items():
            found = first.metrics.get(name)
            if found and found.mean < line:
                misses.append(f"{verdict.feature} {name} is {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}], {line - found.mean:.3f} under {line:g}")
    unknown = sorted(set(lines) - known)
    if unknown:
        raise CannotJudge(f"Cannot hold {evaluation_name(evaluation)} against {', '.join(unknown)}: there is no such metric (there are: {', '.join(sorted(known))})")
    if misses:
        raise UnderTheLine(f"{evaluation_name(evaluation)} is under the line: {'; '.join(misses)}")


def evaluation_name(evaluation: "Evaluation") -> str:
    return next(iter(evaluation.features.values())).models[0].name


def show(evaluation: "Evaluation") -> None:
    """A table for each feature on the terminal: one column a model, then what differs, then the line."""
    for verdict in evaluation.features.values():
        of = ", made up" if verdict.made_up else ""
        table = Table(title=f"{verdict.feature}: n = {verdict.n} gold examples{of}, 95 % intervals", title_justify="left")
        for column in ("metric", *(model.name if model.n == verdict.n else f"{model.name} (n = {model.n})" for model in verdict.models)):
            table.add_column(column)
        for metric in SHOWN:
            if metric in verdict.models[0].metrics:
                table.add_row(metric, *(f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in (model.metrics[metric] for model in verdict.models)))
        table.add_row("refused", *(", ".join(f"{code} {count}" for code, count in model.refused.items()) or "none" for model in verdict.models))
        table.add_row("p50, p95 ms", *(f"{model.latency.p50_ms or 0:.0f}, {model.latency.p95_ms or 0:.0f}" for model in verdict.models))
        Console().print(table)
        for line in differences(verdict):
            print(f"  {line}")


def differences(verdict: "FeatureVerdict") -> list[str]:
    """What differs beyond chance, and what the confidence is worth, a sentence each."""
    said = [
        f"{one.metric}: {one.ours} {one.difference.mean:+.3f} [{one.difference.low:+.3f}, {one.difference.high:+.3f}] against {one.theirs}, p = {one.p_holm:.4f} ({one.difference.test}, Holm)"
        for one in verdict.comparisons
        if one.p_holm < 0.05 and one.metric in SHOWN
    ]
    if verdict.comparisons and not said:
        said = ["no difference that is not chance (p < 0.05 after Holm)"]
    if verdict.confidence:
        line = verdict.confidence.line
        said.append(f"confidence: {verdict.confidence.calibration.kind}, ECE on gold {verdict.confidence.before.ece} before, {verdict.confidence.after.ece} after (n = {verdict.confidence.after.n})")
        said.append(f"min_confidence: {'none' if line.min_confidence is None else line.min_confidence} ({line.why})")
    return said


def _gold(options: argparse.Namespace, features: Sequence[str], project: Callable[[], Project]) -> dict[str, list[Row]]:
    if options.gold == PROJECT:
        found = gold_of_project(project(), features)
    elif options.gold:
        found = read_gold(Path(options.gold), features)
    else:
        paths = {name: path for name in features if (path := find_gold(options.work_dir, name))}
        if not paths:
            raise CannotJudge(f"Cannot judge: there is no gold set of {' or '.join(features)} in {options.work_dir} (run python -m trainer data, or name a file with --gold)")
        found = {name: read_gold(path, [name])[name] for name, path in paths.items()}
    return {name: rows[: options.limit] for name, rows in found.items()}


def _validation(options: argparse.Namespace, features: Sequence[str]) -> dict[str, list[Row]]:
    if options.validation:
        found = read_gold(options.validation, features)
    else:
        paths = {name: path for name in features if (path := find_split(options.work_dir, name, "validation")) and path.stat().st_size}
        found = {name: read_gold(path, [name])[name] for name, path in paths.items()} if not options.gold else {}
    return {name: rows[: options.limit] for name, rows in found.items()}


def _models(names: Sequence[str], features: Sequence[str], project: Callable[[], Project]) -> list[Judged]:
    settings = read_settings()
    found: list[Judged] = []
    for name in names:
        kind, _, model = name.partition(":")
        if kind == "baseline":
            found.append(baseline_model(project(), features, today=datetime.now(UTC).date().isoformat(), model=model))
        else:
            found.append(local_model(name, settings))
    return found


def add_options(parser: argparse.ArgumentParser, *, work: Path) -> None:
    parser.add_argument("--feature", choices=["all", *FEATURES], default="all", help="(default: %(default)s)")
    parser.add_argument(
        "--models",
        default="active,base",
        help="the judged model first, then those it is held against: a folder with manifest.json, active (what the service's settings name), base (untuned, told by instructions), baseline[:MODEL] (the vault's answers); default: %(default)s",
    )
    parser.add_argument("--gold", help="a file of rows, or 'project' for the set that is frozen there (default: gold.jsonl of each feature in the work folder, frozen or provisional)")
    parser.add_argument("--validation", type=Path, help="a file of rows on which confidence is fitted (default: the split stage's, where --gold is not given)")
    parser.add_argument("--fail-under", default="", metavar="METRIC=FIGURE,…", help="exit 1 when a mean of the first model is lower, in any feature that has the metric")
    parser.add_argument("--report", type=Path, help="the HTML page (default: evaluation/report.html in the work folder)")
    parser.add_argument("--promptfoo", type=Path, help="also write the evaluation as promptfoo's JSON")
    parser.add_argument("--write-back", action="store_true", help="write results into the project (slm_eval_runs, slm_eval_results)")
    parser.add_argument("--work-dir", type=Path, default=work, help="folder of the data stages; answers are kept in its evaluation folder (default: .stack/data)")
