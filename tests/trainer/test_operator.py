"""The operator's commands against a real project: what is shown, what is moved, and what goes wrong in one line."""

import json

import pytest
from rich.console import Console

from trainer import cli
from trainer.status import crosses_zero, read_status, show_status
from trainer.supabase_client import Project, ProjectSettings


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_rollout_goes_through_its_stages_and_back(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "rollout", "set", "risk", "off", "--by", "Asha", "--reason", "begin")
    stages = [run(capsys, "rollout", "advance", "risk")[1].split(" ")[1] for _ in range(5)]
    assert stages == ["shadow", "canary-1", "canary-10", "canary-50", "full"]
    assert run(capsys, "rollout", "advance", "risk")[::2] == (1, "Cannot move risk: full is the last stage\n")
    assert run(capsys, "rollout", "rollback", "risk", "--reason", "too slow")[1] == "risk: canary-50 (too slow)\n"
    assert "canary-50, pinned" in run(capsys, "rollout", "pin", "risk")[1]
    assert "canary-50, paused" in run(capsys, "rollout", "pause", "risk")[1]
    run(capsys, "rollout", "resume", "risk")
    run(capsys, "rollout", "unpin", "risk")
    code, out, _ = run(capsys, "rollout", "show", "--json")
    shown = {row["feature"]: row for row in json.loads(out)}
    assert code == 0
    assert [shown["risk"][name] for name in ("stage", "share", "is_pinned", "is_paused")] == ["canary", 50, False, False]
    assert shown["risk"]["events"][0]["reason"] == "too slow"
    assert shown["plan"]["stage"] == "full"


def test_the_guard_says_what_it_waits_for(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "rollout", "set", "plan", "shadow")
    assert "plan: shadow (none, 0 of 100 requests)" in run(capsys, "rollout", "guard")[1]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("rollout", "advance", "leave"), "There is no feature 'leave': the features are plan, risk\n"),
        (("rollout", "set", "risk", "canary-42"), "There is no stage 'canary-42': the stages are off, shadow, canary-1, canary-10, canary-50, full\n"),
    ],
)
def test_a_wrong_word_is_named_with_the_right_ones(environment: dict[str, str], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error: str) -> None:
    assert run(capsys, *words)[::2] == (1, error)


def test_status_shows_every_part(project: Project, environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "id": "00000000-0000-4000-8000-000000000001",
        "user_id": "00000000-0000-4000-8000-0000000000aa",
        "feature": "risk",
        "prompt_input": {},
        "prompt_version": "p",
        "output": {},
        "provider": "slm",
        "model": "small-1",
        "latency_ms": 900,
        "alternative_input_tokens": 400,
        "alternative_output_tokens": 80,
    }
    project.call("slm_close", p_request=row)
    project.call("slm_close", p_request={**row, "id": "00000000-0000-4000-8000-000000000002", "provider": "rules", "fallback_reason": "timeout"})
    status = read_status(project, days=7)
    console = Console(width=220, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(show_status(status))
    text = captured.get()
    assert all(part in text for part in ("rollout", "local share", "timeout", "savings against", "breaker", "enter a machine price", "50%"))
    code, out, _ = run(capsys, "status", "--json")
    assert code == 0
    assert set(json.loads(out)) == {"rollouts", "days", "local_share", "fallback_reasons", "savings", "break_even", "providers", "breakers", "warnings"}


def test_upkeep_and_erasure_say_what_they_did(project: Project, environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    user = "00000000-0000-4000-8000-0000000000bb"
    row = {"id": "00000000-0000-4000-8000-000000000009", "user_id": user, "feature": "risk", "prompt_input": {}, "prompt_version": "p"}
    project.call("slm_open", p_request=row)
    assert run(capsys, "upkeep")[1].startswith("ledger: 0 rows swept as lost, 0 expired rows removed\nplan: ")
    assert run(capsys, "erase", user)[1] == "removed 1 ledger rows and 0 examples; datasets that used them: none\n"
    assert run(capsys, "erase", user)[1] == "removed 0 ledger rows and 0 examples; datasets that used them: none\n"


def test_warnings_stand_first(project: Project, environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    project.update("slm_providers", ("name", "openai-gpt-4o-mini"), ends_on="2026-01-01")
    try:
        text = run(capsys, "status")[1]
    finally:
        project.update("slm_providers", ("name", "openai-gpt-4o-mini"), ends_on="2027-01-14")
    assert "warning: openai-gpt-4o-mini ended on 2026-01-01: it is not asked any more" in text
    assert text.startswith("warning: ")


def test_a_saving_that_may_be_none_says_so() -> None:
    assert crosses_zero({"saved_low_usd": -0.1, "saved_high_usd": 0.2}) == " (not shown to be a saving)"
    assert crosses_zero({"saved_low_usd": 0.1, "saved_high_usd": 0.2}) == ""


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"SUPABASE_URL": "http://127.0.0.1:1"}, "Cannot read slm_rollout_events: "),
        ({"SUPABASE_URL": ""}, "Cannot reach the project: SUPABASE_URL not set"),
        ({"SUPABASE_SECRET_KEY": "sb_secret_wrong"}, "Cannot read slm_rollout_events: "),
        ({"SUPABASE_URL": "no address"}, "Cannot reach the project: "),
    ],
)
def test_a_project_that_cannot_be_reached_gives_one_line(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, str], error: str) -> None:
    monkeypatch.setitem(ProjectSettings.model_config, "env_file", None)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    code, out, err = run(capsys, "rollout", "show")
    assert (code, out) == (1, "")
    assert err.startswith(error)
    assert err.count("\n") == 1
