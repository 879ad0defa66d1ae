"""A dataset lies in the project once, whatever happens on the way; the vault asks the baseline once."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared_schemas.features.risk import RiskInput
from tests.trainer.teacher_stand_in import StandIn, coach_says, said_by, stand_in_teacher
from tests.trainer.test_data_split import RISK, row_of, stage
from trainer.cli import main
from trainer.data import format as formats
from trainer.data import split, vault, write_back
from trainer.data.format import FormatOptions
from trainer.data.row import Row, Source, read_rows
from trainer.data.split import SPLITS
from trainer.data.teacher import Teacher
from trainer.data.vault import RecordOptions
from trainer.data.write_back import WriteBackOptions
from trainer.errors import BrokenRows, OverBudget, ProjectUnreachable
from trainer.risk_teacher import risk_examples
from trainer.supabase_client import Project

ORG, USER = str(uuid.UUID(int=0xA)), str(uuid.UUID(int=0xE0))


def rows(count: int, *, seed: int = 3) -> list[Row]:
    """Risk rows of the ledger; each tenth is one user's, each third in a cluster with the one before it."""
    made: list[Row] = []
    for i, example in enumerate(risk_examples(count, seed=seed)):
        user = USER if i % 10 == 0 else str(uuid.UUID(int=0xF000 + i))
        one = Source(
            table="slm_requests",
            id=str(uuid.UUID(int=1000 * seed + i)),
            org_id=ORG,
            user_id=user,
            task_id=str(uuid.UUID(int=9000 * seed + i)),
            created_at=f"2026-11-{1 + i % 20:02}T10:00:00.123456Z",
            people=[user],
        )
        row = row_of(example, [one])
        made.append(row.model_copy(update={"cluster": made[-1].id if i % 3 == 2 else row.id}))
    return made


def dataset(work: Path, made: list[Row]) -> Path:
    split.run(stage(work / "synthesise", made), work / "split", RISK)
    formats.run(work / "split", work / "format", FormatOptions(feature="risk"))
    return work


def write(work: Path, project: Project) -> dict[str, Any]:
    return write_back.run(work / "format", work / "write_back", WriteBackOptions("risk", project))


def count(project: Project, table: str) -> int:
    return int(project._client.table(table).select("*", count="exact").limit(1).execute().count or 0)  # type: ignore[arg-type]


def forget_everything(project: Project) -> None:
    for table, key in (("slm_datasets", "id"), ("slm_examples", "id"), ("slm_erasures", "user_id")):
        project._client.table(table).delete().not_.is_(key, "null").execute()


@pytest.fixture
def empty(data_project: Project) -> Iterator[Project]:
    forget_everything(data_project)
    yield data_project
    forget_everything(data_project)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with stand_in_teacher() as stand_in:
        yield stand_in


def test_a_dataset_is_written_once_and_leads_both_ways(tmp_path: Path, empty: Project) -> None:
    made = rows(300)
    work = dataset(tmp_path, made)
    facts = write(work, empty)
    total = sum(facts["splits"].values())
    assert (facts["was"], count(empty, "slm_dataset_examples"), count(empty, "slm_examples")) == ("writing", total, total)
    assert write(work, empty)["was"] == "complete"
    assert count(empty, "slm_examples") == total
    [stored] = empty.rows("slm_datasets", order="created_at")
    assert (stored["id"], stored["status"], stored["splits"]) == (facts["dataset_id"], "complete", facts["splits"])
    assert stored["manifest"]["split"]["leakage"]["left"] == {}
    report = stored["manifest"]["report"]
    assert (report["origins"], dict(report["numbers"])["in train"]) == ({"ledger": total}, facts["splits"]["train"])
    assert list(dict(report["numbers"]))[-4:] == ["in train", "in validation", "in test", "in gold"], "the order is kept"
    assert made[0].prompt_input.title not in json.dumps(stored["manifest"]), "figures alone: it outlives an erasure"
    kept = {name: list(read_rows(work / "split" / f"{name}.jsonl")) for name in SPLITS}
    for name in SPLITS:
        one = kept[name][0]
        lineage = empty._client.table("slm_lineage").select("*").eq("source_id", one.sources[0].id).execute().data
        assert [(line["dataset_id"], line["split"], line["example_id"]) for line in lineage] == [(facts["dataset_id"], name, one.id)]  # type: ignore[index, call-overload]


