"""Clean judges every candidate, takes personal data out and collapses duplicates; nothing that it meets makes it stumble."""

import copy
import json
import random
import re
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared_schemas.feature import compact_json
from shared_schemas.features.risk import RiskOutput
from trainer.data import clean
from trainer.data.candidate import Candidate
from trainer.data.duplicates import NEAR, SAME, find_near, shingles
from trainer.data.extract import candidates
from trainer.data.history import LEDGER_SINCE, Story, make_history
from trainer.data.judge import JUNK_TITLE, REASONS, Kept, Rejected, base_level, judge
from trainer.data.mirror import RELATIONS, Mirror, Reading, open_mirror
from trainer.data.personal_data import Names, Placeholders
from trainer.data.row import ROWS, make_row, read_rows, write_lines
from trainer.errors import BrokenRows
from trainer.stage import write_json

NAMES = ("Asha Rao", "Mark Will", "Jürgen O'Brien", "सीता देवी", "Fatima El-Sayed", "Zoë Price", "Nikhil Chowdhury", "Bo Li", "Li Wei", "王小明", "김민수", "Juan Carlos de la Cruz", "Jo")


# --- personal data ------------------------------------------------------------------------------------------------------

PLANTED = {
    "email": ("asha.rao@example.com", "a_b+c@mail.co.in", "जन@उदाहरण.भारत", "o'brien@x-y.example.org", "first.last@sub.dept.example.edu"),
    "phone": ("+91 98765 43210", "080-2345 6789", "(415) 555-2671", "+44 20 7946 0958", "+49 (0)30 901820", "9876543210", "+1-202-555-0143", "00971 4 123 4567"),
    "url": ("https://docs.google.com/d/1aB?x=1#y", "www.example.com/board", "app.example.io/tasks/12", "postgres://u:p@db.example.com:5432/x", "http://10.0.0.7:8080/a"),
    "id": ("8a0f2c1e-5d7b-4a58-9d55-0c6a3e6b7f10", "1B6C7F0A-32F4-4E0C-B5A2-9A0E5F1D2C33", "ABCPE1234F", "ABCDE1234F", "2345 6789 0124", "27AAPFU0939F1ZV"),
    "secret": (
        "sk-proj_abcdefgh12345678",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "password: hunter22!",
        "Password hunter2",
        "api key Zx81mmPq77",
        "api_key=Zx81mmPq77",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijkl",
        "AKIAIOSFODNN7EXAMPLE",
    ),
    "card": ("4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"),
    "ip": ("203.0.113.77",),
    "name": (
        *("Asha Rao", "asha", "NIKHIL", "Jürgen", "सीता", "Fatima", "Chowdhury", unicodedata.normalize("NFD", "Zoë"), "Mark Will", "Bo Li", "Li Wei", "LI WEI", "王小明", "小明", "김민수"),
        *("AshaRao", "asha.rao", "asha_rao", "Juan Carlos de la Cruz", "Carlos de la Cruz", "Jürgen O'Brien", "Fatima El-Sayed", "Jo"),
    ),
}  # fmt: skip
FRAMES = ("Ask {} about the login page.", "Please check with {} before 10:30", "{}: see the notes", "Done on 2026-03-15, then {} (v1.2.3)", "Half of the 105 h is gone; {} knows why.")
HARMLESS = (
    "Half of the planned 105 h is gone and 3 of 5 steps are open.",
    "Mark the step as done and test it by Friday 12/03/2026.",
    "Will this price stay? Version 1.2.3 of index.html, app.py and README.md.",
    "Grace period of 30 minutes, 50% of 2 h 30 min, 10:30-11:45.",
    "Order 12 345 rows, room 204, sprint 14, Q3 2026-27, budget 1,500.00",
    "Migration from Supabase to Sharepoints for the document part",
    "1)Development Skills - Backend, Finetuning 2) Soft Skills -Curiosity, English",
    "Use Node.js and C++/Rust, key: value pairs, e.g. and/or, TCP/IP",
    "Compare 2024 2025 2026 totals, 2024-2025-2026 too",
    "Import rows 10000000 to 20000000, 12 345 678 rows in all",
    "Mark will join later. Will mark this by Friday: li ion battery, de la carte",
    "Reset token oauth2 flow, token sha256 and the password page",
    "मेनू का डिज़ाइन बदलो, 首页改版, تحديث الصفحة الرئيسية",
)


