"""Owns the baseline vault: what the model that we replace answered to the gold set, asked once and kept in the project.

Knows nothing of judging. The questions are those that the edge function asks a cloud model, one by one as it does: how long an
answer takes is recorded too. Gold examples of organisations that do not allow the cloud are not shown to one.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from trainer.data.row import Row
from trainer.data.spending import Question, Reply, agree, estimate, make_question, open_log
from trainer.data.teacher import Teacher, find_teacher
from trainer.errors import BrokenRows
from trainer.finetune import REPOSITORY
from trainer.supabase_client import Project, open_project

# The openai client takes a second to load: asking is imported by what asks.

LOG = REPOSITORY / ".stack" / "data" / "vault" / "calls.jsonl"
MAX_TOKENS = 2000
"""As the edge bounds a cloud model's answer."""
BATCH = 100


@dataclass(frozen=True)
class RecordOptions:
    feature: str
    baseline: Teacher
    log: Path = LOG
    budget_usd: float = 1.0
    yes: bool = False
    concurrency: int = 8
    progress: Callable[[str], None] = lambda _: None


def record(project: Project, options: RecordOptions) -> dict[str, Any]:
    """Ask what the vault does not hold. Facts: gold, asked, answers kept, faults by kind, kept_at_home, usd (of all of them), spent_usd (on those asked now).

    Raises BrokenRows without a gold set; OverBudget or TeacherFailed after having kept what was answered.
    """
    from trainer.data.asking import ask_all

    feature, baseline = options.feature, replace(options.baseline, batch_price_factor=None)
    gold = project.call("slm_gold_rows", p_feature=feature)
    if not gold:
        raise BrokenRows(f"Cannot record a baseline: no gold set of {feature} is frozen (run python -m trainer data --feature {feature} with --write-back)")
    version = FEATURES[feature].prompt_version("instructions")
    held = {line["example_id"] for line in answers(project, feature, baseline.model) if line["prompt_version"] == version}
    rows = [Row.model_validate_json(json.dumps(line["row"])) for line in gold if (line["allow_cloud"] or baseline.is_private) and line["row"]["id"] not in held]
    asked = {row.id: ask_about(baseline, row) for row in rows}
    kept_at_home = sum(not line["allow_cloud"] for line in gold) if not baseline.is_private else 0
    replies: dict[str, Reply] = {}
    spent_usd = 0.0
    if rows:
        with open_log(options.log) as log:
            missing = log.unanswered(asked.values())
            if missing:
                left = options.budget_usd - log.spent_usd({question.key for question in asked.values()})
                agree(baseline, estimate(baseline, missing), budget_usd=left, yes=options.yes)
            try:
                spent_usd = ask_all(baseline, list(asked.values()), log, budget_usd=options.budget_usd, concurrency=options.concurrency, progress=options.progress)
            finally:
                replies = {row.id: log.replies[asked[row.id].key] for row in rows if asked[row.id].key in log.replies}
                _keep(project, [_answer(options, version, row, replies[row.id]) for row in rows if row.id in replies])
    all_answers = [line for line in answers(project, feature, baseline.model) if line["prompt_version"] == version]
    return {
        "feature": feature,
        "model": baseline.model,
        "gold": len(gold),
        "asked": len(replies),
        "answers": sum(line["fault"] is None for line in all_answers),
        "faults": sum(line["fault"] is not None for line in all_answers),
        "kept_at_home": kept_at_home,
        "usd": round(sum(float(line["usd"]) for line in all_answers), 6),
        "spent_usd": round(spent_usd, 6),
    }


def answers(project: Project, feature: str, model: str) -> list[dict[str, Any]]:
    """Every recorded answer of a model to a feature's gold set, by example id: for evaluations without a key."""
    return list(project.call("slm_baseline", p_feature=feature, p_model=model))


