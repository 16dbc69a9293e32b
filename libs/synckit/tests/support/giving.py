"""A product that is no copy of People: gifts recorded in Planning Center are booked here.

Its runs read page by page, ask about large sums, and book gift by gift. A plain object stands for Planning Center,
because synckit itself sends no requests.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from contracts.events.calendar_sync_run_v1 import SyncRunFinished, SyncRunProgressed, SyncRunStarted
from contracts.sync_runs import RunQuestion
from servicekit.db.sessions import Columns, service_metadata
from servicekit.jobs.worker import JobContext
from servicekit.testing import FakeClock
from synckit import changes, work
from synckit.errors import NotConnected
from synckit.product import Product
from synckit.progress import Ahead, Pace
from synckit.report import Report, reporting
from synckit.requests import Requests
from synckit.tables import ChangeColumns, RunColumns, ScheduledConnection, change_indexes, run_indexes

BOOKED: Final = "booked"
REFUSED: Final = "refused"
PLANNED: Final = "planned"
LARGE: Final = 1_000
"""A run whose gifts come to more asks first."""


class Base(Columns, DeclarativeBase):
    """The product's declarative base."""

    metadata = service_metadata(jobs=True)


class GivingConnection(ScheduledConnection, Base):
    """A connection with one column from the facts, and one of the product's own."""

    __tablename__ = "giving_connection"

    pco_organization_name: Mapped[str]
    newest_gift: Mapped[str | None]


class GivingSettings(Base):
    """The administrators' settings."""

    __tablename__ = "giving_settings"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    days: Mapped[int]
    """Between runs."""


class GivingRun(RunColumns, Base):
    """A run about one year."""

    __tablename__ = "giving_run"
    __table_args__ = run_indexes("giving_run")

    year: Mapped[int]


class Gift(ChangeColumns, Base):
    """A gift in a run, without a record of its own here."""

    __tablename__ = "gift"
    __table_args__ = change_indexes("gift")

    amount: Mapped[int]
    """In whole dollars; a negative one is refused."""


async def _interval(session: AsyncSession, organization_id: str) -> timedelta:
    chosen = await session.get(GivingSettings, organization_id)
    return timedelta(days=chosen.days if chosen else 1)


async def _let_go(session: AsyncSession, run_id: UUID) -> dict[str, int]:
    await session.execute(update(Gift).where(Gift.run_id == run_id, Gift.outcome == PLANNED).values(outcome="not_done"))
    return await changes.counts(session, Gift, run_id)


GIVING: Final = Product(
    name="giving",
    job="giving.run",
    runs=GivingRun,
    connections=GivingConnection,
    settings=GivingSettings,
    started=SyncRunStarted,
    progressed=SyncRunProgressed,
    finished=SyncRunFinished,
    nouns={"read": "gifts", "book": "bookings"},
    role_is_gone="They need to be a manager of Giving.",
    interval=_interval,
    let_go=_let_go,
)


@dataclass(slots=True)
class Vendor:
    """A stand-in for Planning Center and this process."""

    pages: list[list[tuple[str, int]]]
    """Gifts by page: id and amount."""
    clock: FakeClock = field(default_factory=FakeClock)
    pace: Pace | None = None
    meanwhile: Callable[[int], Awaitable[None]] | None = None
    """Called with the number of a page before it is read, and with their count when all is booked; may raise what a
    request would."""
    read: list[int] = field(default_factory=list)
    """Pages, in the order in which they were asked for."""
    reports: list[Report[GivingRun, GivingConnection]] = field(default_factory=list)

    async def page(self, number: int, requests: Requests) -> list[tuple[str, int]]:
        """One page of gifts."""
        if self.meanwhile:
            await self.meanwhile(number)
        requests.sent += 1
        requests.unwritten += 1
        self.read.append(number)
        return self.pages[number]

    async def said(self) -> Pace | None:
        """The limits of its latest headers."""
        return self.pace


