"""Owns what makes an answer unacceptable, said twice: in words for a person, by kind for counting. Knows no feature."""

from typing import Literal, get_args

FaultKind = Literal["level", "control_character", "nonsense", "cut_off", "repetition", "jargon", "milestone", "figure", "untrue", "order", "spaces"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


class Fault(str):
    """A sentence that says what is wrong, and may quote the answer; `kind` quotes nothing."""

    kind: FaultKind

    def __new__(cls, kind: FaultKind, text: str) -> "Fault":
        fault = super().__new__(cls, text)
        fault.kind = kind
        return fault


def kind_of(fault: str) -> FaultKind | Literal["other"]:
    return fault.kind if isinstance(fault, Fault) else "other"
