"""One service process: HTTP, subscriptions, outbox relay, loops and workers in one event loop."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import SpanProcessor
from sqlalchemy import MetaData

from servicekit import db, health, inbox, kafka, outbox
from servicekit.auth import Verifier
from servicekit.clock import Clock, SystemClock
from servicekit.http import Edge, add_error_handlers
from servicekit.job_worker import Claimer, JobWorker
from servicekit.jobs import CHANNEL as JOB_CHANNEL
from servicekit.kafka import Consumers, Subscription
from servicekit.logging import setup_logging
from servicekit.loops import Loop, Supervisor
from servicekit.migrations import migrate
from servicekit.notify import Listener
from servicekit.producer import Producer
from servicekit.runtime import Runtime
from servicekit.settings import ServiceSettings
from servicekit.telemetry import setup_tracing

log = structlog.get_logger(__name__)

ResourcesFactory = Callable[[Runtime], AbstractAsyncContextManager[Any]]
SHUTDOWN_SECONDS = 10


@asynccontextmanager
async def _no_resources(_: Runtime) -> AsyncIterator[None]:
    yield None


def create_service(
    settings: ServiceSettings,
    *,
    metadata: MetaData,
    routers: Sequence[APIRouter] = (),
    subscribers: Sequence[Subscription] = (),
    loops: Sequence[Loop] = (),
    workers: Sequence[JobWorker] = (),
    resources: ResourcesFactory = _no_resources,
    body_limits: Mapping[str, int] | None = None,
    title: str | None = None,
    clock: Clock | None = None,
    span_processor: SpanProcessor | None = None,
) -> FastAPI:
    """The service as an ASGI app; everything else starts and stops with its lifespan.

    metadata: the service's own, from `service_metadata(...)`; tells which of servicekit's tables it has.
    resources: an async context manager over Runtime that yields the service's own Resources dataclass.
    body_limits: path prefix → bytes, for routes that take more than 1 MiB.
    HTTP answers at once, also while PostgreSQL or Kafka is away: `/readyz` tells, and everything recovers by itself.
    """
    engine = db.make_engine(settings)
    listener = Listener(settings.database_url.get_secret_value())
    state_of_health = health.Health()
    runtime = Runtime(
        settings=settings,
        engine=engine,
        sessions=db.make_sessions(engine, settings.service_name),
        listener=listener,
        dead_letters=Producer(settings.kafka_bootstrap_servers, client_id=f"{settings.service_name}.dlq"),
        http=httpx.AsyncClient(timeout=10.0),
        clock=clock or SystemClock(),
        health=state_of_health,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        supervisor = Supervisor(state_of_health)
        relay_producer = Producer(settings.kafka_bootstrap_servers, client_id=f"{settings.service_name}.outbox")
        try:
            async with resources(runtime) as own:
                app.state.resources = own
                try:
                    _start(supervisor, runtime, own, relay_producer)
                    log.info("service started", service=settings.service_name)
                    yield
                finally:
                    # HTTP has ended; the relay goes last so that what was just committed still leaves.
                    await supervisor.stop(*work)
                    await supervisor.stop()
        finally:
            await relay_producer.close()
            await runtime.dead_letters.close()
            await runtime.http.aclose()
            await engine.dispose()
            log.info("service stopped", service=settings.service_name)

    work: list[str] = []

    def _start(supervisor: Supervisor, runtime: Runtime, own: Any, relay_producer: Producer) -> None:
        state_of_health.probe("postgres", partial(db.ping, engine))
        state_of_health.probe("kafka", partial(kafka.ping, settings.kafka_bootstrap_servers))
        if "outbox" in metadata.tables:
            relay = outbox.Relay(engine, relay_producer, listener.wake(outbox.CHANNEL))
            supervisor.start("relay", relay.step)
        if subscribers:
            consumers = Consumers(runtime, own, subscribers)
            state_of_health.probe("subscribers", consumers.check)
            work.append(Consumers.NAME)
            supervisor.start(Consumers.NAME, consumers.run)
        for worker in workers:
            for number in range(worker.concurrency):
                name = f"{worker.kind}.{number}"
                claimer = Claimer(
                    worker,
                    runtime.sessions,
                    own,
                    listener.wake(JOB_CHANNEL),
                    partial(state_of_health.beat, name),
                )
                work.append(name)
                supervisor.start(name, claimer.step)
        for loop in loops:
            work.append(loop.name)
            supervisor.start(
                loop.name, partial(loop.run, runtime, own), every=loop.every, longest_round=loop.longest_round
            )
        if "inbox" in metadata.tables:
            supervisor.start("inbox cleanup", partial(_clean_inbox, runtime), every=3600)
        supervisor.start("listener", listener.listen, longest_round=float("inf"))

    app = FastAPI(title=title or settings.service_name, lifespan=lifespan, separate_input_output_schemas=False)
    app.state.runtime = runtime
    app.state.verifier = Verifier(settings)
    app.state.subscribers = tuple(subscribers)
    app.state.metadata = metadata
    app.include_router(health.router)
    for router in routers:
        app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(Edge, limits=body_limits or {})
    if setup_tracing(settings, span_processor):
        FastAPIInstrumentor.instrument_app(app, excluded_urls="livez,readyz,metrics")
        HTTPXClientInstrumentor.instrument_client(runtime.http)
        SQLAlchemyInstrumentor().instrument(engine=engine.sync_engine)
    return app


async def _clean_inbox(runtime: Runtime) -> None:
    forgotten = await inbox.forget_old(runtime.sessions)
    if forgotten:
        log.info("inbox cleaned", forgotten=forgotten)


Command = Callable[[Any], Awaitable[None]]


def run(
    settings_class: type[ServiceSettings],
    create_app: Callable[[Any], FastAPI],
    *,
    commands: Mapping[str, Command] | None = None,
) -> None:
    """The command line of a service: nothing serves, `migrate` migrates, `commands` adds the service's own.

    A command is `async def command(settings) -> None`, started as `python -m auth_service <name>`.
    """
    package = create_app.__module__.partition(".")[0]
    every: dict[str, Command] = {"migrate": partial(_migrate, package), **(commands or {})}
    parser = argparse.ArgumentParser(prog=f"python -m {package}")
    parser.add_argument("command", nargs="?", choices=["serve", *every], default="serve")
    chosen = parser.parse_args().command
    settings = settings_class()
    setup_logging(settings)
    if chosen != "serve":
        asyncio.run(_finish(every[chosen], settings))
        return
    uvicorn.run(
        create_app(settings),
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        server_header=False,
    )


async def _finish(command: Command, settings: ServiceSettings) -> None:
    await command(settings)


async def _migrate(package: str, settings: ServiceSettings) -> None:
    await migrate(settings.database_url.get_secret_value(), package)
    log.info("database migrated", service=settings.service_name)
