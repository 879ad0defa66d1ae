"""Owns the verdict on one candidate: the answer worth learning from, or the reason why there is none (contract.md section 6).

Pure. Never trusts `model_used`: what a row proves is its ledger row, or figures and times that fit together. The phases
that a task has passed (`phase_validations`) prove nothing about a snapshot without steps: the task says how far it is today.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal

from pydantic import ValidationError

from shared_schemas.closed import Closed
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanOutput, PlanStep
from shared_schemas.features.risk import Level, RiskInput, describe
from shared_schemas.wording import similar
from trainer.data.candidate import Candidate, planned
from trainer.data.describe import finite, one_line, plan_input, risk_input
from trainer.data.mirror import UNREADABLE, instant
from trainer.data.row import Origin

Reason = Literal[
    "unanswered",
    "fallback",
    "own_answer",
    "baseline",
    "test_row",
    "orphan",
    "unproven",
    "not_a_plan",
    "other_plan",
    "clock",
    "inconsistent",
    "wrong_by_construction",
    "too_large",
    "unreadable",
    "schema",
    "level",
    "jargon",
    "wording",
    "personal_data",
]
REASONS: Mapping[Reason, str] = {
    "unanswered": "the request has no answer",
    "fallback": "rules or a fixed text answered, no model",
    "own_answer": "the private model's own answer, which nobody has taken over",
    "baseline": "arithmetic saved as if it were an answer (baseline-monitor)",
    "test_row": "somebody tried the app out",
    "orphan": "a snapshot without its task",
    "unproven": "any client may have written it: since the ledger, an answer has its ledger row (T22, T33)",
    "not_a_plan": "nothing shows that the assistant proposed these steps (T27, T28)",
    "other_plan": "the steps are not those of the answer that the task names (T28)",
    "clock": "dated before its task",
    "inconsistent": "its figures, texts or organisations do not fit each other or the task",
    "wrong_by_construction": "the metrics of that time rated everything without progress high, and saw no progress (T24)",
    "too_large": "longer than anything that the assistant would have been sent",
    "unreadable": "JSON that nobody could have been sent: endless numbers, nested without end, or too long",
    "schema": "not the shape of an answer, or of its input",
    "level": "two steps from the level that the metrics lead to",
    "jargon": "words of the metrics layer (T26)",
    "wording": "rejected by the feature's own rules",
    "personal_data": "no longer fits once personal data is replaced",
}
"""The closed list of reasons, with what each means."""

FALLBACK_TEXTS = ("AI response could not be parsed.", "Review progress manually.", "Check blockers and update timeline.", "Rebalance workload if needed.")
FALLBACK_PREFIX = "Based on current pace, predicted delay is"
JUNK_TITLE = re.compile(r"[\W\d]*|(.)\1*|t+e+s+t+(ing)?\s*(t+a+s+k+s?)?\s*\d*|test bot\b.*|asdf\w*", re.I)
TEST_SCRIPT = {"elapsed_hours": 0.5, "progress_ratio": 0.2, "predicted_total_hours": 2.5, "predicted_delay_hours": 1.5}
"""The app's own test script sends these figures, without steps (contract.md 1.2)."""
ZERO_PROGRESS_FACTOR = 1.3
LARGEST_TEXT = 64 * 1024
"""Bytes of the largest body that the edge reads."""
CLOCKS_DIFFER = timedelta(minutes=2)
REMARK = (12, 140)
"""Characters of a risk or an assumption: shorter and longer ones are left out, they are no part of what the manager kept."""
ROUNDED = 0.006
"""Hours by which a delay, and the budget that is told from it, may be off: both were rounded to two places."""


@dataclass(frozen=True)
class Kept:
    origin: Origin
    prompt_version: str
    prompt_input: Any
    output: Any
    quality: dict[str, float] = field(default_factory=dict)


