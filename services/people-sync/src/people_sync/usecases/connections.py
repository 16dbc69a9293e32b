"""The state of the People connection from auth-service's facts, as far as the sync needs it."""

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import PEOPLE
from people_sync.domain.sentences import ANOTHER_ORGANIZATION, DISCONNECTED, NOT_DONE
from people_sync.storage.runs import RUNS
from people_sync.storage.strays import STRAY, unsettled
from people_sync.storage.tables import Connection, Settings
from people_sync.usecases import decisions
from people_sync.usecases.refreshes import REFRESHES
from people_sync.usecases.standstill import hold_jobs
from people_sync.usecases.supplied import adopt_supplied
from synckit import refreshes, runs
from synckit.connections import follow
from synckit.refreshes import Done
from synckit.standstill import one_at_a_time


async def connection_changed(session: AsyncSession, fact: ConnectionFact) -> None:
    """Store a fact if it is newer, then resume waiting runs or stop open ones."""
    if fact.product != PEOPLE:
        return
    # Adoption must not miss the ids of an uncommitted bulk call.
    await one_at_a_time(session, fact.organization_id)
    await hold_jobs(session, fact.organization_id)
    followed = await follow(session, Connection, fact)
    if followed is None:
        return
    connection = followed.connection
    if followed.moved:
        # The progress of syncs with one Planning Center organization is meaningless for another.
        connection.country_code = connection.full_sync_at = connection.cursor = connection.next_run_at = None
        connection.merger_cursor = connection.caught_up = None
        connection.mirrored = False
        # The first-match choice was made for other people, so it is asked again.
        church = Settings.organization_id == fact.organization_id
        await session.execute(update(Settings).where(church).values(first_match=None))
    if fact.state == "connected" and connection.full_sync_at is not None:
        connection.next_run_at = fact.occurred_at
    if followed.moved:
        await refreshes.end(
            session, REFRESHES, fact.organization_id, Done(NOT_DONE, ANOTHER_ORGANIZATION), fact.occurred_at
        )
    if fact.state == "connected":
        await adopt_supplied(session, fact.organization_id, fact.pco_organization_id)
        await runs.resume_waiting(session, RUNS, fact.organization_id)
        await _look_at_strays(session, fact)
        await decisions.queue_waiting(session, _owner(fact), fact.occurred_at)
        await refreshes.resume_waiting(session, REFRESHES, fact.organization_id)
    elif fact.state in {"closing", "disconnected"}:
        await runs.stop_open(session, RUNS, fact.organization_id)
        await refreshes.end(session, REFRESHES, fact.organization_id, Done(NOT_DONE, DISCONNECTED), fact.occurred_at)


async def _look_at_strays(session: AsyncSession, fact: ConnectionFact) -> None:
    """Queue each record whose strays were not settled before the connection ended."""
    owner = _owner(fact)
    for kind, record_id in await unsettled(session, owner):
        await refreshes.request(
            session,
            REFRESHES,
            owner,
            kind,
            record_id=record_id,
            reason=STRAY,
            urgent=False,
            now=fact.occurred_at,
        )


def _owner(fact: ConnectionFact) -> dict[str, str]:
    return {"organization_id": fact.organization_id, "pco_organization_id": fact.pco_organization_id}
