"""Owns how a run under load is told: a table of requests by outcome, and what held. Knows nothing of how it was run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from callers import OUTCOMES, Tally


@dataclass(frozen=True)
class Check:
    """One promise: whether it was kept, and the figures that say so."""

    promise: str
    held: bool
    says: str


@dataclass
class Report:
    """`figures` are for whoever reads on; `checks` alone decide."""

    title: str
    tally: Tally
    figures: Mapping[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return bool(self.checks) and all(check.held for check in self.checks)

    def check(self, promise: str, held: bool, says: str) -> None:
        self.checks.append(Check(promise, held, says))

    def as_json(self) -> dict[str, Any]:
        counts = {kind: {outcome: self.tally.counts[kind, outcome] for outcome in OUTCOMES if self.tally.counts[kind, outcome]} for kind in _kinds(self.tally)}
        return {"title": self.title, "held": self.held, "requests": counts, "figures": dict(self.figures), "checks": [asdict(check) for check in self.checks], "odd": self.tally.odd}

    def as_text(self) -> str:
        rows = [[kind, *(str(self.tally.counts[kind, outcome] or "") for outcome in OUTCOMES)] for kind in _kinds(self.tally)]
        rows.append(["all", *(str(self.tally.of(outcome)) for outcome in OUTCOMES)])
        lines = [self.title, "", *_columns([["requests", *OUTCOMES], *rows]), ""]
        lines += [f"{name}: {value}" for name, value in self.figures.items()]
        lines += ["", *(f"{'held  ' if check.held else 'BROKEN'}  {check.promise}: {check.says}" for check in self.checks)]
        return "\n".join([*lines, *(f"        {odd}" for odd in self.tally.odd)])


def check_rest(report: Report, *, live: float, waiting: float, cells: float) -> None:
    """The promise that nothing is left behind once nobody asks any more."""
    says = f"{live:.0f} live, {waiting:.0f} waiting, {cells:.0f} cells set aside"
    report.check("at the end queue and cells are empty", live == waiting == cells == 0, says)


def check_outcomes(report: Report) -> None:
    """The promise that everybody who stayed was answered or cleanly refused."""
    wrong, stuck = report.tally.of("wrong"), report.tally.of("stuck")
    report.check("every request was answered or cleanly refused", not wrong, f"{wrong} were not")
    report.check("nobody was stuck", not stuck, f"{stuck} were")


def _kinds(tally: Tally) -> list[str]:
    return list(dict.fromkeys(kind for kind, _ in tally.counts))


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]) for row in rows]