@dataclass(slots=True)
class Where:
    """The checkpoint."""

    page: int = 0
    waits: int = 0


async def carry_out(job: JobContext, vendor: Vendor) -> None:
    """Read, ask, book."""
    requests = Requests()
    async with work.carrying_out(GIVING, job, requests, vendor.clock.now):
        async with job.transaction() as session:
            connection = await session.get_one(GivingConnection, job.organization_id)
            if connection.state != "connected":
                raise NotConnected(GIVING.name)
            run = await work.begun(session, GIVING, job, vendor.clock.now())
        report = Report(
            product=GIVING,
            job=job,
            requests=requests,
            pace=vendor.said,
            requests_left=lambda run, left, _: left if run.phase == "read" else None,
            look_ahead=_look_ahead,
            counts=_so_far,
        )
        vendor.reports.append(report)
        async with reporting(report):
            await _read(job, vendor, requests)
            if not await _may_book(job, vendor, run.answers):
                return
            await _book(job, requests)
            if vendor.meanwhile:
                await vendor.meanwhile(len(vendor.pages))
        async with job.transaction() as session:
            counts = await changes.counts(session, Gift, job.id)
            now: datetime = vendor.clock.now()
            await work.finish(session, GIVING, job, "done", None, counts=counts, finished_at=now)


async def _look_ahead(session: AsyncSession, run: GivingRun) -> Callable[[GivingRun], Ahead]:
    return lambda run: Ahead((10.0, 20.0)) if run.phase == "read" else Ahead()


async def _so_far(session: AsyncSession, run: GivingRun) -> dict[str, int] | None:
    return await changes.counts(session, Gift, run.id, Gift.outcome != PLANNED) if run.phase == "book" else None


async def _read(job: JobContext, vendor: Vendor, requests: Requests) -> None:
    where = Where(**(job.data or {}))
    for number in range(where.page, len(vendor.pages)):
        found = await vendor.page(number, requests)
        async with job.transaction() as session:
            of_run = {"organization_id": job.organization_id, "run_id": job.id, "kind": "gift", "outcome": PLANNED}
            gifts = [of_run | {"pco_id": one, "name": f"Gift {one}", "amount": amount} for one, amount in found]
            await session.execute(insert(Gift), gifts)
            checkpoint, total = asdict(Where(number + 1)), len(vendor.pages)
            await work.keep(session, GIVING, job, requests, checkpoint, done=number + 1, total=total)
        job.stop_if_requested()


async def _may_book(job: JobContext, vendor: Vendor, answers: dict[str, Any]) -> bool:
    async with job.transaction() as session:
        rows = await session.execute(select(Gift.pco_id, Gift.amount).where(Gift.run_id == job.id).order_by(Gift.id))
        gifts = rows.all()
        total = sum(amount for _, amount in gifts)
        if "plan" in answers or total <= LARGE:
            return True
        digest = blake2b(repr(gifts).encode(), digest_size=8).hexdigest()
        question = RunQuestion(kind="plan", digest=digest, counts={"dollars": total}, answers=("approve", "stop"))
        waiting_for = "Waiting for a treasurer."
        await work.ask(session, GIVING, job, question, job.data or {}, vendor.clock.now(), waiting_for=waiting_for)
        return False


async def _book(job: JobContext, requests: Requests) -> None:
    async with job.transaction() as session:
        of_run = (Gift.run_id == job.id, Gift.outcome == PLANNED)
        refused = {"outcome": REFUSED, "cause": "negative", "sentence": "A gift cannot be negative."}
        silent = {"synchronize_session": False}
        await session.execute(update(Gift).where(*of_run, Gift.amount < 0).values(**refused), execution_options=silent)
        await session.execute(update(Gift).where(*of_run).values(outcome=BOOKED), execution_options=silent)
        done = await session.scalar(select(func.count(Gift.id)).where(Gift.run_id == job.id))
        await work.keep(session, GIVING, job, requests, job.data or {}, phase="book", done=done, total=done)