def test_the_same_text_again_leads_to_its_new_rows_too(tmp_path: Path, empty: Project) -> None:
    """The dataset is what is learned from it, so it is the same one; a person behind the new row must be found all the same."""
    made = rows(200)
    first = write(dataset(tmp_path, made), empty)
    other = Source(table="slm_requests", id=str(uuid.UUID(int=0xABC)), org_id=ORG, user_id=str(uuid.UUID(int=0xDEF)), task_id=None, created_at="2026-11-02T10:00:00.000000Z")
    again = [row.model_copy(update={"sources": [*row.sources, other], "copies": 2}) if i == 7 else row for i, row in enumerate(made)]
    second = write(dataset(tmp_path, again), empty)
    assert (second["dataset_id"], second["was"]) == (first["dataset_id"], "complete")
    lineage = empty._client.table("slm_lineage").select("*").eq("source_id", other.id).execute().data
    assert [(line["dataset_id"], line["example_id"], line["user_id"]) for line in lineage] == [(first["dataset_id"], made[7].id, other.user_id)]  # type: ignore[index, call-overload]


def test_made_up_gold_is_not_frozen_in_the_project(tmp_path: Path, empty: Project) -> None:
    made = [row_of(example, []) for example in risk_examples(200, seed=5)]
    facts = write(dataset(tmp_path, made), empty)
    assert (facts["gold"], facts["splits"]["gold"] > 10, count(empty, "slm_gold")) == (0, True, 0)
    assert write_back.refresh_gold(empty, "risk", tmp_path / "gold.jsonl", tmp_path / "write_back") == 0
    facts = write(dataset(tmp_path, [*made, *rows(200)]), empty)
    assert facts["gold"] == facts["splits"]["gold"] == count(empty, "slm_gold") > 10


def test_the_next_run_after_a_write_back_has_nothing_to_do(tmp_path: Path, empty: Project) -> None:
    """Gold comes back from the project byte by byte, clusters included."""
    work = dataset(tmp_path, rows(200))
    gold = (work / "gold.jsonl").read_bytes()
    (work / "split" / "untouched").touch()
    assert b'"cluster":null' not in gold
    write(work, empty)
    assert write_back.refresh_gold(empty, "risk", work / "gold.jsonl", work / "write_back") > 10
    assert (work / "gold.jsonl").read_bytes() == gold
    split.run(work / "synthesise", work / "split", RISK)
    assert (work / "split" / "untouched").exists()


def test_another_version_shares_what_is_the_same(tmp_path: Path, empty: Project) -> None:
    first = write(dataset(tmp_path, rows(200)), empty)
    second = write(dataset(tmp_path, rows(200) + rows(20, seed=5)), empty)
    assert first["dataset_id"] != second["dataset_id"]
    assert count(empty, "slm_datasets") == 2
    assert count(empty, "slm_examples") < sum(first["splits"].values()) + sum(second["splits"].values())
    assert (tmp_path / "gold.jsonl").read_bytes() == (tmp_path / "split" / "gold.jsonl").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from trainer.data import write_back
from trainer.supabase_client import Project, open_project
real, calls = Project.call, 0
def call(self, function, **parameters):
    global calls
    calls += 1
    if sys.argv[4] == "before" and calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(self, function, **parameters)
    if sys.argv[4] == "after" and calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return result
Project.call = call
write_back.BATCH = 50
with open_project() as project:
    write_back.run(Path(sys.argv[1]), Path(sys.argv[2]), write_back.WriteBackOptions("risk", project))
