"""Owns the HTTP face: routes, statuses, limits. Knows nothing of how an answer is made."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from inference.answer_cache import FROM_CACHE
from inference.answers import Answers
from inference.auth import Forbidden, Unauthorized, is_allowed
from inference.body_limit import BodyLimit
from inference.body_schema import body_schema
from inference.console import console_routes
from inference.errors import BadAnswer, Cancelled, CannotServe, DeadlineExceeded, InferenceError, ModelBusy, Overloaded, PromptTooLong, Rejected, RemoteRefused, Unavailable, UnknownModel
from inference.faults import described
from inference.hang_up import unless_gone
from inference.logs import event
from inference.metrics import CONTENT_TYPE, Metrics
from inference.model_routes import model_routes
from inference.models import Models
from inference.observe import Observe, note
from inference.openai_api import chat_router
from inference.settings import Settings
from shared_schemas.feature import AnyFeature
from shared_schemas.features import FEATURES
from shared_schemas.model_version import ModelVersion
from shared_schemas.prediction import Prediction

MAX_BODY_BYTES = 64 * 1024
MAX_CHAT_BYTES = 1024 * 1024

log = logging.getLogger("inference")


class Readiness(BaseModel):
    """`model` answers the first feature, `models` name the one of each."""

    status: Literal["ready", "full", "unreachable"]
    model: ModelVersion
    models: dict[str, str]


_REFUSALS = described(
    {
        400: "The body ended before its announced length",
        401: "The bearer token is missing or wrong",
        408: "The body came too slowly",
        413: "The body is too large",
        422: "The input, the deadline or the prompt's length is wrong",
        499: "The caller hung up",
        502: "The model's answer must not be used",
        503: "The queue is full, or the remote model cannot be reached; see Retry-After",
        504: "No answer within its deadline",
    }
)

_STATUS: tuple[tuple[type[InferenceError], int], ...] = (
    (Overloaded, 503),
    (Unavailable, 503),
    (DeadlineExceeded, 504),
    (PromptTooLong, 422),
    (Cancelled, 499),
    (BadAnswer, 502),
    (RemoteRefused, 502),
    (UnknownModel, 404),
    (ModelBusy, 409),
    (CannotServe, 422),
)


def create_app(settings: Settings, answers: Answers | Models) -> FastAPI:
    """The service over one model, or over live ones (which end with it). `/healthz` says that it lives, `/readyz` that one
    more request may wait."""
    models = answers if isinstance(answers, Models) else Models(answers, longest_s=settings.deadline_s)
    first = next(iter(FEATURES))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        event(log, logging.INFO, "ready", {"model": models.version(first).name})
        yield
        if answers is models:
            await models.stop()

    app = FastAPI(title="TalentOps inference", version="1", lifespan=lifespan)
    metrics = Metrics(models.loaded)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES, larger={"/v1/chat/completions": MAX_CHAT_BYTES}, max_s=settings.body_deadline_s)
    app.add_middleware(Observe, metrics=metrics)

    async def authorized(authorization: Annotated[str | None, Header()] = None) -> None:
        if not is_allowed(settings.inference_token, authorization):
            raise Unauthorized("The bearer token is missing or wrong")

    async def admin(authorization: Annotated[str | None, Header()] = None) -> None:
        if settings.inference_admin_token is None:
            raise Forbidden("Models cannot be loaded or unloaded here: INFERENCE_ADMIN_TOKEN is not set")
        if not is_allowed(settings.inference_admin_token, authorization):
            raise Unauthorized("The operator's bearer token is missing or wrong")

    app.include_router(model_routes(models, caller=authorized, admin=admin))

    for feature in FEATURES.values():
        app.post(
            f"/v1/features/{feature.name}",
            name=feature.name,
            dependencies=[Depends(authorized)],
            response_model=Prediction[feature.output],  # type: ignore[name-defined]
            responses=_REFUSALS,
            openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": body_schema(feature.prompt_input)}}}},
        )(_handler(feature, models, settings))

    app.include_router(chat_router(models.using, authorized, settings.deadline_s))

    if settings.console_supabase_url and settings.console_supabase_key:
        app.include_router(console_routes(settings.console_folder, supabase_url=str(settings.console_supabase_url), supabase_key=settings.console_supabase_key))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "The queue is full, or a remote model cannot be reached"}})
    async def readyz() -> Response:
        status = await models.readiness()
        names = {feature: models.version(feature).name for feature in FEATURES}
        return JSONResponse({"status": status, "model": models.version(first).model_dump(), "models": names}, 200 if status == "ready" else 503)

    @app.get("/metrics", name="metrics", dependencies=[Depends(authorized)], include_in_schema=False)
    async def shown() -> Response:
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    @app.exception_handler(InferenceError)
    async def translate(_request: Request, error: InferenceError) -> Response:
        if settings.log_prompts:
            note(message=str(error))
        return _failure(error)

    @app.exception_handler(RequestValidationError)
    async def refuse_headers(_request: Request, error: RequestValidationError) -> Response:
        return _error(422, "invalid_input", [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()])

    @app.exception_handler(HTTPException)
    async def refuse_route(_request: Request, error: HTTPException) -> Response:
        return _error(error.status_code, "not_found" if error.status_code == 404 else "refused", [str(error.detail)])

    return app


def _handler(feature: AnyFeature, models: Models, settings: Settings) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(request: Request, x_deadline_ms: Annotated[int | None, Header(ge=1, le=150_000)] = None) -> Response:
        try:
            prompt_input = feature.prompt_input.model_validate_json(await request.body())
        except ValidationError as error:
            return _error(422, "invalid_input", [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors(include_url=False)])
        if settings.log_prompts:
            note(prompt_input=prompt_input.model_dump())
        deadline_s = min(settings.deadline_s, x_deadline_ms / 1000) if x_deadline_ms else settings.deadline_s

        with models.answering(feature.name) as model:
            prediction = await unless_gone(request, model.predict(feature, prompt_input, deadline_s=deadline_s))
        note(
            model=prediction.model.name,
            confidence=prediction.confidence,
            attempts=prediction.details["attempts"],
            from_cache=FROM_CACHE in prediction.details,
            **prediction.usage.model_dump(),
            **prediction.timings.model_dump(),
        )
        if settings.log_prompts:
            note(output=prediction.output.model_dump())
        return Response(prediction.model_dump_json(), media_type="application/json")

    return answer


def _failure(error: InferenceError) -> Response:
    if isinstance(error, Unauthorized):
        return _error(401, error.code, [str(error)], {"www-authenticate": "Bearer"})
    if isinstance(error, Forbidden):
        return _error(403, error.code, [str(error)])
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, Overloaded | Unavailable) else {}
    return _error(status, error.code, list(error.faults) if isinstance(error, Rejected) else [str(error)], headers)


def _error(status: int, code: str, faults: list[str], headers: dict[str, str] | None = None) -> Response:
    note(code=code)
    return JSONResponse({"error": {"code": code, "message": faults[0], "faults": faults}}, status, headers)
