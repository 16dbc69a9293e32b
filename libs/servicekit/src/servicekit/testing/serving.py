"""A service on a real socket, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from servicekit.http.operators import SecondServer
from servicekit.http.protocol import Door, QuickDoor, serving
from servicekit.testing.time import eventually


class Served(httpx.AsyncClient):
    """A client of the app; `operators` is a client of its operator's port."""

    operators: httpx.AsyncClient


@asynccontextmanager
async def serve(
    app: FastAPI, *, ready: bool = True, within: float = 30.0, door: type[Door | QuickDoor] | None = None
) -> AsyncIterator[Served]:
    """Run the app with its lifespan; yields a client whose base URL is the app's.

    ready: wait until the service is ready (PostgreSQL and Kafka answer, every subscription has partitions).
    """
    runtime = getattr(app.state, "runtime", None)
    trusted = runtime.settings.trusted_proxies if runtime else ""
    options = serving(door or getattr(app.state, "door", Door), trusted_proxies=trusted)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, timeout_graceful_shutdown=5, **options)
    server = SecondServer(config)
    running = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started or running.done(), within=within)
        if running.done():
            await running
            raise RuntimeError("the service did not start; its log says why")
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Served(**_at(server.servers[0].sockets[0].getsockname()[1])))
            operator_port = getattr(app.state, "operator_port", None)
            if operator_port is not None:
                client.operators = await stack.enter_async_context(httpx.AsyncClient(**_at(operator_port)))
                if ready:
                    await eventually(lambda: _is_ready(client.operators), within=within)
            yield client
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def unstarted(
    app: FastAPI, open_resources: Callable[[Any], AbstractAsyncContextManager[Any]]
) -> AsyncIterator[FastAPI]:
    """The app with its resources but without its lifespan, so that no relay empties the outbox and no worker starts."""
    async with open_resources(app.state.runtime) as own:
        app.state.resources = own
        yield app
    await app.state.runtime.engine.dispose()
    await app.state.runtime.http.aclose()


def _at(port: int) -> dict[str, Any]:
    # uvicorn closes a connection that was idle for 5 s, perhaps at the moment at which it would be used again.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)
    return {"base_url": f"http://127.0.0.1:{port}", "timeout": 30.0, "limits": limits}


async def _is_ready(operators: httpx.AsyncClient) -> bool:
    answer = await operators.get("/readyz")
    assert answer.status_code == 200, answer.text
    return True
