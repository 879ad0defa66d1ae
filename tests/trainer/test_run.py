"""The learning loop's own decisions, without a fine-tune: what a model is called, what is done again, what is compared with whom."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from inference.model_store import ModelFiles, file_sha256
from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import LEVELS, RiskOutput
from shared_schemas.model_version import ModelVersion
from tests.trainer.judged import good, model, plan_rows, risk_rows, said
from tests.trainer.tiny_gguf import write_tiny
from trainer import finetune, registry
from trainer import run as running
from trainer.axolotl_config import axolotl_config
from trainer.data.row import Row, write_rows
from trainer.evaluation.answers import Answer, LocalModel
from trainer.evaluation.evaluation import Evaluation, evaluate_models
from trainer.export.build import Sources, _facts
from trainer.export.metadata import rewrite
from trainer.gates import Limits, Reviewed, Verdict, judge, refusals
from trainer.lease import Lease
from trainer.recipe import LoraRecipe, Machines
from trainer.registry import Service
from trainer.run import RunOptions, _key, _lineage
from trainer.stage import digest
from trainer.supabase_client import Project

NOBODY = Reviewed(pairs=0, share=0, low=0)
DATASETS = {"risk": "ab" * 32, "plan": "cd" * 32}
TRAIN = {"sha256": "ef" * 32}


def options(folder: Path, **changes: Any) -> RunOptions:
    base = folder / "base.gguf"
    if not base.exists():
        write_tiny(base)
    plain: dict[str, Any] = {
        "features": ("risk", "plan"), "preset": "smollm2-135m", "base": base, "work": folder / "work", "axolotl": folder / "axolotl", "make_data": lambda *_: {}, "store": str(folder / "store"), "service": None,
    }  # fmt: skip
    return RunOptions(**{**plain, **changes})


class Known:
    """A project whose tables hold these rows."""

    def __init__(self, **tables: list[dict[str, Any]]) -> None:
        self._tables = tables

    def rows(self, relation: str, **_: Any) -> list[dict[str, Any]]:
        return self._tables.get(relation, [])


class Held:
    """A lease that is held, and writes down how its run ended."""

    run = "this-run"
    ended = ""

    def check(self) -> None: ...

    def note(self, **_: Any) -> None: ...

    def enter(self, *_: Any, **__: Any) -> None: ...

    def finish(self, status: str, *_: Any) -> None:
        self.ended = status


class Reached(Exception):
    """As far as a test wants to go."""


class Told(Service):
    """A service that answers by whatever it is told to."""

    def __init__(self) -> None:
        super().__init__("http://nowhere", None)
        self.answers: dict[str, str] = {}

    def put_to_work(self, name: str, features: Sequence[str]) -> None:
        self.answers |= dict.fromkeys(features, name)


@pytest.fixture(autouse=True)
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed in an Axolotl environment that nobody has made."""
    installed = {"axolotl": "0.19.0", "torch": "2.13.0"}
    for module in (running, finetune):
        monkeypatch.setattr(module, "package_versions", lambda _: dict(installed))
    return installed


# --- a model's name -------------------------------------------------------------------------------------------------


def weights(folder: Path, content: bytes = b"weights") -> tuple[Path, Path]:
    """A trained adapter and the phrases beside it."""
    adapter, phrases = folder / "adapter_model.safetensors", folder / "phrases.txt"
    adapter.write_bytes(content)
    phrases.write_text("risk\t{}\n")
    return adapter, phrases


def test_the_same_adapter_is_the_same_file_under_the_same_name_whatever_was_asked_besides(tmp_path: Path) -> None:
    """`run --allow latency` behind a refusal makes no second model of that name."""
    converted, adapter = write_tiny(tmp_path / "converted.gguf"), weights(tmp_path)
    asked = [options(tmp_path), options(tmp_path, allowed=("latency",), judged=100)]
    assert len({_key(one, DATASETS, TRAIN) for one in asked}) == 2
    lineages = [_lineage(one, DATASETS, (one.base, *adapter)) for one in asked]
    written = []
    for i, lineage in enumerate(lineages):
        rewrite(converted, tmp_path / f"{i}.gguf", facts=_facts(Sources(tmp_path, tmp_path, lineage, asked[i].base)))
        written.append(file_sha256(tmp_path / f"{i}.gguf"))
    assert len({lineage.name for lineage in lineages}) == 1
    assert len(set(written)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda one, files: (one, DATASETS, (*files[:1], weights(files[1].parent, b"others")[0], files[2])),
        lambda one, files: (one, {**DATASETS, "plan": "00" * 32}, files),
        lambda one, files: (options(one.work.parent, style="tag"), DATASETS, files),
        lambda one, files: (one, DATASETS, (*files[:2], files[0])),
    ],
    ids=["weights", "dataset", "prompt", "phrases"],
)
def test_whatever_changes_a_file_of_a_model_changes_its_name(tmp_path: Path, change: Callable[..., Any]) -> None:
    one = options(tmp_path)
    files = (one.base, *weights(tmp_path))
    name = _lineage(one, DATASETS, files).name
    assert name.startswith("smollm2-135m-")
    assert _lineage(*change(one, files)).name != name


