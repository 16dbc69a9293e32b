"""The two documents of the API: ``python -m webhook_gateway.api.documents FOLDER`` writes them, for linters."""

import json
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from webhook_gateway.api import asyncapi, openapi, own


@cache  # cached: it takes most of a second, which each gateway of a test process would spend again
def make_documents() -> dict[str, dict[str, Any]]:
    """The documents by file name."""
    now = version("webhook-gateway")
    return {
        "openapi.json": openapi.make_document(own.router, version=now),
        "asyncapi.json": asyncapi.make_document(version=now),
    }


def make_router() -> APIRouter:
    """Serve both below `/api/v1`, without Swagger's page, which loads its scripts from a CDN."""
    router = APIRouter(prefix="/api/v1", include_in_schema=False)
    for name, document in make_documents().items():
        _serve(router, name, JSONResponse(document))
    return router


def _serve(router: APIRouter, name: str, answer: JSONResponse) -> None:
    async def document() -> JSONResponse:
        return answer

    router.add_api_route(f"/{name}", document, methods=["GET"], name=name)


def main(folder: Path) -> None:
    """Write both documents into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in make_documents().items():
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
