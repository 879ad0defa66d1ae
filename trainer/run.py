"""Owns the learning loop, top to bottom, once: data, fine-tune, export, evaluation, gates, promotion, rollout.

Each stage is skipped when it is done; a run that was killed goes on where it was, on any machine that has its work folder.
Knows nothing of how a stage does its work.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import inference
import shared_schemas
from inference.model_store import ModelFiles, file_sha256, find_model, model_in
from inference.predict import Predictor
from inference.settings import Settings
from shared_schemas.feature import PromptStyle
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion, Quantisation
from trainer import evaluation as evaluating
from trainer import export, gates, mix, phrases, registry
from trainer.data.row import Row, kept_private, read_rows, stage_folder
from trainer.errors import MissingEnvironment, ParityFailed, Refused
from trainer.evaluation.answers import LocalModel
from trainer.evaluation.evaluation import Evaluation, FeatureVerdict, Scored, evaluate_models
from trainer.evaluation.gold import find_gold, find_split
from trainer.evaluation.report import write_report
from trainer.evaluation.results import write_results
from trainer.evaluation.scores import JUDGEMENT
from trainer.export import check_tokens, convert, metadata
from trainer.export.build import Lineage, Sources, Trials, export_model
from trainer.finetune import Progress, dequantise_base, finetune, package_versions, run_process, tuned_by
from trainer.format import format_conversations
from trainer.gates import Evidence, Judged, Limits, Reviewed, Verdict
from trainer.lease import Lease
from trainer.presets import find_preset
from trainer.progress import TrainingProgress
from trainer.recipe import LoraRecipe, Machines
from trainer.stage import digest, read_manifest, run_stage, sources_sha256
from trainer.supabase_client import Project

CONTEXT_TOKENS = 6144
READ_BY = ("trainer.chat_tokens", "trainer.export.adapter", "trainer.format")
"""Our own code that holds token ids against each other, beside what serves."""
PROVED = 12
"""Conversations of each feature that the parity gate reads."""

Data = Callable[[str, Progress], Mapping[str, Mapping[str, Any]]]
"""Makes a feature's dataset and writes it into the project: the facts of each of its stages."""


@dataclass(frozen=True)
class RunOptions:
    """`base` is the GGUF that the service serves with the adapter. `make_data` fills `work`/data. `limit` bounds the training rows by feature, `judged` the examples of each feature that models are judged by,
    `validation` those that confidence is fitted on.

    `allowed` names gates that may fail: it is written down with the model. `store` is where models are put, `service` the
    inference service that picks them up; without one, whoever runs it has to. `stage`: what a rollout that is off is raised to.
    """

    features: Sequence[str]
    preset: str
    base: Path
    work: Path
    axolotl: Path
    make_data: Data
    store: str
    service: registry.Service | None
    recipe: LoraRecipe = field(default_factory=LoraRecipe)
    style: PromptStyle = "terse"
    machines: Machines = field(default_factory=Machines)
    init: Path | None = None
    limit: Mapping[str, int] = field(default_factory=dict)
    judged: int = 60
    validation: int = 400
    limits: Limits = field(default_factory=Limits)
    allowed: Sequence[str] = ()
    stage: Literal["shadow", "none"] = "shadow"


@dataclass(frozen=True)
class Rival:
    """The model that answers a feature today. `uncompared`: why the candidate could not be held against it, if it could not."""

    name: str
    uncompared: str | None = None


@dataclass(frozen=True)
class Trained:
    """What the stages before the gates made: `folder` is the model's artifact, `verdicts` are the gates' by feature."""

    folder: Path
    manifest: Mapping[str, Any]
    datasets: Mapping[str, str]
    verdicts: Mapping[str, list[Verdict]]
    evaluation: Evaluation

    @property
    def name(self) -> str:
        return str(self.manifest["model"]["name"])