def test_planted_personal_data_is_found_and_little_else() -> None:
    """Whole: one word or one run of three digits that is left is a miss. Right: what is replaced holds nothing beside it."""
    names = Names(NAMES)
    planted = [(kind, words, frame) for kind, some in PLANTED.items() for words in some for frame in FRAMES]
    planted += [("name", name, f"请{{}}{rest}") for name in ("王小明", "小明") for rest in ("检查登录页", "和产品经理确认")]
    left, wide, placed = [], [], 0
    for kind, words, frame in planted:
        placeholders = Placeholders(names)
        said = placeholders.replace(frame.format(words))
        placed += len(placeholders.given)
        around = [part.strip(" :;") for part in frame.split("{}")]
        left += [(kind, words, said)] if "[" not in said or _tokens(words) & _tokens(re.sub(r"\[[a-z]+ \d+\]", " ", said)) else []
        wide += [(kind, words, said)] if any(unicodedata.normalize("NFC", part) not in said for part in around) or len(placeholders.given) > 1 else []
    harmless = [*HARMLESS, *(frame.format("the team") for frame in FRAMES)]
    wrong = [text for text in harmless if Placeholders(names).replace(text) != unicodedata.normalize("NFC", text)]
    recall, precision = 1 - len(left) / len(planted), 1 - (len(wide) + len(wrong)) / (placed + len(wrong))
    print(f"planted personal data: recall {recall:.4f} (n = {len(planted)}), precision {precision:.4f} (n = {placed} placeholders, {len(harmless)} harmless texts)")
    print(left, wide, wrong, sep="\n")
    assert (left, wrong) == ([], [])
    assert precision >= 0.98


def _tokens(words: str) -> set[str]:
    """Words of two letters or more, Chinese and Korean characters, and runs of three digits: any of them tells something."""
    plain = unicodedata.normalize("NFC", words).casefold()
    return set(re.findall(r"[^\W\d_]{2,}|\d{3,}|[一-鿿가-힣]", plain))


@pytest.mark.parametrize("secret", ["+91 98765 43210", "asha.rao@example.com", "Asha Rao", "Bo Li", "https://example.com/a/b"])
def test_what_is_cut_is_cut_once_personal_data_is_out(examples: list[Candidate], secret: str) -> None:
    """Wherever the limit of a title falls, no half of a number, an address or a name is left."""
    one = next(one for one in examples if one.kind == "steps" and _keeps(one) and not one.found["request"])
    for before in range(90, 120):
        found = copy.deepcopy(one.found)
        for task in found["tasks"]:
            task["title"] = f"{'ab ' * 39}"[:before] + f" {secret} and the rest of what is to be done there"
        row = clean.cleaned(one.model_copy(update={"found": found}), Placeholders(Names(NAMES)))
        assert not re.search(r"\d{3}|@|https?|asha|rao|\bbo\b", row.prompt_input.title.replace("[", " "), re.I), row.prompt_input.title


def test_half_a_finding_at_the_end_of_what_was_cut_long_ago_goes() -> None:
    """The ledger keeps texts as they were cut: nobody has the rest."""
    said = [Placeholders(Names(NAMES)).replace(text) for text in ("Call +91 9876…", "Mail asha@exa…", "Ask Ash…", "See https://exam…", "Do the third part of…")]
    assert said == ["Call …", "Mail …", "Ask [name 1]…", "See …", "Do the third part of…"]


def test_the_same_words_get_the_same_placeholder_in_input_and_answer() -> None:
    placeholders = Placeholders(Names(NAMES))
    assert placeholders.in_texts(["Ask Asha Rao or x@example.com", {"a": "asha rao; X@example.com, y@example.com"}]) == ["Ask [name 1] or [email 1]", {"a": "[name 1]; [email 1], [email 2]"}]


