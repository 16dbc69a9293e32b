"""No query of a large church scans its rows once per row, whatever plan PostgreSQL chooses.

The tests use generic plans, as PostgreSQL does after a few executions per connection: the generic plan for members who
are only here scanned all links for each member, a minute for 100,000.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from contracts.http.merged import MergedQuery
from contracts.http.people import FamilyQuery, HeldQuery, MemberQuery, RunItemQuery, RunQuery
from people_sync.usecases import directory, families, held, merged_pairs, runs, status
from servicekit.testing import Databases, statements

pytestmark = pytest.mark.asyncio(loop_scope="session")

MEMBERS: Final = 4_000
RUN: Final = "00000000-0000-7000-8000-000000000001"
_FILL: Final = (
    """
    CREATE TEMP TABLE person AS SELECT n, gen_random_uuid() AS id,
        CASE WHEN n <= :members THEN 'large' ELSE 'church-' || n % 200 END AS organization_id
    FROM generate_series(1, :members * 3) AS n
    """,
    """
    INSERT INTO connection (organization_id, pco_organization_id, state, generation, version, pco_person_id, mirrored)
    SELECT DISTINCT organization_id, 'pco-' || organization_id, 'connected', 1, 1, '1', true FROM person
    """,
    """
    INSERT INTO member (id, organization_id, first_name, last_name, child, email, phone, name_key, email_key, version,
        active, deleted_at)
    SELECT id, organization_id, 'A', 'B', n % 4 = 0, 'mail' || n || '@example.org', '+1 212 555 ' || n,
        'name' || n % 50 || ' ' || md5(n::text), 'mail' || n || '@example.org', 1, n % 100 <> 1,
        CASE WHEN n % 100 = 2 THEN now() END
    FROM person
    """,
    """
    INSERT INTO family (id, organization_id, name, name_key, version)
    SELECT id, organization_id, 'F', md5(n::text), 1 FROM person WHERE n % 4 = 0
    """,
    """
    INSERT INTO link (organization_id, pco_organization_id, kind, record_id, pco_id, state, merged_into, agreed,
        agreed_at, kept_different, contacts, compared_version, create_again)
    SELECT organization_id, 'pco-' || organization_id, 'member', id, n::text,
        CASE WHEN n % 100 = 3 THEN 'gone' ELSE 'linked' END, CASE WHEN n % 200 = 3 THEN (n + 1)::text END,
        '{}', '{}', '{}', '{}', 1, false
    FROM person WHERE n % 100 <> 5
    """,
    """
    INSERT INTO held_match (id, organization_id, pco_organization_id, pco_id, theirs, candidates, candidate_ids,
        reasons, state, different_from, version)
    SELECT gen_random_uuid(), organization_id, 'pco-' || organization_id, 'h' || n,
        '{"first_name": "A", "last_name": "B", "child": false, "birthdate": null, "gender": null, "email": null,
        "phone": null, "address": null}',
        '[]', ARRAY[id::text], '[]', 'open', '{}', 1
    FROM person WHERE n % 10 = 5
    """,
    """
    INSERT INTO kept_out (organization_id, kind, record_id, by_user_id, at)
    SELECT organization_id, 'member', id, 'u', now() FROM person WHERE n % 100 = 6
    """,
    f"""
    INSERT INTO run (id, organization_id, pco_organization_id, kind, state, trigger, phase, done, requests, counts,
        answers, version)
    VALUES ('{RUN}', 'large', 'pco-large', 'full', 'done', 'person', 'finish', 0, 0, '{{}}', '{{}}', 1)
    """,
    f"""
    INSERT INTO change (organization_id, run_id, kind, record_id, pco_id, name, here, there, outcome)
    SELECT organization_id, '{RUN}', 'member', id, n::text, 'A', 'done', 'none', 'created_here'
    FROM person WHERE organization_id = 'large'
    """,
)

Ask = Callable[[AsyncSession], Awaitable[Any]]


def members(**query: Any) -> Ask:
    return lambda session: directory.members(session, "large", MemberQuery(limit=25, **query))


async def _second(session: AsyncSession, query: RunItemQuery) -> Any:
    first = await runs.items(session, "large", RUN, query)
    return await runs.items(session, "large", RUN, query.model_copy(update={"after": first.next}))


ASKED: Final[dict[str, Ask]] = {
    "status": lambda session: status.status(session, "large"),
    "all": members(),
    **{state: members(state=state) for state in ("linked", "local", "gone", "held", "inactive", "kept_out")},
    "children": members(child=True),
    "local children": members(child=True, state="local"),
    "a search": members(q="name7"),
    "a search for one": members(q="mail77@example.org"),
    "a search for nobody": members(q="qq"),
    "a local search": members(q="name5", state="local"),
    "a phone": members(q="(212) 555-77"),
    "families": lambda session: families.families(session, "large", FamilyQuery(limit=25)),
    "a family": lambda session: families.families(session, "large", FamilyQuery(limit=25, q="abc")),
    "held matches": lambda session: held.held_matches(session, "large", HeldQuery(limit=25)),
    "merged": lambda session: merged_pairs.merged(session, "large", MergedQuery(limit=25)),
    "items": lambda session: runs.items(session, "large", RUN, RunItemQuery(limit=25)),
    "items, further": lambda session: _second(session, RunItemQuery(limit=25)),
    "items of one number": lambda session: runs.items(session, "large", RUN, RunItemQuery(outcome="created_here")),
    "runs": lambda session: runs.history(session, "large", RunQuery()),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(databases: Databases) -> AsyncIterator[AsyncEngine]:
    generic = {"server_settings": {"plan_cache_mode": "force_generic_plan"}}
    made = create_async_engine(await databases.create("people_sync"), connect_args=generic)
    async with made.begin() as connection:
        for statement in _FILL:
            await connection.execute(text(statement), {"members": MEMBERS} if ":members" in statement else {})
    async with made.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))  # as autovacuum does
    yield made
    await made.dispose()


@pytest.mark.parametrize("asked", ASKED)
async def test_no_query_scans_rows_once_per_row(engine: AsyncEngine, asked: str) -> None:
    with statements(engine) as sent:
        async with AsyncSession(engine) as session:
            answer = await ASKED[asked](session)
            assert asked in {"status", "a search for nobody", "local children"} or answer.items
    async with engine.connect() as opened:
        connection: Any = (await opened.get_raw_connection()).driver_connection
        for statement, values in sent:
            await connection.execute(f"PREPARE asked AS {statement}")
            given = ", ".join(map(_literal, values))
            (plan,) = await connection.fetchval(
                f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING off) EXECUTE asked {f'({given})' if given else ''}"
            )
            await connection.execute("DEALLOCATE asked")
            assert _looked_at(plan["Plan"]) < 6 * MEMBERS, (statement, plan)


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        value = f"{{{','.join(map(str, value))}}}"
    return "'" + str(value).replace("'", "''") + "'"


def _looked_at(node: dict[str, Any]) -> float:
    removed = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Join Filter", "Index Recheck"))
    mine: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return mine + sum(_looked_at(one) for one in node.get("Plans", ()))