# --- nothing new ----------------------------------------------------------------------------------------------------


def test_with_nothing_new_a_service_that_was_not_told_of_the_active_models_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run --inference none` has promoted; `run --inference URL` finds the same data, and makes the service answer so."""
    monkeypatch.setattr(running, "_data", lambda *_: (DATASETS, TRAIN, {}))
    one, lease, service = options(tmp_path), Held(), Told()
    models = [{"name": name, "feature": feature, "status": status} for name, feature, status in [("m-2", "plan", "active"), ("m-2", "risk", "candidate"), ("m-1", "risk", "active")]]
    before = {"id": "before", "preset": one.preset, "status": "done", "manifest": {"key": _key(one, DATASETS, TRAIN)}}
    project = cast(Project, Known(slm_training_runs=[before], slm_models=models))
    said: list[str] = []

    assert running.run(project, cast(Lease, lease), one, progress=said.append) == {"status": "nothing_new", "run": "this-run", "same_as": "before", "answers": {}}
    assert not said
    result = running.run(project, cast(Lease, lease), options(tmp_path, service=service), progress=said.append)
    assert result == {"status": "nothing_new", "run": "this-run", "same_as": "before", "answers": {"plan": "m-2", "risk": "m-1"}}
    assert service.answers == {"plan": "m-2", "risk": "m-1"}
    assert said == ["promote: m-1 is to answer risk", "promote: m-2 is to answer plan"]
    assert lease.ended == "nothing_new"


@pytest.mark.parametrize(("passed", "allowed", "again"), [(False, [], True), (False, ["review"], False), (True, [], False)], ids=["waited", "allowed", "passed"])
def test_a_run_that_waited_for_people_is_done_again_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool, allowed: list[str], again: bool) -> None:
    def reached(*_: Any) -> Any:
        raise Reached

    monkeypatch.setattr(running, "_data", lambda *_: (DATASETS, TRAIN, {}))
    monkeypatch.setattr(running, "_train", reached)
    one = options(tmp_path, limits=Limits(reviewed=40))
    manifest = {"key": _key(one, DATASETS, TRAIN), "gates": {"risk": [{"gate": "review", "passed": passed}]}, "allowed": allowed}
    project = cast(Project, Known(slm_training_runs=[{"id": "before", "preset": one.preset, "status": "refused", "manifest": manifest}]))
    if again:
        with pytest.raises(Reached):
            running.run(project, cast(Lease, Held()), one, progress=print)
    else:
        assert running.run(project, cast(Lease, Held()), one, progress=print)["status"] == "nothing_new"


@pytest.mark.parametrize(
    ("said", "pairs", "share", "low"),
    [({"pairs": None, "share": None, "share_low": None}, 0, 0, 0), ({"pairs": 44, "better": 20, "worse": 10, "equal": 14, "share": 0.6136, "share_low": 0.4665}, 44, 0.6136, 0.4665)],
    ids=["nobody", "some"],
)
def test_what_people_said_of_a_model_is_read_from_the_project(said: dict[str, Any], pairs: int, share: float, low: float) -> None:
    asked: list[dict[str, Any]] = []

    class Reviews:
        def call(self, function: str, **parameters: Any) -> Any:
            asked.append({"function": function, **parameters})
            return said

    assert running._reviewed(cast(Project, Reviews()), "risk", "m-1") == Reviewed(pairs=pairs, share=share, low=low)
    assert asked == [{"function": "slm_review_verdict", "p_feature": "risk", "p_model": "m-1"}]


# --- done again -----------------------------------------------------------------------------------------------------


def inputs_of(stage: str, one: RunOptions, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hash of what decides a stage of the run: none before it is really done."""
    found: dict[str, str] = {}

    def recorded(folder: Path, inputs: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        found[folder.name] = digest(inputs)
        if folder.name == stage:
            raise Reached
        return {}

    def exported(*_: Any) -> dict[str, Any]:
        return {"files": {"adapter/adapter.gguf": {"sha256": "a" * 64, "bytes": 1}}, "parity": {"files": {}}}

    for folder in ("mix", "adapter", "export/adapter"):
        (one.work / folder).mkdir(parents=True, exist_ok=True)
    (one.work / "mix" / "train.jsonl").touch()
    for path in ("adapter/adapter_model.safetensors", "export/adapter/adapter.gguf"):
        (one.work / path).write_bytes(b"weights")
    for name, stand_in in {"run_stage": recorded, "_export": exported, "model_in": lambda *_: None}.items():
        monkeypatch.setattr(running, name, stand_in)
    with pytest.raises(Reached):
        running._train(cast(Project, Known()), cast(Lease, Held()), one, DATASETS, TRAIN, {"risk": []}, lambda _: None)
    return found[stage]


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("adapter", {"machines": Machines(device="gpu")}),
        ("adapter", {"preset": "llama-3.2-1b"}),
        ("adapter", {"recipe": LoraRecipe(rounded_to="Q4_0")}),
        ("adapter", {"judged": 100}),
        ("parity", {"judged": 100}),
    ],
)
def test_a_stage_is_done_again_for_what_decides_it_and_for_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, change: dict[str, Any]) -> None:
    same = inputs_of(stage, options(tmp_path, **change), monkeypatch) == inputs_of(stage, options(tmp_path), monkeypatch)
    assert same == ("judged" in change)


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("adapter", "trainer/axolotl_config.py"),
        ("adapter", "trainer/quantisation_aware.py"),
        ("adapter", "trainer/finetune.py"),
        ("adapter", "trainer/dequantise.py"),
        ("parity", "trainer/chat_tokens.py"),
        ("parity", "trainer/export/adapter.py"),
        ("parity", "inference/engine/llama.py"),
        ("parity", "shared_schemas/features/risk.py"),
    ],
)
def test_a_stage_is_done_again_when_its_code_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, file: str) -> None:
    one = options(tmp_path)
    before = inputs_of(stage, one, monkeypatch)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path == finetune.REPOSITORY / file))
    assert inputs_of(stage, one, monkeypatch) != before


@pytest.mark.parametrize("stage", ["base", "adapter", "parity"])
def test_a_stage_is_done_again_with_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], stage: str) -> None:
    one = options(tmp_path)
    before, key = inputs_of(stage, one, monkeypatch), _key(one, DATASETS, TRAIN)
    versions["torch"] = "2.14.0"
    assert inputs_of(stage, one, monkeypatch) != before
    assert _key(one, DATASETS, TRAIN) != key, "and the run is something new"


@pytest.mark.parametrize("machines", [Machines(), Machines(processes=2, zero=2), Machines(device="gpu")])
def test_every_plugin_of_ours_decides_an_adapter(tmp_path: Path, machines: Machines) -> None:
    config = axolotl_config(LoraRecipe(rounded_to="Q4_0"), base=tmp_path, data=tmp_path, out=tmp_path, machines=machines)
    assert {plugin.rpartition(".")[0] for plugin in config["plugins"] if plugin.startswith("trainer.")} <= set(finetune.TUNED_BY)


# --- compared with whom ---------------------------------------------------------------------------------------------


def judged(
    one: RunOptions, active: list[dict[str, Any]], rows: list[Row], monkeypatch: pytest.MonkeyPatch, *, answer: Callable[..., Answer] = good, tell: Callable[[str], None] = lambda _: None
) -> Any:
    """The evaluation of a candidate, all answers written down, and who its rivals are."""

    def recorded(models: Sequence[LocalModel], gold: Any, *, validation: Mapping[str, list[Row]], folder: Path, progress: Callable[[str], None]) -> Evaluation:
        known = [*rows, *(row for some in validation.values() for row in some)]
        return evaluate_models([model(one.name, known, answer) for one in models], gold, validation=validation, folder=folder, progress=progress)

    monkeypatch.setattr(running, "evaluate_models", recorded)
    candidate = ModelFiles(one.base, None, ModelVersion(name="new", base_sha256="a" * 64, adapter_sha256="b" * 64, prompt_style="terse"))
    return running._evaluate(cast(Project, Known(slm_models=active)), one, candidate, {"risk": rows}, tell)


def judged_beside(active: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, allowed: tuple[str, ...] = ()) -> tuple[list[Verdict], list[Verdict]]:
    """The gates' verdicts on a candidate whose answers are written down, and those that stand in its way."""
    rows = risk_rows(30)

    one = options(tmp_path, features=("risk",))
    evaluation, rivals = judged(one, active, rows, monkeypatch)
    evidence = running._evidence(evaluation.features["risk"], rivals["risk"], {"prompts": 30, "equal": 30}, one, 4_900_000, NOBODY)
    verdicts = judge(evidence, Limits())
    return verdicts, refusals(verdicts, allowed)


def test_a_candidate_that_could_not_be_held_against_the_active_model_is_not_called_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    active = [{"name": "m-1", "feature": "risk", "status": "active", "base_sha256": "c" * 64, "artifact": "nowhere"}]
    _, refused = judged_beside(active, tmp_path, monkeypatch)
    assert [(verdict.gate, verdict.text) for verdict in refused] == [("not_worse", "not compared with the active model: m-1 answers from another base")]
    assert judged_beside(active, tmp_path, monkeypatch, allowed=("not_worse",))[1] == []


def test_the_active_model_itself_is_as_good_as_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same data again, with another option: its adapter answers already, and is compared all the same."""
    active = [{"name": "old", "feature": "risk", "status": "active", "base_sha256": "a" * 64, "artifact": "store/old"}]
    files = ModelFiles(tmp_path, None, ModelVersion(name="old", base_sha256="a" * 64, adapter_sha256="b" * 64, prompt_style="terse"))
    monkeypatch.setattr(registry, "download", lambda place, _: Path(place))
    monkeypatch.setattr(running, "model_in", lambda *_: files)
    verdicts, refused = judged_beside(active, tmp_path, monkeypatch)
    assert refused == []
    assert next(verdict.text for verdict in verdicts if verdict.gate == "not_worse").startswith("score +0.000 against the active model (n = 30")


@pytest.mark.parametrize(("feature", "rows"), [("risk", risk_rows(60)), ("plan", plan_rows(60))])
def test_a_candidate_that_decides_worse_is_refused_however_well_it_words_it(tmp_path: Path, feature: str, rows: list[Row]) -> None:
    """Every fifth answer has the reference's words under another level, or those of its first phase alone."""
    decided = {row.id: other(row) if i % 5 == 0 else row.output for i, row in enumerate(rows)}
    models = [model("new", rows, lambda row, _: said(row, decided[row.id])), model("old", rows, lambda row, _: said(row))]
    verdict = evaluate_models(models, {feature: rows}, folder=tmp_path).features[feature]
    found = judge(running._evidence(verdict, running.Rival("old"), {"prompts": 60, "equal": 60}, options(tmp_path), 4_900_000, NOBODY), Limits())
    assert "judgement" in [refused.gate for refused in refusals(found)]
    assert feature != "risk" or len(refusals(found)) == 1, "the mean score does not see it"


def other(row: Row) -> RiskOutput | PlanOutput:
    match row.output:
        case RiskOutput():
            return row.output.model_copy(update={"risk_level": LEVELS[(LEVELS.index(row.output.risk_level) + 1) % 3]})
        case PlanOutput():
            steps = row.output.suggested_plan
            return row.output.model_copy(update={"suggested_plan": [step for step in steps if step.phase == steps[0].phase]})


# --- the least confidence -------------------------------------------------------------------------------------------

ELSEWHERE = [{"name": "m-1", "feature": "risk", "status": "active", "base_sha256": "c" * 64, "artifact": "nowhere"}]


def validated(folder: Path, rows: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[Evaluation, list[str]]:
    """A candidate that is always right, with so many validation rows to show it by, and what was said meanwhile."""
    one = options(folder, features=("risk",), **changes)
    split = one.work / "data" / "risk" / "split"
    split.mkdir(parents=True)
    write_rows(split / "validation.jsonl", risk_rows(rows, seed=50))
    told: list[str] = []
    evaluation, _ = judged(one, ELSEWHERE, risk_rows(30), monkeypatch, answer=lambda row, rng: said(row, sure=0.9 + 0.09 * rng.random()), tell=told.append)
    return evaluation, told


def test_a_run_finds_a_least_confidence_by_more_rows_than_it_judges_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation, told = validated(tmp_path, 200, monkeypatch)
    found = evaluation.features["risk"]
    assert (found.n, found.confidence and found.confidence.validation) == (30, 200)
    assert evaluation.min_confidences()["risk"] is not None
    assert running._said_of_line(found).startswith(f"min_confidence {evaluation.min_confidences()['risk']}: of ")
    assert "confidence of risk: 200 validation answers, at most about 3 min" in told


def test_how_many_it_asks_is_bounded_and_where_it_finds_none_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = validated(tmp_path, 200, monkeypatch, validation=20)[0].features["risk"]
    assert found.confidence
    assert found.confidence.validation == 20
    assert running._said_of_line(found).startswith("No min_confidence: too few: 20 validation answers")
    assert running._said_of_line(found).endswith("; 0 is registered, which holds no answer back")
    none_to_ask = found.model_copy(update={"confidence": None})
    assert running._said_of_line(none_to_ask) == "No min_confidence: there are no validation answers to find one by; 0 is registered, which holds no answer back"
