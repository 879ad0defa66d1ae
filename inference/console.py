"""Owns the static files under /console/ and the headers that keep a browser from going anywhere else with them.

Knows nothing of what is in them, but that config.json tells them where the project is.
"""

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

BUILT = Path(__file__).resolve().parents[1] / "supabase" / "console" / "dist"
"""Where scripts/packages.py builds the console in a checkout."""
_FOREVER = "public, max-age=31536000, immutable"
"""The names of files under assets/ hold their content's hash."""


def console_routes(folder: Path, *, supabase_url: str, supabase_key: str) -> APIRouter:
    """The routes of the console. `supabase_key` is the publishable one: everybody who opens the page gets it."""
    router = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=folder, html=True)
    url = supabase_url.rstrip("/")
    headers = {
        "content-security-policy": f"default-src 'self'; connect-src 'self' {_origin(url)}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "cross-origin-opener-policy": "same-origin",
    }

    @router.get("/console", name="console")
    async def door() -> Response:
        return RedirectResponse("console/", 308)

    @router.get("/console/config.json", name="console")
    async def config() -> Response:
        return JSONResponse({"supabase_url": url, "supabase_key": supabase_key}, headers={**headers, "cache-control": "no-store"})

    @router.api_route("/console/{path:path}", methods=["GET", "HEAD"], name="console")
    async def file(path: str, request: Request) -> Response:
        response = await files.get_response(path or "index.html", request.scope)
        response.headers.update({**headers, "cache-control": _FOREVER if path.startswith("assets/") else "no-cache"})
        return response

    return router


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
