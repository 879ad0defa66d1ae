"""A teacher fills the grid's gaps, is paid once for each answer, and is not asked when it may not be."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import RiskOutput
from tests.trainer.teacher_stand_in import StandIn, coach_says, said_by, stand_in_teacher
from trainer import cli
from trainer.data import asking, synthesise
from trainer.data.asking import ask_all
from trainer.data.clean import likeness
from trainer.data.coverage import AXES, cell_of, domain_of, fill, voice_of
from trainer.data.diversity import distinct, diversity
from trainer.data.duplicates import find_near
from trainer.data.row import ROWS, Row, Source, make_row, read_rows, write_rows
from trainer.data.spending import Estimate, Question, agree, at_most_usd, open_log
from trainer.data.synthesise import PATIENCE, SynthesiseOptions
from trainer.data.teacher import Teacher, find_teacher
from trainer.errors import OverBudget, TeacherFailed, WrongTeacher
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples
from trainer.stage import write_json
from trainer.supabase_client import Project

TODAY = date(2026, 11, 22)
ONE = (400 * 2.5 + 80 * 10) / 1e6
"""US dollars that an answer of the stand-in costs."""


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with stand_in_teacher() as stand_in:
        yield stand_in


def teacher(stand_in: StandIn, **changes: Any) -> Teacher:
    return Teacher(**{"name": "big", "endpoint": stand_in.endpoint, "model": "big-1", "key": SecretStr("secret"), "input_usd_per_million": 2.5, "output_usd_per_million": 10.0, **changes})


def history(folder: Path, feature: str = "risk", count: int = 0) -> Path:
    """A stage's folder with rows of the history."""
    examples = (risk_examples if feature == "risk" else plan_examples)(count, seed=9)
    rows = {
        row.id: row
        for i, example in enumerate(examples)
        for row in [
            make_row(
                feature,
                "ledger",
                example.prompt_input,
                example.output,
                sources=[Source(table="slm_requests", id=str(i), org_id=None, user_id="u", task_id=f"t{i}", created_at="2026-11-01T00:00:00.000000Z")],
                prompt_version="risk-1/tag",
            )
        ]
    }
    folder.mkdir(parents=True)
    write_json(folder / "manifest.json", {"key": "k", "facts": write_rows(folder / ROWS, [rows[key] for key in sorted(rows)])})
    return folder


def run(tmp_path: Path, options: SynthesiseOptions) -> tuple[dict[str, Any], list[Row]]:
    facts = synthesise.run(tmp_path / "clean", tmp_path / "synthesise", options)
    return facts, list(read_rows(tmp_path / "synthesise" / ROWS))


@pytest.mark.parametrize("feature", FEATURES)
def test_the_templates_write_a_thousand_different_examples_that_their_feature_accepts(tmp_path: Path, feature: str) -> None:
    history(tmp_path / "clean", feature)
    facts, rows = run(tmp_path, SynthesiseOptions(feature=feature))
    assert (facts["added"], len({row.id for row in rows}), {row.origin for row in rows}) == (1000, 1000, {"template"})
    assert [fault for row in rows for fault in FEATURES[feature].reject(row.prompt_input, row.output)] == []
    assert facts["cost"]["usd"] == 0
    assert facts["coverage"]["cells_within_reach"] - facts["coverage"]["cells_after"] <= 3, "a cell's only candidates may be near copies of other rows"
    assert facts["diversity"]["titles"]["distinct_2"] > 0.3
    print(feature, json.dumps({key: facts[key] for key in ("coverage", "diversity", "style")}))


