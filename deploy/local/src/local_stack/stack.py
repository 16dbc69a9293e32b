"""The stack as an object: ``make run`` and the end-to-end tests start the same processes through it.

    with Stack(tmp_path, replicas={"people-sync": 2}) as stack:
        token = stack.token("ada")
        stack.process("people-sync", 0).kill()
        stack.kafka.kill(); stack.kafka.start()
        httpx.get(stack.url("webhook-gateway") + "/api/v1/connections")

All calls block; from a coroutine use ``asyncio.to_thread``.
"""

import asyncio
import json
import os
import shutil
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiokafka.errors import KafkaError
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from contracts.values import AUTH_SERVICE, CALENDAR_SYNC, CONFLICT_SERVICE, PEOPLE_SYNC, WEBHOOK_GATEWAY
from local_stack.credentials import load_credentials
from local_stack.identity_provider import AUDIENCE, CONSOLE_CLIENT
from local_stack.processes import ProcessBook, Say, Spawn, StackProcess
from pco_simulator.state import OtherFormat, kept_shape
from pco_simulator.world import Shape
from servicekit.db.migrations import migrate
from servicekit.kafka.provision import ProvisionError, provision
from servicekit.local import LocalKafka, LocalPostgres, LocalStackError
from servicekit.local.process import (
    HURRIED_SECONDS,
    DirectoryLock,
    RememberedFile,
    StartCancelledError,
    choose_port,
    free_port,
    port_is_free,
    spawn,
)

