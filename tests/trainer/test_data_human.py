"""What reviewers corrected or agreed on is learned from as a person's answer, under the rules of every other source."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared_schemas.example import Example
from tests.trainer.conftest import _running
from tests.trainer.test_data_split import RISK
from trainer import cli, supabase_client
from trainer.data import split
from trainer.data.report import collect
from trainer.data.row import ROWS, Row, make_row, read_rows, stage_folder, write_rows
from trainer.risk_teacher import risk_examples
from trainer.supabase_client import Project

OPEN, CLOSED = (str(uuid.UUID(int=number)) for number in (0xA1, 0xA2))
ASHA, BELA, CHEN, INES = (str(uuid.UUID(int=number)) for number in (0xE1, 0xE2, 0xE3, 0xE4))
SAID = "Half of your time is gone, and the form still lacks its filter."
EXAMPLES = risk_examples(61, seed=11)
"""Sixty that were asked, and the answer that the private model gave to all of them."""
CORRECTED, AGREED, BOTH, SECRET, OF_INES, GOLD = range(6)


def request_id(number: int) -> str:
    return str(uuid.UUID(int=0x1000 + number))


def said(example: Example, **changes: Any) -> dict[str, Any]:
    return {**example.output.model_dump(mode="json"), **changes}


def unseen(number: int) -> dict[str, Any]:
    """What the private model answered in the shadow."""
    return said(EXAMPLES[number], recommended_actions=EXAMPLES[60].output.model_dump()["recommended_actions"])


@pytest.fixture(scope="module")
def _reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Sixty requests that the cloud answered; two people judged the first six pairs."""
    for environment in _running(tmp_path_factory.mktemp("reviewed")):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with supabase_client.open_project() as project:
                _seed(project)
        yield environment


def _seed(project: Project) -> None:
    project.add("orgs", [{"id": OPEN, "name": "Open"}, {"id": CLOSED, "name": "Closed"}])
    project.add("slm_org_settings", [{"org_id": OPEN, "allow_training": True}, {"org_id": CLOSED, "allow_training": False}], key="org_id")
    for number in range(60):
        org, user = CLOSED if number == SECRET else OPEN, INES if number == OF_INES else ASHA
        asked = EXAMPLES[number].prompt_input.model_dump(mode="json")
        row: dict[str, Any] = {"id": request_id(number), "org_id": org, "user_id": user, "feature": "risk", "prompt_input": asked, "output": said(EXAMPLES[number])}
        row |= {"provider": "cloud", "model": "gpt-4o-mini", "prompt_version": "risk-1/tag", "latency_ms": 900, "created_at": f"2026-10-{1 + number // 3:02}T10:{number:02}:00+00:00"}
        project.add("slm_requests", [row])
    for number, verdict in {CORRECTED: "first", AGREED: "first", BOTH: "both_good", SECRET: "second", OF_INES: "second", GOLD: "first"}.items():
        org, item = CLOSED if number == SECRET else OPEN, str(uuid.UUID(int=0x2000 + number))
        pair = {"id": item, "org_id": org, "feature": "risk", "stratum": "s", "prompt_input": EXAMPLES[number].prompt_input.model_dump(mode="json")}
        pair |= {"first_output": unseen(number), "second_output": said(EXAMPLES[number]), "first_made_by": "slm:m", "second_made_by": "cloud:m"}
        project.add("slm_review_items", [pair | {"source_table": "slm_requests", "source_id": request_id(number)}])
        for place, reviewer in enumerate((BELA, CHEN)):
            corrected = said(EXAMPLES[number], reasons=[SAID]) if number == CORRECTED and reviewer == BELA else None
            review = {"id": str(uuid.UUID(int=0x3000 + 2 * number + place)), "item_id": item, "reviewer": reviewer, "verdict": verdict, "corrected": corrected, "seconds": 20}
            project.add("slm_reviews", [review])