@pytest.mark.parametrize("feature", FEATURES)
def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path, feature: str) -> None:
    history(tmp_path / "clean", feature, 20)
    shas = [synthesise.run(tmp_path / "clean", tmp_path / name, SynthesiseOptions(feature=feature, count=60, seed=seed))["sha256"] for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert shas[0] == shas[1] != shas[2]


@pytest.mark.parametrize("feature", FEATURES)
def test_what_is_nearly_there_already_is_not_added_and_others_take_its_place(tmp_path: Path, feature: str) -> None:
    """Old and new rows together, by the rule of cleaning; each row knows its cluster, whoever wrote it."""
    old = {row.id for row in read_rows(history(tmp_path / "clean", feature, 50) / ROWS)}
    facts, rows = run(tmp_path, SynthesiseOptions(feature=feature, count=400))
    assert (facts["added"], facts["short"], facts["rejected"].get("duplicate", 0) > 0) == (400, 0, True)
    ordered = sorted(rows, key=lambda row: row.id not in old)
    groups = find_near(map(likeness, ordered), tmp_path)
    assert sum(place != first for place, first in enumerate(groups.same) if place >= len(old)) <= 2, "sketches are compared in another order here"
    together = {(ordered[place].cluster, ordered[first].cluster) for place, first in enumerate(groups.cluster)}
    assert len({row.cluster for row in rows}) < 440
    assert sum(one != other for one, other in together) <= 4


def test_clusters_that_cleaning_found_stay_together_and_grow(tmp_path: Path) -> None:
    old = list(read_rows(history(tmp_path / "clean", "risk", 40) / ROWS))
    bound = [row.model_copy(update={"cluster": old[0].id if i % 4 == 0 else row.id}) for i, row in enumerate(old)]
    write_json(tmp_path / "clean" / "manifest.json", {"key": "bound", "facts": write_rows(tmp_path / "clean" / ROWS, bound)})
    rows = {row.id: row for row in run(tmp_path, SynthesiseOptions(feature="risk", count=100))[1]}
    assert len({rows[row.id].cluster for i, row in enumerate(old) if i % 4 == 0}) == 1
    assert all(row.cluster in rows for row in rows.values())


def test_gaps_are_filled_before_full_cells_are_fed() -> None:
    have = {"low|a": 50, "high|a": 1}
    chosen = fill(have, [(cell, i) for i in range(40) for cell in ("low|a", "high|a", "high|b")], 30, seed=1)
    counts = Counter(cell for cell, _ in chosen)
    assert counts["low|a"] == 0
    assert abs((counts["high|a"] + 1) - counts["high|b"]) <= 1
    assert chosen == fill(have, [(cell, i) for i in range(40) for cell in ("low|a", "high|a", "high|b")], 30, seed=1)


def test_no_level_milestone_domain_or_skill_is_left_behind(tmp_path: Path) -> None:
    """The history knows one corner only; what is added evens it out."""
    history(tmp_path / "clean", "risk", 30)
    facts, _ = run(tmp_path, SynthesiseOptions(feature="risk", count=400))
    levels, milestones = facts["coverage"]["axes_after"]["level"], facts["coverage"]["axes_after"]["milestone"]
    assert min(levels.values()) > 0.25 * sum(levels.values())
    assert min(milestones.values()) > 0.1 * sum(milestones.values())
    history(tmp_path / "p" / "clean", "plan")
    plans, _ = run(tmp_path / "p", SynthesiseOptions(feature="plan", count=400))
    assert min(plans["coverage"]["axes_after"]["domain"].values()) > 5
    assert [skill for skill, count in plans["coverage"]["axes_after"]["skill"].items() if count == 0] == ["other_skill"]


def test_the_phases_are_used_as_talentops_uses_them_and_the_coach_speaks_to_the_person(tmp_path: Path) -> None:
    history(tmp_path / "clean", "plan")
    style = run(tmp_path, SynthesiseOptions(feature="plan", count=300))[0]["style"]
    assert list(style) == ["Requirement Refiner", "Design Guidance", "Build Guidance", "Acceptance Criteria", "Deployment"]
    assert min(phase["used"] for phase in style.values()) > 0.7
    assert min(phase["titles_fit"] for phase in style.values()) > 0.95
    history(tmp_path / "r" / "clean", "risk")
    coach = run(tmp_path / "r", SynthesiseOptions(feature="risk", count=300))[0]["style"]
    assert (coach["jargon"], coach["about_the_person"]) == (0, 0)
    assert coach["to_the_person"] > 0.9
    assert set(coach["voices"]) == set(AXES["risk"]["voice"])


def test_titles_have_real_habits(tmp_path: Path) -> None:
    """Slips of the keyboard, learning tracks, stray capitals, junk."""
    history(tmp_path / "clean", "plan")
    titles = [row.prompt_input.title for row in run(tmp_path, SynthesiseOptions(feature="plan", count=400))[1]]
    assert sum(any(slip in title for slip in ("chnages", "Impliment", "Intigrate", "complet ", "Documention", "Developement")) for title in titles) >= 3
    assert sum(domain_of(title) == "learn" for title in titles) > 20
    assert sum(domain_of(title) == "junk" for title in titles) > 15


@pytest.mark.parametrize(
    ("title", "domain"),
    [
        ("Development skills - Backend, Fine-Tuning", "learn"),
        ("Soft skills - English, First Principle Thinking", "soft"),
        ("UI for Career page", "screen"),
        ("Migration from Supabase to Sharepoints for the document part", "migrate"),
        ("Fix the Lag in Landing page", "fix"),
        ("Complete the integration of Chatbot with the Talent Ops Frontend (New UI)", "integrate"),
        ("Documentation for Talent OPS", "document"),
        ("1111", "junk"),
        ("首页改版", "other"),
    ],
)
def test_the_apps_own_titles_lie_in_the_right_domain(title: str, domain: str) -> None:
    assert domain_of(title) == domain


@pytest.mark.parametrize(
    ("action", "voice"), [("Start this very minute and close one piece.", "urgent"), ("Good work so far: carry on with the next step.", "encouraging"), ("Ask for the review of this task.", "plain")]
)
def test_a_voice_is_told_by_its_words(action: str, voice: str) -> None:
    assert voice_of(RiskOutput(risk_level="low", reasons=["Half of the time is used."], recommended_actions=[action])) == voice


def test_distinct_n_and_self_similarity_know_the_extremes() -> None:
    assert distinct(["a b c d"], 1) == 1.0
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3, abs=1e-4)
    assert diversity(["one two three"] * 10)["self_similarity"] == 1.0
    assert diversity(["alpha beta", "gamma delta"])["self_similarity"] == 0.0
    assert diversity([]) == {"texts": 0, "distinct_1": 0.0, "distinct_2": 0.0, "self_similarity": 0.0}


