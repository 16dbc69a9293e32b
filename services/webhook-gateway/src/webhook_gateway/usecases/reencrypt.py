"""`python -m webhook_gateway reencrypt`: puts every stored secret under the current key, so that old keys can go."""

import sys

import structlog
from sqlalchemy import func, update

from servicekit.db.sessions import make_engine, make_sessions
from servicekit.resealing import reseal
from servicekit.vault import Vault
from webhook_gateway.config import Settings
from webhook_gateway.storage.tables import WebhookKey, WebhookSubscription

log = structlog.get_logger(__name__)


async def reencrypt(settings: Settings) -> None:
    """Re-encrypt the keys of addresses and the secrets of subscriptions.

    What is under an unknown key is logged and left unchanged; the exit status is then 1.
    """
    engine = make_engine(settings)
    try:
        sessions, vault = make_sessions(engine, settings.service_name), Vault(settings.encryption_keys)
        async with sessions.begin() as session:
            over = WebhookSubscription.previous_until < func.now()
            await session.execute(
                update(WebhookSubscription).where(over).values(sealed_previous=None, previous_until=None)
            )
        # A retired address is answered by its hash alone.
        keys = await reseal(sessions, vault, WebhookKey, ["sealed_key"], WebhookKey.retired_at.is_(None))
        secrets = await reseal(sessions, vault, WebhookSubscription, ["sealed_secret", "sealed_previous"])
    finally:
        await engine.dispose()
    log.info("secrets are encrypted with the current key", keys=keys.done, subscriptions=secrets.done)
    if unreadable := keys.unreadable + secrets.unreadable:
        log.error("secrets are encrypted with a missing key: add the key and run this again", rows=unreadable)
        sys.exit(1)
