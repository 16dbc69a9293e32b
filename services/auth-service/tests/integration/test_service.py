"""Wiring, migrations, routes, keys."""

import asyncio
import sys

import pytest
from auth_support import Auth, environment, new_church
from cryptography.fernet import Fernet
from fastapi import FastAPI
from pydantic import SecretStr, ValidationError

from auth_service.main import create_app
from auth_service.storage.tables import Base
from auth_service.storage.vault import Vault
from contracts.routes import routes_of
from contracts.values import AUTH_SERVICE
from servicekit.testing import assert_migrated, assert_wiring


@pytest.fixture
def app(auth: Auth) -> FastAPI:
    """The app, not served."""
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


async def test_reencrypt_lets_the_old_key_go(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    await auth.begin(admin, "calendar")
    lease = (await auth.lease(admin)).json()
    old, new = auth.settings.encryption_keys[0], Fernet.generate_key().decode()
    settings = auth.settings.model_copy(update={"token_encryption_keys": SecretStr(f"{new},{old}")})
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth_service", "reencrypt", env=environment(settings)
    )
    assert await command.wait() == 0
    (grant,) = await auth.sql("SELECT * FROM oauth_grant")
    (attempt,) = await auth.sql("SELECT * FROM authorization_attempt WHERE used_at IS NULL")
    only_new = Vault([new])
    assert only_new.open(grant["access_token"]) == lease["access_token"]
    assert only_new.open(grant["refresh_token"])
    assert only_new.open(attempt["code_verifier"])


def test_a_wrong_key_is_refused_at_the_start_without_being_shown(auth: Auth) -> None:
    values = environment(auth.settings)
    with pytest.raises(ValidationError) as caught:
        type(auth.settings)(
            **{name.lower(): value for name, value in values.items()} | {"token_encryption_keys": "s3cret"}
        )
    assert "s3cret" not in str(caught.value)