def test_a_varied_row_names_its_seed_and_keeps_whose_it_was(tmp_path: Path) -> None:
    old = {row.id: row for row in read_rows(history(tmp_path / "clean", "risk", 20) / ROWS)}
    _, rows = run(tmp_path, SynthesiseOptions(feature="risk", count=100))
    children = [row for row in rows if row.seed_id]
    assert len(children) > 20
    assert all(child.sources == old[child.seed_id or ""].sources and child.prompt_input.title == old[child.seed_id or ""].prompt_input.title for child in children)


def test_a_teacher_answers_and_its_answers_are_checked_like_the_history(tmp_path: Path, stand_in: StandIn) -> None:
    history(tmp_path / "clean")

    def says(body: dict[str, Any]) -> str:
        number = len(stand_in.bodies)
        match number % 4:
            case 1:
                return "Sure! Here is the JSON"
            case 2:
                return said_by(body).model_copy(update={"reasons": ["The velocity of this task is too low."]}).model_dump_json()
            case 3:
                return said_by(body).model_copy(update={"recommended_actions": ["Write to asha.rao@example.com about the open step."]}).model_dump_json()
            case _:
                return coach_says(body)

    stand_in.said = says
    facts, rows = run(tmp_path, SynthesiseOptions(feature="risk", count=40, teacher=teacher(stand_in), yes=True, concurrency=1))
    calls = stand_in.asked.total()
    assert facts["rejected"]["jargon"] + facts["rejected"]["schema"] == pytest.approx(calls / 2, abs=2)
    assert sum("Write to" in action for row in rows for action in row.output.recommended_actions) > 15  # type: ignore[union-attr]
    assert not any("asha.rao" in compact_json(row) for row in rows)
    assert (facts["added"], facts["short"], {row.origin for row in rows}) == (40, 0, {"teacher"}), "for what is not kept, others are asked"
    assert facts["cost"] == {"calls": calls, "usd": pytest.approx(calls * (400 * 2.5 + 80 * 10) / 1e6), "input_tokens": 400 * calls, "output_tokens": 80 * calls}
    assert len((tmp_path / "synthesise" / "rejected.jsonl").read_text().splitlines()) == sum(facts["rejected"].values()) == calls - 40