def ask_about(baseline: Teacher, row: Row) -> Question:
    """The edge's question to a cloud model, letter by letter but for who is asked."""
    from trainer.data.asking import strict_schema

    feature = FEATURES[row.feature]
    schema = strict_schema(feature.output_schema())
    schema = {**schema, "properties": {**schema["properties"], "confidence": {"type": "integer"}}, "required": [*schema["required"], "confidence"]}
    messages = [{"role": message.role, "content": message.content} for message in feature.messages(row.prompt_input, "instructions")]
    body = {"messages": messages, "max_completion_tokens": MAX_TOKENS, "response_format": {"type": "json_schema", "json_schema": {"name": row.feature, "strict": True, "schema": schema}}}
    return make_question(baseline, body)


def _answer(options: RecordOptions, version: str, row: Row, reply: Reply) -> dict[str, Any]:
    output, fault = _read(row, reply)
    baseline = options.baseline
    return {
        "example_id": row.id,
        "model": baseline.model,
        "prompt_version": version,
        "feature": row.feature,
        "asked_at": reply.at,
        "provider": baseline.name,
        "model_snapshot": reply.model,
        "said": reply.said.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "output": output,
        "fault": fault,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "input_usd_per_million": baseline.input_usd_per_million,
        "output_usd_per_million": baseline.output_usd_per_million,
        "usd": reply.usd,
        "latency_ms": reply.latency_ms,
    }


def _read(row: Row, reply: Reply) -> tuple[Any, str | None]:
    """The answer in the feature's shape, or why it has none. A fault is a result too: the baseline is judged by all it said."""
    if reply.fault:
        return None, reply.fault
    try:
        said = json.loads(reply.said)
        if isinstance(said, dict):
            said.pop("confidence", None)
        output = FEATURES[row.feature].output.model_validate_json(json.dumps(said))
    except ValidationError as error:
        return None, f"not the shape: {error.errors()[0]['msg']}"
    except (ValueError, RecursionError):
        return None, "not JSON"
    faults = FEATURES[row.feature].reject(row.prompt_input, output)
    return (None, f"rejected: {faults[0]}") if faults else (json.loads(compact_json(output)), None)


def _keep(project: Project, lines: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(lines), BATCH):
        project.call("slm_record_baseline", p_answers=lines[start : start + BATCH])


# --- command line --------------------------------------------------------------------------------------------------


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *, progress: Callable[[str], None]) -> None:
    parser = commands.add_parser("vault", help="the baseline's answers to the gold set, recorded once")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    one = actions.add_parser("record", help="ask the baseline what the vault does not hold")
    one.add_argument("--model", required=True, help="a provider or model of slm_providers, or TEACHER_MODEL of the environment")
    one.add_argument("--feature", choices=["all", *FEATURES], default="all", help="(default: %(default)s)")
    one.add_argument("--budget-usd", type=float, default=1.0, help="the most that it may cost, all features together (default: %(default)s)")
    one.add_argument("--yes", action="store_true", help="do not ask before money is spent")
    one.add_argument("--concurrency", type=int, default=8, help="calls at a time (default: %(default)s)")
    one.add_argument("--log", type=Path, default=LOG, help="where calls are written down (default: .stack/data/vault/calls.jsonl)")
    one.add_argument("--json", action="store_true", help="print JSON instead of lines")
    one.set_defaults(run=lambda options: _record(options, progress))


def _record(options: argparse.Namespace, progress: Callable[[str], None]) -> None:
    baseline = find_teacher(options.model, today=datetime.now(UTC).date(), open_project=open_project)
    features = list(FEATURES) if options.feature == "all" else [options.feature]
    asking = {"yes": options.yes, "concurrency": options.concurrency, "log": options.log, "progress": progress}
    done: list[dict[str, Any]] = []
    with open_project() as project:
        for feature in features:
            left = options.budget_usd - sum(facts["spent_usd"] for facts in done)
            done.append(record(project, RecordOptions(feature, baseline, budget_usd=left, **asking)))
    if options.json:
        print(json.dumps(done, indent=2))
        return
    for facts in done:
        home = f", {facts['kept_at_home']} not shown: their organisations do not allow the cloud" if facts["kept_at_home"] else ""
        print(f"{facts['feature']}: {facts['asked']} asked, {facts['answers']} answers and {facts['faults']} faults of {facts['model']} to {facts['gold']} gold examples, ${facts['usd']:.4f}{home}")
