"""The console's files: plain HTML, CSS and ES modules from this package, under `/`, with strict headers."""

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGES: Final = (
    "/",
    "/integrations",
    "/people",
    "/people/erased",
    "/people/{record}",
    "/families",
    "/families/{record}",
    "/held",
    "/runs",
    "/runs/{record}",
    "/proof",
    "/settings",
    "/settings/calendar",
    "/conflicts",
    "/conflicts/rules",
    "/conflicts/rules/new",
    "/events",
    "/events/suggestions",
    "/events/syncs",
    "/events/syncs/{record}",
    "/events/{record}/link",
    "/events/{record}",
    "/activity",
    "/activity/settings",
    "/activity/deliveries/{record}",
    # Redirect addresses of Planning Center and of the identity provider.
    "/oauth/callback",
    "/signed-in",
)
"""Addresses that answer with the shell; `app.js` finds the page."""
HSTS_SECONDS: Final = 2 * 365 * 24 * 3600
SHELL: Final = "index.html"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, read at the start."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str


def read_assets() -> dict[str, Asset]:
    """Every file of the console by its path below `/`."""
    return dict(_walk(files("webhook_gateway") / "console", ""))


def _walk(folder: Traversable, below: str) -> list[tuple[str, Asset]]:
    found: list[tuple[str, Asset]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{below}{entry.name}/")
        elif media_type := TYPES.get("." + entry.name.rpartition(".")[2]):
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found.append((f"{below}{entry.name}", Asset(content, gzip.compress(content, mtime=0), media_type, etag)))
    return found


def door_headers(public_url: str) -> dict[str, str]:
    """Headers of every answer, the API's too: no other origin opens, embeds or reads the answers.

    HSTS is sent under https only: browsers ignore it by http, and on a developer's localhost it would lock every other
    program on that name out of http.
    """
    strict = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"}
    if public_url.startswith("https:"):
        # No includeSubDomains: subdomains may belong to others.
        strict["Strict-Transport-Security"] = f"max-age={HSTS_SECONDS}"
    return strict


def security_headers(issuer: str) -> dict[str, str]:
    """No inline code, no other origin; the console calls only this API and the issuer."""
    parts = urlsplit(issuer)
    policy = (
        "default-src 'self'",
        f"connect-src 'self' {parts.scheme}://{parts.netloc}",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "object-src 'none'",
        # The console builds nodes, never markup; the browser refuses any sink that would parse markup.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }


def takes_gzip(accepted: str) -> bool:
    """Whether an `Accept-Encoding` accepts gzip (`gzip;q=0` does not)."""
    for entry in accepted.lower().split(","):
        name, _, weight = entry.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def make_router(issuer: str) -> APIRouter:
    """One route per file, one per page."""
    router = APIRouter(include_in_schema=False)
    assets = read_assets()
    strict = security_headers(issuer)

    def serve(path: str, asset: Asset) -> None:
        async def answer(request: Request) -> Response:
            # no-cache: browsers revalidate each file, so that files of two console versions never mix.
            headers = strict | {"ETag": asset.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
            content = asset.content
            if takes_gzip(request.headers.get("accept-encoding", "")):
                content = asset.compressed
                headers |= {"ETag": f'{asset.etag[:-1]}-gzip"', "Content-Encoding": "gzip"}
            if headers["ETag"] in request.headers.get("if-none-match", ""):
                headers.pop("Content-Encoding", None)
                return Response(status_code=304, headers=headers)
            return Response(content, media_type=asset.media_type, headers=headers)

        router.add_api_route(path, answer, methods=["GET", "HEAD"], name=f"console {path}")

    for name, asset in assets.items():
        if name != SHELL:
            serve(f"/{name}", asset)
    for page in PAGES:
        serve(page, assets[SHELL])
    return router


def show_missing_pages(app: FastAPI, issuer: str) -> None:
    """Answer a browser's mistyped address with the shell and status 404; the console then explains it."""
    problem = app.exception_handlers[HTTPException]
    shell = read_assets()[SHELL]
    strict = security_headers(issuer)

    @app.exception_handler(404)
    async def _missing(request: Request, error: HTTPException) -> Response:
        page = request.method in {"GET", "HEAD"} and not request.url.path.startswith("/api/")
        if page and "text/html" in request.headers.get("accept", ""):
            return Response(shell.content, 404, strict, shell.media_type)
        answer: Response = await problem(request, error)  # type: ignore[misc] # servicekit's is asynchronous
        return answer