def test_a_question_says_what_its_cell_wants_in_structured_outputs(tmp_path: Path, stand_in: StandIn) -> None:
    history(tmp_path / "clean")
    run(tmp_path, SynthesiseOptions(feature="risk", count=10, teacher=teacher(stand_in), yes=True))
    body = stand_in.bodies[0]
    assert body["model"] == "big-1"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert "minLength" not in json.dumps(body["response_format"])
    systems = {wish: sum(wish in body["messages"][0]["content"] for body in stand_in.bodies) for wish in synthesise.WISHES.values()}
    assert sum(systems.values()) == len(stand_in.bodies) >= 10


@pytest.mark.parametrize(("finish", "refusal", "reason"), [("length", None, "cut_off"), ("stop", "I cannot help with that.", "refusal"), ("content_filter", None, "refusal")])
def test_refusals_and_cut_off_answers_are_counted_and_paid(tmp_path: Path, stand_in: StandIn, finish: str, refusal: str | None, reason: str) -> None:
    history(tmp_path / "clean")
    stand_in.finish_reason, stand_in.refusal = finish, refusal
    facts, rows = run(tmp_path, SynthesiseOptions(feature="risk", count=5, teacher=teacher(stand_in), yes=True))
    assert (facts["rejected"], rows, facts["short"], facts["cost"]["calls"]) == ({reason: PATIENCE}, [], 5, PATIENCE), "it is not asked for ever"


def test_a_busy_teacher_is_asked_again_and_no_more_at_once_than_allowed(tmp_path: Path, stand_in: StandIn) -> None:
    history(tmp_path / "clean")
    stand_in.statuses = [429, 429]
    facts, _ = run(tmp_path, SynthesiseOptions(feature="risk", count=20, teacher=teacher(stand_in), yes=True, concurrency=3))
    assert facts["added"] == 20
    assert stand_in.asked.total() == facts["cost"]["calls"] + 2
    assert facts["cost"]["usd"] == pytest.approx(facts["cost"]["calls"] * ONE), "a call that is turned away costs nothing"
    assert stand_in.most_at_once <= 3


def test_the_budget_stops_the_asking_and_more_budget_goes_on_from_there(tmp_path: Path, stand_in: StandIn) -> None:
    history(tmp_path / "clean")
    cheap = SynthesiseOptions(feature="risk", count=30, teacher=teacher(stand_in), yes=True, concurrency=1, budget_usd=1.0)
    with pytest.raises(OverBudget, match=r"^Cannot go on: \d+ of 30 calls have cost \$0\.\d+, and the next could go over"), cheaper_estimate():
        run(tmp_path, replace(cheap, budget_usd=0.03))
    asked = stand_in.asked.total()
    assert 0 < asked * ONE <= 0.03
    facts, _ = run(tmp_path, cheap)
    assert facts["added"] == 30
    assert stand_in.asked.total() == len(stand_in.asked) == facts["cost"]["calls"]


