"""Owns the shape in which routes say what went wrong, and how OpenAPI is told of it. Knows no routes."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


class Fault(BaseModel):
    """`faults` names everything that is wrong, `message` the first of it."""

    code: str
    message: str
    faults: list[str]


class FaultBody(BaseModel):
    error: Fault


def described(refusals: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's responses for statuses and what they mean."""
    return {status: {"model": FaultBody, "description": text} for status, text in refusals.items()}
