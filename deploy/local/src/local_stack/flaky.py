"""Finds flaky tests: ``python -m local_stack.flaky --times=20 TEST...``.

Each repetition is a separate pytest, while one process per core keeps the cores busy. Prints the number of failures per
test, and the output of the first failure. Exit status 1 if a test failed.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local_stack.report import cases
from servicekit.local.process import spawn

_BUSY = "while True: pass"


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Processes that keep a core busy each."""
    busy = [spawn([sys.executable, "-c", _BUSY], stdout=subprocess.DEVNULL) for _ in range(processes)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


class Repetitions:
    """Counts failures."""

    def __init__(self, tests: list[str]) -> None:
        self._tests = tests
        self.runs: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.first = ""
        """The output of the first failure."""

    def repeat(self) -> set[str]:
        """Run the tests once; gives the failed ones."""
        with TemporaryDirectory(prefix="flaky-") as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
            command += ["-o", "junit_family=xunit1"]  # the family that names the file of each test
            done = subprocess.run([*command, *self._tests], capture_output=True, text=True, check=False)
            found = cases(report) if report.exists() else []
        failed = {one.test: one.reason for one in found if one.outcome == "failed"}
        if done.returncode and not failed:
            failed = {"pytest itself": f"{done.stdout}\n{done.stderr}"}
        self.runs.update({one.test for one in found if one.outcome != "skipped"} | failed.keys())
        self.failures.update(failed.keys())
        if failed and not self.first:
            name, said = next(iter(failed.items()))
            self.first = f"{name}\n{said}"
        return set(failed)

    def told(self) -> str:
        """Number of failures by test, the worst first."""
        worst = sorted(self.runs, key=lambda test: (-self.failures[test], test))
        lines = [f"  failed {self.failures[test]} of {self.runs[test]}: {test}" for test in worst]
        return "\n".join([*(["The first failure:", self.first, ""] if self.first else []), *lines])


def main() -> int:
    """Repeat the tests of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="how often")
    parser.add_argument("--cores", type=int, default=2, help="how many cores to keep busy meanwhile")
    asked, tests = parser.parse_known_args()
    if not tests:
        parser.error("which tests? make flaky TESTS='path/to/test_file.py::test_name' TIMES=20")
    repetitions = Repetitions(tests)
    with load(asked.cores):
        for number in range(1, asked.times + 1):
            began = time.monotonic()
            failed = repetitions.repeat()
            verdict = f"FAILED {', '.join(sorted(failed))}" if failed else "passed"
            sys.stdout.write(f"{number} of {asked.times}, {time.monotonic() - began:.0f} s: {verdict}\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{repetitions.told()}\n")
    return 1 if repetitions.failures else 0


if __name__ == "__main__":
    sys.exit(main())
