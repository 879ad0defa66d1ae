"""Owns the commands `run` and `models` of the trainer: what an operator or a timer says, and what they are told."""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from inference.model_store import default_model
from shared_schemas.feature import PromptStyle
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion
from trainer.data import cli as data
from trainer.errors import MissingEnvironment, Refused, WrongRollout
from trainer.finetune import REPOSITORY, Progress, axolotl_environment
from trainer.gates import GATES, Limits
from trainer.lease import HEARTBEAT_S, LEASE_S, leased
from trainer.memory_plan import adapter_parameters
from trainer.presets import DEFAULT_PRESET, PRESETS, find_preset
from trainer.recipe import LoraRecipe, Machines
from trainer.registry import Service
from trainer.run import Data, RunOptions, run
from trainer.supabase_client import Project, open_project

WORK = REPOSITORY / ".stack" / "run"
EXAMPLES = """\
examples:
  python -m trainer run                                        everything, as a timer runs it
  python -m trainer run --dry-run                              what it would use, and what is missing
  python -m trainer run --init inference/adapters/starter      go on from an adapter
  python -m trainer run --artifacts s3://bucket/models --inference https://slm.example.com
  python -m trainer run --count risk=900,plan=3400 --limit plan=3000
  python -m trainer run --reviewed 40                          only what people have judged; again once they have (console)
  python -m trainer run --limit 12 --judged 6 --validation 6 --least 6    small, to try it out
  python -m trainer run --preset llama-3.2-1b --base models/llama-3.2-1b-instruct-q8_0.gguf --device gpu

exit: 0 done or nothing new, 1 failed (run again: it goes on where it was), 3 refused, 4 another run is at work
"""
COUNT = 1000
"""Examples that the teacher adds to a feature that --count does not name."""
QUIET_S = 5.0
"""Between two lines of progress that say how far the same thing is."""


