"""Processes of the stack: restarted when they crash, stopped in order, never forgotten."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from local_stack.processes import ProcessBook, StackProcess
from servicekit.local.process import is_alive, wait_until
from servicekit.testing.time import PATIENCE_SECONDS

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


class Lines:
    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, label: str, text: str) -> None:
        self.said.append(f"{label}: {text}")

    def has(self, text: str) -> bool:
        return any(text in line for line in self.said)


def program(folder: Path, code: str, lines: Lines, *, supervised: bool = True) -> StackProcess:
    return StackProcess(
        "trial",
        [sys.executable, "-c", code],
        environment={"NAME": "value"},
        log=folder / "trial.log",
        book=ProcessBook(folder / "processes.json"),
        say=lines,
        supervised=supervised,
    )


def test_a_crashed_process_comes_back_and_it_is_said(tmp_path: Path) -> None:
    lines = Lines()
    process = program(tmp_path, "import os, time; print(os.environ['NAME'], flush=True); time.sleep(600)", lines)
    process.start()
    assert wait_until(lambda: lines.said.count("trial: value") == 1, within=PATIENCE_SECONDS)
    first = process.pid
    process.kill()
    assert wait_until(lambda: lines.said.count("trial: value") == 2, within=PATIENCE_SECONDS)
    assert lines.has("was ended by SIGKILL; starting it again in 0.5 s")
    assert process.pid != first
    process.stop()
    assert not process.running
    assert (process.starts, process.log.read_text()) == (2, "value\nvalue\n")


def test_one_that_keeps_failing_is_tried_less_and_less_often(tmp_path: Path) -> None:
    lines = Lines()
    process = program(tmp_path, "raise SystemExit(3)", lines)
    process.start()
    assert wait_until(lambda: lines.has("starting it again in 2 s"), within=PATIENCE_SECONDS)
    process.stop()
    assert [line for line in lines.said if "again" in line] == [
        f"trial: ended with status 3; starting it again in {pause} s" for pause in ("0.5", "1", "2")
    ]


def test_without_supervision_a_killed_process_stays_away_until_it_is_started(tmp_path: Path) -> None:
    lines = Lines()
    process = program(tmp_path, "import time; print('up', flush=True); time.sleep(600)", lines, supervised=False)
    process.start()
    assert wait_until(lambda: lines.has("up"), within=PATIENCE_SECONDS)
    process.kill()
    assert (process.running, process.starts) == (False, 1)
    process.start()
    assert process.running
    process.restart()
    assert process.running
    process.stop()


def test_one_that_does_not_stop_is_killed_and_it_is_said(tmp_path: Path) -> None:
    lines = Lines()
    process = program(tmp_path, STUBBORN, lines)
    process.start()
    assert wait_until(lambda: lines.has("up"), within=PATIENCE_SECONDS)
    process.stop(within=0.5)
    assert not process.running
    assert lines.has("was killed")


def test_what_a_killed_launcher_left_is_ended_by_the_next(tmp_path: Path) -> None:
    lines = Lines()
    book = ProcessBook(tmp_path / "processes.json")
    # Started without the kernel's parent-death signal, as on systems without it.
    argv = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)", "ours"]
    left = subprocess.Popen(argv, stdout=subprocess.PIPE)
    # Its command line is empty for a moment after Popen has returned, while the kernel replaces the program.
    assert left.stdout is not None
    assert left.stdout.readline() == b"up\n"
    book.note("left", left.pid, argv)
    # The pid of this process with another command line, like a reused pid.
    book.note("recycled", os.getpid(), ["python", "-m", "people_sync"])
    assert book.end_leftovers() == ["left"]
    assert left.wait(10) == -signal.SIGTERM
    assert is_alive(os.getpid())
    assert ProcessBook(tmp_path / "processes.json").end_leftovers() == []
    assert lines.said == []
