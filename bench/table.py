"""The table, printed and stored in README.md. Rows of figures not measured this time stay unchanged."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

README: Final = Path(__file__).parent / "README.md"
_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"
_HEAD: Final = ["| figure | measured | aim | met | how, and when |", "| --- | --- | --- | --- | --- |"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    figure: str
    measured: str
    aim: str
    met: bool | None
    """The aim; None for a figure shown only for comparison."""
    how: str

    def render(self) -> str:
        """The line of the table, with time and load of the machine."""
        met = {True: "yes", False: "**no**", None: "·"}[self.met]
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f}"
        return f"| {self.figure} | {self.measured} | {self.aim} | {met} | {self.how} ({when}) |"


def show(rows: Sequence[str], parameters: str) -> None:
    """Print the rows of this run and put them into README.md."""
    print("\n".join([*_HEAD, *rows]), flush=True)
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    old, _, after = rest.partition(_END)
    kept = {_figure(line): line for line in old.splitlines() if line.startswith("| ")}
    for line in _HEAD:
        kept.pop(_figure(line), None)
    kept |= {_figure(line): line for line in rows}
    machine = f"Last run: {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}."
    lines = [_BEGIN, *_HEAD, *kept.values(), "", machine, f"Its parameters: `{parameters}`.", _END]
    README.write_text(before + "\n".join(lines) + after, encoding="utf-8")


def _figure(line: str) -> str:
    return line.split("|")[1].strip()
