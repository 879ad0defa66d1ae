"""Owns `POST /v1/chat/completions`: OpenAI's wire, its errors and its stream, over any model in this process.

Honoured or refused by name, never ignored. Knows nothing of features, nor of which models there are.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inference.answer_schema import ANY_OBJECT, AnswerSchema
from inference.answers import Answers
from inference.auth import Unauthorized
from inference.body_schema import body_schema
from inference.chat_shapes import (
    AnswerMessage,
    CachedTokens,
    ChatCompletion,
    ChatRequest,
    ChatUsage,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    Fault,
    FaultBody,
    FinishReason,
    JsonSchema,
)
from inference.chat_text import ChatText
from inference.engine.completion import Completion, Job, Sampler
from inference.errors import BadAnswer, BadRequest, Cancelled, DeadlineExceeded, InferenceError, Overloaded, PromptTooLong, Truncated, UnknownModel, UnusableSchema
from inference.hang_up import unless_gone
from inference.observe import note
from inference.predict import Predictor
from inference.strict_json import place, read_json
from shared_schemas.feature import Message

GREEDY_BELOW = 0.01
"""A lower temperature than this is no chance at all."""

_STATUS: tuple[tuple[type[InferenceError], int, str], ...] = (
    (Unauthorized, 401, "authentication_error"),
    (UnknownModel, 404, "invalid_request_error"),
    (BadRequest, 400, "invalid_request_error"),
    (UnusableSchema, 400, "invalid_request_error"),
    (PromptTooLong, 400, "invalid_request_error"),
    (Truncated, 422, "invalid_response_error"),
    (BadAnswer, 502, "server_error"),
    (Overloaded, 503, "server_error"),
    (DeadlineExceeded, 504, "server_error"),
    (Cancelled, 499, "invalid_request_error"),
)
_CODES: dict[type[InferenceError], tuple[str, str | None]] = {
    Unauthorized: ("invalid_api_key", None),
    UnknownModel: ("model_not_found", "model"),
    UnusableSchema: ("unusable_schema", "response_format"),
    PromptTooLong: ("context_length_exceeded", "messages"),
}
_REFUSALS: dict[int, str] = {
    400: "A field, the JSON or the schema cannot be honoured; `param` names it",
    401: "The bearer token is missing or wrong",
    404: "No such model",
    408: "The body came too slowly",
    413: "The body is too large",
    422: "A structured answer was cut by its token limit",
    499: "The caller hung up",
    502: "The model's answer does not match the schema",
    503: "The queue is full; see Retry-After",
    504: "No answer within its deadline",
}


@dataclass(frozen=True)
class Asked:
    """A request that can be answered. `schema`: what the answer must match, if anything."""

    wanted: ChatRequest
    model: Predictor
    job: Job
    schema: AnswerSchema | None

    def finish(self, done: Completion) -> FinishReason:
        """Why the answer ended. Raises InvalidOutput: constrained is not proof."""
        if self.schema:
            self.schema.check_answer(done.text)
        return "length" if done.is_cut else "stop"


class ErrorsAsOpenAI(APIRoute):
    """Says what went wrong as OpenAI's clients expect it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handler(request)
            except InferenceError as error:
                return _refusal(error)
            except RequestValidationError as error:
                fault = error.errors()[0]
                return _refusal(BadRequest(f"{fault['loc'][-1]}: {fault['msg']}", param=str(fault["loc"][-1])))

        return translated


