"""The console's files: served as they are, told where the project is, and kept from going anywhere else."""

from pathlib import Path

import httpx
import pytest
from pydantic import AnyHttpUrl

from inference.app import create_app
from inference.errors import StartError
from inference.predict import Predictor
from inference.settings import Settings, read_settings

KEY = "sb_publishable_0123456789"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("not of the console")
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>console</title>")
    (folder / "assets" / "index-abc.js").write_text("export {}")
    return folder


def browser(predictor: Predictor, settings: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(settings, predictor)), base_url="http://service")


@pytest.fixture
def settings(built: Path) -> Settings:
    return Settings(console_supabase_url=AnyHttpUrl("https://abc.supabase.co"), console_supabase_key=KEY, console_folder=built)


async def test_the_page_may_talk_to_its_project_and_to_nobody_else(predictor: Predictor, settings: Settings) -> None:
    async with browser(predictor, settings) as client:
        page = await client.get("/console/")
        assert page.status_code == 200
        assert "console" in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'; connect-src 'self' https://abc.supabase.co;" in policy
        assert "unsafe" not in policy
        assert (await client.get("/console/config.json")).json() == {"supabase_url": "https://abc.supabase.co", "supabase_key": KEY}
        assert (await client.get("/console")).headers["location"] == "console/"


async def test_only_files_whose_name_holds_their_hash_are_kept_by_the_browser(predictor: Predictor, settings: Settings) -> None:
    async with browser(predictor, settings) as client:
        assert "immutable" in (await client.get("/console/assets/index-abc.js")).headers["cache-control"]
        assert (await client.get("/console/index.html")).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/console/none.js", "/console/../secret.txt", "/console/%2e%2e/secret.txt", "/console/..%2fsecret.txt"])
async def test_nothing_else_is_served(predictor: Predictor, settings: Settings, path: str) -> None:
    async with browser(predictor, settings) as client:
        answer = await client.get(path)
        assert answer.status_code == 404
        assert "not of the console" not in answer.text


async def test_without_a_project_there_is_no_console(predictor: Predictor, built: Path) -> None:
    async with browser(predictor, Settings(console_folder=built)) as client:
        assert (await client.get("/console/")).status_code == 404


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"CONSOLE_SUPABASE_URL": "https://abc.supabase.co"}, "belong together"),
        ({"CONSOLE_SUPABASE_URL": "https://abc.supabase.co", "CONSOLE_SUPABASE_KEY": "sb_secret_0123456789"}, "secret key"),
        ({"CONSOLE_SUPABASE_URL": "https://abc.supabase.co", "CONSOLE_SUPABASE_KEY": "e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.x"}, "secret key"),
        ({"CONSOLE_SUPABASE_URL": "https://abc.supabase.co", "CONSOLE_SUPABASE_KEY": KEY, "CONSOLE_FOLDER": "/nowhere"}, "holds no built console"),
    ],
)
def test_settings_that_would_harm_are_refused_at_start(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], fault: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartError, match=fault):
        read_settings()