class Rejected(Exception):
    """Why there is nothing to learn from a candidate."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def judge(candidate: Candidate) -> Kept:
    """Raises Rejected. Titles and answers still hold personal data: that is the next step's."""
    found = candidate.found
    _check_readable(found)
    match candidate.kind:
        case "ledger":
            kept = _ledger(candidate.feature, found["request"])
        case "snapshot":
            kept = _snapshot(found["snapshot"], found["task"], found["request"], since_ledger=candidate.since_ledger)
        case "human":
            kept = _human(candidate.feature, found["request"], found["answer"])
        case "steps":
            kept = _steps(found["tasks"], found["steps"], found["request"], found["similar"], since_ledger=candidate.since_ledger)
    check_wording(candidate.feature, kept.prompt_input, kept.output)
    return kept


def _check_readable(found: Mapping[str, Any]) -> None:
    rows = [row for part in found.values() for row in (part if isinstance(part, list) else [part]) if isinstance(row, dict)]
    for column, value in (item for row in rows for item in row.items()):
        if isinstance(value, dict) and value.keys() == {UNREADABLE}:
            raise Rejected("unreadable", f"{column}: {value[UNREADABLE]}")


def check_wording(name: str, prompt_input: Any, output: Any) -> None:
    """Raises Rejected with what the feature finds wrong first."""
    fault = next(iter(FEATURES[name].reject(prompt_input, output)), None)
    if fault:
        raise Rejected("level" if fault.startswith("level ") else "jargon" if fault.startswith("jargon ") else "wording", fault)


def shaped(shape: type[Closed], value: Any, what: str) -> Any:
    """The value in its shape. Raises Rejected with the first thing that does not fit."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        fault = error.errors()[0]
        raise Rejected("schema", f"{what} {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


# --- the ledger -----------------------------------------------------------------------------------------------------


def _ledger(name: str, request: Mapping[str, Any]) -> Kept:
    kept = _answered(name, request)
    if request["provider"] == "slm":
        raise Rejected("own_answer", f"by {request['model']}")
    return kept


def _human(name: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> Kept:
    """What reviewers made of a request's answer. It is held to the same rules: the service would refuse whatever breaks them."""
    kept = _answered(name, {**request, "output": answer["output"]})
    return replace(kept, origin="human", quality={"corrected": float(answer["how"] == "corrected")})


def _answered(name: str, request: Mapping[str, Any]) -> Kept:
    if request["status"] != "closed" or request["provider"] == "none" or request["output"] is None:
        raise Rejected("unanswered", f"{request['status']}, provider {request['provider']}")
    if request["provider"] == "rules":
        raise Rejected("fallback", "answered by rules")
    if not isinstance(request["prompt_version"], str):
        raise Rejected("schema", f"prompt version {request['prompt_version']!r}")
    feature = FEATURES[name]
    prompt_input = shaped(feature.prompt_input, request["prompt_input"], "input")
    _check_title(prompt_input.title)
    if isinstance(prompt_input, RiskInput) and _described_again(prompt_input) != prompt_input:
        raise Rejected("inconsistent", "the input's derived figures do not follow from the others")
    return Kept("ledger", request["prompt_version"], prompt_input, shaped(feature.output, request["output"], "output"))


def _described_again(task: RiskInput) -> RiskInput:
    given = task.model_dump()
    return describe(**{key: given[key] for key in given.keys() - {"gone_percent", "pace", "left", "late", "suggested"}})


# --- snapshots ------------------------------------------------------------------------------------------------------


