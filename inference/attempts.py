"""Owns how often a model may try, and when its answer is taken: parsed, validated, accepted and weighed like a stranger's.

Knows nothing of which engine answers: it is the same for a model in this process and for one at another server.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import ValidationError

from inference.confidence import Confidence, level_confidence, plan_confidence, text_confidence
from inference.engine.completion import Completion
from inference.errors import InvalidOutput, Rejected
from inference.verdicts import Verdicts
from shared_schemas.calibration import IDENTITY, Calibration
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature, PromptStyle
from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import RiskOutput
from shared_schemas.model_version import ModelVersion
from shared_schemas.prediction import Prediction, Timings, Usage

ATTEMPTS, TEMPERATURE = 3, 0.7
"""A greedy answer that is rejected would be the same the next time: the other attempts are drawn by chance, with fixed seeds."""

UNMEASURED = Confidence(0, {"measured": 0.0})
"""The server gave no probabilities. Zero, so that no `min_confidence` lets an answer pass that nobody has weighed."""


@dataclass(frozen=True)
class Attempt:
    """`temperature` 0 is greedy; `seed` counts the attempts before this one."""

    temperature: float
    seed: int


Ask = Callable[[Attempt], Awaitable[Completion]]


async def first_acceptable(feature: AnyFeature, prompt_input: Closed, version: ModelVersion, ask: Ask, verdicts: Verdicts, calibration: Calibration = IDENTITY) -> Prediction[Closed]:
    """Ask greedily, and when the feature rejects that answer, twice more by chance. `verdicts` is told of each.

    Raises what `ask` raises, InvalidOutput, and Rejected with the last attempt's faults.
    """
    tried: list[Completion] = []
    while True:
        done = await ask(Attempt(TEMPERATURE if tried else 0.0, len(tried)))
        tried.append(done)
        began = time.perf_counter()
        output = _parsed(feature, done, version.prompt_style)
        faults = feature.reject(prompt_input, output)
        verdicts.note(feature.name, faults, time.perf_counter() - began)
        if not faults:
            break
        if len(tried) == ATTEMPTS:
            raise Rejected(faults)
    confidence = _confidence(output, done, version.prompt_style, calibration)
    return Prediction(
        output=output,
        confidence=confidence.percent,
        details={**confidence.details, "attempts": float(len(tried))},
        model=version,
        prompt_version=feature.prompt_version(version.prompt_style),
        usage=Usage(prompt_tokens=done.prompt_tokens, cached_tokens=tried[0].cached_tokens, output_tokens=len(done.tokens), forced_tokens=done.forced_tokens, guessed_tokens=done.guessed_tokens),
        timings=Timings(queue_ms=_ms(tried, "queue_ms"), prefill_ms=_ms(tried, "prefill_ms"), decode_ms=_ms(tried, "decode_ms")),
    )


def _ms(tried: list[Completion], name: str) -> float:
    return round(sum(float(getattr(one, name)) for one in tried), 2)


def _parsed(feature: AnyFeature, done: Completion, style: PromptStyle) -> Closed:
    """Constrained decoding is not proof: the answer is parsed and validated like a stranger's."""
    try:
        output: Closed = feature.read_answer(done.text, style)
    except ValidationError as error:
        raise InvalidOutput(f"The model's answer does not match the schema of {feature.name!r}: {error.errors()[0]['msg']}") from None
    return output


def _confidence(output: Closed, done: Completion, style: PromptStyle, calibration: Calibration) -> Confidence:
    match output:
        case RiskOutput():
            return level_confidence(done, output.risk_level, calibration, style) if done.first_letters else UNMEASURED
        case PlanOutput():
            return plan_confidence(done, calibration) if done.log_probabilities else UNMEASURED
        case _:
            return text_confidence(done, calibration) if done.log_probabilities else UNMEASURED
