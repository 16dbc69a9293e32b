"""Pages of a large calendar read indexes alone, also when PostgreSQL plans for any values."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from calendar_sync.storage import feed
from calendar_sync.storage.events import locked
from calendar_sync.storage.feed import Window
from calendar_sync.usecases import events, occurrences
from contracts.http.calendar import EventQuery, OccurrenceQuery
from servicekit.testing import Databases, statements

MANY: Final = 50_000
_FILL: Final = (
    """
    INSERT INTO event (
        id, organization_id, external_id, title, title_key, starts_at, ends_at, time_zone, recurrence, first_starts_at,
        last_ends_at, occurrence_count, version, handed_off
    )
    SELECT gen_random_uuid(), CASE WHEN number % 4 = 0 THEN 'church-' || number % 200 ELSE 'church' END, 'e-' || number,
        'Event ' || number, 'event ' || md5(number::text), now(), now(), 'UTC', NULL, at, at, 20, 1, number % 2 = 1
    FROM generate_series(1, :many / 2) AS number,
        LATERAL (SELECT '2026-03-01T00:00Z'::timestamptz - number % 50 * interval '90 days' AS at) AS extent
    """,
    """
    INSERT INTO occurrence (
        event_id, key, organization_id, starts_at, ends_at, first_day, last_day, moved, cancelled
    )
    SELECT id, number::text, organization_id, at,
        at + CASE WHEN number % 50 = 0 THEN interval '20 days' ELSE interval '1 hour' END, NULL, NULL, false, false
    FROM (SELECT id, organization_id, row_number() OVER () AS place FROM event) AS event
        JOIN generate_series(1, :many) AS number ON number % (:many / 2) + 1 = place,
        LATERAL (
            SELECT '2025-01-01T00:00Z'::timestamptz
                + number * 7919 % 1000 * interval '1 day' + number % 24 * interval '1 hour' AS at
        ) AS start
    """,
    """
    INSERT INTO calendar_connection (
        organization_id, pco_organization_id, pco_organization_name, state, generation, version, occurred_at
    )
    SELECT organization_id, '1', 'Church', 'connected', 1, 1, now() FROM event GROUP BY organization_id
    """,
    """
    INSERT INTO event_link (
        id, organization_id, pco_organization_id, event_id, pco_event_id, title_there, state, linked_at
    )
    SELECT gen_random_uuid(), organization_id, '1', id, number::text, title,
        CASE WHEN number % 1000 = 0 THEN 'gone' ELSE 'linked' END, now()
    FROM (SELECT *, row_number() OVER () AS number FROM event) AS event WHERE number % 4 = 1 OR number % 1000 = 0
    """,
)
NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)


def window(**values: Any) -> "Ask":
    query = OccurrenceQuery(first_day=date(2026, 3, 1), last_day=date(2026, 3, 31), **values)
    return lambda session: occurrences.page(session, "church", query, NOW)


def titles(**values: Any) -> "Ask":
    return lambda session: events.events(session, "church", EventQuery(**values))


def of_feed(read: Callable[..., Any]) -> "Ask":
    return lambda session: read(session, "church", Window.at(NOW))


async def _second(session: AsyncSession, read: Callable[..., Any]) -> Any:
    first = await read()(session)
    return await read(after=first.next)(session)


Ask = Callable[[AsyncSession], Awaitable[Any]]
_LINKS: Final = {"uq_event_link_event_id_pco_organization_id", "ix_event_link_owner", "pk_calendar_connection"}
_WINDOW: Final = {"ix_occurrence_start", "ix_occurrence_long", "pk_occurrence", "pk_event"}
ASKED: Final[dict[str, tuple[Ask, set[str], int]]] = {
    "a month": (window(), _WINDOW, 1_000),
    "its second page": (lambda session: _second(session, window), _WINDOW, 1_000),
    "by title": (titles(), {"ix_event_here", "ix_event_feed", "pk_event", *_LINKS}, MANY // 2),
    "a search": (titles(q="event abc"), {"ix_event_here", "ix_event_search", "pk_event", *_LINKS}, 3_000),
    "linked ones": (titles(state="linked"), {"ix_event_here", "ix_event_feed", "pk_event", *_LINKS}, MANY),
    "those that are gone": (titles(state="gone"), {"ix_event_here", "ix_event_feed", "pk_event", *_LINKS}, MANY),
    "the state of a feed": (of_feed(feed.state_of), {"ix_event_feed", *_LINKS}, 8_000),
    "the events of a feed": (of_feed(feed.entries), {"ix_event_feed", *_LINKS}, 8_000),
    "by the platform's ids": (
        lambda session: locked(session, "church", [f"e-{number}" for number in range(1000)]),
        {"uq_event_external"},
        1_000,
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(databases: Databases) -> AsyncIterator[AsyncEngine]:
    generic = {"server_settings": {"plan_cache_mode": "force_generic_plan"}}
    made = create_async_engine(await databases.create("calendar_sync"), connect_args=generic)
    async with made.begin() as connection:
        for statement in _FILL:
            await connection.execute(text(statement), {"many": MANY} if ":many" in statement else {})
    async with made.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))  # as autovacuum does
    yield made
    await made.dispose()


def _literal(value: Any) -> str:
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    if isinstance(value, UUID):
        return f"'{value}'::uuid"
    if isinstance(value, datetime | date | str):
        return f"'{value}'"
    raise TypeError(value)


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for below in plan.get("Plans", ()) for node in _nodes(below))]


@pytest.mark.parametrize("asked", ASKED)
async def test_a_page_reads_its_indexes(engine: AsyncEngine, asked: str) -> None:
    ask, indexes, most = ASKED[asked]
    with statements(engine) as sent:
        async with AsyncSession(engine) as session:
            answer = await ask(session)
            assert asked == "a search" or answer
    async with engine.connect() as opened:
        connection: Any = (await opened.get_raw_connection()).driver_connection
        for statement, values in sent:
            await connection.execute(f"PREPARE asked AS {statement}")
            given = ", ".join(map(_literal, values))
            (plan,) = await connection.fetchval(
                f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING off) EXECUTE asked {f'({given})' if given else ''}"
            )
            await connection.execute("DEALLOCATE asked")
            nodes = _nodes(plan["Plan"])
            whole = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
            assert set(whole) <= {"calendar_connection"}, (statement, plan)
            assert {node["Index Name"] for node in nodes if "Index Name" in node} <= indexes, (statement, plan)
            read = sum(
                (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
                for node in nodes
                if "Relation Name" in node
            )
            assert read <= most, (statement, plan)
