"""Owns the trainer's command line: arguments in, tables and exit codes out. 0 done, 1 failed, 2 usage."""

import argparse
import getpass
import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from inference.errors import StartError
from inference.model_store import STARTER, ModelFiles, default_model, find_model
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.example import Example
from shared_schemas.features import FEATURES
from trainer import rollout
from trainer.data import report, vault
from trainer.data.cli import add_commands as add_data_commands
from trainer.errors import TrainerError
from trainer.evaluate import evaluate
from trainer.evaluation import command as evaluation
from trainer.finetune import REPOSITORY
from trainer.starter import CONTEXT_TOKENS, StarterOptions, make_data, read_examples, run_starter
from trainer.status import read_status, show_status
from trainer.supabase_client import open_project

EXAMPLES = """\
examples:
  scripts/setup-axolotl && python -m trainer starter      train, export, check and publish the starter adapter
  python -m trainer starter --risk 40 --plan 40 --held-out 10 --publish /tmp/tiny --work-dir /tmp/work
  python -m trainer evaluate                              the service's model and the untuned base on the gold set
  python -m trainer evaluate --models .stack/candidate,active,base,baseline --fail-under accepted=0.95,rouge_l=0.5
  python -m trainer evaluate --adapter none --limit 40    the untuned base on the starter's held-out examples
  python -m trainer data                                  the app's history, read and cleaned (data --help)
  python -m trainer vault record --model gpt-4o-mini      the baseline's answers to the gold set, once
  python -m trainer report                                .stack/data/report.html: what the dataset is made of
  python -m trainer status                                stages, local share, fallbacks, savings, breakers, warnings
  python -m trainer rollout show
  python -m trainer rollout set risk shadow --reason "first look"
  python -m trainer upkeep                                sweep, retention, guard: every few minutes, by cron
  python -m trainer erase 3f0e8a52-7e0a-4d34-9d52-0f4c3b1d8a11
"""
STATUS_COLUMNS = 150
"""The status tables' least width: cut figures say less than a line that a narrow terminal breaks."""
WORK = REPOSITORY / ".stack" / "starter"


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        options.run(options)
    except (TrainerError, StartError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Train, check and judge the private model.", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    defaults = StarterOptions()

    starter = commands.add_parser("starter", help="make the starter adapter: data, fine-tune, export, checks")
    starter.add_argument("--risk", type=_natural, default=defaults.risk, help="risk examples to train on (default: %(default)s)")
    starter.add_argument("--plan", type=_natural, default=defaults.plan, help="plan examples to train on (default: %(default)s)")
    starter.add_argument("--held-out", type=_natural, default=defaults.held_out, help="examples of each feature held out (default: %(default)s)")
    starter.add_argument("--seed", type=int, default=defaults.seed, help="the same seed gives the same data (default: %(default)s)")
    starter.add_argument("--init", type=Path, help="go on from the adapter in this folder (adapter_model.safetensors) instead of from nothing")
    starter.add_argument("--work-dir", type=Path, default=WORK, help="where the stages keep their results (default: .stack/starter)")
    starter.add_argument("--publish", type=Path, default=STARTER, help="folder that gets adapter.gguf and manifest.json (default: inference/adapters/starter)")
    starter.add_argument("--axolotl", type=Path, default=REPOSITORY / ".axolotl", help="Axolotl's environment (default: .axolotl)")
    starter.set_defaults(run=_starter)

    judge = commands.add_parser("evaluate", help="judge models on the gold set; where there is none, an adapter on the starter's held-out examples")
    evaluation.add_options(judge, work=report.WORK)
    judge.add_argument("--adapter", type=Path, help="judge this adapter's folder, or 'none', on the starter's held-out examples instead")
    judge.add_argument("--limit", type=_natural, help="examples of each feature (default: all)")
    judge.add_argument("--json", action="store_true", help="print JSON instead of a table")
    judge.set_defaults(run=_evaluate)

    add_data_commands(commands)
    vault.add_commands(commands, progress=_progress)
    report.add_commands(commands)

    look = commands.add_parser("status", help="the operator's view of a running project")
    look.add_argument("--days", type=_natural, default=7, help="days to look back (default: %(default)s)")
    look.add_argument("--json", action="store_true", help="print JSON instead of tables")
    look.set_defaults(run=_status)

    _add_rollout(commands)

    upkeep = commands.add_parser("upkeep", help="what a job should do every few minutes: sweep the ledger, apply retention, run the guard")
    upkeep.add_argument("--json", action="store_true", help="print JSON instead of lines")
    upkeep.set_defaults(run=_upkeep)

    erase = commands.add_parser("erase", help="forget a user: remove their ledger rows and what came from them alone")
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


def _starter(options: argparse.Namespace) -> None:
    wanted = StarterOptions(risk=options.risk, plan=options.plan, held_out=options.held_out, seed=options.seed)
    manifest = run_starter(wanted, base_gguf=default_model(), work=options.work_dir.resolve(), axolotl=options.axolotl, publish=options.publish, init=options.init, progress=_progress)
    _print_verdict(manifest["model"]["name"], manifest["held_out"])


def _evaluate(options: argparse.Namespace) -> None:
    """By the gold set, unless an adapter is named or there is none and nothing says what to judge by."""
    features = list(FEATURES) if options.feature == "all" else [options.feature]
    if options.adapter is None and (options.gold or options.fail_under or evaluation.has_gold(options.work_dir, features)):
        evaluation.run(options, _progress)
    else:
        _evaluate_starter(options, features)


def _evaluate_starter(options: argparse.Namespace, features: Sequence[str]) -> None:
    adapter = options.adapter or STARTER
    files = find_model(Settings(adapter_path=adapter))
    check_same_held_out(adapter)
    examples = [example for feature in features for example in held_out(feature)[: options.limit or StarterOptions().held_out]]
    predictor = Predictor(files, n_ctx=CONTEXT_TOKENS, n_threads=2)
    try:
        verdict = evaluate(predictor, examples, progress=_progress)
    finally:
        predictor.close()
    if options.json:
        print(json.dumps({"model": files.version.model_dump(), "held_out": verdict}, indent=2))
    else:
        _print_verdict(_name(files), verdict)


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
        done = {"lost": project.call("slm_sweep"), "expired": project.call("slm_apply_retention"), "guard": rollout.guard(project)}
    if options.json:
        print(json.dumps(done, indent=2))
    else:
        print(f"ledger: {done['lost']} rows swept as lost, {done['expired']} expired rows removed\n{_rollout_lines(done['guard'])}")


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


def check_same_held_out(adapter: Path) -> None:
    """Raises TrainerError when the adapter was made by another teacher: it may have trained on what is held out today."""
    manifest = adapter / "manifest.json"
    if not manifest.exists():
        return
    with TemporaryDirectory() as folder:
        today = make_data(StarterOptions(), Path(folder))["held_out"]["sha256"]
    if json.loads(manifest.read_text())["data"]["held_out"]["sha256"] != today:
        raise TrainerError(f"Cannot judge {adapter}: it was made with other held-out examples than today's teacher writes (train it again)")


def held_out(feature: str) -> list[Example]:
    """The held-out examples of the starter's default options: made anew, always the same."""
    with TemporaryDirectory() as folder:
        make_data(StarterOptions(), Path(folder))
        return [example for example in read_examples(Path(folder) / "held_out.jsonl") if example.feature == feature]


def _name(files: ModelFiles) -> str:
    return files.version.name if files.adapter is not None else f"{files.version.name}, untuned"


def _print_verdict(name: str, verdict: Mapping[str, Any]) -> None:
    for feature, row in verdict.items():
        table = Table(title=f"{name}: {feature}, n = {row['n']} held-out inputs", title_justify="left")
        for column in ("metric", "mean", "95 % interval"):
            table.add_column(column)
        for metric, value in row.items():
            if isinstance(value, dict) and "mean" in value:
                table.add_row(metric, f"{value['mean']:.3f}", f"{value['low']:.3f} to {value['high']:.3f}")
        table.add_row("p50, ms", f"{row['p50_ms']}", "")
        table.add_row("output tokens", f"{row['mean_output_tokens']}", "")
        table.add_row("refused", json.dumps(row["refused"]), "")
        Console().print(table)


def _progress(line: str) -> None:
    """Progress goes to stderr: one line that rewrites itself on a terminal, plain lines elsewhere."""
    end, start = ("", "\r\x1b[K") if sys.stderr.isatty() else ("\n", "")
    print(f"{start}{line.strip()[:160]}", end=end, file=sys.stderr, flush=True)