SERVICES: Final = (AUTH_SERVICE, PEOPLE_SYNC, CONFLICT_SERVICE, CALENDAR_SYNC, WEBHOOK_GATEWAY)
INTAKE: Final = "webhook-intake"
"""The process of webhook-gateway that Planning Center calls."""
SIMULATOR: Final = "simulator"
IDENTITY_PROVIDER: Final = "identity-provider"
_PROXY: Final = "proxy"
_HOST: Final = "localhost"
"""Host name for browsers; one for all parts, because cookies and origins belong to a name."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def quiet(label: str, text: str) -> None:
    """Print nothing, since the logs have the lines."""


@dataclass(slots=True)
class _Replica:
    port: int
    probe: str
    """Address that answers 200 when the process is ready."""
    process: StackProcess


@dataclass(slots=True)
class _Ports:
    """Ports by name: the requested ones, else those of the last start, else free ones."""

    memory: RememberedFile
    chosen: dict[str, int] = field(default_factory=dict)

    def choose(self, name: str, wanted: int = 0) -> int:
        taken = set(self.chosen.values())
        remembered = self.memory.integer(name)
        port = choose_port(wanted, None if remembered in taken else remembered, name)
        while port in taken:
            port = free_port()
        self.chosen[name] = port
        self.memory.write({**self.memory.read(), name: port})
        return port


class Stack:
    """All processes on one machine, with their data in ``state``.

    ``people`` and ``seed`` of the simulator's first church, and the number of ``churches`` (each further one with a
    tenth of the people), apply when the state is created, and never replace a kept one.
    ``port``, ``simulator_port`` and ``identity_port``: 0 chooses a free one and remembers it. ``replicas`` by
    service; several run behind a round-robin proxy. ``environment`` adds or replaces variables by service, ``"*"`` for
    all. ``simulator_settings`` are its live settings (``{"rate_limit": 0}``). ``supervised`` restarts crashed processes
    like ``make run``; tests that restart processes themselves leave it out. ``spawn`` starts each process.
    """

    def __init__(
        self,
        state: Path | str,
        *,
        port: int = 0,
        simulator_port: int = 0,
        identity_port: int = 0,
        people: int | None = None,
        seed: int | None = None,
        churches: int | None = None,
        replicas: Mapping[str, int] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        simulator_settings: Mapping[str, object] | None = None,
        services: Sequence[str] = SERVICES,
        supervised: bool = False,
        cache: Path | None = None,
        say: Say = quiet,
        spawn: Spawn = spawn,
    ) -> None:
        self.state = Path(state).resolve()
        self.services = tuple(services)
        self._cancelled = threading.Event()
        self.postgres = LocalPostgres(self.state / "postgres", cancelled=self._cancelled)
        self.kafka = LocalKafka(self.state / "kafka", cache=cache, cancelled=self._cancelled)
        self._wanted_ports = {WEBHOOK_GATEWAY: port, SIMULATOR: simulator_port, IDENTITY_PROVIDER: identity_port}
        self._wanted_church: dict[str, Any] = {"people": people, "seed": seed, "churches": churches}
        self._church = Shape()
        self.kept_church = ""
        """A sentence if the kept church differs from the requested one."""
        self._replica_counts = dict(replicas or {})
        self._overrides = {name: dict(values) for name, values in (environment or {}).items()}
        self._simulator_settings = dict(simulator_settings or {})
        self._supervised = supervised
        self._say = say
        self._spawn = spawn
        self._lock = DirectoryLock(self.state)
        self._book = ProcessBook(self.state / "processes.json")
        self._ports = _Ports(RememberedFile(self.state / "ports.json"))
        self._replicas: dict[str, list[_Replica]] = {}
        self._migrating = threading.Lock()

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and return when every process is ready.

        Raises LocalStackError with one sentence if a process cannot be started, and StartCancelledError after
        ``cancel``; running processes are then stopped.
        """
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.state / "logs").mkdir(exist_ok=True)
        self._lock.acquire(f"The stack in {self.state}")
        try:
            for label in self._book.end_leftovers():
                self._say("stack", f"ended {label}, left by a launcher that was killed")
            self._prepare()
            self._lock.tell(f"{self.url()}, process {os.getpid()}")
            if self.kept_church:
                self._say("stack", self.kept_church)
            self._say("stack", "starting PostgreSQL, Kafka, the simulator, the identity provider and five services")
            self._say("stack", f"this takes up to a minute; what they say meanwhile is in {self.state / 'logs'}")
            self._start_in_parallel()
            # Until now they mostly reported that they wait for Kafka, which only their logs need.
            for name in self._served:
                for replica in self._replicas[name]:
                    replica.process.echo = True
        except BaseException:
            self.cancel()
            self._let_go()
            raise

    def cancel(self) -> None:
        """Cancel a start from any thread and stop all processes in parallel, since none is in use yet."""
        self._cancelled.set()
        with self._together() as each:
            each(*(partial(process.stop, within=HURRIED_SECONDS) for process in self.processes()))
            each(*(partial(server.stop, within=HURRIED_SECONDS) for server in (self.kafka, self.postgres)))

    def stop(self) -> None:
        """Stop in order: gateway and intake, services, simulator and identity provider, Kafka, PostgreSQL."""
        self._cancelled.set()
        with self._together() as each:
            for name in (_PROXY, WEBHOOK_GATEWAY, INTAKE):
                each(*(replica.process.stop for replica in self._replicas.get(name, [])))
        with self._together() as each:
            for name in self.services:
                each(*(replica.process.stop for replica in self._replicas.get(name, [])))
        with self._together() as each:
            for name in (SIMULATOR, IDENTITY_PROVIDER):
                each(*(replica.process.stop for replica in self._replicas.get(name, [])))
            each(self.kafka.stop, self.postgres.stop)
        self._let_go()

    def _let_go(self) -> None:
        self._lock.release()
        self._cancelled.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # -- use -----------------------------------------------------------------------------------

    def process(self, name: str, index: int = 0) -> StackProcess:
        """A process by service (or ``"simulator"``, ``"identity-provider"``) and replica."""
        return self._replicas[name][index].process

    def processes(self) -> Iterator[StackProcess]:
        """All processes but PostgreSQL and Kafka, which are ``postgres`` and ``kafka``."""
        for replicas in list(self._replicas.values()):
            for replica in replicas:
                yield replica.process

    def url(self, name: str = WEBHOOK_GATEWAY) -> str:
        """Base address of a service (through the proxy if there are replicas), without a trailing slash."""
        return f"http://{_HOST}:{self._ports.chosen[name]}"

    def replica_url(self, name: str, index: int) -> str:
        """Base address of one replica, past the proxy."""
        return f"http://127.0.0.1:{self._replicas[name][index].port}"

    def operator_url(self, name: str, index: int = 0) -> str:
        """Base address of a replica's `/livez`, `/readyz` and `/metrics`."""
        return self._replicas[name][index].probe.removesuffix("/readyz")

    def database_url(self, service: str, *, driver: str = "postgresql+asyncpg") -> str:
        """URL of the database of ``service``, with the service's role."""
        name = service.replace("-", "_")
        return self.postgres.url(name, role=name, driver=driver)

    def token(self, username: str = "ada", *, lifetime: int = 3600) -> str:
        """An access token of the identity provider; a negative ``lifetime`` (seconds) makes an expired one."""
        form = {"grant_type": "password", "username": username, "lifetime": str(lifetime)}
        asked = urllib.request.Request(
            self.url(IDENTITY_PROVIDER) + "/token", data=urllib.parse.urlencode(form).encode(), method="POST"
        )
        with _direct.open(asked, timeout=10) as answer:
            return str(json.load(answer)["access_token"])

    def wait_ready(self, name: str, index: int = 0, *, within: float = 120) -> None:
        """Wait until a replica answers its readiness probe; LocalStackError after the timeout."""
        replica = self._replicas[name][index]
        deadline = time.monotonic() + within
        while not _answers(replica.probe):
            self._go_on()
            ended = not replica.process.running and (not self._supervised or replica.process.starts > 2)
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"is not ready after {within:.0f} s"
                raise LocalStackError(
                    f"{replica.process.label} {what}; {replica.process.log} says why:\n{replica.process.last_lines()}"
                )
            time.sleep(0.05)

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a service's process, without its port. The intake has its service's, and its own."""
        service = _service_of(name)
        credentials = load_credentials(self.state / "credentials.json", SERVICES)
        common = {
            "DATABASE_URL": self.database_url(service),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "HTTP_HOST": "127.0.0.1",
            "LOG_FORMAT": "console",
            "SIGNING_KEY": credentials.signing_key(service),
            "TRUSTED_KEYS": credentials.trusted_keys,
            "ENVIRONMENT": "development",
        }
        planning_center = {
            "PCO_BASE_URL": self.url(SIMULATOR),
            "PCO_USER_AGENT": "church-platform local stack (developers@platform.example)",
        }
        urls = {f"{name.replace('-', '_').upper()}_URL": self._inside(name) for name in SERVICES}
        own: dict[str, dict[str, str]] = {
            AUTH_SERVICE: {
                **planning_center,
                "PCO_CLIENT_ID": credentials.pco_client_id,
                "PCO_CLIENT_SECRET": credentials.pco_client_secret,
                "PCO_REDIRECT_URI": f"{self.url()}/oauth/callback",
                "TOKEN_ENCRYPTION_KEYS": credentials.token_encryption_key,
            },
            PEOPLE_SYNC: {
                **planning_center,
                "AUTH_SERVICE_URL": self._inside(AUTH_SERVICE),
                # The simulator shows writes at once by default.
                "PCO_STALENESS_HORIZON_SECONDS": "10",
            },
            CALENDAR_SYNC: {
                **planning_center,
                "AUTH_SERVICE_URL": self._inside(AUTH_SERVICE),
                "PCO_STALENESS_HORIZON_SECONDS": "10",
            },
            WEBHOOK_GATEWAY: {
                **urls,
                **planning_center,
                "PUBLIC_URL": self.url(),
                "WEBHOOK_URL": self.url(INTAKE),
                "WEBHOOK_ENCRYPTION_KEYS": credentials.webhook_encryption_key,
                "IDENTITY_ISSUER": self.url(IDENTITY_PROVIDER),
                "IDENTITY_JWKS_URL": f"{self._inside(IDENTITY_PROVIDER)}/jwks.json",
                "IDENTITY_AUDIENCE": AUDIENCE,
                "CONSOLE_CLIENT_ID": CONSOLE_CLIENT,
                "PLANNING_CENTER_URL": self.url(SIMULATOR),
            },
        }
        return {
            **_inherited(),
            **common,
            **own.get(service, {}),
            **self._overrides.get("*", {}),
            **self._overrides.get(service, {}),
            **self._overrides.get(name, {}),
        }

    # -- inside --------------------------------------------------------------------------------

    @property
    def _served(self) -> tuple[str, ...]:
        """The services, and the intake as a part that is scaled for itself."""
        return (*self.services, INTAKE) if WEBHOOK_GATEWAY in self.services else self.services

    def _inside(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports.chosen[name]}"

    def _prepare(self) -> None:
        """Choose every port before the first process starts, so that a taken one is found at once."""
        self._ports.chosen.clear()
        self._replicas.clear()
        wanted_ports = [port for port in self._wanted_ports.values() if port]
        for name, wanted in self._wanted_ports.items():
            if wanted and wanted_ports.count(wanted) > 1:
                both = [_VARIABLES[other] for other, port in self._wanted_ports.items() if port == wanted]
                raise LocalStackError(f"{' and '.join(both)} are both {wanted}: choose different ports.")
            if wanted and not port_is_free(wanted):
                another = next(
                    (p for p in range(wanted + 1, 65536) if p not in wanted_ports and port_is_free(p)), free_port()
                )
                raise LocalStackError(
                    f"Port {wanted} is taken by another program: stop that or choose another one "
                    f"(make run {_VARIABLES[name]}={another})."
                )
        # Requested ports first, so that a remembered port of another part does not block them.
        for name in sorted(
            (SIMULATOR, IDENTITY_PROVIDER, *SERVICES, INTAKE), key=lambda name: not self._wanted_ports.get(name)
        ):
            self._ports.choose(name, self._wanted_ports.get(name, 0))
        for label in (label for name in self._served for label in self._labels(name)):
            self._ports.choose(f"{label}.operator")
        self._choose_church()

    def _choose_church(self) -> None:
        wanted = {name: value for name, value in self._wanted_church.items() if value is not None}
        try:
            kept = kept_shape(self.state / SIMULATOR)
        except OtherFormat:
            raise LocalStackError(
                f"What {self.state} keeps is of another version of the simulator and cannot be read: "
                "`make clean-run` forgets it."
            ) from None
        self._church = kept or Shape(**wanted)
        self.kept_church = ""
        if any(getattr(self._church, name) != value for name, value in wanted.items()):
            self.kept_church = (
                f"The church of {self._church.people:,} people is kept; "
                "`make clean-run` forgets everything and makes room for another."
            )

    def _start_in_parallel(self) -> None:
        # Services need only Kafka's address to start; they wait for Kafka themselves.
        self.kafka.prepare()
        with ThreadPoolExecutor(max_workers=16, thread_name_prefix="start") as pool:
            try:
                others = [
                    pool.submit(start)
                    for start in (self._start_simulator, self._start_identity_provider, self._start_kafka)
                ]
                self._start_postgres()
                self._go_on()
                services = [pool.submit(self._start_service, name) for name in self._served]
                _raise_first([*others, *services])
                if any(len(self._replicas[name]) > 1 for name in self._served):
                    self._start_proxy()
                _raise_first(
                    [
                        pool.submit(self.wait_ready, name, index)
                        for name, replicas in self._replicas.items()
                        for index in range(len(replicas))
                    ]
                )
            except BaseException:
                self._cancelled.set()
                raise

    def _start_postgres(self) -> None:
        self.postgres.start()
        for service in self.services:
            self._go_on()
            self.postgres.create_role_and_database(service)

    def _start_kafka(self) -> None:
        self.kafka.start()
        try:
            self._run(provision(self.kafka.bootstrap_servers))
        except (KafkaError, ProvisionError, TimeoutError) as error:
            raise LocalStackError(f"The topics could not be created: {error}") from error

    def _start_simulator(self) -> None:
        credentials = load_credentials(self.state / "credentials.json", SERVICES)
        client = f"{credentials.pco_client_id}:{credentials.pco_client_secret}:{self.url()}/oauth/callback"
        settings = [f"{name}={json.dumps(value)}" for name, value in self._simulator_settings.items()]
        self._start_process(
            SIMULATOR,
            [
                *(sys.executable, "-m", "pco_simulator", "--port", str(self._ports.chosen[SIMULATOR])),
                *("--people", str(self._church.people), "--seed", str(self._church.seed)),
                *("--churches", str(self._church.churches)),
                *("--state", str(self.state / "simulator"), "--public-url", self.url(SIMULATOR)),
                *("--oauth-client", f"Church Platform={client}"),
                *(word for setting in settings for word in ("--set", setting)),
            ],
            _inherited(),
            [self._ports.chosen[SIMULATOR]],
        )

    def _start_identity_provider(self) -> None:
        port = self._ports.chosen[IDENTITY_PROVIDER]
        self._start_process(
            IDENTITY_PROVIDER,
            [
                *(sys.executable, "-m", "local_stack.identity_provider", "--port", str(port)),
                *("--state", str(self.state), "--issuer", self.url(IDENTITY_PROVIDER)),
                *("--console-origin", self.url(), "--churches", str(self._church.churches)),
            ],
            _inherited(),
            [port],
        )

    def _start_service(self, name: str) -> None:
        service = _service_of(name)
        module = service.replace("-", "_")
        environment = self.environment(name)
        self._migrate(service, module)
        labels = self._labels(name)
        ports = [self._ports.chosen[name]] if labels == [name] else [self._ports.choose(label) for label in labels]
        mode = ["intake"] if name == INTAKE else []
        self._start_process(name, [sys.executable, "-m", module, *mode], environment, ports)

    def _labels(self, name: str) -> list[str]:
        """The name of each process of a service, or of the intake."""
        count = self._replica_counts.get(name, 1)
        return [name] if count == 1 else [f"{name}.{index}" for index in range(count)]

    def _start_proxy(self) -> None:
        routes = [
            f"{self._ports.chosen[name]}={','.join(str(replica.port) for replica in self._replicas[name])}"
            for name in self._served
            if len(self._replicas[name]) > 1
        ]
        argv = [sys.executable, "-m", "local_stack.proxy", *(word for route in routes for word in ("--route", route))]
        listen = int(routes[0].partition("=")[0])
        self._start_process(_PROXY, argv, _inherited(), [listen])

    def _start_process(
        self, name: str, argv: Sequence[str], environment: Mapping[str, str], ports: Sequence[int]
    ) -> None:
        self._go_on()
        replicas = []
        for index, port in enumerate(ports):
            label = name if len(ports) == 1 else f"{name}.{index}"
            own = {"HTTP_PORT": str(port)}
            probe = f"http://127.0.0.1:{port}{_PROBES.get(name, '/livez')}"
            if name in self._served:
                own["OPERATOR_PORT"] = str(self._ports.chosen[f"{label}.operator"])
                probe = f"http://127.0.0.1:{own['OPERATOR_PORT']}/readyz"
            process = StackProcess(
                label,
                argv,
                environment={**environment, **own},
                log=self.state / "logs" / f"{label}.log",
                book=self._book,
                say=self._say,
                supervised=self._supervised,
                echo=False,
                spawn=self._spawn,
            )
            replicas.append(_Replica(port, probe, process))
        self._replicas[name] = replicas
        for replica in replicas:
            replica.process.start()

    def _migrate(self, service: str, module: str) -> None:
        """``python -m <service> migrate`` in this process, which saves five processes and their imports."""
        with self._migrating:  # Alembic keeps the migration at work in module globals
            self._go_on()
            try:
                self._run(migrate(self.database_url(service), module))
            except (SQLAlchemyError, CommandError, OSError) as error:
                raise LocalStackError(f"The migrations of {service} failed: {error}") from error

    def _go_on(self) -> None:
        """Raise StartCancelledError once the start was cancelled."""
        if self._cancelled.is_set():
            raise StartCancelledError

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` to its end, or until the start is cancelled: it may wait for a stopped server."""

        async def run() -> None:
            task = asyncio.ensure_future(work)
            while not (await asyncio.wait({task}, timeout=0.1))[0]:
                if self._cancelled.is_set():
                    task.cancel()
                    await asyncio.wait({task}, timeout=HURRIED_SECONDS)
                    raise StartCancelledError
            task.result()

        asyncio.run(run())

    @contextmanager
    def _together(self) -> Iterator[Callable[..., None]]:
        """Run functions in parallel and wait for all."""
        with ThreadPoolExecutor(max_workers=16, thread_name_prefix="stop") as pool:
            futures: list[Future[Any]] = []
            yield lambda *calls: futures.extend(pool.submit(call) for call in calls)
            _raise_first(futures)


