"""The door against callers who keep it waiting, or send what no request needs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import httpx
import psutil
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request, Response

from servicekit.http.protocol import Door, QuickDoor
from servicekit.testing import eventually, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")
MIB = 1024 * 1024
CHUNKED = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Hasty(Door):
    """Waits for nobody."""

    patience = 0.4


class HastyAndQuick(QuickDoor):
    """The same with the other parser."""

    patience = 0.4


class Connection:
    """A caller who writes bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ended(self) -> bytes:
        """What came until the server ended the connection."""
        got = b""
        with suppress(ConnectionError):
            while part := await asyncio.wait_for(self.reader.read(MIB), 20):
                got += part
        return got


def make_app() -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {}

    @app.get("/large")
    async def large() -> Response:
        return Response(b"x" * 64 * MIB)

    @app.post("/body")
    async def body(request: Request) -> Response:
        return Response(str(len(await request.body())))

    @app.post("/unread")
    async def unread() -> Response:
        return Response("answered")

    return app


@pytest_asyncio.fixture(loop_scope="session", params=[Hasty, HastyAndQuick])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(make_app(), door=request.param) as running:
        yield running


@asynccontextmanager
async def connected(client: httpx.AsyncClient) -> AsyncIterator[Connection]:
    assert client.base_url.port
    streams = await asyncio.open_connection(client.base_url.host, client.base_url.port, limit=64 * 1024)
    try:
        yield Connection(*streams)
    finally:
        streams[1].close()


def endless(kind: str) -> Iterator[bytes]:
    """A request that goes on for 100 MiB without a body, a MiB at a time."""
    if kind == "a trailer":
        yield CHUNKED + b"1\r\nx\r\n0\r\nX-Long: "
        yield from (b"y" * MIB for _ in range(100))
    elif kind == "trailers":
        yield CHUNKED + b"1\r\nx\r\n0\r\n"
        yield from (b"a: b\r\n" * (MIB // 6) for _ in range(100))
    elif kind == "a chunk's extension":
        yield CHUNKED + b"1;x="
        yield from (b"y" * MIB for _ in range(100))
    elif kind == "a header":
        yield b"GET /readyz HTTP/1.1\r\nX-Long: "
        yield from (b"y" * MIB for _ in range(100))
    else:
        yield b"GET /"
        yield from (b"y" * MIB for _ in range(100))


@pytest.mark.parametrize("kind", ["a trailer", "trailers", "a chunk's extension", "a header", "an address"])
async def test_an_endless_request_is_refused_at_its_beginning(client: httpx.AsyncClient, kind: str) -> None:
    async with connected(client) as connection:
        sent = 0
        with suppress(ConnectionError):
            for part in endless(kind):
                await connection.send(part)
                sent += len(part)
        assert sent < 20 * MIB  # what sockets hold, and little more
    assert (await client.get("/readyz")).status_code == 200


async def test_nonsense_behind_an_answer_ends_the_connection_and_no_more(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(client) as connection:
        await connection.send(CHUNKED.replace(b"/body", b"/unread"))
        await connection.reader.readuntil(b"answered")
        await connection.send(b"no chunk\r\n")
        await connection.ended()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_body_in_chunks_of_any_size_is_read(client: httpx.AsyncClient) -> None:
    async with connected(client) as connection:
        await connection.send(CHUNKED + b"1\r\nx\r\n" * 20_000 + b"0\r\nX-Trailer: 1\r\n\r\n")
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await connection.reader.readexactly(5) == b"20000"


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /readyz HTTP/1.1\r\nHost: x\r\n", b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"],
)
async def test_a_silent_caller_is_disconnected(client: httpx.AsyncClient, begun: bytes) -> None:
    async with connected(client) as connection:
        await connection.send(begun)
        answer = await connection.ended()
        assert answer.endswith(b"answered") if b"unread" in begun else answer == b""


async def test_a_head_that_trickles_is_not_waited_for(client: httpx.AsyncClient) -> None:
    async with connected(client) as connection:
        ended = asyncio.create_task(connection.ended())
        with suppress(ConnectionError):
            while not ended.done():
                await connection.send(b"G")
                await asyncio.sleep(0.02)
        assert ended.done()


async def test_the_end_of_an_unwanted_body_restarts_the_wait(client: httpx.AsyncClient) -> None:
    async with connected(client) as connection:
        await connection.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        await connection.reader.readuntil(b"answered")
        await connection.send(b"xxxxxxxx")
        assert await connection.ended() == b""


async def test_an_unread_answer_is_dropped(client: httpx.AsyncClient) -> None:
    this = psutil.Process()
    async with connected(client) as connection:
        port = connection.writer.get_extra_info("sockname")[1]
        await connection.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await connection.reader.readexactly(1)

        def gone() -> bool:
            return not any(one.raddr and one.raddr.port == port for one in this.net_connections("tcp"))

        await eventually(gone)


async def test_an_answer_that_is_taken_slowly_is_not_cut(client: httpx.AsyncClient) -> None:
    async with connected(client) as connection:
        await connection.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await connection.reader.readuntil(b"\r\n\r\n")
        left = 64 * MIB
        while left:
            part = await connection.reader.read(MIB)
            assert part, left
            left -= len(part)
            await asyncio.sleep(0.005)
