"""Owns asking a model at another server: any that speaks OpenAI's chat completions (vLLM, Ollama, llama-server, a gateway).

Knows nothing of what its answers mean. A server that cannot be reached is left alone for a moment and then asked again.
"""

import asyncio
import logging
import time
from typing import Any

from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI, RateLimitError, Timeout
from openai.types.chat import ChatCompletion

from inference.answers import Readiness
from inference.attempts import Attempt, first_acceptable
from inference.engine.completion import Completion
from inference.errors import DeadlineExceeded, InferenceError, Overloaded, RemoteRefused, Unavailable
from inference.remote_reply import read_reply
from inference.settings import Settings
from inference.verdicts import Verdicts
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature, PromptStyle
from shared_schemas.model_version import ModelVersion
from shared_schemas.prediction import Prediction

_LEFT_ALONE_S = 2
"""How long a server that could not be reached is not asked again."""
_CONNECT_S = 2.0
_CHECK_S, _CHECKED_FOR_S = 2.0, 1.0
"""How long a health check may take, and how long its result counts."""
_TOP = 20
"""Most likely tokens that are asked for at each place: as many as OpenAI and vLLM give."""

log = logging.getLogger("inference.remote")


class Remote:
    """One model at one server. At most `settings.parallel` questions are asked at once, `settings.queue_limit` more may wait."""

    def __init__(self, settings: Settings) -> None:
        if settings.remote_url is None or settings.remote_model is None:
            raise InferenceError("REMOTE_URL and REMOTE_MODEL are not set")
        self.version = ModelVersion(name=settings.remote_model, prompt_style=settings.remote_prompt_style)
        self.weights_sha256: str | None = None
        self.verdicts = Verdicts()
        self._dialect = settings.remote_dialect
        key = settings.remote_api_key.get_secret_value() if settings.remote_api_key else "none"
        self._client = AsyncOpenAI(base_url=str(settings.remote_url), api_key=key, max_retries=0, timeout=Timeout(None, connect=_CONNECT_S))
        self._places = asyncio.Semaphore(settings.parallel)
        self._most = settings.parallel + settings.queue_limit
        self._asked = 0
        self._alone_until = 0.0
        self._checked: tuple[float, Readiness] = (0.0, "unreachable")

    async def predict(self, feature: AnyFeature, prompt_input: Closed, *, deadline_s: float = float("inf")) -> Prediction[Closed]:
        """As `Predictor.predict`; raises Unavailable when the server cannot be reached, and RemoteRefused when it will not answer."""
        if self._asked >= self._most:
            raise Overloaded(self._asked, retry_after_s=1)
        if time.monotonic() < self._alone_until:
            raise Unavailable("The model's server could not be reached a moment ago", _LEFT_ALONE_S)
        messages = [{"role": message.role, "content": message.content} for message in feature.messages(prompt_input, self.version.prompt_style)]

        async def ask(attempt: Attempt) -> Completion:
            return await self._ask(feature, messages, attempt)

        self._asked += 1
        try:
            async with asyncio.timeout(None if deadline_s == float("inf") else deadline_s):
                return await first_acceptable(feature, prompt_input, self.version, ask, self.verdicts)
        except TimeoutError:
            raise DeadlineExceeded("No answer within its deadline") from None
        finally:
            self._asked -= 1

    async def readiness(self) -> Readiness:
        """Full, or whether the server lists its models: asked at most once a second."""
        if self._asked >= self._most:
            return "full"
        at, found = self._checked
        if time.monotonic() - at > _CHECKED_FOR_S:
            found = await self._check()
            self._checked = (time.monotonic(), found)
        return found

    async def stop(self) -> None:
        await self._client.close()

    async def _check(self) -> Readiness:
        try:
            async with asyncio.timeout(_CHECK_S):
                await self._client.models.list()
        except (TimeoutError, APIError) as error:
            log.warning("The model's server is not well: %s", error or "no answer in time")
            return "unreachable"
        self._alone_until = 0.0
        return "ready"

    async def _ask(self, feature: AnyFeature, messages: list[dict[str, str]], attempt: Attempt) -> Completion:
        arrived = time.monotonic()
        async with self._places:
            began = time.monotonic()
            reply = await self._reply(feature, messages, attempt)
        done = read_reply(feature, reply, self.version.prompt_style)
        done.queue_ms, done.decode_ms = 1000 * (began - arrived), 1000 * (time.monotonic() - began)
        return done

    async def _reply(self, feature: AnyFeature, messages: list[dict[str, str]], attempt: Attempt) -> ChatCompletion:
        chat: Any = self._client.chat.completions
        try:
            reply = await chat.create(
                model=self.version.name,
                messages=messages,
                max_tokens=feature.max_tokens,
                temperature=attempt.temperature,
                seed=attempt.seed,
                logprobs=True,
                top_logprobs=_TOP,
                **_constraint(self._dialect, feature, self.version.prompt_style),
            )
        except APIConnectionError as error:
            self._alone_until = time.monotonic() + _LEFT_ALONE_S
            self._checked = (time.monotonic(), "unreachable")
            raise Unavailable(f"The model's server cannot be reached: {error.__cause__ or error}", _LEFT_ALONE_S) from None
        except RateLimitError as error:
            raise Overloaded(self._asked, _retry_after(error)) from None
        except APIStatusError as error:
            if error.status_code == 503:
                raise Unavailable("The model's server answered 503", _retry_after(error)) from None
            raise RemoteRefused(f"The model's server answered {error.status_code}") from None
        except (APIError, ValueError) as error:
            raise RemoteRefused(f"The model's server gave no answer that can be read: {type(error).__name__}") from None
        if not isinstance(reply, ChatCompletion):
            raise RemoteRefused("The model's server gave no chat completion")
        return reply


def _constraint(dialect: str, feature: AnyFeature, style: PromptStyle) -> dict[str, Any]:
    """How the server is told the schema."""
    schema = feature.answer_schema(style)
    if dialect == "vllm":
        return {"extra_body": {"structured_outputs": {"json": schema, "disable_any_whitespace": True}}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": feature.name, "schema": schema, "strict": True}}}


def _retry_after(error: APIStatusError) -> int:
    given = error.response.headers.get("retry-after", "")
    return min(60, max(1, int(given))) if given.isdigit() else 1
