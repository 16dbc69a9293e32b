"""Jobs survive the kill of their worker, and a worker that was away too long commits nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from sample_service.main import Settings, create_app
from sqlalchemy import delete, func, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine

from servicekit.clock import elapsed
from servicekit.db.notify import Listener, Wake
from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions, make_sessions
from servicekit.db.tables import INBOX
from servicekit.errors import NotFound, PermanentError, TransientError
from servicekit.ids import uuid7_at
from servicekit.jobs import queue as jobs
from servicekit.jobs.queue import LeaseLost
from servicekit.jobs.worker import Claimer, JobContext, JobWorker
from servicekit.kafka import inbox
from servicekit.testing import KeyRing, eventually, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")
SUPPORT = Path(__file__).parents[1] / "support"


@contextmanager
def process(url: str, kafka: str, keys: KeyRing, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """The sample service as a process of its own."""
    started = subprocess.Popen(
        [sys.executable, "-m", "sample_service"],
        env={
            **os.environ,
            "PYTHONPATH": str(SUPPORT),
            "DATABASE_URL": url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "HTTP_PORT": "0",
            "OPERATOR_PORT": "0",
            "SIGNING_KEY": keys.signing_key("people-sync"),
            "TRUSTED_KEYS": keys.trusted_keys,
            "LEASE_SECONDS": "2",
            "STEP_SECONDS": "0.2",
            **environment,
        },
        stdout=subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


async def enqueue(
    sessions: Sessions, organization: str = "org-1", kind: str = "run", *, urgent: bool = False, **payload: Any
) -> UUID:
    async with sessions.begin() as session:
        job_id, _ = await jobs.enqueue(session, kind, organization, payload or {"pages": 10}, urgent=urgent)
    return job_id


async def row(sessions: Sessions, job_id: UUID) -> Any:
    async with sessions() as session:
        return (await session.execute(text("SELECT * FROM job WHERE id = :id"), {"id": job_id})).one()


async def pages(sessions: Sessions, job_id: UUID) -> list[tuple[int, int]]:
    """(page, fence) of every step that was committed, in order."""
    async with sessions() as session:
        rows = await session.execute(
            text("SELECT detail FROM effect WHERE detail LIKE :like ORDER BY number"), {"like": f"{job_id}:%"}
        )
        return [(int(page), int(fence)) for _, page, fence in (detail.split(":") for detail in rows.scalars())]


def in_state(sessions: Sessions, job_id: UUID, state: str) -> Any:
    async def check() -> bool:
        found = await row(sessions, job_id)
        assert found.state == state, f"{found.state}: {found.error}"
        return True

    return check


async def test_a_worker_killed_mid_job_is_followed_by_another_at_the_checkpoint(
    url: str, sessions: Sessions, kafka_server: str, keys: KeyRing
) -> None:
    job_id = await enqueue(sessions)
    with process(url, kafka_server, keys) as first:

        async def third_page() -> bool:
            return len(await pages(sessions, job_id)) >= 3

        await eventually(third_page)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert (await row(sessions, job_id)).state == "running", "nobody was there to say goodbye"
    app = create_app(keys.settings(Settings, database_url=url, kafka=kafka_server))
    async with serve(app, ready=False):
        await eventually(in_state(sessions, job_id, "done"))
    done = await pages(sessions, job_id)
    assert [page for page, _ in done] == list(range(10)), "every page once, none lost, none twice"
    assert {fence for _, fence in done} == {1, 2}


async def test_a_worker_paused_past_its_lease_cannot_commit(
    url: str, sessions: Sessions, kafka_server: str, keys: KeyRing
) -> None:
    job_id = await enqueue(sessions, pages=8)
    with process(url, kafka_server, keys) as paused:

        async def begun() -> bool:
            return len(await pages(sessions, job_id)) >= 2

        await eventually(begun)
        os.kill(paused.pid, signal.SIGSTOP)
        app = create_app(keys.settings(Settings, database_url=url, kafka=kafka_server, step_seconds=0.5))
        async with serve(app, ready=False):

            async def taken_over() -> bool:
                return any(fence == 2 for _, fence in await pages(sessions, job_id))

            await eventually(taken_over)
            os.kill(paused.pid, signal.SIGCONT)  # it wakes while the other works, and wants to go on
            await eventually(in_state(sessions, job_id, "done"))
    done = await pages(sessions, job_id)
    assert [page for page, _ in done] == list(range(8))
    fences = [fence for _, fence in done]
    assert fences == sorted(fences), "nothing of the old claim after the first of the new"


async def test_two_simultaneous_starts_make_one_job(sessions: Sessions) -> None:
    async def press() -> tuple[UUID, bool]:
        async with sessions.begin() as session:
            return await jobs.enqueue(session, "run", "org-press", {})

    results = await asyncio.gather(*(press() for _ in range(15)))
    assert len({job_id for job_id, _ in results}) == 1
    assert sum(created for _, created in results) == 1


async def test_over_http_a_second_press_joins(client: httpx.AsyncClient, keys: KeyRing) -> None:
    headers = keys.user_headers("people-sync", organization_id="org-http-job")
    first, second = (
        (await client.post("/runs", headers=headers)).json(),
        (await client.post("/runs", headers=headers)).json(),
    )
    assert first["created"]
    assert second == {"id": first["id"], "created": False}


async def test_another_organization_cannot_see_a_job(sessions: Sessions) -> None:
    job_id = await enqueue(sessions, "org-mine")
    async with sessions() as session:
        assert (await jobs.get(session, job_id, "org-mine")).state == "queued"
        with pytest.raises(NotFound):
            await jobs.get(session, job_id, "org-other")


@asynccontextmanager
async def working(
    sessions: Sessions,
    run: Any,
    *,
    kind: str = "run",
    concurrency: int = 1,
    urgent_slots: int = 0,
    lease: float = 2.0,
    turn: float = 30.0,
    wake: Callable[[], Wake] = Wake,
) -> AsyncIterator[None]:
    """Claimers in this process."""
    worker = JobWorker(
        kind, run, concurrency=concurrency, urgent_slots=urgent_slots, lease_seconds=lease, turn_seconds=turn
    )
    bells = [wake(), wake()]

    async def loop(*, only_urgent: bool) -> None:
        claimer = Claimer(worker, sessions, None, bells[only_urgent], lambda: None, only_urgent=only_urgent)
        while True:
            await claimer.step()

    tasks = [asyncio.create_task(loop(only_urgent=number >= concurrency)) for number in range(worker.slots)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_lease_is_renewed_for_as_long_as_the_job_takes(sessions: Sessions) -> None:
    claims: list[int] = []

    async def run(job: JobContext, _: Any) -> None:
        claims.append(job.fence)
        await asyncio.sleep(2.5)  # several leases
        job.check(seconds=0.3)

    job_id = await enqueue(sessions)
    async with working(sessions, run, concurrency=2, lease=0.9):
        await eventually(in_state(sessions, job_id, "done"))
    assert claims == [1]


async def test_a_blocked_event_loop_notices_that_its_lease_is_over(sessions: Sessions) -> None:
    seen: list[Any] = []

    async def run(job: JobContext, _: Any) -> None:
        if job.fence == 1:
            time.sleep(1.2)  # noqa: ASYNC251 - the point: nothing can renew meanwhile
            with pytest.raises(LeaseLost) as caught:
                job.check()
            seen.append(caught.value)
            raise caught.value

    job_id = await enqueue(sessions)
    async with working(sessions, run, lease=1.0):
        await eventually(in_state(sessions, job_id, "done"))
    assert len(seen) == 1
    assert (await row(sessions, job_id)).fence == 2


async def test_a_worker_that_lost_its_lease_still_gets_pending_answers(sessions: Sessions) -> None:
    under_way, lost = asyncio.Event(), asyncio.Event()
    learnt: list[float] = []

    async def run(job: JobContext, _: Any) -> None:
        if job.fence > 1:
            return
        under_way.set()

        async def request() -> None:
            while job.lease_left() > 0:  # noqa: ASYNC110 - the answer comes after the loss is known
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

        await request()
        learnt.append(job.lease_left())
        with pytest.raises(LeaseLost):
            job.check()
        lost.set()
        await asyncio.sleep(60)

    job_id = await enqueue(sessions)
    async with working(sessions, run, lease=0.9):
        await under_way.wait()
        async with sessions.begin() as session:  # another has claimed it, and is gone already
            taken = "UPDATE job SET fence = fence + 1, lease_owner = 'other', lease_until = now() WHERE id = :id"
            await session.execute(text(taken), {"id": job_id})
        await asyncio.wait_for(lost.wait(), 20)
        assert learnt[0] < 0


async def test_stop_safely(sessions: Sessions) -> None:
    begun = asyncio.Event()

    async def run(job: JobContext, _: Any) -> None:
        begun.set()
        while True:
            await asyncio.sleep(0.02)
            job.stop_if_requested()

    running = await enqueue(sessions, "org-stop-running")
    async with working(sessions, run, lease=0.5):
        await begun.wait()
        async with sessions.begin() as session:
            assert await jobs.request_stop(session, running) == "running"
        await eventually(in_state(sessions, running, "cancelled"))
    queued = await enqueue(sessions, "org-stop-queued")
    async with sessions.begin() as session:
        assert await jobs.request_stop(session, queued) == "cancelled"
        assert await jobs.request_stop(session, queued) is None
    again = await enqueue(sessions, "org-stop-running")
    assert again != running
    assert (await row(sessions, again)).state == "queued"
    async with sessions.begin() as session:
        await jobs.request_stop(session, again)


async def test_waiting_for_a_person_and_for_a_time(sessions: Sessions) -> None:
    async def run(job: JobContext, _: Any) -> None:
        step = (job.data or {"step": 0})["step"]
        async with job.sessions.begin() as session:
            if step == 0:
                await job.wait(session, {"step": 1})
            elif step == 1:
                await job.wait(session, {"step": 2}, until=datetime.now(UTC))
            else:
                await job.finish(session)

    job_id = await enqueue(sessions)
    async with working(sessions, run):
        await eventually(in_state(sessions, job_id, "waiting"))
        async with sessions.begin() as session:
            assert await jobs.resume(session, job_id)
        await eventually(in_state(sessions, job_id, "done"))
    found = await row(sessions, job_id)
    assert (found.fence, found.checkpoint, found.lease_owner) == (3, {"step": 2}, None)
    async with sessions.begin() as session:
        assert not await jobs.resume(session, job_id)


async def test_failures_by_kind(sessions: Sessions) -> None:
    errors = {
        "transient": TransientError("later"),
        "permanent": PermanentError("Planning Center refused: reconnect."),
        "bug": KeyError("anna@example.org"),
    }

    async def run(job: JobContext, _: Any) -> None:
        async with job.sessions.begin() as session:
            await job.checkpoint(session, {"always": "the same"})  # no progress
        raise errors[job.payload["error"]]

    ids = {kind: await enqueue(sessions, f"org-{kind}", error=kind) for kind in errors}
    async with working(sessions, run):
        await eventually(in_state(sessions, ids["permanent"], "failed"))

        async def tried() -> bool:
            return all([(await row(sessions, ids[kind])).error for kind in ids])

        await eventually(tried)
        assert (await row(sessions, ids["permanent"])).error == "Planning Center refused: reconnect."
        for kind in ("transient", "bug"):
            found = await row(sessions, ids[kind])
            assert found.state == "queued"
            assert found.run_after > found.updated_at
        again = "UPDATE job SET {} run_after = now() WHERE state = 'queued' AND kind = 'run'"
        async with sessions.begin() as session:  # the fourth attempt of both, now
            await session.execute(text(again.format("attempts = 3,")))

        async def fourth() -> bool:
            found = [await row(sessions, ids[kind]) for kind in ("transient", "bug")]
            return all((one.state, one.attempts) == ("queued", 4) for one in found)

        await eventually(fourth)
        async with sessions.begin() as session:
            await session.execute(text(again.format("")))
        await eventually(in_state(sessions, ids["bug"], "failed"))
        await eventually(in_state(sessions, ids["transient"], "queued"))
    assert (await row(sessions, ids["bug"])).error == "An unexpected error (KeyError) came 5 times."


async def test_a_worker_that_ends_gives_its_job_back_at_once(sessions: Sessions) -> None:
    begun = asyncio.Event()

    async def run(job: JobContext, _: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    job_id = await enqueue(sessions)
    async with working(sessions, run, lease=30):
        await begun.wait()
    assert (await row(sessions, job_id)).state == "queued"
    async with sessions.begin() as session:
        await jobs.request_stop(session, job_id)


async def test_jobs_are_claimed_fairly(sessions: Sessions) -> None:
    """An organization whose job comes back all the time does not keep the others waiting."""
    order: list[str] = []

    async def run(job: JobContext, _: Any) -> None:
        order.append(job.organization_id)
        async with job.sessions.begin() as session:
            if len(order) < 9:
                await job.wait(session, {}, until=datetime.now(UTC))

    for name in ("fair-a", "fair-b", "fair-c"):
        await enqueue(sessions, name)
    async with working(sessions, run):
        await eventually(lambda: len(order) >= 9)
    assert order[:9] == ["fair-a", "fair-b", "fair-c"] * 3


async def test_a_short_job_is_not_behind_long_ones(sessions: Sessions) -> None:
    short_done = asyncio.Event()
    pages_of: dict[str, list[int]] = {}

    async def run(job: JobContext, _: Any) -> None:
        if job.organization_id == "turn-short":
            short_done.set()
            return
        page = (job.data or {"page": 0})["page"]
        while not short_done.is_set() or job.fence == 1:
            pages_of.setdefault(job.organization_id, []).append(page)
            page += 1
            async with job.sessions.begin() as session:
                await job.checkpoint(session, {"page": page})
            await asyncio.sleep(0.05)
            job.stop_if_requested()
            if short_done.is_set():
                return

    names = [f"turn-{number}" for number in range(2)]
    ids = [await enqueue(sessions, name) for name in names]
    async with working(sessions, run, concurrency=2, lease=0.9, turn=0.3):
        await eventually(lambda: set(pages_of) == set(names))
        short = await enqueue(sessions, "turn-short")
        for job_id in (short, *ids):
            await eventually(in_state(sessions, job_id, "done"))
    for name in names:
        assert pages_of[name] == list(range(len(pages_of[name]))), "who leaves its slot goes on where it was"
    rows = [await row(sessions, job_id) for job_id in ids]
    assert max(found.fence for found in rows) > 1
    assert max(found.attempts for found in rows) <= 1, "leaving a slot is no failed attempt"


async def queue_many(sessions: Sessions, count: int) -> None:
    """As a schedule does for so many churches."""
    async with sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO job (id, kind, organization_id, payload, correlation_id)"
                " SELECT gen_random_uuid(), 'run', 'queued-' || n, '{}', 'c' FROM generate_series(1, :count) n"
            ),
            {"count": count},
        )
        await session.execute(text("ANALYZE job"))


@pytest.mark.parametrize("joins", [False, True], ids=["new", "of the queue"])
async def test_an_urgent_job_does_not_wait_for_the_queue(sessions: Sessions, *, joins: bool) -> None:
    order: list[str] = []
    go_on = asyncio.Event()

    async def run(job: JobContext, _: Any) -> None:
        order.append(job.organization_id)
        await go_on.wait()

    await queue_many(sessions, 30)
    asked = "queued-30" if joins else "org-asked"
    async with working(sessions, run, concurrency=2, urgent_slots=1):
        await eventually(lambda: len(order) == 2)
        async with sessions.begin() as session:
            job_id, created = await jobs.enqueue(session, "run", asked, urgent=True)
            await jobs.hurry(session, job_id)
        assert created is not joins
        await eventually(lambda: len(order) == 3)
        assert order[2] == asked, "all other slots are taken by what nobody waits for"
        assert (await row(sessions, job_id)).state == "running"
        await enqueue(sessions, "org-asked-next", urgent=True)
        go_on.set()
        await eventually(lambda: len(order) == 31 + 1 - joins)
    assert order.index("org-asked-next") < 7, "first in any slot that comes free"


async def test_urgent_jobs_do_not_keep_the_others_waiting_for_ever(sessions: Sessions) -> None:
    order: list[str] = []
    done = asyncio.Event()

    async def run(job: JobContext, _: Any) -> None:
        order.append(job.organization_id)
        if not job.urgent:
            done.set()
        while not done.is_set():
            await asyncio.sleep(0.05)
            job.stop_if_requested()

    for number in range(4):
        await enqueue(sessions, f"org-urgent-{number}", urgent=True)
    await enqueue(sessions, "org-patient")
    async with working(sessions, run, lease=0.6, turn=0.1):
        await eventually(done.is_set)
    assert order.index("org-patient") > 0


async def test_a_claim_reads_the_index_and_sorts_nothing(sessions: Sessions) -> None:
    await queue_many(sessions, 5000)
    claiming = Claimer(JobWorker("run", cast("Any", None)), sessions, None, Wake(), lambda: None)._claiming
    dialect: Any = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
    written = claiming.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    async with sessions() as session:
        plan = "\n".join((await session.execute(text(f"EXPLAIN {written}"))).scalars())
    assert plan.count("using ix_job_due") == 2, plan
    assert "Sort" not in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_a_long_job_keeps_its_slot_while_no_other_job_waits(sessions: Sessions) -> None:
    async def run(job: JobContext, _: Any) -> None:
        for _ in range(20):
            await asyncio.sleep(0.1)
            job.stop_if_requested()

    job_id = await enqueue(sessions)
    later = await enqueue(sessions, "org-not-due")
    async with sessions.begin() as session:
        await session.execute(
            text("UPDATE job SET run_after = now() + interval '1 hour' WHERE id = :id"), {"id": later}
        )
    await enqueue(sessions, "org-other-kind", kind="people-refresh")
    async with working(sessions, run, lease=0.9, turn=0.1):
        await eventually(in_state(sessions, job_id, "done"))
    assert (await row(sessions, job_id)).fence == 1


async def test_kinds_work_side_by_side_and_one_bell_wakes_all(
    url: str, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.jobs.worker.POLL_SECONDS", 600.0)  # the bell alone
    listener = Listener(url)
    begun: list[str] = []
    go_on = asyncio.Event()

    async def long(job: JobContext, _: Any) -> None:
        begun.append(job.organization_id)
        await go_on.wait()

    async def short(_job: JobContext, _: Any) -> None:
        return

    ring = partial(listener.wake, jobs.CHANNEL)
    async with (
        working(sessions, long, concurrency=2, wake=ring),
        working(sessions, short, kind="people-refresh", concurrency=2, wake=ring),
    ):
        listening = asyncio.create_task(listener.listen())
        try:
            runs = [await enqueue(sessions, f"kind-{number}") for number in range(3)]
            await eventually(lambda: len(begun) == 2)
            refreshes = [await enqueue(sessions, f"kind-{number}", kind="people-refresh") for number in range(5)]
            for job_id in refreshes:
                await eventually(in_state(sessions, job_id, "done"))
            assert len(begun) == 2
            go_on.set()
            for job_id in runs:
                await eventually(in_state(sessions, job_id, "done"))
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_one_ring_starts_all_jobs_and_wakes_no_other_slot(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servicekit.jobs.worker.POLL_SECONDS", 600.0)  # the bell alone
    bell, looks, begun = Wake(), 0, 0
    everybody, look = asyncio.Event(), Claimer._claim

    async def counted(claimer: Claimer) -> JobContext | None:
        nonlocal looks
        looks += 1
        return await look(claimer)

    async def run(_job: JobContext, _: Any) -> None:
        nonlocal begun
        begun += 1
        await everybody.wait()

    monkeypatch.setattr(Claimer, "_claim", counted)
    # No lease ends on a busy machine, which would make a slot look once more.
    async with working(sessions, run, concurrency=12, lease=60, wake=lambda: bell):
        await eventually(lambda: looks == 12)
        for number in range(3):
            await enqueue(sessions, f"ring-{number}")
        bell.set()
        await eventually(lambda: begun == 3)
        await eventually(lambda: looks == 16)  # the fourth finds nothing and rings for nobody
        everybody.set()


async def test_a_cancellation_that_an_error_took_the_place_of_ends_the_renewal(sessions: Sessions) -> None:
    """As when a connection breaks while the statement that is cancelled is rolled back."""
    renewing = asyncio.Event()

    class Broken:
        def begin(self) -> Any:
            return self

        async def __aenter__(self) -> Any:
            renewing.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise OSError("the connection was lost") from None

        async def __aexit__(self, *_: object) -> None: ...

    job = JobContext(uuid4(), "run", "org", {}, None, 1, cast("Any", Broken()), lease_seconds=0.03)
    job._deadline = float("inf")
    kept = asyncio.create_task(job.keep(lambda: None))
    await renewing.wait()
    job.lease_seconds = 3600.0  # whoever goes on sleeps for ever
    kept.cancel()
    done, _ = await asyncio.wait({kept}, timeout=5)
    kept.cancel()
    assert done == {kept}


async def test_a_lease_ends_while_the_machine_sleeps(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobContext(uuid4(), "run", "org", {}, None, 1, sessions, lease_seconds=15)
    job._deadline = elapsed() + 15
    job.check(10)
    slept = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: slept(clock) + 3600)  # `monotonic` stands still
    with pytest.raises(LeaseLost):
        job.check()


# Kind: what was read under a lease is believed after it.
async def test_a_lease_that_has_run_out_is_not_revived(sessions: Sessions) -> None:
    """Nobody has claimed the job since, but others may have gone by the lease."""
    outcome: list[str] = []

    async def run(job: JobContext, _: Any) -> None:
        if outcome:
            return
        async with sessions.begin() as session:
            await session.execute(text("UPDATE job SET lease_until = now() - interval '1 s'"))
        with pytest.raises(LeaseLost):
            await job.renew()
        outcome.append("lost")
        raise LeaseLost

    job_id = await enqueue(sessions)
    async with working(sessions, run):
        await eventually(in_state(sessions, job_id, "done"))
    assert outcome == ["lost"]
    assert (await row(sessions, job_id)).fence == 2


async def test_an_outage_of_our_own_making_ends_the_job(url: str, sessions: Sessions) -> None:
    """PostgreSQL ends a transaction that takes too long, and will do so every time."""
    hasty = {"server_settings": {"idle_in_transaction_session_timeout": "100"}}
    own = create_async_engine(url, connect_args=hasty)

    async def run(job: JobContext, _: Any) -> None:
        async with make_sessions(own, "people-sync").begin() as session:
            await job.verify(session)
            await asyncio.sleep(0.3)
            await session.execute(text("SELECT 1"))

    job_id = await enqueue(sessions)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE job SET attempts = 18 WHERE id = :id"), {"id": job_id})
    async with working(sessions, run):

        async def tried() -> bool:
            found = await row(sessions, job_id)
            return bool((found.state, found.attempts) == ("queued", 19) and found.error)

        await eventually(tried)
        async with sessions.begin() as session:
            await session.execute(text("UPDATE job SET run_after = now() WHERE id = :id"), {"id": job_id})
        await eventually(in_state(sessions, job_id, "failed"))
    assert (await row(sessions, job_id)).error.endswith("came 20 times.")
    await own.dispose()


async def test_old_rows_are_deleted_in_batches(sessions: Sessions) -> None:
    """However many are due, no transaction takes more than a piece, equal times included, and nothing else goes."""
    async with sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO inbox (consumer, event_id, received_at) SELECT 'pieces', number::text, "
                "now() - number / 10 * interval '1 day' FROM generate_series(0, 109) AS number"
            )
        )
    mine = INBOX.c.consumer == "pieces"
    old = [mine, INBOX.c.received_at < func.now() - timedelta(days=4, hours=1)]
    assert await forget(sessions, INBOX, INBOX.c.received_at, old, piece=7, seconds=0) == 7, (
        "one piece, and no time left"
    )
    assert await forget(sessions, INBOX, INBOX.c.received_at, old, piece=7) == 53
    async with sessions.begin() as session:
        left = await session.scalars(delete(INBOX).where(mine).returning(INBOX.c.event_id))
        assert {int(one) for one in left} == set(range(50))


async def test_jobs_over_for_long_are_deleted(sessions: Sessions) -> None:
    kept, forgotten, waiting = [await enqueue(sessions, f"org-{number}") for number in range(3)]
    async with sessions.begin() as session:
        over = text("UPDATE job SET state = 'done', finished_at = now() - :days * interval '1 day' WHERE id = :id")
        await session.execute(over, {"id": kept, "days": 29})
        await session.execute(over, {"id": forgotten, "days": 31})
        begun = text("UPDATE job SET id = :old WHERE id = :id")  # an id tells when its job was made
        await session.execute(begun, {"old": uuid7_at(datetime.now(UTC) - timedelta(days=32)), "id": forgotten})
        await session.execute(
            text("UPDATE job SET created_at = now() - interval '1 year' WHERE id = :id"), {"id": waiting}
        )
        seen = text(
            "INSERT INTO inbox (consumer, event_id, received_at) VALUES ('g', :id, now() - :days * interval '1 day')"
        )
        await session.execute(seen, [{"id": "a", "days": 29}, {"id": "b", "days": 31}])
    assert (await jobs.forget_old(sessions), await inbox.forget_old(sessions)) == (1, 1)
    async with sessions() as session:
        assert set(await session.scalars(text("SELECT id FROM job"))) == {kept, waiting}
        assert set(await session.scalars(text("SELECT event_id FROM inbox"))) == {"a"}
