"""No split sees what another holds: groups go whole, gold is frozen once, and planted leaks are found."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from shared_schemas.features.plan import PlanInput, PlanOutput
from shared_schemas.features.risk import RiskInput
from trainer.data import split
from trainer.data.leakage import NEAR, HeldOut, skeleton
from trainer.data.row import ROWS, Row, Source, make_row, read_rows, write_rows
from trainer.data.split import SPLITS, SplitOptions
from trainer.errors import BrokenRows
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples
from trainer.stage import write_json

RISK = SplitOptions(feature="risk")
PLAN = SplitOptions(feature="plan")


def source(number: int, *, org: str | None = None, task: str | None = None, day: int = 1) -> Source:
    return Source(table="slm_requests", id=f"r{number}", org_id=org, user_id=None, task_id=task or f"t{number}", created_at=f"2026-{1 + day // 28 % 12:02}-{1 + day % 28:02}T00:00:00.000000Z")


def row_of(example: Any, sources: list[Source], **rest: Any) -> Row:
    return make_row(example.feature, rest.pop("origin", "ledger" if sources else "template"), example.prompt_input, example.output, sources=sources, prompt_version="p", **rest)


def stage(folder: Path, rows: Iterable[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ordered = {row.id: row for row in rows}
    write_json(folder / "manifest.json", {"key": "k", "facts": write_rows(folder / ROWS, [ordered[key] for key in sorted(ordered)])})
    return folder


def files(folder: Path) -> dict[str, list[Row]]:
    return {name: list(read_rows(folder / f"{name}.jsonl")) for name in SPLITS}


def history(count: int, *, orgs: int = 40, seed: int = 3) -> list[Row]:
    """Risk rows of `orgs` organisations, three moments to a task, one task a day."""
    return [row_of(example, [source(i, org=f"o{i // 3 % orgs}", task=f"t{i // 3}", day=i // 3)]) for i, example in enumerate(risk_examples(count, seed=seed))]


def test_every_row_lies_in_one_split_or_is_put_aside(tmp_path: Path) -> None:
    rows = history(600)
    facts = split.run(stage(tmp_path / "synthesise", rows), tmp_path / "split", RISK)
    told = [row.id for lines in files(tmp_path / "split").values() for row in lines] + [json.loads(line)["row"]["id"] for line in (tmp_path / "split" / "set_aside.jsonl").read_text().splitlines()]
    assert sorted(told) == sorted({row.id for row in rows})
    assert 30 <= facts["rows"]["test"] <= 60, "whole organisations come near to a tenth"
    assert 40 <= facts["rows"]["gold"] <= 60
    assert facts["leakage"]["left"] == {}


def test_organisations_tasks_and_clusters_go_one_way(tmp_path: Path) -> None:
    rows = [row.model_copy(update={"cluster": f"{i // 6 // 40:064x}"}) if i % 6 == 0 else row for i, row in enumerate(history(900))]
    facts = split.run(stage(tmp_path / "synthesise", rows), tmp_path / "split", RISK)
    assert facts["leakage"]["grouped_by"] == ["org", "task", "cluster", "child"]
    by_split = files(tmp_path / "split")
    seen: dict[tuple[str, str], str] = {}
    for name, lines in by_split.items():
        for row in lines:
            bonds = [("org", row.sources[0].org_id), ("task", row.sources[0].task_id), ("cluster", row.cluster)]
            assert {seen.setdefault((kind, value), name) for kind, value in bonds if value} == {name}


def test_answers_so_alike_that_they_chain_all_tasks_still_leave_a_gold_set(tmp_path: Path) -> None:
    """Each task shares a cluster with the next: one group of all. Clusters are cut then, and what is near a held-out row is put aside."""
    rows = [row.model_copy(update={"cluster": f"{(i + 1) // 3:064x}"}) for i, row in enumerate(history(600))]
    work = tmp_path / "synthesise"
    facts = split.run(stage(work, rows), tmp_path / "split", RISK)
    assert facts["leakage"]["grouped_by"] == ["task", "child"]
    assert 40 <= facts["rows"]["gold"] <= 60
    assert facts["rows"]["train"] > 300
    by_split = files(tmp_path / "split")
    trained = {row.cluster for row in by_split["train"]}
    assert all(row.cluster not in trained for name in ("gold", "test", "validation") for row in by_split[name])
    assert facts["leakage"]["left"] == {}
    again = split.run(work, tmp_path / "again", RISK)
    assert again["rows"] == facts["rows"], "a frozen gold set takes nobody out who is not near it"


def test_one_organisation_is_split_by_task(tmp_path: Path) -> None:
    facts = split.run(stage(tmp_path / "synthesise", history(600, orgs=1)), tmp_path / "split", RISK)
    assert facts["leakage"]["grouped_by"] == ["task", "cluster", "child"]
    assert facts["rows"]["test"] > 40


def times(rows: Iterable[Row]) -> list[str]:
    return [source.created_at for row in rows for source in row.sources]


def test_the_newest_are_held_out(tmp_path: Path) -> None:
    """One organisation, whose tasks have three moments on one day each: the days can be told apart, as the rows' own times show."""
    facts = split.run(stage(tmp_path / "synthesise", history(300, orgs=1)), tmp_path / "split", RISK)
    by_split = files(tmp_path / "split")
    assert max(times(by_split["train"])) < min(times(by_split["test"]))
    assert facts["leakage"]["times"]["training_rows_as_new_as_test"] == 0
    assert facts["leakage"]["newer_but_too_large_to_hold_out"] == {"groups": 0, "rows": 0}