def forget(state: Path) -> None:
    """Delete the state directory of a stack; LocalStackError if it is running."""
    state = state.resolve()
    if not state.exists():
        return
    lock = DirectoryLock(state)
    lock.acquire(f"The stack in {state}")
    try:
        ProcessBook(state / "processes.json").end_leftovers()
        LocalKafka(state / "kafka").delete()
        LocalPostgres(state / "postgres").delete()
        shutil.rmtree(state)
    finally:
        lock.release()


def _service_of(name: str) -> str:
    return WEBHOOK_GATEWAY if name == INTAKE else name


_VARIABLES: Final = {WEBHOOK_GATEWAY: "PORT", SIMULATOR: "SIMULATOR_PORT", IDENTITY_PROVIDER: "IDENTITY_PORT"}
"""`make run`'s names of the configurable ports."""
_PROBES: Final = {SIMULATOR: "/_sim/openapi.json"}


def _raise_first(futures: Sequence[Future[Any]]) -> None:
    """Wait until all are done or one failed, and raise its error."""
    for future in as_completed(futures):
        future.result()


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=2) as answer:
            return bool(answer.status < 300)
    except (OSError, urllib.error.HTTPError):
        return False


def _inherited() -> dict[str, str]:
    """This process's environment for a child, with unbuffered output and without proxies for local addresses."""
    loopback = f"{_HOST},127.0.0.1"
    around = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), loopback)))
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_PROXY": around, "no_proxy": around}
