"""Writes reject.json: answers, good ones and the same with one thing spoilt, each with what the feature says of it.

The verdicts are Python's; a test in TypeScript holds the edge's port of `reject` to them.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared_schemas.example import Example
from shared_schemas.features import FEATURES, risk
from shared_schemas.features.risk import RiskInput
from trainer.plan_teacher import plan_examples
from trainer.risk_teacher import risk_examples
from trainer.task_titles import KINDS

SENTENCES = [
    "Half of your time for this task is used.",
    "halfway, and three quarters of it in the last quarter: one hour or 30 min.",
    "You are at 50 % now.",
    "25% of the work is done.",
    "٥٠ % of the work is done.",
    "75 % is already complete, which is good.",
    "Everything is done, well done.",
    "NOTHING IS TICKED OFF so far.",
    "All the work is finished\u00a0",
    "Your velocity is low these days.",
    "The Predicted Delay grows every hour.",
    "éhalfé is a word of its own here.",
    "half_way is one word to a machine.",
    "Die Straße ist lang, die STRASSE ist lang.",
    "now now now now now or never",
    "eins zwei Ⅷ ⅔ drei vier.",
    "هذا نصف الوقت المخصص للمهمة.",
    "进度 一半 已经 完成 了。",
    "A bell \u0007 rings in this text.",
    "A private mark \ufffe stands in this one.",
    "a.b.c.d.e.f.g.h.i.j.k.",
    "1.1.1.1.1.1.1.1.1.1.",
    "This sentence stops before its",
    "Ends with a space and a mark! ",
    "1 hour is left, so act within 60 minutes.",
    "You have half an hour, or thirty minutes.",
]


def spoilt(answer: dict[str, Any], at: int) -> Iterator[dict[str, Any]]:
    """The answer itself, then with one part of it changed."""
    yield answer
    for i, sentence in enumerate(SENTENCES):
        other = copy.deepcopy(answer)
        if "reasons" in other:
            other["reasons" if (i + at) % 3 else "recommended_actions"][0] = sentence
            other["risk_level"] = ("low", "medium", "high")[(i + at) % 3]
        elif (i + at) % 2:
            other["suggested_plan"][i % len(other["suggested_plan"])]["title"] = sentence
        else:
            other["overall_risks"] = [sentence]
        yield other
    other = copy.deepcopy(answer)
    if "reasons" in other:
        other["reasons"] = [*other["reasons"], other["reasons"][0].upper()][-3:]
    else:
        other["suggested_plan"] = other["suggested_plan"][::-1]
    yield other


def short_task(sentence: str) -> tuple[RiskInput, dict[str, Any]]:
    """A task of 45 minutes, which the app says has its last hour left from the start."""
    task = risk.describe(title="Call back", level="low", milestone="1h_left", micro_task=True, done_percent=0, steps_done=0, steps_left=2, budget_minutes=45, spent_minutes=5, delay_minutes=0)
    return task, {"risk_level": "low", "reasons": [sentence], "recommended_actions": ["Begin with the smallest step and tick it off."]}


def main() -> None:
    cases = []
    examples: list[Example] = [*risk_examples(8, KINDS, seed=7), *plan_examples(4, KINDS, seed=7)]
    for at, example in enumerate(examples):
        feature = FEATURES[example.feature]
        for output in spoilt(example.output.model_dump(mode="json"), at):
            faults = feature.reject(example.prompt_input, feature.output.model_validate(output))
            cases.append({"feature": feature.name, "promptInput": example.prompt_input.model_dump(mode="json"), "output": output, "accepted": not faults})
    for sentence in ("You have about 45 min left for this task.", "About one hour is left for this task.", "There is some time left for this task."):
        task, answer = short_task(sentence)
        cases.append({"feature": "risk", "promptInput": task.model_dump(mode="json"), "output": answer, "accepted": not risk.RISK.reject(task, risk.RiskOutput.model_validate(answer))})
    Path(__file__).with_name("reject.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
