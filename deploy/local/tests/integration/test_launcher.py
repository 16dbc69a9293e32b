"""`make run` from the outside: ready line, refusals, a crash, a stop; and several replicas behind the proxy."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from local_stack.stack import SERVICES, Stack
from servicekit.local import free_port
from servicekit.local.process import is_alive, kill_tree, wait_until

START_SECONDS = 150


class Launcher:
    """A `python -m local_stack` and what it printed."""

    def __init__(self, state: Path, port: int, simulator_port: int) -> None:
        self.port = port
        self.printed = ""
        arguments = ["--state", str(state), "--port", str(port), "--simulator-port", str(simulator_port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local_stack", *arguments, "--people", "50"],
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

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> int:
        status = self.process.wait(60)
        self._reader.join()
        return status


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path / "state", free_port(), free_port())
    yield launcher
    if launcher.process.poll() is None:
        kill_tree(launcher.process.pid)
    launcher.end()


def test_from_start_to_stop(launcher: Launcher, tmp_path: Path) -> None:
    assert launcher.says(r"Ready after [\d.]+ s"), launcher.printed
    console = f"http://localhost:{launcher.port}"
    assert f"Console           {console}/" in launcher.printed
    assert re.search(r"Ada Moreno +admin of Riverbend Community Church", launcher.printed)
    assert "\x1b[" not in launcher.printed
    page = httpx.get(f"{console}/")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")

    second = Launcher(tmp_path / "state", free_port(), free_port())
    assert second.end() == 1
    assert second.printed.strip().endswith("is running already: stop that one first.")
    assert second.printed.strip().count("\n") == 0
    third = Launcher(tmp_path / "third", launcher.port, free_port())
    assert third.end() == 1
    assert third.printed.strip().startswith(f"Port {launcher.port} is taken")
    assert third.printed.strip().count("\n") == 0

    assert httpx.get(f"{console}/api/v1/console-settings").status_code == 200
    assert httpx.get(f"{console}/api/v1/me").status_code == 401
    assert launcher.says(r"webhook-gateway +\| .* request .* route=/api/v1/me status=401", within=10)
    log = (tmp_path / "state" / "logs" / "webhook-gateway.log").read_text()
    assert re.search(r" request .* route=/api/v1/console-settings status=200", log)
    assert "console-settings" not in launcher.printed
    assert "status=200" not in launcher.printed

    [victim] = [child for child in launcher.children() if "conflict_service" in child.cmdline()]
    victim.kill()
    assert launcher.says(r"conflict-service +\| was ended by SIGKILL; starting it again in 0.5 s", within=30)

    everyone = launcher.children()
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.end() == 0
    assert launcher.printed.rstrip().endswith("stopped")
    assert not any(is_alive(child.pid) for child in everyone)


def test_two_replicas_of_everything_behind_one_address(tmp_path: Path) -> None:
    with Stack(tmp_path / "state", people=50, replicas=dict.fromkeys(SERVICES, 2)) as stack:
        assert len({process.pid for process in stack.processes()}) == 2 * len(SERVICES) + 3
        token = {"authorization": f"Bearer {stack.token('ada')}"}
        for name in SERVICES:
            for index in (0, 1):
                # Each by itself; a busy machine may be too slow for one probe.
                stack.wait_ready(name, index, within=30)
            stack.process(name, 0).kill()
        for _ in range(4):
            answer = httpx.get(stack.url() + "/api/v1/connections", headers=token)
            assert answer.status_code == 200, answer.text
        assert httpx.get(stack.url() + "/api/v1/connections").status_code == 401
