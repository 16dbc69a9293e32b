"""A service on a real socket, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from servicekit.protocol import BoundedHead
from servicekit.testing.time import eventually


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # Ctrl-C belongs to pytest


@asynccontextmanager
async def serve(app: FastAPI, *, ready: bool = True, within: float = 30.0) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app with its lifespan; yields a client whose base URL is the app's.

    ready: wait until `/readyz` says 200 (PostgreSQL and Kafka answer, every subscription has partitions).
    """
    config = uvicorn.Config(
        app, http=BoundedHead, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=5
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started or running.done(), within=within)
        if running.done():
            await running
            raise RuntimeError("the service did not start; its log says why")
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
            if ready:

                async def is_ready() -> bool:
                    answer = await client.get("/readyz")
                    assert answer.status_code == 200, answer.text
                    return True

                await eventually(is_ready, within=within)
            yield client
    finally:
        server.should_exit = True
        await running
