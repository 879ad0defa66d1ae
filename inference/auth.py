"""Owns who may ask: one bearer token, compared in constant time."""

import hmac

from pydantic import SecretStr

from inference.errors import InferenceError


class Unauthorized(InferenceError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"


class Forbidden(InferenceError):
    """Nobody may do that, whatever the token."""

    code = "forbidden"


def is_allowed(token: SecretStr | None, authorization: str | None) -> bool:
    """Whether an `Authorization` header carries the token; without a token (loopback only) everybody may ask."""
    if token is None:
        return True
    scheme, _, given = (authorization or "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.get_secret_value().encode())
    return same and scheme.lower() == "bearer"
