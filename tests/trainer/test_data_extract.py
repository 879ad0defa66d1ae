"""The history is read whole, or the run stops: row limits, equal times, late rows, edits, kills, and servers that lie or tire."""

import json
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import stack

from tests.trainer.conftest import _running
from trainer import cli, supabase_client
from trainer.data import clean, extract
from trainer.data.mirror import RELATIONS, UNREADABLE, Mirror, open_mirror, read_json
from trainer.data.row import ROWS, stage_folder
from trainer.data.seed import seed_history
from trainer.errors import HistoryIncomplete, ProjectUnreachable
from trainer.supabase_client import PatientTransport, Project, ProjectSettings

SNAPSHOTS = RELATIONS["task_risk_snapshots"]
NAMESPACE = uuid.UUID(int=7)
ORG, TASK = (str(uuid.uuid5(NAMESPACE, name)) for name in ("org", "task"))
AT = "2026-03-01T10:00:00.123456+00:00"


@pytest.fixture(scope="module", autouse=True)
def _one_task(data_lite: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in data_lite.items():
            patch.setenv(name, value)
        with supabase_client.open_project() as project:
            project.add("orgs", [{"id": ORG, "name": "O"}])
            project.add("slm_org_settings", [{"org_id": ORG, "allow_training": True}], key="org_id")
            project.add("tasks", [{"id": TASK, "title": "UI for Career page", "org_id": ORG, "allocated_hours": 8, "created_at": AT}])


@pytest.fixture
def mirror(tmp_path: Path, data_project: Project) -> Iterator[Mirror]:
    with open_mirror(tmp_path / "mirror", data_project.url) as mirror:
        yield mirror


def snapshots(names: Sequence[object], at: str = AT) -> list[dict[str, Any]]:
    return [{"id": str(uuid.uuid5(NAMESPACE, str(name))), "org_id": ORG, "task_id": TASK, "computed_at": at} for name in names]


def in_mirror(mirror: Mirror) -> set[str]:
    return {row_id for (row_id,) in mirror.database.execute("select id from task_risk_snapshots")}


def in_database(project: Project) -> int:
    return sum(count for count, _ in project.ask("slm_history_days", p_relation="task_risk_snapshots")["days"].values())


class Meddled(Project):
    """A project where something happens to each page on its way."""

    def __init__(self, project: Project, happens: Callable[[int, list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        super().__init__(project._client, project.url)
        self.happens = happens
        self.pages = 0

    def ask_rows(self, *args: Any, **rest: Any) -> list[dict[str, Any]]:
        self.pages += 1
        return self.happens(self.pages, super().ask_rows(*args, **rest))


def test_rows_read_equal_the_database_around_the_row_limit(data_project: Project, mirror: Mirror, tmp_path: Path) -> None:
    """All with the same time: only the id tells them apart. Read anew and read on from before give the same."""
    for size in (0, 1, 999, 1000, 1001, 2000, 2001):
        data_project.add("task_risk_snapshots", snapshots(range(size)))
        wanted = {row["id"] for row in snapshots(range(size))}
        assert in_database(data_project) == size
        assert mirror.update(data_project, SNAPSHOTS)["rows"] == size
        with open_mirror(tmp_path / str(size), data_project.url) as fresh:
            assert fresh.update(data_project, SNAPSHOTS) == {"rows": size, "read": size, "later": 0, "withheld": 0}
            assert in_mirror(fresh) == in_mirror(mirror) == wanted


def test_a_server_that_cuts_pages_without_a_word_loses_nothing(data_project: Project, mirror: Mirror) -> None:
    project = Meddled(data_project, lambda _, page: page[:600])
    assert mirror.update(project, SNAPSHOTS)["rows"] == in_database(data_project) == len(in_mirror(mirror))


def test_a_row_that_never_arrives_stops_the_run(data_project: Project, mirror: Mirror) -> None:
    hidden = snapshots([5])[0]["id"]
    project = Meddled(data_project, lambda _, page: [row for row in page if row["id"] != hidden])
    count = in_database(data_project)
    with pytest.raises(HistoryIncomplete, match=rf"Cannot read task_risk_snapshots: 2026-03-01 has {count} rows in the database, {count - 1} arrived, and it was read 5 times"):
        mirror.update(project, SNAPSHOTS)
    assert mirror.update(data_project, SNAPSHOTS)["rows"] == count == len(in_mirror(mirror))


def test_rows_that_come_in_while_others_are_read_are_not_lost(data_project: Project, mirror: Mirror) -> None:
    """Committed late: they carry times that were read already, on two days, before and behind the place of reading."""

    def happens(number: int, page: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if number <= 3:
            data_project.add("task_risk_snapshots", snapshots([f"late {number} {i}" for i in range(4)]) + snapshots([f"other {number}"], "2026-02-27T00:00:00+00:00"))
        return page

    mirror.update(Meddled(data_project, happens), SNAPSHOTS)
    assert len(in_mirror(mirror)) == in_database(data_project)


def test_only_the_days_that_changed_are_read_again(data_project: Project, mirror: Mirror) -> None:
    mirror.update(data_project, SNAPSHOTS)
    data_project.add("task_risk_snapshots", snapshots(["new day"], "2026-04-01T23:59:59.999999+00:00"))
    assert mirror.stale_rows(data_project, SNAPSHOTS) == (1, in_database(data_project))
    assert mirror.update(data_project, SNAPSHOTS)["read"] == 1
    data_project.update("task_risk_snapshots", ("id", snapshots(["new day"])[0]["id"]), risk_level="high")
    assert mirror.update(data_project, SNAPSHOTS)["read"] == 1
    (body,) = mirror.database.execute("select body from task_risk_snapshots where day = '2026-04-01'").fetchone()
    assert json.loads(body)["risk_level"] == "high"


def test_rows_that_are_gone_or_moved_to_another_day_are_forgotten(data_project: Project, mirror: Mirror) -> None:
    data_project.add("task_risk_snapshots", snapshots(["moves"], "2026-04-02T00:00:00+00:00"))
    mirror.update(data_project, SNAPSHOTS)
    data_project.update("task_risk_snapshots", ("id", snapshots(["moves"])[0]["id"]), computed_at="2026-04-03T12:00:00+00:00")
    mirror.update(data_project, SNAPSHOTS)
    days = [day for (day,) in mirror.database.execute("select day from task_risk_snapshots where id = ?", (snapshots(["moves"])[0]["id"],))]
    assert days == ["2026-04-03"]
    assert len(in_mirror(mirror)) == in_database(data_project)


def test_rows_dated_in_the_future_wait_and_are_counted(data_project: Project, mirror: Mirror) -> None:
    before = mirror.update(data_project, SNAPSHOTS)["rows"]
    data_project.add("task_risk_snapshots", snapshots(["tomorrow's clock"], "2999-01-01T00:00:00+00:00"))
    assert mirror.update(data_project, SNAPSHOTS) == {"rows": before, "read": 0, "later": 1, "withheld": 0}


def test_a_row_without_a_place_in_the_calendar_is_read_with_the_whole_table(data_project: Project, mirror: Mirror) -> None:
    data_project.add("task_risk_snapshots", snapshots(["long ago"], "-infinity"))
    assert mirror.update(data_project, SNAPSHOTS)["rows"] == in_database(data_project) == len(in_mirror(mirror))
    assert mirror.update(data_project, SNAPSHOTS)["read"] == 0


def test_a_copy_of_one_project_is_not_used_for_another(data_project: Project, tmp_path: Path) -> None:
    with open_mirror(tmp_path, data_project.url):
        pass
    with pytest.raises(HistoryIncomplete, match=r"it holds the history of http://127.* \(choose another --work-dir\)"), open_mirror(tmp_path, "https://other.example.com"):
        pass


def test_two_runs_do_not_share_a_folder(data_project: Project, tmp_path: Path) -> None:
    with open_mirror(tmp_path, data_project.url), pytest.raises(HistoryIncomplete, match="does another run use it"), open_mirror(tmp_path, data_project.url):
        pass


def test_a_broken_copy_says_what_to_do(data_project: Project, tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(HistoryIncomplete, match="delete it to read the history anew"), open_mirror(tmp_path, data_project.url):
        pass


def test_the_copy_is_its_owners_alone(data_project: Project, tmp_path: Path) -> None:
    with open_mirror(tmp_path, data_project.url):
        assert (tmp_path / "history.sqlite").stat().st_mode & 0o077 == 0


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(data_lite: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of a run that nothing happened to."""
    work = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in data_lite.items():
            patch.setenv(name, value)
        with supabase_client.open_project() as project:
            seed_history(project, project.url, work, size=60, seed=3)
        for stage in ("extract", "clean"):
            assert cli.main(["data", stage, "--feature", "risk", "--work-dir", str(work)]) == 0
    return work


def killed_at(target: Any, name: str, call: int, words: Sequence[str]) -> int | None:
    """Run a command in a process of its own that is killed (SIGKILL) at the given call of a function. Returns how it ended."""
    real, calls = getattr(target, name), [0]

    def counted(*args: Any, **rest: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **rest)

    def command() -> None:
        setattr(target, name, counted)
        os._exit(cli.main(words))

    process = multiprocessing.get_context("fork").Process(target=command)
    process.start()
    process.join(120)
    return process.exitcode


@pytest.mark.parametrize(
    ("target", "name", "call"),
    [
        (Project, "ask_rows", 1),
        (Project, "ask_rows", 4),
        (Mirror, "_end_reading", 2),
        (extract, "read_people", 1),
        (extract, "_source", 150),
        (extract, "run_stage", 1),
        (clean, "judge", 60),
        (clean, "find_near", 1),
        (clean, "copies", 30),
        (os, "replace", 1),
        (os, "replace", 2),
    ],
    ids=lambda value: value if isinstance(value, str | int) else value.__name__,
)
def test_a_killed_run_ends_with_the_same_hash_when_run_again(data_project: Project, whole: Path, tmp_path: Path, target: Any, name: str, call: int) -> None:
    stages = [["data", stage, "--feature", "risk", "--work-dir", str(tmp_path)] for stage in ("extract", "clean")]
    assert -signal.SIGKILL in [killed_at(target, name, call, words) for words in stages]
    assert [cli.main(words) for words in stages] == [0, 0]
    for stage in ("extract", "clean"):
        first, second = (stage_folder(work, "risk", stage) for work in (whole, tmp_path))
        assert (first / ROWS).read_bytes() == (second / ROWS).read_bytes()
        assert json.loads((first / "manifest.json").read_text())["facts"]["sha256"] == json.loads((second / "manifest.json").read_text())["facts"]["sha256"]
        assert sorted(path.name for path in second.iterdir()) == sorted(path.name for path in first.iterdir()), "nothing half made is left"


def test_a_killed_reading_goes_on_where_it_was(data_project: Project, tmp_path: Path) -> None:
    rows = in_database(data_project)
    words = ["data", "extract", "--feature", "risk", "--work-dir", str(tmp_path)]
    assert killed_at(Project, "ask_rows", 7, words) == -signal.SIGKILL
    with open_mirror(tmp_path, data_project.url) as mirror:
        kept = len(in_mirror(mirror))
        read = mirror.update(data_project, SNAPSHOTS)["read"]
        assert len(in_mirror(mirror)) == rows
    assert 0 < kept < rows
    assert read < rows


# --- consent and options ------------------------------------------------------------------------------------------------


def test_consent_that_is_taken_back_and_people_who_are_forgotten_leave_the_next_run(data_project: Project, tmp_path: Path) -> None:
    seed_history(data_project, data_project.url, tmp_path, size=60, seed=3)

    def extracted() -> dict[str, Any]:
        assert cli.main(["data", "extract", "--feature", "risk", "--work-dir", str(tmp_path)]) == 0
        facts: dict[str, Any] = json.loads((stage_folder(tmp_path, "risk", "extract") / "manifest.json").read_text())["facts"]
        return facts

    def on_disk() -> str:
        with open_mirror(tmp_path, data_project.url) as mirror:
            return "\n".join(mirror.database.iterdump())

    closed, strangers = str(uuid.uuid5(NAMESPACE, "closed")), str(uuid.uuid5(NAMESPACE, "stranger"))
    data_project.add("orgs", [{"id": closed, "name": "Closed"}])
    data_project.add("profiles", [{"id": strangers, "full_name": "Nobody's Business", "org_id": closed}])
    data_project.add("tasks", [{"id": closed, "title": "A secret of theirs", "org_id": closed, "created_at": AT}])
    before = extracted()
    folder = stage_folder(tmp_path, "risk", "extract")
    assert "A secret of theirs" not in on_disk()
    assert "Nobody's Business" not in (folder / "people.jsonl").read_text()
    lines = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
    person = next(line["sources"][0]["people"][0] for line in lines if line["kind"] == "snapshot" and line["sources"][0]["people"])
    assert person in on_disk()
    data_project.add("slm_erasures", [{"user_id": person}], key="user_id")
    fewer = extracted()
    assert 0 < fewer["rows"] < before["rows"]
    assert person not in (folder / ROWS).read_text() + on_disk()
    assert person.encode() not in (tmp_path / "history.sqlite").read_bytes()
    allowed = [settings["id"] for settings in data_project.rows("slm_org_settings", order="id") if settings["allow_training"]]
    for settings in allowed:
        data_project.update("slm_org_settings", ("id", settings), allow_training=False)
    none = extracted()
    assert (none["rows"], (folder / "people.jsonl").read_text()) == (0, "")
    assert "insert into" not in on_disk().lower().replace('insert into "project"', "").replace('insert into "readings"', "")
    for settings in allowed:
        data_project.update("slm_org_settings", ("id", settings), allow_training=True)
    data_project._client.table("slm_erasures").delete().eq("user_id", person).execute()


def test_a_run_for_one_feature_takes_a_forgotten_persons_rows_of_the_other_too(data_project: Project, tmp_path: Path) -> None:
    with open_mirror(tmp_path, data_project.url) as mirror:
        extract.update_mirror(mirror, data_project, "plan")
        extract.update_mirror(mirror, data_project, "risk")
        (person,) = mirror.database.execute("select json_extract(body, '$.people[0]') from task_steps where json_array_length(body, '$.people') > 0").fetchone()
        data_project.add("slm_erasures", [{"user_id": person}], key="user_id")
        assert "task_steps" in extract.update_mirror(mirror, data_project, "risk")
        assert not [name for name in RELATIONS for (body,) in mirror.database.execute(f"select body from {name}") if person in body]
    data_project._client.table("slm_erasures").delete().eq("user_id", person).execute()


def test_what_is_left_on_disk_is_its_owners_alone(data_project: Project, tmp_path: Path) -> None:
    work = tmp_path / "work"
    for stage in ("extract", "clean"):
        assert cli.main(["data", stage, "--feature", "risk", "--work-dir", str(work)]) == 0
    assert [path for path in [work, *work.rglob("*")] if path.stat().st_mode & 0o077] == []


def test_an_older_copy_is_emptied(data_project: Project, tmp_path: Path) -> None:
    """It was made when the database did not say yet what may be read."""
    with open_mirror(tmp_path, data_project.url) as mirror:
        mirror.update(data_project, SNAPSHOTS)
        mirror.database.execute("pragma user_version = 1")
    with open_mirror(tmp_path, data_project.url) as mirror:
        assert in_mirror(mirror) == set()
        assert mirror.update(data_project, SNAPSHOTS)["read"] > 0


def test_since_and_limit_bound_what_is_handed_on(data_project: Project, tmp_path: Path) -> None:
    words = ["data", "extract", "--feature", "risk", "--work-dir", str(tmp_path)]
    assert cli.main([*words, "--limit", "5"]) == 0
    facts = json.loads((stage_folder(tmp_path, "risk", "extract") / "manifest.json").read_text())["facts"]
    assert facts["kinds"] == {"ledger": 5, "snapshot": 5}
    assert cli.main([*words, "--since", "2026-07-01"]) == 0
    days = [json.loads(line)["sources"][0]["created_at"] for line in (stage_folder(tmp_path, "risk", "extract") / ROWS).read_text().splitlines()]
    assert min(days) >= "2026-07-01"


def test_a_dry_run_says_what_would_be_read_and_leaves_no_result(data_project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "extract", "--dry-run", "--json", "--work-dir", str(tmp_path)]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["task_risk_snapshots"] == {"would_read": in_database(data_project), "rows": in_database(data_project)}
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


# --- bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"SUPABASE_SECRET_KEY": "sb_secret_wrong"}, "Cannot call slm_history_days: "),
        ({"SUPABASE_SECRET_KEY": "SUPABASE_PUBLISHABLE_KEY"}, "Cannot call slm_history_days: permission denied for function slm_history_days (42501)"),
        ({"SUPABASE_URL": "http://127.0.0.1:1"}, "Cannot call slm_history_days: "),
    ],
)
def test_a_key_or_address_that_does_not_do_gives_one_line(
    data_project: Project, data_lite: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], error: str
) -> None:
    monkeypatch.setitem(ProjectSettings.model_config, "env_file", None)
    monkeypatch.setattr(supabase_client, "WAITS_S", (0.0,))
    for name, value in changes.items():
        monkeypatch.setenv(name, data_lite.get(value, value))
    assert cli.main(["data", "extract", "--work-dir", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(error)
    assert said.err.count("\n") == 1


@pytest.fixture(scope="module")
def changed_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A project whose app has dropped a table and renamed a column."""
    later = tmp_path_factory.mktemp("later")
    (later / "29991231000000_changed.sql").write_text("drop table public.task_risk_snapshots; alter table public.tasks rename column title to name;")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "MIGRATIONS", (*stack.MIGRATIONS, later))
        yield from _running(tmp_path_factory.mktemp("changed"))


@pytest.mark.parametrize(
    ("relation", "error"),
    [
        ("tasks", "Cannot call slm_history_days: .*column task.title does not exist"),
        ("task_risk_snapshots", 'Cannot call slm_history_days: (.*relation "public.task_risk_snapshots" does not exist|Could not find the relation)'),
    ],
)
def test_a_database_of_another_shape_gives_one_line(changed_lite: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, relation: str, error: str) -> None:
    monkeypatch.setattr(supabase_client, "WAITS_S", ())
    for name, value in changed_lite.items():
        monkeypatch.setenv(name, value)
    with supabase_client.open_project() as project, open_mirror(tmp_path, project.url) as mirror, pytest.raises(ProjectUnreachable, match=error) as caught:
        mirror.update(project, RELATIONS[relation])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "body"), [("text/html", b"<html>It works!</html>"), ("application/json", b""), ("application/json", b"[1, 2]"), ("application/json", b'"yes"'), ("application/json", b"[" * 100_000)]
)
def test_a_server_that_is_no_project_gives_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, body: bytes) -> None:
    """It says 200 to everything: an empty answer must not pass for an empty table."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("SUPABASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_x")
        assert cli.main(["data", "extract", "--work-dir", str(tmp_path)]) == 1
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert said.err.startswith("Cannot call slm_history_days: the answer ")
        with supabase_client.open_project() as project:
            with pytest.raises(ProjectUnreachable, match=r"^Cannot read profiles: the answer "):
                project.page("profiles", "id")
            with pytest.raises(ProjectUnreachable, match=r"^Cannot read slm_erasures: the answer "):
                project.rows("slm_erasures", order="user_id")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- what anybody may have written ------------------------------------------------------------------------------------


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1e400}',
        '{"a": -1e400}',
        '{"a": NaN}',
        f'{{"a": {"9" * 5000}}}',
        f'{{"a": {"9" * 401}}}',
        nested(21),
        nested(210),
        nested(1000),
        nested(9000),
        "[" * 60_000,
        f'"{"x" * 70_000}"',
        '{"cut of',
    ],
)
def test_json_that_nobody_could_have_been_sent_is_marked(text: str) -> None:
    assert set(read_json(text)) == {UNREADABLE}


@pytest.mark.parametrize("value", [None, [], {"a": [1, -2.5, 1e300, "x", None, True]}, "text", 7, json.loads(nested(20))])
def test_other_json_is_read_as_it_is(value: Any) -> None:
    assert read_json(json.dumps(value)) == value


def test_one_poisoned_row_stops_nothing(data_project: Project, tmp_path: Path) -> None:
    """It is counted as what it is; every other row ends as before."""
    cases = {"deep": json.loads(nested(400)), "long": {"reasons": ["x" * 200_000]}, "fine": {"reasons": ["Nothing was done yet."]}}
    rows = [{**snapshots([name], "2026-05-05T00:00:00+00:00")[0], "reasons": ["Nothing was done yet."], "raw_llm_response": raw} for name, raw in cases.items()]
    data_project.add("task_risk_snapshots", rows)
    for stage in ("extract", "clean"):
        assert cli.main(["data", stage, "--feature", "risk", "--work-dir", str(tmp_path)]) == 0
    rejected = [json.loads(line) for line in (stage_folder(tmp_path, "risk", "clean") / "rejected.jsonl").read_text().splitlines()]
    ends = {one["candidate"]["sources"][0]["id"]: one["reason"] for one in rejected}
    assert {name: ends[row["id"]] for name, row in zip(cases, rows, strict=True)} == {"deep": "unreadable", "long": "unreadable", "fine": "inconsistent"}
    assert len(ends) > 20


def test_a_page_is_bounded_in_bytes(data_project: Project, mirror: Mirror) -> None:
    """What memory holds at once: some 4 MB of rows, however large each is."""
    rows = [{**row, "raw_llm_response": {"x": "y" * 60_000}} for row in snapshots([f"large {i}" for i in range(150)], "2026-06-06T00:00:00+00:00")]
    data_project.add("task_risk_snapshots", rows)
    sizes: list[int] = []

    def weighed(_: int, page: list[dict[str, Any]]) -> list[dict[str, Any]]:
        sizes.append(len(json.dumps(page)))
        return page

    mirror.update(Meddled(data_project, weighed), SNAPSHOTS)
    assert len(in_mirror(mirror)) == in_database(data_project)
    assert 3_000_000 < max(sizes) < 4_500_000
    for row in rows:
        data_project._client.table("task_risk_snapshots").delete().eq("id", row["id"]).execute()


def test_rows_that_are_deleted_while_they_are_read_are_not_kept(data_project: Project, mirror: Mirror) -> None:
    """A whole day of them: the database does not name that day any more."""
    rows = snapshots([f"short-lived {i}" for i in range(6)], "2026-06-07T00:00:00+00:00")
    mirror.update(data_project, SNAPSHOTS)
    data_project.add("task_risk_snapshots", rows)

    def happens(number: int, page: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in rows if number == 1 else ():
            data_project._client.table("task_risk_snapshots").delete().eq("id", row["id"]).execute()
        return page

    facts = mirror.update(Meddled(data_project, happens), SNAPSHOTS)
    assert facts["rows"] == in_database(data_project) == len(in_mirror(mirror))


def test_a_copy_with_more_rows_than_the_database_stops_the_run(data_project: Project, mirror: Mirror) -> None:
    mirror.update(data_project, SNAPSHOTS)
    day = mirror.database.execute("select day from task_risk_snapshots").fetchone()[0]
    with mirror.database:
        mirror.database.execute("insert into task_risk_snapshots (id, day, body) values ('stray', ?, '{}')", (day,))
    with pytest.raises(HistoryIncomplete, match=r"the copy holds \d+ rows, the database \d+"):
        mirror.update(data_project, SNAPSHOTS)


def test_a_description_of_ten_megabytes_is_counted_and_harms_nothing(data_project: Project, tmp_path: Path) -> None:
    task, org = (str(uuid.uuid5(NAMESPACE, name)) for name in ("large", "large org"))
    data_project.add("orgs", [{"id": org, "name": "L"}])
    data_project.add("slm_org_settings", [{"org_id": org, "allow_training": True}], key="org_id")
    data_project.add("tasks", [{"id": task, "title": "Large", "description": "x" * 10_000_000, "org_id": org, "ai_metadata": {"model": "gpt-4o-mini"}, "created_at": AT}])
    step = {"id": str(uuid.uuid5(NAMESPACE, "large step")), "org_id": org, "task_id": task, "stage_id": "deployment", "step_title": "Send it out", "created_by_role": "manager", "created_at": AT}
    data_project.add("task_steps", [step])
    for stage in ("extract", "clean"):
        assert cli.main(["data", stage, "--feature", "plan", "--work-dir", str(tmp_path)]) == 0
    rejected = [json.loads(line) for line in (stage_folder(tmp_path, "plan", "clean") / "rejected.jsonl").read_text().splitlines()]
    assert [one["reason"] for one in rejected if one["candidate"]["sources"][0]["id"] == task] == ["too_large"]


# --- patience -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tired(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str], list[int]]]:
    """A server that answers with the given codes in turn (0: it hangs up), then with 200. Its address, what was asked, its codes."""
    asked: list[str] = []
    codes: list[int] = []
    monkeypatch.setattr(supabase_client, "WAITS_S", (0.0, 0.0, 0.0))

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append(self.command)
            code = codes.pop(0) if codes else 200
            if code == 0:
                self.close_connection = True
                return
            self.send_response(code)
            self.send_header("retry-after", "0")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked, codes
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("trouble", [[429], [503, 502], [500, 429, 504], [0, 503, 0]])
def test_a_busy_server_is_asked_again(tired: tuple[str, list[str], list[int]], trouble: list[int]) -> None:
    url, asked, codes = tired
    codes += trouble
    with httpx.Client(transport=PatientTransport()) as client:
        assert client.get(url).status_code == 200
    assert len(asked) == len(trouble) + 1


def test_patience_ends(tired: tuple[str, list[str], list[int]]) -> None:
    url, asked, codes = tired
    codes += [503] * 9
    with httpx.Client(transport=PatientTransport()) as client:
        assert client.get(url).status_code == 503
    assert len(asked) == 4


def test_what_could_be_done_twice_is_not_asked_again(tired: tuple[str, list[str], list[int]]) -> None:
    url, asked, codes = tired
    codes += [503, 503]
    with httpx.Client(transport=PatientTransport()) as client:
        assert client.post(url, json={}).status_code == 503
        assert client.post(url, json={}, headers={"prefer": "resolution=ignore-duplicates"}).status_code == 200
    assert asked == ["POST"] * 3
