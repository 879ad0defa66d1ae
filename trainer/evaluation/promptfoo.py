"""Owns the export for promptfoo: an evaluation as the file that `promptfoo eval --output results.json` writes (summary version 3).

One provider a model, one test an example, our scores as named scores. Knows nothing of how they were made.
"""

import platform
from collections.abc import Sequence
from typing import Any

from shared_schemas.feature import compact_json
from shared_schemas.features import FEATURES
from trainer.data.row import Row
from trainer.evaluation.evaluation import Evaluation, FeatureVerdict, ModelResult, Scored
from trainer.evaluation.scores import metrics_of

NO_FAILURE, ASSERTION, ERROR = 0, 1, 2
"""promptfoo's reasons why a test failed."""


def promptfoo_json(evaluation: Evaluation) -> dict[str, Any]:
    """promptfoo's OutputFile: a test passes when the answer was accepted, its score is ROUGE-L with the reference."""
    verdicts = list(evaluation.features.values())
    results: list[dict[str, Any]] = []
    prompts: list[dict[str, Any]] = []
    first_test = 0
    for verdict in verdicts:
        for model in verdict.models:
            mine = [_result(verdict, model, row, model.answers[row.id], len(prompts), first_test + i) for i, row in enumerate(verdict.rows) if row.id in model.answers]
            prompts.append({**_prompt(verdict.feature), "provider": model.name, "metrics": _metrics(verdict.feature, mine)})
            results += mine
        first_test += verdict.n
    return {
        "evalId": evaluation.id,
        "results": {"version": 3, "timestamp": evaluation.created_at, "prompts": prompts, "results": results, "stats": {**_counts(results), "tokenUsage": _tokens(results)}},
        "config": {
            "description": f"TalentOps SLM: {', '.join(evaluation.features)}",
            "providers": sorted({model.name for verdict in verdicts for model in verdict.models}),
            "prompts": [],
            "tests": [],
        },
        "shareableUrl": None,
        "metadata": {
            "promptfooVersion": "",
            "nodeVersion": "",
            "platform": platform.system().lower(),
            "arch": platform.machine(),
            "exportedAt": evaluation.created_at,
            "evaluationCreatedAt": evaluation.created_at,
        },
    }


def _result(verdict: FeatureVerdict, model: ModelResult, row: Row, one: Scored, prompt: int, test: int) -> dict[str, Any]:
    answer, accepted = one.answer, one.answer.output is not None
    usage = _usage(answer.input_tokens or 0, answer.output_tokens or 0)
    assertion = {"type": "python", "metric": "accepted", "value": "the feature's schema and its reject rules"}
    said = {"output": compact_json(answer.output), "tokenUsage": usage} if answer.output else {"error": answer.fault}
    grade = {"pass": accepted, "score": float(accepted), "reason": answer.fault or "accepted"}
    return {
        "id": f"{verdict.feature}-{model.name}-{row.id[:16]}",
        "promptIdx": prompt,
        "testIdx": test,
        "promptId": verdict.feature,
        "provider": {"id": model.name, "label": model.name},
        "prompt": _prompt(verdict.feature),
        "vars": {"prompt_input": compact_json(row.prompt_input)},
        "testCase": {
            "vars": {"prompt_input": compact_json(row.prompt_input), "reference": compact_json(row.output)},
            "assert": [assertion],
            "metadata": {"example_id": row.id, "slices": verdict.slices[row.id]},
        },
        "response": said,
        "error": None if accepted else answer.fault,
        "failureReason": NO_FAILURE if accepted else ASSERTION,
        "success": accepted,
        "score": one.scores["rouge_l"],
        "latencyMs": answer.latency_ms or 0,
        "gradingResult": {**grade, "namedScores": one.scores, "componentResults": [{**grade, "assertion": assertion}]},
        "namedScores": one.scores,
        "cost": 0,
        "metadata": {"confidence": answer.confidence, "attempts": answer.attempts},
        "tokenUsage": usage,
    }


def _prompt(feature: str) -> dict[str, str]:
    return {"id": feature, "label": feature, "raw": f"{FEATURES[feature].instructions}\n\n{{{{prompt_input}}}}"}


def _metrics(feature: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = _counts(results)
    return {
        "score": sum(result["score"] for result in results),
        "testPassCount": counts["successes"],
        "testFailCount": counts["failures"],
        "testErrorCount": counts["errors"],
        "assertPassCount": counts["successes"],
        "assertFailCount": counts["failures"],
        "totalLatencyMs": sum(result["latencyMs"] for result in results),
        "tokenUsage": _tokens(results),
        "namedScores": {name: sum(result["namedScores"][name] for result in results) for name in metrics_of(feature)},
        "namedScoresCount": dict.fromkeys(metrics_of(feature), len(results)),
        "cost": 0,
    }


def _counts(results: Sequence[dict[str, Any]]) -> dict[str, int]:
    passed = sum(result["success"] for result in results)
    errors = sum(result["failureReason"] == ERROR for result in results)
    return {"successes": passed, "failures": len(results) - passed - errors, "errors": errors}


def _tokens(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return _usage(sum(result["tokenUsage"]["prompt"] for result in results), sum(result["tokenUsage"]["completion"] for result in results), len(results))


def _usage(prompt: int, completion: int, requests: int = 1) -> dict[str, Any]:
    details = {"reasoning": 0, "acceptedPrediction": 0, "rejectedPrediction": 0}
    usage = {"prompt": prompt, "completion": completion, "cached": 0, "total": prompt + completion, "numRequests": requests, "completionDetails": details}
    return {**usage, "assertions": {**usage, "prompt": 0, "completion": 0, "total": 0, "numRequests": 0}}