def test_closed_words_of_an_answer_are_no_names() -> None:
    """Somebody called High Low: levels and phases stay what they are."""
    kept = Kept("ledger", "p", *_risk_pair())
    cleaned = clean.without_personal_data("risk", kept, Placeholders(Names(["High Medium", "Low Step", "Half Asha"])))
    assert (cleaned.prompt_input.level, cleaned.output.risk_level) == (kept.prompt_input.level, kept.output.risk_level)
    assert "[name 1]" in cleaned.output.reasons[0]


def test_what_no_longer_fits_once_replaced_is_rejected_with_that_reason() -> None:
    prompt_input, output = _risk_pair()
    said = RiskOutput(risk_level=output.risk_level, reasons=["asha@y.example.org ravi@y.example.org meera@y.example.org."], recommended_actions=output.recommended_actions)
    with pytest.raises(Rejected, match="are replaced: not a sentence") as why:
        clean.without_personal_data("risk", Kept("ledger", "p", prompt_input, said), Placeholders(Names([])))
    assert why.value.reason == "personal_data"


def _risk_pair() -> tuple[Any, Any]:
    request = next(row for story in make_history(60) for row in story.rows.get("slm_requests", ()) if row["feature"] == "risk" and row["provider"] == "cloud" and row["prompt_input"])
    kept = judge(_candidate("ledger", "risk", {"request": request}))
    said = kept.output.model_dump()
    return kept.prompt_input, RiskOutput.model_validate({**said, "reasons": [f"Half of it is yours. {said['reasons'][0]}", *said["reasons"][1:]]})


# --- judging --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "delay", "level"),
    [(8, 0, "low"), (8, 0.5, "low"), (8, 1, "medium"), (8, 1.6, "medium"), (8, 1.7, "high"), (2, 0.5, "high"), (2.5, 0.5, "low"), (105, 2.01, "high"), (0, 1, "high"), (0, 0, "low"), (None, 0, "low")],
)
def test_levels_follow_every_threshold_of_the_metrics(budget: float | None, delay: float, level: str) -> None:
    """The verified outcomes of contract.md 3.2."""
    assert base_level(delay, budget) == level


def _figures_of(allocated: float | None, elapsed: float, total: float, delay: float, *, done: int = 0, level: str = "high") -> Candidate:
    """A snapshot from before the ledger with these figures, of five steps."""
    began = LEDGER_SINCE - timedelta(days=90)
    said = {"risk_level": level, "reasons": ["The whole time is used up."], "recommended_actions": ["Do the next small step now."]}
    at = (began + timedelta(hours=elapsed)).isoformat()
    task = {"id": "t", "org_id": None, "created_at": began.isoformat(), "started_at": None, "title": "Write the export", "allocated_hours": allocated}
    figures = {"elapsed_hours": elapsed, "predicted_total_hours": total, "predicted_delay_hours": delay, "progress_ratio": done / 5, "steps_completed": done, "total_steps": 5}
    snapshot = {"task_id": "t", "org_id": None, "computed_at": at, "model_used": "gpt-4o-mini", **figures, **said, "raw_llm_response": said}
    return _candidate("snapshot", "risk", {"snapshot": snapshot, "task": task, "request": None})


def test_figures_that_two_versions_of_the_metrics_could_have_made_are_told_apart_by_the_tasks_hours() -> None:
    """16 hours of 10 are gone: version 4 says 26 in all, 6 late. So does version 3 of a task of 20 hours, whatever is gone."""
    kept = judge(_figures_of(10, elapsed=16, total=26, delay=6))
    assert (kept.prompt_input.budget_minutes, kept.prompt_input.delay_minutes) == (600, 360)
    for allocated in (20, None):
        with pytest.raises(Rejected) as why:
            judge(_figures_of(allocated, elapsed=16, total=26, delay=6))
        assert why.value.reason == "wrong_by_construction"


@pytest.mark.parametrize(("said", "told"), [("low", "low"), ("high", "high"), ("medium", "low")])
def test_a_level_that_rounding_may_have_moved_is_the_answers(said: str, told: str) -> None:
    """2 hours, 0.4 late: exactly the fifth that is high, if it was not 0.396."""
    assert judge(_figures_of(2, elapsed=0.48, total=2.4, delay=0.4, done=1, level=said)).prompt_input.level == told


