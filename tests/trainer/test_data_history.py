"""A made-up history goes into a real project, and extract and clean find again what it is worth."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from trainer import cli
from trainer.data.history import make_history
from trainer.data.row import ROWS, read_rows, stage_folder
from trainer.data.seed import check_history, seed_history
from trainer.errors import BrokenRows, ProjectUnreachable
from trainer.supabase_client import Project

SIZE = 240


@pytest.fixture(scope="module")
def seeded(data_lite: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder after the history was written, extracted and cleaned."""
    work = tmp_path_factory.mktemp("seeded")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in data_lite.items():
            patch.setenv(name, value)
        assert cli.main(["data", "seed", "--size", str(SIZE), "--work-dir", str(work)]) == 0
        assert cli.main(["data", "extract", "--work-dir", str(work)]) == 0
        assert cli.main(["data", "clean", "--work-dir", str(work)]) == 0
        yield work


def test_every_trap_and_source_ends_as_the_truth_says(seeded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table that the command prints: precision, recall and the right end, at least 0.99 each."""
    code = cli.main(["data", "check", "--work-dir", str(seeded)])
    print(capsys.readouterr().out)
    report = check_history(seeded)
    assert (code, report.wrong) == (0, [])
    assert set(report.sources) == {"slm_requests", "task_risk_snapshots", "tasks"}
    assert len(report.traps) > 40
    assert min(one.should_be_kept for one in report.sources.values()) > 20


def test_a_wrong_reader_is_found_out(seeded: Path, tmp_path: Path) -> None:
    """The check can fail: kept rows that should not be, and lost ones, both show."""
    for feature in ("risk", "plan"):
        stage_folder(tmp_path, feature, "clean").mkdir(parents=True)
        for name in ("rows.jsonl", "rejected.jsonl"):
            lines = (stage_folder(seeded, feature, "clean") / name).read_text(encoding="utf-8").splitlines(keepends=True)
            (stage_folder(tmp_path, feature, "clean") / name).write_text("".join(lines[1:]), encoding="utf-8")
    (tmp_path / "truth.jsonl").write_bytes((seeded / "truth.jsonl").read_bytes())
    assert len(check_history(tmp_path).wrong) >= 4


def test_every_candidate_is_kept_or_rejected_once(seeded: Path) -> None:
    for feature in ("risk", "plan"):
        facts = [json.loads((stage_folder(seeded, feature, stage) / "manifest.json").read_text())["facts"] for stage in ("extract", "clean")]
        extracted, cleaned = facts
        assert cleaned["candidates"] == extracted["rows"] > 50
        assert cleaned["candidates"] == cleaned["rows"] + cleaned["same"] + cleaned["overruled"] + cleaned["nearly_same"] + cleaned["rejected"]
        assert sum(cleaned["reasons"].values()) == cleaned["rejected"] == len((stage_folder(seeded, feature, "clean") / "rejected.jsonl").read_text().splitlines())


def test_a_kept_row_names_all_that_it_came_from(seeded: Path) -> None:
    rows = [row for feature in ("risk", "plan") for row in read_rows(stage_folder(seeded, feature, "clean") / ROWS)]
    assert {row.origin for row in rows} == {"ledger", "snapshot", "steps"}
    assert all(row.sources and row.cluster for row in rows)
    copies = [row for row in rows if sum(source.table == "tasks" for source in row.sources) == 3]
    assert copies, "the three tasks of a multi-assign are one row"
    assert all(row.copies == 3 for row in copies)
    edited = [row for row in rows if 0 < row.quality.get("kept", 1) < 1]
    assert edited, "what a manager changed is known"


def test_a_second_run_reads_nothing_and_changes_nothing(seeded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in seeded.rglob("rows.jsonl")}
    assert cli.main(["data", "extract", "--work-dir", str(seeded), "--json"]) == 0
    tables = [table for feature in json.loads(capsys.readouterr().out).values() for table in feature["extract"]["tables"].values()]
    assert [table["read"] for table in tables] == [0] * 10, "all that the copy holds is looked after, whatever the feature"
    assert {path: path.read_bytes() for path in seeded.rglob("rows.jsonl")} == before


def test_one_command_makes_a_dataset_of_each_feature(seeded: Path, data_project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """All stages, twice: the second time nothing is done and the datasets are the same."""
    runs = []
    for _ in range(2):
        assert cli.main(["data", "--count", "20", "--work-dir", str(seeded), "--json"]) == 0
        runs.append(json.loads(capsys.readouterr().out))
    assert [list(stages) for stages in runs[0].values()] == [["extract", "clean", "synthesise", "split", "format"]] * 2
    assert all(stages["format"]["splits"]["train"]["rows"] > 10 for stages in runs[0].values())
    assert [stages["format"]["dataset_id"] for stages in runs[0].values()] == [stages["format"]["dataset_id"] for stages in runs[1].values()]
    assert cli.main(["data", "format", "--feature", "plan", "--work-dir", str(seeded)]) == 0
    assert "train" in capsys.readouterr().out


def test_a_rehearsal_of_clean_says_the_same_and_leaves_nothing(seeded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(seeded.rglob("*"))
    assert cli.main(["data", "clean", "--dry-run", "--json", "--work-dir", str(seeded)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["risk"]["clean"]["sha256"] == json.loads((stage_folder(seeded, "risk", "clean") / "manifest.json").read_text())["facts"]["sha256"]
    assert sorted(seeded.rglob("*")) == before
    assert cli.main(["data", "format", "--dry-run", "--work-dir", str(seeded)]) == 1
    assert capsys.readouterr().err.startswith("Cannot rehearse format: ")


def test_a_stage_without_the_one_before_says_what_to_run(data_project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage, before in (("clean", "extract"), ("split", ""), ("format", "")):
        assert cli.main(["data", stage, "--feature", "risk", "--work-dir", str(tmp_path)]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("Cannot ")
        assert before in said.err
        assert said.err.count("\n") == 1


@pytest.mark.parametrize("words", [["--feature", "leave"], ["--limit", "0"], ["--since", "yesterday"], ["extract", "--limit", "x"], ["tidy"]])
def test_a_wrong_word_is_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", *words])
    assert ended.value.code == 2


def test_seeding_twice_adds_nothing(seeded: Path, data_project: Project, tmp_path: Path) -> None:
    before = data_project.ask("slm_history_days", p_relation="task_risk_snapshots")["days"]
    truth = (seeded / "truth.jsonl").read_bytes()
    seed_history(data_project, data_project.url, tmp_path, size=SIZE, seed=1)
    assert data_project.ask("slm_history_days", p_relation="task_risk_snapshots")["days"] == before
    assert (tmp_path / "truth.jsonl").read_bytes() == truth


def test_a_larger_history_begins_with_the_smaller_one() -> None:
    def told(size: int, seed: int) -> list[Any]:
        return [(story.rows, story.truths) for story in islice(make_history(size, seed=seed), 60)]

    assert told(60, 1) == told(90, 1)
    assert told(60, 1) != told(60, 2)


def test_a_made_up_history_never_gets_into_a_real_project(data_project: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectUnreachable, match="only a project on this machine"):
        seed_history(data_project, "https://abc.supabase.co", tmp_path, size=1, seed=1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(BrokenRows, match=r"truth\.jsonl: it is not there \(run `data seed` first\)"):
        check_history(tmp_path)