def test_where_old_and_new_rows_belong_together_the_report_says_how_far_they_overlap(tmp_path: Path) -> None:
    """Organisations go whole, and each has rows of the first and of the last days."""
    facts = split.run(stage(tmp_path / "synthesise", history(600)), tmp_path / "split", RISK)
    by_split, told = files(tmp_path / "split"), facts["leakage"]["times"]
    assert facts["leakage"]["grouped_by"][0] == "org"
    assert told["newest_in_training"][:10] == max(times(by_split["train"]))[:10]
    assert told["oldest_in_test"][:10] == min(times(by_split["test"]))[:10]
    assert told["training_rows_as_new_as_test"] == sum(time >= min(times(by_split["test"])) for time in times(by_split["train"])) > 100


def test_a_newest_group_too_large_to_be_held_out_is_not_passed_over_without_a_word(tmp_path: Path) -> None:
    large = [row_of(example, [source(7000 + i, org="o0", task="large", day=150)]) for i, example in enumerate(risk_examples(80, seed=50))]
    facts = split.run(stage(tmp_path / "synthesise", [*history(300, orgs=1), *large]), tmp_path / "split", RISK)
    assert facts["leakage"]["newer_but_too_large_to_hold_out"] == {"groups": 1, "rows": len({row.id for row in large})}
    assert facts["leakage"]["times"]["training_rows_as_new_as_test"] == len({row.id for row in large})


def test_a_synthetic_row_stays_with_its_seed_and_gold_is_real(tmp_path: Path) -> None:
    real = history(300)
    made = [row_of(example, [], seed_id=real[i].id if i % 2 else None) for i, example in enumerate(risk_examples(300, seed=8))]
    split.run(stage(tmp_path / "synthesise", [*real, *made]), tmp_path / "split", RISK)
    by_split = files(tmp_path / "split")
    where = {row.id: name for name, rows in by_split.items() for row in rows}
    children = [row for row in made if row.seed_id and row.id in where and row.seed_id in where]
    assert len(children) > 80
    assert [row.id for row in children if where[row.id] != where[row.seed_id or ""]] == []
    assert {row.origin for row in by_split["gold"]} == {"ledger"}
    assert not any(where.get(row.id) for row in made if row.seed_id in {gold.id for gold in by_split["gold"]})
    assert {row.origin for row in by_split["test"]} == {"ledger", "template"}


