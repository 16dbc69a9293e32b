"""A million members of a thousand churches, one of them large: every read, under generic plans."""

import asyncio
import re
import time
from collections.abc import Callable
from math import ceil
from typing import Any, Final

import asyncpg

from bench.parameters import Parameters
from bench.table import Row
from bench.work import FREE, church, say
from contracts.routes import ROUTES
from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC
from local_stack.church import Church
from local_stack.stack import SERVICES, Stack

Shown = Callable[[Row], None]
_LOOKS: Final = 40
"""Number of repetitions of each read."""
_CHURCHES: Final = 999
"""Number of churches beside the large one."""
_SYLLABLES: Final = (
    "ma jo an li ro ka be el no su ti da wi ge fra chri",
    "ria hn na sa bert ren th len ra san mo vid lli rge nk sto",
    "y son ley man ez er ton field wood ski ov sen well by ing es",
)
_WORD: Final = " || ".join(
    f"(ARRAY{syllables.split()})[{{0}} / {16**place} % 16 + 1]" for place, syllables in enumerate(_SYLLABLES)
)
_FIRST, _LAST = _WORD.format("a"), _WORD.format("b")
_PEOPLE: Final = (
    f"""
    CREATE TEMP TABLE person AS
    SELECT n, gen_random_uuid() AS id, hashint8(n) & 1023 AS a, hashint8(n * 7 + 1) & 4095 AS b,
        CASE WHEN n <= $large THEN $church ELSE 'church-' || n % {_CHURCHES} END AS organization_id,
        CASE WHEN n <= $large THEN $pco ELSE 'pco-church-' || n % {_CHURCHES} END AS pco_organization_id
    FROM generate_series(1, $all) AS n
    """,
    f"""
    CREATE TEMP TABLE home AS
    SELECT gen_random_uuid() AS id, organization_id, pco_organization_id, place,
        CASE WHEN place < 0 THEN -place ELSE place END AS number, (array_agg(id))[1] AS contact, min(b) AS b
    FROM (SELECT *, CASE WHEN n <= $large THEN n / 4 ELSE -(n / {_CHURCHES * 4} + 1) END AS place FROM person) AS placed
    GROUP BY organization_id, pco_organization_id, place
    """,
    "ANALYZE person",
    "ANALYZE home",
    """
    INSERT INTO connection (organization_id, pco_organization_id, state, generation, version, pco_person_id, mirrored)
    SELECT DISTINCT organization_id, pco_organization_id, 'connected', 1, 1, '1', true FROM person
    ON CONFLICT DO NOTHING
    """,
    f"""
    INSERT INTO member (id, organization_id, external_id, first_name, last_name, child, email, phone, address, name_key,
        email_key, active, version, deleted_at)
    SELECT id, organization_id, 'x' || n, initcap({_FIRST}), initcap({_LAST}), n % 4 = 3,
        {_FIRST} || '.' || {_LAST} || n % 100 || '@example.org',
        CASE n % 3 WHEN 0 THEN '+1 415 555 ' || lpad((n % 10000)::text, 4, '0')
            WHEN 1 THEN '(415) 55' || n % 10 || '-' || lpad(b::text, 4, '0') END,
        jsonb_build_object('street_line_1', n || ' Main St', 'city', 'Springfield', 'zip', '94110'),
        {_FIRST} || ' ' || {_LAST}, {_FIRST} || '.' || {_LAST} || n % 100 || '@example.org',
        n % 200 <> 1, 2, CASE WHEN n % 250 = 2 THEN now() END
    FROM person
    """,
    f"""
    INSERT INTO family (id, organization_id, external_id, name, name_key, primary_contact_id, version)
    SELECT id, organization_id, 'f' || place, initcap({_LAST}), {_LAST}, contact, 1 FROM home
    """,
    f"""
    INSERT INTO family_member (family_id, member_id, organization_id)
    SELECT home.id, person.id, person.organization_id FROM person JOIN home USING (organization_id)
    WHERE home.place = CASE WHEN n <= $large THEN n / 4 ELSE -(n / {_CHURCHES * 4} + 1) END
    """,
    """
    INSERT INTO link (organization_id, pco_organization_id, kind, record_id, pco_id, state, agreed, agreed_at,
        kept_different, contacts, remote_hash, compared_version, gone_at, merged_into, create_again)
    SELECT organization_id, pco_organization_id, 'member', id, n::text,
        CASE WHEN n % 100 = 7 THEN 'gone' ELSE 'linked' END,
        jsonb_build_object('first_name', 'A', 'last_name', 'B', 'email', 'a@example.org', 'child', false),
        '{"*": "2026-11-01T00:00:00+00:00"}', '{}', '{"email": "1"}', decode(md5(n::text), 'hex'), 2,
        CASE WHEN n % 100 = 7 THEN now() END,
        CASE WHEN n % 1000 = 7 THEN (n + CASE WHEN n <= $large THEN 1 ELSE $stride END)::text END, false
    FROM person WHERE n % 20 <> 4
    """,
    """
    INSERT INTO link (organization_id, pco_organization_id, kind, record_id, pco_id, state, agreed, agreed_at,
        kept_different, contacts, remote_hash, compared_version, create_again)
    SELECT organization_id, pco_organization_id, 'family', id, number::text, 'linked',
        jsonb_build_object('name', 'F', 'members', jsonb_build_array(contact::text), 'primary_contact', contact::text),
        '{}', '{}', '{}', decode(md5(number::text), 'hex'), 1, false
    FROM home
    """,
    """
    INSERT INTO remote (organization_id, pco_organization_id, kind, pco_id, remote_hash, fingerprint, email_keys,
        name_keys, keys, read_at, again)
    SELECT organization_id, pco_organization_id, kind, pco_id, remote_hash, remote_hash, '{}', '{}',
        ARRAY[hashint8(id)::bigint, hashint8(id * 3)::bigint], now(), false
    FROM link
    """,
    """
    INSERT INTO effect (organization_id, cause, kind, record_id, side, field, before, after, by, at)
    SELECT organization_id, 'edit', 'member', id, 'here', (ARRAY['first_name', 'email'])[k], '"a"', '"b"', 'person',
        now() - n % 300 * interval '1 day'
    FROM person, generate_series(1, 2) AS k
    """,
    """
    INSERT INTO run (id, organization_id, pco_organization_id, kind, purpose, subject, state, trigger, phase, done,
        requests, counts, answers, version, created_at, started_at, finished_at)
    SELECT gen_random_uuid(), organization_id, pco_organization_id, 'full',
        CASE WHEN k % 2 = 0 THEN 'proof' ELSE 'sync' END,
        CASE WHEN k % 2 = 0 THEN jsonb_build_object('people', 10, 'people_identical', 10, 'people_apart',
            jsonb_build_object(), 'families', 3, 'families_identical', 3, 'changed', 0) END,
        'done', 'schedule', 'finish', 0, 5, '{"rejected": 0}', '{}', 3, at, at, at
    FROM connection, generate_series(1, 100) AS k, LATERAL (SELECT now() - k * interval '12 hours' AS at) AS moment
    """,
    """
    INSERT INTO change (organization_id, run_id, kind, record_id, pco_id, name, here, there, outcome, cause, plan,
        planned)
    SELECT person.organization_id, newest.id, 'member', person.id, n::text, 'Name ' || n, 'done', 'none',
        CASE WHEN n % 100 = 3 THEN 'rejected' ELSE 'created_here' END, CASE WHEN n % 100 = 3 THEN 'email' END,
        '[{"field": "email", "does": "here", "here": "a", "after": "b"}]', 'created_here'
    FROM person JOIN (
        SELECT DISTINCT ON (organization_id) organization_id, id FROM run WHERE purpose = 'sync'
        ORDER BY organization_id, created_at DESC
    ) AS newest USING (organization_id)
    """,
    """
    INSERT INTO held_match (id, organization_id, pco_organization_id, pco_id, theirs, candidates, candidate_ids,
        reasons, state, different_from, version, created_at)
    SELECT gen_random_uuid(), organization_id, pco_organization_id, 'h' || n,
        '{"first_name": "A", "last_name": "B", "birthdate": null, "gender": null, "child": false, "email": null,
        "phone": null, "address": null}',
        jsonb_build_array(jsonb_build_object('member_id', id, 'reasons', jsonb_build_array('The same name'))),
        ARRAY[id::text], '["The same name"]', 'open', '{}', 1, now() - n * interval '1 second'
    FROM person WHERE n % 20 = 4
    """,
    """
    INSERT INTO kept_out (organization_id, kind, record_id, by_user_id, at)
    SELECT organization_id, 'member', id, 'somebody', now() FROM person WHERE n % 300 = 5
    """,
    """
    INSERT INTO conflict (id, organization_id, pco_organization_id, kind, record_id, pco_id, name, fields, state,
        version)
    SELECT gen_random_uuid(), organization_id, pco_organization_id, 'member', id, n::text, 'A B', '[]', 'open', 1
    FROM person WHERE n % 20 = 9
    """,
)
_CONFLICTS: Final = (
    f"""
    INSERT INTO conflict (organization_id, id, record, family_ids, fields, state, source_version, version,
        values_version, opened_at, updated_at, child, field_names, one_side_empty, newer, together, placed_at)
    SELECT CASE WHEN n <= $large / 10 THEN $church ELSE 'church-' || n % {_CHURCHES} END, 'conflict-' || n,
        jsonb_build_object('kind', 'member', 'id', 'member-' || n, 'name', 'Person ' || n, 'pco_id', n::text,
            'family_ids', jsonb_build_array('family-' || n / 4), 'child', n % 3 = 0),
        ARRAY['family-' || n / 4],
        jsonb_build_array(jsonb_build_object('field', name, 'base', 'old', 'base_known', true, 'ours', 'ours ' || n,
            'theirs', 'theirs ' || n)),
        CASE WHEN n % 2 = 0 THEN 'open' ELSE 'resolved' END, 1, 1, 1, now() - n * interval '10 s', now(), n % 3 = 0,
        ARRAY[name], false, 'ours', 'family-' || n / 4, now() - (n / 4 * 4 + 3) * interval '10 s'
    FROM generate_series(1, $all / 10) AS n,
        LATERAL (SELECT (ARRAY['email', 'phone', 'address', 'last_name'])[n / 2 % 4 + 1] AS name) AS field
    """,
    """
    INSERT INTO decision (organization_id, id, conflict_id, choices, fields, decided_by, decided_at, outcome, refused,
        kind, answer)
    SELECT organization_id, 'decision of ' || id, id, '{}', '[]', 'somebody', now(), 'applied', '{}', field_names[1],
        'ours'
    FROM conflict WHERE state = 'resolved'
    """,
)


