"""The summary of a test run: every stage with its time, failures with the command to repeat them, skipped checks.

Reads the outcomes noted by `local_stack.checks` (``*.outcome``), pytest's JUnit reports (``*.xml``, of the family
xunit1, which names files) and the notes of skipped stages (``*.skipped``).
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a stage."""

    stage: str
    status: int
    """Exit status of its process."""
    seconds: float
    cpu_seconds: float
    """Processor seconds of the stage's process and of its reaped children."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The text to print, and whether a stage failed."""

    text: str
    failed: int


@dataclass(slots=True)
class _Stage:
    name: str
    outcome: Outcome | None
    tests: int = 0
    failed: list[str] = field(default_factory=list)
    """Node ids; empty strings for tests without one."""
    skipped: Counter[str] = field(default_factory=Counter)
    note: str = ""
    """Why the whole stage was skipped."""

    @property
    def red(self) -> bool:
        return self.outcome is None or self.outcome.status != 0 or bool(self.failed)

    def counts(self) -> tuple[int, int, int]:
        """Numbers of passed, failed, skipped. A stage without tests, or red without a red test, counts as one."""
        skipped = self.skipped.total()
        failed = max(len(self.failed), int(self.red))
        if not self.tests:
            return int(not failed and not self.note), failed, int(bool(self.note) and not failed)
        return self.tests - len(self.failed) - skipped, failed, skipped

    def line(self) -> str:
        passed, failed, skipped = self.counts()
        words = [f"{failed} failed"] if self.failed else ["FAILED"] if failed else []
        words += [f"{passed} passed"] if self.tests else []
        words += [f"{skipped} skipped"] if skipped else []
        time = f"{self.outcome.seconds:.0f} s" if self.outcome else "never ended"
        cpu = f"{self.outcome.cpu_seconds:.0f} s" if self.outcome else ""
        return f"  {self.name:<28}{time:>11}{cpu:>8}  {', '.join(words) or 'passed'}"


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Note a stage's outcome."""
    (folder / f"{outcome.stage}.outcome").write_text(json.dumps(asdict(outcome)))


def summary(folder: Path, stages: Iterable[str], *, seconds: float) -> Summary:
    """Sum up these stages; `seconds`: wall time of all."""
    found = [_read(folder, stage) for stage in stages]
    cpu = sum(one.outcome.cpu_seconds for one in found if one.outcome)
    lines = [
        f"Stages with their time and processor time, {_minutes(seconds)} and {_minutes(cpu)} in all:",
        *(one.line() for one in found),
    ]
    if red := [one for one in found if one.red]:
        lines.append("Failed, and how to repeat it:")
        for one in red:
            lines.append(f"  make {one.name}")
            lines += [f"    .venv/bin/pytest {shlex.quote(test)}" for test in one.failed if test]
    left_out = [f"  {one.note}" for one in found if one.note]
    left_out += [
        f"  {one.name}: {reason} ({count} {'test' if count == 1 else 'tests'})"
        for one in found
        for reason, count in sorted(one.skipped.items())
    ]
    lines += ["Not checked:", *left_out] if left_out else ["Nothing was skipped."]
    passed, failed, skipped = (sum(counts) for counts in zip(*(one.counts() for one in found), strict=True))
    lines += ["", f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")]
    return Summary("\n".join(lines), failed)


def _minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


@dataclass(frozen=True, slots=True)
class Case:
    """One test case of a report; a test whose teardown fails too has two."""

    test: str
    """The node id for pytest; empty if the report does not give it."""
    outcome: Literal["passed", "failed", "skipped"]
    reason: str
    """The reason of the skip, or pytest's text of the failure."""


def cases(report: Path) -> list[Case]:
    """The tests of a JUnit report. An expected failure counts as passed."""
    return [_case(found) for found in ElementTree.parse(report).getroot().iter("testcase")]


def _case(found: ElementTree.Element) -> Case:
    test = _node_id(found)
    for kind in ("failure", "error"):
        if (broken := found.find(kind)) is not None:
            captured = [part.text or "" for part in found.iter() if part.tag in {"system-out", "system-err"}]
            return Case(test, "failed", "\n".join([broken.text or broken.get("message") or "", *captured]))
    skip = found.find("skipped")
    if skip is not None and skip.get("type") != "pytest.xfail":
        return Case(test, "skipped", (skip.get("message") or "").strip() or "no reason given")
    return Case(test, "passed", "")


def _read(folder: Path, stage: str) -> _Stage:
    noted, report, left_out = (folder / f"{stage}.{kind}" for kind in ("outcome", "xml", "skipped"))
    found = _Stage(stage, Outcome(**json.loads(noted.read_text())) if noted.exists() else None)
    if left_out.exists():
        found.note = left_out.read_text().strip()
    for case in cases(report) if report.exists() else ():
        if case.outcome == "failed":
            if case.test and case.test in found.failed:
                continue
            found.failed.append(case.test)
        elif case.outcome == "skipped":
            found.skipped[case.reason] += 1
        found.tests += 1
    return found


def _node_id(case: ElementTree.Element) -> str:
    """Node id for pytest. A file that failed to import is its own, without a class name."""
    file, name, owner = case.get("file"), case.get("name", ""), case.get("classname", "")
    if not file:
        return ""
    if not owner:
        return file
    module = file.removesuffix(".py").replace("/", ".")
    classes = owner.removeprefix(module).strip(".")
    return "::".join([file, *(classes.split(".") if classes else []), name])
