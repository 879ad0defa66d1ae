"""Owns the trainer's command line: arguments in, tables and exit codes out.

0 done (or nothing new), 1 failed, 2 usage, 3 refused by a gate or the service's self-test, 4 another run is at work.
"""

import argparse
import getpass
import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from inference.errors import StartError
from trainer import rollout
from trainer.data import report, vault
from trainer.data.cli import add_commands as add_data_commands
from trainer.errors import Refused, RunAtWork, TrainerError
from trainer.evaluation import command as evaluation
from trainer.export import cli as export
from trainer.run_command import add_commands as add_run_commands
from trainer.status import read_status, show_status
from trainer.supabase_client import open_project
from trainer.tune_cli import add_commands as add_tune_commands

EXAMPLES = """\
examples:
  python -m trainer run                                   the whole loop once: data to a promoted model (by cron: scripts/schedule)
  python -m trainer evaluate                              the model that the settings name and the untuned base on the gold set
  python -m trainer evaluate --models .stack/candidate,active,base,baseline --fail-under accepted=0.95,rouge_l=0.5
  python -m trainer plan-memory --all --gpu-gb 16         what each preset takes of a card (and: presets)
  python -m trainer finetune --data train.jsonl --out .stack/adapter     one adapter through Axolotl (finetune --help)
  python -m trainer data                                  history and teacher to a dataset, every stage (data --help)
  python -m trainer vault record --model gpt-4o-mini      the baseline's answers to the gold set, once
  python -m trainer report                                .stack/data/report.html: what the dataset is made of
  python -m trainer export --help                         a trained adapter to GGUF files, proved and chosen among
  python -m trainer status                                stages, local share, fallbacks, savings, breakers, warnings
  python -m trainer rollout show
  python -m trainer rollout set risk shadow --reason "first look"
  python -m trainer upkeep                                sweep, retention, guard, figures, pairs to review: by cron
  python -m trainer erase 3f0e8a52-7e0a-4d34-9d52-0f4c3b1d8a11
"""
REFUSED, AT_WORK = 3, 4
STATUS_COLUMNS = 150
"""The status tables' least width: cut figures say less than a line that a narrow terminal breaks."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        options.run(options)
    except (TrainerError, StartError) as error:
        print(error, file=sys.stderr)
        return REFUSED if isinstance(error, Refused) else AT_WORK if isinstance(error, RunAtWork) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train, check and judge the private model.", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    judge = commands.add_parser("evaluate", help="judge models on the gold set")
    evaluation.add_options(judge, work=report.WORK)
    judge.add_argument("--limit", type=_natural, help="examples of each feature (default: all)")
    judge.add_argument("--json", action="store_true", help="print JSON instead of a table")
    judge.set_defaults(run=lambda options: evaluation.run(options, _progress))

    add_run_commands(commands, progress=_progress)
    add_tune_commands(commands, progress=_progress)
    add_data_commands(commands)
    vault.add_commands(commands, progress=_progress)
    report.add_commands(commands)
    export.add_commands(commands, progress=_progress)

    look = commands.add_parser("status", help="the operator's view of a running project")
    look.add_argument("--days", type=_natural, default=7, help="days to look back (default: %(default)s)")
    look.add_argument("--json", action="store_true", help="print JSON instead of tables")
    look.set_defaults(run=_status)

    _add_rollout(commands)

    upkeep = commands.add_parser("upkeep", help="what a job should do every few minutes: sweep the ledger, apply retention, run the guard, keep the console's figures, draw pairs to review")
    upkeep.add_argument("--json", action="store_true", help="print JSON instead of lines")
    upkeep.set_defaults(run=_upkeep)

    erase = commands.add_parser("erase", help="forget a user: remove their ledger rows and every example that they are involved in")
    erase.add_argument("user", type=uuid.UUID, help="the user's id (auth.users.id)")
    erase.add_argument("--json", action="store_true", help="print JSON instead of a line")
    erase.set_defaults(run=_erase)
    return parser


def _add_rollout(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("rollout", help="look at a rollout, or move it")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    helps = {
        "show": "stages and their latest events",
        "guard": "run the guard of every feature once",
        "advance": "one stage on",
        "rollback": "one stage back",
        "set": "straight to a stage",
        "pin": "the guard may not promote any more",
        "unpin": "it may again",
        "pause": "the guard does nothing",
        "resume": "it works again",
    }
    for action, text in helps.items():
        one = actions.add_parser(action, help=text)
        if action not in {"show", "guard"}:
            one.add_argument("feature", help="risk or plan")
        if action == "set":
            one.add_argument("stage", help="off, shadow, canary-1, canary-10, canary-50 or full")
        if action in {"advance", "rollback", "set"}:
            one.add_argument("--reason", default="", help="why; it is written down")
            one.add_argument("--by", default=getpass.getuser(), help="who; it is written down (default: %(default)s)")
        one.add_argument("--json", action="store_true", help="print JSON instead of a line")
        one.set_defaults(run=_rollout, action=action)


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _status(options: argparse.Namespace) -> None:
    with open_project() as project:
        status = read_status(project, days=options.days)
    if options.json:
        print(json.dumps(status, indent=2))
    else:
        Console(width=max(Console().width, STATUS_COLUMNS)).print(show_status(status))


def _rollout(options: argparse.Namespace) -> None:
    words = {key: value for key, value in vars(options).items() if key in {"by", "reason"}}
    with open_project() as project:
        actions: dict[str, Callable[[], Any]] = {
            "show": lambda: rollout.show(project),
            "guard": lambda: rollout.guard(project),
            "advance": lambda: rollout.advance(project, options.feature, **words),
            "rollback": lambda: rollout.rollback(project, options.feature, **words),
            "set": lambda: rollout.set_stage(project, options.feature, options.stage, **words),
            "pin": lambda: rollout.pin(project, options.feature, pinned=True),
            "unpin": lambda: rollout.pin(project, options.feature, pinned=False),
            "pause": lambda: rollout.pause(project, options.feature, paused=True),
            "resume": lambda: rollout.pause(project, options.feature, paused=False),
        }
        result = actions[options.action]()
    print(json.dumps(result, indent=2) if options.json else _rollout_lines(result if isinstance(result, list) else [result]))


def _upkeep(options: argparse.Namespace) -> None:
    with open_project() as project:
        done = {
            "lost": project.call("slm_sweep"),
            "expired": project.call("slm_apply_retention"),
            "guard": rollout.guard(project),
            "figures_until": project.call("slm_roll_up"),
            "reviews": project.call("slm_fill_reviews"),
        }
    if options.json:
        print(json.dumps(done, indent=2))
    else:
        print(f"ledger: {done['lost']} rows swept as lost, {done['expired']} expired rows removed\n{_rollout_lines(done['guard'])}\nreview: {sum(done['reviews'].values())} new pairs")


def _erase(options: argparse.Namespace) -> None:
    with open_project() as project:
        found = project.call("slm_erase_user", p_user_id=str(options.user))
    used = ", ".join(found["datasets"]) or "none"
    print(json.dumps(found) if options.json else f"removed {found['requests']} ledger rows and {found['examples']} examples; datasets that used them: {used}")


def _rollout_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        state = ", paused" if row.get("is_paused") else ", pinned" if row.get("is_pinned") else ""
        did = f"{row['action']}, " if "action" in row else ""
        lines.append(f"{row['feature']}: {rollout.name(row['stage'], row['share'])}{state} ({did}{row['reason']})")
        for event in row.get("events", []):
            change = f"{rollout.name(event['from_stage'], event['from_share'])} → {rollout.name(event['to_stage'], event['to_share'])}"
            lines.append(f"    {event['at'][:16]} {change}, by {event['by']}: {event['reason']}")
    return "\n".join(lines)


def _progress(line: str) -> None:
    """Progress goes to stderr: one line that rewrites itself on a terminal, plain lines elsewhere."""
    end, start = ("", "\r\x1b[K") if sys.stderr.isatty() else ("\n", "")
    print(f"{start}{line.strip()[:160]}", end=end, file=sys.stderr, flush=True)
