"""A second product creates widgets exactly once, wherever its process dies, with the maximum lag of reads."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pco_client.errors import AnsweredTooLate, PlanningCenterError, Reason, Rejected, Unavailable
from pco_client.jsonapi import Document, document
from servicekit.db.notify import Wake
from servicekit.db.sessions import Columns, Sessions, make_sessions, service_metadata
from servicekit.db.tables import JOB
from servicekit.jobs import queue as jobs
from servicekit.jobs.queue import LeaseLost
from servicekit.jobs.worker import Claimer, JobContext, JobWorker
from servicekit.testing import Databases, FakeClock
from synckit.creations import CreationColumns, Creator, Made, create_once, creation_key, left_again
from synckit.errors import NotYet

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWNER: Final = {"organization_id": "org-1", "pco_organization_id": "77"}
HORIZON: Final = timedelta(seconds=120)
UNSEEN: Final = timedelta(seconds=210)
STEPS: Final = ("posting", "posted", "storing", "looking", "found")


class Base(Columns, DeclarativeBase):
    metadata = service_metadata(outbox=False, inbox=False, jobs=True)


class Creation(CreationColumns, Base):
    __tablename__ = "creation"
    __table_args__ = (creation_key(),)


class Link(Base):
    __tablename__ = "link"

    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    pco_id: Mapped[str]


class Killed(BaseException):
    """Simulates the death of the process."""


class Taken(Exception):
    """The record has another counterpart."""


@dataclass
class Vendor:
    """Planning Center, whose reads show a created widget a horizon later."""

    clock: FakeClock
    made: list[tuple[str, Mapping[str, Any], Any]] = field(default_factory=list)

    def make(self, content: Mapping[str, Any]) -> str:
        self.made.append((str(len(self.made) + 1), dict(content), self.clock.now() + HORIZON))
        return self.made[-1][0]

    def look(self, content: Mapping[str, Any] | None) -> str | None:
        shown = [pco_id for pco_id, sent, from_ in self.made if sent == content and from_ <= self.clock.now()]
        return shown[0] if shown else None


@dataclass
class Shop:
    """One church's widgets, and the faults on the way to Planning Center."""

    sessions: Sessions
    job: JobContext
    clock: FakeClock = field(default_factory=FakeClock)
    dies: str | None = None
    fails: Exception | None = None
    """In place of the answer to a request."""
    lost: bool = False
    """Whether the request is carried out before it fails."""
    meanwhile: Callable[[], Awaitable[None]] | None = None
    """Between the request and its answer."""
    unstorable: Exception | None = None
    slipped: list[str] = field(default_factory=list)
    known: bool = False
    """Whether something may be there although its request was refused."""
    looks: int = 0

    def __post_init__(self) -> None:
        self.vendor = Vendor(self.clock)

    async def create(self, record_id: UUID, *, kind: str = "widget", **content: Any) -> Made:
        async def look(row: Creation) -> Made | None:
            self._step("looking")
            self.looks += 1
            pco_id = self.vendor.look(row.content)
            self._step("found")
            return Made(pco_id, row.content or {}) if pco_id else None

        async def post(_: Creation) -> Document:
            self._step("posting")
            if self.fails is not None:
                if self.lost:
                    self.vendor.make(content)
                raise self.fails
            pco_id = self.vendor.make(content)
            if self.meanwhile is not None:
                await self.meanwhile()
            self._step("posted")
            return document({"data": {"type": "Widget", "id": pco_id}})

        async def stored(session: AsyncSession, made: Made) -> None:
            session.add(Link(record_id=record_id, pco_id=made.pco_id))
            await session.flush()
            self._step("storing")
            if self.unstorable is not None:
                raise self.unstorable

        async def lock(session: AsyncSession) -> None:
            await session.execute(select(Link).where(Link.record_id == record_id).with_for_update())

        async def slipped(pco_id: str) -> None:
            self.slipped.append(pco_id)

        async def opened(_session: AsyncSession, _row: Creation) -> bool:
            return self.known

        creator = Creator(job=self.job, clock=self.clock, rows=Creation, owner=OWNER, unseen=UNSEEN)
        return await create_once(
            creator,
            kind,
            record_id,
            content,
            look=look,
            post=post,
            lock=lock,
            created=stored,
            slipped=slipped,
            opened=opened,
            unwanted=Taken,
        )

    async def intent(self, record_id: UUID) -> Creation:
        async with self.sessions() as session:
            return (await session.scalars(select(Creation).filter_by(record_id=record_id))).one()

    async def links(self, record_id: UUID) -> list[str]:
        async with self.sessions() as session:
            return list(await session.scalars(select(Link.pco_id).filter_by(record_id=record_id)))

    async def lose_the_job(self) -> None:
        async with self.sessions.begin() as session:
            await session.execute(update(JOB).values(fence=JOB.c.fence + 1))

    def _step(self, step: str) -> None:
        if self.dies == step:
            raise Killed


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(databases: Databases) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(await databases.empty())
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield made
    await made.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def shop(engine: AsyncEngine, databases: Databases) -> Shop:
    await databases.truncate(engine.url.render_as_string(hide_password=False))
    sessions = make_sessions(engine, "widgets")
    async with sessions.begin() as session:
        await jobs.enqueue(session, "widgets.sync", OWNER["organization_id"])

    async def nothing(*_: Any) -> None:
        return

    worker = JobWorker("widgets.sync", nothing, lease_seconds=600)
    job = await Claimer(worker, sessions, None, Wake(), lambda: None)._claim()
    assert job is not None
    return Shop(sessions, job)


