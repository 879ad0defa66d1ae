"""One run at a time: a holder that is killed is taken over, and what it left undone cannot be written by it any more.

LEASE_KILLS sets how many holders die in a row without a word (default 20; limits.md R12 asks for 1,000).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import ProjectUnreachable, RunAtWork, RunLost, TrainerError
from trainer.lease import Lease, leased
from trainer.supabase_client import Project

KILLS = int(os.environ.get("LEASE_KILLS", "20"))
ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, Any] = {"features": ["risk"], "preset": "tiny"}


@contextmanager
def no_project() -> Iterator[Project]:
    raise ProjectUnreachable("Cannot reach the project: its network is gone")
    yield


@contextmanager
def losing(why: str) -> Iterator[None]:
    """The block loses its run, and hears why."""
    heard = None
    try:
        yield
    except RunLost as error:
        heard = str(error)
    assert heard is not None
    assert why in heard


@pytest.fixture(autouse=True)
def _nobody_at_work(data_project: Project) -> None:
    for row in data_project.rows("slm_training_runs", order="fence"):
        if row["status"] == "running":
            data_project.update("slm_training_runs", ("id", row["id"]), lease_until="2000-01-01T00:00:00Z")


def last_run(project: Project) -> dict[str, Any]:
    return project.rows("slm_training_runs", order="fence", descending=True, limit=1)[0]


def shown(project: Project, wanted: str, value: object) -> dict[str, Any]:
    while last_run(project)[wanted] != value:
        time.sleep(0.02)
    return last_run(project)


def test_a_run_shows_where_it_is_and_gives_the_lease_back(data_project: Project) -> None:
    with leased(data_project, **TINY, heartbeat_s=0.05) as lease:
        lease.enter("data", dataset_ids=["d"])
        first = shown(data_project, "stage", "data")
        lease.note(step=3, loss=0.5)
        while "step" not in last_run(data_project)["progress"]:
            time.sleep(0.02)
        now = last_run(data_project)
        assert (now["progress"]["loss"], now["dataset_ids"], now["status"]) == (0.5, ["d"], "running")
        assert now["heartbeat_at"] > first["heartbeat_at"]
        with pytest.raises(RunAtWork, match=r"^A run is at work already: .*, in data, last heard of at 2"), leased(data_project, **TINY):
            pass
        lease.finish("done", manifest={"key": "k"})
    assert (last_run(data_project)["status"], last_run(data_project)["manifest"]) == ("done", {"key": "k"})
    with leased(data_project, **TINY) as lease:
        assert lease.taken_from is None
        lease.finish("nothing_new")


def test_what_goes_wrong_ends_the_run_as_failed_with_why(data_project: Project) -> None:
    with pytest.raises(TrainerError), leased(data_project, **TINY):
        raise TrainerError("Cannot train: the disk is full")
    assert (last_run(data_project)["status"], last_run(data_project)["why"]) == ("failed", "Cannot train: the disk is full")


def test_a_killed_holder_is_taken_over_within_its_lease_and_one_heartbeat(data_project: Project, data_lite: dict[str, str]) -> None:
    """A slow machine makes the new holder late, never early: that the lease was over is what is tested."""
    lease_s, heartbeat_s = 2.0, 0.2
    command = [sys.executable, str(ROOT / "tests" / "trainer" / "hold_lease.py"), str(lease_s), str(heartbeat_s)]
    with subprocess.Popen(command, env={**os.environ, **data_lite, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        fence = int(holder.stdout.readline())
        shown(data_project, "stage", "fine-tune")
        while "step" not in last_run(data_project)["progress"]:
            time.sleep(0.02)
        with pytest.raises(RunAtWork), leased(data_project, **TINY):
            pass
        holder.send_signal(signal.SIGKILL)
    last_word = last_run(data_project)
    while True:
        try:
            with leased(data_project, **TINY) as lease:
                took_at = last_run(data_project)["heartbeat_at"]
                assert (lease.fence, lease.run) == (fence + 1, last_word["id"])
                assert str(lease.taken_from).startswith(last_word["holder"])
                assert last_run(data_project)["progress"]["step"] == last_word["progress"]["step"], "the run goes on where it was"
                lease.finish("done")
            break
        except RunAtWork:
            time.sleep(heartbeat_s)
    assert took_at >= last_word["lease_until"]


def test_a_stale_writer_is_fenced_off(data_project: Project) -> None:
    with losing("was taken over by"), leased(data_project, **TINY, heartbeat_s=60) as stale:
        data_project.update("slm_training_runs", ("id", stale.run), lease_until="2000-01-01T00:00:00Z")
        with leased(data_project, **TINY) as fresh:
            assert (fresh.run, fresh.fence) == (stale.run, stale.fence + 1)
            model = {"name": f"m-{stale.run}", "feature": "risk", "prompt_version": "p", "bytes": 1}
            with pytest.raises(RunLost, match=rf"^Cannot go on: training run .* was taken over by .* \(fence {fresh.fence}, yours is {stale.fence}\)"):
                stale.write("slm_register_model", p_model=model)
            with pytest.raises(RunLost):
                stale.note(step=1)
            assert [row for row in data_project.rows("slm_models", order="name") if row["name"] == model["name"]] == []
            fresh.finish("done")
        stale.finish("failed")
    assert last_run(data_project)["status"] == "done", "losing a run does not end it"


def test_a_lost_lease_is_heard_from_the_heartbeat(data_project: Project) -> None:
    with losing("was taken over by"), leased(data_project, **TINY, heartbeat_s=0.05) as stale:
        data_project.update("slm_training_runs", ("id", stale.run), lease_until="2000-01-01T00:00:00Z", fence=stale.fence + 1, holder="another")
        while True:
            stale.note(step=1)
            time.sleep(0.02)
    data_project.update("slm_training_runs", ("id", stale.run), status="failed", ended_at="2026-01-01T00:00:00Z")


def test_who_can_tell_nobody_stops_by_itself(data_project: Project) -> None:
    with losing("nobody could be told for 0 s"), leased(data_project, **TINY, lease_s=0.3, heartbeat_s=0.05, opened=no_project) as lease:
        while True:
            lease.check()
            time.sleep(0.02)


def test_many_holders_die_in_a_row_and_nothing_is_done_twice(data_project: Project) -> None:
    """Each holder dies without a word after or before its one write; whoever comes next does what is missing."""
    project, done = data_project, 0
    name = f"m-{time.time_ns()}"
    stale: list[Lease] = []
    fences = []
    for kill in range(KILLS):
        got = project.call("slm_take_training_lease", p_holder=f"holder {name} {kill}", p_features=["risk"], p_preset="tiny", p_lease_s=0, p_manifest={})
        assert got["taken"]
        fences.append(got["fence"])
        lease = Lease(project, got["run"], got["fence"], lease_s=60, taken_from=got["from"], told_at=time.monotonic())
        if kill % 3 != 1:
            lease.write("slm_register_model", p_model={"name": name, "feature": "risk", "prompt_version": "p", "bytes": 1})
            done += lease.write("slm_promote_model", p_name=name, p_features=["risk"]) == ["risk"]
        if stale:
            with pytest.raises(RunLost):
                stale.pop().write("slm_promote_model", p_name=name, p_features=["risk"])
        stale.append(lease)
    runs = {row["id"] for row in project.rows("slm_training_runs", order="fence") if row["holder"].startswith(f"holder {name}")}
    models = [row for row in project.rows("slm_models", order="name") if row["name"] == name]
    assert fences == list(range(fences[0], fences[0] + KILLS))
    assert (done, len(runs), [row["status"] for row in models]) == (1, 1, ["active"])
