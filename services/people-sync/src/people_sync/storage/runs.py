"""What the runs of People are to `synckit`, and what they are for."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import case, or_, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.people_sync_run_v1 import SyncRunFinished, SyncRunProgressed, SyncRunStarted
from contracts.values import PEOPLE
from people_sync.domain.sentences import (
    ADDED_THERE,
    CONFLICT,
    CREATED_HERE,
    LINKED,
    MADE_INACTIVE,
    NOT_DONE,
    NOT_PUT_BACK,
    PUT_BACK_HERE,
    RESTORED,
    ROLE_IS_GONE,
    TAKEN_BACK,
    UNDO_STOPPED,
    UNDONE,
    UPDATED_BOTH,
    UPDATED_HERE,
    answered_before,
)
from people_sync.storage import remote
from people_sync.storage.sync_tables import Change, Run
from people_sync.storage.tables import Connection, Settings
from synckit.changes import counts
from synckit.product import Product
from synckit.sentences import STOPPED

SYNC: Final = "sync"
PREVIEW: Final = "preview"
PROOF: Final = "proof"
UNDO: Final = "undo"
"""Values of `Run.purpose`. The last one also names the phase in which an undo puts our side back."""
IS_SYNC: Final = or_(Run.purpose == SYNC, (Run.purpose == PREVIEW) & (Run.state == "done"))
"""Whether a run synced, or was to; a preview counts once approved."""
_HOURS: Final = 4
"""Between syncs, unless an administrator chose otherwise."""


async def _interval(session: AsyncSession, organization_id: str) -> timedelta:
    chosen = await session.get(Settings, organization_id)
    return timedelta(hours=chosen.schedule_hours if chosen else _HOURS)


async def _let_go(session: AsyncSession, run_id: UUID) -> dict[str, int]:
    await remote.let_go(session, run_id)
    return await _mark_not_done(session, run_id)


async def _mark_not_done(session: AsyncSession, run_id: UUID) -> dict[str, int]:
    """Mark planned changes of a run that ends early as not done. Gives the numbers by outcome."""
    planned = (Change.run_id == run_id) & ((Change.here == "planned") | (Change.there == "planned"))
    # A record planned to change on both sides may be done here.
    half = (Change.here == "done") & (Change.outcome == UPDATED_BOTH)
    kept = (Change.here == "done") & Change.outcome.in_([LINKED, CREATED_HERE, CONFLICT])
    undone = (Change.here == "done") & (Change.outcome == UNDONE)
    of_undo = Change.outcome.in_([UNDONE, TAKEN_BACK, RESTORED, MADE_INACTIVE]) | (Change.sentence == ADDED_THERE)
    await session.execute(
        update(Change)
        .where(planned)
        .values(
            outcome=case((half, UPDATED_HERE), (kept | undone, Change.outcome), else_=NOT_DONE),
            sentence=case((undone, PUT_BACK_HERE), (of_undo, NOT_PUT_BACK), else_=Change.sentence),
            here=case((Change.here == "planned", "none"), else_=Change.here),
            there=case((Change.there == "planned", "none"), else_=Change.there),
        )
        .execution_options(synchronize_session=False)
    )
    return await counts(session, Change, run_id)


def _stopped(run: Run) -> str:
    return UNDO_STOPPED if run.purpose == UNDO else STOPPED


def _rendered(run: Run) -> Mapping[str, Any]:
    return {"undoes": run.subject or {} if run.purpose == UNDO else {}}


RUNS: Final = Product(
    name=PEOPLE,
    job="people.run",
    runs=Run,
    connections=Connection,
    settings=Settings,
    started=SyncRunStarted,
    progressed=SyncRunProgressed,
    finished=SyncRunFinished,
    nouns={
        "pull": "people",
        "compare": "records",
        "apply": "changes",
        UNDO: "records",
        "push": "changes",
        "finish": "records",
        "prove": "records",
    },
    role_is_gone=ROLE_IS_GONE,
    interval=_interval,
    let_go=_let_go,
    stopped=_stopped,
    rendered=_rendered,
    answered_before=answered_before,
)
