"""Owns the commands of data: `python -m trainer data [STAGE]`. Stages in order, progress on stderr, tables or JSON on stdout."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from shared_schemas.feature import PromptStyle
from shared_schemas.features import FEATURES
from trainer.data.extract import NEEDS, extract
from trainer.data.judge import REASONS
from trainer.data.mirror import RELATIONS, open_mirror
from trainer.data.row import kept_private, stage_folder
from trainer.data.seed import Agreement, check_history, seed_history
from trainer.errors import TrainerError
from trainer.finetune import REPOSITORY
from trainer.supabase_client import open_project

EXAMPLES = """\
examples:
  python -m trainer data                                   every stage of both features, from the history to a dataset
  python -m trainer data extract --feature risk --dry-run  what would be read
  python -m trainer data clean --feature plan --json
  python -m trainer data seed --size 600                   a made-up history for a local project
  python -m trainer data check                             how well extract and clean found it again
"""
WORK = REPOSITORY / ".stack" / "data"
SEED = 20261122
Options = argparse.Namespace
Report = Callable[[str, int, int], None]
Stage = Callable[[str, Options, Report], dict[str, Any]]


class NoRehearsal(TrainerError):
    """A stage that cannot be tried without a result; the text says what can."""


class WrongHistory(TrainerError):
    """What extract and clean made of the made-up history is not good enough; the text says where to look."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("data", help="history and teacher to a dataset: all stages, or one", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_options(parser)
    parser.set_defaults(run=_run, stages=PIPELINE)
    stages = parser.add_subparsers(metavar="STAGE")
    for name, help_text in STAGE_HELP.items():
        one = stages.add_parser(name, help=help_text)
        _add_options(one, own=True)
        one.set_defaults(run=_run, stages=(name,))
    seed = stages.add_parser("seed", help="put a made-up history into a local project")
    seed.add_argument("--size", type=int, default=600, help="tasks (default: %(default)s; about 3 snapshots and 4 steps each)")
    seed.add_argument("--seed", type=int, default=1, help="the same seed gives the same history (default: %(default)s)")
    seed.add_argument("--work-dir", type=Path, default=WORK, help="where its truth is kept (default: .stack/data)")
    seed.add_argument("--json", action="store_true", help="print JSON instead of a line")
    seed.set_defaults(run=_seed)
    check = stages.add_parser("check", help="compare what was kept of the made-up history with its truth")
    check.add_argument("--work-dir", type=Path, default=WORK, help="where truth and stages are (default: .stack/data)")
    check.add_argument("--json", action="store_true", help="print JSON instead of tables")
    check.set_defaults(run=_check)