def test_gold_is_frozen_once_and_nothing_near_it_trains_later(tmp_path: Path) -> None:
    old = history(300)
    split.run(stage(tmp_path / "synthesise", old), tmp_path / "split", RISK)
    gold = (tmp_path / "split" / "gold.jsonl").read_bytes()
    frozen = files(tmp_path / "split")["gold"]
    newer = [row_of(example, [source(1000 + i, org=f"n{i}", day=200 + i)]) for i, example in enumerate(risk_examples(100, seed=77))]
    of_gold_tasks = [row_of(example, [source(2000 + i, task=frozen[i].sources[0].task_id)]) for i, example in enumerate(risk_examples(len(frozen), seed=78))]
    twins = [
        make_row("risk", "snapshot", row.prompt_input.model_copy(update={"title": f"{row.prompt_input.title} please"}), row.output, sources=[source(3000 + i)], prompt_version="p")
        for i, row in enumerate(frozen)
    ]
    split.run(stage(tmp_path / "synthesise", [*old, *newer, *of_gold_tasks, *twins]), tmp_path / "split", RISK)
    assert (tmp_path / "split" / "gold.jsonl").read_bytes() == gold
    trained = {row.id for row in files(tmp_path / "split")["train"]}
    assert trained.isdisjoint(row.id for row in [*of_gold_tasks, *twins, *frozen])
    assert len(trained) > 200


def counted(work: Path) -> int:
    """Distinct rows in the splits and put aside."""
    told = [row.id for lines in files(work / "split").values() for row in lines]
    told += [json.loads(line)["row"]["id"] for line in (work / "split" / "set_aside.jsonl").read_text().splitlines()]
    assert len(told) == len(set(told))
    return len(told)


def test_a_history_too_small_for_gold_freezes_none_and_loses_no_row_later(tmp_path: Path) -> None:
    facts = split.run(stage(tmp_path / "synthesise", history(4, orgs=1)), tmp_path / "split", RISK)
    assert (facts["gold"], facts["rows"]["gold"], (tmp_path / "gold.jsonl").exists()) == ("provisional", 0, False)
    grown = history(300)
    facts = split.run(stage(tmp_path / "synthesise", grown), tmp_path / "split", RISK)
    assert (facts["gold"], facts["rows"]["gold"] > 20) == ("frozen", True)
    assert counted(tmp_path) == len({row.id for row in grown})


def test_an_empty_gold_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").touch()
    assert split.run(stage(tmp_path / "synthesise", history(300)), tmp_path / "split", RISK)["gold"] == "frozen"
    assert counted(tmp_path) == len({row.id for row in history(300)})


def test_made_up_gold_is_provisional_until_there_is_history(tmp_path: Path) -> None:
    made = [row_of(example, []) for example in risk_examples(300, seed=8)]
    facts = split.run(stage(tmp_path / "synthesise", made), tmp_path / "split", RISK)
    assert (facts["gold"], facts["rows"]["gold"] > 20, (tmp_path / "gold.jsonl").exists()) == ("provisional", True, False)
    assert counted(tmp_path) == len({row.id for row in made})
    rows = [*made, *history(300)]
    assert split.run(stage(tmp_path / "synthesise", rows), tmp_path / "split", RISK)["gold"] == "frozen"
    assert {row.origin for row in files(tmp_path / "split")["gold"]} == {"ledger"}
    assert counted(tmp_path) == len({row.id for row in rows})


