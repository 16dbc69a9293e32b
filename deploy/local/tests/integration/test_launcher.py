"""`make run` as a process: stops, ready line, refusals, a crash; and several replicas behind the proxy."""

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local_stack.stack import INTAKE, SERVICES, Stack
from servicekit.local import free_port
from servicekit.local.process import is_alive, kill_tree, wait_until

START_SECONDS = 150
README = Path(__file__).parents[4] / "README.md"


class Launcher:
    """A `python -m local_stack` and its output."""

    def __init__(self, state: Path, *, port: int = 0, before: str = "") -> None:
        self.port = port or free_port()
        self.identity_port = free_port()
        self.printed = ""
        ports = ("--port", self.port, "--simulator-port", free_port(), "--identity-port", self.identity_port)
        command = [sys.executable, "-m", "local_stack", "--state", state, *ports, "--people", 50]
        self.process = subprocess.Popen(
            ["sh", "-c", f"{before} exec {shlex.join(map(str, command))}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.printed += line

    def says(self, pattern: str, *, within: float = START_SECONDS) -> bool:
        def said() -> bool:
            return re.search(pattern, self.printed) is not None

        return wait_until(lambda: said() or self.process.poll() is not None, within=within) and said()

    def sees_to_signals(self) -> bool:
        """Whether SIGINT is handled, although the parent ignores it."""
        caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) >> (signal.SIGINT - 1) & 1)

    def runs(self, program: str) -> bool:
        return any(program in " ".join(child.cmdline()) for child in self.children() if is_alive(child.pid))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> int:
        status = self.process.wait(60)
        self._reader.join()
        return status


@contextmanager
def launched(state: Path, **options: Any) -> Iterator[Launcher]:
    launcher = Launcher(state, **options)
    yield launcher
    if launcher.process.poll() is None:
        kill_tree(launcher.process.pid)
    launcher.end()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("launcher") / "state"


@pytest.fixture
def launcher(state: Path) -> Iterator[Launcher]:
    with launched(state) as launcher:
        yield launcher


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize(
    ("number", "instant"),
    [
        (signal.SIGINT, None),
        (signal.SIGTERM, "initdb"),
        (signal.SIGINT, "StorageTool"),
        (signal.SIGTERM, "kafka.Kafka"),
        (signal.SIGINT, "conflict_service"),
    ],
)
def test_stopped_at_any_instant_of_the_start(state: Path, number: signal.Signals, instant: str | None) -> None:
    """One state for all cases and the test below: half created parts are created again."""
    with launched(state, before='trap "" INT;') as launcher:
        assert wait_until(launcher.sees_to_signals, within=START_SECONDS)
        if instant is not None:
            assert wait_until(lambda: launcher.runs(instant), within=START_SECONDS), launcher.printed
        everyone = launcher.children()
        launcher.process.send_signal(number)
        assert launcher.end() == 0
        assert re.search(r"\| stopped$|^stopped; nothing was started yet$", launcher.printed.rstrip())
        assert "Traceback" not in launcher.printed
        assert not any(is_alive(child.pid) for child in everyone)


def test_from_start_to_stop(launcher: Launcher, state: Path, tmp_path: Path) -> None:
    assert launcher.says(r"Ready after [\d.]+ s"), launcher.printed
    console = f"http://localhost:{launcher.port}"
    assert f"Console           {console}/" in launcher.printed
    assert re.search(r"Ada Moreno +admin of Riverbend Community Church", launcher.printed)
    assert "\x1b[" not in launcher.printed
    page = httpx.get(f"{console}/")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")

    second = Launcher(state)
    assert second.end() == 1
    running = f"{console}, process {launcher.process.pid}"
    assert second.printed.strip().endswith(f"is running already ({running}): stop that one first.")
    assert second.printed.strip().count("\n") == 0
    third = Launcher(tmp_path / "third", port=launcher.port)
    assert third.end() == 1
    assert third.printed.strip().startswith(f"Port {launcher.port} is taken")
    assert third.printed.strip().count("\n") == 0

    # Runs the README's own commands with these ports.
    [shown] = re.findall(r"```sh\n(TOKEN=.+?)```", README.read_text(), re.DOTALL)
    commands = shown.replace("8080", str(launcher.port)).replace("8091", str(launcher.identity_port))
    told = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, check=True)
    status, member = (json.loads(line) for line in re.findall(r"\{.+?\}(?=\{|\s*$)", told.stdout))
    assert status["connected"] is False
    assert member["last_name"] == "Brook"

    assert httpx.get(f"{console}/api/v1/console-settings").status_code == 200
    assert httpx.get(f"{console}/api/v1/me").status_code == 401
    assert launcher.says(r"webhook-gateway +\| .* request .* route=/api/v1/me status=401")
    log = (state / "logs" / "webhook-gateway.log").read_text()
    assert re.search(r" request .* route=/api/v1/console-settings status=200", log)
    assert "console-settings" not in launcher.printed
    assert "status=200" not in launcher.printed

    [victim] = [child for child in launcher.children() if "conflict_service" in child.cmdline()]
    victim.kill()
    assert launcher.says(r"conflict-service +\| was ended by SIGKILL; starting it again in 0.5 s")

    everyone = launcher.children()
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.end() == 0
    assert launcher.printed.rstrip().endswith("stopped")
    assert not any(is_alive(child.pid) for child in everyone)


def test_two_replicas_of_everything_behind_one_address(tmp_path: Path) -> None:
    with Stack(tmp_path / "state", people=50, replicas=dict.fromkeys((*SERVICES, INTAKE), 2)) as stack:
        assert len({process.pid for process in stack.processes()}) == 2 * len(SERVICES) + 2 + 3
        token = {"authorization": f"Bearer {stack.token('ada')}"}
        for name in (*SERVICES, INTAKE):
            for index in (0, 1):
                # Each replica by itself, with retries, since a busy machine may be too slow for one probe.
                stack.wait_ready(name, index)
            stack.process(name, 0).kill()
        for _ in range(4):
            answer = httpx.get(stack.url() + "/api/v1/connections", headers=token)
            assert answer.status_code == 200, answer.text
        assert httpx.get(stack.url() + "/api/v1/connections").status_code == 401
        assert stack.environment(INTAKE)["WEBHOOK_URL"] == stack.url(INTAKE)
        for _ in range(4):
            assert httpx.post(f"{stack.url(INTAKE)}/webhooks/pco/unknown").status_code == 404
