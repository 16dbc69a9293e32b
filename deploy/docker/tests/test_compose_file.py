"""docker-compose.yml agrees with the code; the tests need no engine."""

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from contracts.values import SERVICES
from local_stack.identity_provider import AUDIENCE, CONSOLE_CLIENT
from local_stack.stack import Stack
from servicekit.local import LocalKafka
from servicekit.settings import ServiceSettings
from servicekit.testing import servers

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PARTS: dict[str, dict[str, Any]] = COMPOSE["services"]
# Addresses differ between containers and browsers, and containers can be reached from outside.
ONLY_IN_CONTAINERS = {
    "LIMIT_ADDRESS_PER_MINUTE",
    "LIMIT_FEED_ADDRESS_PER_MINUTE",
    "LIMIT_FEED_PER_MINUTE",
    "LIMIT_ORGANIZATION_PER_MINUTE",
    "LIMIT_USER_PER_MINUTE",
    "LIMIT_WEBHOOKS_PER_MINUTE",
    "LIMIT_WEBHOOK_GUESSES_PER_MINUTE",
    "PCO_BROWSER_URL",
    "IDENTITY_DISCOVERY_URL",
    "IDENTITY_TYP",
    "HTTP_PORT",
    "LOG_LEVEL",
    "OPERATOR_HOST",
    "OPERATOR_PORT",
    "TRUSTED_PROXIES",
}


def settings_class(service: str) -> type[ServiceSettings]:
    """The settings class of a service."""
    module = importlib.import_module(f"{service.replace('-', '_')}.config")
    found: type[ServiceSettings] = module.Settings
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_what_it_reads_and_nothing_else(service: str) -> None:
    given = set(PARTS[service]["environment"])
    fields = {name.upper(): field for name, field in settings_class(service).model_fields.items()}
    assert given <= set(fields)
    assert {name for name, field in fields.items() if field.is_required()} <= given


@pytest.mark.parametrize("service", SERVICES)
def test_the_variables_are_those_of_make_run(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "database_url", lambda *_, **__: "postgresql+asyncpg://somewhere")
    monkeypatch.setattr(LocalKafka, "bootstrap_servers", "somewhere:9092")
    stack = Stack(tmp_path)
    stack._prepare()
    launched = set(stack.environment(service)) - set(os.environ) - {"PYTHONUNBUFFERED", "NO_PROXY", "no_proxy"}
    read = {name.upper() for name in settings_class(service).model_fields}
    assert set(PARTS[service]["environment"]) - ONLY_IN_CONTAINERS == launched & read


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_run_once_with_the_service_s_own_image_and_environment(service: str) -> None:
    job = PARTS[f"migrate-{service}"]
    assert job["image"] == PARTS[service]["image"]
    assert job["environment"] == PARTS[service]["environment"]
    assert (job["command"], job["restart"]) == (["migrate"], "no")
    after = PARTS[service]["depends_on"]
    for once in (f"migrate-{service}", "topics"):
        assert after[once] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_knows_its_own_secrets_alone(service: str) -> None:
    text = " ".join(map(str, PARTS[service]["environment"].values()))
    for other in set(SERVICES) - {service}:
        name = other.replace("-", "_").upper()
        assert f"{name}_SIGNING_KEY" not in text
        assert f"{name}_DATABASE_PASSWORD" not in text


def test_the_intake_is_the_gateway_in_another_mode_and_waits_for_no_kafka() -> None:
    intake, gateway = PARTS["webhook-intake"], PARTS["webhook-gateway"]
    assert (intake["image"], intake["environment"]) == (gateway["image"], gateway["environment"])
    assert intake["command"] == ["intake"]
    assert set(intake["depends_on"]) == {"migrate-webhook-gateway"}
    assert gateway["environment"]["WEBHOOK_URL"].endswith("webhook-intake:8000}"), "as the simulator reaches it"


def test_every_service_can_run_several_times() -> None:
    for name, part in PARTS.items():
        assert "container_name" not in part, name
    published = {name: part["ports"] for name, part in PARTS.items() if "ports" in part}
    assert set(published) == {"webhook-gateway", "webhook-intake", "simulator", "identity-provider"}
    assert PARTS["people-sync"]["deploy"]["replicas"] == 2


def test_what_asks_for_no_password_is_reached_from_this_machine_alone() -> None:
    for name in ("simulator", "identity-provider"):
        assert PARTS[name]["profiles"] == ["development"]
        assert all(port.startswith("127.0.0.1:") for port in PARTS[name]["ports"])


def test_the_servers_are_those_that_the_tests_run_on() -> None:
    assert PARTS["postgres"]["image"] == PARTS["databases"]["image"] == servers.POSTGRES_IMAGE
    assert PARTS["kafka"]["image"] == servers.KAFKA_IMAGE


def test_the_identity_provider_s_tokens_are_for_the_gateway() -> None:
    environment = PARTS["webhook-gateway"]["environment"]
    assert environment["IDENTITY_AUDIENCE"] == f"${{IDENTITY_AUDIENCE:-{AUDIENCE}}}"
    assert environment["CONSOLE_CLIENT_ID"] == f"${{CONSOLE_CLIENT_ID:-{CONSOLE_CLIENT}}}"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_every_variable_without_a_default_is_made_by_make_env(tmp_path: Path) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    needed = set(re.findall(r"\$\{(\w+)(?:\}|:\?)", text))
    subprocess.run([str(ROOT / "deploy/docker/make-env"), str(tmp_path / "env")], check=True)
    assert needed <= set(dotenv_values(tmp_path / "env"))
