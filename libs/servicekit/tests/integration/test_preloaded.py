"""Forks of a preloaded parent behave like processes of the command line."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from servicekit.local.process import is_alive, spawn, wait_until
from servicekit.testing import preloaded

PROGRAM = """
import os, random, signal, sys, time
from sample_program import work
def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    apart = os.getpid() == os.getsid(0)
    print("told", *sys.argv[1:], os.environ["WHICH"], __name__, random.random(), apart, flush=True)
    print("and stderr", file=sys.stderr)
    if sys.argv[1] == "waits":
        signal.pause()
    while sys.argv[1] == "computes" and time.process_time() < 0.5:
        pass
    if sys.argv[1] == "computes":
        sys.exit()
    if sys.argv[1] == "fails":
        raise ValueError("of the program")
    sys.exit(int(sys.argv[1]))
if __name__ == "__main__":
    main()
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


def environment(folder: Path, which: str = "") -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "WHICH": which, "IMPORTS": str(folder / "imports")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    package = folder / "sample_program"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "work.py").write_text('import os\nopen(os.environ["IMPORTS"], "a").close()\n')
    (package / "__main__.py").write_text(PROGRAM)
    return folder


@pytest.fixture(params=[spawn, preloaded.spawn], ids=["command line", "forked"])
def start(request: pytest.FixtureRequest, folder: Path) -> Start:
    def started(*arguments: str, which: str = "") -> subprocess.Popen[bytes]:
        made: subprocess.Popen[bytes] = request.param(
            [sys.executable, "-m", "sample_program", *arguments], stdout=subprocess.PIPE, env=environment(folder, which)
        )
        return made

    return started


def said(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    with process.stdout as output:
        return output.read().decode()


def test_arguments_environment_output_and_status(start: Start) -> None:
    first, second = start("3", "two words", which="first"), start("0", which="second")
    assert (first.wait(30), second.wait(30)) == (3, 0)
    lines = [said(each).splitlines() for each in (first, second)]
    assert lines[0][0].startswith("told 3 two words first __main__ ")
    assert lines[1][0].startswith("told 0 second __main__ ")
    assert all(told.endswith(" True") and stderr == "and stderr" for told, stderr in lines), "a session of its own"
    assert lines[0][0].split()[-2] != lines[1][0].split()[-2], "each has its own randomness"


def test_an_error_ends_it_with_a_traceback(start: Start) -> None:
    process = start("fails")
    assert process.wait(30) == 1
    assert "ValueError: of the program" in said(process)


def test_signals_reach_it_and_its_end_is_seen(start: Start) -> None:
    for number, status in ((signal.SIGTERM, 7), (signal.SIGKILL, -signal.SIGKILL)):
        process = start("waits")
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"told")
        assert is_alive(process.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(number)
        assert process.wait(30) == status
        assert not is_alive(process.pid)
        process.send_signal(number)  # of a process that has ended: nothing
        process.stdout.close()


def test_imports_are_done_once(folder: Path) -> None:
    seen = folder / "imports"
    seen.unlink()
    for _ in range(3):
        with preloaded.spawn(
            [sys.executable, "-m", "sample_program", "0"], stdout=subprocess.PIPE, env=environment(folder)
        ) as process:
            assert process.wait(30) == 0
    assert not seen.exists(), "since an earlier test"


def computed() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_what_forks_compute_is_counted(folder: Path) -> None:
    """`make test` tells each stage's processor time, that of collected children."""
    before = computed()
    argv = [sys.executable, "-m", "sample_program", "computes"]
    ended = preloaded.spawn(argv, stdout=subprocess.PIPE, env=environment(folder))
    waiting = preloaded.spawn([*argv[:3], "waits"], stdout=subprocess.PIPE, env=environment(folder))
    assert ended.wait(30) == 0
    preloaded.close()
    assert computed() - before > 0.5
    assert waiting.wait(30) == -signal.SIGKILL
    assert not is_alive(waiting.pid)
    said(ended)
    said(waiting)


def test_a_killed_test_run_leaves_nobody(folder: Path) -> None:
    program = (
        "import sys, time\nfrom servicekit.testing import preloaded\nimport subprocess\n"
        "process = preloaded.spawn([sys.executable, '-m', 'sample_program', 'waits'], stdout=subprocess.PIPE)\n"
        "print(process.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], env=environment(folder), stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert is_alive(pid)
        run.kill()
    assert wait_until(lambda: not is_alive(pid), within=30)


def test_a_program_that_cannot_be_imported_is_told() -> None:
    with pytest.raises(RuntimeError, match="its imports failed"):
        preloaded.spawn([sys.executable, "-m", "no_such_program"], stdout=subprocess.PIPE)
