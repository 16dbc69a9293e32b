"""Wiring, migrations, routes, keys."""

import asyncio
import sys
from pathlib import Path
from uuid import UUID

import pytest
from auth_support import Auth, Facts, environment, make_settings, new_church
from cryptography.fernet import Fernet
from fastapi import FastAPI
from pydantic import SecretStr, ValidationError

from auth_service.config import Settings
from auth_service.main import create_app
from auth_service.storage.tables import Base
from auth_service.usecases.connect import forget_old_attempts
from auth_service.usecases.republish import republish
from contracts.routes import routes_of
from contracts.values import AUTH_SERVICE
from servicekit.db.retention import PIECE
from servicekit.local import LocalPostgres
from servicekit.testing import Databases, assert_migrated, assert_wiring, eventually, serve, statements
from servicekit.vault import Vault


@pytest.fixture
def app(auth: Auth) -> FastAPI:
    """The app without a server."""
    return create_app(auth.settings)


async def test_wiring(app: FastAPI, auth: Auth) -> None:
    assert_wiring(app, AUTH_SERVICE)
    await assert_migrated(auth.settings.database_url.get_secret_value(), Base.metadata)


async def test_routes_are_the_contracts(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    ours = {
        (method.upper(), path, min(int(status) for status in operation["responses"] if status < "300"))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if path.startswith("/api/")
    }
    assert ours == {(route.method, route.path, route.status) for route in routes_of(AUTH_SERVICE)}


async def test_republish_publishes_present_states(auth: Auth, facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.kafka.republish.BATCH", 1)
    admin = new_church()
    await auth.connect(admin)
    await republish(auth.settings)
    first, again = await facts.names(admin, "people:ConnectionAuthorized", "people:ConnectionAuthorized")
    assert again == first.model_copy(update={"occurred_at": again.occurred_at}), "whoever knows it ignores it"
    await auth.sql("UPDATE connection SET state = 'reconnect_required', reason = 'refused'")
    await republish(auth.settings)
    *_, again = await facts.names(
        admin, "people:ConnectionAuthorized", "people:ConnectionAuthorized", "people:ReconnectRequired"
    )
    assert again.reason == "refused"


async def test_old_attempts_are_forgotten_in_pieces(app: FastAPI, auth: Auth) -> None:
    began = "now() - $1 * interval '1 second' * (1 - n % 2)"
    await auth.sql(
        "INSERT INTO authorization_attempt"
        " (state_hash, product, organization_id, user_id, browser_hash, code_verifier, scope, created_at)"
        f" SELECT int4send(n), 'people', 'church-pieces', 'u', '', '', '', {began} FROM generate_series(1, $2) AS n",
        145 * auth.settings.attempt_lifetime.total_seconds(),
        2 * PIECE + 2,
    )
    runtime = app.state.runtime
    with statements(runtime.engine) as sent:
        await forget_old_attempts(runtime.sessions, runtime.clock, auth.settings)
    await runtime.engine.dispose()
    assert sum("DELETE" in statement for statement, _ in sent) == 2
    left = "SELECT count(*) AS n FROM authorization_attempt WHERE organization_id = 'church-pieces'"
    assert (await auth.sql(left))[0]["n"] == PIECE + 1
    await auth.sql("DELETE FROM authorization_attempt WHERE organization_id = 'church-pieces'")


async def test_reencrypt_lets_the_old_key_go(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.begin(admin, "calendar")
    lease = (await auth.lease(admin)).json()
    await auth.sql(
        "INSERT INTO oauth_grant SELECT (jsonb_populate_record(g, jsonb_build_object("
        "'id', $1::uuid, 'refresh_token', 'of a lost key'))).* FROM oauth_grant g",
        UUID(int=0),
    )
    old, new = auth.settings.encryption_keys[0], Fernet.generate_key().decode()
    settings = auth.settings.model_copy(update={"token_encryption_keys": SecretStr(f"{new},{old}")})
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth_service", "reencrypt", env=environment(settings)
    )
    assert await command.wait() == 1, "one is left as it is"
    (lost, grant) = await auth.sql("SELECT * FROM oauth_grant ORDER BY id")
    assert lost["id"] == UUID(int=0)
    (attempt,) = await auth.sql("SELECT * FROM authorization_attempt WHERE used_at IS NULL")
    only_new = Vault([new])
    assert only_new.open(grant["access_token"]) == lease["access_token"]
    assert only_new.open(grant["refresh_token"])
    assert only_new.open(attempt["code_verifier"])


def test_a_wrong_key_is_refused_at_the_start_without_being_shown(auth: Auth) -> None:
    values = {name.lower(): value for name, value in environment(auth.settings).items()}
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(values | {"token_encryption_keys": "s3cret"})
    assert "s3cret" not in str(caught.value)


async def test_logs_hold_no_secret(auth: Auth, tmp_path: Path) -> None:
    """A connection's whole life in a separate process, whose output must contain none of its secrets."""
    admin = new_church()
    log = tmp_path / "log"
    async with auth.process(output=log) as process:
        alone = Auth(process.client, auth.keys, auth.simulator, auth.settings)
        url = await alone.begin(admin)
        redirect = await alone.consent(url, alone.login())
        await alone.complete(admin, redirect)
        first = (await alone.lease(admin)).json()
        second = (await alone.lease(admin, failed_generation=first["token_generation"])).json()
        (row,) = await auth.sql("SELECT refresh_token FROM oauth_grant")
        refresh_token = Vault(auth.settings.encryption_keys).open(row["refresh_token"])
        auth.simulator.control.end_tokens(op="revoke", which="both")
        assert (await alone.lease(admin, failed_generation=second["token_generation"])).status_code == 409
        assert (await alone.lease(new_church())).status_code == 409
        person = (await alone.card(admin))["pco_person_name"]
    said = log.read_text()
    assert "planning center ended a grant" in said
    for secret in (
        first["access_token"],
        second["access_token"],
        refresh_token,
        redirect["code"],
        redirect["state"],
        admin.cookies["pco_attempt"],
        auth.settings.pco_client_secret.get_secret_value(),
        auth.settings.encryption_keys[0],
        person,
    ):
        assert secret not in said


async def test_a_new_pair_waits_in_memory_while_postgresql_is_away(
    auth: Auth, own_postgres: LocalPostgres, kafka_server: str
) -> None:
    """After Planning Center's answer the database is down: the pair is kept in memory and stored later."""
    admin = new_church()
    url = await Databases(own_postgres.url()).create("auth_service")
    settings = make_settings(auth.keys, auth.simulator, database_url=url, kafka=kafka_server)
    async with serve(create_app(settings), ready=False) as client:
        alone = Auth(client, auth.keys, auth.simulator, settings)
        await alone.connect(admin)
        before = (await alone.lease(admin)).json()
        auth.simulator.control.mark()
        fault = auth.simulator.control.add_fault({"kind": "hold", "when": "after"}, path="/oauth/token", nth=1)
        asked = asyncio.create_task(alone.lease(admin, failed_generation=before["token_generation"]))
        await eventually(lambda: auth.simulator.control.fault(fault)["holding"] == 1)
        await asyncio.to_thread(own_postgres.kill)
        auth.simulator.control.release(fault)

        async def away() -> bool:
            return (await client.get("/api/v1/connections", headers=alone.headers(admin))).status_code == 503

        await eventually(away)
        await asyncio.to_thread(own_postgres.start)
        answer = await asked
        assert answer.status_code == 200, answer.text
        assert answer.json()["token_generation"] > before["token_generation"]
        assert auth.token_requests() == 1
        assert (await alone.lease(admin)).json() == answer.json()
        assert (await alone.card(admin))["state"] == "connected"
