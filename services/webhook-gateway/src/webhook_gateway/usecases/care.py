"""The job that makes, compares, mends, rotates and removes the subscriptions of one connection.

One job of a connection runs at a time anywhere. It may die between any two steps: what it was about to make is stored
as `wanted` before it is sent, and found again in the vendor's list by address and name, so nothing is made twice. Every
transaction locks the connection and sees whether it is still the one that the job began with.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.webhooks_subscription_v1 import SubscriptionsActive
from pco_client.client import PlanningCenter
from pco_client.errors import (
    AnsweredTooLate,
    Conflict,
    LeaseUnavailable,
    NotFound,
    PlanningCenterError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from servicekit.ids import uuid7
from servicekit.jobs.queue import LeaseLost
from servicekit.jobs.worker import JobContext
from servicekit.kafka import outbox
from synckit.errors import NotConnected
from synckit.guard import guarded
from webhook_gateway.domain.subscriptions import (
    Adopt,
    Create,
    Forget,
    Here,
    Reactivate,
    Remove,
    Renew,
    Sorted,
    Step,
    There,
    asks_for_offers,
    cause_of,
    losses,
    next_verification,
    plan,
    sort,
    wanted_names,
)
from webhook_gateway.planning_center import Failed, Subscriptions, refusal
from webhook_gateway.resources import Resources
from webhook_gateway.storage import subscriptions as stored
from webhook_gateway.storage.tables import Connection, WebhookKey, WebhookSubscription
from webhook_gateway.usecases import gaps
from webhook_gateway.usecases.subscriptions import base_of, hash_of, open_key, tell_removed

PREVIOUS_VALID: Final = timedelta(days=6)
"""Retries of a delivery come for 5.4 days, and may be signed with the secret of its first attempt (unconfirmed)."""
FAILURES_EVERY: Final = timedelta(days=1)
"""A delivery fails for good after 5.4 days of retries, or with its subscription, so failures are seldom looked for."""
MOST_FAILURES: Final = 1_000
"""Failed deliveries of a subscription that are sent again at one time. The owner reads the window anyway."""
_COUNTED_AT_ONCE: Final = 50
_OVERLAP: Final = timedelta(minutes=5)
"""A gap begins this much before the last sign of life, for deliveries that were under way."""
_SOON: Final = timedelta(minutes=1)
_LATER: Final = timedelta(minutes=5)
_REMOVAL_AGAIN: Final = timedelta(seconds=5)
"""auth-service waits a minute for the removal."""
NOT_AGREED: Final = "Planning Center had not agreed to send some messages for a while."
"""The cause of a gap of subscriptions that were refused, or not made, since an earlier verification."""
ROTATION_REFUSED: Final = (
    "Planning Center gave no new secret for these messages. The present one stays in use; ask again, or disconnect and "
    "connect once more."
)
_PASSING: Final = (Unavailable, LeaseUnavailable, Unauthorized)
"""Errors that say nothing about one subscription or delivery. Any other one concerns it alone, and ends nothing."""
_LOOKS: Final = 3
"""Looks at the vendor's list in one verification, while somebody else changes it."""

log = structlog.get_logger(__name__)


class _Moved(Exception):
    """The connection is no longer the one that the job began with: look at it again."""


class _LookAgain(Exception):
    """The vendor's list is no longer what it was."""


def runner(product: str) -> Callable[[JobContext, Resources], Awaitable[None]]:
    """The `run` of a product's jobs."""

    async def run(job: JobContext, resources: Resources) -> None:
        while not job.over:
            try:
                await _run(job, resources, product)
            except _Moved:
                continue
            except AnsweredTooLate as error:
                raise LeaseLost(str(error)) from error

    return run


async def _run(job: JobContext, resources: Resources, product: str) -> None:
    async with job.transaction() as session:
        connection = await stored.connection_of(session, job.organization_id, product, held=True)
        if connection is None or connection.state not in {"connected", "closing"}:
            # An administrator reconnects, or has disconnected: the next fact begins a job.
            await job.finish(session)
            return
        key = await stored.key_of(session, connection)
        keys = await stored.unretired(session, job.organization_id, product, connection.generation)
        if not keys or (key is None and connection.state == "connected"):
            await job.finish(session)  # a loop makes the key, and begins a job
            return
    care = _Care(job, resources, connection, key, keys)
    await (care.verify() if connection.state == "connected" else care.remove())