async def test_one_widget_is_created_wherever_the_process_dies_twice(shop: Shop) -> None:
    for deaths in product(STEPS, repeat=2):
        widget, color = uuid4(), str(uuid4())
        for shop.dies in deaths:
            try:
                await shop.create(widget, color=color)
            except Killed:
                look_after = (await shop.intent(widget)).look_after
                assert look_after is not None
                if look_after > shop.clock.now():
                    with pytest.raises(NotYet):
                        await shop.create(widget, color=color)
                    shop.clock.advance(look_after - shop.clock.now())
            else:
                break
        shop.dies = None
        if not await shop.links(widget):
            await shop.create(widget, color=color)
        made = [pco_id for pco_id, sent, _ in shop.vendor.made if sent == {"color": color}]
        assert await shop.links(widget) == made, deaths
        intent = await shop.intent(widget)
        assert (intent.state, intent.pco_id, intent.content) == ("created", *made, None)
    assert shop.slipped == []


async def test_the_sent_content_is_looked_for_after_an_edit(shop: Shop) -> None:
    widget = uuid4()
    shop.fails, shop.lost = away(unknown=True), True
    with pytest.raises(Unavailable):
        await shop.create(widget, color="red")
    shop.fails = None
    shop.clock.advance(UNSEEN - timedelta(seconds=1))
    with pytest.raises(NotYet):
        await shop.create(widget, color="blue")
    assert shop.looks == 0
    shop.clock.advance(1)
    assert await shop.create(widget, color="blue") == Made("1", {"color": "red"})
    assert len(shop.vendor.made) == 1


async def test_a_request_is_repeated_only_after_a_search_without_a_result(shop: Shop) -> None:
    widget = uuid4()
    shop.fails = away(unknown=True)
    with pytest.raises(Unavailable):
        await shop.create(widget, color="red")
    shop.clock.advance(UNSEEN)
    with pytest.raises(Unavailable):
        await shop.create(widget, color="blue")
    assert shop.looks == 1
    intent = await shop.intent(widget)
    assert (intent.state, intent.content, intent.look_after) == ("sent", {"color": "blue"}, shop.clock.now() + UNSEEN)
    shop.clock.advance(UNSEEN)
    shop.fails = None
    assert await shop.create(widget, color="blue") == Made("1", {"color": "blue"})
    assert shop.looks == 2


@pytest.mark.parametrize("refused", [True, False])
async def test_a_request_without_an_effect_is_repeated_at_once(shop: Shop, refused: bool) -> None:
    widget = uuid4()
    shop.fails = Rejected("refused") if refused else away(unknown=False)
    with pytest.raises(PlanningCenterError):
        await shop.create(widget, color="red")
    shop.fails = None
    assert (await shop.intent(widget)).state == "intended"
    await shop.create(widget, color="red")
    assert (shop.looks, len(shop.vendor.made)) == (0, 1)


