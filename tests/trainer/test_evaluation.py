"""A verdict rests on answers that are asked once, scored by what they are worth, and compared on the same examples."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from inference.model_store import STARTER, find_model, read_calibrations
from inference.settings import Settings
from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanInput
from shared_schemas.features.risk import RiskInput, RiskOutput
from tests.trainer.judged import good, model, off, plan_rows, poor, risk_rows, said
from tests.trainer.test_data_report import Page
from tests.trainer.test_data_split import row_of, source
from trainer.cli import main
from trainer.data.row import Row, make_row, write_rows
from trainer.errors import BrokenRows, CannotJudge, UnderTheLine
from trainer.evaluation.answers import Answer, LocalModel, collect, local_model
from trainer.evaluation.command import check_lines, read_lines
from trainer.evaluation.evaluation import Evaluation, evaluate_models
from trainer.evaluation.gold import check_leaks, find_gold, read_gold
from trainer.evaluation.promptfoo import promptfoo_json
from trainer.evaluation.report import write_report
from trainer.evaluation.scores import is_wrong, metrics_of, scores, step_count_error
from trainer.evaluation.slices import slices_of


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Two good models and a poor one on both features, with confidence fitted on 200 other risk rows."""
    gold, validation = {"risk": risk_rows(60), "plan": plan_rows(40)}, {"risk": risk_rows(200, seed=50)}
    rows = [row for some in (*gold.values(), *validation.values()) for row in some]
    models = [model("new", rows, good), model("active", rows, good, seed=4), model("base", rows, poor)]
    return evaluate_models(models, gold, validation=validation, folder=tmp_path_factory.mktemp("answers"))


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_real_model_is_asked_once(tmp_path: Path) -> None:
    """What is there already is not asked again: the second time the weights may be gone."""
    rows = risk_rows(2)
    active = local_model("active", Settings())
    told: list[str] = []
    first = collect(active, rows, tmp_path, progress=told.append)
    assert [answer.example_id for answer in first] == [row.id for row in rows]
    assert told[0] == "evaluate risk: active, 0 of 2 answers are there"
    assert all(answer.output and answer.latency_ms and answer.input_tokens and "p_low" in answer.raw for answer in first), "the starter answers template-made examples"
    gone = replace(active, files=replace(active.files, base=tmp_path / "none.gguf", merged=None, adapter=None))
    assert collect(gone, rows, tmp_path) == first
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o077 == 0, "answers are made of people's own words"