def _add_options(parser: argparse.ArgumentParser, *, own: bool = False) -> None:
    """A stage takes its options behind its name, the whole pipeline behind `data`; a stage's silence leaves those of `data` as they are."""

    def default(value: Any) -> Any:
        return argparse.SUPPRESS if own else value

    parser.add_argument("--feature", choices=[*FEATURES, "all"], default=default("all"), help="risk, plan or all (default: all)")
    parser.add_argument("--work-dir", type=Path, default=default(WORK), help="folder of the stages' results (default: .stack/data)")
    parser.add_argument("--since", type=_time, default=default(None), metavar="DAY", help="only history from this day (UTC) on, such as 2026-03-10")
    parser.add_argument("--limit", type=_natural, default=default(None), help="at most so many answers of each source")
    parser.add_argument("--dry-run", action="store_true", default=default(False), help="say what extract would read, or what clean would keep; leave no result")
    parser.add_argument("--json", action="store_true", default=default(False), help="print JSON instead of tables")
    parser.add_argument("--seed", type=int, default=default(SEED), help="of synthesise and split: the same gives the same dataset (default: 20261122)")
    parser.add_argument("--teacher", default=default("template"), metavar="NAME", help="who fills the gaps: template (offline), or a model of TEACHER_MODEL or slm_providers (default: template)")
    parser.add_argument("--count", type=_natural, default=default(1000), help="examples that the teacher adds (default: 1000)")
    parser.add_argument("--budget-usd", type=float, default=default(1.0), help="the most that the teacher's answers to these datasets may cost, both features together (default: 1)")
    parser.add_argument("--yes", action="store_true", default=default(False), help="pay the teacher's estimate without asking")
    parser.add_argument("--concurrency", type=_natural, default=default(8), help="questions to the teacher at a time (default: 8)")
    parser.add_argument("--style", choices=get_args(PromptStyle), default=default("terse"), help="how the model is told what to do (default: terse, for a tuned one)")
    parser.add_argument("--write-back", action="store_true", default=default(False), help="at the end, write the dataset into the project")


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _time(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise argparse.ArgumentTypeError("must be a day such as 2026-03-10")
    return text


@kept_private()
def _run(options: Options) -> None:
    features = tuple(FEATURES) if options.feature == "all" else (options.feature,)
    stages = [*options.stages, "write-back"] if options.write_back else list(options.stages)
    if options.dry_run:
        _dry_run(features, stages, options)
        return
    done: dict[str, dict[str, Any]] = {}
    with _progress() as report:
        for feature in features:
            done[feature] = {stage: STAGES[stage](feature, options, report) for stage in stages}
            # One budget for all features: what this one's examples cost is gone, whenever it was paid.
            options.budget_usd -= done[feature].get("synthesise", {}).get("cost", {}).get("usd", 0)
    _print(done, as_json=options.json)


# --- the stages: what each is given. Those that load heavy packages are imported when they run ------------------------


def _extract(feature: str, options: Options, report: Report) -> dict[str, Any]:
    with open_project() as project, open_mirror(options.work_dir, project.url) as mirror:
        return extract(mirror, project, feature, stage_folder(options.work_dir, feature, "extract"), since=options.since, limit=options.limit, progress=report)


def _clean(feature: str, options: Options, report: Report) -> dict[str, Any]:
    from trainer.data import clean

    return clean.run(*_folders(feature, options, "extract", "clean"), progress=report)


def _synthesise(feature: str, options: Options, report: Report) -> dict[str, Any]:
    from trainer.data import synthesise
    from trainer.data.teacher import TEMPLATE, find_teacher

    teacher = None if options.teacher == TEMPLATE else find_teacher(options.teacher, today=datetime.now(UTC).date(), open_project=open_project)
    wanted = synthesise.SynthesiseOptions(feature, options.count, options.seed, teacher, budget_usd=options.budget_usd, yes=options.yes, concurrency=options.concurrency, progress=_lines(report))
    return synthesise.run(*_folders(feature, options, "clean", "synthesise"), wanted)


def _split(feature: str, options: Options, report: Report) -> dict[str, Any]:
    """The project's frozen gold set comes first, each time: somebody in it may have been erased since."""
    from trainer.data import split
    from trainer.data.write_back import refresh_gold

    previous, folder = _folders(feature, options, "synthesise", "split")
    with open_project() as project:
        refresh_gold(project, feature, folder.parent / split.GOLD, stage_folder(options.work_dir, feature, "write-back"))
    return split.run(previous, folder, split.SplitOptions(feature, options.seed, progress=_lines(report)))


def _format(feature: str, options: Options, report: Report) -> dict[str, Any]:
    from trainer.data import format as formatting

    style: PromptStyle = options.style
    return formatting.run(*_folders(feature, options, "split", "format"), formatting.FormatOptions(feature, style=style, progress=_lines(report)))


def _write_back(feature: str, options: Options, report: Report) -> dict[str, Any]:
    from trainer.data import write_back

    with open_project() as project:
        return write_back.run(*_folders(feature, options, "format", "write-back"), write_back.WriteBackOptions(feature, project, progress=_lines(report)))


STAGES: Mapping[str, Stage] = {"extract": _extract, "clean": _clean, "synthesise": _synthesise, "split": _split, "format": _format, "write-back": _write_back}
PIPELINE = ("extract", "clean", "synthesise", "split", "format")
STAGE_HELP = {
    "extract": "read the history: one candidate for each answer that it may hold",
    "clean": "keep what is worth learning from; say why the rest is not",
    "synthesise": "let a teacher fill the gaps in coverage",
    "split": "train, validation, test and gold, without leaks",
    "format": "the files that Axolotl and others read",
    "write-back": "write the dataset into the project",
}


def _folders(feature: str, options: Options, previous: str, stage: str) -> tuple[Path, Path]:
    return stage_folder(options.work_dir, feature, previous), stage_folder(options.work_dir, feature, stage)


def _lines(report: Report) -> Callable[[str], None]:
    """A stage that tells its progress in a line such as `split: 10 of 50 rows`, shown as a bar."""

    def line(text: str) -> None:
        what, _, rest = text.partition(":")
        counted = re.search(r"(\d+) of (\d+)", rest)
        report(what, *(map(int, counted.groups()) if counted else (0, 0)))

    return line


def _dry_run(features: Sequence[str], stages: Sequence[str], options: Options) -> None:
    """What extract would read, or what clean would keep and why not; nothing is left behind. Other stages have no rehearsal."""
    if "extract" in stages:
        _say_what_would_be_read(features, options)
    elif list(stages) == ["clean"]:
        from trainer.data import clean

        with TemporaryDirectory() as nowhere:
            done = {feature: {"clean": clean.run(stage_folder(options.work_dir, feature, "extract"), Path(nowhere) / feature)} for feature in features}
        _print(done, as_json=options.json)
    else:
        raise NoRehearsal(f"Cannot rehearse {', '.join(stages)}: --dry-run is for extract, clean and the whole pipeline (choose another --work-dir to try it out)")


def _say_what_would_be_read(features: Sequence[str], options: Options) -> None:
    with open_project() as project, open_mirror(options.work_dir, project.url) as mirror:
        names = dict.fromkeys(name for feature in features for name in NEEDS[feature])
        counts = {name: mirror.stale_rows(project, RELATIONS[name]) for name in names}
    if options.json:
        print(json.dumps({name: {"would_read": stale, "rows": rows} for name, (stale, rows) in counts.items()}, indent=2))
        return
    table = _table("would be read", "table", "new or changed", "rows")
    for name, (stale, rows) in counts.items():
        table.add_row(name, f"{stale:,}", f"{rows:,}")
    Console().print(table)


@kept_private()
def _seed(options: Options) -> None:
    with _progress() as report, open_project() as project:
        counts = seed_history(project, project.url, options.work_dir, size=options.size, seed=options.seed, progress=report)
    print(json.dumps(counts) if options.json else "seeded " + ", ".join(f"{count:,} {table}" for table, count in counts.items()))


def _check(options: Options) -> None:
    found = check_history(options.work_dir)
    if options.json:
        agreements = {kind: {name: _figures(one) for name, one in group.items()} for kind, group in (("sources", found.sources), ("traps", found.traps))}
        print(json.dumps({**agreements, "personal_data": found.personal_data, "wrong": found.wrong}, indent=2))
    else:
        for title, group in (("by source", found.sources), ("by trap", found.traps)):
            table = _table(title, title.removeprefix("by "), "rows", "should be kept", "kept", "precision", "recall", "ended rightly")
            for name, one in group.items():
                table.add_row(name, f"{one.rows:,}", f"{one.should_be_kept:,}", f"{one.kept:,}", f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.right:.3f}")
            Console(width=max(Console().width, 120)).print(table)
        seen = found.personal_data
        print(f"personal data: recall {seen['recall']:.4f} (n = {seen['planted']:,} planted), precision {seen['precision']:.4f} (n = {seen['placeholders']:,} placeholders)")
        print(*found.wrong, sep="\n", end="\n" if found.wrong else "")
    if not found.is_good:
        raise WrongHistory("Cannot trust extract and clean: a figure above is under 0.99")


def _figures(one: Agreement) -> dict[str, float]:
    return {**one.__dict__, "precision": one.precision, "recall": one.recall, "right": one.right}


def _print(done: Mapping[str, Mapping[str, Mapping[str, Any]]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done, indent=2))
        return
    for feature, stages in done.items():
        table = _table(feature, "stage", "rows", "what", "hash")
        for stage, facts in stages.items():
            table.add_row(stage, _rows(facts), _said(facts), _hash(facts))
        Console(width=max(Console().width, 120)).print(table)
        rejected = stages.get("clean", {}).get("reasons", {})
        if rejected:
            reasons = _table(f"{feature}: rejected", "reason", "rows", "because")
            for reason, count in sorted(rejected.items(), key=lambda one: -one[1]):
                reasons.add_row(reason, f"{count:,}", REASONS[reason])
            Console(width=max(Console().width, 120)).print(reasons)


def _rows(facts: Mapping[str, Any]) -> str:
    """How many rows a stage ended with, split by split where it splits."""
    rows = facts.get("rows", facts.get("splits", {}))
    if isinstance(rows, dict):
        return "\n".join(f"{name} {count['rows'] if isinstance(count, dict) else count:,}" for name, count in rows.items())
    return f"{rows:,}"


def _hash(facts: Mapping[str, Any]) -> str:
    found = facts.get("dataset_id", facts.get("sha256"))
    return found[:12] if isinstance(found, str) else ""


def _said(facts: Mapping[str, Any]) -> str:
    """A stage's whole numbers in words, and whether gold is frozen; its hashes, seeds and lists are in the manifest."""
    parts = [f"{name.replace('_', ' ')} {value:,}" for name, value in facts.items() if isinstance(value, int) and name != "rows"]
    groups = {name: facts[name] for name in ("kinds", "withheld", "personal_data", "cost") if facts.get(name)}
    parts += [f"{name.replace('_', ' ')} {', '.join(f'{key} {count:,}' for key, count in group.items())}" for name, group in groups.items()]
    if isinstance(facts.get("gold"), str):
        parts.append(f"gold {facts['gold']}")
    return "; ".join(parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or column in {"what", "because"} else "right")
    return table


@contextmanager
def _progress() -> Iterator[Report]:
    """Bars on a terminal's stderr, one for each thing that is under way; nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty()) as bars:
        known: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done, total=max(total, done))

        yield report