@kept_private()
def run(project: Project, lease: Lease, options: RunOptions, *, progress: Progress) -> dict[str, Any]:
    """The whole loop, under a lease. Returns `status` (done, refused or nothing_new), the model, and what became of each feature.

    `refused` has a line for each gate that said no, or for the service's self-test; features that passed are promoted all the
    same. With nothing new, the service is still told which models answer. Raises RunLost as soon as the run is another process's, and what the stages raise.
    """
    told = _telling(lease, progress)
    datasets, train, rows = _data(lease, options, told)
    key = _key(options, datasets, train)
    lease.enter("data", dataset_ids=sorted(datasets.values()), manifest={"key": key, "options": _written(options)})
    if was := _ended_before(project, lease, key, options.preset):
        answers = _answer_by_actives(project, lease, options, progress)
        lease.finish("nothing_new", f"the same data, preset, options and code as run {was}")
        return {"status": "nothing_new", "run": lease.run, "same_as": was, "answers": answers}
    trained = _train(project, lease, options, datasets, train, rows, told)
    return _promote(project, lease, options, trained, progress)


def _data(lease: Lease, options: RunOptions, progress: Progress) -> tuple[dict[str, str], dict[str, Any], dict[str, list[Row]]]:
    """Dataset ids by feature, the facts of what is trained on, and the rows that models are judged by."""
    lease.enter("data")
    datasets, files = {}, {}
    for feature in options.features:
        facts = options.make_data(feature, progress)
        datasets[feature] = facts["format"]["dataset_id"]
        files[feature] = stage_folder(options.work / "data", feature, "format") / "chat" / "train.jsonl"
    (options.work / "mix").mkdir(parents=True, exist_ok=True)
    train = mix.mix_rows(files, options.work / "mix" / "train.jsonl", batch=options.recipe.batch, seed=options.recipe.seed, limit=options.limit)
    return datasets, train, {feature: list(islice(_held_out(options.work / "data", feature), options.judged)) for feature in options.features}


def _held_out(work: Path, feature: str) -> Iterator[Row]:
    """The gold set first, then the test split."""
    seen = set()
    for path in (find_gold(work, feature), find_split(work, feature, "test")):
        for row in read_rows(path) if path else ():
            if row.id not in seen:
                seen.add(row.id)
                yield row


def _train(project: Project, lease: Lease, options: RunOptions, datasets: Mapping[str, str], train: Mapping[str, Any], rows: dict[str, list[Row]], progress: Progress) -> Trained:
    work, preset = options.work, find_preset(options.preset)
    base = _base(options)
    lease.enter("base")
    run_stage(work / "base", {**base, "preset": preset.name}, lambda folder: dequantise_base(options.base, folder, preset=preset, axolotl=options.axolotl, progress=progress))
    begun = _init(options, base, progress)

    lease.enter("fine-tune")
    tuned = run_stage(
        work / "adapter",
        {**base, **begun, "data": train["sha256"], **_tuned_by(options)},
        lambda folder: finetune(
            options.recipe,
            base=work / "base",
            data=work / "mix" / "train.jsonl",
            out=folder,
            init=work / "init" if options.init else None,
            axolotl=options.axolotl,
            progress=_noting(lease, progress),
            say=progress,
            preset=preset,
            machines=options.machines,
        ),
        keep_partial=True,
    )

    lease.enter("export")
    quantisation: Quantisation = options.recipe.rounded_to or "Q8_0"
    shipped = phrases.write_phrases(work / "mix" / "train.jsonl", work / "phrases.txt")
    lineage = _lineage(options, datasets, (options.base, work / "adapter" / "adapter_model.safetensors", shipped))
    exported = _export(options, lineage, quantisation, rows, progress)
    adapter = exported["files"]["adapter/adapter.gguf"]
    version = ModelVersion(name=lineage.name, base_sha256=file_sha256(options.base), adapter_sha256=adapter["sha256"], prompt_style=options.style, quantisation=quantisation)

    lease.enter("evaluate")
    manifest = {
        "model": version.model_dump(),
        "licence": f"{preset.licence} (base: {preset.hugging_face})",
        "run": lease.run,
        "datasets": dict(datasets),
        "options": _written(options),
        "data": dict(train),
        "finetune": {**begun, **tuned},
        "adapter_bytes": adapter["bytes"],
        "versions": package_versions(options.axolotl),
    }
    files = {"adapter.gguf": work / "export" / "adapter" / "adapter.gguf", "phrases.txt": shipped}
    folder = work / "models" / version.name
    registry.make_artifact(folder, files, manifest)
    candidate = model_in(folder, _served(options))
    parity = run_stage(
        work / "parity", {**base, **version.model_dump(), "rows": _ids(rows), "code": sources_sha256(shared_schemas, inference, *READ_BY)}, lambda _folder: _parity(candidate, rows, options)
    )
    refused = {name: f"{file['fault']['name']}: {file['fault']['found']}" for name, file in exported["parity"]["files"].items() if file["fault"]}
    if refused:
        parity = {**parity, "equal": 0, "why": "; ".join(f"{name}: {why}" for name, why in refused.items())}
    evaluation, rivals = _evaluate(project, options, candidate, rows, progress)
    write_report(evaluation, work / "evaluation" / "report.html")
    whole = registry.make_artifact(
        folder, files, {**manifest, "parity": {"tokens": parity, "files": exported["parity"]["files"]}, "calibration": evaluation.calibrations(), "evaluation": evaluation.summary()}
    )
    evidence = {name: _evidence(verdict, rivals[name], parity, options, adapter["bytes"], _reviewed(project, name, version.name)) for name, verdict in evaluation.features.items()}
    return Trained(folder, whole, datasets, {name: gates.judge(one, options.limits) for name, one in evidence.items()}, evaluation)