def test_a_killed_run_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    rows = plan_rows(5)
    asked: list[str] = []

    class Counted(LocalModel):
        def answers(self, rows: Any) -> Any:
            for row in rows:
                asked.append(row.id)
                yield said(row)

    ours = Counted("ours", find_model(Settings()))
    collect(ours, rows[:3], tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    found = collect(ours, rows, tmp_path)
    assert [answer.example_id for answer in found] == [row.id for row in rows]
    assert asked == [row.id for row in [*rows[:3], *rows[2:]]], "the half line is asked again, the whole ones are not"
    assert len(path.read_text().splitlines()) == 5
    other = replace(ours, files=replace(ours.files, weights_sha256="f" * 64))
    assert ours.key(FEATURES["plan"]) != other.key(FEATURES["plan"]), "other weights are another model"


# --- scores ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_refused_scores_nothing() -> None:
    for row in (risk_rows(1)[0], plan_rows(1)[0]):
        assert set(scores(row, said(row, sure=0, code="truncated")).values()) == {0.0}
        assert {name for name, score in scores(row, said(row, sure=0)).items() if score} == {"valid"}, "rejected: it had the schema's shape"
        best = scores(row, said(row))
        assert tuple(best) == metrics_of(row.feature)
        assert all(best[name] == 1 for name in best if name != "house_voice")
        assert scores(row, said(row, attempts=2))["first_try"] == 0


def test_what_is_wrong_is_one_rule() -> None:
    risk, plan = risk_rows(1)[0], plan_rows(1)[0]
    assert not is_wrong(risk, said(risk))
    assert is_wrong(risk, said(risk, off(risk)))
    assert not is_wrong(plan, said(plan))
    assert is_wrong(plan, said(plan, off(plan)))
    assert (step_count_error(plan, said(plan)), step_count_error(risk, said(risk))) == (0, None)


def test_slices_follow_from_the_input() -> None:
    def of(title: str, **rest: Any) -> Row:
        asked = FEATURES["risk"].golden.model_copy(update={"title": title, **rest})
        return make_row("risk", "ledger", asked, risk_rows(1)[0].output, sources=[], prompt_version="p")

    rows = [of("Integration of the invoice module"), of("New integration test"), of("Old integration guide"), of("Inetgration with the gateway"), of("LEARN SQL BASICS"), of("asdf"), of("مهمة جديدة")]
    found = slices_of([*rows, of("Fix it", micro_task=True, milestone="none")])
    names = {row.prompt_input.title: found[row.id] for row in rows}
    assert "typo" in names["Inetgration with the gateway"]
    assert "typo" not in names["New integration test"]
    assert {"learning track", "odd title"} <= names["LEARN SQL BASICS"]
    assert "odd title" in names["asdf"]
    assert "odd title" in names["مهمة جديدة"]
    assert "milestone" in names["New integration test"]
    assert found[of("Fix it", micro_task=True, milestone="none").id] == {"micro-task"}


# --- the verdict ----------------------------------------------------------------------------------------------------


def test_every_model_has_its_figures(verdict: Evaluation) -> None:
    risk = verdict.features["risk"]
    new, _, base = risk.models
    assert (risk.n, new.n) == (60, 60)
    assert new.metrics["accepted"].mean == 1
    assert base.refused == {"rejected": round(60 * (1 - base.metrics["accepted"].mean))}
    assert new.confusion
    assert base.confusion
    assert sum(sum(counts.values()) for counts in new.confusion.values()) == 60
    assert sum(counts["refused"] for counts in base.confusion.values()) == base.refused["rejected"]
    right = sum(new.confusion[level][level] for level in new.confusion)
    assert new.metrics["level_right"].mean == pytest.approx(right / 60, abs=1e-4)
    assert 0 < new.metrics["macro_f1"].low <= new.metrics["macro_f1"].mean
    assert new.latency.p50_ms
    assert new.latency.p95_ms
    assert new.latency.p50_ms < new.latency.p95_ms
    assert new.latency.output_tokens == 70
    assert set(new.slices) >= {"milestone", "micro-task"}
    assert verdict.features["plan"].models[0].step_count_error
    assert base.diversity["self_similarity"] == 1 > risk.gold_diversity["self_similarity"], "the poor model says the same to everybody"


def test_models_are_compared_on_the_same_examples(verdict: Evaluation) -> None:
    found = {(one.metric, one.theirs): one for one in verdict.features["risk"].comparisons}
    assert found["accepted", "base"].difference.low > 0
    assert found["accepted", "base"].p_holm < 0.05
    assert found["level_right", "active"].p_holm > 0.05
    assert found["macro_f1", "base"].difference.test == "permutation"
    assert all(one.p_holm >= one.difference.p for one in found.values())


def test_what_was_never_shown_to_a_model_is_no_fault_of_it(tmp_path: Path) -> None:
    rows = risk_rows(20)
    part = model("baseline", rows[:12], lambda row, _: said(row))
    found = evaluate_models([model("new", rows, lambda row, _: said(row)), part], {"risk": rows}, folder=tmp_path).features["risk"]
    assert [one.n for one in found.models] == [20, 12]
    assert {one.difference.n for one in found.comparisons} == {12}
    with pytest.raises(CannotJudge, match=r"Cannot judge baseline: it has answered none of the 8 gold examples of risk"):
        evaluate_models([part], {"risk": rows[12:]}, folder=tmp_path)


def test_the_first_models_confidence_is_fitted_and_checked(verdict: Evaluation, tmp_path: Path) -> None:
    found = verdict.features["risk"].confidence
    assert found
    assert (found.model, found.validation, found.after.n) == ("new", 200, 60)
    assert found.before.ece is not None
    assert found.after.ece is not None
    assert found.after.ece < found.before.ece
    assert found.line.min_confidence is not None
    assert found.line.gold_reached <= 60
    (tmp_path / "manifest.json").write_text(json.dumps({"calibration": verdict.calibrations()}))
    assert read_calibrations(tmp_path / "manifest.json") == {"risk": found.calibration}, "as the service reads it"
    assert verdict.min_confidences() == {"risk": found.line.min_confidence, "plan": None}


def test_a_summary_quotes_nobody(verdict: Evaluation) -> None:
    """It is kept when an example is erased."""
    text = json.dumps(verdict.summary(), ensure_ascii=False)
    assert Evaluation.model_validate_json(verdict.model_dump_json()) == verdict
    rows = [row for one in verdict.features.values() for row in one.rows]
    quoted = [row.prompt_input.title for row in rows if len(row.prompt_input.title) > 8 and row.prompt_input.title in text]
    assert not quoted
    assert not [row for row in rows if row.id in text or any(said in text for said in FEATURES[row.feature].prose(row.output))]


@pytest.mark.parametrize(("line", "said"), [("accepted=0.95,rouge_l=0.5", None), ("level_right=0.99", r"new is under the line: risk level_right is 0\.\d+ \[0\.\d+, 0\.\d+\], 0\.\d+ under 0\.99$"), ("house_voice=1", "under 1; plan house_voice"), ("bleu=1", "there is no such metric"), ("accepted=much", "must be METRIC=FIGURE")])  # fmt: skip
def test_lines_that_a_model_must_reach(verdict: Evaluation, line: str, said: str | None) -> None:
    if said is None:
        check_lines(verdict, read_lines(line))
    else:
        with pytest.raises((UnderTheLine, CannotJudge), match=said):
            check_lines(verdict, read_lines(line))


# --- what is judged by ----------------------------------------------------------------------------------------------


def test_a_gold_set_that_leaks_judges_nobody(tmp_path: Path) -> None:
    rows = risk_rows(30)
    write_rows(tmp_path / "train.jsonl", rows[10:])
    check_leaks(rows[:3], tmp_path / "train.jsonl")
    near = rows[0].prompt_input
    assert isinstance(near, RiskInput)
    child = make_row("risk", "ledger", near.model_copy(update={"title": f"{near.title} now"}), rows[0].output, sources=[source(99)], prompt_version="p")
    write_rows(tmp_path / "train.jsonl", [*rows[10:], child, rows[1]])
    with pytest.raises(CannotJudge, match=r"^Cannot judge risk: 2 rows of .*train.jsonl leak into the gold set \(.*; run python -m trainer data --feature risk\)$"):
        check_leaks(rows[:3], tmp_path / "train.jsonl")


def test_the_frozen_set_goes_before_the_provisional_one(tmp_path: Path) -> None:
    assert find_gold(tmp_path, "risk") is None
    (tmp_path / "risk" / "split").mkdir(parents=True)
    write_rows(tmp_path / "risk" / "split" / "gold.jsonl", risk_rows(2))
    (tmp_path / "risk" / "gold.jsonl").touch()
    assert find_gold(tmp_path, "risk") == tmp_path / "risk" / "split" / "gold.jsonl", "an empty file is none"
    write_rows(tmp_path / "risk" / "gold.jsonl", risk_rows(3))
    assert find_gold(tmp_path, "risk") == tmp_path / "risk" / "gold.jsonl"


@pytest.mark.parametrize(("make", "arguments", "line"), [
    (lambda path: path.touch(), [], "holds no rows of risk or plan (run python -m trainer data)"),
    (lambda path: path.write_text("{}\n"), [], "Cannot read line 1 of"),
    (Path.exists, [], "it is not there"),
    (lambda path: write_rows(path, risk_rows(2)), ["--feature", "plan"], "holds no rows of plan"),
    (lambda path: write_rows(path, risk_rows(2)), ["--models", "nowhere"], "Cannot judge nowhere: there is no such folder"),
    (lambda path: write_rows(path, risk_rows(2)), ["--models", "active,active"], "Cannot judge active, active: two models have one name"),
    (lambda path: write_rows(path, risk_rows(2)), ["--fail-under", "x"], "must be METRIC=FIGURE"),
])  # fmt: skip
def test_what_cannot_be_judged_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], object], arguments: list[str], line: str) -> None:
    make(tmp_path / "gold.jsonl")
    assert main(["evaluate", "--gold", str(tmp_path / "gold.jsonl"), "--work-dir", str(tmp_path), *arguments]) == 1
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_the_command_judges_a_real_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "gold.jsonl", risk_rows(1))
    wanted = ["evaluate", "--gold", str(tmp_path / "gold.jsonl"), "--work-dir", str(tmp_path), "--models", "active", "--promptfoo", str(tmp_path / "promptfoo.json")]
    assert main([*wanted, "--json", "--fail-under", "accepted=1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["features"]["risk"]["models"][0]["version"]["name"] == "smollm2-135m-starter-2"
    assert "n = 1" in " ".join(Page((tmp_path / "evaluation" / "report.html").read_text()).texts)
    assert len(json.loads((tmp_path / "promptfoo.json").read_text())["results"]["results"]) == 1
    assert main([*wanted, "--fail-under", "rouge_l=1.5"]) == 1
    assert "active is under the line: risk rouge_l" in capsys.readouterr().err


def test_without_a_gold_set_the_starter_is_judged_by_what_it_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--work-dir", str(tmp_path), "--feature", "risk", "--limit", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"]["adapter_sha256"], list(told["held_out"]), told["held_out"]["risk"]["n"]) == (json.loads((STARTER / "manifest.json").read_text())["model"]["adapter_sha256"], ["risk"], 1)


