"""Owns who may teach: a dated, priced model behind an OpenAI-compatible endpoint, or the offline templates.

Knows nothing of what is taught. No model, price or date stands in this code: they come from the environment
(`TEACHER_…`) or from the project's own rows (`slm_providers`, `slm_prices`).
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trainer.errors import WrongTeacher
from trainer.supabase_client import Project

TEMPLATE = "template"
"""The teacher that needs nothing: no key, no network, the same examples for the same seed."""

OpenProject = Callable[[], AbstractContextManager[Project]]


ENV_FILE = ".env.local"
Share = Annotated[float, Field(gt=0, le=1)]


class TeacherName(BaseSettings):
    """Whom the environment, else `.env.local`, offers as a teacher."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="TEACHER_", env_file=ENV_FILE, env_ignore_empty=True)

    model: str = ""


class TeacherSettings(TeacherName):
    """One teacher from the environment, for endpoints that the project has no row for (vLLM, Ollama, a gateway)."""

    endpoint: str
    key: SecretStr = SecretStr("none")
    input_usd_per_million: float = Field(ge=0)
    output_usd_per_million: float = Field(ge=0)
    starts_on: date | None = None
    ends_on: date | None = None
    is_private: bool = False
    batch_price_factor: Share | None = None


@dataclass(frozen=True)
class Teacher:
    """A model that may be asked today. `ends_on` is the first day on which it no longer answers.

    `is_private`: what it sees stays in the house, so it may see organisations' (cleaned) rows; any other sees made-up inputs only.
    `batch_price_factor`: it is asked through the Batch API, at this share of its prices (None: one by one).
    """

    name: str
    endpoint: str
    model: str
    key: SecretStr
    input_usd_per_million: float
    output_usd_per_million: float
    ends_on: date | None = None
    is_private: bool = False
    batch_price_factor: float | None = None

    def usd(self, input_tokens: int, output_tokens: int) -> float:
        whole = (input_tokens * self.input_usd_per_million + output_tokens * self.output_usd_per_million) / 1_000_000
        return whole if self.batch_price_factor is None else whole * self.batch_price_factor


def find_teacher(name: str, *, today: date, open_project: OpenProject) -> Teacher:
    """The teacher of that name: the environment's (`TEACHER_MODEL`) first, else the project's row of that provider or model.

    Raises WrongTeacher when there is none, or when its days have not begun or are over.
    """
    return _from_environment(name, today) or _from_project(name, today, open_project)


def _from_environment(name: str, today: date) -> Teacher | None:
    if TeacherName().model != name:
        return None
    try:
        settings = TeacherSettings()
    except ValidationError as error:
        faults = ", ".join(f"TEACHER_{str(fault['loc'][0]).upper()} ({fault['msg'].lower()})" for fault in error.errors())
        raise WrongTeacher(f"Cannot ask {name}: set {faults}") from None
    _check_dates(name, settings.starts_on, settings.ends_on, today)
    return Teacher(name=name, **settings.model_dump(exclude={"starts_on"}))


def _from_project(name: str, today: date, open_project: OpenProject) -> Teacher:
    with open_project() as project:
        providers = project.rows("slm_providers", order="rank")
        prices = project.rows("slm_prices", order="valid_from", descending=True)
    known = [row for row in providers if name in {row["name"], row["model"]}]
    if not known:
        raise WrongTeacher(f"Cannot ask {name}: no provider has that name (known: {', '.join(row['name'] for row in providers)}; or set TEACHER_MODEL, TEACHER_ENDPOINT and its prices)")
    row = known[0]
    if row["api"] != "openai":
        raise WrongTeacher(f"Cannot ask {name}: its API is {row['api']}, teachers are asked through OpenAI-compatible endpoints (set TEACHER_ENDPOINT)")
    _check_dates(name, date.fromisoformat(row["starts_on"]), row["ends_on"] and date.fromisoformat(row["ends_on"]), today)
    price = next((price for price in prices if price["model"] == (row["priced_as"] or row["model"]) and price["valid_from"] <= today.isoformat()), None)
    if price is None:
        raise WrongTeacher(f"Cannot ask {name}: slm_prices has no price for {row['priced_as'] or row['model']} (enter one, its cost could not be capped)")
    key = os.environ.get(row["key_name"]) or dotenv_values(ENV_FILE).get(row["key_name"])
    if not key:
        raise WrongTeacher(f"Cannot ask {name}: {row['key_name']} is not set")
    return Teacher(
        name=row["name"],
        endpoint=row["endpoint"],
        model=row["model"],
        key=SecretStr(key),
        input_usd_per_million=float(price["input_usd_per_million"]),
        output_usd_per_million=float(price["output_usd_per_million"]),
        ends_on=row["ends_on"] and date.fromisoformat(row["ends_on"]),
        batch_price_factor=float(row["batch_price_factor"]) if row.get("batch_price_factor") else None,
    )


def _check_dates(name: str, starts_on: date | None, ends_on: Any, today: date) -> None:
    if ends_on and ends_on <= today:
        raise WrongTeacher(f"Cannot ask {name}: it ended on {ends_on} (name its successor)")
    if starts_on and starts_on > today:
        raise WrongTeacher(f"Cannot ask {name}: it begins on {starts_on} only")
