"""A promotion that is killed at any call to the world outside, or in the middle of one, is ended by the next run: the same end, nothing twice.

The candidate is the starter's weights under another name, with an evaluation of written-down answers; gates, store, service,
database and the app's edge functions are the real ones. scripts/test loop sets them up.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.model_store import STARTER, default_model
from tests.loop.test_loop import ROOT, asked, headers, project
from tests.trainer.judged import good, model, plan_rows, risk_rows
from trainer import registry
from trainer.evaluation.evaluation import evaluate_models
from trainer.gates import Verdict
from trainer.lease import leased
from trainer.run import RunOptions, Trained, _promote
from trainer.supabase_client import Project, open_project

__all__ = ["headers", "project"]
pytestmark = pytest.mark.skipif("LOOP_WORK" not in os.environ, reason="needs the running stack: scripts/test loop")
FEATURES = ("risk", "plan")
IN_THE_MIDDLE_S = 0.03
"""Long enough for a request to be on its way, too short for a model to be loaded."""


def candidate(name: str, tmp_path: Path) -> Trained:
    """What the stages before the gates would have left."""
    folder = tmp_path / name
    manifest = json.loads((STARTER / "manifest.json").read_text())
    manifest["model"]["name"] = folder.name
    whole = registry.make_artifact(folder, {name: STARTER / name for name in ("adapter.gguf", "phrases.txt")}, manifest)
    rows = {feature: [row.model_copy(update={"sources": []}) for row in made] for feature, made in {"risk": risk_rows(20), "plan": plan_rows(20)}.items()}
    judged = [model(name, [*rows["risk"], *rows["plan"]], good)]
    evaluation = evaluate_models(judged, rows, folder=tmp_path / "evaluation")
    passed = [Verdict(gate="accepted", passed=True, by=0.05, text="1.000 accepted, at least 0.950")]
    return Trained(folder, {**whole, "adapter_bytes": (folder / "adapter.gguf").stat().st_size}, dict.fromkeys(FEATURES, "a-dataset"), dict.fromkeys(FEATURES, passed), evaluation)


class Death:
    """Kills this process before its nth call to the world outside, or while that call is at work."""

    def __init__(self, at: int, *, within: bool) -> None:
        self.at, self.within, self.calls = at, within, 0

    def crossing(self) -> None:
        self.calls += 1
        if self.calls != self.at:
            return
        if not self.within:
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Timer(IN_THE_MIDDLE_S, os.kill, (os.getpid(), signal.SIGKILL)).start()

    def stands_at(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.crossing()
            return real(*args, **kwargs)

        setattr(owner, name, guarded)


def promote(candidate: Trained, store: Path, death: Death, told: Any) -> None:
    """What `python -m trainer run` does after its stages, in a process of its own."""
    options = RunOptions(
        features=FEATURES,
        preset="smollm2-135m",
        base=default_model(),
        work=store,
        axolotl=store,
        make_data=lambda *_: {},
        store=os.environ["ARTIFACT_STORE"],
        service=registry.Service(os.environ["INFERENCE_URL"], os.environ["INFERENCE_ADMIN_TOKEN"]),
    )
    with open_project() as project, leased(project, FEATURES, "smollm2-135m", lease_s=600, heartbeat_s=600) as lease:
        death.stands_at(httpx.Client, "send")
        death.stands_at(registry, "_put")
        result = _promote(project, lease, options, candidate, lambda _: None)
    told.put(result)


def in_a_process(candidate: Trained, store: Path, death: Death) -> tuple[int | None, dict[str, Any]]:
    """How it ended, and the result of a promotion that reached its end."""
    fork = multiprocessing.get_context("fork")
    told = fork.SimpleQueue()
    child = fork.Process(target=promote, args=(candidate, store, death, told))
    child.start()
    child.join()
    return child.exitcode, {} if told.empty() else told.get()


def let_go(project: Project) -> None:
    """The dead holder's lease is over."""
    for row in project.rows("slm_training_runs", order="fence"):
        if row["status"] == "running":
            project.update("slm_training_runs", ("id", row["id"]), lease_until="2000-01-01T00:00:00Z")


def active(project: Project) -> dict[str, str]:
    return {row["feature"]: row["name"] for row in project.rows("slm_models", order="name") if row["status"] == "active"}


def live() -> dict[str, str]:
    """By feature, which model the service answers with."""
    told = httpx.get(f"{os.environ['INFERENCE_URL']}/v1/models", headers={"authorization": f"Bearer {os.environ['INFERENCE_TOKEN']}"}).json()["data"]
    return {feature: one["id"] for one in told if one["state"] == "live" for feature in one["features"]}


@pytest.mark.parametrize("within", [True, False], ids=["in the middle of a call", "between two calls"])
def test_a_promotion_that_is_killed_anywhere_ends_as_if_it_never_was(project: Project, headers: dict[str, str], tmp_path: Path, within: bool) -> None:
    new = candidate(f"killed-{'within' if within else 'between'}", tmp_path)
    before, code = active(project), None
    told: dict[str, Any] = {}
    deaths = 0
    while code != 0:
        code, told = in_a_process(new, tmp_path, Death(deaths + 1, within=within))
        let_go(project)
        answering = live()
        assert set(answering) == set(FEATURES), f"killed at call {deaths + 1}: a feature has no model"
        assert all(answering[feature] == name for feature, name in active(project).items() if name == new.name), f"killed at call {deaths + 1}: what `active` names does not answer"
        if code != 0:
            assert code == -signal.SIGKILL
            deaths += 1
    assert told["status"] == "done"
    assert deaths >= 10

    assert active(project) == dict.fromkeys(FEATURES, new.name)
    rows = project.rows("slm_models", order="name")
    assert sorted(row["feature"] for row in rows if row["name"] == new.name) == sorted(FEATURES)
    assert {row["status"] for row in rows if before.get(row["feature"]) == row["name"]} <= {"retired"}
    evaluated = [row for row in project.rows("slm_eval_runs", order="created_at") if row["models"] == [new.name]]
    assert sorted((row["feature"], row["n"]) for row in evaluated) == [("plan", 20), ("risk", 20)]
    stored = Path(os.environ["ARTIFACT_STORE"]) / new.name
    assert {path.name: path.read_bytes() for path in stored.iterdir()} == {path.name: path.read_bytes() for path in new.folder.iterdir()}
    assert {told["model"] for told in asked(headers).values()} == {new.name}


def test_an_operator_goes_back_to_the_model_before(project: Project, headers: dict[str, str]) -> None:
    was = active(project)
    assert models("rollback", "risk") == (0, "risk: killed-within answers again\n")
    assert active(project) == {**was, "risk": "killed-within"} == live()
    assert {feature: told["model"] for feature, told in asked(headers).items()} == active(project)
    assert models("rollback", "risk", "--to", was["risk"]) == (0, f"risk: {was['risk']} answers again\n")
    assert active(project) == was == live()
    code, said = models("rollback", "risk", "--to", "nobody")
    assert code != 0
    assert "nobody" in said
    assert active(project) == was == live()


def models(*words: str) -> tuple[int, str]:
    """`python -m trainer models`: how it ended and what it said."""
    done = subprocess.run([sys.executable, "-m", "trainer", "models", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout or done.stderr
