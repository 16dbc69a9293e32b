"""One service process: HTTP, subscriptions, outbox relay, loops and workers in one event loop."""

import argparse
import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import httpx
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import SpanProcessor
from sqlalchemy import MetaData

from servicekit.clock import Clock, SystemClock
from servicekit.db import sessions as db
from servicekit.db.notify import Listener
from servicekit.http import answers, health, operators
from servicekit.http.auth import Verifier, known_service
from servicekit.http.edge import Edge, add_error_handlers
from servicekit.http.intake import Admit, Budget, Rules
from servicekit.http.outgoing import Pools, no_cookies
from servicekit.http.protocol import Door, QuickDoor, serving
from servicekit.jobs import queue as jobs
from servicekit.jobs.worker import Claimer, JobWorker, Polls
from servicekit.kafka import consumers, inbox, outbox
from servicekit.kafka.producer import Producer
from servicekit.kafka.set_aside import EVERY_SECONDS, SetAside
from servicekit.kafka.subscriptions import Subscription
from servicekit.logging import setup_logging
from servicekit.loops import Loop, Supervisor
from servicekit.runtime import Runtime
from servicekit.settings import ServiceSettings
from servicekit.telemetry import forget_caller, forget_path, setup_tracing, trace_sql

log = structlog.get_logger(__name__)

ResourcesFactory = Callable[[Runtime], AbstractAsyncContextManager[Any]]
SHUTDOWN_SECONDS = 10
CLEANUP_SECONDS = 300


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
    texts_judged: Collection[str] = (),
    raw_bodies: Collection[str] = (),
    published: outbox.Published | None = None,
    admit: Admit | None = known_service,
    headers: Mapping[str, str] | None = None,
    quiet: Collection[str] = (),
    door: type[Door | QuickDoor] = Door,
    title: str | None = None,
    clock: Clock | None = None,
    span_processor: SpanProcessor | None = None,
) -> FastAPI:
    """The service as an ASGI app; everything else starts and stops with its lifespan.

    metadata: the service's own, from `service_metadata(...)`; tells which of servicekit's tables this process cares
    for. A process without an outbox and without subscribers runs without Kafka.
    resources: an async context manager over Runtime that yields the service's own Resources dataclass.
    body_limits: route template → bytes, for routes that take more than 1 MiB.
    texts_judged: templates of routes that check each record themselves for text that cannot be stored.
    raw_bodies: templates of routes that take any bytes, also those that are no text.
    published: called with the rows that Kafka has confirmed, in the transaction that deletes them from the outbox.
    admit: decides who may send a body, called first because FastAPI reads the body before it solves a route's
    dependencies. None if every endpoint reads its body itself, after it has authenticated the caller.
    headers: put on every answer.
    quiet: templates of routes whose requests are logged only if they fail here (5xx), because they are many and told
    elsewhere.
    door: the protocol of the public port.
    HTTP answers at once, even while PostgreSQL or Kafka is away; `/readyz` on the operator's port reports the outage,
    and the process recovers by itself.
    """
    runtime = _make_runtime(settings, clock or SystemClock())
    process = _Process(runtime, metadata, subscribers, loops, workers, published)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with operators.listening(settings, runtime.health) as port, resources(runtime) as own:
                app.state.operator_port = port
                app.state.resources = own
                try:
                    process.start(own)
                    yield
                finally:
                    await process.stop()
        finally:
            await process.close()

    app = FastAPI(
        title=title or settings.service_name,
        lifespan=lifespan,
        separate_input_output_schemas=False,
        # FastAPI's own pages load their scripts from another origin; the API's document is the gateway's.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect would lead to the host in the caller's `Host` header.
        redirect_slashes=False,
    )
    app.state.runtime = runtime
    app.state.verifier = Verifier(settings)
    app.state.subscribers = tuple(subscribers)
    app.state.routers = tuple(routers)
    app.state.metadata = metadata
    app.state.door = door
    app.include_router(health.router)
    for router in routers:
        app.include_router(router)
    add_error_handlers(app)
    app.state.bodies = Rules(
        Budget(settings.http_body_budget_bytes),
        settings.http_body_seconds,
        body_limits or {},
        texts_judged,
        raw_bodies,
        admit,
    )
    app.add_middleware(Edge, bodies=app.state.bodies, headers=headers or {}, quiet=quiet)
    if setup_tracing(settings, span_processor):
        FastAPIInstrumentor.instrument_app(app, excluded_urls="livez", server_request_hook=forget_caller)
        HTTPXClientInstrumentor.instrument_client(runtime.http, request_hook=forget_path)
        trace_sql(runtime.engine)
    return app


def _make_runtime(settings: ServiceSettings, clock: Clock) -> Runtime:
    engine = db.make_engine(settings)
    return Runtime(
        settings=settings,
        engine=engine,
        sessions=db.make_sessions(engine, settings.service_name),
        listener=Listener(settings.database_url.get_secret_value()),
        dead_letters=Producer(settings.kafka_bootstrap_servers, client_id=f"{settings.service_name}.dlq"),
        http=httpx.AsyncClient(timeout=10.0, transport=Pools(), cookies=no_cookies()),
        clock=clock,
        health=health.Health(),
    )