class RunSettings(BaseSettings):
    """From the environment, else from `.env.local`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env.local", env_ignore_empty=True)

    model_path: Path | None = None
    inference_url: str | None = None
    inference_admin_token: SecretStr | None = None
    artifact_store: str | None = None


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *, progress: Progress) -> None:
    one = commands.add_parser("run", help="the whole loop once: data, fine-tune, export, evaluate, promote", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    one.add_argument("--feature", choices=[*FEATURES, "all"], default="all", help="what the model is trained for (default: all, one adapter for them)")
    one.add_argument("--preset", choices=list(PRESETS), default=DEFAULT_PRESET, help="the base model (default: %(default)s; see presets)")
    one.add_argument("--base", type=Path, metavar="GGUF", help="the base as the service serves it (default: MODEL_PATH, else the one that the service brings)")
    one.add_argument("--device", choices=("cpu", "gpu"), help="where it is trained (default: the preset's)")
    one.add_argument("--work-dir", type=Path, default=WORK, help="where the stages keep their results (default: .stack/run)")
    one.add_argument("--artifacts", metavar="PLACE", help="folder or URL (s3://bucket/models) that models are put into (default: ARTIFACT_STORE, else .stack/artifacts)")
    one.add_argument("--inference", metavar="URL", help="the inference service that picks the model up, 'none' for nobody (default: INFERENCE_URL; its token: INFERENCE_ADMIN_TOKEN)")
    one.add_argument("--stage", choices=["shadow", "none"], default="shadow", help="what a rollout that is off is raised to; one that is further stays (default: %(default)s)")
    one.add_argument("--init", type=Path, metavar="FOLDER", help="go on from the adapter in this folder (adapter.gguf or adapter_model.safetensors) instead of from nothing")
    one.add_argument("--style", choices=get_args(PromptStyle), help="how the model is told what to do (default: as the adapter of --init was, else terse)")
    one.add_argument("--limit", type=by_feature, default={}, metavar="N", help="at most so many training rows of each feature, or of those named: risk=900,plan=2400")
    one.add_argument("--judged", type=_pair, default=60, help="held-out examples of each feature that models are judged by (default: %(default)s)")
    one.add_argument(
        "--validation",
        type=_pair,
        default=RunOptions.validation,
        help="validation examples of each feature that confidence and the least one are fitted on, each as slow as an answer (default: %(default)s; under 149 no least confidence can be found)",
    )
    one.add_argument("--count", type=by_feature, default=str(COUNT), metavar="N", help="examples that the teacher adds to each feature's history, or as for --limit (default: %(default)s)")
    one.add_argument("--teacher", default="template", metavar="NAME", help="who adds them (data --help; default: template)")
    one.add_argument("--budget-usd", type=float, default=1.0, help="the most that the teacher may cost, all features together (default: 1; asked for nothing: a teacher that costs needs --yes)")
    one.add_argument("--yes", action="store_true", help="pay the teacher's estimate")
    one.add_argument("--least", type=_natural, default=Limits().examples, help="gate: examples of each feature that must have been judged (default: %(default)s)")
    one.add_argument("--margin", type=_share, default=Limits().margin, help="gate: how much lower than the active model's the mean score may be (default: %(default)s)")
    one.add_argument("--judgement-margin", type=_share, default=Limits().judgement_margin, help="gate: the same of its judgement, a risk's level or a plan's phases (default: %(default)s)")
    one.add_argument("--p95-ms", type=float, default=Limits().p95_ms, help="gate: how long an answer may take on this machine (default: %(default)s)")
    one.add_argument(
        "--reviewed",
        type=_count,
        default=Limits().reviewed,
        metavar="N",
        help="gate: pairs with the model's answers that people must have judged in the console (default: %(default)s, nobody is asked)",
    )
    one.add_argument(
        "--preferred",
        type=_share,
        default=Limits().preferred,
        metavar="SHARE",
        help="gate: with --reviewed, the least that the lower end of its win rate may be, ties counting half (default: %(default)s)",
    )
    one.add_argument("--allow", action="append", default=[], choices=GATES, help="promote although this gate says no; written down with the model; may be repeated")
    one.add_argument("--lease-s", type=float, default=LEASE_S, help="after so long without a word another process may take the run over (default: %(default)s)")
    one.add_argument("--axolotl", type=Path, default=REPOSITORY / ".axolotl", help="Axolotl's environment (default: .axolotl)")
    one.add_argument("--dry-run", action="store_true", help="say what would be used and what is missing; change nothing")
    one.add_argument("--json", action="store_true", help="print JSON instead of lines")
    one.set_defaults(run=lambda options: _run(options, calm(progress)))

    models = commands.add_parser("models", help="which models there are, and the way back to the former one")
    deeds = models.add_subparsers(required=True, metavar="ACTION")
    shown = deeds.add_parser("show", help="every model, newest first")
    shown.add_argument("--json", action="store_true", help="print JSON instead of lines")
    shown.set_defaults(run=_show)
    back = deeds.add_parser("rollback", help="let the former model of a feature answer again, or the one named")
    back.add_argument("feature", choices=list(FEATURES))
    back.add_argument("--to", metavar="NAME", help="which one (default: the one before)")
    back.add_argument("--inference", metavar="URL", help="as for run")
    back.set_defaults(run=_rollback)


def _run(options: argparse.Namespace, progress: Progress) -> None:
    wanted = run_options(options)
    with open_project() as project:
        if options.dry_run:
            _rehearse(project, wanted, options)
            return
        with leased(project, wanted.features, wanted.preset, lease_s=options.lease_s, heartbeat_s=min(HEARTBEAT_S, options.lease_s / 4)) as lease:
            if lease.taken_from:
                progress(f"run {lease.run}: taken over from {lease.taken_from}, which died")
            result = run(project, lease, wanted, progress=progress)
    print(json.dumps(result, indent=2) if options.json else _lines(result))
    if result["status"] == "refused":
        raise Refused("\n".join(["Refused:", *result["refused"]]))


def run_options(options: argparse.Namespace) -> RunOptions:
    settings, recipe = RunSettings(), _recipe(options)
    return RunOptions(
        features=tuple(FEATURES) if options.feature == "all" else (options.feature,),
        preset=options.preset,
        base=_base(options.preset, options.base or settings.model_path),
        work=options.work_dir.resolve(),
        axolotl=options.axolotl,
        make_data=from_history(options),
        store=options.artifacts or settings.artifact_store or str(WORK.parent / "artifacts"),
        service=_service(options.inference, settings),
        recipe=recipe,
        machines=Machines(device=options.device or find_preset(options.preset).device),
        style=options.style or _style_of(options.init),
        init=options.init,
        limit=options.limit,
        judged=options.judged,
        validation=options.validation,
        limits=Limits(
            examples=options.least,
            margin=options.margin,
            judgement_margin=options.judgement_margin,
            p95_ms=options.p95_ms,
            reviewed=options.reviewed,
            preferred=options.preferred,
            adapter_bytes=_most_bytes(options.preset, recipe),
        ),
        allowed=tuple(sorted(set(options.allow))),
        stage=options.stage,
    )


def from_history(options: argparse.Namespace) -> Data:
    """Every stage of `python -m trainer data`, and the dataset written into the project: what came of each.

    One budget for all features: what one's examples cost, in this run or before it, is gone for the next.
    """
    left = options.budget_usd

    def make(feature: str, progress: Progress) -> Mapping[str, Mapping[str, Any]]:
        nonlocal left
        wanted = argparse.Namespace(
            work_dir=options.work_dir.resolve() / "data", since=None, limit=None, seed=data.SEED, teacher=options.teacher, count=options.count.get(feature, COUNT), budget_usd=left, yes=options.yes,
            concurrency=8, style=options.style or _style_of(options.init),
        )  # fmt: skip
        made = {stage: data.STAGES[stage](feature, wanted, lambda what, done, total: progress(f"data of {feature}: {what} {done} of {total}")) for stage in (*data.PIPELINE, "write-back")}
        left -= made["synthesise"].get("cost", {}).get("usd", 0)
        return made

    return make


def _base(preset: str, named: Path | None) -> Path:
    """Raises MissingEnvironment where no file is named for a preset that the service does not bring, or there is no such file."""
    if named is None and preset != DEFAULT_PRESET:
        raise MissingEnvironment(f"Cannot train {preset}: name the GGUF of it that the service serves (--base, or MODEL_PATH)")
    if named is not None and not named.is_file():
        raise MissingEnvironment(f"Cannot train {preset}: there is no file {named}")
    return named or default_model()


def _most_bytes(preset: str, recipe: LoraRecipe) -> int:
    """What an adapter of this rank takes at f16 and a fifth more: one that is larger holds what nobody asked for."""
    return max(Limits().adapter_bytes, round(1.2 * 2 * adapter_parameters(find_preset(preset).architecture, recipe.rank)))


def _recipe(options: argparse.Namespace) -> LoraRecipe:
    """The preset's; an adapter that is gone on from feels the rounding that it felt before."""
    recipe, begun = find_preset(options.preset).recipe(), _begun_as(options.init)
    return recipe.model_copy(update={"rounded_to": "Q4_0" if begun.quantisation == "Q4_0" else None}) if begun else recipe


