"""Owns how a raw probability becomes one that means what it says: fitted by the trainer, stored with a model version.

Knows nothing of how either figure is made or used.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from shared_schemas.closed import Closed

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Identity(Closed):
    """The raw figure as it is."""

    kind: Literal["identity"]

    def apply(self, raw: float) -> float:
        return raw

    def apply_to_choice(self, distribution: Sequence[float], chosen: int) -> float:
        return distribution[chosen]


class Temperature(Closed):
    """Above 1 less sure than the model, below 1 surer (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""

    kind: Literal["temperature"]
    temperature: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]

    def apply(self, raw: float) -> float:
        """On the logit of one probability."""
        if raw <= 0 or raw >= 1:
            return min(1.0, max(0.0, raw))
        logit = math.log(raw / (1 - raw)) / self.temperature
        return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))

    def apply_to_choice(self, distribution: Sequence[float], chosen: int) -> float:
        """On all probabilities, each to the power of 1/t, then to a sum of 1."""
        most = max(distribution)
        if most <= 0:
            return 0.0
        powers = [math.pow(p / most, 1 / self.temperature) for p in distribution]
        return powers[chosen] / sum(powers)


class Isotonic(Closed):
    """Straight lines between the points (x, y), flat outside of them: never falling, so no order is changed."""

    kind: Literal["isotonic"]
    x: Annotated[list[Probability], Field(min_length=2, max_length=1000)]
    y: Annotated[list[Probability], Field(min_length=2, max_length=1000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError(f"x has {len(self.x)} points and y has {len(self.y)}")
        if any(a >= b for a, b in pairwise(self.x)):
            raise ValueError("x must rise from each point to the next")
        if any(a > b for a, b in pairwise(self.y)):
            raise ValueError("y must not fall from any point to the next")
        return self

    def apply(self, raw: float) -> float:
        if raw <= self.x[0]:
            return self.y[0]
        if raw >= self.x[-1]:
            return self.y[-1]
        i = bisect_right(self.x, raw)
        share = (raw - self.x[i - 1]) / (self.x[i] - self.x[i - 1])
        return self.y[i - 1] + share * (self.y[i] - self.y[i - 1])

    def apply_to_choice(self, distribution: Sequence[float], chosen: int) -> float:
        return self.apply(distribution[chosen])


Calibration: TypeAlias = Annotated[Identity | Temperature | Isotonic, Field(discriminator="kind")]

KINDS: tuple[str, ...] = ("identity", "temperature", "isotonic")
"""In the order of their numbers in a prediction's details."""

IDENTITY = Identity(kind="identity")
