"""Keys, and when the subscriptions of a connection are looked after."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from sqlalchemy import exists, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from servicekit.errors import Conflict
from servicekit.jobs import queue as jobs
from servicekit.kafka import outbox
from servicekit.runtime import Runtime
from servicekit.vault import Vault
from synckit.rounds import until_none
from synckit.sentences import not_connected
from webhook_gateway.config import Settings
from webhook_gateway.domain.subscriptions import next_verification
from webhook_gateway.resources import Resources
from webhook_gateway.storage import subscriptions as stored
from webhook_gateway.storage.tables import Connection, WebhookKey

AT_ONCE: Final = 100
"""Connections per transaction of a round."""
PATH: Final = "/webhooks/pco/"
_CONNECTED: Final = "connected"


def kind_of(product: str) -> str:
    """The kind of job that looks after a connection's subscriptions. product: as in `contracts.values`."""
    return f"webhooks.care.{product}"


def base_of(settings: Settings) -> str:
    """What the addresses of all keys begin with."""
    return f"{settings.webhook_url.rstrip('/')}{PATH}"


def hash_of(key: str) -> bytes:
    """What is stored of a key to find it by."""
    return sha256(key.encode()).digest()


def open_key(vault: Vault, key: WebhookKey) -> str:
    """The key itself. InvalidToken if it cannot be decrypted any more."""
    return vault.open(key.sealed_key, row=f"{key.organization_id}/{key.product}/{key.generation}")


async def ensure_key(
    session: AsyncSession, connection: Connection, settings: Settings, vault: Vault, now: datetime
) -> None:
    """Make the key of the connection's generation, unless it has one. The caller has locked the connection."""
    key = secrets.token_urlsafe(32)
    whose = (connection.organization_id, connection.product, connection.generation)
    new = insert(WebhookKey).values(
        organization_id=connection.organization_id,
        product=connection.product,
        generation=connection.generation,
        pco_organization_id=connection.pco_organization_id,
        key_hash=hash_of(key),
        sealed_key=vault.seal(key, row="/".join(map(str, whose))),
        created_at=now,
        failures_seen_at=now,
        due_at=next_verification(connection.organization_id, connection.product, settings.verified_every, now),
    )
    await session.execute(
        new.on_conflict_do_nothing(
            index_elements=[WebhookKey.organization_id, WebhookKey.product, WebhookKey.generation]
        )
    )


async def begin(session: AsyncSession, connection: Connection) -> None:
    """Look after a connection's subscriptions now. A job at work sees the connection's state before it ends."""
    job_id, new = await jobs.enqueue(session, kind_of(connection.product), connection.organization_id, urgent=True)
    if not new:
        await jobs.wake(session, job_id)


async def ask(
    session: AsyncSession, organization_id: str, product: str, now: datetime, *, rotate: bool = False
) -> None:
    """Compare the subscriptions with Planning Center's list now, failed deliveries included. 409 if not connected.

    rotate: also give each one a new secret.
    """
    connection = await stored.connection_of(session, organization_id, product, held=True)
    key = await stored.key_of(session, connection, locked=True) if connection else None
    if connection is None or key is None or connection.state != _CONNECTED:
        raise Conflict(not_connected(product), slug="not-connected")
    key.due_at, key.failures_seen_at = now, None
    if rotate:
        key.rotate_asked_at = now
    await begin(session, connection)


async def tell_removed(
    session: AsyncSession, connection: Connection, *, removed: int, left_behind: Sequence[str]
) -> None:
    """Answer a closing connection, whose row is locked."""
    connection.subscriptions_version += 1
    await session.flush()
    await outbox.append(
        session,
        SubscriptionsRemoved(
            organization_id=connection.organization_id,
            version=connection.subscriptions_version,
            product=connection.product,
            generation=connection.generation,
            occurred_at=connection.updated_at,
            removed=removed,
            left_behind=tuple(left_behind),
        ),
    )


async def start_due(runtime: Runtime, resources: Resources) -> None:
    """Queue the due verifications."""
    now = resources.clock.now()
    await until_none(runtime.sessions, AT_ONCE, lambda session: _some_due(session, resources.settings, now))


async def _some_due(session: AsyncSession, settings: Settings, now: datetime) -> int:
    due = select(WebhookKey).where(WebhookKey.due_at <= now).order_by(WebhookKey.due_at).limit(AT_ONCE)
    keys = list(await session.scalars(due.with_for_update(skip_locked=True)))
    if not keys:
        return 0
    columns = (Connection.organization_id, Connection.product, Connection.generation)
    those = [(key.organization_id, key.product, key.generation) for key in keys]
    connected = select(*columns).where(Connection.state == _CONNECTED, tuple_(*columns).in_(those))
    present = {(row.organization_id, row.product, row.generation) for row in await session.execute(connected)}
    wanted = [key for key in keys if (key.organization_id, key.product, key.generation) in present]
    for key in keys:
        key.due_at = None  # without its connection, until the next ConnectionAuthorized brings a key of its own
    for key in wanted:
        key.due_at = next_verification(key.organization_id, key.product, settings.verified_every, now)
    await session.flush()
    for key in wanted:
        await jobs.enqueue(session, kind_of(key.product), key.organization_id)
    return len(keys)


async def make_keys(runtime: Runtime, resources: Resources) -> None:
    """Give a key to connections without one, which were made before this version."""
    now = resources.clock.now()
    await until_none(
        runtime.sessions, AT_ONCE, lambda session: _some_keys(session, resources.settings, resources.vault, now)
    )


async def _some_keys(session: AsyncSession, settings: Settings, vault: Vault, now: datetime) -> int:
    has_key = exists().where(
        WebhookKey.organization_id == Connection.organization_id,
        WebhookKey.product == Connection.product,
        WebhookKey.generation == Connection.generation,
    )
    without = select(Connection).where(Connection.state == _CONNECTED, ~has_key).limit(AT_ONCE)
    found = list(await session.scalars(without.with_for_update(skip_locked=True)))
    for connection in found:
        await ensure_key(session, connection, settings, vault, now)
        await jobs.enqueue(session, kind_of(connection.product), connection.organization_id)
    return len(found)