def _base(options: RunOptions) -> dict[str, Any]:
    """What decides the base's weights as they are trained, and the tokenizer beside them."""
    return {"base_sha256": file_sha256(options.base), "base_code": sources_sha256("trainer.dequantise"), "versions": package_versions(options.axolotl)}


def _tuned_by(options: RunOptions) -> dict[str, Any]:
    return tuned_by(options.recipe, preset=find_preset(options.preset), machines=options.machines, axolotl=options.axolotl)


def _lineage(options: RunOptions, datasets: Mapping[str, str], made_of: Sequence[Path]) -> Lineage:
    """Where the model comes from, under a name that is made of all that decides the bytes of its files.

    So a name is one model wherever it lies, and the same adapter again (after a refusal, with a gate that is allowed now, under
    other code) is the same model. The run that made it is no part of that: slm_models says it.
    """
    preset = find_preset(options.preset)
    versions = tuple(f"{feature}: {FEATURES[feature].prompt_version(options.style)}" for feature in options.features)
    nameless = Lineage(name="", base=preset.hugging_face, licence=preset.licence, datasets=tuple(sorted(datasets.values())), prompt_versions=versions)
    decides = [nameless.model_dump(mode="json"), [file_sha256(path) for path in made_of], sources_sha256(metadata, convert)]
    return nameless.model_copy(update={"name": f"{options.preset}-{digest(decides)[:8]}"})


def _export(options: RunOptions, lineage: Lineage, quantisation: Quantisation, rows: Mapping[str, list[Row]], progress: Progress) -> dict[str, Any]:
    """The adapter alone, and the merged model in f16 and as it will be served, proved to read as was trained: the export's manifest."""
    read = [row for some in rows.values() for row in some[:PROVED]]
    return export_model(
        Sources(options.work / "base", options.work / "adapter", lineage, options.base),
        options.work / "export",
        quantisations=(quantisation,),
        trials=Trials(held_out=format_conversations(read, options.style), rounds=1),
        axolotl=options.axolotl,
        progress=progress,
    )


def _init(options: RunOptions, base: Mapping[str, Any], progress: Progress) -> dict[str, str]:
    """The adapter to go on from, as Axolotl reads it, in `work`/init: from a folder of PEFT's, or one that holds an adapter.gguf."""
    if options.init is None:
        return {}
    peft, gguf = options.init / "adapter_model.safetensors", options.init / "adapter.gguf"
    source = peft if peft.exists() else gguf
    if not source.exists():
        raise MissingEnvironment(f"Cannot go on from {options.init}: it has neither adapter_model.safetensors nor adapter.gguf")

    def make(folder: Path) -> dict[str, str]:
        if source == gguf:
            run_process(["python", "-m", "trainer.init_adapter", str(gguf), str(options.work / "base"), str(folder)], axolotl=options.axolotl, log=folder / "init.log", progress=progress)
        else:
            for name in ("adapter_model.safetensors", "adapter_config.json"):
                (folder / name).write_bytes((peft.parent / name).read_bytes())
        return {"init_sha256": file_sha256(source)}

    return run_stage(options.work / "init", {**base, "init": file_sha256(source), "code": sources_sha256("trainer.init_adapter")}, make)


