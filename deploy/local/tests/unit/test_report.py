"""The last words of `make test`."""

from pathlib import Path

from local_stack.report import summary

UNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="3" time="1.4">
<testcase name="a"/><testcase name="b"><skipped type="pytest.skip" message="no engine"/></testcase>
<testcase name="c"><skipped type="pytest.skip" message="no engine"/></testcase></testsuite></testsuites>"""


def test_reasons_are_grouped_and_left_out_layers_named(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(UNIT)
    (tmp_path / "browser.skipped").write_text("browser: Chromium is not installed\n")
    told = summary(tmp_path)
    assert "unit               1 tests in 1 s" in told
    assert "browser: Chromium is not installed" in told
    assert "unit: no engine (2 tests)" in told


def test_nothing_skipped_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(UNIT.replace('<skipped type="pytest.skip" message="no engine"/>', ""))
    assert summary(tmp_path).endswith("Nothing was skipped.")