@contextmanager
def cheaper_estimate() -> Iterator[None]:
    """As an estimate that was too low lets a run begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesise, "agree", lambda *_, **__: None)
        yield


@pytest.mark.parametrize("honours_keys", [True, False])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_run_killed_in_the_middle_pays_for_no_answer_twice(tmp_path: Path, stand_in: StandIn, concurrency: int, honours_keys: bool) -> None:
    """An endpoint that honours the idempotency key bills each question once; any other at most the calls under way at the kill once more."""
    history(tmp_path / "clean")
    stand_in.honours_keys = honours_keys
    code = (
        "import sys; from pathlib import Path; from pydantic import SecretStr; from trainer.data import synthesise; from trainer.data.teacher import Teacher\n"
        f"big = Teacher(name='big', endpoint={stand_in.endpoint!r}, model='big-1', key=SecretStr('secret'), input_usd_per_million=2.5, output_usd_per_million=10.0)\n"
        "sys.stdin.readline()\n"
        f"synthesise.run(Path({str(tmp_path / 'clean')!r}), Path({str(tmp_path / 'synthesise')!r}), synthesise.SynthesiseOptions(feature='risk', count=40, teacher=big, yes=True, concurrency={concurrency}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."})
    stand_in.kill_at = (child.pid, 25)
    child.communicate("go\n", timeout=60)
    assert child.returncode == -9
    assert not (tmp_path / "synthesise" / "manifest.json").exists()
    with open_log(tmp_path / "teacher" / "calls.jsonl") as log:
        arrived = set(log.replies)
    assert len(arrived) >= 25 - concurrency
    stand_in.kill_at = None
    options = SynthesiseOptions(feature="risk", count=40, teacher=teacher(stand_in), yes=True, concurrency=concurrency)
    facts, _ = run(tmp_path, options)
    calls = facts["cost"]["calls"]
    assert facts["added"] == 40
    assert [key for key in arrived if stand_in.asked[key] != 1] == []
    assert len(stand_in.billed) == calls
    assert stand_in.billed.total() - calls <= (0 if honours_keys else concurrency)
    lost = stand_in.asked.total() - calls
    assert calls * ONE < facts["cost"]["usd"] <= calls * ONE + lost * 0.03, "what may be billed twice is in the books, at its highest price"
    history(tmp_path / "whole" / "clean")
    assert run(tmp_path / "whole", options)[0]["sha256"] == facts["sha256"]


def test_a_torn_line_of_the_log_is_no_line(tmp_path: Path, stand_in: StandIn) -> None:
    history(tmp_path / "clean")
    options = SynthesiseOptions(feature="risk", count=10, teacher=teacher(stand_in), yes=True)
    run(tmp_path, options)
    calls = stand_in.asked.total()
    log = tmp_path / "teacher" / "calls.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    for _ in range(2):
        (tmp_path / "synthesise" / "manifest.json").unlink()
        assert run(tmp_path, options)[0]["added"] == 10
        assert stand_in.asked.total() == calls + 1


def test_two_runs_do_not_ask_at_the_same_time(tmp_path: Path, stand_in: StandIn) -> None:
    history(tmp_path / "clean")
    with open_log(tmp_path / "teacher" / "calls.jsonl"), pytest.raises(TeacherFailed, match="another run is asking"):
        run(tmp_path, SynthesiseOptions(feature="risk", count=2, teacher=teacher(stand_in), yes=True))


BATCHES = {"batch_price_factor": 0.5}


def questions(count: int, big: Teacher) -> list[Question]:
    return [synthesise.ask_about(big, "risk", "low|plain", example.prompt_input) for example in risk_examples(count, seed=6)]


def test_batches_are_made_once_and_found_again_whatever_is_left_of_the_log(tmp_path: Path, stand_in: StandIn) -> None:
    big, path = teacher(stand_in, **BATCHES), tmp_path / "calls.jsonl"
    asked = questions(12, big)
    with open_log(path) as log:
        assert ask_all(big, asked, log, budget_usd=1, concurrency=1) == pytest.approx(12 * ONE / 2), "at the price of batches"
    lines = path.read_bytes().splitlines(keepends=True)
    for left in range(len(lines) + 1):
        path.write_bytes(b"".join(lines[:left]))
        with open_log(path) as log:
            assert ask_all(big, asked, log, budget_usd=1, concurrency=1) == pytest.approx(12 * ONE / 2)
            assert len(log.replies) == 12
        assert (len(stand_in.batches), stand_in.asked.total()) == (1, 12), f"after {left} of {len(lines)} lines"


def test_what_a_batch_leaves_unanswered_is_asked_in_another(tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "POLL_S", 0)
    big = teacher(stand_in, **BATCHES)
    stand_in.answered_of_batch, stand_in.busy_with_batches = [5, 4], 3
    with open_log(tmp_path / "calls.jsonl") as log:
        assert ask_all(big, questions(12, big), log, budget_usd=1, concurrency=1) == pytest.approx(12 * ONE / 2)
        assert (len(log.replies), len(stand_in.batches), stand_in.billed.total()) == (12, 3, 12)


def test_a_batch_without_an_answer_ends_the_run_and_the_next_makes_another(tmp_path: Path, stand_in: StandIn) -> None:
    big = teacher(stand_in, **BATCHES)
    stand_in.answered_of_batch = [0]
    with open_log(tmp_path / "calls.jsonl") as log, pytest.raises(TeacherFailed, match=r"^Cannot use the batch batch-0 of big: it is expired without an answer$"):
        ask_all(big, questions(3, big), log, budget_usd=1, concurrency=1)
    with open_log(tmp_path / "calls.jsonl") as log:
        assert ask_all(big, questions(3, big), log, budget_usd=1, concurrency=1) == pytest.approx(3 * ONE / 2)


def test_a_question_that_comes_twice_is_paid_once(tmp_path: Path, stand_in: StandIn) -> None:
    for name, big in (("calls", teacher(stand_in)), ("batch", teacher(stand_in, **BATCHES, model="big-2"))):
        with open_log(tmp_path / name) as log:
            twice = questions(3, big) * 2
            assert len(log.unanswered(twice)) == 3
            ask_all(big, twice, log, budget_usd=1, concurrency=4)
    assert (len(stand_in.asked), stand_in.asked.total()) == (6, 6)


def without(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda body: json.dumps({key: value for key, value in body.items() if key != name})


ODD: dict[str, tuple[Callable[[dict[str, Any]], str], str | None]] = {
    "a lone surrogate": (lambda body: json.dumps(body).replace("risk_level", "risk\\ud800level"), "odd answer"),
    "a page": (lambda _: "<html>Welcome to the gateway</html>", "odd answer"),
    "half a JSON": (lambda body: json.dumps(body)[:100], "odd answer"),
    "null": (lambda _: "null", "odd answer"),
    "no message": (lambda body: json.dumps({**body, "choices": [{"index": 0, "message": None}]}), "odd answer"),
    "no choices": (without("choices"), "refusal"),
    "no model": (without("model"), None),
    "no usage": (without("usage"), None),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_is_in_the_log_and_not_bought_again(tmp_path: Path, stand_in: StandIn, odd: str) -> None:
    big = teacher(stand_in)
    [question] = questions(1, big)
    stand_in.changed, fault = ODD[odd]
    for _ in range(2):
        with open_log(tmp_path / "calls.jsonl") as log:
            spent = ask_all(big, [question], log, budget_usd=1, concurrency=1)
            assert log.replies[question.key].fault == fault
    assert stand_in.asked.total() == 1
    has_usage = odd in {"no choices", "no model"}
    assert spent == pytest.approx(ONE if has_usage else at_most_usd(big, question)), "what does not say its tokens counts at the highest price"


@pytest.mark.parametrize("text", ["größer", "\u2028", "\x00", "🙏", "line\nbreak"])
def test_any_text_comes_back_from_the_log_letter_by_letter(tmp_path: Path, stand_in: StandIn, text: str) -> None:
    big = teacher(stand_in)
    [question] = questions(1, big)
    stand_in.said = lambda _: text
    with open_log(tmp_path / "calls.jsonl") as log:
        ask_all(big, [question], log, budget_usd=1, concurrency=1)
    with open_log(tmp_path / "calls.jsonl") as log:
        assert log.replies[question.key].said == text


def test_a_call_that_nobody_saw_the_end_of_is_reserved_for_again(tmp_path: Path, stand_in: StandIn) -> None:
    """The teacher worked on it and hung up: it may bill that. The budget has room for one more attempt, not for two."""
    big = teacher(stand_in)
    [question] = questions(1, big)
    stand_in.hang_up, stand_in.honours_keys = 1, False
    dearest = at_most_usd(big, question)
    with open_log(tmp_path / "once.jsonl") as log, pytest.raises(OverBudget, match=r"^Cannot go on: 0 of 1 calls have cost"):
        ask_all(big, [question], log, budget_usd=1.9 * dearest, concurrency=1)
    assert stand_in.billed.total() == 1
    stand_in.hang_up = 1
    with open_log(tmp_path / "twice.jsonl") as log:
        assert ask_all(big, [question], log, budget_usd=2.1 * dearest, concurrency=1) == pytest.approx(dearest + ONE)


def test_a_teacher_that_is_not_there_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "RETRIES", 1)
    nobody = Teacher("big", "http://127.0.0.1:9/v1", "big-1", SecretStr("secret"), 2.5, 10.0)
    with open_log(tmp_path / "calls.jsonl") as log:
        with pytest.raises(TeacherFailed, match=r"^Cannot ask big at http://127.0.0.1:9/v1: APIConnectionError \(is it running"):
            ask_all(nobody, questions(4, nobody), log, budget_usd=1, concurrency=2)
        assert log.total_usd == 0


def test_a_teacher_outside_the_house_sees_no_word_of_the_history(tmp_path: Path, stand_in: StandIn) -> None:
    titles = {row.prompt_input.title for row in read_rows(history(tmp_path / "clean", "risk", 30) / ROWS)}
    options = SynthesiseOptions(feature="risk", count=30, teacher=teacher(stand_in), yes=True)
    facts, rows = run(tmp_path, options)
    assert facts["seeded"] == 0
    asked = {json.loads(body["messages"][1]["content"])["title"] for body in stand_in.bodies}
    private = SynthesiseOptions(feature="risk", count=30, teacher=teacher(stand_in, is_private=True), yes=True)
    assert run(tmp_path, private)[0]["seeded"] > 5
    assert not any(row.seed_id for row in rows)
    assert len(asked & titles) == 0


@pytest.mark.parametrize(("status", "hint"), [(401, "check its key"), (404, "check the endpoint"), (400, "structured outputs")])
def test_a_teacher_that_refuses_to_work_gives_one_line_without_its_key(tmp_path: Path, stand_in: StandIn, status: int, hint: str) -> None:
    history(tmp_path / "clean")
    stand_in.statuses = [status] * 20
    with pytest.raises(TeacherFailed, match=rf"^Cannot ask big: it answered {status} \(.*{hint}") as caught:
        run(tmp_path, SynthesiseOptions(feature="risk", count=4, teacher=teacher(stand_in), yes=True))
    assert "secret" not in str(caught.value)
    with open_log(tmp_path / "teacher" / "calls.jsonl") as log:
        assert log.replies == {}


def test_one_budget_holds_for_both_features_of_a_run(tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Enough for either, too little for both; what an earlier run has paid for the same datasets counts."""
    plans = [example.output.model_dump_json() for example in plan_examples(200, seed=31)]
    stand_in.said = lambda body: coach_says(body) if "coach" in body["messages"][0]["content"] else plans[len(stand_in.bodies)]
    for name, value in {**SETTINGS, "TEACHER_ENDPOINT": stand_in.endpoint, "TEACHER_INPUT_USD_PER_MILLION": "2.5", "TEACHER_OUTPUT_USD_PER_MILLION": "10"}.items():
        monkeypatch.setenv(name, value)
    words = ["data", "synthesise", "--teacher", "llama-70b", "--count", "8", "--yes", "--json"]

    def work(name: str) -> list[str]:
        for feature in FEATURES:
            history(tmp_path / name / feature / "clean", feature)
        return [*words, "--work-dir", str(tmp_path / name)]

    costs = {}
    for feature in FEATURES:
        assert cli.main([*work(feature), "--feature", feature, "--budget-usd", "1"]) == 0
        costs[feature] = json.loads(capsys.readouterr().out)[feature]["synthesise"]["cost"]["usd"]
    both, budget = work("both"), 0.9 * sum(costs.values())
    stand_in.billed.clear()
    for _ in range(2):
        assert cli.main([*both, "--feature", "all", "--budget-usd", str(budget)]) == 1
        assert "raise --budget-usd" in capsys.readouterr().err
        assert stand_in.billed.total() * ONE <= budget
    assert cli.main([*both, "--feature", "all", "--budget-usd", "1"]) == 0


