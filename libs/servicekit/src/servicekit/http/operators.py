"""The operator's port of a process, separate from the public one: `/livez`, `/readyz` and `/metrics`.

Reasons name hosts, topics and loops, metrics reveal who is busy, and each probe costs a request to PostgreSQL and
Kafka, so callers of the service's public port get none of this.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from servicekit.http.health import Health
from servicekit.settings import ServiceSettings
from servicekit.telemetry import REGISTRY


class SecondServer(uvicorn.Server):
    """A server that leaves signals to the process's main server, or to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def make_app(health: Health) -> Starlette:
    """The ASGI app with the three routes."""

    async def livez(_: Request) -> Response:
        """200 while every loop makes progress; 503 names the silent ones, and the process should be restarted."""
        silent = health.silent()
        return JSONResponse({"status": "stuck" if silent else "ok", "silent": silent}, 503 if silent else 200)

    async def readyz(_: Request) -> Response:
        """200 while all probes succeed; 503 names the failing ones, which may recover by themselves."""
        failing = await health.failing()
        return JSONResponse({"status": "not ready" if failing else "ok", "failing": failing}, 503 if failing else 200)

    async def metrics(_: Request) -> Response:
        """Prometheus text format."""
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    app = Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)])
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def listening(settings: ServiceSettings, health: Health) -> AsyncIterator[int]:
    """Serve the operator's port until the block ends; yields the port. OSError if it is taken."""
    family = socket.AF_INET6 if ":" in settings.operator_host else socket.AF_INET
    listener = socket.create_server((settings.operator_host, settings.operator_port), family=family)
    config = uvicorn.Config(
        make_app(health),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = SecondServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