def test_a_cluster_of_the_gold_set_is_kept_from_training_when_its_own_row_is_gone(tmp_path: Path) -> None:
    """Near copies in other words, bound by cleaning: the gold row has since collapsed into another one of its cluster."""
    old = [row.model_copy(update={"cluster": row.id}) for row in history(300, orgs=1)]
    split.run(stage(tmp_path / "synthesise", old), tmp_path / "split", RISK)
    frozen = files(tmp_path / "split")["gold"]
    others = [row_of(example, [source(4000 + i)], cluster=frozen[i % len(frozen)].id) for i, example in enumerate(risk_examples(60, seed=61))]
    rest = [row for row in old if row.id not in {gold.id for gold in frozen}]
    split.run(stage(tmp_path / "synthesise", [*rest, *others]), tmp_path / "split", RISK)
    assert {row.id for row in files(tmp_path / "split")["train"]}.isdisjoint(row.id for row in others)
    assert counted(tmp_path) == len({row.id for row in [*rest, *others, *frozen]})


def test_a_cluster_of_the_gold_set_is_kept_from_training_when_a_new_row_has_renamed_it(tmp_path: Path) -> None:
    """A near copy in other words comes later and is the cluster's first: all of them bear its name now, but for what was frozen."""
    old = history(600)
    split.run(stage(tmp_path / "first", old), tmp_path / "split", RISK)
    frozen = files(tmp_path / "split")["gold"]
    names = {gold.id: f"{i:064x}" for i, gold in enumerate(frozen)}
    renamed = [row.model_copy(update={"cluster": names.get(row.id, row.cluster)}) for row in old]
    fresh = [row_of(example, [source(5000 + i)]).model_copy(update={"cluster": names[frozen[i].id]}) for i, example in enumerate(risk_examples(len(frozen), seed=79))]
    facts = split.run(stage(tmp_path / "second", [*renamed, *fresh]), tmp_path / "split", RISK)
    told = [json.loads(line) for line in (tmp_path / "split" / "set_aside.jsonl").read_text().splitlines()]
    assert {row.id for row in fresh} <= {line["row"]["id"] for line in told}
    assert facts["leakage"]["left"] == {}


def test_the_organisations_of_the_gold_set_train_on(tmp_path: Path) -> None:
    """Gold frozen by task, while there was one organisation, does not keep that organisation from training."""
    split.run(stage(tmp_path / "synthesise", history(300, orgs=1)), tmp_path / "split", RISK)
    frozen = len(files(tmp_path / "split")["gold"])
    more = [row_of(example, [source(5000 + i, org=f"n{i // 3 % 60}", day=300 + i)]) for i, example in enumerate(risk_examples(600, seed=40))]
    split.run(stage(tmp_path / "synthesise", [*history(300, orgs=1), *more]), tmp_path / "split", RISK)
    by_split = files(tmp_path / "split")
    assert len(by_split["gold"]) == frozen
    assert sum(row.sources[0].org_id == "o0" for name in ("train", "validation", "test") for row in by_split[name]) > 200


@pytest.mark.parametrize("feature", ["risk", "plan"])
def test_the_same_rows_give_the_same_bytes_again(tmp_path: Path, feature: str) -> None:
    rows = history(200) if feature == "risk" else [row_of(example, [source(i)]) for i, example in enumerate(plan_examples(200, seed=4))]
    shas = [split.run(stage(tmp_path / name / "synthesise", rows), tmp_path / name / "split", SplitOptions(feature=feature))["sha256"] for name in ("a", "b")]
    assert shas[0] == shas[1]


KILLED = """
import os, signal, sys
from pathlib import Path
from trainer.data import split
from trainer.data.split import SplitOptions
real, count = split.HeldOut.leak, 0
def leak(self, row):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, row)
split.HeldOut.leak = leak
split.run(Path(sys.argv[1]), Path(sys.argv[2]), SplitOptions(feature="risk"))
"""


