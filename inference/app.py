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

from inference.auth import is_allowed
from inference.body_limit import BodyLimit
from inference.errors import BadAnswer, Cancelled, DeadlineExceeded, InferenceError, Overloaded, PromptTooLong, Rejected
from inference.logs import event
from inference.metrics import CONTENT_TYPE, Metrics
from inference.observe import Observe, note
from inference.predict import Predictor
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
    (DeadlineExceeded, 504),
    (PromptTooLong, 422),
    (Cancelled, 499),
    (BadAnswer, 502),
)


class Unauthorized(InferenceError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"


def create_app(settings: Settings, predictor: Predictor) -> FastAPI:
    """The service over a loaded model. `/healthz` says that it lives, `/readyz` that one more request may wait."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        event(log, logging.INFO, "ready", {"model": predictor.version.name})
        yield

    app = FastAPI(title="TalentOps inference", version="1", lifespan=lifespan)
    metrics = Metrics(lambda: [predictor])
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(Observe, metrics=metrics)

    async def authorized(authorization: Annotated[str | None, Header()] = None) -> None:
        if not is_allowed(settings.inference_token, authorization):
            raise Unauthorized("The bearer token is missing or wrong")

    for feature in FEATURES.values():
        app.post(
            f"/v1/features/{feature.name}",
            name=feature.name,
            dependencies=[Depends(authorized)],
            response_model=Prediction[feature.output],  # type: ignore[name-defined]
            openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": feature.input_schema()}}}},
        )(_handler(feature, predictor, settings))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> Response:
        full = predictor.engine.is_full
        return JSONResponse({"status": "full" if full else "ready", "model": predictor.version.model_dump()}, 503 if full else 200)

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


def _handler(feature: AnyFeature, predictor: Predictor, settings: Settings) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(request: Request, x_deadline_ms: Annotated[int | None, Header(ge=1, le=150_000)] = None) -> Response:
        try:
            prompt_input = feature.prompt_input.model_validate_json(await request.body())
        except ValidationError as error:
            return _error(422, "invalid_input", [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors(include_url=False)])
        if settings.log_prompts:
            note(prompt_input=prompt_input.model_dump())
        deadline_s = min(settings.deadline_s, x_deadline_ms / 1000) if x_deadline_ms else settings.deadline_s

        prediction = await _unless_gone(request, predictor.predict(feature, prompt_input, deadline_s=deadline_s))
        note(model=prediction.model.name, confidence=prediction.confidence, attempts=prediction.details["attempts"], **prediction.usage.model_dump(), **prediction.timings.model_dump())
        if settings.log_prompts:
            note(output=prediction.output.model_dump())
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
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, Overloaded) else {}
    return _error(status, error.code, list(error.faults) if isinstance(error, Rejected) else [str(error)], headers)


def _error(status: int, code: str, faults: list[str], headers: dict[str, str] | None = None) -> Response:
    note(code=code)
    return JSONResponse({"error": {"code": code, "message": faults[0], "faults": faults}}, status, headers)
