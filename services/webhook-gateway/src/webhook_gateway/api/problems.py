"""Pages about the types of problem documents, at the addresses in their `type`. Public, without scripts."""

from html import escape
from operator import attrgetter
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from contracts.http.problems import PROBLEM_TYPES, ProblemType

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_router() -> APIRouter:
    """The list, and a page for each type."""
    router = APIRouter(include_in_schema=False)
    _serve(router, "/problems", "Problems", _list())
    for problem in PROBLEM_TYPES.values():
        _serve(router, problem.path, problem.title, _page(problem))
    return router


def _serve(router: APIRouter, path: str, title: str, body: str) -> None:
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        '<link rel="icon" href="/style/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/style/tokens.css">'
        '<link rel="stylesheet" href="/style/base.css"><link rel="stylesheet" href="/style/parts.css"></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )

    async def answer() -> HTMLResponse:
        return HTMLResponse(page, headers=_HEADERS)

    router.add_api_route(path, answer, methods=["GET"], name=path)


def _list() -> str:
    rows = "".join(
        f'<tr><td>{problem.status}</td><td><a href="{problem.path}">{problem.slug}</a></td>'
        f"<td>{_text(problem.meaning)}</td></tr>"
        for problem in sorted(PROBLEM_TYPES.values(), key=attrgetter("status"))
    )
    return (
        "<p>What the API answers with when something is not possible: problem documents (RFC 9457). Their "
        "<code>type</code> leads to one of these pages.</p><table><thead><tr><th>Status</th><th>Type</th>"
        f"<th>Meaning</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _page(problem: ProblemType) -> str:
    return (
        f"<p><code>{problem.path}</code>, status {problem.status}</p>"
        f"<p>{_text(problem.meaning)}</p><p>{_text(problem.remedy)}</p>"
        '<p>The document’s <code>detail</code> says it for the case at hand. <a href="/problems">All types</a></p>'
    )


def _text(words: str) -> str:
    """HTML of plain text, with backticks turned into code."""
    parts = escape(words).replace("*", "").split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
