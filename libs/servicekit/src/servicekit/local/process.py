"""Child processes that never outlive their parent, and cleanup after a killed parent."""

import fcntl
import json
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import psutil

# Runs between fork and the program itself: drops to another user, asks the kernel for a signal when
# the parent dies, and leaves at once if that happened already. A program of its own rather than a
# preexec_fn, because the parent has threads. The other user keeps root's right to pass through folders
# (CAP_DAC_OVERRIDE, as an ambient capability), so that nobody's home has to be opened for it.
_SHIM = """
import ctypes, os, struct, sys
parent, signal_number, uid, gid = map(int, sys.argv[1:5])
libc = ctypes.CDLL(None)
linux = sys.platform == "linux"
if uid >= 0:
    if linux:
        libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if linux:
        override = 1  # CAP_DAC_OVERRIDE
        libc.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", *3 * [1 << override], 0, 0, 0))
        libc.prctl(47, 2, override, 0, 0)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE
if linux:
    libc.prctl(1, signal_number, 0, 0, 0)  # PR_SET_PDEATHSIG
if os.getppid() != parent:
    sys.exit(1)
os.execvp(sys.argv[5], sys.argv[5:])
"""

# The kernel's signal comes when the *thread* that forked ends, so all forks are made by one thread
# that lives as long as the process.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

Output = int | IO[bytes]
HURRIED_SECONDS = 1.5
"""What a server has to shut down in order while the start it belongs to is stopped; then it is killed."""
_LOWEST_PORT = 15_000
_PORTS = 17_000
"""Linux gives outgoing connections 32,768 and above."""
_RESERVED: list[IO[str]] = []
"""Locks of the ports that this process has chosen, until it ends."""


class LocalStackError(RuntimeError):
    """A server cannot be started or used. The message says in one sentence what to do."""


def spawn(
    argv: Sequence[str],
    *,
    stdout: Output,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    user: tuple[int, int] | None = None,
    own_group: bool = True,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` with stderr joined to ``stdout``; it gets ``death_signal`` when this process ends.

    ``user`` is (uid, gid) to run as. With ``own_group`` a Ctrl-C in the terminal does not reach the child, so its
    starter decides the order of stops.
    """
    uid, gid = user if user is not None else (-1, -1)
    shim = [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), str(int(death_signal)), str(uid), str(gid)]

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603
            [*shim, *argv],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=own_group,
        )

    return _SPAWNER.submit(fork).result()


class StartCancelledError(LocalStackError):
    """A stop was requested while a server was starting."""

    def __init__(self) -> None:
        super().__init__("The start was stopped.")


def wait_until(
    condition: Callable[[], bool],
    *,
    within: float,
    process: subprocess.Popen[bytes] | None = None,
    cancelled: threading.Event | None = None,
) -> bool:
    """Check ``condition`` every 20 ms until it holds; False after ``within`` seconds or once ``process`` has ended.

    Raises StartCancelledError once ``cancelled`` is set.
    """
    deadline = time.monotonic() + within
    while not condition():
        if cancelled is not None and cancelled.is_set():
            raise StartCancelledError
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            return False
        time.sleep(0.02)
    return True


def finished(process: subprocess.Popen[bytes], cancelled: threading.Event | None) -> int:
    """Wait until ``process`` ends by itself; returns its status. A cancellation kills it and raises
    StartCancelledError.
    """
    try:
        wait_until(lambda: process.poll() is not None, within=math.inf, cancelled=cancelled)
    except StartCancelledError:
        kill_tree(process.pid)
        process.wait()
        raise
    return process.wait()


def stop_process(process: subprocess.Popen[bytes], how: signal.Signals, *, within: float) -> None:
    """Send ``how`` and wait; after ``within`` seconds send SIGKILL to the process and its children."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
    process.wait()


def kill_tree(pid: int) -> None:
    """SIGKILL for ``pid`` and all its descendants, the parent first, and wait until they are gone."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    wait_until(lambda: not any(is_alive(member.pid) for member in family), within=10)


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs. A zombie does not count."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_leftover(pid: int, mark: str, how: signal.Signals, *, within: float = 15.0) -> bool:
    """End process ``pid``, left by a killed launcher, if its command line still contains ``mark``.

    Process ids are reused, so a process with another command line is not ours and is left alone. Returns whether a
    process was ended.
    """
    try:
        process = psutil.Process(pid)
        if mark not in " ".join(process.cmdline()):
            return False
        process.send_signal(how)
        if not wait_until(lambda: not is_alive(pid), within=within):
            kill_tree(pid)
    except psutil.NoSuchProcess:
        return False
    return True


def free_port() -> int:
    """A free TCP port on loopback, reserved among our processes while this one runs.

    It lies outside the range of outgoing connections, which could otherwise take it while its server restarts.
    """
    while not (port_is_free(port := _LOWEST_PORT + secrets.randbelow(_PORTS)) and _reserve(port)):
        continue
    return port


def _reserve(port: int) -> bool:
    """Reserve the port. False if another process has chosen it; that one's server may not listen yet."""
    folder = Path(tempfile.gettempdir()) / f"local-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    lock = (folder / str(port)).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _RESERVED.append(lock)
    return True


def port_is_free(port: int) -> bool:
    """Whether a server can listen on ``port`` of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(wanted: int, remembered: int | None, what: str) -> int:
    """``wanted`` if given (an error if taken), else the port of the last start, else a free one."""
    if wanted:
        if not port_is_free(wanted):
            raise LocalStackError(
                f"Port {wanted} for {what} is taken by another program: stop that or choose another port."
            )
        return wanted
    return remembered if remembered is not None and port_is_free(remembered) else free_port()


class DirectoryLock:
    """One running owner per directory, named in the file. The kernel releases the lock when the owner dies."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._file: IO[str] | None = None

    def acquire(self, what: str) -> None:
        """Take the lock, or raise LocalStackError at once, which says where the running ``what`` can be found."""
        handle = self._path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip()
            handle.close()
            raise LocalStackError(
                f"{what} is running already{f' ({owner})' if owner else ''}: stop that one first."
            ) from None
        self._file = handle
        self.tell(f"process {os.getpid()}")

    def tell(self, owner: str) -> None:
        """Store what others are told about this owner."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.write(owner)
            self._file.flush()

    def release(self) -> None:
        """Let another process use the directory."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


class RememberedFile:
    """A small JSON object kept in a private file: ports, passwords, process ids."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, object]:
        """The stored object; empty without one, or if a kill truncated it."""
        try:
            content = json.loads(self.path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, content: Mapping[str, object]) -> None:
        """Replace the stored object atomically; only the owner can read it."""
        fresh = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        fresh.touch(0o600)
        fresh.write_text(json.dumps(dict(content), indent=1, sort_keys=True))
        fresh.replace(self.path)

    def integer(self, key: str) -> int | None:
        """The stored number under ``key``."""
        value = self.read().get(key)
        return value if isinstance(value, int) else None


def default_cache() -> Path:
    """The folder for downloads: ``.cache`` of the surrounding checkout, else of the working directory."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "constraints.txt").exists() or (folder / ".git").exists():
            return folder / ".cache"
    return here / ".cache"
