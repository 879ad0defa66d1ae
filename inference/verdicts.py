"""Owns how the answers of one model were judged: how long checking them took, and why some were rejected.

Knows nothing of who reads that. The event loop's thread alone writes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.engine.counts import Spread, seconds
from shared_schemas.fault import kind_of


@dataclass
class Verdicts:
    """`rejected`: answers by feature and kind of fault; one with two kinds of fault counts under both."""

    check_s: Spread = field(default_factory=seconds)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, feature: str, faults: Sequence[str], took_s: float) -> None:
        self.check_s.add(took_s)
        self.rejected.update({(feature, kind_of(fault)) for fault in faults})
