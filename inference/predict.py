"""Owns one prediction: prompt input to messages to a validated, accepted, weighed answer.

Knows nothing of HTTP. May be used by many callers at once.
"""

import asyncio
import time
from pathlib import Path

from pydantic import ValidationError

from inference.confidence import Confidence, level_confidence, plan_confidence, text_confidence
from inference.engine.chat import Chat
from inference.engine.completion import Completion, Job, Sampler
from inference.engine.grammar import Grammar, Grammars
from inference.engine.llama import Llama
from inference.engine.phrases import Phrases
from inference.engine.scheduler import Engine
from inference.errors import InvalidOutput, Rejected, StartError, UnusableSchema
from inference.model_store import ModelFiles
from inference.verdicts import Verdicts
from shared_schemas.calibration import IDENTITY, Calibration
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanOutput
from shared_schemas.features.risk import RiskOutput
from shared_schemas.prediction import Prediction, Timings, Usage

_LEVEL_AT = len('{"risk_level":"')
"""Where the risk level's first letter stands: it is the first thing that the model writes."""

_ATTEMPTS, _TEMPERATURE = 3, 0.7
"""A greedy answer that is rejected would be the same the next time: the other attempts are drawn by chance, with fixed seeds."""

KEPT_PROMPTS = 8
"""Prompts that are remembered beside the live ones: a second attempt need not read its prompt again."""


class Predictor:
    """One loaded model with its engine, ready for every feature. Raises StartError when it cannot serve all of them."""

    def __init__(self, model: ModelFiles, *, n_ctx: int, n_threads: int, parallel: int = 8, waiting: int = 64) -> None:
        self.version = model.version
        self.verdicts = Verdicts()
        self._calibrations = model.calibrations
        self.llama = Llama(model.weights, adapter_path=model.runtime_adapter, n_cells=n_ctx, n_seats=parallel + KEPT_PROMPTS + len(FEATURES), n_threads=n_threads)
        self._chat = Chat(self.llama)
        self.grammars = Grammars(self.llama.vocab, self.llama.n_vocab)
        try:
            self._grammars = {feature.name: self.grammars.compile(feature.name, feature.output_schema()) for feature in FEATURES.values()}
        except UnusableSchema as error:
            raise StartError(str(error)) from None
        self.engine = Engine(self.llama, parallel=parallel, waiting=waiting, phrases=self._read_phrases(model.phrases))
        for feature in FEATURES.values():
            self.engine.pin(self._chat.constant_tokens(feature.constant_messages(self.version.prompt_style)))
        self.engine.start()

    def prompt_tokens(self, feature: AnyFeature, prompt_input: Closed) -> list[int]:
        return self._chat.tokens(feature.messages(prompt_input, self.version.prompt_style))

    def grammar(self, feature: str) -> Grammar:
        return self._grammars[feature]

    async def predict(self, feature: AnyFeature, prompt_input: Closed, *, deadline_s: float = float("inf")) -> Prediction[Closed]:
        """Answer one prompt input: greedily, and when the feature rejects that answer, twice more by chance.

        Raises Overloaded, PromptTooLong, DeadlineExceeded and BadAnswer, the last attempt's. A cancelled caller's answer
        is given up within one step.
        """
        prompt = self.prompt_tokens(feature, prompt_input)
        deadline = time.monotonic() + deadline_s
        watch_at = _LEVEL_AT if feature.output is RiskOutput else -1
        tried: list[Completion] = []
        while True:
            sampler = Sampler(_TEMPERATURE, seed=len(tried)) if tried else None
            job = Job(prompt, self._grammars[feature.name], feature.max_tokens, watch_at=watch_at, sampler=sampler, deadline=deadline)
            done = await self.complete(job, is_again=bool(tried))
            tried.append(done)
            began = time.perf_counter()
            output = _parsed(feature, done)
            faults = feature.reject(prompt_input, output)
            self.verdicts.note(feature.name, faults, time.perf_counter() - began)
            if not faults:
                break
            if len(tried) == _ATTEMPTS:
                raise Rejected(faults)
        confidence = _confidence(output, done, self._calibrations.get(feature.name, IDENTITY))
        return Prediction(
            output=output,
            confidence=confidence.percent,
            details={**confidence.details, "attempts": float(len(tried))},
            model=self.version,
            prompt_version=feature.prompt_version(self.version.prompt_style),
            usage=Usage(prompt_tokens=done.prompt_tokens, cached_tokens=tried[0].cached_tokens, output_tokens=len(done.tokens), forced_tokens=done.forced_tokens, guessed_tokens=done.guessed_tokens),
            timings=Timings(queue_ms=_ms(tried, "queue_ms"), prefill_ms=_ms(tried, "prefill_ms"), decode_ms=_ms(tried, "decode_ms")),
        )

    def predict_now(self, feature: AnyFeature, prompt_input: Closed) -> Prediction[Closed]:
        """`predict` for callers without an event loop: one at a time."""
        return asyncio.run(self.predict(feature, prompt_input))

    async def complete(self, job: Job, *, is_again: bool = False) -> Completion:
        """The engine's answer to a job; a caller who is cancelled takes the job along."""
        self.engine.submit(job, is_again=is_again)
        try:
            return await asyncio.wrap_future(job.future)
        finally:
            job.cancel()

    def close(self) -> None:
        self.engine.stop()
        self.llama.close()

    def _read_phrases(self, path: Path | None) -> Phrases:
        phrases = Phrases()
        for line in path.read_text(encoding="utf-8").splitlines() if path else ():
            name, _, answer = line.partition("\t")
            phrases.learn(name, self.llama.tokenize(answer, special=False))
        return phrases


def _ms(tried: list[Completion], name: str) -> float:
    return round(sum(float(getattr(one, name)) for one in tried), 2)


def _parsed(feature: AnyFeature, done: Completion) -> Closed:
    """Constrained decoding is not proof: the answer is parsed and validated like a stranger's."""
    try:
        output: Closed = feature.output.model_validate_json(done.text)
    except ValidationError as error:
        raise InvalidOutput(f"The model's answer does not match the schema of {feature.name!r}: {error.errors()[0]['msg']}") from None
    return output


def _confidence(output: Closed, done: Completion, calibration: Calibration) -> Confidence:
    match output:
        case RiskOutput():
            return level_confidence(done, output.risk_level, calibration)
        case PlanOutput():
            return plan_confidence(done, calibration)
        case _:
            return text_confidence(done, calibration)
