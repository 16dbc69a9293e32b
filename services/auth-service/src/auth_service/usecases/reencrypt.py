"""`python -m auth_service reencrypt`: puts every stored secret under the current key, so that old keys can go."""

import sys
from contextlib import suppress

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from auth_service.config import Settings
from auth_service.storage.tables import AuthorizationAttempt, OAuthGrant
from servicekit.db.sessions import Sessions, make_engine, make_sessions
from servicekit.vault import Vault

log = structlog.get_logger(__name__)

BATCH = 200


async def reencrypt(settings: Settings) -> None:
    """Re-encrypt all secrets. Rows are locked meanwhile, so that a concurrent refresh is not overwritten.

    Grants under an unknown key are logged and left unchanged; the exit status is then 1.
    """
    engine: AsyncEngine = make_engine(settings)
    try:
        sessions, vault = make_sessions(engine, settings.service_name), Vault(settings.encryption_keys)
        grants, unreadable = await _grants(sessions, vault)
        attempts = await _attempts(sessions, vault)
    finally:
        await engine.dispose()
    log.info("secrets are encrypted with the current key", grants=grants - unreadable, attempts=attempts)
    if unreadable:
        log.error("grants are encrypted with a missing key: add the key and run this again", grants=unreadable)
        sys.exit(1)


async def _grants(sessions: Sessions, vault: Vault) -> tuple[int, int]:
    done, unreadable, last = 0, 0, None
    while True:
        async with sessions.begin() as session:
            query = select(OAuthGrant).order_by(OAuthGrant.id).limit(BATCH).with_for_update()
            rows = (await session.scalars(query if last is None else query.where(OAuthGrant.id > last))).all()
            for row in rows:
                try:
                    pair = vault.reseal(row.access_token), vault.reseal(row.refresh_token)
                except InvalidToken:
                    unreadable += 1
                    log.warning("grant cannot be read", grant_id=str(row.id))
                else:
                    row.access_token, row.refresh_token = pair
        done += len(rows)
        if len(rows) < BATCH:
            return done, unreadable
        last = rows[-1].id


async def _attempts(sessions: Sessions, vault: Vault) -> int:
    async with sessions.begin() as session:
        rows = (await session.scalars(select(AuthorizationAttempt).with_for_update())).all()
        for row in rows:
            with suppress(InvalidToken):  # attempts live ten minutes at most
                row.code_verifier = vault.reseal(row.code_verifier)
        return len(rows)
