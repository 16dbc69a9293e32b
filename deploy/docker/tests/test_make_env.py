"""The services accept the keys and passwords of make-env."""

import shutil
import stat
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.fernet import Fernet
from dotenv import dotenv_values

from contracts.values import AUTH_SERVICE, SERVICES
from servicekit.http.auth import Verifier, sign_service
from servicekit.settings import ServiceSettings

SCRIPT = Path(__file__).parents[1] / "make-env"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def make(path: Path) -> dict[str, str]:
    """Run the script; gives the file's variables."""
    done = subprocess.run([str(SCRIPT), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: value or "" for name, value in dotenv_values(path).items()}


def variable(service: str) -> str:
    """A service's name as prefix of variables: AUTH_SERVICE."""
    return service.replace("-", "_").upper()


def settings_of(service: str, env: dict[str, str]) -> ServiceSettings:
    """The settings of every service, for one of them."""

    class Settings(ServiceSettings):
        service_name: ClassVar[str] = service

    return Settings(
        database_url="postgresql+asyncpg://nobody@nowhere/nothing",
        kafka_bootstrap_servers="nowhere:9092",
        signing_key=env[f"{variable(service)}_SIGNING_KEY"],
        trusted_keys=env["TRUSTED_KEYS"],
    )


def test_every_service_trusts_every_other(tmp_path: Path) -> None:
    env = make(tmp_path / "env")
    door = Verifier(settings_of(AUTH_SERVICE, env))
    for service in SERVICES:
        token = sign_service(settings_of(service, env), AUTH_SERVICE)
        assert door.verify(token, "service+jwt", signers={service})["iss"] == service
    assert '"d"' not in env["TRUSTED_KEYS"]
    Fernet(env["TOKEN_ENCRYPTION_KEYS"])
    passwords = [value for name, value in env.items() if name.endswith("_PASSWORD")]
    assert len(passwords) == len(set(passwords)) == len(SERVICES) + 1


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    make(tmp_path / "env")
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600


def test_what_is_there_stays_and_what_is_missing_is_added(tmp_path: Path) -> None:
    path = tmp_path / "env"
    first = make(path)
    assert make(path) == first
    kept = [line for line in path.read_text().splitlines() if not line.startswith("PEOPLE_SYNC_")]
    path.write_text("\n".join([*kept, "PORT='9000'", ""]))
    second = make(path)
    assert second.pop("PORT") == "9000"
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"PEOPLE_SYNC_DATABASE_PASSWORD", "PEOPLE_SYNC_SIGNING_KEY", "TRUSTED_KEYS"}
    token = sign_service(settings_of("people-sync", second), AUTH_SERVICE)
    Verifier(settings_of(AUTH_SERVICE, second)).verify(token, "service+jwt", signers={"people-sync"})
