"""Renewing a grant's tokens: one request to Planning Center however many ask, and never a silent loss.

Refresh tokens rotate: the answer to a refresh holds the only refresh token that still works. So, per grant:

1. one at a time over all replicas, by an advisory lock of PostgreSQL; those who waited take what was stored meanwhile;
2. `refresh_started_at` is committed before Planning Center is asked, the new pair before anybody gets the new token;
3. a process that dies between the two leaves the mark: the next refresh is refused, and the mark tells why;
4. a refusal is believed only after the store was read again and the refresh tried once more;
5. a pair is believed whenever it comes: to a grant that was ended meanwhile it gives its life back, with the
   connections that were told of the end; where the grant is gone, it is given back to Planning Center.

The lock is a session lock on a connection of its own, and no transaction is open while Planning Center is asked. The
connection is not one of the pool, since refreshes that each held one and needed another would starve each other. If
the lock's connection breaks, two replicas may refresh at once: what each of them learns is written under the
organization's lock, and 4 and 5 make one truth of it in either order.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from auth_service.storage.vault import Vault
from auth_service.usecases.facts import move
from contracts.events.auth_connection_v1 import ConnectionAuthorized, ReconnectRequired
from servicekit.clock import Clock
from servicekit.db.sessions import Sessions
from servicekit.errors import is_outage
from servicekit.kafka import outbox

log = structlog.get_logger(__name__)

STORE_WITHIN_SECONDS = 300.0
"""How long a new pair is kept in memory and stored again and again while PostgreSQL is away: it exists nowhere else."""
SECOND_LOOK_SECONDS = 1.0
"""Before a refusal is believed: time for a replica that lost its lock to store what it got."""
REFUSED, LOST, REPLACED = ENDED_BECAUSE = ("refused", "lost", "replaced")
"""Why a connection waits for a reconnect when its grant has ended."""
LOCK_WITHIN_SECONDS = 60.0
LOCKS_AT_ONCE = 10
"""Per process: each one is a connection to PostgreSQL beside the pool."""


class GrantLocks:
    """One holder per grant over all replicas."""

    def __init__(self, settings: Settings) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
        self._dsn = url.render_as_string(hide_password=False)
        self._name = settings.service_name
        self._slots = asyncio.Semaphore(LOCKS_AT_ONCE)

    @asynccontextmanager
    async def hold(self, grant_id: UUID) -> AsyncIterator[None]:
        """Wait for the lock and hold it. TimeoutError after `LOCK_WITHIN_SECONDS`; OSError if PostgreSQL is away."""
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


class Refresher:
    """Renews tokens. One per process; tasks in `_running` outlive the request that began them."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        vendor: PlanningCenter,
        vault: Vault,
        locks: GrantLocks,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._vendor = vendor
        self._vault = vault
        self._locks = locks
        self._clock = clock
        self._running: dict[UUID, asyncio.Task[OAuthGrant | None]] = {}

    async def refresh(self, grant_id: UUID, stale_generation: int) -> OAuthGrant | None:
        """The grant with tokens newer than `stale_generation`; None if it has ended or is gone.

        PlanningCenterAway if the vendor gives no answer: the refresh token is kept and tried again next time.
        """
        while True:
            task = self._running.get(grant_id)
            if task is None:
                task = asyncio.create_task(self._refresh(grant_id, stale_generation), name=f"refresh {grant_id}")
                self._running[grant_id] = task
                task.add_done_callback(lambda done: self._done(grant_id, done))
            # Shielded: a caller who goes away must not cut off the store of a pair that the vendor has given.
            grant = await asyncio.shield(task)
            if grant is None or grant.token_generation > stale_generation:
                return grant
            # The refresh that was joined had begun for an older generation; this caller's token is the one it gave.

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
        """The grant as stored, marked as being refreshed if it is still stale; and whether it was marked before.

        None if it has ended or is gone.
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
        """The grant with the new pair, or with the one that another has stored first. None: it is gone."""
        async for attempt in stamina.retry_context(on=is_outage, timeout=STORE_WITHIN_SECONDS, attempts=None):
            with attempt:
                async with self._sessions.begin() as session:
                    grant = await queries.lock_grant(session, grant_id)
                    if grant is None or grant.token_generation > stale_generation:
                        log.warning("a refreshed pair came too late", grant_id=str(grant_id))
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
        """Another replica has ended this grant while its answer was on the way: it works, so nobody need reconnect."""
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
        log.warning("a grant that was taken for ended goes on", grant_id=str(grant.id))

    async def _end(self, grant_id: UUID, stale_generation: int, *, interrupted: bool) -> None:
        """Planning Center refused twice: the grant has ended, and everybody who uses it is told."""
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
    """A pair that nobody will hold ends at Planning Center too, if it can be reached."""
    try:
        await vendor.revoke(tokens.refresh_token, "refresh_token")
        await vendor.revoke(tokens.access_token, "access_token")
    except PlanningCenterAway as error:
        log.warning("tokens that nobody holds could not be given back", cause=str(error))


async def keep_alive(refresher: Refresher, sessions: Sessions, settings: Settings, clock: Clock) -> None:
    """Refresh grants that nobody used for long: refresh tokens die of age (planningcenter/developers#879)."""
    async with sessions.begin() as session:
        idle = await session.execute(
            select(OAuthGrant.id, OAuthGrant.token_generation)
            .join(Connection, Connection.grant_id == OAuthGrant.id)
            .where(
                OAuthGrant.ended_at.is_(None),
                OAuthGrant.refresh_expires_at < clock.now() + settings.refresh_token_margin,
            )
            # One that was tried and stays as it is goes last, so that it never keeps the others from their turn.
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
            continue  # logged; only an operator can bring the key back