def million(asked: Parameters, shown: Shown) -> None:
    """Fill the tables, and measure every GET of people-sync and conflict-service through the gateway."""
    with church(100, services=SERVICES, **FREE) as (stack, admin):
        organization_id = str(admin.get("/me")["user"]["organization_id"])
        began = time.monotonic()
        ids = asyncio.run(_fill(stack, organization_id, asked))
        say(f"{asked.million:,} members after {time.monotonic() - began:.0f} s")
        questions = _questions(admin, ids)
        missing = _every_get() - {path for path, _, _ in questions.values()}
        if missing:
            raise RuntimeError(f"nobody asks {sorted(missing)}")
        floor = _p95(admin, "/people/settings", {})
        found = {name: _p95(admin, address, query) for name, (_, address, query) in questions.items()}
        bare = asyncio.run(_bare(stack, organization_id))
    slowest = sorted(found, key=found.__getitem__, reverse=True)
    worst = found[slowest[0]]
    told = ", ".join(f"{name} {found[name] * 1000:.0f} ms" for name in slowest[:8])
    shown(
        Row(
            "every GET at a million members: p95 of the slowest",
            f"{worst * 1000:.0f} ms",
            "< 100 ms",
            worst < 0.1,
            f"{asked.million:,} members of 1,000 churches, {asked.large:,} of this one, generic plans, {_LOOKS} times "
            f"each through the door, {len(found)} questions; slowest {told}; floor: settings {floor * 1000:.0f} ms, a "
            f"bare count of the church's members {bare * 1000:.0f} ms",
        )
    )
    fast = max(found["status"], found["members, linked"])
    shown(
        Row(
            "status and list of linked ones at a million: p95",
            f"{fast * 1000:.0f} ms",
            "< 50 ms",
            fast < 0.05,
            f"the same run: status {found['status'] * 1000:.0f} ms, first page of linked ones with the total "
            f"{found['members, linked'] * 1000:.0f} ms",
        )
    )


