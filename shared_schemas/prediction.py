"""Owns what the inference service answers for one feature. Knows nothing of HTTP."""

from typing import Annotated, Generic

from pydantic import Field

from shared_schemas.closed import Closed
from shared_schemas.feature import OutputT
from shared_schemas.model_version import ModelVersion


class Usage(Closed):
    """Tokens. `cached_tokens` of the prompt were in memory already; of the answer, `forced_tokens` needed no choice and
    `guessed_tokens` were chosen without a step of their own."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    forced_tokens: int
    guessed_tokens: int = 0


class Timings(Closed):
    """Milliseconds."""

    queue_ms: float
    prefill_ms: float
    decode_ms: float


class Prediction(Closed, Generic[OutputT]):
    """`confidence` is 0 to 100, measured from token probabilities; `details` holds the raw figures behind it."""

    output: OutputT
    confidence: Annotated[int, Field(ge=0, le=100)]
    details: dict[str, float]
    model: ModelVersion
    prompt_version: str
    usage: Usage
    timings: Timings