"""


@pytest.mark.parametrize(("at", "when"), [(1, "after"), (3, "before"), (4, "after"), (6, "before"), (8, "after")])
def test_a_write_killed_anywhere_leaves_nothing_double_and_the_next_ends_it(tmp_path: Path, empty: Project, at: int, when: str) -> None:
    """After the gold, before a batch, after one whose answer was never seen, before and after the end."""
    work = dataset(tmp_path, rows(300))
    child = subprocess.run([sys.executable, "-c", KILLED, str(work / "format"), str(work / "write_back"), str(at), when], check=False, env={**os.environ, "PYTHONPATH": "."})
    assert child.returncode == -signal.SIGKILL
    facts = write(work, empty)
    total = sum(facts["splits"].values())
    assert [count(empty, table) for table in ("slm_datasets", "slm_dataset_examples", "slm_examples", "slm_example_sources")] == [1, total, total, total]
    assert count(empty, "slm_gold") == facts["gold"] == facts["splits"]["gold"]


def test_a_forgotten_person_leaves_the_datasets_and_does_not_come_back(tmp_path: Path, empty: Project, capsys: pytest.CaptureFixture[str]) -> None:
    work = dataset(tmp_path, rows(300))
    facts = write(work, empty)
    theirs = {row.id for name in SPLITS for row in read_rows(work / "split" / f"{name}.jsonl") if row.sources[0].user_id == USER}
    assert main(["erase", USER, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"requests": 0, "examples": len(theirs), "datasets": [facts["dataset_id"]], "models": []}
    assert count(empty, "slm_examples") == sum(facts["splits"].values()) - len(theirs)
    with pytest.raises(ProjectUnreachable, match=r"^Cannot call slm_write_dataset: (error: )?rows of a person who asked to be forgotten are among them \(extract again\)"):
        write(work, empty)
    write_back.refresh_gold(empty, "risk", work / "gold.jsonl", work / "write_back")
    assert theirs.isdisjoint(row.id for row in read_rows(work / "gold.jsonl"))
    clean = [row for row in rows(300) if row.sources[0].user_id != USER]
    assert write(dataset(tmp_path, clean), empty)["was"] == "writing"


@pytest.mark.parametrize("who", ["assignee", "manager", "author of a guide"])
def test_whoever_is_involved_takes_the_example_along(tmp_path: Path, empty: Project, capsys: pytest.CaptureFixture[str], who: str) -> None:
    """An answer is found in the ledger, in a snapshot that names no user, and in a task: any of the people reaches it."""
    people = {name: str(uuid.UUID(int=0xB0 + i)) for i, name in enumerate(("assignee", "manager", "author of a guide"))}
    made = rows(100)
    ledger = made[7].sources[0]
    more = [
        ledger.model_copy(update={"people": [str(ledger.user_id), people["assignee"]]}),
        ledger.model_copy(update={"table": "task_risk_snapshots", "id": "s", "user_id": None, "people": [people["assignee"], people["manager"]]}),
        ledger.model_copy(update={"table": "tasks", "id": "t", "user_id": None, "people": [people["author of a guide"]]}),
    ]
    work = dataset(tmp_path, [*made[:7], made[7].model_copy(update={"sources": more}), *made[8:]])
    write(work, empty)
    assert main(["erase", people[who], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 1
    assert empty._client.table("slm_examples").select("id").eq("id", made[7].id).execute().data == []
    empty._client.table("slm_datasets").delete().not_.is_("id", "null").execute()
    with pytest.raises(ProjectUnreachable, match="rows of a person who asked to be forgotten"):
        write(work, empty)


def test_gold_is_frozen_in_the_project_and_comes_to_another_machine(tmp_path: Path, empty: Project) -> None:
    work = dataset(tmp_path / "a", rows(200))
    write(work, empty)
    (tmp_path / "b").mkdir()
    assert write_back.refresh_gold(empty, "risk", tmp_path / "b" / "gold.jsonl", tmp_path / "b" / "write_back") == len(list(read_rows(work / "gold.jsonl")))
    assert (tmp_path / "b" / "gold.jsonl").read_bytes() == (work / "gold.jsonl").read_bytes()
    assert write_back.refresh_gold(empty, "plan", tmp_path / "b" / "plan.jsonl", tmp_path / "b" / "write_back") == 0
    other = dataset(tmp_path / "c", rows(200, seed=9))
    with pytest.raises(ProjectUnreachable, match=r"^Cannot call slm_freeze_gold: (error: )?another gold set is frozen already"):
        write(other, empty)
    assert count(empty, "slm_datasets") == 1


def test_a_gold_set_that_was_erased_whole_leaves_this_machine_too(tmp_path: Path, empty: Project) -> None:
    work = dataset(tmp_path, rows(200))
    gold = work / "gold.jsonl"
    assert write_back.refresh_gold(empty, "risk", gold, work / "write_back") == 0
    assert gold.exists(), "it was never frozen in the project: nothing says that it must go"
    write(work, empty)
    empty._client.table("slm_gold").delete().eq("feature", "risk").execute()
    assert write_back.refresh_gold(empty, "risk", gold, work / "write_back") == 0
    assert not gold.exists()


def test_without_a_format_stage_there_is_nothing_to_write(tmp_path: Path, empty: Project) -> None:
    with pytest.raises(BrokenRows, match=r"it has no manifest \(run the format stage\)"):
        write(tmp_path, empty)


# --- the vault -----------------------------------------------------------------------------------------------------


def baseline(stand_in: StandIn, **changes: Any) -> Teacher:
    return Teacher(**{"name": "openai-mini", "endpoint": stand_in.endpoint, "model": "mini", "key": SecretStr("k"), "input_usd_per_million": 0.15, "output_usd_per_million": 0.6, **changes})


def allow_cloud(project: Project, *, allowed: bool) -> None:
    project._client.table("slm_org_settings").update({"allow_cloud": allowed}).is_("org_id", "null").execute()


def test_the_baseline_is_asked_once(tmp_path: Path, empty: Project, stand_in: StandIn) -> None:
    facts = write(dataset(tmp_path, rows(300)), empty)
    options = RecordOptions("risk", baseline(stand_in), log=tmp_path / "calls.jsonl", yes=True)
    allow_cloud(empty, allowed=True)
    done = vault.record(empty, options)
    assert (done["asked"], done["answers"] + done["faults"], done["kept_at_home"]) == (facts["gold"], facts["gold"], 0)
    assert done["usd"] == pytest.approx(facts["gold"] * (400 * 0.15 + 80 * 0.6) / 1e6, abs=1e-6)
    (tmp_path / "calls.jsonl").unlink()
    assert vault.record(empty, options)["asked"] == 0
    assert stand_in.asked.total() == facts["gold"]
    [first, *_] = vault.answers(empty, "risk", "mini")
    assert (first["model_snapshot"], first["provider"], first["input_tokens"], first["input_usd_per_million"]) == ("mini-2026-01-01", "openai-mini", 400, 0.15)
    allow_cloud(empty, allowed=False)


def test_the_question_is_the_edges(tmp_path: Path, empty: Project, stand_in: StandIn) -> None:
    write(dataset(tmp_path, rows(300)), empty)
    vault.record(empty, RecordOptions("risk", baseline(stand_in, is_private=True), log=tmp_path / "calls.jsonl", yes=True))
    body = stand_in.bodies[0]
    assert body["messages"][0]["content"].startswith("You are a productivity coach")
    assert RiskInput.model_validate_json(body["messages"][1]["content"])
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["risk_level", "reasons", "recommended_actions", "confidence"]


def test_what_an_organisation_keeps_from_the_cloud_is_not_shown_to_it(tmp_path: Path, empty: Project, stand_in: StandIn) -> None:
    facts = write(dataset(tmp_path, rows(300)), empty)
    done = vault.record(empty, RecordOptions("risk", baseline(stand_in), log=tmp_path / "calls.jsonl", yes=True))
    assert (done["asked"], done["kept_at_home"], stand_in.asked.total()) == (0, facts["gold"], 0)


def test_faults_are_answers_too(tmp_path: Path, empty: Project, stand_in: StandIn) -> None:
    facts = write(dataset(tmp_path, rows(300)), empty)

    def says(body: dict[str, Any]) -> str:
        match len(stand_in.bodies) % 8:
            case 0:
                return "no JSON \0"
            case 4:
                return "[" * 3000
            case 5:
                return "[1]"
            case 1:
                return '{"risk_level": "critical"}'
            case 2:
                return said_by(body).model_copy(update={"reasons": ["The velocity is low in this task."]}).model_dump_json()
            case _:
                return coach_says(body)

    stand_in.said = says
    done = vault.record(empty, RecordOptions("risk", baseline(stand_in, is_private=True), log=tmp_path / "calls.jsonl", yes=True, concurrency=1))
    faults = {str(line["fault"]).split(":")[0] for line in vault.answers(empty, "risk", "mini") if line["fault"]}
    assert faults == {"not JSON", "not the shape", "rejected"}
    assert done["answers"] + done["faults"] == facts["gold"]


def test_the_vault_asks_one_by_one_and_says_what_was_spent_now(tmp_path: Path, empty: Project, stand_in: StandIn) -> None:
    """A batch would be cheaper, but how long an answer takes is part of the baseline."""
    facts = write(dataset(tmp_path, rows(300)), empty)
    options = RecordOptions("risk", baseline(stand_in, is_private=True, batch_price_factor=0.5), log=tmp_path / "calls.jsonl", yes=True)
    done = vault.record(empty, options)
    assert (stand_in.batches, done["spent_usd"]) == ({}, pytest.approx(facts["gold"] * (400 * 0.15 + 80 * 0.6) / 1e6, abs=1e-6))
    again = vault.record(empty, options)
    assert (again["spent_usd"], again["usd"]) == (0, done["usd"])


def test_a_vault_that_stops_at_its_budget_keeps_what_was_answered(tmp_path: Path, empty: Project, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = write(dataset(tmp_path, rows(300)), empty)
    monkeypatch.setattr(vault, "agree", lambda *_, **__: None)
    private = baseline(stand_in, is_private=True)
    with pytest.raises(OverBudget):
        vault.record(empty, RecordOptions("risk", private, log=tmp_path / "calls.jsonl", budget_usd=0.0025, concurrency=1))
    kept = len(vault.answers(empty, "risk", "mini"))
    assert 0 < kept < facts["gold"]
    assert vault.record(empty, RecordOptions("risk", private, log=tmp_path / "calls.jsonl", budget_usd=1))["asked"] == facts["gold"] - kept
    assert stand_in.asked.total() == facts["gold"]


def test_without_gold_there_is_nothing_to_ask(tmp_path: Path, empty: Project, stand_in: StandIn) -> None:
    with pytest.raises(BrokenRows, match=r"^Cannot record a baseline: no gold set of risk is frozen"):
        vault.record(empty, RecordOptions("risk", baseline(stand_in), log=tmp_path / "calls.jsonl", yes=True))