@pytest.mark.parametrize(("title", "junk"), [("Test bot", True), ("test bot 3", True), ("Test bottom navigation", False), ("Test the login", False)])
def test_a_title_that_only_begins_like_junk_is_none(title: str, junk: bool) -> None:
    assert bool(JUNK_TITLE.fullmatch(title)) == junk


def _plan(**changes: Any) -> Candidate:
    """A plan from before the ledger that is kept as it is, with something changed: of each step (by name) or of the task."""
    began = LEDGER_SINCE - timedelta(days=90)
    steps = [
        {"id": f"s{i}", "stage_id": phase, "step_title": title, "estimated_hours": hours, "created_by_role": "manager", "created_at": began.isoformat()}
        for i, (phase, title, hours) in enumerate(
            (("requirement_refiner", "Ask the client for examples", "2"), ("build_guidance", "Write the export of invoices", "4"), ("deployment", "Show it to the accountants", "2"))
        )
    ]
    metadata = {"model": "gpt-4o-mini", "overall_risks": ["The client may be late with examples."], "assumptions": ["The old export stays in use."]}
    task: dict[str, Any] = {"id": "t", "org_id": None, "created_at": began.isoformat(), "title": "Write the export", "description": "Invoices as CSV.", "skills": [], "ai_metadata": metadata}
    for name, value in changes.items():
        for row in steps if name in steps[0] and name != "id" and name not in task else [task]:
            row[name] = value(row) if callable(value) else value
    return _candidate("steps", "plan", {"tasks": [task], "steps": steps, "request": None, "similar": []})


def test_steps_that_were_written_weeks_later_are_no_plan_of_the_assistant() -> None:
    assert judge(_plan()).origin == "steps"
    late = _plan()
    for step in late.found["steps"]:
        step["created_at"] = (LEDGER_SINCE - timedelta(days=60)).isoformat()
    with pytest.raises(Rejected, match="not saved with the task") as why:
        judge(late)
    assert why.value.reason == "not_a_plan"


def test_a_step_with_a_longer_title_than_an_answer_may_hold_is_not_cut() -> None:
    with pytest.raises(Rejected, match="title") as why:
        judge(_plan(step_title=lambda step: f"{step['step_title']} " + "each month as a file that the accountants may read without any help of ours"))
    assert why.value.reason == "schema"


def test_a_short_remark_is_left_out_and_the_plan_stays() -> None:
    kept = judge(_plan(ai_metadata={"model": "gpt-4o-mini", "overall_risks": ["Late.", "The client may be late with examples."], "assumptions": ["No change"]}))
    assert (kept.output.overall_risks, kept.output.assumptions) == (["The client may be late with examples."], [])


def test_quality_says_what_became_of_hours_phases_and_order() -> None:
    assert judge(_plan()).quality == {"hours_as_saved": 1.0, "risks_known": 0.0}
    assert judge(_plan(estimated_hours="8")).quality["hours_as_saved"] == 0
    same = _plan().found
    proposed = [{"phase": step["stage_id"], "title": step["step_title"], "duration": int(step["estimated_hours"]), "risk": "low"} for step in same["steps"]]
    proposed = [{**proposed[1], "phase": "design_guidance", "duration": 2}, proposed[0], {**proposed[2], "title": "Something else is done"}, proposed[2]]
    proposed.sort(key=lambda step: ["design_guidance", "requirement_refiner", "build_guidance", "deployment"].index(step["phase"]))
    output = {"suggested_plan": [{**step, "phase": "build_guidance"} for step in proposed], "overall_risks": [], "assumptions": []}
    request = {"feature": "plan", "org_id": None, "status": "closed", "provider": "cloud", "model": "m", "prompt_version": "p", "output": output}
    told = {"title": "Write the export", "description": "Invoices as CSV.", "skills": [], "similar": []}
    kept = judge(_candidate("steps", "plan", {**same, "request": {**request, "prompt_input": told}}))
    assert kept.quality == {"hours_as_saved": 1.0, "kept": 0.75, "written_by_manager": 0.0, "same_hours": 0.6667, "same_phase": 0.3333, "same_order": 0.5}


