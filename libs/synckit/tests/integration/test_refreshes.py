"""Refreshes of a second product, with widgets as records."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pco_client.errors import Reason, Unavailable
from servicekit.clock import SystemClock
from servicekit.db.notify import Wake
from servicekit.db.sessions import Columns, Sessions, make_sessions, service_metadata
from servicekit.errors import NotFound
from servicekit.jobs.worker import Claimer, JobContext, JobWorker
from servicekit.testing import Databases, FakeClock, eventually
from synckit import refresh_job, refreshes
from synckit.connections import ConnectionColumns
from synckit.errors import NotConnected
from synckit.refresh_job import Again, Settle, Work
from synckit.refreshes import Done, RefreshColumns, Refreshes, refresh_indexes

pytestmark = pytest.mark.asyncio(loop_scope="session")

HERE: Final = "org-1"
OWNER: Final = {"organization_id": HERE, "pco_organization_id": "77"}
HORIZON: Final = timedelta(minutes=2)
EQUAL: Final = Done("unchanged", "Equal.")


class Base(Columns, DeclarativeBase):
    metadata = service_metadata(outbox=False, inbox=False, jobs=True)


class Connection(ConnectionColumns, Base):
    __tablename__ = "connection"


class Widget(Base):
    __tablename__ = "widget"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    pco_id: Mapped[str]


class Refresh(RefreshColumns, Base):
    __tablename__ = "refresh"
    __table_args__ = refresh_indexes()


async def _widget(session: AsyncSession, _owner: Mapping[str, str], _kind: str, pco_id: str) -> UUID | None:
    found: UUID | None = await session.scalar(select(Widget.id).where(Widget.pco_id == pco_id))
    return found


WIDGETS: Final = Refreshes(
    rows=Refresh,
    job="widgets.refresh",
    connections=Connection,
    record_of=_widget,
    looks_again="Not there yet.",
)


@dataclass
class Shop:
    """One church with widgets, and a worker whose outcomes are set by the test."""

    sessions: Sessions
    clock: FakeClock = field(default_factory=lambda: FakeClock(SystemClock().now()))
    ends: dict[UUID | str | None, list[Done | Again | Exception]] = field(default_factory=lambda: defaultdict(list))
    """By record, what its next looks come to; after these it is equal."""
    looked_at: list[UUID | str | None] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    """How many were under way whenever one began."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    patient: set[UUID] = field(default_factory=set)
    """Widgets that are never given up."""
    stored: list[Done | None] = field(default_factory=list)
    _under_way: int = 0

    def __post_init__(self) -> None:
        self.gate.set()
        self._claimer = Claimer(
            JobWorker(WIDGETS.job, self._run, lease_seconds=30), self.sessions, None, Wake(), lambda: None
        )

    async def ask(self, record_id: UUID | None = None, *, kind: str = "widget", **asked: Any) -> UUID:
        values: dict[str, Any] = {"reason": "asked", "urgent": False, "now": self.clock.now()} | asked
        async with self.sessions.begin() as session:
            return (await refreshes.request(session, WIDGETS, OWNER, kind, record_id=record_id, **values)).id

    async def work(self) -> None:
        """Run the next due job until it ends or is given back."""
        await self._claimer.step()

    async def rows(self, **where: Any) -> list[Refresh]:
        async with self.sessions() as session:
            return list(await session.scalars(select(Refresh).filter_by(**where).order_by(Refresh.requested_at)))

    async def row(self, record_id: UUID) -> Refresh:
        (found,) = await self.rows(record_id=record_id)
        return found

    async def job(self) -> Any:
        """The newest job."""
        async with self.sessions() as session:
            return (await session.execute(text("SELECT * FROM job ORDER BY created_at DESC LIMIT 1"))).one()

    async def connection(self, state: str) -> None:
        async with self.sessions.begin() as session:
            await session.merge(Connection(**OWNER, state=state, generation=1, version=1))

    async def back(self) -> None:
        async with self.sessions.begin() as session:
            await refreshes.resume_waiting(session, WIDGETS, HERE)

    async def start_due(self) -> int:
        async with self.sessions.begin() as session:
            return await refreshes.start_due(session, WIDGETS)

    async def _run(self, job: JobContext, _: Any) -> None:
        await refresh_job.work_off(job, WIDGETS, self.clock, self._begun(job))

    @asynccontextmanager
    async def _begun(self, job: JobContext) -> AsyncIterator[Work]:
        async with job.sessions() as session:
            connection = await session.get_one(Connection, job.organization_id)
        if connection.state != "connected":
            raise NotConnected("widgets")
        yield Work(
            owner=OWNER,
            horizon=HORIZON,
            sync=self._look,
            given_up=self._given_up,
            beside_others=lambda row: row.kind == "widget",
            storing=self._storing,
        )

    async def _look(self, row: RefreshColumns) -> Done | Again:
        key = row.record_id or row.pco_id
        self.looked_at.append(key)
        self._under_way += 1
        self.busy.append(self._under_way)
        try:
            await self.gate.wait()
        finally:
            self._under_way -= 1
        end = self.ends[key].pop(0) if self.ends[key] else EQUAL
        if isinstance(end, Exception):
            raise end
        return end

    async def _given_up(self, row: RefreshColumns) -> Done | None:
        return None if row.record_id in self.patient else Done("later", "Nothing new for long.")

    async def _storing(self, session: AsyncSession, row: RefreshColumns, settle: Settle) -> None:
        self.stored.append(await settle())
        if row.kind == "poison":
            await session.execute(text("SELECT 1 / 0"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(databases: Databases) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(await databases.empty(), pool_size=15)
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield made
    await made.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def shop(engine: AsyncEngine, databases: Databases) -> Shop:
    await databases.truncate(engine.url.render_as_string(hide_password=False))
    made = Shop(make_sessions(engine, "widgets"))
    await made.connection("connected")
    return made


def away(*, unknown: bool = False) -> Unavailable:
    return Unavailable("away", reason=Reason.TIMEOUT, outcome_unknown=unknown)


async def test_ten_requests_for_one_record_are_one_row_and_one_sync(shop: Shop) -> None:
    widget, now = uuid4(), shop.clock.now()
    async with shop.sessions.begin() as session:
        session.add(Widget(id=widget, pco_id="17"))
    later = [shop.ask(widget, reason="webhook", not_before=now + timedelta(hours=one)) for one in range(1, 6)]
    by_pco = [shop.ask(pco_id="17", reason="run", not_before=now + timedelta(hours=one)) for one in range(4)]
    ids = await asyncio.gather(*later, *by_pco, shop.ask(widget, urgent=True, not_before=now + timedelta(hours=9)))
    assert len({*ids}) == 1
    row = await shop.row(widget)
    assert (sorted(row.reasons), row.urgent, row.not_before) == (["asked", "run", "webhook"], True, now)
    await shop.work()
    assert shop.looked_at == [widget]
    assert [(row.state, row.outcome, row.sentence) for row in await shop.rows()] == [("done", "unchanged", "Equal.")]
    assert (await shop.job()).state == "done"


async def test_an_unlinked_record_is_one_row_and_keeps_its_pco_id(shop: Shop) -> None:
    assert await shop.ask(pco_id="18") == await shop.ask(pco_id="18", reason="webhook")
    await shop.work()
    assert shop.looked_at == ["18"]


async def test_urgent_records_go_first_and_others_in_parallel(shop: Shop) -> None:
    for _ in range(9):
        await shop.ask(uuid4())
    urgent, another = uuid4(), uuid4()
    await shop.ask(urgent, urgent=True)
    shop.gate.clear()
    working = asyncio.create_task(shop.work())
    await eventually(lambda: len(shop.busy) == 4)
    await shop.ask(another, urgent=True)
    shop.gate.set()
    await working
    assert shop.looked_at[0] == urgent
    assert shop.looked_at.index(another) < 6, "none of those that wait is before it"
    assert max(shop.busy) <= 5
    assert {row.state for row in await shop.rows()} == {"done"}


async def test_a_row_about_several_records_waits_for_running_ones(shop: Shop) -> None:
    for kind in ("widget", "widget", "shelf", "widget"):
        await shop.ask(uuid4(), kind=kind)
    shop.gate.clear()
    working = asyncio.create_task(shop.work())
    await eventually(lambda: len(shop.busy) >= 2)
    shop.gate.set()
    await working
    assert shop.busy == [1, 2, 1, 1]


async def test_no_row_begins_beside_one_about_several_records(shop: Shop) -> None:
    for kind in ("shelf", "widget"):
        await shop.ask(uuid4(), kind=kind)
    shop.gate.clear()
    working = asyncio.create_task(shop.work())
    await eventually(lambda: shop.busy)
    for _ in range(5):
        await shop.rows()  # long enough for another to begin
    shop.gate.set()
    await working
    assert shop.busy == [1, 1]


async def test_a_bad_record_ends_only_itself(shop: Shop) -> None:
    bad, others = uuid4(), [uuid4() for _ in range(5)]
    shop.ends[bad] = [ValueError("bad value")] * 9
    await shop.ask(bad)
    for one in others:
        await shop.ask(one)
    poison = await shop.ask(uuid4(), kind="poison")
    await shop.work()
    for one in others:
        assert (await shop.row(one)).state == "done"
    row = await shop.row(bad)
    assert (row.state, row.tries, row.sentence) == ("queued", 1, None)
    (row,) = await shop.rows(id=poison)
    assert (row.state, row.tries) == ("queued", 0), "what breaks while it is stored has not ended"


async def test_a_record_postponed_too_often_is_given_up_unless_forbidden(shop: Shop) -> None:
    idle, patient = uuid4(), uuid4()
    shop.patient.add(patient)
    for one in (idle, patient):
        shop.ends[one] = [Again(shop.clock.now(), "We look again.", so_far="created")] * 20
        await shop.ask(one)
    await shop.work()
    row = await shop.row(idle)
    assert (row.state, row.outcome, row.tries) == ("done", "later", 6)
    row = await shop.row(patient)
    assert (row.state, row.outcome, row.sentence) == ("queued", "created", "We look again.")
    assert row.not_before == shop.clock.now() + timedelta(minutes=1)
    assert shop.looked_at.count(patient) == 6
    job = await shop.job()
    assert (job.state, job.run_after) == ("waiting", row.not_before)


async def test_postponements_that_do_not_count_never_give_up(shop: Shop) -> None:
    widget = uuid4()
    shop.ends[widget] = [Again(shop.clock.now(), counts=False)] * 10
    await shop.ask(widget)
    await shop.work()
    row = await shop.row(widget)
    assert (row.state, row.tries, len(shop.looked_at)) == ("done", 1, 11)


async def test_a_request_during_a_sync_causes_another_sync(shop: Shop) -> None:
    widget = uuid4()
    shop.ends[widget] = [Done("updated", "Changed.", lasting=True)]
    first = await shop.ask(widget)
    shop.gate.clear()
    working = asyncio.create_task(shop.work())
    await eventually(lambda: shop.looked_at == [widget])
    shop.clock.advance(1)
    assert await shop.ask(widget) == first
    shop.gate.set()
    await working
    assert shop.looked_at == [widget, widget]
    assert shop.stored == [None, EQUAL], "the first look did not end it"


async def test_a_request_during_a_sync_that_is_postponed_is_carried_out_at_once(shop: Shop) -> None:
    widget = uuid4()
    shop.ends[widget] = [Again(shop.clock.now() + HORIZON, "We look again.", so_far="changed")]
    shop.gate.clear()
    await shop.ask(widget)
    working = asyncio.create_task(shop.work())
    await eventually(lambda: shop.busy)
    shop.clock.advance(1)
    await shop.ask(widget, urgent=True)
    shop.gate.set()
    await working
    row = await shop.row(widget)
    assert shop.looked_at == [widget, widget]
    assert (row.state, row.outcome) == ("done", "unchanged")


async def test_planning_center_goes_away_and_comes_back(shop: Shop) -> None:
    first, second = uuid4(), uuid4()
    shop.ends[first] = [away()]
    await shop.ask(first, kind="shelf")
    await shop.ask(second, kind="shelf")
    await shop.work()
    assert shop.looked_at == [first]
    job = await shop.job()
    assert (job.state, job.checkpoint) == ("waiting", {"given_back": True})
    assert await shop.start_due() == 0, "what is due does not call while Planning Center is away"
    await shop.back()
    await shop.work()
    assert shop.looked_at == [first, second], "it may have been the first one's fault: the others go first"
    assert (await shop.row(second)).state == "done"
    shop.clock.advance(11)
    await shop.ask(first, kind="shelf")
    await shop.work()
    assert (await shop.row(first)).state == "done"


async def test_a_lost_answer_delays_only_its_record(shop: Shop) -> None:
    first, second = uuid4(), uuid4()
    shop.ends[first] = [away(unknown=True)]
    await shop.ask(first, kind="shelf")
    await shop.ask(second, kind="shelf")
    await shop.work()
    assert (await shop.row(second)).state == "done"
    assert (await shop.row(first)).not_before == shop.clock.now() + HORIZON


async def test_no_request_without_a_connection(shop: Shop) -> None:
    widget = uuid4()
    await shop.connection("reconnect_required")
    await shop.ask(widget)
    await shop.work()
    assert shop.looked_at == []
    assert (await shop.job()).checkpoint == {"given_back": True}
    assert await shop.start_due() == 0
    await shop.connection("connected")
    await shop.back()
    await shop.work()
    assert (await shop.row(widget)).state == "done"


async def test_the_end_of_a_connection_ends_queued_rows(shop: Shop) -> None:
    widget, now = uuid4(), shop.clock.now()
    await shop.ask(widget, not_before=now + timedelta(hours=1))
    async with shop.sessions.begin() as session:
        await refreshes.end(session, WIDGETS, HERE, Done("not_done", "Disconnected."), now)
    row = await shop.row(widget)
    assert (row.state, row.outcome, row.sentence, row.finished_at) == ("done", "not_done", "Disconnected.", now)
    await shop.work()
    assert shop.looked_at == []
    assert (await shop.job()).state == "done"


async def test_a_row_that_met_an_ending_job_is_found(shop: Shop) -> None:
    widget = uuid4()
    async with shop.sessions.begin() as session:
        now = shop.clock.now()
        await refreshes.request(
            session, WIDGETS, OWNER, "widget", record_id=widget, reason="asked", urgent=False, now=now, woken=True
        )
        other = {"organization_id": HERE, "pco_organization_id": "88"}
        await refreshes.request(
            session, WIDGETS, other, "widget", record_id=widget, reason="asked", urgent=False, now=now, woken=True
        )
    await shop.connection("closing")
    assert await shop.start_due() == 0
    await shop.connection("connected")
    assert await shop.start_due() == 1
    assert await shop.start_due() == 0
    await shop.work()
    rows = {row.pco_organization_id: row.state for row in await shop.rows()}
    assert rows == {"77": "done", "88": "queued"}, "of another Planning Center organization nothing is looked at"
    assert await shop.start_due() == 0


async def test_a_job_does_not_end_before_a_request_is_committed(shop: Shop) -> None:
    first, second = uuid4(), uuid4()
    await shop.ask(first)
    shop.gate.clear()
    working = asyncio.create_task(shop.work())
    await eventually(lambda: shop.looked_at == [first])
    async with shop.sessions.begin() as session:
        now = shop.clock.now()
        await refreshes.request(
            session, WIDGETS, OWNER, "widget", record_id=second, reason="asked", urgent=False, now=now
        )
        shop.gate.set()

        async def over() -> bool:
            return (await shop.row(first)).state == "done"

        await eventually(over)
        done, _ = await asyncio.wait([working], timeout=0.2)
        assert not done
    await working
    assert ((await shop.row(second)).state, (await shop.job()).state) == ("done", "done")


async def test_a_worker_that_lost_its_job_stores_nothing(shop: Shop) -> None:
    widget = uuid4()
    await shop.ask(widget)
    shop.gate.clear()
    working = asyncio.create_task(shop.work())
    await eventually(lambda: shop.looked_at == [widget])
    async with shop.sessions.begin() as session:
        await session.execute(text("UPDATE job SET fence = fence + 1, lease_until = now()"))
    shop.gate.set()
    await working
    assert (await shop.row(widget)).state == "queued"
    assert shop.stored == []
    await shop.work()
    assert (await shop.row(widget)).state == "done"
    assert shop.looked_at == [widget, widget]


async def test_an_outcome_can_be_read_for_a_day(shop: Shop) -> None:
    await shop.ask(uuid4())
    await shop.work()
    await shop.ask(uuid4())
    assert await refreshes.forget_old(shop.sessions, WIDGETS, shop.clock.now() + timedelta(hours=23)) == 0
    assert await refreshes.forget_old(shop.sessions, WIDGETS, shop.clock.now() + timedelta(hours=25)) == 1
    assert [row.state for row in await shop.rows()] == ["queued"]


async def test_one_sync_is_shown_as_queued_again_and_done(shop: Shop) -> None:
    asked = await shop.ask(widget := uuid4())

    async def shown(organization_id: str = HERE) -> tuple[Any, ...]:
        async with shop.sessions() as session:
            row = await refreshes.find(session, WIDGETS, organization_id, str(asked))
        found = refreshes.shown(WIDGETS, row)
        return found["state"], found["sentence"], found["outcome"], found["again_at"]

    assert await shown() == ("queued", "Asking Planning Center.", None, None)
    shop.ends[widget] = [Again(until := shop.clock.now() + timedelta(minutes=1)), Done("equal", "The same.")]
    await shop.work()
    assert await shown() == ("queued", "Not there yet.", None, until)
    shop.clock.advance(timedelta(minutes=2))
    await shop.back()
    await shop.work()
    assert await shown() == ("done", "The same.", "equal", None)
    with pytest.raises(NotFound):
        await shown("another organization")
