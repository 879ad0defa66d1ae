"""Owns writing an evaluation into the project. Knows nothing of tables: the database's own function writes each batch whole or not at all."""

import json
import uuid
from typing import Any

from shared_schemas.feature import compact_json
from trainer.data.row import Row
from trainer.evaluation.answers import Progress
from trainer.evaluation.evaluation import Evaluation, ModelResult, Scored
from trainer.supabase_client import Project

BATCH = 100
"""Examples of one call, each with every model's answer."""


def write_results(project: Project, evaluation: Evaluation, *, run_id: str | None = None, report: str | None = None, progress: Progress = lambda _: None) -> dict[str, str]:
    """Write every feature's verdict; returns the ids of the rows in slm_eval_runs, by feature.

    The ids follow from the evaluation's: written again, nothing is there twice. Raises ProjectUnreachable with what the database
    says, such as that a person among the examples asked to be forgotten since.
    """
    ids = {name: str(uuid.uuid5(uuid.UUID(evaluation.id), name)) for name in evaluation.features}
    for name, verdict in evaluation.features.items():
        run = {
            "id": ids[name],
            "created_at": evaluation.created_at,
            "run_id": run_id,
            "feature": name,
            "gold_sha256": verdict.gold_sha256,
            "n": verdict.n,
            "models": [model.name for model in verdict.models],
            "summary": verdict.summary(),
            "report": report,
        }
        for start in range(0, verdict.n, BATCH):
            some = verdict.rows[start : start + BATCH]
            results = [_result(ids[name], model, row) for row in some for model in verdict.models if row.id in model.answers]
            project.call("slm_write_eval", p_run=run, p_rows=[json.loads(compact_json(row)) for row in some], p_results=results)
            progress(f"results of {name}: {start + len(some)} of {verdict.n} examples")
    return ids


def _result(run: str, model: ModelResult, row: Row) -> dict[str, Any]:
    one: Scored = model.answers[row.id]
    answer = one.answer
    return {
        "eval_run_id": run,
        "example_id": row.id,
        "model": model.name,
        "accepted": answer.output is not None,
        "output": answer.output and json.loads(compact_json(answer.output)),
        "fault": answer.fault,
        "scores": one.scores,
        "confidence": answer.confidence,
        "raw": answer.raw,
        "latency_ms": answer.latency_ms,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
    }
