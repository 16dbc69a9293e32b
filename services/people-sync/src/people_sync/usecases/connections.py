"""What auth-service says about the People connection, kept as far as the sync needs it."""

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.auth_connection_v1 import ConnectionFact
from contracts.values import PEOPLE
from people_sync.domain.sentences import ANOTHER_ORGANIZATION, DISCONNECTED, NOT_DONE
from people_sync.storage.strays import STRAY, unsettled
from people_sync.storage.tables import Connection, Settings
from people_sync.usecases import decisions, runs
from people_sync.usecases.refreshes import REFRESHES
from people_sync.usecases.standstill import hold_jobs
from people_sync.usecases.supplied import adopt_supplied, one_at_a_time
from synckit import refreshes
from synckit.refreshes import Done


async def connection_changed(session: AsyncSession, fact: ConnectionFact) -> None:
    """Apply a fact if it is newer than what is known; then waiting runs go on, or open ones stop."""
    if fact.product != PEOPLE:
        return
    await one_at_a_time(session, fact.organization_id)
    await hold_jobs(session, fact.organization_id)
    before = await session.get(Connection, fact.organization_id, with_for_update=True)
    if before is not None and before.version >= fact.version:
        return
    values = {
        "pco_organization_id": fact.pco_organization_id,
        "state": fact.state,
        "generation": fact.generation,
        "version": fact.version,
        "pco_person_id": fact.pco_person_id,
    }
    moved = before is not None and before.pco_organization_id != fact.pco_organization_id
    if before is None or moved:
        # Another Planning Center organization: where the sync stood says nothing about it.
        values |= {"country_code": None, "full_sync_at": None, "cursor": None, "next_run_at": None}
        values |= {"merger_cursor": None, "mirrored": False, "caught_up": None}
    if moved:
        # What wins where both sides have a value was answered for other people: it is asked again.
        church = Settings.organization_id == fact.organization_id
        await session.execute(update(Settings).where(church).values(first_match=None))
    if fact.state == "connected" and before is not None and before.full_sync_at is not None:
        values.setdefault("next_run_at", fact.occurred_at)
    statement = insert(Connection).values(organization_id=fact.organization_id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["organization_id"], set_=values))
    if moved:
        await refreshes.end(
            session, REFRESHES, fact.organization_id, Done(NOT_DONE, ANOTHER_ORGANIZATION), fact.occurred_at
        )
    if fact.state == "connected":
        await adopt_supplied(session, fact.organization_id, fact.pco_organization_id)
        await runs.resume_waiting(session, fact.organization_id)
        await _look_at_strays(session, fact)
        await decisions.queue_waiting(session, _owner(fact), fact.occurred_at)
        await refreshes.resume_waiting(session, REFRESHES, fact.organization_id)
    elif fact.state in {"closing", "disconnected"}:
        await runs.stop_open(session, fact.organization_id)
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
