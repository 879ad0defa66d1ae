"""The OpenAPI is the truth: requests made from it, sound and broken ones, get the statuses and shapes that it promises."""

import re
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.checks import CheckContext
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from inference.app import create_app
from inference.predict import Predictor
from inference.settings import Settings
from tests.inference.conftest import TOKEN

OPERATIONS = [
    ("/v1/models", "GET"),
    ("/v1/models", "POST"),
    ("/v1/models/{name}", "DELETE"),
    ("/v1/features/risk", "POST"),
    ("/v1/features/plan", "POST"),
    ("/v1/chat/completions", "POST"),
    ("/healthz", "GET"),
    ("/readyz", "GET"),
]
TRACE = re.compile(r"Traceback|File \".*\", line \d+")


@pytest.fixture(scope="module")
def short_app(predictor: Predictor) -> FastAPI:
    """An answer takes half a second at most: what is checked here is what is promised, not what is said."""
    return create_app(Settings(inference_token=SecretStr(TOKEN), inference_admin_token=SecretStr(TOKEN), deadline_s=0.5), predictor)


def no_crash(_context: CheckContext, response: schemathesis.Response, _case: Any) -> None:
    assert response.status_code != 500
    assert not TRACE.search(response.text)


CASES = [(path, method, mode) for path, method in OPERATIONS for mode in GenerationMode if method == "POST" or mode is GenerationMode.POSITIVE]


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_every_request_gets_what_the_openapi_promises(short_app: FastAPI, path: str, method: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_asgi("/openapi.json", short_app)[path][method]
    checks = [no_crash, status_code_conformance, content_type_conformance, response_schema_conformance]

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def tried(case: Any) -> None:
        if isinstance(case.body, dict) and "model" in case.body and mode is GenerationMode.POSITIVE:
            case.body["model"] = "default"  # any other is 404 at once
        case.call_and_validate(headers={"authorization": f"Bearer {TOKEN}"}, checks=checks)

    tried()


def test_every_route_is_described(short_app: FastAPI) -> None:
    paths = short_app.openapi()["paths"]
    assert {(path, method.upper()) for path, methods in paths.items() for method in methods} == set(OPERATIONS)
    assert "$ref" not in str(paths["/v1/chat/completions"]["post"]["requestBody"])
    assert set(paths["/v1/chat/completions"]["post"]["responses"]) >= {"200", "400", "401", "404", "408", "413", "422", "502", "503", "504"}