def test_the_people_of_earlier_tasks_in_a_ledger_row_are_known_or_the_task_is_left_out(tmp_path: Path) -> None:
    """The ledger keeps the words of earlier tasks, not whose they are: a task that nobody knows any more is no guide."""
    told = {"title": "Write the export", "description": "Invoices.", "skills": [], "similar": [{"title": "Known", "steps": ["Ask around"]}, {"title": "Forgotten", "steps": ["Theirs"]}]}
    with open_mirror(tmp_path, "memory") as mirror:
        for name, gone in (("Known", False), ("Forgotten", True)):
            _put(mirror, "tasks", {"id": name, "created_at": "2026-04-01T00:00:00+00:00", "org_id": "o", "title": name, "people": [f"owner of {name}"]})
            _put(mirror, "task_steps", {"id": name, "task_id": name, "stage_id": "deployment", "created_at": "2026-04-01T00:00:00+00:00", "people": [] if gone else ["author"], "is_forgotten": gone})
        _put(mirror, "slm_requests", {"id": "r", "created_at": "2026-07-01T00:00:00+00:00", "org_id": "o", "user_id": "asker", "feature": "plan", "prompt_input": told, "people": ["asker"]})
        one = next(one for one in candidates(mirror, "plan", LEDGER_SINCE) if one.kind == "ledger")
    assert one.sources[0].people == ["asker", "author", "owner of Known"]
    assert [task["title"] for task in one.found["request"]["prompt_input"]["similar"]] == ["Known"]


def _candidate(kind: Any, feature: str, found: dict[str, Any], *, since_ledger: bool = False) -> Candidate:
    return Candidate(kind=kind, feature=feature, org_id=None, sources=[], since_ledger=since_ledger, found=found)


def _judged(tmp_path: Path) -> list[Candidate]:
    """Candidates of every kind, made from stories without a database."""
    with open_mirror(tmp_path, "memory") as mirror:
        stories = list(make_history(120, seed=5))
        _fill(mirror, stories)
        return [one for feature in ("risk", "plan") for one in candidates(mirror, feature, LEDGER_SINCE)]


def _fill(mirror: Mirror, stories: list[Story]) -> None:
    for name in RELATIONS:
        for row in (row for story in stories for row in story.rows.get(name, ())):
            _put(mirror, name, row)


class Examples(list[Candidate]):
    def __repr__(self) -> str:
        return f"{len(self)} candidates"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    found = Examples(_judged(tmp_path_factory.mktemp("examples")))
    assert {one.kind for one in found} == {"ledger", "snapshot", "steps"}
    return found


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(st.characters(codec=None, exclude_categories=[]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 10**6), column=st.integers(0, 10**6), value=anything)
def test_whatever_a_column_holds_a_candidate_is_kept_or_rejected(examples: list[Candidate], which: int, column: int, value: Any) -> None:
    """NaN, lone surrogates, wrong types, nested nonsense: in any column of any row that a candidate has."""
    candidate = examples[which % len(examples)]
    found = copy.deepcopy(candidate.found)
    places = [(row, name) for part in found.values() for row in (part if isinstance(part, list) else [part]) if row for name in sorted(row)]
    row, name = places[column % len(places)]
    row[name] = value
    end = _end(candidate.model_copy(update={"found": found}))
    assert end == "kept" or end in REASONS


def _end(candidate: Candidate) -> str:
    try:
        json.loads(compact_json(clean.cleaned(candidate, Placeholders(Names(NAMES)))).encode())
    except Rejected as why:
        assert why.detail  # noqa: PT017
        return why.reason
    return "kept"


