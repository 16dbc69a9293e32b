"""A delivery is recognized for 30 days, whatever falls between, and its rows are forgotten cheaply."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from servicekit.db.sessions import Sessions, make_sessions
from servicekit.testing import Databases
from servicekit.testing.databases import Database
from servicekit.testing.time import eventually
from webhook_gateway.storage import seen
from webhook_gateway.storage.tables import SLOTS

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SLOT: Final = timedelta(days=seen.SLOT_DAYS)
FLIP: Final = EPOCH + 2000 * SLOT


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def engine(databases: Databases) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(await databases.create("webhook_gateway"))
    yield made
    await made.dispose()


@pytest.fixture
def database(engine: AsyncEngine) -> Database:
    return Database(engine.url.render_as_string(hide_password=False))


@pytest_asyncio.fixture(loop_scope="session")
async def sessions(engine: AsyncEngine, database: Database) -> Sessions:
    await database.fetch("TRUNCATE seen")
    return make_sessions(engine, "webhook-gateway")


async def fresh(sessions: Sessions, delivery: UUID, at: datetime, key: int = 1) -> bool:
    async with sessions.begin() as session:
        return bool(await seen.note(session, [(key, delivery)], at=at))


async def clean(sessions: Sessions, at: datetime) -> int | None:
    async with sessions.begin() as session:
        return await seen.empty_next_slot(session, at=at)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    begin=st.timedeltas(min_value=timedelta(0), max_value=60 * timedelta(days=1)),
    after=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30)),
)
async def test_a_repeat_within_30_days_is_recognized_whatever_was_cleaned(
    sessions: Sessions, begin: timedelta, after: timedelta
) -> None:
    delivery, first = uuid4(), FLIP + begin
    assert await fresh(sessions, delivery, first)
    for day in range(after.days + 1):
        await clean(sessions, first + timedelta(days=day))
    assert not await fresh(sessions, delivery, first + after)
    assert await fresh(sessions, delivery, first + after, key=2), "another generation's"


async def test_rows_are_forgotten_after_30_to_40_days(sessions: Sessions, database: Database) -> None:
    deliveries = {}
    for day in range(120):
        at = FLIP + timedelta(days=day, hours=12)
        deliveries[at] = uuid4()
        assert await fresh(sessions, deliveries[at], at)
        await clean(sessions, at)
        held = await database.value("SELECT count(DISTINCT delivery) FROM seen")
        assert min(day + 1, 31) <= held <= 40, day
    now = FLIP + timedelta(days=119, hours=13)
    for at, delivery in deliveries.items():
        age = (now - at).days
        if age <= 30:
            assert not await fresh(sessions, delivery, now), age
        elif age >= 40:
            assert await fresh(sessions, delivery, now), age


async def test_a_slot_is_never_emptied_in_the_day_before_its_turn(sessions: Sessions) -> None:
    old = FLIP - 4 * SLOT + timedelta(days=1)  # in the slot whose turn is next
    assert await fresh(sessions, uuid4(), old)
    assert await clean(sessions, FLIP + SLOT - timedelta(hours=23)) is None
    assert await clean(sessions, FLIP + timedelta(days=3)) == (2000 + 1) % SLOTS
    assert await clean(sessions, FLIP + timedelta(days=3)) is None, "empty already"


@pytest.mark.parametrize("moments", [(-0.001, 0.001), (0.001, -0.001), (10, 3599), (-10, -10), (3599, 3601)])
async def test_two_transactions_at_a_change_of_slots_do_not_both_take_a_delivery(
    sessions: Sessions, database: Database, moments: tuple[float, float]
) -> None:
    delivery = uuid4()
    first, second = (FLIP + timedelta(seconds=moment) for moment in moments)
    async with sessions() as session:
        assert await seen.note(session, [(1, delivery)], at=first)
        other = asyncio.create_task(fresh(sessions, delivery, second))

        async def waits() -> bool:
            return bool(await database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits)
        assert not other.done(), "it waits for the first transaction"
        await session.commit()
    assert not await other


async def test_the_second_takes_what_the_first_gave_up(sessions: Sessions, database: Database) -> None:
    delivery = uuid4()
    async with sessions() as session:
        assert await seen.note(session, [(1, delivery)], at=FLIP - timedelta(seconds=1))
        other = asyncio.create_task(fresh(sessions, delivery, FLIP + timedelta(seconds=1)))

        async def waits() -> bool:
            return bool(await database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually(waits)
        await session.rollback()
    assert await other


async def test_batches_in_any_order_do_not_deadlock(sessions: Sessions) -> None:
    pairs = [(key, uuid4()) for key in range(3) for _ in range(50)]

    async def batch(number: int) -> int:
        rotated = pairs[number * 7 :] + pairs[: number * 7]
        async with sessions.begin() as session:
            return len(await seen.note(session, rotated, at=FLIP + timedelta(seconds=number - 5)))

    assert sum(await asyncio.gather(*(batch(number) for number in range(10)))) == len(pairs)


async def test_cleaning_gives_way_to_writers(sessions: Sessions) -> None:
    assert await fresh(sessions, uuid4(), FLIP - 4 * SLOT)
    async with sessions() as session:
        await seen.note(session, [(1, uuid4())], at=FLIP)
        with pytest.raises(DBAPIError):
            await clean(sessions, FLIP + timedelta(days=1))
    assert await clean(sessions, FLIP + timedelta(days=1)) is not None
