"""uvicorn, extended by access to connections and a ready line."""

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pco_simulator.app import TRANSPORT_EXTENSION, Edge


class Protocol(HttpToolsProtocol):
    """Hands the connection's transport to the application, so that a fault script can break it."""

    def on_message_begin(self) -> None:
        """Add the transport to the request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT_EXTENSION: self.transport}  # type: ignore[dict-item]


class Server(uvicorn.Server):
    """A server that reports when it accepts connections and stops without waiting for held requests."""

    def __init__(self, edge: Edge, *, on_ready: Callable[[int], None]) -> None:
        super().__init__(
            uvicorn.Config(
                edge,
                http=Protocol,
                loop="uvloop",
                ws="none",
                lifespan="on",
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=2,
                backlog=2048,
            )
        )
        self._edge = edge
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Bind, then report readiness."""
        await super().startup(sockets)
        if self.started:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Release held requests, then close."""
        self._edge.release()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler
        """SIGTERM and SIGINT end the process with status 0; uvicorn would raise the signal again."""
        self.should_exit = True
