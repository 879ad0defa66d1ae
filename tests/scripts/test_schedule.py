"""What runs the loop at night is well formed, and each command in it is one that the trainer has."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer import cli

ROOT = Path(__file__).resolve().parents[2]
SCHEDULE = ROOT / "scripts" / "schedule"
FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))


def check_cron(fields: str) -> None:
    """Five fields of numbers, ranges, lists and steps, each within its bounds (crontab(5))."""
    parts = fields.split()
    assert len(parts) == 5, fields
    for part, (name, low, high) in zip(parts, FIELDS, strict=True):
        for item in part.split(","):
            found = re.fullmatch(r"(\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", item)
            assert found, f"{name}: {item}"
            assert all(low <= int(number) <= high for number in found.groups()[1:3] if number), f"{name}: {item}"


def crontab_lines() -> list[str]:
    return [line for line in (SCHEDULE / "crontab").read_text().splitlines() if line and not line.startswith("#")]


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((SCHEDULE / "cronjob.yaml").read_text()))


def workflow() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((SCHEDULE / "github-actions.yml").read_text())
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """The words behind `python -m trainer` of every file."""
    texts = [("crontab", line) for line in crontab_lines()]
    texts += [("service", line) for line in (SCHEDULE / "talentops-trainer.service").read_text().splitlines() if line.startswith("ExecStart=")]
    texts += [("cronjob", shlex.join(manifests()[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]))]
    texts += [("github", step["run"]) for step in workflow()["jobs"]["train"]["steps"] if "trainer" in step.get("run", "")]
    for name, text in texts:
        words = text.partition("python -m trainer ")[2].partition(">>")[0]
        yield name, shlex.split(words)


COMMANDS = list(commands())


def test_every_file_runs_the_loop() -> None:
    assert [name for name, words in COMMANDS if words[0] == "run"] == ["crontab", "service", "cronjob", "github"]


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=[f"{name}: {words[0]}" for name, words in COMMANDS])
def test_the_trainer_takes_the_very_words(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0
    assert "usage: python -m trainer" in capsys.readouterr().out


def test_the_command_rehearses_itself_without_a_project(tmp_path: Path) -> None:
    """As a timer would start it, on a machine that is not set up: one clear line."""
    words = [word.replace("%S", str(tmp_path)) for name, command in COMMANDS if name == "service" for word in command]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "trainer", *words, "--dry-run"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Cannot reach the project: SUPABASE_URL, SUPABASE_SECRET_KEY not set (scripts/up writes them into .env.local)\n"


def test_times_are_times() -> None:
    for line in crontab_lines():
        check_cron(" ".join(line.split()[:5]))
    check_cron(manifests()[1]["spec"]["schedule"])
    check_cron(workflow()[True]["schedule"][0]["cron"])  # YAML 1.1 reads `on` as true


@pytest.mark.parametrize("wrong", ["60 2 * * *", "* * * *", "1-61 * * * *", "*/0 * * * *", "x * * * *"])
def test_a_wrong_time_is_seen(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_cron(wrong)


def test_kubernetes_runs_one_at_a_time_and_does_not_try_a_refusal_again() -> None:
    claim, job = manifests()
    assert (claim["kind"], job["apiVersion"], job["kind"], job["spec"]["concurrencyPolicy"]) == ("PersistentVolumeClaim", "batch/v1", "CronJob", "Forbid")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"] == {"containerName": pod["containers"][0]["name"], "operator": "In", "values": [cli.REFUSED, cli.AT_WORK]}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert pod["containers"][0]["volumeMounts"][0]["name"] == pod["volumes"][0]["name"]


def test_the_workflow_keeps_its_secrets_and_its_turn() -> None:
    found = workflow()
    assert (found["concurrency"]["cancel-in-progress"], found["permissions"]) == (False, {"contents": "read"})
    assert all(value.startswith("${{ secrets.") for value in found["jobs"]["train"]["env"].values())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", ["talentops-trainer.service", "talentops-trainer.timer"])
def test_systemd_finds_no_fault_but_the_example_path(unit: str) -> None:
    found = subprocess.run(["systemd-analyze", "verify", str(SCHEDULE / unit)], capture_output=True, text=True, check=False)
    faults = [line for line in found.stderr.splitlines() if "talentops" in line and "is not executable: No such file" not in line]
    assert faults == []


def test_the_workflow_keeps_peoples_texts_on_a_runner_of_ones_own() -> None:
    job = workflow()["jobs"]["train"]
    assert "self-hosted" in job["runs-on"]
    assert [step["uses"] for step in job["steps"] if "cache" in step.get("uses", "") or "artifact" in step.get("uses", "")] == []