def test_nothing_is_asked_before_somebody_agrees_to_the_cost(stand_in: StandIn) -> None:
    cost = Estimate(calls=10, input_tokens=5000, about_usd=0.05, at_most_usd=0.09)
    big = teacher(stand_in)
    with pytest.raises(OverBudget, match=r"10 calls to big: about \$0\.0500, at most \$0\.0900, and \$0\.0100 of the budget is left"):
        agree(big, cost, budget_usd=0.01, yes=True)
    with pytest.raises(OverBudget, match="no terminal to agree on"):
        agree(big, cost, budget_usd=1, yes=False)
    with pytest.raises(OverBudget, match="Nothing was asked"):
        agree(big, cost, budget_usd=1, yes=False, ask=lambda _: "")
    agree(big, cost, budget_usd=1, yes=False, ask=lambda _: "yes")


SETTINGS = {"TEACHER_MODEL": "llama-70b", "TEACHER_ENDPOINT": "http://127.0.0.1:8000/v1", "TEACHER_INPUT_USD_PER_MILLION": "0", "TEACHER_OUTPUT_USD_PER_MILLION": "0", "TEACHER_IS_PRIVATE": "true"}


def never_opened() -> Any:
    raise AssertionError("the project is not needed")


def test_a_teacher_of_the_environment_needs_no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    found = find_teacher("llama-70b", today=TODAY, open_project=never_opened)
    assert (found.endpoint, found.is_private, found.usd(1000, 1000)) == ("http://127.0.0.1:8000/v1", True, 0)
    monkeypatch.setenv("TEACHER_ENDS_ON", "2026-11-22")
    with pytest.raises(WrongTeacher, match=r"^Cannot ask llama-70b: it ended on 2026-11-22"):
        find_teacher("llama-70b", today=TODAY, open_project=never_opened)
    monkeypatch.delenv("TEACHER_OUTPUT_USD_PER_MILLION")
    with pytest.raises(WrongTeacher, match=r"^Cannot ask llama-70b: set TEACHER_OUTPUT_USD_PER_MILLION \(field required\)$"):
        find_teacher("llama-70b", today=TODAY, open_project=never_opened)


