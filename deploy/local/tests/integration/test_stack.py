"""The base of every service, started like `make run`: PostgreSQL, Kafka, simulator, identity provider."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from local_stack.launcher import main
from local_stack.stack import IDENTITY_PROVIDER, SIMULATOR, Stack, forget
from pco_simulator.storage import Store
from pco_simulator.testing import Control
from servicekit.local import LocalStackError, free_port
from servicekit.local.process import is_alive

LAUNCHER = """
import sys, time
from local_stack.stack import Stack
stack = Stack(sys.argv[1], people=50, services=())
stack.start()
print(*(process.pid for process in stack.processes()), stack.kafka.pid, stack.postgres.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack") / "state"


@pytest.fixture(scope="module")
def stack(state: Path) -> Iterator[Stack]:
    with Stack(state, people=50, services=()) as stack:
        yield stack


def test_a_killed_launcher_takes_all_with_it_and_the_next_start_finds_everything(state: Path) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(state)], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    pids = [int(pid) for pid in launcher.stdout.readline().split()]
    assert len(pids) == 4
    assert all(is_alive(pid) for pid in pids)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    with Stack(state, people=50, services=()) as stack:
        assert stack.token("ada")
        assert not any(is_alive(pid) for pid in pids)


def test_addresses_and_keys_stay_from_one_start_to_the_next(stack: Stack) -> None:
    addresses = [
        stack.url(SIMULATOR),
        stack.url(IDENTITY_PROVIDER),
        stack.kafka.bootstrap_servers,
        stack.postgres.url(),
    ]
    keys = httpx.get(stack.url(IDENTITY_PROVIDER) + "/jwks.json").json()
    stack.stop()
    stack.start()
    assert addresses == [
        stack.url(SIMULATOR),
        stack.url(IDENTITY_PROVIDER),
        stack.kafka.bootstrap_servers,
        stack.postgres.url(),
    ]
    assert httpx.get(stack.url(IDENTITY_PROVIDER) + "/jwks.json").json() == keys


def test_a_second_one_on_the_same_state_is_refused_in_one_sentence(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        LocalStackError, match=r"is running already \(http://localhost:\d+, process \d+\): stop that one first"
    ):
        Stack(stack.state).start()
    with pytest.raises(
        LocalStackError, match=r"is running already \(http://localhost:\d+, process \d+\): stop that one first"
    ):
        forget(stack.state)
    assert main(["--state", str(stack.state), "--forget"]) == 1
    assert "Traceback" not in "".join(capsys.readouterr())
    assert stack.postgres.running


def test_a_taken_port_is_found_before_anything_starts(stack: Stack, tmp_path: Path) -> None:
    taken = int(stack.url(SIMULATOR).rpartition(":")[2])
    other = Stack(tmp_path / "other", simulator_port=taken, services=())
    with pytest.raises(LocalStackError, match=rf"Port {taken} is taken .*make run SIMULATOR_PORT=\d+\)"):
        other.start()
    assert not (tmp_path / "other" / "postgres").exists()


def test_one_port_for_two_is_refused_before_anything_starts(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(LocalStackError, match=f"PORT and SIMULATOR_PORT are both {port}: choose different ports"):
        Stack(tmp_path, port=port, simulator_port=port, services=()).start()
    assert not (tmp_path / "postgres").exists()


def test_a_port_asked_for_is_taken_from_the_part_that_remembers_it(stack: Stack) -> None:
    stack.stop()
    remembered = int(stack.url(IDENTITY_PROVIDER).rpartition(":")[2])
    with Stack(stack.state, port=remembered, services=()) as moved:
        assert moved.url().endswith(f":{remembered}")
        assert moved.token("ada")
    stack.start()


def test_another_number_of_people_destroys_nothing(stack: Stack) -> None:
    def people(running: Stack) -> int:
        with closing(Control(running.url(SIMULATOR))) as control:
            return int(control.truth(control.organizations()[0]["id"])["people"])

    with closing(Control(stack.url(SIMULATOR))) as control:
        control.create_person(control.organizations()[0]["id"], first_name="Typed", last_name="Here")
    before = people(stack)
    stack.stop()
    said: list[str] = []
    with Stack(stack.state, people=300, services=(), say=lambda _, text: said.append(text)) as other:
        assert people(other) == before
        assert other.kept_church.startswith("The church of 50 people is kept; `make clean-run` forgets everything")
        assert said[0] == other.kept_church
    with Stack(stack.state, services=()) as plain:
        assert people(plain) == before
        assert not plain.kept_church
    stack.start()


def test_a_state_of_another_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / SIMULATOR).mkdir()
    store = Store(tmp_path / SIMULATOR / "world.sqlite3")
    store.put("world", "shape", {"format": 0})
    store.close()
    with pytest.raises(LocalStackError, match=r"of another version of the simulator.*`make clean-run` forgets it\.$"):
        Stack(tmp_path, services=()).start()
    assert not (tmp_path / "postgres").exists()


def test_any_of_them_can_be_killed_and_come_back(stack: Stack) -> None:
    for name in (SIMULATOR, IDENTITY_PROVIDER):
        stack.process(name).kill()
        assert not stack.process(name).running
        stack.process(name).start()
        stack.wait_ready(name)
    stack.kafka.kill()
    stack.postgres.kill()
    stack.kafka.start()
    stack.postgres.start()
    assert stack.postgres.sql("SELECT 1") == "1"


def test_forgetting_leaves_nothing(stack: Stack) -> None:
    state = stack.state
    stack.stop()
    forget(state)
    assert not state.exists()
    forget(state)
