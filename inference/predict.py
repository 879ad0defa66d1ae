"""Owns one prediction: prompt input to messages to a validated, accepted, weighed answer.

Knows nothing of HTTP. Must be used from the thread that owns the engine.
"""

from collections.abc import Callable

from pydantic import ValidationError

from inference.confidence import Confidence, level_confidence, text_confidence
from inference.engine.chat import Chat
from inference.engine.decoder import Completion, Decoder, Sampler
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

_ATTEMPTS, _TEMPERATURE = 3, 0.7
"""A greedy answer that is rejected would be the same the next time: the other attempts are drawn by chance, with fixed seeds."""


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
        """Answer one prompt input: greedily, and when the feature rejects that answer, twice more by chance.

        `check` may raise to stop. Raises PromptTooLong and BadAnswer, the last attempt's.
        """
        prompt = self.prompt_tokens(feature, prompt_input)
        watch_at = _LEVEL_AT if feature.output is RiskOutput else -1
        tried: list[Completion] = []
        while True:
            sampler = Sampler(_TEMPERATURE, seed=len(tried)) if tried else None
            done = self._decoder.complete(prompt, self._grammars[feature.name], max_tokens=feature.max_tokens, watch_at=watch_at, sampler=sampler, check=check)
            tried.append(done)
            output = _parsed(feature, done)
            faults = feature.reject(prompt_input, output)
            if not faults:
                break
            if len(tried) == _ATTEMPTS:
                raise Rejected(faults)
        confidence = _confidence(output, done)
        return Prediction(
            output=output,
            confidence=confidence.percent,
            details={**confidence.details, "attempts": float(len(tried))},
            model=self.version,
            prompt_version=feature.prompt_version(self.version.prompt_style),
            usage=Usage(prompt_tokens=done.prompt_tokens, cached_tokens=done.cached_tokens, output_tokens=len(done.tokens), forced_tokens=done.forced_tokens),
            timings=Timings(queue_ms=round(queue_ms, 2), prefill_ms=round(sum(one.prefill_ms for one in tried), 2), decode_ms=round(sum(one.decode_ms for one in tried), 2)),
        )

    def close(self) -> None:
        self.llama.close()


def _parsed(feature: AnyFeature, done: Completion) -> Closed:
    """Constrained decoding is not proof: the answer is parsed and validated like a stranger's."""
    try:
        output: Closed = feature.output.model_validate_json(done.text)
    except ValidationError as error:
        raise InvalidOutput(f"The model's answer does not match the schema of {feature.name!r}: {error.errors()[0]['msg']}") from None
    return output


def _confidence(output: Closed, done: Completion) -> Confidence:
    return level_confidence(done, output.risk_level) if isinstance(output, RiskOutput) else text_confidence(done)