async def test_a_refused_creation_that_may_exist_is_looked_for(shop: Shop) -> None:
    widget = uuid4()
    shop.fails = Rejected("refused")
    with pytest.raises(Rejected):
        await shop.create(widget, color="red")
    shop.fails, shop.known = None, True
    shop.vendor.make({"color": "red"})  # by a request of a frozen process
    shop.clock.advance(UNSEEN)
    await shop.create(widget, color="red")
    assert (shop.looks, len(shop.vendor.made)) == (1, 1)


async def test_an_answer_after_the_loss_of_the_job_hands_over_the_record(shop: Shop) -> None:
    widget = uuid4()
    body = {"data": {"type": "Widget", "id": "17"}}
    shop.fails = AnsweredTooLate("POST", "/widgets", 201, body)
    with pytest.raises(LeaseLost):
        await shop.create(widget, color="red")
    assert shop.slipped == ["17"]
    assert (await shop.intent(widget)).state == "sent"


async def test_a_job_lost_before_storing_hands_over_the_record(shop: Shop) -> None:
    widget = uuid4()
    shop.meanwhile = shop.lose_the_job
    with pytest.raises(LeaseLost):
        await shop.create(widget, color="red")
    assert shop.slipped == ["1"]
    assert await shop.links(widget) == []
    assert (await shop.intent(widget)).state == "sent"


async def test_an_unwanted_record_is_handed_over(shop: Shop) -> None:
    """A record whose storing failed is found again."""
    taken, broken = uuid4(), uuid4()
    shop.unstorable = Taken()
    with pytest.raises(Taken):
        await shop.create(taken, color="red")
    assert shop.slipped == ["1"]
    shop.unstorable = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await shop.create(broken, color="blue")
    assert shop.slipped == ["1"]
    shop.unstorable = None
    shop.clock.advance(UNSEEN)
    assert await shop.create(broken, color="blue") == Made("2", {"color": "blue"})


async def test_a_gone_record_that_is_wanted_again_is_created_anew(shop: Shop) -> None:
    widget = uuid4()
    await shop.create(widget, color="red")
    async with shop.sessions.begin() as session:
        await session.execute(delete(Link))
    assert await shop.create(widget, color="red") == Made("2", {"color": "red"})
    assert (shop.looks, (await shop.intent(widget)).pco_id) == (0, "2")


async def test_each_kind_of_a_record_is_created_separately(shop: Shop) -> None:
    widget = uuid4()
    shop.fails = away(unknown=True)
    with pytest.raises(Unavailable):
        await shop.create(widget, kind="label", text="17")
    shop.fails = None
    assert await shop.create(widget, color="red") == Made("1", {"color": "red"})
    with pytest.raises(NotYet):
        await shop.create(widget, kind="label", text="17")


async def test_two_workers_at_once_send_one_request(shop: Shop) -> None:
    widget = uuid4()
    refused: list[NotYet] = []

    async def another() -> None:
        with pytest.raises(NotYet) as caught:
            await shop.create(widget, color="red")
        refused.append(caught.value)

    shop.meanwhile = another
    await shop.create(widget, color="red")
    assert (len(refused), len(shop.vendor.made)) == (1, 1)


async def test_a_request_of_a_worker_alive_until_now_may_be_sent_until_now(shop: Shop) -> None:
    sent, refused = uuid4(), uuid4()
    for widget, shop.fails in ((sent, away(unknown=True)), (refused, Rejected("refused"))):
        with pytest.raises(PlanningCenterError):
            await shop.create(widget, color="red")
    before = (await shop.intent(refused)).look_after
    shop.clock.advance(UNSEEN - timedelta(seconds=10))
    async with shop.sessions.begin() as session:
        await session.execute(left_again(Creation, shop.clock.now(), HORIZON))
    assert (await shop.intent(sent)).look_after == shop.clock.now() + HORIZON
    assert (await shop.intent(refused)).look_after == before


def away(*, unknown: bool) -> Unavailable:
    return Unavailable("away", reason=Reason.TIMEOUT, outcome_unknown=unknown)
