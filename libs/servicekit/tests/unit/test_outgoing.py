"""No client of a server keeps cookies."""

import ast
from pathlib import Path

import httpx

from servicekit.outgoing import no_cookies

ROOT = Path(__file__).parents[4]
CLIENTS = {"AsyncClient", "AsyncOAuth2Client"}


async def test_a_cookie_that_an_answer_sets_is_not_sent() -> None:
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"Set-Cookie": "pco_attempt=secret; Path=/"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), cookies=no_cookies()) as client:
        await client.get("http://owner/a")
        await client.get("http://owner/b")
        await client.get("http://owner/c", headers={"Cookie": "pco_attempt=own"})
    assert seen == [None, None, "pco_attempt=own"]


def test_every_client_that_our_servers_make_says_what_becomes_of_cookies() -> None:
    made = [
        (path.relative_to(ROOT), call.lineno, {keyword.arg for keyword in call.keywords})
        for tree in ("libs", "services", "deploy")
        for path in ROOT.glob(f"{tree}/*/src/**/*.py")
        if "testing" not in path.parts
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) in CLIENTS
    ]
    assert made
    assert not [(str(path), line) for path, line, named in made if "cookies" not in named]
