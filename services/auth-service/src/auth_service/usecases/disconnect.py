"""Disconnecting: closing, subscriptions removed or given up on, tokens revoked and checked, disconnected.

The row `disconnect` is both timer and receipt; any replica takes the next step. Revocation runs under the grant's lock,
so that no refresh can make new tokens meanwhile; a step interrupted by a process's death is repeated, since revocation
is idempotent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import cast

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import ColumnElement, Interval, delete, exists, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.config import Settings
from auth_service.domain import receipt as lines
from auth_service.domain.receipt import STEPS, Line, Step
from auth_service.errors import PlanningCenterAway, StateForbids
from auth_service.planning_center import PlanningCenter
from auth_service.storage import queries
from auth_service.storage.tables import Connection, Disconnect, OAuthGrant
from auth_service.usecases.cards import other_product
from auth_service.usecases.facts import move
from auth_service.usecases.refresh import GrantLocks
from contracts.events.auth_connection_v1 import ConnectionClosing, ConnectionRevoked
from contracts.events.webhooks_subscription_v1 import SubscriptionsRemoved
from contracts.http.auth import DisconnectReceipt, Product, ReceiptLine
from contracts.identity import UserIdentity
from servicekit.clock import Clock
from servicekit.db.sessions import Sessions
from servicekit.errors import NotFound
from servicekit.kafka import outbox
from servicekit.vault import Vault

log = structlog.get_logger(__name__)

CHANNEL = "disconnect"
REVOKE_ATTEMPTS = 5
_UNUSED = ~exists().where(Connection.grant_id == OAuthGrant.id)
RETRY_AFTER_SECONDS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Disconnecting:
    """The sequence of a disconnect."""

    _settings: Settings
    _sessions: Sessions
    _vendor: PlanningCenter
    _vault: Vault
    _locks: GrantLocks
    _clock: Clock

    async def begin(self, session: AsyncSession, user: UserIdentity, product: Product) -> DisconnectReceipt:
        """Turn the connection to *closing*. A repeat joins the disconnect in progress or shows the last receipt."""
        await queries.lock_organization(session, user.organization_id)
        church = await queries.church(session, user.organization_id)
        connection = church.connections.get(product)
        if connection is None:
            raise StateForbids(f"{lines.NAMES[product]} is not connected.", slug="not-connected")
        if connection.state in {"closing", "disconnected"}:
            return await receipt(session, user.organization_id, product)
        now = self._clock.now()
        fact = move(connection, "closing", ConnectionClosing, now)
        row = Disconnect(
            organization_id=user.organization_id,
            product=product,
            generation=connection.generation,
            pco_organization_name=connection.pco_organization_name,
            requested_at=now,
            due_at=_in(self._settings.subscriptions_removed_within_seconds),
            attempts=0,
            lines=_stored(lines.begun()),
        )
        session.add(row)
        await session.flush()
        await session.execute(select(func.pg_notify(CHANNEL, "")))
        await outbox.append(session, fact)
        return _receipt(row)

    async def step(self) -> bool:
        """Take the next step of one due disconnect. False if none is due."""
        async with self._sessions.begin() as session:
            # `due_at` moves ahead: if this replica dies, another one takes the step then.
            row = await session.scalar(
                select(Disconnect)
                .where(Disconnect.finished_at.is_(None), Disconnect.due_at <= func.now())
                .order_by(Disconnect.due_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            if row is None:
                return False
            row.attempts += 1
            row.due_at = _in(10 * self._settings.pco_request_timeout_seconds)
            church = await queries.church(session, row.organization_id)
            connection = church.connections[row.product]
            shared = _used_by_other(church, connection)
            grant = await queries.grant(session, connection.grant_id) if connection.grant_id else None
        await self._end_access(row, None if shared else grant, shared=shared)
        return True

    async def _end_access(self, row: Disconnect, grant: OAuthGrant | None, *, shared: bool) -> None:
        product = _product(row)
        if shared:
            await self._finish(row, lines.shared_with(other_product(product)), shared=True)
        elif grant is None:
            await self._finish(row, lines.already_ended(interrupted=False))
        else:
            async with self._locks.hold(grant.id):
                async with self._sessions.begin() as session:
                    stored = await queries.grant(session, grant.id)
                outcome = await self._revoke(row, stored)
                if outcome is not None:
                    await self._finish(row, outcome, ended=stored.token_generation if stored else None)

    async def _revoke(self, row: Disconnect, stored: OAuthGrant | None) -> Mapping[Step, Line] | None:
        """Revoke both tokens and check them. None: impossible now, retry later."""
        if stored is None or stored.ended_at:
            return lines.already_ended(interrupted=stored is not None and stored.refresh_started_at is not None)
        try:
            return await end_tokens(self._vendor, self._vault, stored)
        except (PlanningCenterAway, InvalidToken) as error:
            log.warning("tokens could not be revoked", cause=repr(error), attempt=row.attempts)
            if row.attempts >= REVOKE_ATTEMPTS:
                return lines.revocation_failed(readable=not isinstance(error, InvalidToken))
        async with self._sessions.begin() as session:
            await session.execute(
                update(Disconnect)
                .where(
                    Disconnect.organization_id == row.organization_id,
                    Disconnect.product == row.product,
                    Disconnect.generation == row.generation,
                )
                .values(due_at=_in(RETRY_AFTER_SECONDS[row.attempts - 1]))
            )
        return None

    async def _finish(
        self, taken: Disconnect, outcome: Mapping[Step, Line], *, shared: bool = False, ended: int | None = None
    ) -> None:
        """Write the receipt, drop the grant unless the other product uses it, and publish the fact.

        ended: the generation of the revoked tokens. A refresh that had lost its lock may have stored newer ones
        meanwhile; those are revoked first.
        """
        now = self._clock.now()
        product = _product(taken)
        async with self._sessions.begin() as session:
            await queries.lock_organization(session, taken.organization_id)
            row = await queries.last_disconnect(session, taken.organization_id, product)
            if row is None or row.generation != taken.generation or row.finished_at:
                return  # another replica took the same step and finished first
            church = await queries.church(session, taken.organization_id)
            connection = church.connections[product]
            if shared and not _used_by_other(church, connection):
                row.due_at = func.now()  # the other product was disconnected meanwhile, so the grant ends with this one
                return
            grant = await queries.grant(session, connection.grant_id) if connection.grant_id else None
            if grant and ended is not None and grant.token_generation != ended:
                row.due_at = func.now()
                return
            written = _lines(row)
            if written["subscriptions"].outcome == "pending":
                written["subscriptions"] = lines.subscriptions_given_up()
            row.lines = _stored({**written, **outcome, **lines.stopped(product)})
            row.finished_at = now
            fact = move(connection, "disconnected", ConnectionRevoked, now)
            grant_id, connection.grant_id = connection.grant_id, None
            await session.flush()
            if grant_id and not await queries.connections_of(session, grant_id):
                await session.delete(grant)
            if church.binding:
                church.binding.in_use = any(row.state != "disconnected" for row in church.connections.values())
            await outbox.append(session, fact)


async def end_tokens(vendor: PlanningCenter, vault: Vault, grant: OAuthGrant) -> Mapping[Step, Line]:
    """Revoke both tokens of a grant and check that they are dead. The caller holds the grant's lock."""
    refresh_token, access_token = vault.open(grant.refresh_token), vault.open(grant.access_token)
    await vendor.revoke(refresh_token, "refresh_token")
    await vendor.revoke(access_token, "access_token")
    return lines.revoked(
        refresh_token_active=await vendor.is_active(refresh_token),
        access_token_active=await vendor.is_active(access_token),
    )


