"""Prints pairs of answers to review, as JSON: the template teacher's, and the same with something left out. For trying the console locally only."""

import json
import sys

from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import RiskOutput
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples


def shorter(answer: RiskOutput | PlanOutput) -> RiskOutput | PlanOutput:
    if isinstance(answer, RiskOutput):
        return answer.model_copy(update={"reasons": answer.reasons[:1], "recommended_actions": answer.recommended_actions[-1:]})
    return answer.model_copy(update={"suggested_plan": answer.suggested_plan[::2], "overall_risks": answer.overall_risks[:1]})


def main() -> int:
    examples = [("risk", example) for example in risk_examples(14, seed=41)] + [("plan", example) for example in plan_examples(10, seed=41)]
    pairs = [
        {
            "feature": feature,
            "stratum": f"{feature}: made up",
            "prompt_input": example.prompt_input.model_dump(),
            "first_output": example.output.model_dump(),
            "second_output": shorter(example.output).model_dump(),
            "first_made_by": "slm:template",
            "second_made_by": "cloud:template, shortened",
            "source_table": "local",
            "source_id": f"{feature} {i}",
        }
        for i, (feature, example) in enumerate(examples)
        if shorter(example.output) != example.output
    ]
    json.dump(pairs, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
