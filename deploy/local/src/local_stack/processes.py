"""One process of the stack: log, restarts, and the pid file that outlives a killed launcher."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from servicekit.local.process import Output, RememberedFile, end_leftover, kill_tree, spawn, stop_process

Say = Callable[[str, str], None]
"""Prints one line: label, text."""


class Spawn(Protocol):
    """Starts a program: `servicekit.local.process.spawn`, or in tests `servicekit.testing.preloaded.spawn`."""

    def __call__(
        self, argv: Sequence[str], *, stdout: Output, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """The started program, its stderr joined to ``stdout``."""


STOP_SECONDS = 25
_LOG_BYTES = 20_000_000
_SUCCEEDED = re.compile(rb" request +\[servicekit\.http\.edge\] .* status=[123]\d\d$")
"""A service's log line of a successful request on a terminal."""
_FIRST_PAUSE, _LONGEST_PAUSE, _STABLE_SECONDS = 0.5, 15.0, 20.0


class ProcessBook:
    """The running processes on disk, so that the next start can end those of a killed launcher."""

    def __init__(self, path: Path) -> None:
        self._file = RememberedFile(path)
        self._lock = threading.Lock()

    def note(self, label: str, pid: int, argv: Sequence[str]) -> None:
        """Note that ``label`` runs as ``pid``."""
        with self._lock:
            self._file.write({**self._file.read(), label: {"pid": pid, "argv": list(argv)}})

    def strike(self, label: str) -> None:
        """Remove ``label``, which no longer runs."""
        with self._lock:
            noted = self._file.read()
            if noted.pop(label, None) is not None:
                self._file.write(noted)

    def end_leftovers(self) -> list[str]:
        """End noted processes that still run; returns their labels."""
        ended = []
        for label, noted in self._file.read().items():
            if isinstance(noted, dict) and end_leftover(
                int(noted["pid"]), " ".join(noted["argv"]), signal.SIGTERM, within=STOP_SECONDS
            ):
                ended.append(label)
        self._file.write({})
        return ended


class StackProcess:
    """A program that is started, watched and, with ``supervised``, restarted after an unexpected end.

    Its output goes to ``log`` and, while ``echo`` is true, line by line to ``say``, except successful requests, which
    would scroll the addresses away.
    """

    def __init__(
        self,
        label: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        book: ProcessBook,
        say: Say,
        supervised: bool,
        echo: bool = True,
        spawn: Spawn = spawn,
    ) -> None:
        self.label = label
        self.argv = list(argv)
        self.environment = dict(environment)
        self.log = log
        self.echo = echo
        self.starts = 0
        """Number of starts, restarts after a crash included."""
        self._book = book
        self._say = say
        self._supervised = supervised
        self._spawned = spawn
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id, None without a process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the process unless it runs. For readiness see ``Stack.wait_ready``."""
        if self._watcher is not None and self._watcher.is_alive():
            if not self._stopping.is_set() and self.running:
                return
            self._stopping.set()
            self._watcher.join()
        self._stopping.clear()
        self._spawn()
        self._watcher = threading.Thread(target=self._watch, name=f"watch {self.label}", daemon=True)
        self._watcher.start()

    def stop(self, *, within: float = STOP_SECONDS) -> None:
        """Send SIGTERM, and after ``within`` seconds SIGKILL, with a message."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            began = time.monotonic()
            stop_process(process, signal.SIGTERM, within=within)
            if time.monotonic() - began >= within:
                self._say(self.label, f"did not stop within {within:.0f} s and was killed")
        if self._watcher is not None:
            self._watcher.join()
        self._book.strike(self.label)

    def kill(self) -> None:
        """Send SIGKILL to the process and its children. A supervised process is restarted."""
        process = self._process
        if process is not None and process.poll() is None:
            kill_tree(process.pid)
            process.wait()
        if not self._supervised and self._watcher is not None:
            self._watcher.join()

    def restart(self) -> None:
        """Stop the process in order and start it again."""
        self.stop()
        self.start()

    def last_lines(self, count: int = 5) -> str:
        """The last lines of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 8192))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-count:])

    def _spawn(self) -> None:
        with self._lock:
            if self._stopping.is_set():
                return
            self._process = self._spawned(self.argv, stdout=subprocess.PIPE, env=self.environment)
            self.starts += 1
            self._book.note(self.label, self._process.pid, self.argv)

    def _watch(self) -> None:
        """Copy the output; after an unexpected end report it and restart the process."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            self._copy_output()
            with self._lock:
                process = self._process
            status = process.wait() if process is not None else 0
            if self._stopping.is_set():
                return
            if not self._supervised:
                self._book.strike(self.label)
                return
            if time.monotonic() - began > _STABLE_SECONDS:
                pause = _FIRST_PAUSE
            if not self.echo:
                self._say(self.label, self.last_lines())
            self._say(self.label, f"{describe_status(status)}; starting it again in {pause:g} s")
            if self._stopping.wait(pause):
                return
            pause = min(pause * 2, _LONGEST_PAUSE)
            self._spawn()

    def _copy_output(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab", buffering=0) as log, process.stdout as output:
            for line in output:
                log.write(line)
                if self.echo and not _SUCCEEDED.search(line.rstrip()):
                    self._say(self.label, line.decode(errors="replace").rstrip())


def describe_status(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return "ended by itself" if status == 0 else f"ended with status {status}"