async def end_unused_grants(sessions: Sessions, vendor: PlanningCenter, vault: Vault, locks: GrantLocks) -> None:
    """Revoke grants without a connection, which a newer consent has replaced."""
    async with sessions.begin() as session:
        unused = await session.scalars(select(OAuthGrant.id).where(_UNUSED).order_by(OAuthGrant.id).limit(100))
        grant_ids = list(unused)
    for grant_id in grant_ids:
        async with locks.hold(grant_id):
            async with sessions.begin() as session:
                grant = await queries.grant(session, grant_id)
            if grant is None:
                continue
            if grant.ended_at is None:
                try:
                    await end_tokens(vendor, vault, grant)
                except PlanningCenterAway as error:
                    log.info("ending unused grants is postponed", cause=str(error))
                    return
                except InvalidToken:
                    log.exception("unused grant cannot be read", grant_id=str(grant_id))
                    continue
            async with sessions.begin() as session:
                # A refresh that had lost its lock may have stored newer tokens: the next round revokes those.
                ended = (OAuthGrant.id == grant_id) & (OAuthGrant.token_generation == grant.token_generation)
                await session.execute(delete(OAuthGrant).where(ended))


async def subscriptions_removed(session: AsyncSession, fact: SubscriptionsRemoved) -> None:
    """Enter webhook-gateway's report: the disconnect of that generation continues at once."""
    await queries.lock_organization(session, fact.organization_id)
    row = await queries.last_disconnect(session, fact.organization_id, cast("Product", fact.product))
    if row is None or row.generation != fact.generation or row.finished_at:
        return
    row.lines = row.lines | _stored({"subscriptions": lines.subscriptions_removed(fact.removed, fact.left_behind)})
    if row.attempts == 0:  # else the deadline came first, and a replica already takes the step
        row.due_at = func.now()
    await session.flush()
    await session.execute(select(func.pg_notify(CHANNEL, "")))


async def receipt(session: AsyncSession, organization_id: str, product: Product) -> DisconnectReceipt:
    """The receipt of the disconnect in progress, else of the last one."""
    row = await queries.last_disconnect(session, organization_id, product)
    if row is None:
        raise NotFound(f"{lines.NAMES[product]} was never disconnected.")
    return _receipt(row)


def _used_by_other(church: queries.Church, own: Connection) -> bool:
    """Whether the other product uses the same grant."""
    return own.grant_id is not None and any(
        other.product != own.product and other.grant_id == own.grant_id for other in church.connections.values()
    )


def _in(seconds: float) -> ColumnElement[datetime]:
    """An instant this far ahead, by the database's clock."""
    return func.now() + literal(timedelta(seconds=seconds), Interval)


def _product(row: Disconnect) -> Product:
    return "people" if row.product == "people" else "calendar"


def _stored(values: Mapping[Step, Line]) -> dict[str, object]:
    return {step: asdict(line) for step, line in values.items()}


def _lines(row: Disconnect) -> dict[Step, Line]:
    return {step: Line(**row.lines[step]) for step in STEPS}


def _receipt(row: Disconnect) -> DisconnectReceipt:
    return DisconnectReceipt(
        product=_product(row),
        generation=row.generation,
        pco_organization_name=row.pco_organization_name,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
        lines=tuple(
            ReceiptLine(step=step, outcome=line.outcome, sentence=line.sentence) for step, line in _lines(row).items()
        ),
    )