# --- what is written ------------------------------------------------------------------------------------------------


def test_the_report_shows_the_verdict_first_and_asks_nothing_of_a_network(verdict: Evaluation, tmp_path: Path) -> None:
    write_report(verdict, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = "\n".join(page.texts)
    order = [
        text.index(part) for part in ("Against base: better in", "Figures", "new less active", "Levels: reference by line", "What the confidence of new is worth", "By slice", "How varied", "Examples")
    ]
    assert order == sorted(order)
    assert {"svg", "details"} <= set(page.tags)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in {"src", "href"} or "url(" in value]
    assert "default-src 'none'; style-src 'unsafe-inline'" in [value for _, value in page.attributes]
    assert f"n = {verdict.features['risk'].n}" in text


def test_what_people_and_models_wrote_is_text(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    evil = PlanInput(title=attack, description="<img src=x onerror=alert(1)>", skills=[], similar=[])
    plan = plan_rows(1)[0]
    row = make_row("plan", "ledger", evil, plan.output, sources=[], prompt_version="p")
    refused = Answer(example_id=row.id, output=None, fault="</div><script>x</script>", code="rejected")
    write_report(evaluate_models([model("<b>new</b>", [row], lambda *_: refused)], {"plan": [row]}, folder=tmp_path), tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "img"} & set(page.tags)
    assert attack in page.texts


USAGE = {"type": "object", "required": ["prompt", "completion", "cached", "total", "numRequests", "completionDetails", "assertions"]}
PROMPTFOO = {
    "type": "object",
    "required": ["evalId", "results", "config", "shareableUrl", "metadata"],
    "properties": {
        "metadata": {"required": ["promptfooVersion", "nodeVersion", "platform", "arch", "exportedAt"]},
        "results": {
            "type": "object",
            "required": ["version", "timestamp", "results", "prompts", "stats"],
            "additionalProperties": False,
            "properties": {
                "version": {"const": 3},
                "timestamp": {"type": "string"},
                "stats": {"required": ["successes", "failures", "errors", "tokenUsage"], "properties": {"tokenUsage": USAGE}},
                "prompts": {
                    "items": {
                        "required": ["raw", "label", "provider", "metrics"],
                        "properties": {"metrics": {"required": ["score", "testPassCount", "testFailCount", "testErrorCount", "assertPassCount", "assertFailCount", "totalLatencyMs", "tokenUsage", "namedScores", "namedScoresCount", "cost"]}},
                    }
                },
                "results": {
                    "items": {
                        "required": ["promptIdx", "testIdx", "testCase", "promptId", "provider", "prompt", "vars", "failureReason", "success", "score", "latencyMs", "namedScores"],
                        "properties": {
                            "failureReason": {"enum": [0, 1, 2]},
                            "provider": {"required": ["id"]},
                            "prompt": {"required": ["raw", "label"]},
                            "testCase": {"properties": {"assert": {"items": {"required": ["type"]}}}},
                            "gradingResult": {"required": ["pass", "score", "reason"], "properties": {"componentResults": {"items": {"required": ["pass", "score", "reason"]}}}},
                            "namedScores": {"additionalProperties": {"type": "number"}},
                            "tokenUsage": USAGE,
                        },
                    }
                },
            },
        },
    },
}  # fmt: skip
"""What promptfoo's own types (OutputFile, EvaluateSummaryV3, EvaluateResult, CompletedPrompt) ask for."""


def test_promptfoo_can_read_it(verdict: Evaluation) -> None:
    found = promptfoo_json(verdict)
    jsonschema.validate(found, PROMPTFOO)
    results = found["results"]
    assert len(results["results"]) == 3 * (60 + 40) == sum(results["stats"][key] for key in ("successes", "failures", "errors"))
    for prompt, told in enumerate(results["prompts"]):
        mine = [one for one in results["results"] if one["promptIdx"] == prompt]
        assert {one["provider"]["id"] for one in mine} == {told["provider"]}
        assert sum(one["success"] for one in mine) == told["metrics"]["testPassCount"]
    one = results["results"][0]
    assert RiskOutput.model_validate_json(one["response"]["output"])
    assert one["vars"]["prompt_input"] == compact_json(verdict.features["risk"].rows[0].prompt_input)
    assert len({(one["promptIdx"], one["testIdx"]) for one in results["results"]}) == len(results["results"])


def test_a_broken_line_names_itself(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_text(f"{compact_json(risk_rows(1)[0])}\nhalf\n")
    with pytest.raises(BrokenRows, match="line 2"):
        read_gold(tmp_path / "gold.jsonl")


def test_examples_of_the_template_teacher_are_said_to_be_made_up(tmp_path: Path) -> None:
    from trainer.risk_teacher import risk_examples

    rows = [row_of(example, []) for example in risk_examples(4, seed=8)]
    assert evaluate_models([model("new", rows, good)], {"risk": rows}, folder=tmp_path).features["risk"].made_up
