"""Owns one prediction: prompt input to messages to a validated, accepted, weighed answer.

Knows nothing of HTTP. May be used by many callers at once.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from jinja2 import TemplateError

from inference.answer_cache import AnswerCache
from inference.answer_schema import AnswerSchemas
from inference.answers import Readiness
from inference.attempts import Attempt, first_acceptable
from inference.confidence import level_at
from inference.engine.chat import Chat
from inference.engine.completion import Completion, Job, Sampler
from inference.engine.grammar import Grammar, Grammars
from inference.engine.llama import Llama
from inference.engine.phrases import Phrases
from inference.engine.scheduler import Engine
from inference.errors import BadRequest, StartError, UnusableSchema
from inference.heap import give_back
from inference.model_store import ModelFiles
from inference.verdicts import Verdicts
from shared_schemas.calibration import IDENTITY
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature, Message
from shared_schemas.features import FEATURES
from shared_schemas.features.risk import RiskOutput
from shared_schemas.prediction import Prediction


class Predictor:
    """One loaded model with its engine, ready for every feature. Raises StartError when it cannot serve all of them.

    `beside` is another one over the same file: its weights, vocabulary and compiled schemas are shared, so that several adapters
    over one base cost one copy of it. `is_plain`: as `Engine` says. `kept_answers`: as
    `AnswerCache` says; none by default.
    """

    def __init__(
        self, model: ModelFiles, *, n_ctx: int, n_threads: int, parallel: int = 8, waiting: int = 64, beside: "Predictor | None" = None, is_plain: bool = False, kept_answers: int = 0
    ) -> None:
        self.version = model.version
        self.weights_sha256 = model.weights_sha256
        self.verdicts = Verdicts()
        self.kept = AnswerCache(model.version, model.weights_sha256, kept_answers)
        self._calibrations = model.calibrations
        self.llama: Llama = Llama(
            beside.llama.weights if beside else model.weights,
            sha256=model.weights_sha256,
            adapter_path=model.runtime_adapter,
            adapter_sha256=model.version.adapter_sha256,
            n_cells=n_ctx,
            n_seats=parallel + len(FEATURES),
            n_threads=n_threads,
        )
        try:
            self._prepare(model, parallel, waiting, beside, is_plain)
        except BaseException:
            self.llama.close()
            raise

    def _prepare(self, model: ModelFiles, parallel: int, waiting: int, beside: "Predictor | None", is_plain: bool) -> None:
        self._chat = Chat(self.llama)
        self.grammars: Grammars = beside.grammars if beside else Grammars(self.llama.vocab, self.llama.n_vocab)
        self.answer_schemas: AnswerSchemas = beside.answer_schemas if beside else AnswerSchemas(self.grammars)
        try:
            self._grammars: dict[str, Grammar] = self._compiled(beside)
        except UnusableSchema as error:
            raise StartError(str(error)) from None
        self.engine = Engine(self.llama, parallel=parallel, waiting=waiting, phrases=self._read_phrases(None if is_plain else model.phrases), is_plain=is_plain)
        for feature in FEATURES.values():
            self.engine.pin(self._chat.constant_tokens(feature.constant_messages(self.version.prompt_style)))
        self.engine.start()

    def _compiled(self, beside: "Predictor | None") -> dict[str, Grammar]:
        style = self.version.prompt_style
        if beside and beside.version.prompt_style == style:
            return beside._grammars
        return {feature.name: self.grammars.compile(feature.name, feature.answer_schema(style)) for feature in FEATURES.values()}

    def prompt_tokens(self, feature: AnyFeature, prompt_input: Closed) -> list[int]:
        return self._chat.tokens(feature.messages(prompt_input, self.version.prompt_style))

    def chat_tokens(self, messages: Sequence[Message]) -> list[int]:
        """A conversation's prompt. Raises BadRequest when the model's template refuses the order of its roles."""
        try:
            return self._chat.tokens(messages)
        except TemplateError as error:
            raise BadRequest(f"The model's chat template refuses these messages: {error}", param="messages") from None

    def grammar(self, feature: str) -> Grammar:
        return self._grammars[feature]

    async def predict(self, feature: AnyFeature, prompt_input: Closed, *, deadline_s: float = float("inf")) -> Prediction[Closed]:
        """Answer one prompt input, in up to three attempts, or with the answer kept from the last time.

        Raises Overloaded, PromptTooLong, DeadlineExceeded and BadAnswer, the last attempt's. A cancelled caller's answer
        is given up within one step.
        """
        kept = self.kept.find(feature, prompt_input)
        if kept:
            return kept
        prompt = self.prompt_tokens(feature, prompt_input)
        deadline = time.monotonic() + deadline_s
        watch_at = level_at(self.version.prompt_style) if feature.output is RiskOutput else -1

        async def ask(attempt: Attempt) -> Completion:
            sampler = Sampler(attempt.temperature, seed=attempt.seed) if attempt.temperature else None
            job = Job(prompt, self._grammars[feature.name], feature.max_tokens, watch_at=watch_at, sampler=sampler, deadline=deadline)
            return await self.complete(job, is_again=attempt.seed > 0)

        prediction = await first_acceptable(feature, prompt_input, self.version, ask, self.verdicts, self._calibrations.get(feature.name, IDENTITY))
        self.kept.keep(feature, prompt_input, prediction)
        return prediction

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

    async def readiness(self) -> Readiness:
        return "full" if self.engine.is_full else "ready"

    async def stop(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        self.engine.stop()
        self.llama.close()
        give_back()

    def _read_phrases(self, path: Path | None) -> Phrases:
        phrases = Phrases()
        for line in path.read_text(encoding="utf-8").splitlines() if path else ():
            name, _, answer = line.partition("\t")
            phrases.teach(name, self.llama.tokenize(answer, special=False))
        return phrases
