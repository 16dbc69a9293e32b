"""What a test run could not check, said at its end: ``python -m local_stack.report FOLDER``.

Reads pytest's JUnit reports (``*.xml``) and the notes of whole layers that were left out (``*.skipped``).
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def summary(folder: Path) -> str:
    """Counts by layer, then every reason for a skip with the number of tests behind it."""
    lines = []
    skipped: Counter[str] = Counter()
    for report in sorted(folder.glob("*.xml")):
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
        total = sum(int(suite.get("tests", 0)) for suite in suites)
        seconds = sum(float(suite.get("time", 0)) for suite in suites)
        reasons = [
            f"{report.stem}: {skip.get('message', '').strip() or 'no reason given'}"
            for suite in suites
            for skip in suite.iter("skipped")
            if skip.get("type") != "pytest.xfail"
        ]
        skipped.update(reasons)
        lines.append(f"  {report.stem:<14}{total - len(reasons):>6} tests in {seconds:.0f} s")
    notes = [note.read_text().strip() for note in sorted(folder.glob("*.skipped"))]
    lines = ["Checked:", *lines]
    if notes or skipped:
        lines += ["Not checked:", *(f"  {note}" for note in notes)]
        lines += [f"  {reason} ({count} tests)" for reason, count in sorted(skipped.items())]
    else:
        lines.append("Nothing was skipped.")
    return "\n".join(lines)


def main() -> int:
    """Print the summary of the folder named on the command line."""
    sys.stdout.write(f"\n{summary(Path(sys.argv[1]))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
