"""Owns what every engine looks like from outside, wherever it runs. Knows no engine."""

from typing import Literal, Protocol

from inference.verdicts import Verdicts
from shared_schemas.closed import Closed
from shared_schemas.feature import AnyFeature
from shared_schemas.model_version import ModelVersion
from shared_schemas.prediction import Prediction

Readiness = Literal["ready", "full", "unreachable"]


class Answers(Protocol):
    """One model that answers features: in this process (`Predictor`) or at another server (`Remote`).

    `weights_sha256` is of the file that is loaded: the base's, or that of base and adapter merged; None where it is not ours. `verdicts`: how its answers were judged.
    """

    @property
    def version(self) -> ModelVersion: ...

    @property
    def weights_sha256(self) -> str | None: ...

    @property
    def verdicts(self) -> Verdicts: ...

    async def predict(self, feature: AnyFeature, prompt_input: Closed, *, deadline_s: float) -> Prediction[Closed]:
        """An accepted answer. Raises Overloaded, Unavailable, PromptTooLong, DeadlineExceeded and BadAnswer."""
        ...

    async def readiness(self) -> Readiness:
        """Whether one more request may come."""
        ...

    async def stop(self) -> None:
        """Finish what is at work and free what it holds. Nobody asks any more."""
        ...