class _Process:
    """What runs beside HTTP, in the order in which it starts and stops."""

    def __init__(
        self,
        runtime: Runtime,
        metadata: MetaData,
        subscribers: Sequence[Subscription],
        loops: Sequence[Loop],
        workers: Sequence[JobWorker],
        published: outbox.Published | None,
    ) -> None:
        self._runtime = runtime
        self._tables = set(metadata.tables)
        self._subscribers = subscribers
        self._loops = loops
        self._workers = workers
        self._published = published
        # The relay stops last, so that it can still send what the work commits while it stops. The next process sends
        # the rest.
        self._work = Supervisor(runtime.health)
        self._relay = Supervisor(runtime.health)
        settings = runtime.settings
        self._kafka = consumers.KafkaProbe(settings.kafka_bootstrap_servers)
        self._events = Producer(
            settings.kafka_bootstrap_servers,
            client_id=f"{settings.service_name}.outbox",
            transactional_id=outbox.transactional_id_of(
                settings.service_name, settings.database_url.get_secret_value()
            ),
        )

    def start(self, resources: Any) -> None:
        runtime, health_ = self._runtime, self._runtime.health
        health_.probe("postgres", partial(db.ping, runtime.engine))
        if "outbox" in self._tables or self._subscribers:
            health_.probe("kafka", self._kafka.check)
        if "outbox" in self._tables:
            bell = runtime.listener.wake(outbox.CHANNEL)
            relay = outbox.Relay(runtime.engine, self._events, bell, published=self._published)
            health_.probe("outbox", relay.check)
            self._relay.start("relay", relay.step)
        if self._subscribers:
            group = consumers.Consumers(runtime, resources, self._subscribers)
            health_.probe("subscribers", group.check)
            self._work.start(group.NAME, group.run)
            if "set_aside" in self._tables:
                taking = SetAside(runtime, resources, self._subscribers, group.guards)
                self._work.start(taking.NAME, taking.step, every=EVERY_SECONDS, longest_round=float("inf"))
        for worker in self._workers:
            polls, bells = Polls(), [runtime.listener.wake(jobs.CHANNEL) for _ in range(2)]
            for number in range(worker.slots):
                name = f"{worker.kind}.{number}"
                beat, only_urgent = partial(health_.beat, name), number >= worker.concurrency
                slot = Claimer(
                    worker, runtime.sessions, resources, bells[only_urgent], beat, polls, only_urgent=only_urgent
                )
                self._work.start(name, slot.step)
        for loop in self._loops:
            step = partial(loop.run, runtime, resources)
            self._work.start(loop.name, step, every=loop.every, longest_round=loop.longest_round)
        for table, forget_old in (
            ("inbox", inbox.forget_old),
            ("job", jobs.forget_old),
            ("kept_answer", answers.forget_old),
        ):
            if table in self._tables:
                self._work.start(f"{table} cleanup", partial(_clean, runtime, table, forget_old), every=CLEANUP_SECONDS)
        if runtime.listener.awaited:
            self._work.start("listener", runtime.listener.listen, longest_round=float("inf"))
        log.info("service started", service=runtime.settings.service_name)

    async def stop(self) -> None:
        await self._work.stop()
        await self._relay.stop()

    async def close(self) -> None:
        await self._events.close()
        await self._runtime.dead_letters.close()
        await self._kafka.close()
        await self._runtime.http.aclose()
        await self._runtime.engine.dispose()
        log.info("service stopped", service=self._runtime.settings.service_name)


async def _clean(runtime: Runtime, table: str, forget_old: Callable[[db.Sessions], Awaitable[int]]) -> None:
    forgotten = await forget_old(runtime.sessions)
    if forgotten:
        log.info("table cleaned", table=table, forgotten=forgotten)


Command = Callable[[Any], Awaitable[None]]


def run(
    settings_class: type[ServiceSettings],
    create_app: Callable[[Any], FastAPI],
    *,
    commands: Mapping[str, Command] | None = None,
    apps: Mapping[str, Callable[[Any], FastAPI]] | None = None,
) -> None:
    """The command line of a service: no command serves, `migrate` migrates, `commands` adds the service's own.

    A command is `async def command(settings) -> None`, started as `python -m auth_service <name>`.
    apps: further apps of the service, each served in a process of its own: `python -m webhook_gateway intake`.
    """
    package = create_app.__module__.partition(".")[0]
    every: dict[str, Command] = {"migrate": partial(_migrate, package), **(commands or {})}
    served = {"serve": create_app, **(apps or {})}
    parser = argparse.ArgumentParser(prog=f"python -m {package}")
    parser.add_argument("command", nargs="?", choices=[*served, *every], default="serve")
    chosen = parser.parse_args().command
    settings = settings_class()
    setup_logging(settings)
    if chosen in every:
        asyncio.run(_finish(every[chosen], settings))
        return
    app = served[chosen](settings)
    _spare_the_collector()
    uvicorn.run(
        app,
        host=settings.http_host,
        port=settings.http_port,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        **serving(app.state.door, trusted_proxies=settings.trusted_proxies),
    )


def _spare_the_collector() -> None:
    """Exempt modules, routes and tables from garbage collection, and collect less often.

    A page of 100 people makes ten thousand new objects. With Python's own thresholds the collector runs a dozen times
    while such a page is parsed, and every tenth time scans everything loaded: eight times the cost of the parsing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def _finish(command: Command, settings: ServiceSettings) -> None:
    await command(settings)


async def _migrate(package: str, settings: ServiceSettings) -> None:
    from servicekit.db.migrations import migrate  # noqa: PLC0415 - Alembic takes 0.2 s to import, at every start

    await migrate(settings.database_url.get_secret_value(), package)
    log.info("database migrated", service=settings.service_name)
