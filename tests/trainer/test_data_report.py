"""The report shows every stage of a real run, in one file that asks nothing of a network and runs nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.trainer.test_data_split import RISK, history, stage
from trainer.cli import main
from trainer.data import report, split, synthesise
from trainer.data.row import REJECTED, write_lines
from trainer.data.synthesise import SynthesiseOptions
from trainer.stage import read_manifest
from trainer.supabase_client import Project


class Page(HTMLParser):
    """Texts, tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []


def page(work: Path) -> Page:
    report.write_report(work, work / "report.html")
    return Page((work / "report.html").read_text(encoding="utf-8"))


def test_the_whole_pipeline_is_shown(tmp_path: Path, data_project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    work = str(tmp_path)
    assert main(["data", "seed", "--size", "200", "--work-dir", work]) == 0
    assert main(["data", "--work-dir", work, "--count", "150"]) == 0
    assert main(["report", "--work-dir", work]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "report.html")
    shown = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = "\n".join(shown.texts)
    assert all(
        part in text for part in ("risk", "plan", "Left out by cleaning", "Coverage: level and progress by milestone", "Leakage", "no leak is left", "Length of the training conversations", "left out")
    )
    facts = {stage: read_manifest(tmp_path / "risk" / stage)["facts"] for stage in report.STAGES}
    assert all(f"{number:,}" in shown.texts for number in (facts["clean"]["rows"], facts["split"]["rows"]["train"], facts["extract"]["rows"]))
    assert {reason.replace("_", " ") for reason in facts["clean"]["reasons"]} <= set(shown.texts)
    by_source = facts["clean"]["by_source"]
    assert sum(counts.get("kept", 0) for counts in by_source.values()) == facts["clean"]["candidates"] - facts["clean"]["rejected"]
    assert {*by_source, "kept"} <= set(shown.texts)
    assert facts["format"]["dataset_id"] in shown.texts


def test_the_page_fetches_nothing_and_runs_nothing(tmp_path: Path) -> None:
    """Also where a title tries to: it is text."""
    rows = history(60)
    evil = rows[0].model_copy(update={"cell": "low|under_5h|all_done|none|micro|plain"})
    synthesise.run(stage(tmp_path / "risk" / "clean", [evil, *rows[1:]]), tmp_path / "risk" / "synthesise", SynthesiseOptions(feature="risk", count=30))
    attack = '{"reason": "schema", "detail": "<script>alert(1)</script>", "row": {"prompt_input": {"title": "<img src=x onerror=alert(1)>", "description": "\\ud800"}, "output": {"suggested_plan": "none", "reasons": 5}}}'
    split.run(tmp_path / "risk" / "synthesise", tmp_path / "risk" / "split", RISK)
    write_lines(tmp_path / "risk" / "synthesise" / REJECTED, [attack])
    shown = page(tmp_path)
    assert {"script", "img", "link", "iframe", "object"}.isdisjoint(shown.tags)
    assert not [value for name, value in shown.attributes if name in {"src", "href"} or "url(" in value]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in shown.attributes
    assert not re.search(r"@import|url\(", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "schema: <script>alert(1)</script>" in shown.texts
    assert "<img src=x onerror=alert(1)>" in shown.texts
    assert any(line.startswith("Not there: extract, format") for line in shown.texts)


def test_what_was_left_out_is_shown_without_personal_data(tmp_path: Path) -> None:
    stage(tmp_path / "risk" / "clean", history(20))
    (tmp_path / "risk" / "extract").mkdir()
    (tmp_path / "risk" / "extract" / "people.jsonl").write_text('["o1", ["Asha Rao"]]\n', encoding="utf-8")
    line = '{"reason": "jargon", "detail": "said so", "candidate": {"org_id": "o1", "found": {"task": {"title": "Ask Asha Rao, asha@example.com"}, "snapshot": {"reasons": ["Asha Rao is slow."]}}}}'
    write_lines(tmp_path / "risk" / "clean" / REJECTED, [line])
    text = "\n".join(page(tmp_path).texts)
    assert "Asha" not in text
    assert "asha@" not in text
    assert "is slow." in text


@pytest.mark.parametrize("secret", ["asha.rao@example.com", "+91 98765 43210", "Asha Rao"])
def test_a_long_text_is_cut_only_once_personal_data_is_out(tmp_path: Path, secret: str) -> None:
    """Wherever the cut falls, no half of it is shown."""
    stage(tmp_path / "risk" / "clean", history(20))
    (tmp_path / "risk" / "extract").mkdir()
    (tmp_path / "risk" / "extract" / "people.jsonl").write_text('["o1", ["Asha Rao"]]\n', encoding="utf-8")
    for before in range(200, 222, 3):
        title = "x " * (before // 2) + secret + " and what follows it"
        line = json.dumps({"reason": "jargon", "detail": "", "candidate": {"org_id": "o1", "found": {"task": {"title": title}}}})
        write_lines(tmp_path / "risk" / "clean" / REJECTED, [line])
        text = "\n".join(page(tmp_path).texts)
        assert not re.search(r"ash|rao|\+91|987", text, re.I)


def test_without_any_stage_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--work-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"Cannot report on {tmp_path}: no stage has run there (run python -m trainer data)\n"
    assert not (tmp_path / "report.html").exists()