def _parity(model: ModelFiles, rows: Mapping[str, list[Row]], options: RunOptions) -> dict[str, Any]:
    examples = [row for some in rows.values() for row in some]
    predictor = Predictor(model, n_ctx=CONTEXT_TOKENS, n_threads=2, parallel=1)
    try:
        found = check_tokens(predictor, options.work / "base", examples, axolotl=options.axolotl)
    except ParityFailed as error:
        return {"prompts": len(examples), "equal": 0, "why": str(error)}
    finally:
        predictor.close()
    return dict(found)


def _evaluate(project: Project, options: RunOptions, candidate: ModelFiles, rows: Mapping[str, list[Row]], progress: Progress) -> tuple[Evaluation, dict[str, Rival]]:
    """The candidate's verdict beside that of the model that answers each feature today: the evaluation, and who that is."""
    active = _active(project)
    rivals: dict[str, Rival] = {}
    features: dict[str, FeatureVerdict] = {}
    found: list[Evaluation] = []
    for feature in options.features:
        row = active.get(feature)
        models = [LocalModel(candidate.version.name, candidate)]
        if row and row["base_sha256"] != candidate.version.base_sha256:
            rivals[feature] = Rival(row["name"], f"{row['name']} answers from another base")
            progress(f"evaluate: {row['name']} answers {feature} from another base: nothing to compare with")
        else:
            files = model_in(registry.download(row["artifact"], options.work / "active"), _served(options)) if row else find_model(Settings())
            if files.version.adapter_sha256 == candidate.version.adapter_sha256:
                rivals[feature] = Rival(candidate.version.name)  # the same weights: it is held against itself
            else:
                rivals[feature] = Rival(files.version.name)
                models.append(LocalModel(files.version.name, files))
        one = evaluate_models(models, {feature: rows[feature]}, validation=_validation(options, feature), folder=options.work / "evaluation", progress=progress)
        features[feature] = one.features[feature]
        found.append(one)
    return found[0].model_copy(update={"features": features}), rivals


def _served(options: RunOptions) -> Settings:
    """Models are judged as they are served, merged with their base: 92 MB each, kept until the run has ended."""
    return Settings(model_path=options.base, model_cache=options.work / "cache")


def _validation(options: RunOptions, feature: str) -> dict[str, list[Row]]:
    """What confidence and its line are fitted on: not as few as models are judged by, since a line takes 149 answers at the least.

    In the order of their ids, which are hashes: the file's is by origin and time.
    """
    path = find_split(options.work / "data", feature, "validation")
    return {feature: sorted(read_rows(path), key=lambda row: row.id)[: options.validation] if path else []}


def _reviewed(project: Project, feature: str, model: str) -> Reviewed:
    """What people have said of the model so far: a candidate's pairs are drawn from the evaluation of an earlier run that was refused."""
    said = project.call("slm_review_verdict", p_feature=feature, p_model=model)
    return Reviewed(pairs=said["pairs"] or 0, share=said["share"] or 0, low=said["share_low"] or 0)


def _evidence(verdict: FeatureVerdict, rival: Rival, parity: Mapping[str, Any], options: RunOptions, size: int, reviewed: Reviewed) -> Evidence:
    split = read_manifest(stage_folder(options.work / "data", verdict.feature, "split")).get("facts", {})
    by_name = {model.name: [_judged(verdict.feature, name, one) for name, one in model.answers.items()] for model in verdict.models}
    first = verdict.models[0].name
    leaks = {name: _sum(found) for name, found in split.get("leakage", {}).get("left", {}).items()}
    active = None if rival.uncompared else by_name[rival.name]
    return Evidence(candidate=by_name[first], active=active, uncompared=rival.uncompared, parity=(parity["prompts"], parity["equal"]), leaks=leaks, adapter_bytes=size, reviewed=reviewed)


