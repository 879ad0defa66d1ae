"""Owns the one rule every shape of ours obeys: no key that is not named. Knows no feature."""

from pydantic import BaseModel, ConfigDict


class Closed(BaseModel):
    """A closed, immutable shape: an unknown key is an error, a number is never made from a string."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
