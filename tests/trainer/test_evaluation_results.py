"""An evaluation lies in the project once, forgets who asks for it, and takes its gold set and its baseline from there."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from tests.trainer.judged import good, model
from tests.trainer.test_data_write_back import USER, count, forget_everything, rows
from trainer.data.row import Row
from trainer.errors import CannotJudge, ProjectUnreachable
from trainer.evaluation.answers import baseline_model
from trainer.evaluation.evaluation import Evaluation, evaluate_models
from trainer.evaluation.gold import gold_of_project
from trainer.evaluation.results import write_results
from trainer.supabase_client import Project


@pytest.fixture
def empty(data_project: Project) -> Iterator[Project]:
    def forget() -> None:
        forget_everything(data_project)
        data_project._client.table("slm_eval_runs").delete().not_.is_("id", "null").execute()

    forget()
    yield data_project
    forget()


def judged(tmp_path: Path, gold: list[Row]) -> Evaluation:
    return evaluate_models([model("new", gold, good), model("old", gold, good, seed=7)], {"risk": gold}, folder=tmp_path)


def test_results_are_written_once_and_go_with_their_person(tmp_path: Path, empty: Project) -> None:
    evaluation = judged(tmp_path, rows(120))
    run = str(uuid.uuid4())
    ids = write_results(empty, evaluation, run_id=run, report="report.html")
    assert write_results(empty, evaluation, run_id=run) == ids, "again: the same, nothing twice"
    (line,) = empty.rows("slm_eval_runs", order="created_at")
    assert (line["id"], line["run_id"], line["n"], line["models"], line["report"]) == (ids["risk"], run, 120, ["new", "old"], "report.html")
    assert line["summary"]["models"][0]["metrics"]["accepted"]["mean"] == 1
    assert count(empty, "slm_eval_results") == 240
    one = empty.rows("slm_eval_results", order="example_id", limit=1)[0]
    said = evaluation.features["risk"].models[0 if one["model"] == "new" else 1].answers[one["example_id"]]
    assert said.answer.output
    assert (one["output"], one["scores"]) == (json.loads(compact_json(said.answer.output)), said.scores)
    erased = empty.call("slm_erase_user", p_user_id=USER)["examples"]
    assert erased >= 12
    assert count(empty, "slm_eval_results") == 240 - 2 * erased
    with pytest.raises(ProjectUnreachable, match="asked to be forgotten"):
        write_results(empty, evaluation)


def answers_of(model: str, gold: list[Row]) -> list[dict[str, Any]]:
    price = {"input_usd_per_million": 0.15, "output_usd_per_million": 0.6, "usd": 0.0001}
    fixed = {
        "model": model,
        "prompt_version": FEATURES["risk"].prompt_version("instructions"),
        "feature": "risk",
        "asked_at": "2026-11-01T00:00:00Z",
        "provider": "p",
        "model_snapshot": model,
        **price,
    }
    told = {"said": "{}", "input_tokens": 300, "output_tokens": 80, "latency_ms": 1500}
    fault = {"output": None, "fault": "rejected: jargon"}
    return [{"example_id": row.id, **fixed, **told, **(fault if i == 0 else {"output": json.loads(compact_json(row.output)), "fault": None})} for i, row in enumerate(gold)]


def test_the_vaults_baseline_is_judged_without_being_asked(tmp_path: Path, empty: Project) -> None:
    gold = rows(20)
    with pytest.raises(CannotJudge, match=r"^Cannot judge by the project: no gold set of risk is frozen there"):
        gold_of_project(empty, ["risk"])
    empty.call("slm_freeze_gold", p_feature="risk", p_rows=[json.loads(compact_json(row)) for row in gold])
    frozen = gold_of_project(empty, ["risk"])
    assert {row.id for row in frozen["risk"]} == {row.id for row in gold}
    name = next(row["model"] for row in empty.rows("slm_providers", order="rank") if row["ends_on"])
    with pytest.raises(CannotJudge, match=rf"the vault holds no answers of {name} to risk \(run python -m trainer vault record --model {name}\)$"):
        baseline_model(empty, ["risk"], today="2026-11-23", model=name)
    with pytest.raises(CannotJudge, match=rf"\({name} ended on \d{{4}}-\d\d-\d\d and cannot be asked any more\)$"):
        baseline_model(empty, ["risk"], today="2029-01-01", model=name)
    empty.call("slm_record_baseline", p_answers=answers_of(name, gold))
    baseline = baseline_model(empty, ["risk"], today="2029-01-01")
    assert baseline.name == name, "it may be gone: what it said is kept"
    found = evaluate_models([model("new", gold, good), baseline], frozen, folder=tmp_path).features["risk"].models[1]
    assert (found.n, found.refused, found.latency.p50_ms) == (20, {"rejected": 1}, 1500)
    assert found.metrics["level_right"].mean == 0.95