def _judged(feature: str, example: str, one: Scored) -> Judged:
    content = [value for name, value in one.scores.items() if name not in {"valid", "accepted", "first_try"}]
    return Judged(
        example_id=example,
        valid=one.scores["valid"] == 1,
        accepted=one.scores["accepted"] == 1,
        score=sum(content) / len(content) if content else 0.0,
        judgement=one.scores[JUDGEMENT[feature]],
        latency_ms=one.answer.latency_ms or 0.0,
    )


def _sum(found: Any) -> int:
    return sum(map(_sum, found.values())) if isinstance(found, Mapping) else int(found)


def _promote(project: Project, lease: Lease, options: RunOptions, trained: Trained, progress: Progress) -> dict[str, Any]:
    """Gates, store, service, database, in this order: whoever reads `active` finds a model that answers."""
    lease.enter("promote", manifest={"gates": {name: [verdict.model_dump() for verdict in found] for name, found in trained.verdicts.items()}, "model": trained.name})
    refused = {name: gates.refusals(found, options.allowed) for name, found in trained.verdicts.items()}
    good = [name for name, found in refused.items() if not found]
    place = registry.upload(trained.folder, options.store, trained.name) if good else None
    lines = []
    for feature, found in refused.items():
        why = "; ".join(f"{verdict.gate}: {verdict.text}" for verdict in found)
        _register(lease, options, trained, feature, place, why)
        lines += [f"{feature}, {verdict.gate}: {verdict.text} ({verdict.by:+.3g})" for verdict in found]
    write_results(project, trained.evaluation, run_id=lease.run, report="report.html", progress=progress)
    if good:
        lease.check()
        try:
            if options.service:
                options.service.put_to_work(trained.name, good)
        except Refused as error:
            lease.write("slm_refuse_model", p_name=trained.name, p_features=good, p_why=str(error))
            lines, good = [*lines, str(error)], []
    changed = lease.write("slm_promote_model", p_name=trained.name, p_features=good) if good else []
    stages = {feature: _raised(project, feature, trained.name) for feature in good if options.stage == "shadow"}
    result = {
        "status": "refused" if lines else "done",
        "run": lease.run,
        "model": trained.name,
        "promoted": good,
        "changed": changed,
        "stages": stages,
        "gates": {name: [verdict.model_dump() for verdict in found] for name, found in trained.verdicts.items()},
        "confidence": {name: _said_of_line(trained.evaluation.features[name]) for name in trained.verdicts},
        "refused": lines,
    }
    lease.finish("refused" if lines else "done", "\n".join(lines) or None, {"promoted": good, "allowed": list(options.allowed)})
    for heavy in (options.work / "cache", options.work / "export" / "merged"):
        shutil.rmtree(heavy, ignore_errors=True)
    return result


def _answer_by_actives(project: Project, lease: Lease, options: RunOptions, progress: Progress) -> dict[str, str]:
    """Have the service answer each feature by its active model, as a promotion does, and say by which.

    It may be another service than the one of the run that promoted it, or that run had none (`--inference none`). Where it answers
    so already nothing changes: it only tests the model once more.
    """
    if options.service is None:
        return {}
    lease.enter("promote")
    names = {feature: row["name"] for feature, row in _active(project).items() if feature in options.features}
    for name in sorted(set(names.values())):
        features = [feature for feature, its in names.items() if its == name]
        progress(f"promote: {name} is to answer {', '.join(features)}")
        lease.check()
        options.service.put_to_work(name, features)
    return names


def _active(project: Project) -> dict[str, dict[str, Any]]:
    """The row of each feature's active model."""
    return {row["feature"]: row for row in project.rows("slm_models", order="name") if row["status"] == "active"}


def _raised(project: Project, feature: str, model: str) -> str:
    """The rollout's stage afterwards: raised to the shadow where it was off, else as it is."""
    return str(project.call("slm_raise_to_shadow", p_feature=feature, p_by="trainer run", p_reason=f"{model} is there"))