@pytest.fixture
def reviewed(_reviewed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name, value in _reviewed.items():
        monkeypatch.setenv(name, value)
    with supabase_client.open_project() as project:
        yield project


def cleaned(work: Path) -> tuple[dict[str, Any], list[Row]]:
    for stage in ("extract", "clean"):
        assert cli.main(["data", stage, "--feature", "risk", "--work-dir", str(work)]) == 0
    folder = stage_folder(work, "risk", "clean")
    return json.loads((folder / "manifest.json").read_text())["facts"], list(read_rows(folder / ROWS))


def of(rows: list[Row], number: int) -> list[Row]:
    """The rows about one request."""
    return [row for row in rows if any(source.id == request_id(number) for source in row.sources)]


def test_what_people_said_replaces_what_models_said_to_the_same_input(reviewed: Project, tmp_path: Path) -> None:
    facts, rows = cleaned(tmp_path)
    assert facts["by_source"]["human"] == {"kept": 6}
    [corrected], [agreed], both, [gold] = (of(rows, number) for number in (CORRECTED, AGREED, BOTH, GOLD))
    assert {row.origin for row in (corrected, agreed, *both, gold)} == {"human"}
    assert (corrected.output.model_dump()["reasons"], corrected.quality) == ([SAID], {"corrected": 1.0})
    assert agreed.output.model_dump() == unseen(AGREED)
    assert [row.output.model_dump() for row in sorted(both, key=lambda row: row.output != EXAMPLES[BOTH].output)] == [said(EXAMPLES[BOTH]), unseen(BOTH)]
    assert facts["overruled"] == 3, "the cloud's answers to the corrected input, to that where the other was better, and to the gold one"
    assert facts["candidates"] == facts["rows"] + facts["same"] + facts["overruled"] + facts["nearly_same"] + facts["rejected"]
    shown = collect(tmp_path, "risk")
    assert (shown["origins"]["human"], shown["numbers"]["overruled by people"]) == (6, 3)


def test_a_correction_names_who_wrote_it_and_a_verdict_nobody(reviewed: Project, tmp_path: Path) -> None:
    """As a step names its author: forgetting them must reach it. What only judged left nothing of theirs."""
    _, rows = cleaned(tmp_path)
    people = {number: {person for row in of(rows, number) for source in row.sources for person in source.people} for number in (CORRECTED, AGREED)}
    assert people == {CORRECTED: {ASHA, BELA}, AGREED: {ASHA}}
    assert {source.user_id for row in rows for source in row.sources} == {ASHA, INES}
    [row] = of(rows, CORRECTED)
    assert [(source.table, source.created_at[:10]) for source in row.sources] == [("slm_requests", "2026-10-01"), ("slm_review_items", "2026-10-01")], "it is as old as the question"


def test_consent_and_erasure_hold_for_what_people_said(reviewed: Project, tmp_path: Path) -> None:
    facts, rows = cleaned(tmp_path)
    assert not of(rows, SECRET), "its organisation does not let its history train"
    assert json.loads((stage_folder(tmp_path, "risk", "extract") / "manifest.json").read_text())["facts"]["kinds"]["human"] == 6
    assert of(rows, OF_INES)
    reviewed.add("slm_erasures", [{"user_id": INES}], key="user_id")
    try:
        after, rows = cleaned(tmp_path)
        assert (of(rows, OF_INES), after["by_source"]["human"]["kept"]) == ([], facts["by_source"]["human"]["kept"] - 1)
        left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert INES.encode() not in left
    finally:
        reviewed._client.table("slm_erasures").delete().eq("user_id", INES).execute()


def test_people_teach_and_the_gold_set_stays_out_of_training(reviewed: Project, tmp_path: Path) -> None:
    """The input was frozen as gold before anybody judged it: what people made of it since may not train."""
    _, rows = cleaned(tmp_path)
    [judged] = of(rows, GOLD)
    asked = EXAMPLES[GOLD]
    before = make_row("risk", "ledger", asked.prompt_input, asked.output, sources=judged.sources[:1], prompt_version="risk-1/tag")
    folder = stage_folder(tmp_path, "risk", "split")
    write_rows(folder.parent / split.GOLD, [before])
    split.run(stage_folder(tmp_path, "risk", "clean"), folder, RISK)
    places = {name: [row for row in read_rows(folder / f"{name}.jsonl") if row.origin == "human"] for name in split.SPLITS}
    learned = [row for name in ("train", "validation") for row in places[name]]
    assert of(learned, CORRECTED)
    assert of(learned, AGREED)
    assert not [row for found in places.values() for row in of(found, GOLD)]
    aside = [json.loads(line) for line in (folder / split.SET_ASIDE).read_text().splitlines()]
    assert [(one["near"], one["row"]["origin"]) for one in aside if one["row"]["id"] == judged.id] == [(before.id, "human")]
