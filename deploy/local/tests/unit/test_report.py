"""The summary of `make test`."""

from pathlib import Path

from local_stack.report import Outcome, Summary, summary, write_outcome

SKIP = '<skipped type="pytest.skip" message="no engine"/>'
UNIT = f"""<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="3" time="1.4">
<testcase classname="a.test_a" file="a/test_a.py" name="test_a"/>
<testcase classname="a.test_a" file="a/test_a.py" name="test_b">{SKIP}</testcase>
<testcase classname="a.test_a" file="a/test_a.py" name="test_c">{SKIP}</testcase></testsuite></testsuites>"""
RED = """<?xml version="1.0"?><testsuites><testsuite name="pytest">
<testcase classname="b.test_b.TestIt" file="b/test_b.py" name="test_one[a b]"><failure message="x"/></testcase>
<testcase classname="b.test_b" file="b/test_b.py" name="test_two"><failure message="x"/></testcase>
<testcase classname="b.test_b" file="b/test_b.py" name="test_two"><error message="at its end"/></testcase>
<testcase classname="b.test_b" file="b/test_b.py" name="test_three"/>
<testcase classname="" name="b.test_c"><error message="collection failure"/></testcase></testsuite></testsuites>"""


def told(folder: Path, **statuses: int) -> Summary:
    for stage, status in statuses.items():
        write_outcome(folder, Outcome(stage, status, 1.4, 2.6))
    return summary(folder, statuses, seconds=61)


def test_reasons_are_grouped_and_left_out_stages_named(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(UNIT)
    (tmp_path / "browser.skipped").write_text("browser: Chromium is not installed\n")
    found = told(tmp_path, unit=0, browser=0)
    assert "unit                                1 s     3 s  1 passed, 2 skipped" in found.text
    assert "  browser: Chromium is not installed" in found.text
    assert "  unit: no engine (2 tests)" in found.text
    assert found.text.splitlines()[-1] == "1 passed, 0 failed, 3 skipped"
    assert not found.failed


def test_nothing_skipped_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(UNIT.replace(SKIP, ""))
    found = told(tmp_path, unit=0, lint=0)
    assert "Nothing was skipped." in found.text
    assert found.text.splitlines()[-1] == "4 passed, 0 failed"


def test_what_failed_is_there_with_the_command_that_repeats_it(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(RED)
    found = told(tmp_path, unit=1, lint=2, types=0)
    assert found.text.split("repeat it:\n")[1].startswith(
        "  make unit\n"
        "    .venv/bin/pytest 'b/test_b.py::TestIt::test_one[a b]'\n"
        "    .venv/bin/pytest b/test_b.py::test_two\n"
        "  make lint\n"
    )
    assert "make types" not in found.text
    assert found.text.splitlines()[-1] == "2 passed, 4 failed"  # of the tests one passed, and so did the types
    assert found.failed == 4


def test_a_stage_that_ended_badly_fails_though_no_test_did(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(UNIT.replace(SKIP, ""))
    found = told(tmp_path, unit=2)
    assert "  make unit" in found.text
    assert found.text.splitlines()[-1] == "3 passed, 1 failed"
    assert summary(tmp_path, ["unit", "never"], seconds=1).failed == 2