def test_a_teacher_may_stand_in_the_file_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env.local").write_text("".join(f"{name}={value}\n" for name, value in {**SETTINGS, "TEACHER_BATCH_PRICE_FACTOR": "0.5"}.items()))
    found = find_teacher("llama-70b", today=TODAY, open_project=never_opened)
    assert (found.endpoint, found.batch_price_factor) == ("http://127.0.0.1:8000/v1", 0.5)


def test_a_teacher_of_the_project_has_its_days_its_price_and_its_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened() -> Iterator[Project]:
        yield project

    monkeypatch.delenv("TEACHER_MODEL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    found = find_teacher("gpt-4o-mini", today=TODAY, open_project=opened)
    assert found.name == "openai-gpt-4o-mini"
    assert found.usd(1_000_000, 1_000_000) == pytest.approx(0.75 / 2), "by the Batch API, at half the price"
    assert find_teacher("gpt-6-luna", today=date(2027, 2, 1), open_project=opened).batch_price_factor is None
    for name, today, error in (
        ("gpt-4o-mini", date(2027, 1, 14), "it ended on 2027-01-14"),
        ("openai-gpt-6-luna", TODAY, "it begins on 2027-01-14 only"),
        ("gpt-9", TODAY, "no provider has that name"),
    ):
        with pytest.raises(WrongTeacher, match=f"^Cannot ask {name}: {error}"):
            find_teacher(name, today=today, open_project=opened)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(WrongTeacher, match="OPENAI_API_KEY is not set"):
        find_teacher("gpt-4o-mini", today=TODAY, open_project=opened)


def test_every_row_lies_in_a_cell_of_the_grid(tmp_path: Path) -> None:
    for feature, examples in (("risk", risk_examples(200, seed=4)), ("plan", plan_examples(200, seed=4))):
        for example in examples:
            values = cell_of(example.prompt_input, example.output).split("|")
            assert all(value in axis for value, axis in zip(values, AXES[feature].values(), strict=True)), compact_json(example)


KILLED = """
import os, signal, sys
from pathlib import Path
from trainer.data import synthesise
real, count = synthesise.cell_of, 0
def counted(prompt_input, output):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(prompt_input, output)
synthesise.cell_of = counted
synthesise.run(Path(sys.argv[1]), Path(sys.argv[2]), synthesise.SynthesiseOptions(feature="risk", count=30))
"""


@pytest.mark.parametrize("at", [5, 200, 420])
def test_templates_killed_anywhere_end_with_the_same_rows(tmp_path: Path, at: int) -> None:
    """While the history is looked at, while candidates are drawn, while rows are written."""
    history(tmp_path / "clean", "risk", 20)
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "clean"), str(tmp_path / "synthesise"), str(at)], check=False, env={**os.environ, "PYTHONPATH": "."})
    assert child.returncode == -9
    assert not (tmp_path / "synthesise" / "manifest.json").exists()
    options = SynthesiseOptions(feature="risk", count=30)
    assert run(tmp_path, options)[0] == synthesise.run(tmp_path / "clean", tmp_path / "whole", options)
