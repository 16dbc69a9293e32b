"""Everything of docker-compose.yml, built and started once for these tests, on ports and under a name of its own.

The environment variable COMPOSE names the command, `docker compose` by default.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from dotenv import dotenv_values

from local_stack.church import Church
from pco_simulator.testing import Control
from servicekit.local.process import free_port
from servicekit.testing.servers import container_engine

ROOT = Path(__file__).parents[2]
COMMAND = shlex.split(os.environ.get("COMPOSE", "docker compose"))
PROJECT = "pco-integration-test"
PEOPLE = 300

Compose = Callable[..., str]
"""`compose("ps", "--all")` → what it printed. RuntimeError with what it said if it fails."""
Person = Callable[[str], Church]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Building takes minutes the first time, and the whole of it is under the limit of the first test."""
    for item in items:
        if item.get_closest_marker("containers"):
            item.add_marker(pytest.mark.timeout(1800))


def compose_answers() -> bool:
    """Whether the command is there."""
    try:
        return subprocess.run([*COMMAND, "version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="session")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody has after `deploy/docker/make-env`, with free ports."""
    path = tmp_path_factory.mktemp("compose") / "env"
    subprocess.run([str(ROOT / "deploy/docker/make-env"), str(path)], check=True)
    with path.open("a") as env:
        for name in ("PORT", "WEBHOOK_PORT", "SIMULATOR_PORT", "IDENTITY_PORT"):
            env.write(f"{name}={free_port()}\n")
        env.write(f"PEOPLE={PEOPLE}\n")
    return path


@pytest.fixture(scope="session")
def addresses(env_file: Path) -> dict[str, str]:
    """Where this machine's browsers find `gateway`, `simulator` and `provider`."""
    env = dotenv_values(env_file)
    ports = {"gateway": "PORT", "simulator": "SIMULATOR_PORT", "provider": "IDENTITY_PORT"}
    return {name: f"http://localhost:{env[port]}" for name, port in ports.items()}


@pytest.fixture(scope="session")
def compose(env_file: Path) -> Iterator[Compose]:
    """Built, up and healthy; taken down at the end with all that it kept."""
    if not container_engine():
        pytest.skip("no Docker-compatible engine answers")
    if not compose_answers():
        pytest.skip(f"`{shlex.join(COMMAND)}` is not installed: name another with make containers COMPOSE=...")

    def run(*arguments: str) -> str:
        command = [*COMMAND, "--env-file", str(env_file), "--project-name", PROJECT, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    clear = ("down", "--volumes", "--remove-orphans", "--timeout", "10")
    run(*clear)
    try:
        run("build")
        try:
            run("up", "--detach", "--wait", "--wait-timeout", "300")
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{run('ps', '--all')}\n{run('logs', '--no-color', '--tail', '20')}") from error
        yield run
    finally:
        run(*clear)


@pytest.fixture(scope="session")
def person(compose: Compose, addresses: dict[str, str]) -> Iterator[Person]:
    """Somebody signed in by the identity provider's direct grant: `person("ada")`."""
    with ExitStack() as signed_in:

        def sign_in(username: str) -> Church:
            form = {"grant_type": "password", "username": username, "lifetime": "7200"}
            token = httpx.post(f"{addresses['provider']}/token", data=form).raise_for_status().json()["access_token"]
            control = Control(addresses["simulator"])
            return signed_in.enter_context(Church(addresses["gateway"], token, control))

        yield sign_in


@pytest.fixture(scope="session")
def ada(person: Person) -> Church:
    """The admin of the first church."""
    return person("ada")