def _style_of(init: Path | None) -> PromptStyle:
    """An adapter goes on as it was begun."""
    begun = _begun_as(init)
    return begun.prompt_style if begun else "terse"


def _begun_as(init: Path | None) -> ModelVersion | None:
    manifest = init / "manifest.json" if init else None
    return ModelVersion.model_validate(json.loads(manifest.read_text())["model"]) if manifest and manifest.exists() else None


def _service(wanted: str | None, settings: RunSettings) -> Service | None:
    url = wanted or settings.inference_url
    if url is None or url == "none":
        return None
    return Service(url, settings.inference_admin_token.get_secret_value() if settings.inference_admin_token else None)


def _rehearse(project: Project, options: RunOptions, asked: argparse.Namespace) -> None:
    axolotl_environment(options.axolotl)
    last = project.rows("slm_training_runs", order="created_at", descending=True, limit=1)
    found = {
        "features": list(options.features),
        "preset": options.preset,
        "base": str(options.base),
        "work": str(options.work),
        "artifacts": options.store,
        "inference": asked.inference or RunSettings().inference_url,
        "last_run": {name: last[0][name] for name in ("id", "status", "stage", "holder", "heartbeat_at", "why")} if last else None,
    }
    print(json.dumps(found, indent=2) if asked.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


def _lines(result: Mapping[str, Any]) -> str:
    if result["status"] == "nothing_new":
        answers = "".join(f"\n{feature}: {name} answers" for feature, name in result["answers"].items())
        return f"nothing new: the same data, preset, options and code as run {result['same_as']}{answers}"
    lines = [f"{feature}, {verdict['gate']}: {'passed' if verdict['passed'] else 'FAILED'}, {verdict['text']}" for feature, found in result["gates"].items() for verdict in found]
    lines += [f"{feature}, confidence: {said}" for feature, said in result["confidence"].items()]
    stages = ", ".join(f"{feature} at {stage}" for feature, stage in result["stages"].items())
    return "\n".join([*lines, f"{result['model']}: promoted for {', '.join(result['promoted']) or 'nothing'}" + (f" ({stages})" if stages else "")])


def _show(options: argparse.Namespace) -> None:
    with open_project() as project:
        rows = project.rows("slm_models", order="created_at", descending=True)
    print(
        json.dumps(rows, indent=2)
        if options.json
        else "\n".join(f"{row['feature']:<5} {row['status']:<9} {row['name']:<32} {row['created_at'][:16]} {row['why'] or ''}".rstrip() for row in rows) or "none yet"
    )


def _rollback(options: argparse.Namespace) -> None:
    """The service first, then the record: whoever reads `active` finds a model that answers."""
    service = _service(options.inference, RunSettings())
    with open_project() as project:
        name = options.to or project.call("slm_former_model", p_feature=options.feature)
        if name is None:
            raise WrongRollout(f"Cannot go back: no model answered {options.feature} before this one (python -m inference models load @start: that of the settings)")
        if service is None:
            raise MissingEnvironment("Cannot go back: no inference service is named (INFERENCE_URL, or --inference)")
        service.put_to_work(name, [options.feature])
        project.call("slm_put_to_work", p_name=name, p_feature=options.feature)
    print(f"{options.feature}: {name} answers again")


def calm(progress: Progress, *, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Passes on at most one line of a kind (what stands before its first colon) in `QUIET_S`."""
    said: dict[str, float] = {}

    def tell(line: str) -> None:
        kind = line.partition(":")[0]
        if clock() - said.get(kind, -QUIET_S) >= QUIET_S:
            said[kind] = clock()
            progress(line)

    return tell


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return share


def _count(text: str) -> int:
    return 0 if text == "0" else _natural(text)


def _natural(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def by_feature(text: str) -> dict[str, int]:
    """`900`: so many of each feature; `risk=900,plan=2400`: of those named."""
    if "=" not in text:
        return dict.fromkeys(FEATURES, _natural(text))
    found = {}
    for part in text.split(","):
        feature, _, number = part.partition("=")
        if feature not in FEATURES:
            raise argparse.ArgumentTypeError(f"no feature is named {feature!r} (there are {', '.join(FEATURES)})")
        found[feature] = _natural(number)
    return found


def _pair(text: str) -> int:
    """Differences of fewer than two have no spread."""
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return number