@dataclass(slots=True)
class _Care:
    """The care of one generation of a connection."""

    job: JobContext
    resources: Resources
    connection: Connection
    """As it was when the job looked."""
    key: WebhookKey | None
    keys: list[WebhookKey]
    """Keys of this connection that are not retired, former generations' included."""

    # -- connected -------------------------------------------------------------------------------------------------

    async def verify(self) -> None:
        """Compare, mend, rotate, and ask for failed deliveries."""
        began = self.resources.clock.now()
        try:
            async with self._client() as pco:
                await self._verified(self._subscriptions(pco), began)
        except (NotConnected, Unauthorized):
            # auth-service finds out, or knows already; a fact about the connection begins the next job.
            log.info("subscriptions cannot be verified: not connected", product=self.connection.product)
            await self._end_unverified(None)
        except (PlanningCenterError, InvalidToken) as error:
            log.warning("subscriptions not verified", product=self.connection.product, exc_info=error)
            await self._end_unverified(began)

    async def _verified(self, there: Subscriptions, began: datetime) -> None:
        address = self._address()
        for look in range(1, _LOOKS + 1):
            try:
                try:
                    listed = await there.listed()
                    offered = await there.offered() if asks_for_offers(self.connection.product) else frozenset()
                except PlanningCenterError as error:
                    sentence = refusal(error, self.connection.product)
                    if sentence is None:
                        raise
                    await self._all_refused(sentence)
                    await self._end_verified(began, looked=False)
                    return
                wanted = wanted_names(self.connection.product, offered)
                found = await self._sorted(listed, address)
                steps = await self._prepared(found, wanted)
                last_look = look == _LOOKS
                for step in steps:
                    await self._take(step, there, address, last_look=last_look)
                await self._rotate(there, last_look=last_look)
                looked = await self._failures_are_due()
                if looked:
                    await self._failures(there, last_look=last_look)
            except _LookAgain:
                continue
            await self._end_verified(began, looked=looked)
            return
        await self._end_unverified(began)

    async def _sorted(self, listed: Iterable[There], address: str) -> Sorted:
        base, own = base_of(self.resources.settings), self.connection
        keys = {one.url: hash_of(one.url.removeprefix(base)) for one in listed if one.url.startswith(base)}
        async with self.job.sessions() as session:
            found = await stored.living(session, set(keys.values()), own.organization_id, own.product, own.generation)
        return sort(listed, address, base, {url for url, hashed in keys.items() if hashed in found})

    async def _prepared(self, found: Sorted, wanted: Collection[str]) -> list[Step]:
        """What to do. Stores what will be made, and what was lost with its gap, before anything is mended."""
        now = self.resources.clock.now()
        async with self._transaction() as (session, connection, key):
            rows = await stored.rows_of(session, key.id)
            here = [self._here(row) for row in rows.values()]
            lost, steps = losses(here, found), plan(here, found, wanted)
            for step in steps:
                if isinstance(step, Create | Adopt | Renew) and step.name not in rows:
                    session.add(
                        WebhookSubscription(id=uuid7(), key_id=key.id, name=step.name, state="wanted", changed_at=now)
                    )
            if lost:
                since = await self._since(session, key, [loss.name for loss in lost])
                await gaps.found(session, connection, since, cause_of(lost, 0), now)
                key.failures_seen_at = None  # what failed with a subscription is sent again once that is mended
                for loss in lost:
                    row = rows[loss.name]
                    row.state, row.active_since, row.changed_at = "wanted", None, now
                log.warning("subscriptions were lost", product=key.product, names=[loss.name for loss in lost])
        return steps

    async def _since(self, session: AsyncSession, key: WebhookKey, names: Collection[str]) -> datetime:
        """The beginning of a gap: each name's last sign of life is its last delivery, or the last verification."""
        last = await stored.last_received(session, key.organization_id, names)
        verified = key.verified_at or key.created_at
        return min(max(verified, last.get(name, verified)) for name in names) - _OVERLAP

    async def _take(self, step: Step, there: Subscriptions, address: str, *, last_look: bool) -> None:
        if isinstance(step, Forget):
            await self._store(step.name, state="removed")
            return
        if isinstance(step, Adopt):
            state: Literal["active"] | None = "active" if step.active else None
            await self._store(step.name, state=state, pco_id=step.pco_id, secret=step.secret)
            return
        await self._still_the_same()
        try:
            match step:
                case Create(name):
                    made = await there.create(name, address)
                    secret = made.secret or await there.rotate(made.id)
                    await self._store(name, state="active", pco_id=made.id, secret=secret)
                case Renew(name, pco_id, active):
                    secret = await there.rotate(pco_id)
                    await self._store(name, state="active" if active else None, pco_id=pco_id, secret=secret)
                case Reactivate(name, pco_id):
                    await there.reactivate(pco_id)
                    await self._store(name, state="active")
                case Remove(_, pco_id):
                    await there.remove(pco_id)
        except PlanningCenterError as error:
            if isinstance(error, Conflict | NotFound) and not last_look:
                raise _LookAgain from error
            sentence = refusal(error, self.connection.product)
            if sentence is None:
                raise
            log.warning("subscription refused", name=step.name, step=type(step).__name__, error=str(error))
            if not isinstance(step, Remove):
                await self._store(step.name, state="refused", refused=sentence)

    async def _rotate(self, there: Subscriptions, *, last_look: bool) -> None:
        """Give a new secret to those whose secret is older than the administrator's wish. A refusal ends the wish."""
        async with self._transaction() as (session, _, key):
            asked = key.rotate_asked_at
            rows = (await stored.rows_of(session, key.id)).values()
            due = [
                (row.name, row.pco_id)
                for row in rows
                if asked and row.state == "active" and row.pco_id and (row.secret_since or asked) <= asked
            ]
        for name, pco_id in due:
            await self._still_the_same()
            try:
                secret = await there.rotate(pco_id)
            except (*_PASSING, UnexpectedAnswer):
                raise  # whether there is a new one is seen in the list
            except PlanningCenterError as error:
                if isinstance(error, NotFound) and not last_look:
                    raise _LookAgain from error
                log.warning("no new secret", name=name, error=str(error))
                await self._store(name, state="active", refused=ROTATION_REFUSED)
            else:
                await self._store(name, state="active", secret=secret)
        if asked:
            async with self._transaction() as (session, _, key):
                if key.rotate_asked_at == asked:
                    key.rotate_asked_at = None

    async def _failures_are_due(self) -> bool:
        async with self._transaction() as (_, _, key):
            now = self.resources.clock.now()
            return key.failures_seen_at is None or now - key.failures_seen_at >= FAILURES_EVERY

    async def _failures(self, there: Subscriptions, *, last_look: bool) -> None:
        """Have deliveries sent again that the vendor has given up, and note their window."""
        async with self._transaction() as (session, _, key):
            rows = (await stored.rows_of(session, key.id)).values()
            ids = [row.pco_id for row in rows if row.state == "active" and row.pco_id]
        failed: list[Failed] = []
        for pco_id in ids:
            try:
                failed += await there.failed(pco_id, MOST_FAILURES)
            except _PASSING:
                raise
            except PlanningCenterError as error:
                if isinstance(error, NotFound) and not last_look:
                    raise _LookAgain from error
                log.warning("failed deliveries cannot be listed", subscription=pco_id, error=str(error))
        if not failed:
            return
        now = self.resources.clock.now()
        async with self._transaction() as (session, connection, _):
            # Some fail again and stay in the vendor's list: their window is not read every day.
            read = await gaps.read_until(session, connection)
            new = [one.created_at for one in failed if read is None or one.created_at > read]
            if new:
                await gaps.found(session, connection, min(new) - _OVERLAP, cause_of((), len(new)), now)
        for begin in range(0, len(failed), _COUNTED_AT_ONCE):
            self.job.stop_if_requested()
            count = 0
            for one in failed[begin : begin + _COUNTED_AT_ONCE]:
                await self._still_the_same()
                try:
                    await there.redeliver(one)
                except _PASSING:
                    raise
                except PlanningCenterError as error:
                    log.info("not delivered again", error=str(error))  # the owner reads the window anyway
                else:
                    count += 1
            async with self._transaction() as (session, connection, _):
                await gaps.redelivered(session, connection, count)

    async def _all_refused(self, sentence: str) -> None:
        now = self.resources.clock.now()
        async with self._transaction() as (session, _, key):
            key.rotate_asked_at = None  # there is nothing whose secret could be rotated
            rows = await stored.rows_of(session, key.id)
            for name in wanted_names(key.product, ()):
                if name not in rows:
                    rows[name] = WebhookSubscription(
                        id=uuid7(), key_id=key.id, name=name, state="wanted", changed_at=now
                    )
                    session.add(rows[name])
            for row in rows.values():
                if row.state == "removed":
                    continue
                if row.state != "refused":
                    row.state, row.active_since, row.changed_at = "refused", None, now
                row.refusal = sentence

    async def _end_verified(self, began: datetime, *, looked: bool) -> None:
        now, settings = self.resources.clock.now(), self.resources.settings
        async with self._transaction() as (session, connection, key):
            if key.rotate_asked_at or (key.due_at and began < key.due_at <= now):
                raise _Moved  # somebody asked meanwhile
            rows = (await stored.rows_of(session, key.id)).values()
            facts: list[Event] = [*await gaps.unpublished(session, connection, now)]
            if key.verified_at is None or any(row.changed_at > key.verified_at for row in rows):
                facts.append(_state_of(connection, rows, now))
            key.verified_at = now
            key.due_at = next_verification(key.organization_id, key.product, settings.verified_every, now)
            if looked:
                key.failures_seen_at = now
            await stored.retire(session, key.organization_id, key.product, up_to=key.generation - 1, now=now)
            await self.job.finish(session)
            await session.flush()
            await outbox.append_all(session, facts)

    async def _end_unverified(self, began: datetime | None) -> None:
        """began: None if only a new fact about the connection can help; otherwise it is tried again soon."""
        now = self.resources.clock.now()
        async with self._transaction() as (session, _, key):
            if began is not None:
                soon = now + (_LATER if key.verified_at else _SOON)
                key.due_at = min(key.due_at, soon) if key.due_at and key.due_at > now else soon
            await self.job.finish(session)

    # -- closing ---------------------------------------------------------------------------------------------------

    async def remove(self) -> None:
        """Delete all of this connection's subscriptions, retire its keys, and answer auth-service."""
        names = {name for key in self.keys for name in await self._names(key)}
        try:
            async with self._client() as pco:
                removed, left = await self._removed(self._subscriptions(pco))
        except (Unavailable, LeaseUnavailable) as error:
            log.warning("subscriptions not removed yet", product=self.connection.product, exc_info=error)
            async with self.job.transaction() as session:
                await self._held(session)
                until = self.resources.clock.now() + _REMOVAL_AGAIN
                await self.job.wait(session, self.job.data or {}, until=until)
            return
        except (NotConnected, PlanningCenterError, InvalidToken) as error:
            # The grant is dead, or does not cover it: no repetition helps. Retired addresses answer 410, which makes
            # Planning Center deactivate what is left.
            log.warning("subscriptions cannot be removed", product=self.connection.product, exc_info=error)
            removed, left = 0, names
        now = self.resources.clock.now()
        async with self.job.transaction() as session:
            connection = await self._held(session)
            await stored.retire(
                session, connection.organization_id, connection.product, up_to=connection.generation, now=now
            )
            await self.job.finish(session)
            await tell_removed(session, connection, removed=removed, left_behind=sorted(left))

    async def _removed(self, there: Subscriptions) -> tuple[int, set[str]]:
        listed = await there.listed()
        addresses = {self._address_of(key) for key in self.keys}
        found = await self._sorted(listed, self._address())
        ours = {one.id: one for one in (*found.own, *found.stale)} | {
            one.id: one for one in listed if one.url in addresses
        }
        # What an earlier try deleted is no longer listed, and counts too, even if its answer was lost.
        known = {*(self.job.data or {}).get("known", ()), *ours}
        async with self.job.transaction() as session:
            await self._held(session)
            await self.job.checkpoint(session, {"known": sorted(known)})
        left = {}
        for one in ours.values():
            await self._still_the_same()
            try:
                await there.remove(one.id)
            except Unavailable:
                raise
            except PlanningCenterError as error:
                log.warning("subscription left behind", name=one.name, error=str(error))
                left[one.id] = one.name
        return len(known - left.keys()), set(left.values())

    async def _names(self, key: WebhookKey) -> list[str]:
        async with self.job.sessions() as session:
            rows = await stored.rows_of(session, key.id)
        return [row.name for row in rows.values() if row.pco_id and row.state != "removed"]

    # -- both ------------------------------------------------------------------------------------------------------

    def _client(self) -> PlanningCenter:
        own = self.connection
        return self.resources.planning_center(own.organization_id, own.product, own.generation, own.pco_organization_id)

    def _subscriptions(self, pco: PlanningCenter) -> Subscriptions:
        return Subscriptions(pco, guarded(pco, self.job, self.resources.settings.pco_request_timeout_seconds))

    def _address(self) -> str:
        key = self.key or self.keys[-1]
        return self._address_of(key)

    def _address_of(self, key: WebhookKey) -> str:
        return base_of(self.resources.settings) + open_key(self.resources.vault, key)

    def _here(self, row: WebhookSubscription) -> Here:
        secret = None
        if row.sealed_secret is not None:
            try:
                secret = self.resources.vault.open(row.sealed_secret, row=str(row.id))
            except InvalidToken:
                log.warning("a subscription's secret cannot be decrypted", subscription=str(row.id))
        return Here(row.name, row.state, row.pco_id, secret)  # type: ignore[arg-type] # the table checks the state

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[tuple[AsyncSession, Connection, WebhookKey]]:
        """A step of a verification: under the job's lease, connection and key locked. _Moved if they are others now."""
        async with self.job.transaction() as session:
            connection = await self._held(session)
            key = await stored.key_of(session, connection, locked=True)
            if key is None:
                raise _Moved
            yield session, connection, key

    async def _still_the_same(self) -> None:
        """Before a request: the connection may have closed since the last transaction."""
        async with self.job.sessions() as session:
            self._same(await stored.connection_of(session, self.job.organization_id, self.connection.product))

    async def _held(self, session: AsyncSession) -> Connection:
        return self._same(
            await stored.connection_of(session, self.job.organization_id, self.connection.product, held=True)
        )

    def _same(self, now: Connection | None) -> Connection:
        before = self.connection
        if now is None or (now.state, now.generation) != (before.state, before.generation):
            raise _Moved
        return now

    async def _store(
        self,
        name: str,
        *,
        state: Literal["active", "refused", "removed"] | None = None,
        pco_id: str | None = None,
        secret: str | None = None,
        refused: str | None = None,
    ) -> None:
        """Store what is known of a subscription. A secret that is replaced stays valid for a while."""
        now = self.resources.clock.now()
        async with self._transaction() as (session, connection, key):
            row = (await stored.rows_of(session, key.id))[name]
            late = key.verified_at is not None and row.changed_at < now - _SOON
            if late and state == "active" and row.state in {"refused", "wanted", "removed"}:
                await gaps.found(session, connection, row.changed_at, NOT_AGREED, now)
            if secret is not None and secret != self._here(row).secret:
                if row.sealed_secret is not None and pco_id in {None, row.pco_id}:
                    row.sealed_previous, row.previous_until = row.sealed_secret, now + PREVIOUS_VALID
                row.sealed_secret, row.secret_since = self.resources.vault.seal(secret, row=str(row.id)), now
            if pco_id is not None:
                row.pco_id = pco_id
            if state is not None and state != row.state:
                row.active_since = now if state == "active" else None
                row.state, row.changed_at = state, now
            if state is not None:
                row.refusal = refused
            if state == "removed":
                row.sealed_secret = row.sealed_previous = row.previous_until = row.pco_id = None


def _state_of(connection: Connection, rows: Iterable[WebhookSubscription], now: datetime) -> SubscriptionsActive:
    connection.subscriptions_version += 1
    by_state: dict[str, list[str]] = {}
    for row in rows:
        by_state.setdefault(row.state, []).append(row.name)
    return SubscriptionsActive(
        organization_id=connection.organization_id,
        version=connection.subscriptions_version,
        product=connection.product,
        generation=connection.generation,
        occurred_at=now,
        names=tuple(by_state.get("active", ())),
        missing=tuple(sorted((*by_state.get("wanted", ()), *by_state.get("refused", ())))),
    )
