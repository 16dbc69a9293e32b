"""All stages of `make test`, some at a time, to the end: ``python -m local_stack.checks STAGE...``.

Each stage is a target of the Makefile. A failed stage does not stop the others; the output of each is printed when it
ends, and stored in the folder of the reports. Three stages run at least; a further one begins while the processors have
time for it, because tests wait for lags and leases more than they compute. Stages that only compute (`--behind`) run
beside them one after the other, at a lower priority, in the time that the others leave: they end nobody's lease.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_stack.report import Outcome, summary, write_outcome

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 30.0
_ALWAYS = 3
_SETTLE_SECONDS = 10.0
"""A stage that has just begun shows what it takes only after its servers have started."""
_WINDOW_SECONDS = 15.0
_ROOM_PERCENT = 25.0
"""Idle share of all processors from which another stage begins. Work at a lower priority gives way, so it counts as
idle."""
_NICENESS = 10


@dataclass(slots=True)
class _Running:
    stage: str
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    behind: bool


def has_room(running: int, at_once: int, *, youngest_seconds: float, idle_percent: float) -> bool:
    """Whether another stage may begin beside `running` ones."""
    if running < min(_ALWAYS, at_once):
        return True
    return running < at_once and youngest_seconds >= _SETTLE_SECONDS and idle_percent >= _ROOM_PERCENT


class _Idle:
    """Idle share of the processors over the last seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float, float]] = deque()

    def percent(self) -> float:
        """Over `_WINDOW_SECONDS`; 0 until it has looked for so long."""
        spent = psutil.cpu_times()
        idle = spent.idle + getattr(spent, "iowait", 0.0) + spent.nice
        self._looks.append((time.monotonic(), idle, sum(spent)))
        while len(self._looks) > 1 and self._looks[1][0] <= self._looks[-1][0] - _WINDOW_SECONDS:
            self._looks.popleft()
        (first, idle_before, all_before), (last, idle_now, all_now) = self._looks[0], self._looks[-1]
        if last - first < _WINDOW_SECONDS or all_now == all_before:
            return 0.0
        return 100.0 * (idle_now - idle_before) / (all_now - all_before)


class Checks:
    """Starts stages in the order given, up to a number at once, and those `behind` beside them."""

    def __init__(self, stages: list[str], folder: Path, *, make: str, at_once: int, behind: Collection[str]) -> None:
        self._waiting = deque(stage for stage in stages if stage not in behind)
        self._behind = deque(stage for stage in stages if stage in behind)
        self._folder = folder
        self._make = make
        self._at_once = at_once
        self._running: list[_Running] = []
        self._idle = _Idle()
        self._began = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        for old in [each for stage in stages for each in folder.glob(f"{stage}.*")]:
            old.unlink()

    def run(self) -> None:
        """Run all stages to their end."""
        while self._waiting or self._behind or self._running:
            while self._waiting and self._has_room():
                self._start(self._waiting.popleft())
            while self._behind and self._has_room_behind():
                self._start(self._behind.popleft(), behind=True)
            time.sleep(_POLL_SECONDS)
            for one in list(self._running):
                before = _collected()
                if one.process.poll() is not None:  # reaps the process, which adds its processor time
                    self._running.remove(one)
                    self._ended(one, cpu_seconds=_collected() - before)

    def _has_room(self) -> bool:
        ahead = [one for one in self._running if not one.behind]
        youngest = min((time.monotonic() - one.began for one in ahead), default=0.0)
        return has_room(len(ahead), self._at_once, youngest_seconds=youngest, idle_percent=self._idle.percent())

    def _has_room_behind(self) -> bool:
        """One at a time, and as many as stages at least once nobody else is left."""
        ahead = self._waiting or any(not one.behind for one in self._running)
        return sum(one.behind for one in self._running) < (1 if ahead else min(_ALWAYS, self._at_once))

    def stop(self) -> None:
        """Wait for running stages, which got the same Ctrl-C, so that tests can stop their servers."""
        for one in self._running:
            try:
                one.process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                one.process.terminate()

    def _start(self, stage: str, *, behind: bool = False) -> None:
        log = self._folder / f"{stage}.log"
        command = [*(("nice", "-n", str(_NICENESS)) if behind else ()), self._make, "--no-print-directory", stage]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._running.append(_Running(stage, process, log, time.monotonic(), behind))
        self._say(f"{stage} began")

    def _ended(self, one: _Running, *, cpu_seconds: float) -> None:
        seconds = time.monotonic() - one.began
        write_outcome(self._folder, Outcome(one.stage, one.process.returncode, seconds, cpu_seconds))
        self._say(f"{one.stage} {'FAILED' if one.process.returncode else 'ended'} after {seconds:.0f} s")
        said = one.log.read_text(errors="replace").rstrip()
        if said:
            sys.stdout.write("\n".join(f"  {line}" for line in said.splitlines()) + "\n")
            sys.stdout.flush()

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        sys.stdout.write(f"[{minutes:02}:{seconds:02}] {text}\n")
        sys.stdout.flush()


def _collected() -> float:
    """Processor seconds of all reaped children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Run the stages of the command line; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", metavar="STAGE", help="targets of the Makefile, the longest first")
    parser.add_argument("--reports", type=Path, required=True, help="folder of the JUnit reports")
    parser.add_argument("--make", default="make", help="the make to call")
    parser.add_argument("--at-once", type=int, default=4, help="how many stages run at the same time at most")
    parser.add_argument("--behind", default="", help="those that run one at a time beside the others, by spaces")
    asked = parser.parse_args()
    checks = Checks(
        asked.stages, asked.reports, make=asked.make, at_once=asked.at_once, behind=set(asked.behind.split())
    )
    began = time.monotonic()
    try:
        checks.run()
    except KeyboardInterrupt:
        checks.stop()
        return 130
    told = summary(asked.reports, asked.stages, seconds=time.monotonic() - began)
    sys.stdout.write(f"\n{told.text}\n")
    return 1 if told.failed else 0


if __name__ == "__main__":
    sys.exit(main())
