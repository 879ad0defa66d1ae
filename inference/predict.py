"""Owns one prediction: prompt input to messages to a validated, accepted, weighed answer.

Knows nothing of HTTP. Must be used from the thread that owns the engine.
"""

from collections.abc import Callable

from pydantic import ValidationError

from inference.confidence import Confidence, level_confidence, text_confidence
from inference.engine.chat import Chat
from inference.engine.decoder import Completion, Decoder
from inference.engine.llama import Llama
from inference.errors import InvalidOutput, Rejected
from inference.model_store import ModelFiles
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import RiskOutput
from shared_schemas.prediction import Prediction, Timings, Usage

_LEVEL_AT = len('{"risk_level":"')
"""Where the risk level's first letter stands: it is the first thing that the model writes."""


class Predictor:
    """One loaded model, ready for every feature. Raises StartError when it cannot serve all of them."""

    def __init__(self, model: ModelFiles, *, n_ctx: int, n_threads: int) -> None:
        self.version = model.version
        self.llama = Llama(model.base, adapter_path=model.adapter, n_ctx=n_ctx, n_threads=n_threads)
        self._chat = Chat(self.llama)
        self._decoder = Decoder(self.llama)
        self._grammars = {feature.name: self._decoder.compile(feature.name, feature.output_schema()) for feature in FEATURES.values()}

    def prompt_tokens(self, feature: AnyFeature, prompt_input: Closed) -> list[int]:
        return self._chat.tokens(feature.messages(prompt_input, self.version.prompt_style))

    def predict(self, feature: AnyFeature, prompt_input: Closed, *, queue_ms: float = 0.0, check: Callable[[], None] = lambda: None) -> Prediction[Closed]:
        """Answer one prompt input. `check` may raise to stop. Raises PromptTooLong and BadAnswer."""
        done = self._decoder.complete(
            self.prompt_tokens(feature, prompt_input),
            self._grammars[feature.name],
            max_tokens=feature.max_tokens,
            watch_at=_LEVEL_AT if feature.output is RiskOutput else -1,
            check=check,
        )
        output = _validated(feature, prompt_input, done)
        confidence = _confidence(output, done)
        return Prediction(
            output=output,
            confidence=confidence.percent,
            details=confidence.details,
            model=self.version,
            prompt_version=feature.prompt_version(self.version.prompt_style),
            usage=Usage(prompt_tokens=done.prompt_tokens, cached_tokens=done.cached_tokens, output_tokens=len(done.tokens), forced_tokens=done.forced_tokens),
            timings=Timings(queue_ms=round(queue_ms, 2), prefill_ms=round(done.prefill_ms, 2), decode_ms=round(done.decode_ms, 2)),
        )

    def close(self) -> None:
        self.llama.close()


def _validated(feature: AnyFeature, prompt_input: Closed, done: Completion) -> Closed:
    """Constrained decoding is not proof: the answer is parsed, validated and judged like a stranger's."""
    try:
        output: Closed = feature.output.model_validate_json(done.text)
    except ValidationError as error:
        raise InvalidOutput(f"The model's answer does not match the schema of {feature.name!r}: {error.errors()[0]['msg']}") from None
    faults = feature.reject(prompt_input, output)
    if faults:
        raise Rejected(faults)
    return output


def _confidence(output: Closed, done: Completion) -> Confidence:
    return level_confidence(done, output.risk_level) if isinstance(output, RiskOutput) else text_confidence(done)