@pytest.mark.parametrize("at", [1, 60, 200, 400])
def test_a_split_killed_anywhere_ends_with_the_same_files(tmp_path: Path, at: int) -> None:
    """In test and validation, among the training rows, and in the audit."""
    rows = history(300)
    whole = split.run(stage(tmp_path / "whole" / "synthesise", rows), tmp_path / "whole" / "split", RISK)
    stage(tmp_path / "synthesise", rows)
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "synthesise"), str(tmp_path / "split"), str(at)], check=False)
    assert child.returncode == -9
    assert not (tmp_path / "split" / "manifest.json").exists()
    assert split.run(tmp_path / "synthesise", tmp_path / "split", RISK) == whole


def test_nothing_to_split_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BrokenRows, match="it holds no rows"):
        split.run(stage(tmp_path / "synthesise", []), tmp_path / "split", RISK)
    with pytest.raises(BrokenRows, match=r"^Cannot split .*nowhere: nowhere has not finished there"):
        split.run(tmp_path / "nowhere", tmp_path / "split", RISK)


# --- planted leaks -------------------------------------------------------------------------------------------------

PARAPHRASES = (
    ("UI for Career page", "The page looks old. It must have filter by department and work on mobile.", "Career page UI", "Page looks old, must work on mobiles and have a department filter"),
    ("Fix the Lag in Landing page", "Users report lag on the landing page since the last release.", "Landing page: fixing the lag", "Since last release users are reporting lags on landing page"),
    ("Cohort Modifications", "Please change the cohort screen as discussed in the meeting.", "Cohert modification", "As discussed in meeting please change cohort screens"),
    (
        "Migration from Supabase to Sharepoints",
        "Move all documents to SharePoint without losing anything.",
        "Migrate from supabase to sharepoint",
        "All documents should be moved to SharePoint without losing any",
    ),
    ("Hiring Portal modification", "Candidates cannot upload a resume as PDF. Add the upload.", "Modify Hiring Portal", "Add resume upload as PDF for candidates"),
    (
        "Development skills - Backend, Fine-Tuning",
        "Complete the fine-tuning modules and submit proof.",
        "Development skills: Fine-tuning and backend",
        "Submit proof after completing fine tuning modules",
    ),
    ("Chatbot integration", "Connect the chatbot to the Talent Ops frontend, new UI.", "Integrate the chatbot", "The chatbot must be connected to the new UI of Talent Ops frontend"),
    (
        "Leave approval workflow",
        "Managers approve or reject leave requests and employees get an email.",
        "Workflow for leave approvals",
        "Employees get an email when managers approve or reject their leave request",
    ),
    ("Payroll report export", "Finance needs the payroll report as an Excel export each month.", "Export payroll reports", "Each month finance needs an Excel export of the payroll report"),
    ("Notification settings screen", "Let users switch off email notifications for each project.", "Settings screen for notifications", "Users can switch email notifications off per project"),
)
SYNONYMS = (
    ("Fix the Lag in Landing page", "Users report lag since the last release.", "Repair slow start screen", "People complain that opening takes long after yesterday's update."),
    ("Payroll report export", "Finance needs the payroll report as Excel.", "Salary sheet download", "Accounting wants monthly wages in a spreadsheet."),
)  # fmt: skip


def plan_line(number: int, title: str, description: str, output: Any, **changes: Any) -> dict[str, Any]:
    row = make_row("plan", "ledger", PlanInput(title=title, description=description, skills=[], similar=[]), output, sources=[source(number)], prompt_version="p")
    return {**row.model_dump(mode="json"), **changes}


def noise(count: int) -> list[dict[str, Any]]:
    """Plan rows of the history that have nothing to do with the planted ones."""
    return [row_of(example, [source(9000 + i)]).model_dump(mode="json") for i, example in enumerate(plan_examples(count, seed=12))]


def planted(how: Callable[[int, dict[str, Any]], dict[str, Any]]) -> tuple[HeldOut, list[dict[str, Any]]]:
    answers = [example.output for example in plan_examples(len(PARAPHRASES), seed=5)]
    held = [plan_line(i, title, description, answers[i]) for i, (title, description, _, _) in enumerate(PARAPHRASES)]
    return HeldOut({"gold": [*held, *noise(200)]}), [how(i, row) for i, row in enumerate(held)]


