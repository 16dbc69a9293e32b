"""A server that this process starts: its directory, port, start and end."""

import shutil
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from servicekit.local.process import DirectoryLock, LocalStackError, RememberedFile, choose_port, stop_process


class LocalServer(ABC):
    """A server in ``directory``, which holds its data, log and port.

    ``port`` 0 chooses a free port at the first start and keeps it while it stays free. ``settings`` are the server's
    own and override those chosen here. Once ``cancelled`` is set, a start fails at once (StartCancelledError) and
    leaves nothing running.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    """Of its log and of what is remembered, without the suffix."""
    shutdown: ClassVar[signal.Signals]
    """Ends it in order, so that the next start recovers nothing."""

    def __init__(
        self,
        directory: Path | str,
        port: int = 0,
        *,
        settings: Mapping[str, str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.log = self.directory / f"{self.file}.log"
        self._data = self.directory / "data"
        self._wanted_port = port
        self._settings = dict(settings or {})
        self._cancelled = cancelled
        self._lock = DirectoryLock(self.directory)
        self._memory = RememberedFile(self.directory / f"{self.file}.json")
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    def prepare(self) -> None:
        """Choose the address without starting, so that others can be configured; ``start`` does it too."""
        if self._prepared:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock.acquire(self._named())
        try:
            self._end_what_was_left()
            self._memory.write({**self._memory.read(), **self._choose_ports()})
        except BaseException:
            self._lock.release()
            raise
        self._prepared = True

    def start(self) -> None:
        """Start the server unless it runs, and return when it accepts requests."""
        if self.running:
            return
        self.prepare()
        try:
            self._launch()
        except BaseException:
            self._let_go()
            raise

    def stop(self, *, within: float = 20) -> None:
        """Shut down cleanly; open connections are closed."""
        process, self._process = self._process, None
        if process is not None:
            stop_process(process, self.shutdown, within=within)
        self._let_go()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._kill(self._process)
            self._process.wait()
            self._process = None
        self._let_go()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def delete(self) -> None:
        """Delete the directory with all data; LocalStackError while another process uses it."""
        if not self.directory.exists():
            return
        self.stop()
        self._lock.acquire(self._named())
        try:
            self._end_what_was_left()
            shutil.rmtree(self.directory)
        finally:
            self._lock.release()

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it is not running."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def port(self) -> int:
        """The port of the last start."""
        port = self._memory.integer("port")
        if port is None:
            raise LocalStackError(f"This {self.name} has no port yet: start it first.")
        return port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def _launch(self) -> None:
        """Start `_process` and wait until it accepts requests; LocalStackError if it does not."""

    @abstractmethod
    def _end_what_was_left(self) -> None:
        """End this directory's server if its launcher was killed."""

    def _choose_ports(self) -> dict[str, int]:
        return {"port": choose_port(self._wanted_port, self._memory.integer("port"), self.name)}

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()

    def _let_go(self) -> None:
        self._prepared = False
        self._lock.release()

    def _named(self) -> str:
        return f"The {self.name} in {self.directory}"
