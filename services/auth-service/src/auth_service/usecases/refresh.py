"""Renewing a grant's tokens: one request to Planning Center for any number of callers, and no silent loss.

Refresh tokens rotate: the answer to a refresh holds the only refresh token that still works. So, per grant:

1. one refresh at a time over all replicas, by an advisory lock of PostgreSQL; waiting callers use the stored pair;
2. `refresh_started_at` is committed before the request, the new pair before any caller gets the new token;
3. a process that dies between the two leaves the mark: the next refresh is refused, and the mark explains why;
4. a refusal counts only after the grant was read again and the refresh tried once more;
5. a pair counts whenever it arrives: it revives a grant that was ended meanwhile, with its connections; if the
grant is gone, the pair is revoked.

The lock is a session lock on a connection of its own, and no transaction is open during the request. That connection is
not from the pool: refreshes that each hold one pooled connection and need another would starve each other. If the
lock's connection breaks, two replicas may refresh at once: each writes its result under the organization's lock, and by
4 and 5 both orders end in the same state.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import stamina
import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.config import Settings
from auth_service.domain.consent import replaced_by
from auth_service.errors import GrantRefused, PlanningCenterAway
from auth_service.planning_center import PlanningCenter, Tokens
from auth_service.storage import queries
from auth_service.storage.tables import Connection, OAuthGrant
from auth_service.usecases.facts import move
from contracts.events.auth_connection_v1 import ConnectionAuthorized, ReconnectRequired
from servicekit.clock import Clock
from servicekit.db.sessions import Sessions
from servicekit.errors import is_outage
from servicekit.kafka import outbox
from servicekit.vault import Vault

log = structlog.get_logger(__name__)

STORE_WITHIN_SECONDS = 300.0
"""Seconds for which storing a new pair is retried while PostgreSQL is down: the pair exists only in memory."""
SECOND_LOOK_SECONDS = 1.0
"""Seconds before a refusal counts: time for a replica that lost its lock to store its pair."""
REFUSED, LOST, REPLACED = ENDED_BECAUSE = ("refused", "lost", "replaced")
"""Why a connection waits for a reconnect when its grant has ended."""
LOCK_WITHIN_SECONDS = 60.0
LOCKS_AT_ONCE = 10
"""Locks per process; each is a PostgreSQL connection outside the pool."""


class GrantLocks:
    """Locks with one holder per grant over all replicas."""

    def __init__(self, settings: Settings) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
        self._dsn = url.render_as_string(hide_password=False)
        self._name = settings.service_name
        self._slots = asyncio.Semaphore(LOCKS_AT_ONCE)

    @asynccontextmanager
    async def hold(self, grant_id: UUID) -> AsyncIterator[None]:
        """Acquire and hold the lock. TimeoutError after `LOCK_WITHIN_SECONDS`; OSError if PostgreSQL is down."""
        async with self._slots:
            connection = await self._connect()
            try:
                await self._wait_for(connection, grant_id)
                yield
            finally:
                connection.terminate()  # ends the session, and with it the lock

    async def _connect(self) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(self._dsn, timeout=5, server_settings={"application_name": self._name})
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConnectionError("PostgreSQL does not answer") from error

    async def _wait_for(self, connection: asyncpg.Connection, grant_id: UUID) -> None:
        try:
            await connection.execute(
                "SELECT pg_advisory_lock(hashtextextended('grant:' || $1::text, 0))",
                str(grant_id),
                timeout=LOCK_WITHIN_SECONDS,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConnectionError("PostgreSQL does not answer") from error


@dataclass(frozen=True, slots=True)
class Refresher:
    """Renews tokens, one instance per process; tasks in `_running` outlive the request that began them."""

    _settings: Settings
    _sessions: Sessions
    _vendor: PlanningCenter
    _vault: Vault
    _locks: GrantLocks
    _clock: Clock
    _running: dict[UUID, asyncio.Task[OAuthGrant | None]] = field(default_factory=dict)

    async def refresh(self, grant_id: UUID, stale_generation: int) -> OAuthGrant | None:
        """The grant with tokens newer than `stale_generation`; None if the grant has ended or is gone.

        PlanningCenterAway without an answer from the vendor: the next call tries the same refresh token again.
        """
        while True:
            task = self._running.get(grant_id)
            if task is None:
                task = asyncio.create_task(self._refresh(grant_id, stale_generation), name=f"refresh {grant_id}")
                self._running[grant_id] = task
                task.add_done_callback(lambda done: self._done(grant_id, done))
            # Shielded: a cancelled caller must not cancel the storing of a pair already issued.
            grant = await asyncio.shield(task)
            if grant is None or grant.token_generation > stale_generation:
                return grant
            # The joined refresh began for an older generation and gave the token this caller calls stale.

    def _done(self, grant_id: UUID, task: "asyncio.Task[OAuthGrant | None]") -> None:
        self._running.pop(grant_id, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, PlanningCenterAway):
            log.info("refresh postponed", grant_id=str(grant_id), cause=str(error))
        elif error is not None:
            log.error("refresh failed", grant_id=str(grant_id), exc_info=error)

    async def drain(self) -> None:
        """Wait for refreshes in progress, at shutdown."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _refresh(self, grant_id: UUID, stale_generation: int) -> OAuthGrant | None:
        async with self._locks.hold(grant_id):
            grant, interrupted = await self._begin(grant_id, stale_generation)
            if grant is None or grant.token_generation > stale_generation:
                return grant
            try:
                tokens = await self._vendor.refresh(self._vault.open(grant.refresh_token))
            except GrantRefused:
                await asyncio.sleep(SECOND_LOOK_SECONDS)
                grant, _ = await self._begin(grant_id, stale_generation)
                if grant is None or grant.token_generation > stale_generation:
                    return grant
                try:
                    tokens = await self._vendor.refresh(self._vault.open(grant.refresh_token))
                except GrantRefused:
                    await self._end(grant_id, stale_generation, interrupted=interrupted)
                    return None
            stored = await self._store(grant_id, stale_generation, tokens)
            if stored is None:
                await give_back(self._vendor, tokens)
            return stored

    async def _begin(self, grant_id: UUID, stale_generation: int) -> tuple[OAuthGrant | None, bool]:
        """The stored grant, marked as being refreshed if still stale; and whether it was already marked.

        None if the grant has ended or is gone.
        """
        async with self._sessions.begin() as session:
            grant = await queries.grant(session, grant_id)
            if grant is None or grant.ended_at:
                return None, False
            if grant.token_generation > stale_generation:
                return grant, False
            interrupted = grant.refresh_started_at is not None
            grant.refresh_started_at = self._clock.now()
            return grant, interrupted

    async def _store(self, grant_id: UUID, stale_generation: int, tokens: Tokens) -> OAuthGrant | None:
        """The grant with the new pair, or with the pair that another replica stored first. None: the grant is gone."""
        async for attempt in stamina.retry_context(on=is_outage, timeout=STORE_WITHIN_SECONDS, attempts=None):
            with attempt:
                async with self._sessions.begin() as session:
                    grant = await queries.lock_grant(session, grant_id)
                    if grant is None or grant.token_generation > stale_generation:
                        log.warning("a refreshed pair arrived too late", grant_id=str(grant_id))
                        return grant
                    grant.access_token = self._vault.seal(tokens.access_token)
                    grant.refresh_token = self._vault.seal(tokens.refresh_token)
                    grant.token_generation = await queries.next_token_generation(session)
                    grant.issued_at = tokens.issued_at
                    grant.expires_at = tokens.expires_at
                    grant.refresh_expires_at = tokens.issued_at + self._settings.refresh_token_lifetime
                    grant.refresh_started_at = None
                    if grant.ended_at is not None:
                        await self._revive(session, grant)
                    return grant
        raise AssertionError("retry_context ends by return or raise")

    async def _revive(self, session: AsyncSession, grant: OAuthGrant) -> None:
        """Undo the end of a grant by another replica: the new pair works, so no reconnect is needed."""
        grant.ended_at = None
        church = await queries.church(session, grant.organization_id)
        told = [
            connection
            for connection in church.connections.values()
            if connection.grant_id == grant.id
            and connection.state == "reconnect_required"
            and connection.reason in ENDED_BECAUSE
        ]
        if church.binding and any(connection.reason == REPLACED for connection in told):
            church.binding.one_grant = False
        now = self._clock.now()
        await outbox.append_all(
            session, [move(connection, "connected", ConnectionAuthorized, now) for connection in told]
        )
        log.warning("a grant wrongly marked as ended was revived", grant_id=str(grant.id))

    async def _end(self, grant_id: UUID, stale_generation: int, *, interrupted: bool) -> None:
        """End a grant that Planning Center refused twice, and publish it for every connection that uses it."""
        now = self._clock.now()
        async with self._sessions.begin() as session:
            grant = await queries.lock_grant(session, grant_id)
            if grant is None or grant.token_generation > stale_generation:
                return
            reason = LOST if interrupted else REFUSED
            church = await queries.church(session, grant.organization_id)
            if church.binding and await self._replaced(session, church, grant):
                reason = REPLACED
                church.binding.one_grant = True
            grant.ended_at = now
            if not interrupted:
                grant.refresh_started_at = None
            facts = [
                move(connection, "reconnect_required", ReconnectRequired, now, reason=reason)
                for connection in church.connections.values()
                if connection.grant_id == grant_id and connection.state == "connected"
            ]
            await outbox.append_all(session, facts)
        log.warning("planning center ended a grant", grant_id=str(grant_id), reason=reason)

    async def _replaced(self, session: AsyncSession, church: queries.Church, grant: OAuthGrant) -> bool:
        """Whether the consent to the other product ended this grant."""
        others = {connection.grant_id for connection in church.connections.values()} - {None, grant.id}
        rows = await session.scalars(select(OAuthGrant).where(OAuthGrant.id.in_(others)))
        return any(
            replaced_by(
                ended_issued_at=grant.issued_at,
                same_person=other.pco_person_id == grant.pco_person_id,
                other_granted_at=other.granted_at,
            )
            for other in rows
        )


