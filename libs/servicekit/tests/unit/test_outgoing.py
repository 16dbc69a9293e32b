"""No client of a server keeps cookies."""

import ast
import asyncio
from pathlib import Path

import httpx

from servicekit.http.outgoing import Pools, no_cookies
from servicekit.testing import eventually

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


def test_every_client_of_our_servers_decides_about_cookies() -> None:
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


async def test_few_callers_share_a_connection_and_many_share_pools() -> None:
    connections = 0
    gate = asyncio.Event()
    gate.set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            await gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    pools = Pools()
    async with server, httpx.AsyncClient(transport=pools, cookies=no_cookies(), trust_env=False) as client:
        for _ in range(5):
            await client.get(address)
        assert connections == 1
        gate.clear()
        together = [asyncio.create_task(client.get(address)) for _ in range(64)]
        await eventually(lambda: connections == 64)
        assert set(pools._waiting) == {4}
        gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*together)} == {200}
        assert set(pools._waiting) == {0}
