"""Owns how the trainer reaches its Supabase project: settings, one client, errors in one line. Knows no tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from postgrest.exceptions import APIError
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from supabase import Client, ClientOptions, SupabaseException, create_client
from trainer.errors import ProjectUnreachable

TIMEOUT_S = 30


class ProjectSettings(BaseSettings):
    """Which project: from the environment, else from `.env.local`, which scripts/up writes."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env.local", env_ignore_empty=True)

    supabase_url: str
    supabase_secret_key: SecretStr


class Project:
    """One Supabase project as its service role sees it. Every call raises ProjectUnreachable with what went wrong."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def call(self, function: str, **parameters: Any) -> Any:
        """The result of a database function."""
        return self._execute(f"call {function}", self._client.rpc(function, parameters))

    def rows(self, relation: str, *, order: str, descending: bool = False, limit: int = 1000) -> list[dict[str, Any]]:
        """At most `limit` rows (1,000: the server's own limit) of a table or view."""
        return list(self._execute(f"read {relation}", self._client.table(relation).select("*").order(order, desc=descending).limit(limit)))

    def update(self, table: str, key: tuple[str, str], **values: Any) -> None:
        self._execute(f"write {table}", self._client.table(table).update(values).eq(*key))

    def _execute(self, what: str, query: Any) -> Any:
        try:
            return query.execute().data
        except APIError as error:
            raise ProjectUnreachable(f"Cannot {what}: {error.message} ({error.code})") from None
        except httpx.HTTPError as error:
            raise ProjectUnreachable(f"Cannot {what}: {error or type(error).__name__} (is SUPABASE_URL right, and the project up?)") from None


@contextmanager
def open_project() -> Iterator[Project]:
    """The project that the environment names, until the block ends. Raises ProjectUnreachable when it names none."""
    try:
        settings = ProjectSettings()
    except ValidationError as error:
        missing = ", ".join(str(fault["loc"][0]).upper() for fault in error.errors())
        raise ProjectUnreachable(f"Cannot reach the project: {missing} not set (scripts/up writes them into .env.local)") from None
    with httpx.Client(timeout=TIMEOUT_S) as http:
        options = ClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        try:
            client = create_client(settings.supabase_url, settings.supabase_secret_key.get_secret_value(), options)
        except SupabaseException as error:
            raise ProjectUnreachable(f"Cannot reach the project: {error}") from None
        yield Project(client)