async def give_back(vendor: PlanningCenter, tokens: Tokens) -> None:
    """Revoke a pair that will not be stored, if Planning Center can be reached."""
    try:
        await vendor.revoke(tokens.refresh_token, "refresh_token")
        await vendor.revoke(tokens.access_token, "access_token")
    except PlanningCenterAway as error:
        log.warning("unstored tokens could not be revoked", cause=str(error))


async def keep_alive(refresher: Refresher, sessions: Sessions, settings: Settings, clock: Clock) -> None:
    """Refresh long unused grants, since refresh tokens expire by age (planningcenter/developers#879)."""
    async with sessions.begin() as session:
        idle = await session.execute(
            select(OAuthGrant.id, OAuthGrant.token_generation)
            .join(Connection, Connection.grant_id == OAuthGrant.id)
            .where(
                OAuthGrant.ended_at.is_(None),
                OAuthGrant.refresh_expires_at < clock.now() + settings.refresh_token_margin,
            )
            # A grant that failed before goes last, so that it never blocks the others.
            .order_by(OAuthGrant.refresh_started_at.nulls_first(), OAuthGrant.refresh_expires_at)
            .limit(100)
        )
        rows = idle.all()
    for grant_id, token_generation in rows:
        try:
            await refresher.refresh(grant_id, token_generation)
        except PlanningCenterAway as error:
            log.info("keep-alive postponed", grant_id=str(grant_id), cause=str(error))
            return
        except InvalidToken:
            continue  # logged; only an operator can restore the key
