"""Owns the name of what answered: which weights, which adapter, which prompt. Knows nothing of where they lie."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from shared_schemas.closed import Closed
from shared_schemas.feature import PromptStyle

Quantisation = Literal["Q8_0", "Q4_0"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ModelVersion(Closed):
    """`name` is what people read; the hashes are what proves it. `base_sha256` is None for a model that another server runs.

    `quantisation` is what base and adapter are merged into: the one that the adapter was trained for.
    """

    name: str
    base_sha256: Sha256 | None = None
    adapter_sha256: Sha256 | None = None
    prompt_style: PromptStyle
    quantisation: Quantisation = "Q8_0"