def _said_of_line(verdict: FeatureVerdict) -> str:
    """Which least confidence is registered, and why. The database knows no 'none': 0 holds no answer back."""
    found = verdict.confidence and verdict.confidence.line.min_confidence is not None
    return verdict.line_said if found else f"{verdict.line_said}; 0 is registered, which holds no answer back"


def _register(lease: Lease, options: RunOptions, trained: Trained, feature: str, place: str | None, why: str) -> None:
    version, verdict = trained.manifest["model"], trained.evaluation.features[feature]
    row = {
        "name": trained.name,
        "feature": feature,
        "status": "refused" if why else "candidate",
        "dataset_id": trained.datasets[feature],
        "base_sha256": version["base_sha256"],
        "adapter_sha256": version["adapter_sha256"],
        "prompt_version": FEATURES[feature].prompt_version(version["prompt_style"]),
        "bytes": trained.manifest["adapter_bytes"],
        "artifact": place,
        "calibration": trained.evaluation.calibrations().get(feature),
        "min_confidence": trained.evaluation.min_confidences().get(feature) or 0,
        "metrics": {
            "gates": [one.model_dump() for one in trained.verdicts[feature]],
            "allowed": [one.gate for one in trained.verdicts[feature] if not one.passed and one.gate in options.allowed],
            "limits": options.limits.model_dump(),
            "figures": {model.name: {name: figure.model_dump() for name, figure in model.metrics.items()} for model in verdict.models},
            "n": verdict.n,
            "confidence": _said_of_line(verdict),
        },
        "why": why or None,
    }
    lease.write("slm_register_model", p_model=row)


def _key(options: RunOptions, datasets: Mapping[str, str], train: Mapping[str, Any]) -> str:
    """The hash of all that decides what a run does."""
    code = sources_sha256(shared_schemas, inference, mix, phrases, gates, export, evaluating, sys.modules[__name__], *READ_BY)
    return digest({"datasets": dict(datasets), "train": train["sha256"], "base": _base(options), "tuned_by": _tuned_by(options), "options": _written(options), "code": code})


def _written(options: RunOptions) -> dict[str, Any]:
    init = options.init and {path.name: file_sha256(path) for path in sorted(options.init.glob("adapter*")) if path.suffix in {".gguf", ".safetensors"}}
    return {
        "features": list(options.features),
        "preset": options.preset,
        "recipe": options.recipe.model_dump(),
        "machines": options.machines.model_dump(),
        "style": options.style,
        "init": init,
        "limit": dict(options.limit),
        "judged": options.judged,
        "validation": options.validation,
        "limits": options.limits.model_dump(),
        "allowed": list(options.allowed),
    }


def _ended_before(project: Project, lease: Lease, key: str, preset: str) -> str | None:
    """The run that did the very same, if the preset's last one that ended well or was refused has. One that waited for people has not: they may have spoken."""
    for row in project.rows("slm_training_runs", order="created_at", descending=True):
        if row["id"] != lease.run and row["preset"] == preset and row["status"] in {"done", "refused"}:
            return str(row["id"]) if row["manifest"].get("key") == key and not _waited_for_people(row["manifest"]) else None
    return None


def _waited_for_people(manifest: Mapping[str, Any]) -> bool:
    verdicts = [verdict for found in manifest.get("gates", {}).values() for verdict in found]
    return "review" not in manifest.get("allowed", []) and any(verdict["gate"] == "review" and not verdict["passed"] for verdict in verdicts)


def _ids(rows: Mapping[str, list[Row]]) -> str:
    return digest([[row.id for row in some] for some in rows.values()])


def _telling(lease: Lease, progress: Progress) -> Progress:
    """Progress for people, and for the database; raises RunLost when the run is another process's."""

    def tell(line: str) -> None:
        lease.check()
        progress(line)
        lease.note(said=line.strip()[:200])

    return tell


def _noting(lease: Lease, progress: Progress) -> Callable[[TrainingProgress], None]:
    """The same of a fine-tune's steps."""

    def note(step: TrainingProgress) -> None:
        progress(str(step))
        lease.note(step=step.step, steps=step.steps, loss=step.loss, tokens_per_s=round(step.tokens_per_s))

    return note