def chat_router(using: Callable[[str], AbstractContextManager[Answers]], authorized: Callable[..., Awaitable[None]], longest_s: float) -> APIRouter:
    """The route over the models that `using` knows by name and keeps loaded meanwhile; it raises UnknownModel for any other."""
    router = APIRouter(route_class=ErrorsAsOpenAI, dependencies=[Depends(authorized)])

    @router.post(
        "/v1/chat/completions",
        name="chat",
        response_model=ChatCompletion,
        responses={
            200: {"description": "The answer; as server-sent events of `chat.completion.chunk` when `stream` is true", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            **{status: {"model": FaultBody, "description": text} for status, text in _REFUSALS.items()},
        },
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": body_schema(ChatRequest)}}}},
    )
    async def complete_chat(request: Request, x_deadline_ms: Annotated[int | None, Header(ge=1, le=150_000)] = None) -> Response:
        deadline = time.monotonic() + min(longest_s, (x_deadline_ms or 150_000) / 1000)
        wanted = await asyncio.to_thread(_read, await request.body())
        with ExitStack() as lease:
            model = _local(lease.enter_context(using(wanted.model)))
            asked = await asyncio.to_thread(_prepare, wanted, model, deadline)
            if wanted.stream:
                return await _stream(request, asked, lease)
            done = await unless_gone(request, model.complete(asked.job))
        reason = asked.finish(done)
        _note(asked, done, reason)
        text = ChatText(asked.wanted.stops).feed(done.text.encode(), final=True)
        answer = ChatCompletion(choices=[Choice(message=AnswerMessage(content=text), finish_reason=reason)], usage=_usage(done), **_identity(asked.model))
        return Response(answer.model_dump_json(), media_type="application/json")

    return router


def _read(body: bytes) -> ChatRequest:
    """A large body takes a while, so it is read beside the event loop. Raises BadRequest."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise BadRequest("body: Input should be an object", code="invalid_json")
    try:
        return ChatRequest.model_validate(value)
    except ValidationError as error:
        raise _named(error, value) from None


def _local(model: Answers) -> Predictor:
    if not isinstance(model, Predictor):
        raise BadRequest(f"{model.version.name!r} is at another server, which speaks this protocol itself: ask it there", code="remote_model", param="model")
    return model


def _prepare(wanted: ChatRequest, model: Predictor, deadline: float) -> Asked:
    """A large schema takes a while to compile, so this runs beside the event loop. Raises what cannot be answered."""
    schema = None
    if wanted.is_structured:
        bare = wanted.response_format.json_schema.answer_schema if isinstance(wanted.response_format, JsonSchema) else ANY_OBJECT
        schema = model.answer_schemas.get(bare)
        schema.checked.check_fits(wanted.most_tokens)
    temperature = wanted.temperature or 0.0
    seed = secrets.randbits(63) if wanted.seed is None else wanted.seed % 2**64
    job = Job(
        model.chat_tokens(_messages(wanted)),
        schema.grammar if schema else None,
        wanted.most_tokens,
        sampler=Sampler(temperature, seed, wanted.top_p or 1.0) if temperature >= GREEDY_BELOW else None,
        stops=[stop.encode() for stop in wanted.stops],
        deadline=deadline,
    )
    return Asked(wanted, model, job, schema)


def _messages(wanted: ChatRequest) -> list[Message]:
    return [
        Message("system" if message.role == "developer" else message.role, message.content if isinstance(message.content, str) else "\n".join(part.text for part in message.content))
        for message in wanted.messages
    ]


def _named(error: ValidationError, value: dict[str, Any]) -> BadRequest:
    """The first fault, with the caller's own path to it: pydantic's path also names the members of unions."""
    fault = error.errors(include_url=False)[0]
    path: list[str | int] = []
    here: Any = value
    for part in fault["loc"]:
        if not isinstance(here, dict | list):
            break
        try:
            here = here[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            continue
        path.append(part)
    if fault["type"] == "missing":
        path.append(fault["loc"][-1])
    param = place(tuple(path)) or fault["msg"].removeprefix("Value error, ").split()[0]
    if fault["type"] == "extra_forbidden":
        return BadRequest(f"Unsupported parameter: {param[:100]!r}", code="unsupported_parameter", param=param[:100])
    code = "missing_required_parameter" if fault["type"] == "missing" else "invalid_value"
    return BadRequest(f"{param}: {fault['msg'].removeprefix('Value error, ')}", code=code, param=param)


async def _stream(request: Request, asked: Asked, lease: ExitStack) -> Response:
    """An answer in events. It begins with the first news from the engine, so that a refusal still is a status."""
    news = _news(asked)
    first = await unless_gone(request, anext(news))
    return EventStream(_events(asked, first, news), lease.pop_all())


class EventStream(StreamingResponse):
    """Server-sent events; `lease` ends with them, even when nobody stayed to hear the first."""

    def __init__(self, events: AsyncIterator[bytes], lease: ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._lease:
            await super().__call__(scope, receive, send)


async def _news(asked: Asked) -> AsyncIterator[bytes | Completion]:
    """Pieces of the answer as they are made, then the whole. Whoever stops listening takes the job along."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()

    def tell(piece: bytes) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and with it the caller
            loop.call_soon_threadsafe(queue.put_nowait, piece)

    asked.job.on_text = tell
    answering = asyncio.ensure_future(asked.model.complete(asked.job))
    answering.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (piece := await queue.get()) is not None:
            yield piece
        yield await answering
    finally:
        asked.job.cancel()
        if not answering.cancel() and not answering.cancelled():
            answering.exception()  # nobody may be left to hear of it


async def _events(asked: Asked, first: bytes | Completion, news: AsyncIterator[bytes | Completion]) -> AsyncIterator[bytes]:
    with_usage = bool(asked.wanted.stream_options and asked.wanted.stream_options.include_usage)
    identity, text = _identity(asked.model), ChatText(asked.wanted.stops)

    def chunk(choices: Sequence[ChunkChoice], usage: ChatUsage | None = None) -> bytes:
        fields = Chunk(choices=list(choices), usage=usage, **identity).model_dump(mode="json")
        for choice in fields["choices"]:
            choice["delta"] = {key: value for key, value in choice["delta"].items() if value is not None}
        if not with_usage:
            del fields["usage"]
        return _event(fields)

    yield chunk([ChunkChoice(delta=Delta(role="assistant", content=""))])
    try:
        new: bytes | Completion = first
        while isinstance(new, bytes):
            if said := text.feed(new):
                yield chunk([ChunkChoice(delta=Delta(content=said))])
            new = await anext(news)
        if said := text.feed(b"", final=True):
            yield chunk([ChunkChoice(delta=Delta(content=said))])
        reason = asked.finish(new)
        yield chunk([ChunkChoice(delta=Delta(), finish_reason=reason)])
        _note(asked, new, reason)
    except InferenceError as error:
        note(code=error.code)
        yield _event({"error": _fault(error)[2].model_dump()})
        return
    finally:
        await news.aclose()  # type: ignore[attr-defined]
    if with_usage:
        yield chunk([], _usage(new))
    yield b"data: [DONE]\n\n"


def _event(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _identity(model: Predictor) -> dict[str, Any]:
    version = model.version
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": version.name, "system_fingerprint": f"fp_{(version.adapter_sha256 or version.base_sha256 or '')[:12]}"}


def _usage(done: Completion) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=done.prompt_tokens,
        completion_tokens=len(done.tokens),
        total_tokens=done.prompt_tokens + len(done.tokens),
        prompt_tokens_details=CachedTokens(cached_tokens=done.cached_tokens),
    )


def _note(asked: Asked, done: Completion, reason: FinishReason) -> None:
    """For the request's log line."""
    figures = {name: round(getattr(done, name), 2) for name in ("queue_ms", "prefill_ms", "decode_ms")}
    note(model=asked.model.version.name, ended=reason, stream=asked.wanted.stream, prompt_tokens=done.prompt_tokens, output_tokens=len(done.tokens), **figures)


def _refusal(error: InferenceError) -> Response:
    status, headers, fault = _fault(error)
    note(code=fault.code)
    return JSONResponse(FaultBody(error=fault).model_dump(), status, headers)


def _fault(error: InferenceError) -> tuple[int, dict[str, str], Fault]:
    status, kind = next(((status, kind) for known, status, kind in _STATUS if isinstance(error, known)), (500, "server_error"))
    code, param = (error.code, error.param) if isinstance(error, BadRequest) else _CODES.get(type(error), (error.code, None))
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, Overloaded) else {"www-authenticate": "Bearer"} if status == 401 else {}
    return status, headers, Fault(message=str(error), type=kind, param=param, code=code)
