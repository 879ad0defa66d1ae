"""Owns the order of an export: merge, convert, quantise, the adapter alone, the gate, the choice; each a stage that is done once.

Knows nothing of data, training or the registry.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf

from inference import engine
from inference.model_store import file_sha256
from shared_schemas.closed import Closed
from trainer.errors import StageFailed
from trainer.export import adapter as adapter_module
from trainer.export import convert as convert_module
from trainer.export import metadata, quantise, reading, tensors
from trainer.export import parity as parity_module
from trainer.export.adapter import export_adapter
from trainer.export.child import run_child
from trainer.export.choose import Choice, Margin, choose_quantisation
from trainer.export.convert import convert
from trainer.export.metadata import rewrite
from trainer.export.parity import F16, Judge, Parity, Tolerance, Written, check_parity
from trainer.export.reading import read_trained
from trainer.export.speed import measure
from trainer.finetune import Progress
from trainer.format import Row
from trainer.stage import digest, read_manifest, run_stage, sources_sha256, write_json

PROVED_BY = (engine, parity_module, reading, tensors, "trainer.axolotl_side.trained_reading")
QUANTISATIONS = ("Q8_0", "Q4_K_M", "Q4_0")


class Lineage(Closed):
    """Where a model comes from; every GGUF carries it. `prompt_versions`: by feature what the model is told (Feature.prompt_version).

    `run` is for who exports by hand: another one makes other bytes, so the learning loop, whose names stand for bytes, leaves it out.
    """

    name: str
    base: str
    licence: str
    run: str = ""
    datasets: tuple[str, ...] = ()
    prompt_versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """`base`, `adapter`: folders of Hugging Face weights and of peft's adapter. `base_gguf`: the file that `base` was dequantised
    from, whose vocabulary the models then get; None for a base that has a tokenizer of its own."""

    base: Path
    adapter: Path
    lineage: Lineage
    base_gguf: Path | None = None


@dataclass(frozen=True)
class Trials:
    """What the files are tried on. `calibration`: chat rows of the training set, for the importance matrix (none: without);
    `held_out`: rows for the gate; `judge`: scores a file on a task."""

    held_out: Sequence[Row]
    calibration: Sequence[Row] = ()
    judge: Judge | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
    margin: Margin = field(default_factory=Margin)
    rounds: int = 3


def export_model(sources: Sources, out: Path, *, quantisations: Sequence[str] = QUANTISATIONS, trials: Trials, axolotl: Path, progress: Progress) -> dict[str, Any]:
    """Write f16, the quantisations and the adapter under `out`, prove them, choose one. Returns the manifest, `out`/manifest.json.

    Resumable: what is done with the same inputs is not done again. Raises StageFailed, MissingEnvironment, and ParityFailed
    when f16 is refused; a refused quantisation is only no choice.
    """
    for name in quantisations:
        quantise.parse(name)
    _check(sources)
    facts = _facts(sources)
    merged = run_stage(out / "merged", {**_merge_inputs(sources), "code": sources_sha256("trainer.axolotl_side.merge_weights")}, lambda folder: _merge(sources, folder, axolotl, progress))
    made = {**merged, "facts": facts, "code": sources_sha256(metadata, convert_module, quantise), "vocabulary": file_sha256(sources.base_gguf) if sources.base_gguf else ""}
    exact = run_stage(out / F16, made, lambda folder: _convert(out / "merged", sources, facts, folder, axolotl, progress))
    importance = _importance(out, exact, trials.calibration, axolotl, progress) if trials.calibration else None
    written = {F16: exact}
    for name in quantisations:
        inputs = {"f16": exact["sha256"], "quantisation": name, "importance": file_sha256(importance) if importance else ""}
        written[name] = run_stage(out / name, inputs, lambda folder, name=name: _quantise(out / F16 / "model.gguf", folder, name, importance, progress))  # type: ignore[misc]
    alone = run_stage(
        out / "adapter",
        {**_merge_inputs(sources), "facts": facts, "code": sources_sha256(metadata, convert_module, adapter_module)},
        lambda folder: export_adapter(sources.adapter, sources.base, folder, axolotl=axolotl, progress=progress, facts=facts),
    )
    parity = _prove(out, written, trials, axolotl, progress)
    choice = _choose(out, parity, trials, progress)
    manifest = {
        "lineage": sources.lineage.model_dump(mode="json"),
        **_merge_inputs(sources),
        "files": {**{f"{name}/model.gguf": facts for name, facts in written.items()}, "adapter/adapter.gguf": alone},
        "parity": parity.model_dump(mode="json"),
        "choice": choice.model_dump(mode="json"),
    }
    write_json(out / "manifest.json", manifest)
    return manifest


def _check(sources: Sources) -> None:
    for path in (sources.base / "config.json", sources.adapter / "adapter_model.safetensors", *([sources.base_gguf] if sources.base_gguf else [])):
        if not path.is_file():
            raise StageFailed(f"Cannot export {sources.adapter}: there is no {path}")
    if not any(sources.base.glob("*.safetensors")):
        raise StageFailed(f"Cannot export {sources.adapter}: there are no weights (*.safetensors) in {sources.base}")


def _facts(sources: Sources) -> metadata.Facts:
    lineage = sources.lineage
    return {
        "general.name": lineage.name,
        "general.license": lineage.licence,
        "talentops.base": lineage.base,
        "talentops.base_sha256": file_sha256(sources.base_gguf) if sources.base_gguf else _weights_sha256(sources.base),
        **({"talentops.run": lineage.run} if lineage.run else {}),
        "talentops.datasets": lineage.datasets,
        "talentops.prompt_versions": lineage.prompt_versions,
    }


def _merge_inputs(sources: Sources) -> dict[str, str]:
    return {"base_weights": _weights_sha256(sources.base), "adapter_weights": file_sha256(sources.adapter / "adapter_model.safetensors")}


def _weights_sha256(folder: Path) -> str:
    """Of all the files that large weights lie in."""
    return digest({path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))})


def _merge(sources: Sources, folder: Path, axolotl: Path, progress: Progress) -> dict[str, Any]:
    progress("merge: fold the adapter into its base")
    run_child("trainer.axolotl_side.merge_weights", [sources.base.resolve(), sources.adapter.resolve(), folder.resolve()], axolotl=axolotl)
    return {"merged_weights": _weights_sha256(folder)}


def _convert(merged: Path, sources: Sources, facts: metadata.Facts, folder: Path, axolotl: Path, progress: Progress) -> dict[str, Any]:
    progress("convert: merged weights to GGUF f16")
    converted = folder / "converted.gguf"
    convert("convert_hf_to_gguf.py", ["--outtype", F16, "--outfile", str(converted.resolve()), str(merged.resolve())], axolotl=axolotl, log=folder / "convert.log")
    rewrite(converted, folder / "model.gguf", facts={**facts, quantise.KEY: F16}, vocabulary_of=sources.base_gguf)
    converted.unlink()
    return _file_facts(folder / "model.gguf", F16)


def _importance(out: Path, exact: Mapping[str, Any], rows: Sequence[Row], axolotl: Path, progress: Progress) -> Path:
    """The importance matrix of the merged model on rows of the training set."""

    def make(folder: Path) -> dict[str, Any]:
        progress(f"importance: {len(rows)} conversations")
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        run_child("trainer.axolotl_side.importance", [(out / "merged").resolve(), _architecture(out / F16 / "model.gguf"), (folder / "importance.npz").resolve()], stdin=lines, axolotl=axolotl)
        return {"rows": len(rows)}

    run_stage(out / "importance", {"f16": exact["sha256"], "rows": digest(list(rows))}, make)
    return out / "importance" / "importance.npz"


def _architecture(path: Path) -> str:
    return str(gguf.GGUFReader(path).fields["general.architecture"].contents())


def _quantise(f16: Path, folder: Path, name: str, importance: Path | None, progress: Progress) -> dict[str, Any]:
    progress(f"quantise: {name}")
    target = folder / "model.gguf"
    quantise.quantise(f16.resolve(), target.resolve(), name, importance=importance.resolve() if importance else None)
    return _file_facts(target, name)


def _file_facts(path: Path, quantisation: str) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size, "quantisation": quantisation}


def _prove(out: Path, files: Mapping[str, Mapping[str, Any]], trials: Trials, axolotl: Path, progress: Progress) -> Parity:
    """The gate's record, kept unless a judge was asked: what it thinks is not ours to keep. Raises ParityFailed when f16 is refused."""

    def make(_folder: Path) -> dict[str, Any]:
        progress("parity: read as trained")
        trained = read_trained(out / "merged", trials.held_out, axolotl=axolotl)
        written = {name: Written(path=out / name / "model.gguf", sha256=facts["sha256"], bytes=facts["bytes"]) for name, facts in files.items()}
        return check_parity(trained, written, trials.held_out, tolerance=trials.tolerance, judge=trials.judge, progress=progress).model_dump(mode="json")

    inputs = {"files": {name: facts["sha256"] for name, facts in files.items()}, "rows": digest(list(trials.held_out)), "tolerance": trials.tolerance.model_dump(), "code": sources_sha256(*PROVED_BY)}
    if trials.judge:
        (out / "parity" / "manifest.json").unlink(missing_ok=True)
    parity = Parity.model_validate_json(json.dumps(run_stage(out / "parity", inputs, make)))
    if parity.files[F16].fault:
        parity.require()
    return parity


def _choose(out: Path, parity: Parity, trials: Trials, progress: Progress) -> Choice:
    """The choice, whose speeds are measured once for the same files."""
    sound = {name: out / name / "model.gguf" for name, file in parity.files.items() if file.fault is None}
    inputs = {"parity": digest(parity.model_dump(mode="json")), "margin": trials.margin.model_dump(), "rounds": trials.rounds}

    def make(_folder: Path) -> dict[str, Any]:
        return choose_quantisation(parity.files, measure(sound, rounds=trials.rounds, progress=progress), trials.margin).model_dump(mode="json")

    return Choice.model_validate_json(json.dumps(run_stage(out / "choice", inputs, make)))


def read_export(out: Path) -> dict[str, Any]:
    """The manifest of a finished export. Raises StageFailed."""
    manifest = read_manifest(out)
    if not manifest:
        raise StageFailed(f"Cannot use {out}: no export has finished there")
    return manifest