def test_similar_tasks_are_those_that_the_edge_would_have_shown(tmp_path: Path) -> None:
    """The organisation's own, earlier, sharing a skill or holding the title, the newest two, steps in phase order; none with a forgotten person's step.

    Whose they are is known.
    """
    made: tuple[tuple[int, str, list[str], str], ...] = (
        (1, "Old", ["React"], "x"),
        (2, "UI for Career page v2", [], "x"),
        (3, "Forgotten", ["React"], "gone"),
        (4, "Other", ["SQL"], "x"),
        (5, "UI for Career page", ["React"], "x"),
        (6, "Later", ["React"], "x"),
    )
    with open_mirror(tmp_path, "memory") as mirror:
        for day, title, skills, who in made:
            task = {
                "id": f"t{day}",
                "created_at": f"2026-04-0{day}T00:00:00+00:00",
                "org_id": "o",
                "title": title,
                "description": "d",
                "skills": skills,
                "people": [f"{who} of {title}"],
                "ai_metadata": {"model": "m"},
            }
            _put(mirror, "tasks", task)
            for i, phase in enumerate(("deployment", "build_guidance")):
                step = {
                    "id": f"s{day}{i}",
                    "task_id": f"t{day}",
                    "stage_id": phase,
                    "step_title": f"{phase} of {title}",
                    "order_index": 0,
                    "created_at": task["created_at"],
                    "created_by_role": "manager",
                    "people": [f"author of {title}"],
                    "is_forgotten": who == "gone",
                }
                _put(mirror, "task_steps", step)
        found = {one.sources[0].id: one for one in candidates(mirror, "plan", LEDGER_SINCE)}
    kept = judge(found["t5"])
    assert [task.title for task in kept.prompt_input.similar] == ["UI for Career page v2", "Old"]
    assert kept.prompt_input.similar[1].steps == ["build_guidance of Old", "deployment of Old"]
    assert judge(found["t1"]).prompt_input.similar == []
    assert found["t5"].sources[0].people == sorted(f"{role} {title}" for role in ("x of", "author of") for title in ("UI for Career page", "UI for Career page v2", "Old"))
    assert "t3" not in found


COLUMNS = {
    "slm_requests": "id created_at org_id user_id task_id feature prompt_input output provider model prompt_version status people",
    "tasks": "id created_at started_at org_id title description skills allocated_hours ai_metadata people",
    "task_steps": "id created_at org_id task_id stage_id step_title order_index estimated_hours created_by_role people is_forgotten",
    "task_risk_snapshots": "id computed_at org_id task_id elapsed_hours steps_completed total_steps progress_ratio predicted_total_hours predicted_delay_hours risk_level reasons"
    " recommended_actions model_used raw_llm_response people",
}


def _put(mirror: Mirror, table: str, row: dict[str, Any]) -> None:
    """A row as the database would send it."""
    relation = RELATIONS[table]
    whole = {**dict.fromkeys(COLUMNS[table].split()), "people": [], **row}
    sent = {column: json.dumps(value) if column in relation.json and value is not None else value for column, value in whole.items() if column in COLUMNS[table]}
    with mirror.database:
        mirror._keep(relation, Reading(1, "", {}, [], 1), [sent])


# --- duplicates -----------------------------------------------------------------------------------------------------------


def test_near_duplicates_are_found_as_an_exact_comparison_finds_them(tmp_path: Path) -> None:
    rng = random.Random(4)
    words = [f"word{i}" for i in range(900)]
    originals = [" ".join(rng.choices(words, k=60)) for _ in range(300)]
    texts = [*originals, *(_edited(text, rng.choice((0, 1, 1, 2, 3, 6)), rng) for text in originals)]
    groups = find_near((("label", text) for text in texts), tmp_path)
    sets = [shingles(text) for text in texts]
    pairs = [(i, 300 + i, len(sets[i] & sets[300 + i]) / len(sets[i] | sets[300 + i])) for i in range(300)]
    sure = [(a, b) for a, b, likeness in pairs if likeness >= SAME + 0.06]
    near = [(a, b) for a, b, likeness in pairs if likeness >= NEAR + 0.06]
    found_same, found_near = (sum(found[a] == found[b] for a, b in some) / len(some) for found, some in ((groups.same, sure), (groups.cluster, near)))
    wrong = [(a, b) for a, b, likeness in pairs if likeness < SAME - 0.15 and groups.same[a] == groups.same[b]]
    print(f"near duplicates: same {found_same:.3f} (n = {len(sure)}), near {found_near:.3f} (n = {len(near)}), wrongly the same {len(wrong)}")
    assert found_same >= 0.97
    assert found_near >= 0.97
    assert wrong == []
    assert len({int(group) for group in groups.cluster}) >= 300, "different texts are not drawn together"
    assert list(tmp_path.iterdir()) == []