OTHER = plan_examples(40, seed=99)


def test_planted_paraphrases_are_found() -> None:
    held, leaks = planted(lambda i, _: plan_line(100 + i, *PARAPHRASES[i][2:], OTHER[i].output))
    found = [leak for row in leaks if (leak := held.leak(row))]
    print(f"paraphrases: {len(found)} of {len(leaks)} found")
    assert [leak.kind for leak in found] == ["near_input"] * len(PARAPHRASES)


def test_what_is_said_in_wholly_other_words_is_beyond_words() -> None:
    """Stated, not hidden: a comparison by words cannot see synonyms."""
    held = HeldOut({"gold": [plan_line(i, title, description, OTHER[i].output) for i, (title, description, _, _) in enumerate(SYNONYMS)]})
    found = sum(held.leak(plan_line(50 + i, *other[2:], OTHER[10 + i].output)) is not None for i, other in enumerate(SYNONYMS))
    print(f"synonyms: {found} of {len(SYNONYMS)} found")
    assert found == 0


SUBJECTS = ("Career page", "Invoice module", "Leave tracker", "Alumni portal", "Ticket list", "Payroll view", "Mentor dashboard", "Quiz screen", "Visitor form", "Asset panel")
SENTENCES = (
    ("requirement_refiner", "Clarify what the {s} must show in release {n}"),
    ("build_guidance", "Build the {s} with its {n} fields"),
    ("acceptance_criteria", "Let {n} people try the {s}"),
)


def test_planted_templates_are_found() -> None:
    """Another subject and other figures in the same sentences, asked for in other words."""

    def written(number: int, subject: str, request: str) -> dict[str, Any]:
        steps = [{"phase": phase, "title": title.format(s=subject, n=number + 3), "duration": 2, "risk": "low"} for phase, title in SENTENCES]
        output = PlanOutput.model_validate({"suggested_plan": steps, "overall_risks": [f"The {subject} may change."], "assumptions": []})
        return plan_line(number, request.format(s=subject), f"Wish number {number * 37} of somebody.", output)

    held = HeldOut({"test": [written(0, "Billing flow", "Billing flow"), *noise(100)]})
    found = [leak.kind for i, subject in enumerate(SUBJECTS, 1) if (leak := held.leak(written(i, subject, "We want: {s}")))]
    print(f"templates: {len(found)} of {len(SUBJECTS)} found")
    assert found == ["template"] * len(SUBJECTS)


def test_planted_children_and_kin_are_found() -> None:
    for kind, how in {
        "child": lambda i, row: plan_line(500 + i, "Something else", "Entirely.", OTHER[i].output, seed_id=row["id"]),
        "task": lambda i, row: plan_line(500 + i, "Something else", "Entirely.", OTHER[i].output, sources=row["sources"]),
    }.items():
        held, leaks = planted(how)
        found = [leak.kind for row in leaks if (leak := held.leak(row))]
        print(f"{kind}: {len(found)} of {len(leaks)} found")
        assert found == [kind] * len(leaks)


def test_what_is_planted_into_the_files_is_found_in_the_files(tmp_path: Path) -> None:
    """The audit does not trust the stage: it reads what is there."""
    split.run(stage(tmp_path / "synthesise", history(300)), tmp_path / "split", RISK)
    assert split.audit(tmp_path / "split") == {}
    stolen = (tmp_path / "split" / "test.jsonl").read_text().splitlines()[:7]
    with (tmp_path / "split" / "train.jsonl").open("a") as file:
        file.writelines(f"{line}\n" for line in stolen)
    assert sum(split.audit(tmp_path / "split")["train"]["test"].values()) == 7