def _snapshot(snapshot: Mapping[str, Any], task: Mapping[str, Any] | None, request: Mapping[str, Any] | None, *, since_ledger: bool) -> Kept:
    said = _said(snapshot)
    if not isinstance(said["reasons"], list) or not isinstance(said["recommended_actions"], list):
        raise Rejected("schema", "output: reasons or actions are no list")
    if snapshot["model_used"] == "baseline-monitor" or not said["reasons"]:
        raise Rejected("baseline", f"model {snapshot['model_used']!r}, {len(said['reasons'])} reasons")
    _check_fallback([*said["reasons"], *said["recommended_actions"]])
    if task is None:
        raise Rejected("orphan", f"there is no task {snapshot['task_id']}")
    _check_title(task["title"])
    if all(finite(snapshot[name]) == figure for name, figure in TEST_SCRIPT.items()):
        raise Rejected("test_row", "the figures of the app's test script")
    if request is not None:
        return _snapshot_of_ledger(snapshot, said, request)
    if since_ledger:
        raise Rejected("unproven", f"saved {snapshot['computed_at']}, when the ledger was kept, without a ledger row")
    _check_origin(snapshot, said, task)
    budget = _check_figures(snapshot, task)
    prompt_input = risk_input(task["title"], {**snapshot, "allocated_hours": budget, "risk_level": _level_then(finite(snapshot["predicted_delay_hours"]) or 0, budget, said["risk_level"])})
    answer = {"risk_level": said["risk_level"], "reasons": [sentence(text) for text in said["reasons"]], "recommended_actions": [sentence(text) for text in said["recommended_actions"]]}
    return Kept("snapshot", "unknown", prompt_input, shaped(FEATURES["risk"].output, answer, "output"))


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a snapshot, or an answer, says: level, reasons, actions."""
    return {"risk_level": row.get("risk_level"), "reasons": row.get("reasons") or [], "recommended_actions": row.get("recommended_actions") or []}


def _snapshot_of_ledger(snapshot: Mapping[str, Any], said: Mapping[str, Any], request: Mapping[str, Any]) -> Kept:
    """A snapshot that names a ledger row is that row's answer once more, or a forgery."""
    if request["feature"] != "risk" or request["org_id"] not in (None, snapshot["org_id"]) or request["task_id"] not in (None, snapshot["task_id"]):
        raise Rejected("unproven", "its ledger row is about something else")
    if not isinstance(request["output"], dict) or _said(request["output"]) != said:
        raise Rejected("unproven", "it says something else than its ledger row")
    return _ledger("risk", request)


def _check_origin(snapshot: Mapping[str, Any], said: Mapping[str, Any], task: Mapping[str, Any]) -> None:
    """Before the ledger: columns and raw answer say the same, and both belong to the task and came after it."""
    raw = snapshot["raw_llm_response"]
    if not isinstance(raw, dict) or _said(raw) != said:
        raise Rejected("inconsistent", "its columns do not say what its raw answer says")
    if task["org_id"] not in (None, snapshot["org_id"]):
        raise Rejected("inconsistent", "its organisation is not the task's")
    at, began = instant(snapshot["computed_at"]), instant(task["created_at"])
    if at is None or began is None or at < began - CLOCKS_DIFFER:
        raise Rejected("clock", f"saved {snapshot['computed_at']}, its task is of {task['created_at']}")
    elapsed = finite(snapshot["elapsed_hours"])
    starts = [start for start in (began, instant(task["started_at"])) if start]
    if elapsed is None or all(abs((at - start).total_seconds() / 3600 - elapsed) > 0.05 + 0.002 * elapsed for start in starts):
        raise Rejected("inconsistent", f"{snapshot['elapsed_hours']} hours elapsed is not the task's age")


