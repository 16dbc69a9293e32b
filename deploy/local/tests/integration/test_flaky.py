"""`make flaky` finds a flaky test, and prints its first failure."""

import subprocess
import sys
from pathlib import Path

TESTS = """
from pathlib import Path

def test_sometimes():
    times = Path(__file__).with_name("times")
    times.write_text(times.read_text() + "x" if times.exists() else "x")
    assert len(times.read_text()) != 2, "the second time"

def test_never():
    pass
"""


def test_counts_and_the_first_failure(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(TESTS)
    command = [sys.executable, "-m", "local_stack.flaky", "--times=3", "--cores=0", str(file), f"--rootdir={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 of 3" in done.stdout
    assert "the second time" in done.stdout
    assert done.stdout.rstrip().endswith(
        "failed 1 of 3: test_it.py::test_sometimes\n  failed 0 of 3: test_it.py::test_never"
    )


def test_tests_that_are_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local_stack.flaky", "--times=1", "--cores=0", str(tmp_path / "none.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "failed 1 of 1: pytest itself" in done.stdout
