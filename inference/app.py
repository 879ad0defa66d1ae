"""Owns the HTTP face: routes, statuses, limits. Knows nothing of how an answer is made."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from inference.answers import Answers
from inference.auth import is_allowed
from inference.body_limit import BodyLimit
from inference.errors import BadAnswer, Cancelled, CannotServe, DeadlineExceeded, InferenceError, ModelBusy, Overloaded, PromptTooLong, Rejected, RemoteRefused, Unavailable, UnknownModel
from inference.model_routes import model_routes
from inference.models import Models
from inference.settings import Settings
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature
from shared_schemas.features import FEATURES
from shared_schemas.prediction import Prediction

MAX_BODY_BYTES = 64 * 1024
DISCONNECT_POLL_S = 0.02

log = logging.getLogger("inference")

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


class Unauthorized(InferenceError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"


class Forbidden(InferenceError):
    """Nobody may do that, whatever the token."""

    code = "forbidden"


def create_app(settings: Settings, answers: Answers | Models) -> FastAPI:
    """The service over one model, or over live ones (which end with it). `/healthz` says that it lives, `/readyz` that one
    more request may wait."""
    models = answers if isinstance(answers, Models) else Models(answers, longest_s=settings.deadline_s)
    first = next(iter(FEATURES))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        log.info("ready: %s", models.version(first).name)
        yield
        if answers is models:
            await models.stop()

    app = FastAPI(title="TalentOps inference", version="1", lifespan=lifespan)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)

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
            openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": feature.input_schema()}}}},
        )(_handler(feature, models, settings.deadline_s))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> Response:
        status = await models.readiness()
        names = {feature: models.version(feature).name for feature in FEATURES}
        return JSONResponse({"status": status, "model": models.version(first).model_dump(), "models": names}, 200 if status == "ready" else 503)

    @app.exception_handler(InferenceError)
    async def translate(_request: Request, error: InferenceError) -> Response:
        return _failure(error)

    @app.exception_handler(RequestValidationError)
    async def refuse_headers(_request: Request, error: RequestValidationError) -> Response:
        return _error(422, "invalid_input", [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()])

    @app.exception_handler(HTTPException)
    async def refuse_route(_request: Request, error: HTTPException) -> Response:
        return _error(error.status_code, "not_found" if error.status_code == 404 else "refused", [str(error.detail)])

    return app


def _handler(feature: AnyFeature, models: Models, longest_s: float) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(request: Request, x_deadline_ms: Annotated[int | None, Header(ge=1, le=150_000)] = None) -> Response:
        try:
            prompt_input = feature.prompt_input.model_validate_json(await request.body())
        except ValidationError as error:
            return _error(422, "invalid_input", [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors(include_url=False)])
        deadline_s = min(longest_s, x_deadline_ms / 1000) if x_deadline_ms else longest_s

        with models.answering(feature.name) as model:
            prediction = await _unless_gone(request, model.predict(feature, prompt_input, deadline_s=deadline_s))
        log.info("%s answered in %.0f ms, %d tokens", feature.name, prediction.timings.prefill_ms + prediction.timings.decode_ms, prediction.usage.output_tokens)
        return Response(prediction.model_dump_json(), media_type="application/json")

    return answer


async def _unless_gone(request: Request, answering: Awaitable[Prediction[Closed]]) -> Prediction[Closed]:
    """Await the answer, and stop making it when the caller hangs up."""
    task = asyncio.ensure_future(answering)
    while not (await asyncio.wait({task}, timeout=DISCONNECT_POLL_S))[0]:
        if await request.is_disconnected():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            raise Cancelled("The caller went away")
    return task.result()


def _failure(error: InferenceError) -> Response:
    if isinstance(error, Unauthorized):
        return _error(401, error.code, [str(error)], {"www-authenticate": "Bearer"})
    if isinstance(error, Forbidden):
        return _error(403, error.code, [str(error)])
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, Overloaded | Unavailable) else {}
    log.warning("%s: %s", error.code, "answer refused" if isinstance(error, BadAnswer) else error)
    return _error(status, error.code, list(error.faults) if isinstance(error, Rejected) else [str(error)], headers)


def _error(status: int, code: str, faults: list[str], headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": faults[0], "faults": faults}}, status, headers)