def _check_figures(snapshot: Mapping[str, Any], task: Mapping[str, Any]) -> float | None:
    """The hours allocated then, where the row's figures follow from them by some version of the metrics (contract.md 3.2)."""
    elapsed, progress = finite(snapshot["elapsed_hours"]) or 0.0, finite(snapshot["progress_ratio"])
    total, delay = finite(snapshot["predicted_total_hours"]), finite(snapshot["predicted_delay_hours"])
    done, steps = finite(snapshot["steps_completed"]), finite(snapshot["total_steps"])
    if progress is None or delay is None or done is None or steps is None or not (0 <= progress <= 1 and delay >= 0 and 0 <= done <= steps):
        raise Rejected("inconsistent", "a figure is missing or out of its range")
    if steps and abs(done / steps - progress) > 0.006:
        raise Rejected("inconsistent", f"{done:g} of {steps:g} steps are not {progress:.0%}")
    if total is None:
        if delay:
            raise Rejected("inconsistent", "a delay without a budget")
        return None
    if progress == 0:
        return _budget_without_progress(elapsed, total, delay, finite(task["allocated_hours"]))
    slack = 0.05 + total * (0.006 / progress + 0.006 / max(elapsed, 0.01))
    if abs(total - elapsed / progress) > slack:
        raise Rejected("inconsistent", f"{total:g} hours in all do not follow from {elapsed:g} hours and {progress:.0%}")
    budget = total - delay if delay else finite(task["allocated_hours"])
    if budget is None or budget < -0.01 or (not delay and total > budget + slack):
        raise Rejected("inconsistent", f"no budget explains {total:g} hours in all and {delay:g} late")
    return max(0.0, round(budget, 2))


def _budget_without_progress(elapsed: float, total: float, delay: float, allocated: float | None) -> float:
    """Versions 1 to 3 made the total of the budget, version 4 of the time gone. At 1.6 budgets gone the figures of version 4
    are also those of twice the budget by version 3: the task's own hours then say which it was.
    """
    budget = total - elapsed if delay else total
    is_version_4 = budget > -0.05 and abs(max(0.0, elapsed - budget) - delay) <= 0.05 and (delay > 0 or elapsed <= budget + 0.05)
    if total and abs(total - ZERO_PROGRESS_FACTOR * (total - delay)) <= 0.02 + 0.001 * total and (not is_version_4 or allocated is None or abs(allocated - budget) > 0.05):
        raise Rejected("wrong_by_construction", f"no progress, so {total:g} hours were made of {total - delay:g}")
    if not is_version_4:
        raise Rejected("inconsistent", f"no budget explains {total:g} hours in all and {delay:g} late without progress")
    return max(0.0, round(budget, 2))


def base_level(delay: float, budget: float | None) -> Level:
    """The level that versions 2 to 4 of the metrics give to so many hours late (contract.md 3.2)."""
    if delay > 2 or (budget is not None and delay > 0.2 * budget):
        return "high"
    return "medium" if delay > 0.5 else "low"


def _level_then(delay: float, budget: float | None, said: Any) -> Level:
    """The level of the metrics. So near a threshold that rounding to two places may have crossed it, the answer's own."""
    levels = {base_level(delay + rounding, budget) for rounding in (-ROUNDED, ROUNDED)}
    return said if said in levels else base_level(delay, budget)


# --- plans ----------------------------------------------------------------------------------------------------------


def _steps(tasks: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]], request: Mapping[str, Any] | None, earlier: Sequence[Mapping[str, Any]], *, since_ledger: bool) -> Kept:
    """What a manager kept of a proposed plan: the better target. `quality` says how much of the proposal that is."""
    task = next((task for task in tasks if _names_a_model(task["ai_metadata"])), None)
    if task is None or any(step["created_by_role"] != "manager" for step in steps):
        raise Rejected("not_a_plan", "no model is named by the task" if task is None else "a step was not written by a manager")
    if not planned(tasks[0], steps):
        raise Rejected("not_a_plan", "its steps were not saved with the task")
    _check_title(task["title"])
    description = task["description"]
    if isinstance(description, str) and len(description.encode(errors="replace")) > LARGEST_TEXT:
        raise Rejected("too_large", f"a description of {len(description)} characters")
    if request is None and since_ledger:
        raise Rejected("unproven", f"made {task['created_at']}, when the ledger was kept, without a ledger row")
    metadata = task["ai_metadata"]
    proposed: list[PlanStep] = []
    if request is not None:
        if request["feature"] != "plan" or request["org_id"] not in (None, task["org_id"]):
            raise Rejected("unproven", "its ledger row is about something else")
        answer = _answered("plan", request)
        prompt_input, proposed = answer.prompt_input, answer.output.suggested_plan
    else:
        prompt_input = plan_input(task["title"], task["description"], task["skills"], earlier)
        if prompt_input is None:
            raise Rejected("schema", "input: a task without title or description")
    kept = [_step(step, proposed) for step in steps]
    if proposed and not any(_same(step["title"], one.title) for one in proposed for step in kept):
        raise Rejected("other_plan", "not one of the steps was proposed by the answer that the task names")
    remarks = {name: [text for text in map(sentence, _texts(metadata.get(name))) if REMARK[0] <= len(text) <= REMARK[1]] for name in ("overall_risks", "assumptions")}
    output = shaped(PlanOutput, {"suggested_plan": kept, **{name: texts[:3] for name, texts in remarks.items()}}, "output")
    quality = {"hours_as_saved": _share(finite(step["estimated_hours"]) == one.duration for step, one in zip(steps, output.suggested_plan, strict=True))}
    quality |= _changes(proposed, output.suggested_plan) if proposed else {"risks_known": 0.0}
    return Kept("ledger" if request else "steps", request["prompt_version"] if request else "unknown", prompt_input, output, quality)