@pytest.mark.parametrize("feature", ["risk", "plan"])
def test_the_fast_search_finds_what_comparing_all_with_all_finds(feature: str) -> None:
    make = risk_examples if feature == "risk" else plan_examples
    rows = [row_of(example, []).model_dump(mode="json") for example in make(700, seed=14)]
    for i, row in enumerate(rows[150:220]):
        row["prompt_input"] = {**rows[i]["prompt_input"], "title": " ".join([*rows[i]["prompt_input"]["title"].split()[: 1 + i % 4], "v2" * (i % 3)])}
    held = HeldOut({"test": rows[:150]})
    near = [max((held.likeness(row, i) for i in range(150)), default=0) >= NEAR[feature] for row in rows[150:]]
    assert 5 < sum(near) < 300
    assert near == [held.leak(row) is not None for row in rows[150:]]


def test_unlike_rows_are_no_leak() -> None:
    """Two moments of unlike tasks, and plans that share an everyday phrase."""
    rows = [json.loads(row.model_dump_json()) for row in history(400, seed=21)]
    held = HeldOut({"test": rows[:100]})
    others = [row for row in rows[100:] if row["prompt_input"]["title"] not in {one["prompt_input"]["title"] for one in rows[:100]}]
    leaks = [row for row in others if (leak := held.leak(row)) and leak.kind == "near_input"]
    assert len(leaks) <= 0.02 * len(others)


def test_a_skeleton_keeps_the_sentences_and_drops_figures_and_subjects() -> None:
    task = risk_examples(1, seed=1)[0]
    assert isinstance(task.prompt_input, RiskInput)

    def line(title: str, reason: str) -> dict[str, Any]:
        return {"feature": "risk", "prompt_input": {"title": title}, "output": {"reasons": [reason], "recommended_actions": []}}

    assert skeleton(line("Login page", "40% of the Login page is done.")) == skeleton(line("Pricing form", "75% of the Pricing form is done."))
    assert skeleton(line("Login page", "40% of the Login page is done.")) != skeleton(line("Login page", "Ask for help with the Login page."))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """20,000 rows may cost what is kept for each (some 200 bytes), not the rows themselves (2 kB each as objects)."""
    stage(tmp_path / "synthesise", history(2000))
    base = (tmp_path / "synthesise" / ROWS).read_text().splitlines()
    peaks = []
    for copies in (1, 10):
        folder = tmp_path / f"x{copies}"
        folder.mkdir()
        with (folder / ROWS).open("w") as file:
            for i in range(copies):
                for k, line in enumerate(base):
                    row = json.loads(line)
                    row["id"], row["sources"][0]["task_id"], row["prompt_input"]["title"] = f"{i:032x}{k:032x}", f"t{i}-{k}", f"Word{i}x{k} thing{k * 7 + i}"
                    file.write(json.dumps(row, separators=(",", ":")) + "\n")
        write_json(folder / "manifest.json", {"key": "k", "facts": {"sha256": str(copies)}})
        code = "import re,sys;from pathlib import Path;from trainer.data import split;from trainer.data.split import SplitOptions;split.run(Path(sys.argv[1]),Path(sys.argv[1]).parent/f's{sys.argv[2]}'/'split',SplitOptions(feature='risk',most=(20,20,20)));print(re.search('VmHWM:\\\\s+(\\\\d+)',Path('/proc/self/status').read_text()).group(1))"
        (tmp_path / f"s{copies}").mkdir()
        peaks.append(int(subprocess.run([sys.executable, "-c", code, str(folder), str(copies)], capture_output=True, text=True, check=True).stdout.split()[-1]))
    print(f"peak memory in KiB: 2,000 rows {peaks[0]}, 20,000 rows {peaks[1]}, so {1024 * (peaks[1] - peaks[0]) / 18000:.0f} bytes a row")
    assert 1024 * (peaks[1] - peaks[0]) / 18000 < 900
