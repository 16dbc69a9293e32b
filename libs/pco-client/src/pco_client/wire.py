"""A network backend for httpx in which a request's check and the write of its bytes are one step.

Between a check in the client and the socket lie the pool, the connection and, in anyio's stream, a turn of the event
loop; a process frozen there sends when it thaws, however late. Here no step lies between: `write` calls the check of
the task it runs in (`checking`) and hands the bytes to the kernel in the same step, one request at a time. Once the
kernel has the bytes it sends them, even if this process dies.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, zip_longest
from typing import Any, Final, cast

import httpcore
import httpx

Check = Callable[[], None]
"""Raises any exception to keep the bytes from leaving. Must not block."""

_PIECE: Final = 16 * 1024
"""Bytes per check: as many as an idle connection's kernel buffer takes at once, so that none stay in our memory."""
_MOST_UNREAD: Final = 256 * 1024
_NEXT_ADDRESS: Final = 0.25
"""Seconds after which a host's next address is tried in parallel to those still pending."""
_CHECK: ContextVar[Check | None] = ContextVar("pco_client_check", default=None)


@contextmanager
def checking(check: Check | None) -> Iterator[None]:
    """Call `check` right before each write of this task through a client prepared by `check_writes`."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def check_writes(client: httpx.AsyncClient) -> None:
    """Make a client use this backend, directly and through the environment's proxies."""
    transports = (client._transport, *client._mounts.values())  # noqa: SLF001 - httpx has no public option
    for transport in transports:
        if isinstance(transport, httpx.AsyncHTTPTransport):
            transport._pool._network_backend = _Network()  # noqa: SLF001


class _Link(asyncio.Protocol):
    """Both directions of one connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._received = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def readable(self) -> bool:
        """Whether data or the end of the stream can be read."""
        return bool(self._received) or self._ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        # Each piece then waits before its check until the kernel has taken all earlier bytes.
        self.transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _MOST_UNREAD:
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        self._ended = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def read(self, most: int) -> bytes:
        """The bytes received so far, else the next ones; empty at the end."""
        while not self.readable:
            self._news.clear()
            await self._news.wait()
        if not self._received and self._error is not None:
            raise self._error
        data = bytes(self._received[:most])
        del self._received[:most]
        if len(self._received) <= _MOST_UNREAD and not self.transport.is_closing():
            self.transport.resume_reading()
        return data

    async def until_writable(self) -> None:
        await self._writable.wait()

    def write(self, data: bytes) -> None:
        if self.transport.is_closing():
            raise self._error or ConnectionResetError("the connection was closed")
        self.transport.write(data)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, link: _Link) -> None:
        self._link = link

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        with _raising(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                return await self._link.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        check = _CHECK.get()
        for start in range(0, len(buffer), _PIECE):
            with _raising(httpcore.WriteTimeout, httpcore.WriteError):
                async with asyncio.timeout(timeout):
                    await self._link.until_writable()
            # No await may stand between this check and the write.
            if check is not None:
                check()
            with _raising(httpcore.WriteTimeout, httpcore.WriteError):
                self._link.write(buffer[start : start + _PIECE])

    async def aclose(self) -> None:
        # Abort instead of an orderly close: bytes still in our memory must not leave.
        self._link.transport.abort()
        await asyncio.sleep(0)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        link = self._link
        try:
            with _raising(httpcore.ConnectTimeout, httpcore.ConnectError):
                async with asyncio.timeout(timeout):
                    transport = await asyncio.get_running_loop().start_tls(
                        link.transport, link, ssl_context, server_hostname=server_hostname
                    )
                if transport is None:
                    raise ConnectionResetError("the connection was closed amid the handshake")
        except BaseException:
            link.transport.abort()
            raise
        link.transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._link.readable
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._link.transport.get_extra_info(names.get(info, info))


class _Network(httpcore.AsyncNetworkBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _raising(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                link = await _connected(host, port, None if local_address is None else (local_address, 0))
        for option in socket_options or ():
            link.transport.get_extra_info("socket").setsockopt(*option)
        return _Stream(link)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _connected(host: str, port: int, local: tuple[str, int] | None) -> _Link:
    """Connect to the first address of `host` that answers (RFC 8305), which uvloop does not implement."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family = [
        [str(each[4][0]) for each in found if each[0] is family] for family in dict.fromkeys(each[0] for each in found)
    ]
    addresses = [each for each in chain.from_iterable(zip_longest(*by_family)) if each is not None]
    trying: set[asyncio.Task[tuple[asyncio.Transport, _Link]]] = set()
    failed: list[BaseException] = []
    try:
        while addresses or trying:
            if addresses:
                attempt = loop.create_connection(_Link, addresses.pop(0), port, local_addr=local)
                trying.add(asyncio.create_task(attempt))
            done, _ = await asyncio.wait(
                trying, timeout=_NEXT_ADDRESS if addresses else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                trying.remove(task)
                error = task.exception()
                if error is None:
                    return task.result()[1]
                failed.append(error)
        raise failed[0]
    finally:
        for task in trying:
            task.cancel()
        for late in await asyncio.gather(*trying, return_exceptions=True):
            if not isinstance(late, BaseException):
                late[0].abort()


@contextmanager
def _raising(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """httpcore's names for what asyncio raises."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
