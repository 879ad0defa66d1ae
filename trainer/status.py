"""Owns the operator's view of a running project: what is read, and how it is laid out on a terminal. Changes nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from trainer import rollout
from trainer.supabase_client import Project

Row = dict[str, Any]


def read_status(project: Project, *, days: int) -> dict[str, Any]:
    """Rollouts, days, fallback reasons, savings, providers and breakers of the last `days` days, newest first."""
    since = (datetime.now(UTC).date() - timedelta(days=days - 1)).isoformat()

    def recent(relation: str) -> list[Row]:
        return [row for row in project.rows(relation, order="day", descending=True) if row["day"] >= since]

    return {
        "rollouts": rollout.show(project),
        "days": recent("slm_daily"),
        "local_share": recent("slm_local_share_daily"),
        "fallback_reasons": recent("slm_fallback_reasons_daily"),
        "savings": recent("slm_savings_daily"),
        "break_even": (project.rows("slm_break_even", order="requests_per_day") or [{}])[0],
        "providers": project.rows("slm_providers", order="rank"),
        "breakers": project.rows("slm_breakers", order="provider"),
        "warnings": [row["warning"] for row in project.rows("slm_warnings", order="rank")],
    }


def show_status(status: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = [f"[bold yellow]warning[/]: {warning}" for warning in status["warnings"]]
    parts.append(_rollouts(status["rollouts"]))
    parts.append(_days(status["days"]) if status["days"] else "requests: none in these days")
    parts.append(_reasons(status["fallback_reasons"]) if status["fallback_reasons"] else "every first provider answered")
    parts.append(_savings(status["savings"], status["break_even"]))
    parts.append(_breakers(status["breakers"]) if status["breakers"] else "no breaker was ever touched")
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _rollouts(rows: Sequence[Row]) -> Table:
    table = _table("rollout", "feature", "stage", "since", "guard", "why", "seen by the guard")
    for row in rows:
        state = "paused" if row["is_paused"] else "pinned" if row["is_pinned"] else "on"
        seen = row["guard"].get("metrics", {})
        figures = ", ".join(f"{name} {metric['candidate_bad']}/{metric['candidate']}" for name, metric in seen.items()) or "nothing yet"
        table.add_row(row["feature"], rollout.name(row["stage"], row["share"]), row["since"][:16], state, row["reason"], figures)
    return table


def _days(rows: Sequence[Row]) -> Table:
    table = _table("requests", "day, feature", "all", "private", "cloud", "rules", "none", "lost", "local share", "p50", "p95", "cloud paid")
    for row in rows:
        share = row["by_slm"] / row["requests"] if row["requests"] else 0
        counts = [str(row[name]) for name in ("requests", "by_slm", "by_cloud", "by_rules", "unanswered", "lost")]
        table.add_row(f"{row['day']} {row['feature']}", *counts, f"{share:.0%}", _ms(row["p50_ms"]), _ms(row["p95_ms"]), _usd(row["cloud_usd"]))
    return table


def _reasons(rows: Sequence[Row]) -> Table:
    table = _table("why the first provider did not answer", "day, feature", "reason", "answered by", "requests")
    for row in rows:
        table.add_row(f"{row['day']} {row['feature']}", row["reason"], row["answered_by"], str(row["requests"]))
    return table


def _savings(rows: Sequence[Row], break_even: Row) -> Group:
    table = _table("savings against the cheapest acceptable cloud model", "day", "it would have cost", "cloud", "machine, 24 h", "making the model", "saved", "interval", "saved so far")
    for row in rows:
        verdict = "enter a machine price" if row["saved_usd"] is None else f"{_usd(row['saved_low_usd'])} to {_usd(row['saved_high_usd'])}{crosses_zero(row)}"
        table.add_row(
            row["day"],
            _usd(row["alternative_usd"]),
            _usd(row["cloud_usd"]),
            _usd(row["machine_usd"]),
            _usd(row["expenses_usd"]),
            _usd(row["saved_usd"]),
            verdict,
            _usd(row["saved_so_far_usd"]),
        )
    needed = break_even.get("break_even_requests_per_day")
    line = (
        f"break-even at {needed:,.0f} requests a day; {float(break_even['requests_per_day']):,.1f} a day came"
        if needed is not None
        else "break-even unknown: it needs a machine price (slm_machine_prices) and requests"
    )
    return Group(table, line)


def crosses_zero(row: Row) -> str:
    """Says so when the interval leaves open whether anything was saved."""
    return " (not shown to be a saving)" if row["saved_low_usd"] <= 0 <= row["saved_high_usd"] else ""


def _breakers(rows: Sequence[Row]) -> Table:
    table = _table("breakers", "provider", "state", "failures in a row", "last cause")
    for row in rows:
        state = f"open until {row['open_until'][:19]}" if row["open_until"] else "closed"
        table.add_row(row["provider"], state, str(row["failures"]), row["last_cause"] or "")
    return table


def _usd(value: float | None) -> str:
    return "-" if value is None else f"${float(value):,.4f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{float(value):,.0f} ms"
