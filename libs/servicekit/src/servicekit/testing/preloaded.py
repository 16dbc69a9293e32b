"""Processes for tests, forked from a parent that has imported their program.

`python -m people_sync` computes 1.6 s before its first line runs, all of it imports, and a test run starts hundreds of
such processes. `spawn` starts the same program in milliseconds: the first call for a module starts its parent, which
imports everything the module needs and then only forks. Parents have no threads, event loops or connections. They and
all their forks end with the test run, even a killed one.
"""

import atexit
import ctypes
import gc
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import IO, Any, Final

_NUMBER: Final = struct.Struct("i")
_DIE_WITH_THE_PARENT: Final = 1
"""PR_SET_PDEATHSIG."""
_LATE: Final = {
    "httpx": ("httpcore",),
    "uvicorn": (
        "uvicorn.lifespan.on",
        "uvicorn.loops.auto",
        "uvicorn.protocols.http.auto",
        "uvicorn.protocols.websockets.auto",
    ),
}
"""Modules that a library imports only when it is used."""


# -- in the test's process ---------------------------------------------------------------------------------------------


def spawn(
    argv: Sequence[str], *, stdout: int | IO[bytes], env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """`servicekit.local.process.spawn` for `[sys.executable, "-m", MODULE, ...]`. Its working directory, `PYTHONPATH`
    and what libraries read from the environment while they are imported are those of the first start of the module.

    Pid, signals, exit status and output (PIPE, or an open file) are those of a child. Its command line is the parent's.
    RuntimeError if the module cannot be imported.
    """
    program, dash_m, module, *arguments = argv
    assert (program, dash_m) == (sys.executable, "-m"), "only modules for this interpreter can be forked"
    env = dict(os.environ if env is None else env)
    with _LOCK:
        if module not in _PARENTS:
            _PARENTS[module] = _Parent(module, env)
    return _PARENTS[module].fork(argv, {"module": module, "arguments": arguments, "env": env}, stdout)


class _Parent:
    """The test's end of a parent."""

    def __init__(self, module: str, env: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                # As a script, because the package around it imports half of servicekit.
                [sys.executable, "-P", __file__, module],
                stdin=theirs.fileno(),
                env={**env, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def fork(self, argv: Sequence[str], request: Mapping[str, Any], stdout: int | IO[bytes]) -> "_Fork":
        reader: IO[bytes] | None = None
        if stdout == subprocess.PIPE:
            read, output = os.pipe()
            reader = os.fdopen(read, "rb")
        else:
            output = os.dup(stdout if isinstance(stdout, int) else stdout.fileno())
        told, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [b"f"], [theirs.fileno(), output])
            told.sendall(json.dumps(request).encode() + b"\n")
            return _Fork(argv, told, reader)
        except (OSError, struct.error) as error:
            raise RuntimeError(f"{' '.join(argv)} could not be forked: its imports failed") from error
        finally:
            os.close(output)

    def close(self) -> None:
        """End the parent, and with it all its forks."""
        self._control.close()
        self._process.wait()


class _Fork(subprocess.Popen[bytes]):
    """A Popen of somebody else's child, whose pid and exit status are told through a socket."""

    def __init__(self, argv: Sequence[str], told: socket.socket, stdout: IO[bytes] | None) -> None:
        self.args = list(argv)
        self.stdin = self.stderr = None
        self.stdout = stdout
        self._told = told
        self._reading = threading.Lock()
        (self.pid,) = _NUMBER.unpack(told.recv(_NUMBER.size, socket.MSG_WAITALL))
        self.returncode = None

    def poll(self) -> int | None:
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._status(timeout)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._told, select.POLLIN)
            if not ready.poll(None if timeout is None else timeout * 1000):
                return None
            with self._reading:  # several threads may wait
                if self.returncode is None:
                    status = self._told.recv(_NUMBER.size, socket.MSG_WAITALL)
                    self.returncode = _NUMBER.unpack(status)[0] if status else -signal.SIGKILL
                    self._told.close()
        return self.returncode


_PARENTS: Final[dict[str, _Parent]] = {}
_LOCK: Final = threading.Lock()


@atexit.register
def close() -> None:
    """End all parents, and with them all forks."""
    while _PARENTS:
        _PARENTS.popitem()[1].close()


# -- in the parent -----------------------------------------------------------------------------------------------------


def _main(module: str) -> None:
    with socket.socket(fileno=os.dup(0)) as control:
        _redirect(os.open(os.devnull, os.O_RDONLY), 0)
        _load(module)
        request = _serve(control)
    if request is not None:
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv = [module, *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def _load(module: str) -> None:
    """Import what the program imports, and do what each process would do with it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    name = module if spec.submodule_search_locations is None else f"{module}.__main__"
    import_module(name)
    del sys.modules[name]  # runs in each fork as `__main__`
    for library, late in _LATE.items():
        if library in sys.modules:
            for each in late:
                import_module(each)
    if "sqlalchemy.orm" in sys.modules:
        sys.modules["sqlalchemy.orm"].configure_mappers()
    assert threading.active_count() == 1, "a thread would not live on in a fork"
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each request until the test's end closes. Gives a fork its request, and the parent None."""
    keepers: set[int] = set()
    while received := socket.recv_fds(control, 1, 2)[1]:
        told, output = received
        keeper = os.fork()
        if keeper == 0:
            return _keep(told, output)
        os.close(told)
        os.close(output)
        keepers = {pid for pid in keepers if not os.waitpid(pid, os.WNOHANG)[0]} | {keeper}
    for keeper in keepers:
        os.kill(keeper, signal.SIGTERM)
        os.waitpid(keeper, 0)  # not only ended: `make test` counts the processor time of collected processes alone
    return None


def _keep(told: int, output: int) -> dict[str, Any]:
    """Fork once more: the one process, its keeper, tells how the other ended, and only that one returns."""
    _die_with_the_parent()
    with socket.socket(fileno=told) as test, test.makefile("rb") as requests:
        request: dict[str, Any] = json.loads(requests.readline())
        pid = os.fork()
        if pid:
            os.close(output)
            signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
            test.sendall(_NUMBER.pack(pid))
            _, status = os.waitpid(pid, 0)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            test.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os._exit(0)
    _die_with_the_parent()
    os.setsid()
    os.dup2(output, 2)
    _redirect(output, 1)
    return request


def _redirect(source: int, target: int) -> None:
    os.dup2(source, target)
    os.close(source)


def _die_with_the_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_THE_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    _main(sys.argv[1])