def _changes(proposed: Sequence[PlanStep], kept: Sequence[PlanStep]) -> dict[str, float]:
    """How much of a proposal is kept, and of the steps that are: hours, phases, and neighbours in the proposal's order."""
    pairs = [(places[0], step) for step in kept if (places := [i for i, one in enumerate(proposed) if _same(step.title, one.title)])]
    return {
        "kept": _share(any(_same(step.title, one.title) for step in kept) for one in proposed),
        "written_by_manager": round(1 - len(pairs) / len(kept), 4),
        "same_hours": _share(proposed[i].duration == step.duration for i, step in pairs),
        "same_phase": _share(proposed[i].phase == step.phase for i, step in pairs),
        "same_order": _share(first < second for (first, _), (second, _) in pairwise(pairs)),
    }


def _share(hits: Iterable[bool]) -> float:
    """The part of them that is true; 1 where there are none."""
    counted = list(hits)
    return round(sum(counted) / len(counted), 4) if counted else 1.0


def _names_a_model(metadata: Any) -> bool:
    return isinstance(metadata, dict) and isinstance(metadata.get("model"), str) and bool(metadata["model"].strip())


def _step(step: Mapping[str, Any], proposed: Sequence[PlanStep]) -> dict[str, Any]:
    """One saved step in the answer's shape: hours to the next of the two that there are, and whole titles. Its risk was not saved: the proposal has it, else it is low, as the app shows it."""
    title = one_line(step["step_title"])
    risk = next((one.risk for one in proposed if _same(title, one.title)), "low")
    hours = finite(step["estimated_hours"]) or 2
    return {"phase": step["stage_id"], "title": title, "duration": 2 if hours <= 2 else 4, "risk": risk}


def _same(first: str, second: str) -> bool:
    return first == second or similar(first, second)


def _texts(value: Any) -> list[str]:
    return [text for text in map(one_line, value if isinstance(value, list) else []) if text]


# --- what every source is checked for ---------------------------------------------------------------------------------


def sentence(text: Any) -> Any:
    """The text as a whole sentence: older answers sometimes lack the full stop."""
    if not isinstance(text, str):
        return text
    line = one_line(text)
    return line if not line or line[-1] in ".!?" else f"{line}."


def _check_title(title: Any) -> None:
    if JUNK_TITLE.fullmatch(one_line(title)):
        raise Rejected("test_row", f"a task called {str(title)[:40]!r}")


def _check_fallback(texts: Sequence[Any]) -> None:
    for text in texts:
        if isinstance(text, str) and (text.strip() in FALLBACK_TEXTS or text.startswith(FALLBACK_PREFIX)):
            raise Rejected("fallback", f"the fixed text {text!r}")
