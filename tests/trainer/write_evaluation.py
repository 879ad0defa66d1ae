"""Writes an evaluation of models whose answers are written down into the project that the environment names: a real one, for pages that show it.

python -m tests.trainer.write_evaluation [RUN_ID]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.trainer.judged import good, model, plan_rows, poor, risk_rows
from trainer.data.row import Row
from trainer.evaluation.evaluation import evaluate_models
from trainer.evaluation.results import write_results
from trainer.supabase_client import open_project


def main() -> int:
    gold, validation = {"risk": _of_nobody(risk_rows(60)), "plan": _of_nobody(plan_rows(30))}, {"risk": risk_rows(200, seed=50)}
    rows = [row for some in (*gold.values(), *validation.values()) for row in some]
    models = [model("smollm2-135m-7", rows, good), model("smollm2-135m-6", rows, good, seed=4), model("untuned", rows, poor)]
    with TemporaryDirectory() as folder:
        evaluation = evaluate_models(models, gold, validation=validation, folder=Path(folder))
    with open_project() as project:
        write_results(project, evaluation, run_id=sys.argv[1] if len(sys.argv) > 1 else None, report="report.html")
    return 0


def _of_nobody(rows: list[Row]) -> list[Row]:
    """Without the rows of an app that never was."""
    return [row.model_copy(update={"sources": []}) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