def _edited(text: str, times: int, rng: random.Random) -> str:
    words = text.split()
    for _ in range(times):
        words[rng.randrange(len(words))] = "other"
    return " ".join(words)


def test_texts_with_another_label_are_near_but_not_the_same(tmp_path: Path) -> None:
    groups = find_near([("high", "one two three four five"), ("low", "one two three four five"), ("high", "one two three four five")], tmp_path)
    assert groups.same.tolist() == [0, 1, 0]
    assert groups.cluster.tolist() == [0, 0, 0]


def test_no_texts_have_no_groups(tmp_path: Path) -> None:
    assert find_near([], tmp_path).same.tolist() == []


# --- the stage --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def extracted(tmp_path: Path, examples: list[Candidate]) -> Path:
    return _extracted(tmp_path / "extract", [json.dumps(one.model_dump(mode="json")) for one in examples])


def _extracted(folder: Path, lines: list[str]) -> Path:
    folder.mkdir()
    written = write_lines(folder / ROWS, lines)
    (folder / "people.jsonl").write_text("")
    write_json(folder / "manifest.json", {"facts": {**written, "people_sha256": "none"}})
    return folder


def test_the_order_of_candidates_changes_nothing(tmp_path: Path, extracted: Path, examples: list[Candidate]) -> None:
    shuffled = random.Random(1).sample(examples, len(examples))
    other = _extracted(tmp_path / "shuffled", [json.dumps(one.model_dump(mode="json")) for one in shuffled])
    facts = [clean.run(folder, tmp_path / f"clean {folder.name}") for folder in (extracted, other)]
    assert facts[0]["sha256"] == facts[1]["sha256"]
    assert facts[0]["rows"] > 50


def test_an_answer_that_is_found_again_is_one_row_with_all_its_sources(tmp_path: Path, examples: list[Candidate]) -> None:
    """The most trusted and oldest is the row; each further source is counted and named."""
    one = next(one for one in examples if one.kind == "ledger" and _keeps(one))
    sources = [one.sources[0].model_copy(update={"id": f"{i:036}", "created_at": f"2026-08-0{i}T00:00:00.000000Z"}) for i in (3, 1, 2)]
    lines = [json.dumps({**one.model_dump(mode="json"), "sources": [source.model_dump()]}) for source in sources]
    facts = clean.run(_extracted(tmp_path / "extract", lines), tmp_path / "clean")
    (row,) = read_rows(tmp_path / "clean" / ROWS)
    assert (facts["same"], facts["rows"], row.copies) == (2, 1, 3)
    assert [source.id for source in row.sources] == sorted(source.id for source in sources)


def _keeps(candidate: Candidate) -> bool:
    try:
        judge(candidate)
    except Rejected:
        return False
    return True


@pytest.mark.parametrize("line", ["not json", "{}", '{"kind": "ledger"', "[]"])
def test_a_broken_line_is_named(tmp_path: Path, examples: list[Candidate], line: str) -> None:
    folder = _extracted(tmp_path / "extract", [json.dumps(examples[0].model_dump(mode="json")), line])
    with pytest.raises(BrokenRows, match=r"Cannot read line 2 of .*rows\.jsonl: .*\(run extract again\)"):
        clean.run(folder, tmp_path / "clean")


def test_clean_without_extract_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BrokenRows, match="extract has not finished there"):
        clean.run(tmp_path / "extract", tmp_path / "clean")


def test_rows_cannot_be_changed_behind_their_hash(tmp_path: Path, examples: list[Candidate]) -> None:
    kept = judge(next(one for one in examples if (one.kind, one.feature) == ("ledger", "risk") and _keeps(one)))
    row = make_row("risk", "ledger", kept.prompt_input, kept.output, sources=[], prompt_version="p")
    text = row.model_dump_json().replace(row.prompt_input.title, "Another title", 1)
    (tmp_path / ROWS).write_text(text + "\n")
    with pytest.raises(BrokenRows, match="its id is not the hash of its content"):
        list(read_rows(tmp_path / ROWS))
