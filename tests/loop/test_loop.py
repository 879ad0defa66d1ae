"""The whole loop at tiny size: real Axolotl, real conversion, real llama.cpp, the running local stack, the app's own edge functions.

scripts/test loop sets all of it up. One step from nothing makes a model that the real gates refuse; a few steps on from the
starter adapter make one that passes them, with no gate loosened but the number of examples that are judged, what so few show of
judgement, and the time an answer may take on a busy machine.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stack

from inference.model_store import STARTER
from tests.trainer.tiny_gguf import LLAMA_3_SPECIAL, LLAMA_3_TEMPLATE, write_tiny
from trainer.supabase_client import Project, open_project

ROOT = Path(__file__).resolve().parents[2]
WORK = os.environ.get("LOOP_WORK", "")
pytestmark = pytest.mark.skipif(not WORK, reason="needs .axolotl and the running stack: scripts/test loop")
TINY = ("--judged", "4", "--validation", "4", "--least", "4", "--judgement-margin", "0.5", "--count", "40", "--lease-s", "10", "--p95-ms", "600000", "--work-dir", WORK, "--json")
ON = ("--init", str(STARTER), "--limit", "6")
RISK = {
    "metrics": {
        "task_id": str(uuid.uuid4()), "org_id": str(uuid.uuid4()), "allocated_hours": 1, "elapsed_hours": 3.2, "steps_completed": 5, "total_steps": 6, "progress_ratio": 0.8333333333333334,
        "predicted_delay_hours": 2.84, "base_risk_level": "high", "risk_level": "high", "expected_progress": 1, "velocity": 0.2604,
    },
    "taskTitle": "Fix the Lag in Landing page",
    "employeeContext": {"full_name": "Asha Rao", "role": "employee", "is_micro_task": True, "milestone_triggered": "75_percent"},
}  # fmt: skip
PLAN = {"title": "UI for Career page", "description": "It must have filter by department.", "skills": ["React"], "taskType": "General"}


@pytest.fixture
def project() -> Iterator[Project]:
    with open_project() as project:
        yield project


def begun(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "trainer", "run", *TINY, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*words: str) -> tuple[int, dict[str, Any], str]:
    """Waits for a holder that was killed: its lease ends first."""
    while True:
        with begun(*words) as process:
            out, err = process.communicate()
        if process.returncode != 4:
            return process.returncode, json.loads(out) if out else {}, err
        time.sleep(1)


@pytest.fixture(scope="module")
def headers() -> dict[str, str]:
    """Of a new signed-in user, as the app sends them."""
    key = {"apikey": os.environ["SUPABASE_PUBLISHABLE_KEY"]}
    session = stack.call(f"{os.environ['SUPABASE_URL']}/auth/v1/signup", {"email": f"{uuid.uuid4()}@example.com", "password": "a-long-password"}, key)
    return {**key, "authorization": f"Bearer {session['access_token']}"}


def asked(headers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What the app is told of who answered, by feature: asked again when a busy machine was too slow for the edge's deadline."""
    url = f"{os.environ['SUPABASE_URL']}/functions/v1"
    doors = {"risk": ("analyze-task-risk", RISK, "_meta"), "plan": ("generate-task-plan", PLAN, "ai_metadata")}
    told: dict[str, dict[str, Any]] = {}
    for _ in range(20):
        for feature in set(doors) - set(told):
            door, body, place = doors[feature]
            found = stack.call(f"{url}/{door}", body, headers).get(place, {})
            if found.get("provider") == "slm":
                told[feature] = found
        if set(told) == set(doors):
            return told
    raise AssertionError(f"the model answered only {', '.join(told) or 'nothing'} in 20 tries")


def models(project: Project) -> list[tuple[str, str, str]]:
    return sorted((row["feature"], row["status"], row["name"]) for row in project.rows("slm_models", order="name"))


def test_a_model_of_one_step_is_refused_by_name_and_by_how_much(project: Project, headers: dict[str, str]) -> None:
    before = {feature: told["model"] for feature, told in asked(headers).items()}
    code, result, said = run("--limit", "2")
    assert code == 3, said
    assert any(line.startswith("risk, accepted: 0.000 accepted, at least 0.950 (-0.95)") for line in result["refused"]), result["refused"]
    assert "risk" not in result["promoted"]
    assert said.splitlines()[-len(result["refused"]) - 1 :] == ["Refused:", *result["refused"]]
    assert ("risk", "refused", result["model"]) in models(project)
    assert asked(headers)["risk"]["model"] == before["risk"]
    last = project.rows("slm_training_runs", order="fence", descending=True, limit=1)[0]
    assert (last["status"], last["why"]) == ("refused", "\n".join(result["refused"]))


def test_a_run_that_was_killed_goes_on_and_its_model_answers_in_the_app(project: Project, headers: dict[str, str]) -> None:
    with begun(*ON) as killed:
        while killed.poll() is None and project.rows("slm_training_runs", order="fence", descending=True, limit=1)[0]["stage"] != "export":
            time.sleep(0.2)
        killed.kill()
    died = project.rows("slm_training_runs", order="fence", descending=True, limit=1)[0]
    assert died["status"] == "running"

    code, result, said = run(*ON)
    assert code == 0, said
    assert (result["run"], result["status"]) == (died["id"], "done")
    assert result["promoted"] == ["risk", "plan"]
    answers = asked(headers)
    assert {feature: (told["provider"], told["model"]) for feature, told in answers.items()} == dict.fromkeys(["risk", "plan"], ("slm", result["model"]))

    rows = {row["feature"]: row for row in project.rows("slm_models", order="name") if row["status"] == "active"}
    assert {row["run_id"] for row in rows.values()} == {died["id"]}
    lineage: list[dict[str, Any]] = []
    while not lineage:
        lineage = [row for row in project.rows("slm_answer_lineage", order="answered_at", descending=True) if row["request_id"] == answers["risk"]["request_id"]]
        time.sleep(0.1)
    assert {row["dataset_id"] for row in lineage} == {rows["risk"]["dataset_id"]}
    assert {"train", "test"} <= {row["split"] for row in lineage}
    assert {row["source_table"] for row in lineage if row["origin"] == "snapshot"} == {"task_risk_snapshots"}


def test_another_preset_goes_the_same_way(project: Project, tmp_path: Path) -> None:
    """A random model of Llama 3's kind learns nothing in one step: what it is refused for shows that it came through every stage."""
    base = write_tiny(tmp_path / "llama.gguf", context=8192, special=LLAMA_3_SPECIAL, template=LLAMA_3_TEMPLATE)
    before = models(project)
    code, result, said = run("--preset", "llama-3.2-1b", "--base", str(base), "--device", "cpu", "--limit", "2", "--work-dir", str(tmp_path / "run"))
    assert code == 3, said
    assert result["model"].startswith("llama-3.2-1b-")
    assert not result["promoted"]
    assert not any(verdict["gate"] == "parity" and not verdict["passed"] for found in result["gates"].values() for verdict in found), result["gates"]
    assert set(models(project)) - set(before) == {(feature, "refused", result["model"]) for feature in ("risk", "plan")}


def test_nothing_new_is_said_and_changes_nothing(project: Project) -> None:
    before = models(project)
    code, result, said = run(*ON)
    assert (code, result["status"]) == (0, "nothing_new"), said
    assert models(project) == before
    assert result["answers"] == {feature: name for feature, status, name in before if status == "active"}
