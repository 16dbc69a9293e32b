"""All of synckit, used by a product that is no copy of People (`support/giving.py`)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from giving import (
    BOOKED,
    GIVING,
    PLANNED,
    REFUSED,
    Base,
    Gift,
    GivingConnection,
    GivingRun,
    GivingSettings,
    Vendor,
    carry_out,
)
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import create_async_engine

from contracts.events.auth_connection_v1 import ConnectionAuthorized, ConnectionFact
from contracts.http.common import PageQuery
from contracts.identity import UserIdentity
from pco_client.errors import Forbidden, Reason, Unavailable, UnexpectedAnswer
from servicekit.db.notify import Wake
from servicekit.db.sessions import Sessions, make_sessions
from servicekit.db.tables import JOB
from servicekit.errors import Conflict, NotFound
from servicekit.jobs import queue as jobs
from servicekit.jobs.worker import Claimer, JobWorker
from servicekit.testing import Databases, FakeClock, eventually
from synckit import changes, retention, rounds, runs
from synckit.connections import Before, follow
from synckit.errors import Wait
from synckit.progress import Pace
from synckit.report import publish
from synckit.sentences import NOT_UNDERSTOOD, STOPPED, WAITING_FOR_RECONNECT, WAITING_FOR_VENDOR

pytestmark = pytest.mark.asyncio(loop_scope="session")
ADA = UserIdentity(
    user_id="ada", name="Ada", organization_id="church", organization_name="First Church", roles=("admin",)
)
SMALL = [[("1", 100), ("2", -5)], [("3", 200)], [("4", -7), ("5", 300)]]
LARGE = [[("1", 5_000)], [("2", 50)]]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def sessions(databases: Databases) -> AsyncIterator[Sessions]:
    engine = create_async_engine(await databases.empty())
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield make_sessions(engine, "calendar-sync")
    await engine.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def church(sessions: Sessions) -> str:
    """An organization with Giving connected, without rows of earlier tests."""
    organization_id = f"church-{uuid4().hex[:8]}"
    async with sessions.begin() as session:
        await session.execute(text("TRUNCATE job, outbox, giving_run, gift, giving_connection, giving_settings"))
        await follow(session, GivingConnection, fact(organization_id))
    return organization_id


def fact(organization_id: str, version: int = 1, **values: Any) -> ConnectionFact:
    return ConnectionAuthorized(
        **{
            "organization_id": organization_id,
            "version": version,
            "product": "giving",
            "generation": 1,
            "state": "connected",
            "pco_organization_id": "77",
            "pco_organization_name": "First Church",
            "pco_person_id": "2",
            "occurred_at": datetime.now(UTC),
            **values,
        }
    )


async def start(sessions: Sessions, church: str, trigger: str = "person") -> tuple[GivingRun, bool]:
    async with sessions.begin() as session:
        connection = await runs.connected(session, GIVING, church)
        user = ADA if trigger == "person" else None
        of_run = {"kind": "full", "phase": "read", "year": 2026}
        return await runs.start(session, GIVING, connection, trigger, user, **of_run)


async def work_on(sessions: Sessions, vendor: Vendor) -> None:
    """Let a worker claim one due job."""
    worker = JobWorker(GIVING.job, carry_out, lease_seconds=30)
    await Claimer(worker, sessions, vendor, Wake(), lambda: None).step()


async def found(sessions: Sessions, run: GivingRun) -> GivingRun:
    async with sessions() as session:
        return await runs.find(session, GIVING, run.organization_id, str(run.id))


async def job_of(sessions: Sessions, run: GivingRun) -> Any:
    async with sessions() as session:
        return (await session.execute(select(JOB).where(JOB.c.id == run.id))).one()


async def told(sessions: Sessions) -> list[str]:
    """Published facts with their states, in order."""
    async with sessions() as session:
        rows = await session.execute(
            text(
                "SELECT headers->>'ce_type' || ' ' || (convert_from(value, 'UTF8')::jsonb->'run'->>'state') "
                "FROM outbox ORDER BY id"
            )
        )
        return list(rows.scalars())


async def connection_of(sessions: Sessions, church: str) -> GivingConnection:
    async with sessions() as session:
        return await session.get_one(GivingConnection, church)


async def test_a_run_is_started_joined_executed_and_read(sessions: Sessions, church: str) -> None:
    run, new = await start(sessions, church, "schedule")
    joined, second = await start(sessions, church)
    assert (new, second, joined.id) == (True, False, run.id)
    assert (await job_of(sessions, run)).urgent, "somebody waits for it now"
    await work_on(sessions, Vendor(SMALL))
    run = await found(sessions, run)
    assert (run.state, run.counts, run.year) == ("done", {BOOKED: 3, REFUSED: 2}, 2026)
    assert (run.requests, run.trigger, run.started_by) == (3, "schedule", None)
    assert await told(sessions) == ["SyncRunStarted queued", "SyncRunFinished done"]
    assert (await job_of(sessions, run)).state == "done"

    later, _ = await start(sessions, church)
    async with sessions() as session:
        first = await runs.history(session, GIVING, church, PageQuery(limit=1))
        rest = await runs.history(session, GIVING, church, PageQuery(limit=1, after=first.next))
        finished = await runs.history(session, GIVING, church, PageQuery(), GivingRun.state == "done")
        strangers = await runs.history(session, GIVING, "stranger", PageQuery())
    assert [one.id for one in (*first.items, *rest.items)] == [str(later.id), str(run.id)]
    assert rest.next is None
    assert [one.progress.noun for one in finished.items] == ["bookings"]
    assert strangers.items == ()


async def test_no_start_without_a_connection_and_no_access_to_others(sessions: Sessions, church: str) -> None:
    with pytest.raises(Conflict, match="Planning Center Giving is not connected"):
        await start(sessions, "stranger")
    run, _ = await start(sessions, church)
    async with sessions() as session:
        for name in (str(run.id), "no id"):
            with pytest.raises(NotFound):
                await runs.find(session, GIVING, "stranger", name)


async def test_a_run_without_a_worker_stops_at_once_and_keeps_the_schedule(sessions: Sessions, church: str) -> None:
    async with sessions.begin() as session:
        session.add(GivingSettings(organization_id=church, days=7))
    run, _ = await start(sessions, church)
    async with sessions.begin() as session:
        stopped = await runs.stop(session, GIVING, church, str(run.id))
        again = await runs.stop(session, GIVING, church, str(run.id))
    assert (stopped.state, stopped.message, again.version) == ("stopped", STOPPED, stopped.version)
    assert await told(sessions) == ["SyncRunStarted queued", "SyncRunFinished stopped"]
    next_run_at = (await connection_of(sessions, church)).next_run_at
    assert next_run_at is not None
    assert timedelta(days=6) < next_run_at - datetime.now(UTC) < timedelta(days=8)


async def test_a_run_with_a_worker_stops_after_its_step(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    vendor = Vendor(SMALL)

    async def press(page: int) -> None:
        if page == 1:
            async with sessions.begin() as session:
                assert (await runs.stop(session, GIVING, church, str(run.id))).state == "stopping"

    vendor.meanwhile = press
    await work_on(sessions, vendor)
    run = await found(sessions, run)
    assert (run.state, run.message, run.counts) == ("stopped", STOPPED, {"not_done": 3})
    assert vendor.read == [0, 1]
    assert (await job_of(sessions, run)).state == "cancelled"
    assert (await connection_of(sessions, church)).next_run_at is not None


async def test_an_answer_is_bound_to_the_shown_question(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    vendor = Vendor(LARGE)
    await work_on(sessions, vendor)
    run = await found(sessions, run)
    assert run.question is not None
    assert (run.state, run.waiting_for) == ("waiting", "Waiting for a treasurer.")
    assert run.question["counts"] == {"dollars": 5_050}
    digest = run.question["digest"]

    async def answer(answer: str, digest: str | None, question: str = "plan") -> GivingRun:
        async with sessions.begin() as session:
            asked = await runs.asked(session, GIVING, church, str(run.id), question, answer)
            runs.check_shown(asked, digest)
            answered = runs.answered(asked, question, answer, ADA, vendor.clock.now())
            return await runs.go_on(session, GIVING, asked, {question: answer}, answered)

    refused: list[tuple[str, str | None, str, str]] = [
        ("approve", "of yesterday", "plan", "plan-moved"),
        ("approve", None, "plan", "plan-moved"),
        ("perhaps", digest, "plan", "unknown-answer"),
        ("approve", digest, "threshold", "no-question"),
    ]
    for given, of, question, problem in refused:
        with pytest.raises(Conflict) as said:
            await answer(given, of, question)
        assert said.value.type == problem
    assert (await found(sessions, run)).version == run.version, "a refused answer changes nothing"

    assert (await answer("approve", digest)).state == "queued"
    with pytest.raises(Conflict, match="Ada has answered this: approve"):
        await answer("approve", digest)
    await work_on(sessions, vendor)
    run = await found(sessions, run)
    assert (run.state, run.counts) == ("done", {BOOKED: 2})
    assert [(one["question"], one["answer"], one["by_name"]) for one in run.answered] == [("plan", "approve", "Ada")]
    assert vendor.read == [0, 1], "what was read before the question is not read again"
    states = ["SyncRunProgressed waiting", "SyncRunProgressed queued"]
    assert await told(sessions) == ["SyncRunStarted queued", *states, "SyncRunFinished done"]


async def test_a_run_waits_longer_each_time_the_vendor_is_away(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    vendor = Vendor(SMALL)
    waits = []

    async def away(page: int) -> None:
        if page == 1:
            raise Unavailable("away", reason=Reason.STATUS, outcome_unknown=False)

    vendor.meanwhile = away
    for _ in range(3):
        await work_on(sessions, vendor)  # its clock is behind, so every wait is over for PostgreSQL
        waits.append(((await job_of(sessions, run)).run_after - vendor.clock.now()).total_seconds())
    assert waits == [5, 10, 20]
    run = await found(sessions, run)
    assert (run.state, run.waiting_for) == ("waiting", WAITING_FOR_VENDOR)
    assert (await told(sessions)).count("SyncRunProgressed waiting") == 3
    vendor.meanwhile = None
    await work_on(sessions, vendor)
    run = await found(sessions, run)
    assert (run.state, run.counts, vendor.read) == ("done", {BOOKED: 3, REFUSED: 2}, [0, 1, 2])


async def test_a_product_can_postpone_a_run(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    vendor = Vendor(SMALL)
    until = datetime.now(UTC) + timedelta(hours=1)

    async def settle(page: int) -> None:
        raise Wait(until, "Waiting for the bank.")

    vendor.meanwhile = settle
    await work_on(sessions, vendor)
    job = await job_of(sessions, run)
    assert (job.state, job.run_after, job.checkpoint) == ("waiting", until, {"waits": 0})
    assert (await found(sessions, run)).waiting_for == "Waiting for the bank."


async def test_a_run_waits_for_a_reconnect_and_is_resumed_by_it(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    async with sessions.begin() as session:
        await follow(session, GivingConnection, fact(church, 2, state="reconnect_required"))
    vendor = Vendor(SMALL, clock=FakeClock(datetime.now(UTC)))
    await work_on(sessions, vendor)
    assert (await found(sessions, run)).waiting_for == WAITING_FOR_RECONNECT
    async with sessions.begin() as session:
        await jobs.resume(session, run.id)
    await work_on(sessions, vendor)
    assert (await told(sessions))[1:] == ["SyncRunProgressed waiting"], "the same wait is told once"
    async with sessions.begin() as session:
        await follow(session, GivingConnection, fact(church, 3))
        await runs.resume_waiting(session, GIVING, church)
    await work_on(sessions, vendor)
    assert (await found(sessions, run)).state == "done"


async def test_the_end_of_a_connection_stops_its_run(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    async with sessions.begin() as session:
        await follow(session, GivingConnection, fact(church, 2, state="closing"))
        await runs.stop_open(session, GIVING, church)
    assert (await found(sessions, run)).state == "stopped"
    assert (await connection_of(sessions, church)).next_run_at is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Forbidden("no", wrong_path_possible=False, user_agent_possible=False), GIVING.role_is_gone),
        (UnexpectedAnswer("what"), NOT_UNDERSTOOD),
    ],
)
async def test_a_permanent_error_ends_the_run(sessions: Sessions, church: str, error: Exception, said: str) -> None:
    run, _ = await start(sessions, church)

    async def refuse(_: int) -> None:
        raise error

    await work_on(sessions, Vendor(SMALL, meanwhile=refuse))
    run = await found(sessions, run)
    assert (run.state, run.message) == ("failed", said)
    assert ((await job_of(sessions, run)).state, (await job_of(sessions, run)).error) == ("failed", said)


async def test_a_worker_without_its_lease_writes_nothing_and_the_next_resumes(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    paused, thawed = asyncio.Event(), asyncio.Event()

    async def pause(page: int) -> None:
        if page == 1:
            paused.set()
            await thawed.wait()

    first, second = Vendor(SMALL, meanwhile=pause), Vendor(SMALL)
    frozen = asyncio.create_task(work_on(sessions, first))
    await asyncio.wait_for(paused.wait(), 30)
    async with sessions.begin() as session:
        over = func.clock_timestamp() - timedelta(seconds=1)
        await session.execute(update(JOB).where(JOB.c.id == run.id).values(lease_until=over))
    await work_on(sessions, second)
    thawed.set()
    await frozen
    run = await found(sessions, run)
    assert (run.state, run.counts) == ("done", {BOOKED: 3, REFUSED: 2})
    assert (first.read, second.read) == ([0, 1], [1, 2])
    assert (await told(sessions)).count("SyncRunFinished done") == 1


async def test_every_number_has_its_list(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    await work_on(sessions, Vendor(SMALL))
    async with sessions.begin() as session:
        # The second row of the page has no id any more, and the next page still continues after it.
        await session.execute(update(Gift).where(Gift.run_id == run.id, Gift.pco_id == "3").values(pco_id=None))
    async with sessions() as session:
        booked = changes.changes_of(Gift, run.id, BOOKED)
        first = await changes.page_of(session, Gift, run.id, booked, PageQuery(limit=2))
        rest = await changes.page_of(session, Gift, run.id, booked, PageQuery(limit=2, after=first.next))
        groups = await changes.groups(session, Gift, run.id, REFUSED)
        planned = await changes.groups(session, Gift, run.id, PLANNED)
    assert ([one.pco_id for one in first.rows], first.total) == (["1", None], 3)
    assert ([one.pco_id for one in rest.rows], rest.next, rest.total) == (["5"], None, None)
    (group,) = groups
    assert (group.cause, group.sentence, group.count) == ("negative", "A gift cannot be negative.", 2)
    assert [one.pco_id for one in group.examples] == ["2", "4"]
    assert planned == []


async def test_the_time_left_covers_the_whole_run_and_names_an_active_limit(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    vendor = Vendor([[(f"{number}", 1)] for number in range(12)])
    seen: list[tuple[Any, ...]] = []
    booked: list[dict[str, int]] = []

    async def look(page: int) -> None:
        if page == len(vendor.pages):
            await publish(vendor.reports[-1], None)
            booked.append((await found(sessions, run)).counts)
        if page not in {1, 2, 3}:
            return
        # With 2 requests per 20 s the remaining pages take that long, followed by the booking.
        pace = Pace(2, 20, wait_seconds=15.0 if page == 2 else 0.0)
        await publish(vendor.reports[-1], pace)
        now = await found(sessions, run)
        seen.append((now.done, now.total, now.eta_low, now.eta_high, now.waiting_for))

    vendor.meanwhile = look
    await work_on(sessions, vendor)
    waiting = "Planning Center allows 2 requests in 20 s; 15 s to go."
    # The first report of a phase has no observed rate: at best the allowed one, at worst half of it.
    assert seen == [
        (1, 12, 110 + 10, 220 + 20, None),
        (2, 12, 15 + 100 + 10, 15 + 100 + 20, waiting),
        (3, 12, 90 + 10, 90 + 20, None),
    ]
    assert booked == [{BOOKED: 12}], "numbers grow while the run goes on"
    assert (await told(sessions)).count("SyncRunProgressed running") >= 4
    done = await found(sessions, run)
    assert (done.state, done.eta_low, done.eta_high, done.requests) == ("done", None, None, 12)


async def test_a_run_left_open_by_its_job_is_ended(sessions: Sessions, church: str) -> None:
    run, _ = await start(sessions, church)
    async with sessions.begin() as session:
        over = {"state": "failed", "error": "It broke.", "finished_at": func.now()}
        await session.execute(update(JOB).where(JOB.c.id == run.id).values(**over))
    await rounds.until_none(sessions, runs.ABANDONED_AT_ONCE, lambda session: runs.end_abandoned(session, GIVING))
    run = await found(sessions, run)
    assert run.state == "failed"
    assert run.message is not None
    assert "It broke." in run.message


async def test_due_items_are_worked_off_until_none_is_left(sessions: Sessions, church: str) -> None:
    churches = [f"{church}-{number}" for number in range(2 * runs.DUE_AT_ONCE + 1)]
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    async with sessions.begin() as session:
        for one in churches:
            await follow(session, GivingConnection, fact(one), next_run_at=long_ago)
        await follow(session, GivingConnection, fact(churches[0], 2, state="disconnected"))
    sizes = []

    async def some(session: Any) -> int:
        due = await runs.due(session, GivingConnection, GivingConnection.next_run_at, func.now())
        for connection in due:
            connection.next_run_at = None
        sizes.append(len(due))
        return len(due)

    async with sessions() as other:
        # Another process has locked the oldest ones, which are left to it.
        await runs.due(other, GivingConnection, GivingConnection.next_run_at, func.now())
        await rounds.until_none(sessions, runs.DUE_AT_ONCE, some)
    assert sizes == [runs.DUE_AT_ONCE, 0]
    await rounds.until_none(sessions, runs.DUE_AT_ONCE, some)
    assert sizes[2:] == [runs.DUE_AT_ONCE, 0]


async def test_lists_are_deleted_before_numbers_and_the_newest_run_stays(sessions: Sessions, church: str) -> None:
    older, _ = await start(sessions, church)
    await work_on(sessions, Vendor(SMALL))
    newer, _ = await start(sessions, church)
    await work_on(sessions, Vendor(SMALL))
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert await retention.forget_lists(sessions, GivingRun, Gift, soon) == 10
    assert await retention.forget_runs(sessions, GivingRun, soon) == 1
    async with sessions() as session:
        left: list[UUID] = list(await session.scalars(select(GivingRun.id)))
    assert left == [newer.id]
    assert older.id != newer.id


async def test_the_newest_fact_of_a_connection_is_stored(sessions: Sessions, church: str) -> None:
    async def took(version: int, **values: Any) -> Any:
        async with sessions.begin() as session:
            return await follow(session, GivingConnection, fact(church, version, **values))

    closing = await took(3, state="closing", generation=2)
    assert closing.before == Before("77", "connected", 1, 1)
    assert not closing.moved
    for late in (3, 2, 1):
        assert await took(late, pco_organization_id="other") is None
    moved = await took(4, pco_organization_id="78", pco_organization_name="Second Church")
    assert moved.moved
    row = await connection_of(sessions, church)
    assert (row.state, row.version, row.pco_organization_name) == ("connected", 4, "Second Church")


@pytest.mark.parametrize(("known", "versions"), [(False, (2, 3)), (False, (3, 2)), (True, (2, 3)), (True, (3, 2))])
async def test_of_two_concurrent_facts_the_newer_one_is_stored(
    sessions: Sessions, church: str, known: bool, versions: tuple[int, int]
) -> None:
    organization_id = church if known else f"{church}-new"
    earlier, later = (fact(organization_id, version, generation=version) for version in versions)
    async with sessions() as first:
        followed = await follow(first, GivingConnection, earlier)
        assert followed is not None
        assert (followed.before is not None) is known

        async def second() -> Any:
            async with sessions.begin() as session:
                return await follow(session, GivingConnection, later)

        waiting = asyncio.create_task(second())

        async def blocked() -> bool:
            async with sessions() as session:
                query = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
                return bool(await session.scalar(text(query)))

        await eventually(blocked, every=0.02)
        await first.commit()
        followed = await waiting
    assert (followed is not None) is (versions == (2, 3))
    assert followed is None or followed.before == Before("77", "connected", 2, 2)
    assert (await connection_of(sessions, organization_id)).generation == 3
