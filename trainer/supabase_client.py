"""Owns how the trainer reaches its Supabase project: settings, one client, patience, errors in one line. Knows no tables."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from postgrest.exceptions import APIError
from postgrest.types import ReturnMethod
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from supabase import Client, ClientOptions, SupabaseException, create_client
from trainer.errors import ProjectUnreachable

TIMEOUT_S = 30.0
SLOW_S = 600.0
"""For functions that look at whole tables."""
WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Waits before a request is made again; a server that names a longer one (Retry-After) gets up to `LONGEST_WAIT_S`."""
LONGEST_WAIT_S = 30.0
BUSY = {429, 500, 502, 503, 504, 520, 522, 524}
PAGE = 1000
"""Rows asked for at once: no server that we know of gives more."""


class ProjectSettings(BaseSettings):
    """Which project: from the environment, else from `.env.local`, which scripts/up writes."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env.local", env_ignore_empty=True)

    supabase_url: str
    supabase_secret_key: SecretStr


class Project:
    """One Supabase project as its service role sees it. Every call raises ProjectUnreachable with what went wrong."""

    def __init__(self, client: Client, url: str) -> None:
        self.url = url
        self._client = client

    def call(self, function: str, **parameters: Any) -> Any:
        """The result of a database function."""
        return self._execute(f"call {function}", self._client.rpc(function, parameters))

    def ask(self, function: str, *, timeout_s: float = TIMEOUT_S, **parameters: str) -> dict[str, Any]:
        """The object that a database function gives which changes nothing: asked again when the server is busy."""
        return dict(self._asked(function, timeout_s, parameters, _is_object))

    def ask_rows(self, function: str, *, timeout_s: float = TIMEOUT_S, **parameters: str) -> list[dict[str, Any]]:
        """The same for a function that gives a list of objects."""
        return list(self._asked(function, timeout_s, parameters, _is_rows))

    def page(self, relation: str, columns: str, *, after: str | None = None, bounds: Sequence[tuple[str, str, str]] = ()) -> list[dict[str, Any]]:
        """The next rows in the order of their ids behind the id `after`.

        A server may give fewer than `PAGE` although there are more: only an empty page is the last. `bounds` are
        conditions such as `("created_at", "lte", "2026-01-01")`.
        """
        query: Any = self._client.table(relation).select(columns).limit(PAGE).order("id")
        for column, operator, value in bounds:
            query = query.filter(column, operator, value)
        return list(self._execute(f"read {relation}", query.gt("id", after) if after else query, _is_rows))

    def add(self, table: str, rows: Sequence[Mapping[str, Any]], *, key: str = "id") -> None:
        """Insert rows, at most `PAGE` a request; those whose key is there already stay as they are."""
        for start in range(0, len(rows), PAGE):
            some = [dict(row) for row in rows[start : start + PAGE]]
            self._execute(f"write {table}", self._client.table(table).upsert(some, on_conflict=key, ignore_duplicates=True, returning=ReturnMethod.minimal))

    def rows(self, relation: str, *, order: str, descending: bool = False, limit: int = 1000) -> list[dict[str, Any]]:
        """At most `limit` rows (1,000: the server's own limit) of a table or view."""
        return list(self._execute(f"read {relation}", self._client.table(relation).select("*").order(order, desc=descending).limit(limit), _is_rows))

    def update(self, table: str, key: tuple[str, str], **values: Any) -> None:
        self._execute(f"write {table}", self._client.table(table).update(values).eq(*key))

    def _asked(self, function: str, timeout_s: float, parameters: Mapping[str, str], fits: Callable[[Any], bool]) -> Any:
        query = self._client.rpc(function, dict(parameters), get=True)
        usual, query.request.session.timeout = query.request.session.timeout, httpx.Timeout(TIMEOUT_S, read=timeout_s)
        try:
            return self._execute(f"call {function}", query, fits)
        finally:
            query.request.session.timeout = usual

    def _execute(self, what: str, query: Any, fits: Callable[[Any], bool] = lambda _: True) -> Any:
        try:
            found = query.execute().data
        except APIError as error:
            raise ProjectUnreachable(f"Cannot {what}: {error.message} ({error.code})", error.code) from None
        except httpx.HTTPError as error:
            raise ProjectUnreachable(f"Cannot {what}: {error or type(error).__name__} (is SUPABASE_URL right, and the project up?)") from None
        except RecursionError:
            raise ProjectUnreachable(f"Cannot {what}: the answer is nested too deeply") from None
        if not fits(found):
            raise ProjectUnreachable(f"Cannot {what}: the answer has another shape (is SUPABASE_URL right?)")
        return found


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _expect_json(response: httpx.Response) -> None:
    """An answer that promises content has some, and it is JSON: an empty one would pass for an empty table. Raises httpx.DecodingError."""
    if response.status_code != 200:
        return
    kind = response.headers.get("content-type", "no type").partition(";")[0]
    if "json" not in kind:
        raise httpx.DecodingError(f"the answer is {kind}, not JSON")
    if not response.read().strip():
        raise httpx.DecodingError("the answer is empty")


class PatientTransport(httpx.HTTPTransport):
    """Makes a request again when the server is busy or cannot be reached, if that cannot do anything twice."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for wait in WAITS_S if _may_repeat(request) else ():
            try:
                response = super().handle_request(request)
            except httpx.TransportError:
                time.sleep(wait)
                continue
            if response.status_code not in BUSY:
                return response
            response.close()
            time.sleep(_wait(response, wait))
        return super().handle_request(request)


def _may_repeat(request: httpx.Request) -> bool:
    """Reading, and inserting what is passed over when it is there already."""
    return request.method in {"GET", "HEAD"} or "resolution=" in request.headers.get("prefer", "")


def _wait(response: httpx.Response, least: float) -> float:
    named = response.headers.get("retry-after", "")
    return min(max(least, float(named)), LONGEST_WAIT_S) if named.isdigit() else least


@contextmanager
def open_project() -> Iterator[Project]:
    """The project that the environment names, until the block ends. Raises ProjectUnreachable when it names none."""
    try:
        settings = ProjectSettings()
    except ValidationError as error:
        missing = ", ".join(str(fault["loc"][0]).upper() for fault in error.errors())
        raise ProjectUnreachable(f"Cannot reach the project: {missing} not set (scripts/up writes them into .env.local)") from None
    with httpx.Client(timeout=TIMEOUT_S, transport=PatientTransport(), event_hooks={"response": [_expect_json]}) as http:
        options = ClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False, postgrest_client_retry=False)
        try:
            client = create_client(settings.supabase_url, settings.supabase_secret_key.get_secret_value(), options)
        except SupabaseException as error:
            raise ProjectUnreachable(f"Cannot reach the project: {error}") from None
        yield Project(client, settings.supabase_url)
