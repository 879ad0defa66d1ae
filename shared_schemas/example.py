"""Owns one training or test example: an input, a good answer to it, and where the pair comes from."""

from typing import Any, Literal

from pydantic import Field, model_validator

from shared_schemas.closed import Closed
from shared_schemas.features import FEATURES
from shared_schemas.features.plan import PlanInput, PlanOutput
from shared_schemas.features.risk import RiskInput, RiskOutput

Origin = Literal["template"]
"""`template`: written by the offline deterministic teacher. Real history and other teachers get their own names."""


class Example(Closed):
    feature: str
    origin: Origin
    prompt_input: RiskInput | PlanInput = Field(union_mode="smart")
    output: RiskOutput | PlanOutput = Field(union_mode="smart")

    @model_validator(mode="after")
    def _belongs_to_its_feature(self) -> "Example":
        feature: Any = FEATURES[self.feature]
        if not isinstance(self.prompt_input, feature.prompt_input) or not isinstance(self.output, feature.output):
            raise ValueError(f"Cannot use this pair as an example of {self.feature!r}: its shapes belong to another feature")
        return self