def _every_get() -> set[str]:
    owners = {PEOPLE_SYNC, CONFLICT_SERVICE}
    return {one.path for one in ROUTES if one.owner in owners and one.method == "GET" and one.media is None}


def _questions(admin: Church, ids: dict[str, str]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Reads by name: the route's path, the address below `/api/v1`, the query."""
    page = {"limit": 25}
    deep = admin.get("/people/members", limit=200)["next"]
    few: dict[str, tuple[str, dict[str, Any]]] = {
        "status": ("/people/status", {}),
        "members": ("/people/members", page),
        "members, deep": ("/people/members", page | {"after": deep}),
        **{
            f"members, {state}": ("/people/members", page | {"state": state})
            for state in ("linked", "local", "gone", "held", "inactive", "kept_out")
        },
        **{
            f"members, {state}, deep": ("/people/members", page | {"state": state, "after": deep})
            for state in ("linked", "local")
        },
        "children": ("/people/members", page | {"child": True}),
        "children only here": ("/people/members", page | {"child": True, "state": "local"}),
        "members of a family": ("/people/members", page | {"family_id": ids["family"]}),
        **{
            f"search {typed!r}": ("/people/members", page | {"q": typed})
            for typed in ("johnson", "son, ka", "jo", "qq", "example.org", "(415) 555-0100", "zzzzz")
        },
        "search 'maria' only here": ("/people/members", page | {"q": "maria", "state": "local"}),
        "families": ("/people/families", page),
        "search for families": ("/people/families", page | {"q": "john"}),
        "held matches": ("/people/held-matches", page),
        "held matches of a family": ("/people/held-matches", page | {"family_id": ids["family"]}),
        "merged": ("/people/merged", page),
        "merged, of a member": ("/people/merged", page | {"member_id": ids["member"]}),
        "runs": ("/people/runs", page),
        "runs that failed": ("/people/runs", page | {"state": "failed"}),
        "run's list": ("/people/runs/{run_id}/items", page),
        "run's list, one number": ("/people/runs/{run_id}/items", page | {"outcome": "created_here"}),
        "conflicts": ("/conflicts", page),
        "conflicts, resolved": ("/conflicts", page | {"state": "resolved"}),
        "conflicts of a record": ("/conflicts", page | {"record_id": "member-77"}),
        "conflicts, one field": ("/conflicts", page | {"field": "phone"}),
    }
    known = {path for path, _ in few.values()}
    # All other routes, by their own path.
    for path in sorted(_every_get()):
        below = path.removeprefix("/api/v1")
        if below not in known:
            few[below.removeprefix("/people")] = (below, {})
    return {name: (f"/api/v1{path}", _address(path, ids), query) for name, (path, query) in few.items()}


def _address(path: str, ids: dict[str, str]) -> str:
    """A path with ids of existing records; other parameters get an unknown id, whose 404 is measured."""
    unknown = "00000000-0000-0000-0000-000000000000"
    values = {name.removesuffix("_id"): value for name, value in ids.items()}
    for part in path.split("/"):
        if part.startswith("{"):
            path = path.replace(part, values.get(part[1:-1].removesuffix("_id"), unknown))
    return path


async def _fill(stack: Stack, organization_id: str, asked: Parameters) -> dict[str, str]:
    """Fill both databases and force generic plans. Gives ids of records of the large church."""
    people, conflicts = [
        await asyncpg.connect(stack.database_url(service, driver="postgresql"))
        for service in (PEOPLE_SYNC, CONFLICT_SERVICE)
    ]
    try:
        pco = await people.fetchval(
            "SELECT pco_organization_id FROM connection WHERE organization_id = $1", organization_id
        )
        values = {
            "$large": str(asked.large),
            "$all": str(asked.million),
            "$stride": str(_CHURCHES),
            "$church": f"'{organization_id}'",
            "$pco": f"'{pco}'",
        }
        for connection, statements in ((people, _PEOPLE), (conflicts, _CONFLICTS)):
            await connection.execute("SET synchronous_commit = off; SET work_mem = '256MB'")
            for statement in statements:
                await connection.execute(re.sub(r"\$[a-z]+", lambda name: values[name[0]], statement))
            await connection.execute("VACUUM ANALYZE")  # like autovacuum
            name = await connection.fetchval("SELECT current_database()")
            await connection.execute(f'ALTER DATABASE "{name}" SET plan_cache_mode = force_generic_plan')
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            )
        of_church = "FROM {} WHERE organization_id = $1 AND external_id = $2"
        return {
            "member": str(await people.fetchval(f"SELECT id {of_church.format('member')}", organization_id, "x50001")),
            "family": str(await people.fetchval(f"SELECT id {of_church.format('family')}", organization_id, "f500")),
            "run": str(
                await people.fetchval("SELECT run_id FROM change WHERE organization_id = $1 LIMIT 1", organization_id)
            ),
            "conflict": "conflict-77",
        }
    finally:
        await people.close()
        await conflicts.close()


async def _bare(stack: Stack, organization_id: str) -> float:
    connection = await asyncpg.connect(stack.database_url(PEOPLE_SYNC, driver="postgresql"))
    took = []
    try:
        for _ in range(_LOOKS):
            began = time.perf_counter()
            await connection.fetchval(
                "SELECT count(*) FROM member WHERE organization_id = $1 AND deleted_at IS NULL", organization_id
            )
            took.append(time.perf_counter() - began)
    finally:
        await connection.close()
    return sorted(took)[ceil(0.95 * len(took)) - 1]


def _p95(admin: Church, address: str, query: dict[str, Any]) -> float:
    took = []
    for look in range(_LOOKS + 1):
        began = time.perf_counter()
        answer = admin.api.get(f"/api/v1{address}", params=query)
        if look:  # the first read warms the cache
            took.append(time.perf_counter() - began)
        if answer.status_code not in {200, 404}:
            raise RuntimeError(f"{address} {query}: {answer.status_code} {answer.text}")
    return sorted(took)[ceil(0.95 * len(took)) - 1]
