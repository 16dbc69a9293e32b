"""`python -m auth_service reencrypt`: puts every stored secret under the current key, so that old keys can go."""

import sys
from contextlib import suppress

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import select

from auth_service.config import Settings
from auth_service.storage.tables import AuthorizationAttempt, OAuthGrant
from servicekit.db.sessions import Sessions, make_engine, make_sessions
from servicekit.resealing import reseal
from servicekit.vault import Vault

log = structlog.get_logger(__name__)


async def reencrypt(settings: Settings) -> None:
    """Re-encrypt all secrets. Rows are locked meanwhile, so that a concurrent refresh is not overwritten.

    Grants under an unknown key are logged and left unchanged; the exit status is then 1.
    """
    engine = make_engine(settings)
    try:
        sessions, vault = make_sessions(engine, settings.service_name), Vault(settings.encryption_keys)
        grants = await reseal(sessions, vault, OAuthGrant, ["access_token", "refresh_token"])
        attempts = await _attempts(sessions, vault)
    finally:
        await engine.dispose()
    log.info("secrets are encrypted with the current key", grants=grants.done, attempts=attempts)
    if grants.unreadable:
        log.error("grants are encrypted with a missing key: add the key and run this again", grants=grants.unreadable)
        sys.exit(1)


async def _attempts(sessions: Sessions, vault: Vault) -> int:
    async with sessions.begin() as session:
        rows = (await session.scalars(select(AuthorizationAttempt).with_for_update())).all()
        for row in rows:
            with suppress(InvalidToken):  # attempts live ten minutes at most
                row.code_verifier = vault.reseal(row.code_verifier)
        return len(rows)
