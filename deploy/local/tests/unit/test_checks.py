"""Every stage runs even after failures, and the summary says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.checks import has_room

MAKEFILE = f"""
red:
	@echo this is wrong; exit 3
green:
	@echo all is well
busy:
	@{sys.executable} -c "import time; all(iter(lambda: time.process_time() < 0.5, False))"
nice:
	@{sys.executable} -c "import os; print('priority', os.nice(0))"
unable:
	@echo "unable: nothing to do it with" > reports/unable.skipped
"""


def run(folder: Path, *stages: str, behind: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "Makefile").write_text(MAKEFILE)
    command = [
        sys.executable,
        "-m",
        "local_stack.checks",
        "--reports=reports",
        "--at-once=1",
        f"--behind={behind}",
        *stages,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_red_stage_keeps_no_other_from_running(tmp_path: Path) -> None:
    done = run(tmp_path, "red", "green", "unable")
    assert done.returncode == 1
    assert "this is wrong" in done.stdout
    assert "all is well" in done.stdout
    assert "  make red\n" in done.stdout
    assert "  unable: nothing to do it with" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed, 1 skipped"


def test_what_an_earlier_run_said_is_forgotten(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "green.skipped").write_text("green: not there at that time")
    done = run(tmp_path, "green")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "1 passed, 0 failed"


def test_each_stage_has_its_own_processor_time(tmp_path: Path) -> None:
    run(tmp_path, "busy", "green")
    used = {
        name: json.loads((tmp_path / "reports" / f"{name}.outcome").read_text())["cpu_seconds"]
        for name in ("busy", "green")
    }
    assert used["busy"] >= 0.5
    assert used["green"] < used["busy"]


def test_what_runs_behind_gives_way_and_is_told_like_the_others(tmp_path: Path) -> None:
    done = run(tmp_path, "busy", "red", "nice", "green", behind="nice red")
    assert done.stdout.splitlines()[-1] == "3 passed, 1 failed"
    assert f"priority {min(os.nice(0) + 10, 19)}" in done.stdout
    began = [line.split()[1] for line in done.stdout.splitlines() if line.endswith(" began")]
    assert began[:2] == ["busy", "red"], "beside the first one, whatever the number at once"
    assert began.index("red") < began.index("nice")


@pytest.mark.parametrize(
    ("running", "at_once", "youngest_seconds", "idle_percent", "expected"),
    [
        (0, 5, 0.0, 0.0, True),
        (2, 5, 0.0, 0.0, True),
        (1, 1, 60.0, 90.0, False),
        (3, 5, 60.0, 40.0, True),
        (3, 5, 5.0, 40.0, False),
        (3, 5, 60.0, 10.0, False),
        (5, 5, 60.0, 90.0, False),
    ],
)
def test_a_further_stage_begins_only_while_processors_are_idle(
    running: int, at_once: int, youngest_seconds: float, idle_percent: float, expected: bool
) -> None:
    assert has_room(running, at_once, youngest_seconds=youngest_seconds, idle_percent=idle_percent) is expected
