"""An erased person is in no table, and no sync brings them back until an administrator lets them."""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from sqlalchemy import insert
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from contracts.events.conflicts_resolution_v1 import ConflictResolved, ConflictsErased
from contracts.events.people_sync_run_v1 import HeldMatchesAnswered
from contracts.values import CONFLICT_SERVICE
from people_sync.domain.planning_center import RemoteHousehold, RemotePerson
from people_sync.domain.values import PersonValues
from people_sync.storage import remote
from people_sync.storage.erased_tables import Erased
from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import (
    Alias,
    Change,
    Claim,
    Conflict,
    Creation,
    HeldBulk,
    HeldMatch,
    HeldSkipped,
    Joined,
    KeptOut,
    Refresh,
    Remote,
    Run,
    Shown,
    Stray,
)
from people_sync.storage.tables import Base, Effect, Family, Link, LinkWrite, Member
from people_sync.usecases.supplied import adopt_supplied
from servicekit.db.tables import JOB, KEPT_ANSWER, SET_ASIDE
from servicekit.kafka.outbox import append
from servicekit.testing import KeyRing, eventually
from servicekit.testing.databases import Database
from servicekit.testing.facts import publish
from synckit.staleness import Reading

pytestmark = pytest.mark.asyncio(loop_scope="session")

BAKERS: Final = "Baker Household"
OURS, THEIRS, FORMER = "(212) 555-8151", "(212) 555-8162", "(212) 555-0104"
BRUNOS: Final = (
    "Bruno",
    "Quillfeather",
    OURS[-8:],
    THEIRS[-8:],
    FORMER[-8:],
    "2 Elm St",
    "1981-03-07",
    "platform-7781",
)
OLGAS: Final = ("Olga", "Vexler", "555-8173")
"""Values that nobody else has."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage of its own, because the test searches the whole database, and all churches have the same names."""
    async with staging("erase", copies=8) as made:
        yield made


async def found(database: Database, values: tuple[str, ...]) -> dict[str, list[str]]:
    """The tables and columns that hold one of these values, in text, JSON, arrays or bytes."""
    columns = await database.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    )
    parts = []
    for one in columns:
        table, column = one["table_name"], one["column_name"]
        as_text = f"encode(\"{column}\", 'escape')" if one["data_type"] == "bytea" else f'"{column}"::text'
        parts.append(f"SELECT '{table}.{column}' AS place, {as_text} AS said FROM \"{table}\"")
    query = f"SELECT place, said FROM ({' UNION ALL '.join(parts)}) AS everything WHERE said LIKE ANY ($1)"
    where: dict[str, list[str]] = {}
    for row in await database.fetch(query, [f"%{value}%" for value in values]):
        where.setdefault(row["place"], []).append(row["said"])
    return where


NOBODYS: Final = {
    "alembic_version": "of the schema",
    "connection": "of the church; the id in it is of whoever connected",
    "settings": "of the church",
    "inbox": "ids of messages",
    "job": "ids and cursors",
    "message_attempt": "places in topics",
    "sighting": "Planning Center's ids, while a run lasts",
    "alias": "Planning Center's ids",
    "hint": "ids and times of notices",
    "gap": "windows of time",
    "erasure": "the receipt",
    "erased_record": "our ids",
    "erased": "Planning Center's ids",
}
"""Tables that hold nobody's values, and why."""


async def messages(stage: Stage, topic: str, key: str, *, until: str) -> list[tuple[str, dict[str, Any] | None]]:
    """The messages about a key, up to the awaited type: type and body, None for a tombstone."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=stage.kafka, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    told: list[tuple[str, dict[str, Any] | None]] = []

    async def there() -> bool:
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            for message in batch:
                if (message.key or b"").decode() == key:
                    body = json.loads(message.value) if message.value else None
                    kind = dict(message.headers)["ce_type"].decode() if body is not None else "tombstone"
                    told.append((kind, body))
        return bool(told) and told[-1][0] == until

    try:
        await eventually(there)
    finally:
        await consumer.stop()
    return told


async def history_of(site: Site, path: str) -> list[tuple[str, Any, Any]]:
    items = (await site.call("GET", f"{path}/history"))["items"]
    return [(one["field"], one["old"], one["new"]) for one in items]


async def at_home(site: Site) -> dict[str, Any]:
    """Bruno on both sides, edited, undone, in conflict; Olga only here, in a held match."""
    await site.settings(first_match="planning_center")
    site.edit("Bruno", last_name="Quillfeather")
    await site.visible()
    await site.sync()
    bruno = await site.member("Bruno")
    path = f"/members/{bruno['id']}"
    await site.database.fetch("UPDATE member SET external_id = 'platform-7781' WHERE id = $1", bruno["id"])
    await site.call("PATCH", path, {"birthdate": "1981-03-07"})
    (entry,) = [one for one in (await site.call("GET", f"{path}/history"))["items"] if one["field"] == "birthdate"]
    await site.call("POST", f"{path}/history/{entry['id']}/undo")
    await site.looked_at()
    await site.change("Bruno", phone=OURS, birthdate="1981-03-07")
    site.edit_contact("Bruno", "PhoneNumber", number=THEIRS)
    await site.add("Olga", "Vexler", phone=f"(212) {OLGAS[-1]}", email="olga@example.org")
    site.create("Olga", "Vexler", email="o.vexler@example.org")
    await site.visible()
    run = await site.sync()
    assert (run["counts"]["conflict"], run["counts"]["held"]) == (1, 1), run["counts"]
    return bruno


async def test_an_erased_person_leaves_no_trace_and_stays_away(site: Site, stage: Stage) -> None:
    bruno = await at_home(site)
    person = site.person("Bruno")
    family = await site.family_of(BAKERS)
    assert family["primary_contact_id"] == bruno["id"]
    conflict = await site.database.value("SELECT id FROM conflict WHERE record_id = $1", bruno["id"])
    # A preview shows both, and waits.
    await site.change("Bruno", gender="Male")
    await site.regroup(BAKERS, join=["Max"])
    preview = await site.preview()
    before = await found(site.database, BRUNOS)
    filled = {where.split(".")[0] for where in before}
    assert (
        {"member", "link", "effect", "remote", "change", "conflict", "shown", "run"}
        >= filled
        >= {*("member", "link", "effect", "remote", "change", "conflict")}
    )
    assert "held_match" in {where.split(".")[0] for where in await found(site.database, OLGAS)}
    await site.believable()
    mark = site.mark()

    erased = await site.call("POST", f"/members/{bruno['id']}/erasure", {"on_request_of": "person"}, status=201)
    olga = (await site.member("Olga"))["id"]
    second = await site.call("POST", f"/members/{olga}/erasure", {"on_request_of": "church"}, status=201)

    await eventually_sent(site)
    assert await found(site.database, BRUNOS) == {}
    assert await found(site.database, OLGAS) == {}
    lines = {line["place"]: line for line in erased["lines"]}
    for place in ("values", "families", "history", "mirror", "links", "conflicts", "syncs", "mentions"):
        assert (lines[place]["service"], lines[place]["outcome"]) == ("people-sync", "done"), lines[place]
    assert lines["marker"]["outcome"] == "kept"
    assert (erased["complete"], lines["decisions"]["outcome"], erased["pco_ids"]) == (False, "pending", [person["id"]])
    assert {line["place"]: line["outcome"] for line in second["lines"]}["held_matches"] == "done"
    assert (erased["by_name"], erased["on_request_of"]) == ("Test User", "person")

    # The others are told: the topic gets a tombstone, and conflict-service erases its data.
    told = await messages(stage, "people.record.v1", str(bruno["id"]), until="tombstone")
    kind, body = told[-2]
    assert (kind, body and body["erased"]) == ("MemberRemoved", True)
    last = (await messages(stage, "people.conflict.v1", str(bruno["id"]), until="RecordErased"))[-1]
    assert last[1] is not None
    assert last[1]["erasure_id"] == erased["id"]
    answer = ConflictsErased(
        organization_id=site.organization_id,
        version=1,
        record_id=str(bruno["id"]),
        erasure_id=erased["id"],
        conflicts=1,
        decisions=0,
        names=0,
        occurred_at=datetime.now(UTC),
    )
    await publish(stage.kafka, answer, CONFLICT_SERVICE)

    async def complete() -> bool:
        return bool((await site.call("GET", f"/erasures/{erased['id']}"))["complete"])

    await eventually(complete)
    listed = (await site.call("GET", "/erasures"))["items"]
    assert [one["id"] for one in listed] == [second["id"], erased["id"]]

    # The remaining rows say that somebody was erased, but not who.
    assert await history_of(site, f"/members/{bruno['id']}") == [("erased", None, None)]
    assert (await history_of(site, f"/families/{family['id']}"))[0] == ("erased", None, None)
    await site.call("GET", f"/members/{bruno['id']}", status=404)
    after = await site.call("GET", f"/families/{family['id']}")
    assert (after["primary_contact_id"], len(after["member_ids"])) == (None, 2)

    # A late decision, the preview, syncs of both kinds, and one of the family bring nobody back.
    late = ConflictResolved(
        organization_id=site.organization_id,
        version=2,
        conflict_id=str(conflict),
        record_id=str(bruno["id"]),
        decision_id=str(uuid4()),
        decided_on=1,
        choices={"phone": "ours"},
        decided_by="user-ada",
        decided_at=datetime.now(UTC),
    )
    await publish(stage.kafka, late, CONFLICT_SERVICE)
    await site.approved(preview["id"])
    await site.sync()
    assert site.household(BAKERS) == ["Bea", "Bruno", "Max"]
    await site.believable()
    run = await site.sync()
    assert run["counts"].keys() == {"unchanged"}, (run["counts"], await site.items(run["id"]))
    site.edit("Bruno", gender="Female")
    site.rename_household(BAKERS, "Baker Family")
    await site.visible()
    await site.sync("incremental")
    await site.call("POST", f"/families/{family['id']}/sync")
    await site.looked_at()
    assert await site.members_of("Baker Family") == ["Bea", "Max"]
    assert await found(site.database, BRUNOS) == {}
    assert await found(site.database, OLGAS) == {}
    # Planning Center was not touched.
    writes = [entry["path"] for entry in site.journal(mark, writes=True)]
    assert all("household" in path for path in writes), writes
    assert site.household("Baker Family") == ["Bea", "Bruno", "Max"]
    assert site.person("Bruno")["last_name"] == "Quillfeather"
    assert await site.database.value("SELECT count(*) FROM conflict WHERE record_id = $1", bruno["id"]) == 0

    # An administrator lets one of them back.
    back = await site.call("POST", f"/erasures/{erased['id']}/let-back")
    assert (back["pco_ids"], back["let_back_by_name"]) == ([], "Test User")
    await site.call("POST", f"/erasures/{erased['id']}/let-back", status=409)
    await site.looked_at()
    again = await site.member("Bruno")
    assert again["id"] != bruno["id"]
    assert await site.members_of("Baker Family") == ["Bea", "Bruno", "Max"]
    assert await site.members("Olga") == []


async def eventually_sent(site: Site) -> None:
    """Wait until the outbox is empty."""

    async def sent() -> bool:
        return bool(await site.database.value("SELECT count(*) FROM outbox") == 0)

    await eventually(sent)


async def full_of_them(church: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A person in every table that can hold one, in all forms; and the member who stays in the family."""
    gone = await church.add(first_name="Zelda", last_name="Quaxley", phone="(212) 555-9441", email="zq@example.org")
    stays = await church.add(first_name="Ann", last_name="Smith")
    both = {"member_ids": [gone["id"], stays["id"]], "primary_contact_id": gone["id"]}
    shared = await church.call("POST", "/families", {"name": "Smiths", **both}, status=201)
    alone = await church.call("POST", "/families", {"name": "Quaxleys", "member_ids": [gone["id"]]}, status=201)
    await church.connect()
    values = {"first_name": "Zelda", "last_name": "Quaxley", "phone": "(212) 555-9441"}
    agreed = {"name": "Smiths", "members": sorted([gone["id"], stays["id"]]), "primary_contact": gone["id"]}
    await church.link(gone["id"], "501", agreed=values)
    await church.link(stays["id"], "502")
    await church.link(shared["id"], "601", kind="family", agreed=agreed)
    await church.link(alone["id"], "602", kind="family", agreed={"name": "Quaxleys", "members": [gone["id"]]})
    of_church = {"pco_organization_id": "77"}
    of_member = {"kind": "member", "record_id": UUID(gone["id"])}
    run, bulk, held = uuid4(), uuid4(), uuid4()
    now = datetime.now(UTC)
    (link,) = [one for one in await church.rows(Link) if one.pco_id == "501"]
    (home,) = [one for one in await church.rows(Link) if one.pco_id == "601"]
    who = {"by_user_id": "u", "at": now}
    joined = uuid4()
    examples = [{"name": "Zelda Quaxley", "field": "phone"}, {"name": "Ann Smith", "field": "phone"}]
    people = [{"id": gone["id"], "pco_id": "501", "name": "Zelda Quaxley"}, {"id": "x", "pco_id": None, "name": "Ann"}]
    read = {"email_keys": ["zq@example.org"], "name_keys": ["quaxley"], "keys": [1], "read_at": now, "again": False}
    homes = {"email_keys": [], "name_keys": [], "keys": [], "read_at": now, "again": False, "kind": "family"}
    await church.store(
        Member,
        {
            "id": joined,
            "first_name": "Zelda",
            "last_name": "Quaxley",
            "child": False,
            "name_key": "zelda quaxley",
            "email_key": "zq@example.org",
            "active": True,
            "version": 3,
            "deleted_at": now,
        },
    )
    await church.store(Joined, {"member_id": joined, "into_id": UUID(gone["id"]), "external_id": "zelda-1", **who})
    await church.store(KeptOut, {**of_member, **who})
    await church.store(
        Effect,
        {
            **of_member,
            "cause": "run",
            "side": "here",
            "field": "phone",
            "before": None,
            "after": "(212) 555-9441",
            "by": "planning_center",
        },
    )
    await church.store(
        Effect,
        {
            **of_member,
            "cause": "edit",
            "side": "here",
            "field": "first_name",
            "before": "Zolda",
            "after": "Zelda",
            "by": "person",
        },
    )
    await church.store(
        Run,
        {
            **of_church,
            "id": run,
            "kind": "full",
            "state": "waiting",
            "trigger": "person",
            "phase": "apply",
            "done": 0,
            "requests": 0,
            "counts": {},
            "answers": {},
            "version": 4,
            "question": {"kind": "first_match", "counts": {}, "answers": ["ours"], "examples": examples, "digest": "d"},
        },
    )
    for row in (
        {
            **of_member,
            "pco_id": "501",
            "name": "Zelda Quaxley",
            "here": "planned",
            "there": "planned",
            "outcome": "updated_both",
            "planned": "updated_both",
            "plan": [{"field": "phone", "here": "(212) 555-9441"}],
        },
        {
            "kind": "family",
            "record_id": UUID(shared["id"]),
            "pco_id": "601",
            "name": "Smiths",
            "here": "done",
            "there": "done",
            "outcome": "updated_here",
            "plan": [{"field": "members", "here": people}],
            "sentence": "Zelda Quaxley: gone.",
        },
        {
            "kind": "family",
            "record_id": uuid4(),
            "pco_id": "609",
            "name": "Others",
            "here": "none",
            "there": "none",
            "outcome": "created_here",
            "sentence": "Zolda Quaxley: left out.",  # her name at that time
            # From a preview before she was added here, with an id that no record got.
            "plan": [{"field": "members", "here": [{"id": str(uuid4()), "pco_id": "501", "name": "Zelda Quaxley"}]}],
        },
    ):
        await church.store(Change, {**row, "run_id": run})
    unowned = (
        (
            Shown,
            {
                "run_id": run,
                **of_member,
                "key": "501",
                "outcome": "updated_both",
                "digest": "d",
                "name": "Zelda Quaxley",
                "pco_id": "501",
            },
        ),
        (
            LinkWrite,
            {"link_id": link.id, "field": "phone", "before": None, "after": "(212) 555-9441", "announced_at": now},
        ),
        (
            LinkWrite,
            {"link_id": home.id, "field": f"member:{gone['id']}", "before": False, "after": True, "announced_at": now},
        ),
        (HeldSkipped, {"bulk_id": bulk, "position": 0, "sentence": "Zelda Quaxley was answered before."}),
    )
    aside = {
        "consumer": "g",
        "event_id": "e",
        "type": "Later",
        "topic": "t",
        "partition": 0,
        "offset": 1,
        "headers": [],
    }
    answer = {"organization_id": "org-1", "key": "k", "asked": b"", "status": 201, "body": b'{"first_name":"Zelda"}'}
    async with church.app.state.runtime.sessions.begin() as session:
        await session.execute(insert(KEPT_ANSWER).values(answer))
        await session.execute(
            insert(SET_ASIDE).values({**aside, "key": gone["id"].encode(), "value": b"Zelda Quaxley"})
        )
        for table, row in unowned:
            await session.execute(insert(table).values(row))
    await church.store(
        Creation,
        {**of_church, **of_member, "of_record": UUID(gone["id"]), "marker": 4711, "state": "sent", "content": values},
    )
    await church.store(
        Stray,
        {
            **of_church,
            "kind": "member",
            "pco_id": "503",
            "record_id": UUID(gone["id"]),
            "intent_id": UUID(gone["id"]),
            "content": values,
            "made_at": now,
        },
    )
    await church.store(Alias, {**of_church, "removed_id": "499", "kept_id": "501", "merged_at": now, "seen_at": now})
    await church.store(
        Remote,
        {**of_church, "kind": "member", "pco_id": "501", "snapshot": {"values": values}, **read},
        {**of_church, **homes, "pco_id": "602", "snapshot": {"name": "Quaxleys", "person_ids": ["501"]}},
    )
    for record, sentence in ((gone["id"], "Zelda"), (shared["id"], "Done. Zelda Quaxley: left out.")):
        kind = "member" if record == gone["id"] else "family"
        await church.store(
            Refresh,
            {
                **of_church,
                "id": uuid4(),
                "kind": kind,
                "record_id": UUID(record),
                "reasons": ["asked"],
                "urgent": True,
                "not_before": now,
                "state": "done",
                "tries": 1,
                "sentence": sentence,
                "requested_at": now,
            },
        )
    of_held = {**of_church, "more": 0, "different_from": [], "version": 1, "theirs": values}
    candidate = {"member_id": gone["id"], "reasons": ["Zelda Quaxley here."]}
    other = {"member_id": stays["id"], "reasons": ["Ann Smith here."]}
    await church.store(
        HeldMatch,
        {
            **of_held,
            "id": held,
            "pco_id": "504",
            "candidates": [candidate],
            "candidate_ids": [gone["id"]],
            "reasons": ["Zelda Quaxley here."],
            "state": "open",
        },
        {
            **of_held,
            "id": uuid4(),
            "pco_id": "505",
            "candidates": [candidate, other],
            "state": "later",
            "candidate_ids": [gone["id"], stays["id"]],
            "reasons": ["Zelda Quaxley here."],
            "theirs": {"first_name": "Ann", "last_name": "Smithe"},
        },
    )
    await church.store(
        HeldBulk,
        {
            **of_church,
            "id": bulk,
            "answer": "same",
            "held_ids": [held],
            "versions": [1],
            "names": ["Zelda Quaxley"],
            "left_out": 0,
            "may_be_mailed": 0,
            "digest": "d",
            "state": "done",
            "done": 1,
            "skipped": 1,
            "created_at": now,
        },
    )
    field = {"field": "phone", "base": None, "base_known": True, "ours": "(212) 555-9441", "theirs": "5"}
    contact = {**field, "field": "primary_contact", "ours": gone["id"], "theirs": stays["id"]}
    of_conflict = {**of_church, "state": "open", "version": 2, "values_version": 1, "answered": {}, "family_ids": []}
    await church.store(
        Conflict,
        {**of_conflict, **of_member, "id": uuid4(), "pco_id": "501", "name": "Zelda Quaxley", "fields": [field]},
        {
            **of_conflict,
            "id": uuid4(),
            "kind": "family",
            "record_id": UUID(shared["id"]),
            "pco_id": "601",
            "name": "Smiths",
            "fields": [contact],
        },
    )
    return gone, {"stays": stays, "shared": shared, "alone": alone, "joined": str(joined)}


ZELDAS: Final = ("Zelda", "zelda", "Quaxley", "quaxley", "555-9441", "zq@example.org")


async def test_the_erasure_covers_every_table(church: Any, database: str, keys: KeyRing) -> None:
    gone, others = await full_of_them(church)
    ours = Database(database)
    before = await found(ours, ZELDAS)
    # Fill a new table here, or exempt it with a reason; and extend `usecases/erase.py`.
    tables = {table.name for table in Base.metadata.tables.values()} | {"alembic_version"}
    empty = {"family_member": "our ids", "claim": "our ids", "kept_out": "our ids", "held_skipped": "see below"}
    assert {where.split(".")[0] for where in before} | NOBODYS.keys() | empty.keys() == tables
    path = f"/members/{gone['id']}/erasure"

    staff = keys.user_headers("people-sync", organization_id="org-1", roles=("staff",))
    answer = await church.http.post(f"/api/v1/people{path}", json={"on_request_of": "person"}, headers=staff)
    assert answer.status_code == 403
    for receipts in ("erasures", "erasures.csv"):
        assert (await church.http.get(f"/api/v1/people/{receipts}", headers=staff)).status_code == 403
    await church.call("POST", path, {"on_request_of": "person", "version": 99}, status=409)
    job = uuid4()
    async with church.app.state.runtime.sessions.begin() as session:
        await session.execute(
            JOB.insert().values(
                id=job,
                kind=RUNS.job,
                organization_id="org-1",
                payload={},
                state="running",
                lease_owner="w",
                fence=3,
                lease_until=datetime(2100, 1, 1, tzinfo=UTC),
                correlation_id="c",
            )
        )
    await church.store(Claim, {"record_id": UUID(others["shared"]["id"]), "job_id": job, "fence": 3})
    busy = await church.call("POST", path, {"on_request_of": "person"}, status=409)
    assert busy["type"].endswith("busy")
    assert await found(ours, ZELDAS) == before
    async with church.app.state.runtime.sessions.begin() as session:
        await session.execute(JOB.delete())

    for removed, kept in (("400", "401"), ("401", "501"), ("402", "502")):
        at = datetime(2026, 3, 4, tzinfo=UTC)
        merged = {"removed_id": removed, "kept_id": kept, "merged_at": at, "seen_at": at}
        await church.store(Alias, merged | {"pco_organization_id": "77"})
    answered = HeldMatchesAnswered(organization_id="org-1", version=1, held_ids=("h",), state="later", by_name=None)
    async with church.app.state.runtime.sessions.begin() as session:
        await append(session, answered)
    receipt = await church.call("POST", path, {"on_request_of": "person"}, status=201)
    assert await found(ours, ZELDAS) == {}
    await church.call("POST", path, {"on_request_of": "person"}, status=404)
    assert {line["place"] for line in receipt["lines"] if line["count"] == 0} == {
        "decisions",
        "messages",
        "notices",
        "planning_center",
    }
    # People who are or can only be the person, not people who may be somebody else.
    assert receipt["pco_ids"] == ["501", "503", "504"]
    file = (await church.http.get("/api/v1/people/erasures.csv")).content.decode("utf-8-sig")
    lines = list(csv.DictReader(io.StringIO(file)))
    assert [(one["Place"], one["Sentence"]) for one in lines] == [
        (line["place"], line["sentence"]) for line in receipt["lines"]
    ]
    assert {(one["Id"], one["Planning Center ids"]) for one in lines} == {(receipt["id"], "501, 503, 504")}
    assert not [value for value in ZELDAS if value in file]
    (held,) = await church.rows(HeldMatch)
    assert (held.pco_id, held.candidate_ids) == ("505", [others["stays"]["id"]])
    told = await church.events()
    (erased,) = [body for kind, _, body in told if kind == "PersonErased"]
    assert erased["pco_person_ids"] == ["400", "401", "499", "501", "503", "504"], "with those merged into them"
    kinds = {(kind, key) for kind, key, body in told if body is not None}
    families = others["shared"]["id"], others["alone"]["id"]
    assert {("MemberRemoved", gone["id"]), ("FamilyRemoved", families[1]), ("FamilyChanged", families[0])} <= kinds
    assert {key for kind, key in kinds if kind == "RecordErased"} == {gone["id"], families[1], others["joined"]}
    assert {key for _, key, body in told if body is None} == {gone["id"], families[1], others["joined"]}
    assert ("ConflictWithdrawn", families[0]) in kinds
    assert {("SyncRunProgressed", "org-1"), ("HeldMatchesAnswered", "org-1")} <= kinds
    (run,) = await church.rows(Run)
    assert [one["name"] for one in run.question["examples"]] == ["Ann Smith"]
    (link,) = [one for one in await church.rows(Link) if one.kind == "family"]
    assert (link.agreed["members"], link.agreed["primary_contact"]) == ([others["stays"]["id"]], None)
    (family,) = [one for one in await church.rows(Family) if one.deleted_at is None]
    assert family.primary_contact_id is None
    planned = [
        (one.here, one.there, one.outcome, one.planned) for one in await church.rows(Change) if one.planned is None
    ]
    assert ("none", "none", "kept_out", None) in planned

    # No read of them is stored, nor of the person whom we may have created; a household of others is.
    owner = {"organization_id": "org-1", "pco_organization_id": "77"}
    values = PersonValues(first_name="Zelda", last_name="Quaxley")
    made = RemotePerson(pco_id="506", values=values, active=True, contacts={}, updated_at={}, remote_id=4711)
    again = RemotePerson(pco_id="501", values=values, active=True, contacts={}, updated_at={})
    homes = [
        RemoteHousehold(
            pco_id="602", name="Quaxleys", person_ids=("501", "506"), primary_contact_id="501", updated_at={}
        ),
        RemoteHousehold(
            pco_id="601", name="Smiths", person_ids=("501", "502"), primary_contact_id="501", updated_at={}
        ),
    ]
    async with church.app.state.runtime.sessions.begin() as session:
        rows = [remote.row_of(owner, "member", one) for one in (made, again)]
        rows += [remote.row_of(owner, "family", one) for one in homes]
        await remote.put(session, owner, rows, Reading(datetime.now(UTC), timedelta()), None)
    assert [one.pco_id for one in await church.rows(Remote)] == ["601"]
    assert await found(ours, ZELDAS) == {}
    assert {one.pco_id for one in await church.rows(Erased) if one.kind == "member"} == {"501", "503", "504", "506"}


async def test_an_erased_id_supplied_before_the_connection_stays_away(church: Any) -> None:
    ann = {"first_name": "Ann", "last_name": "Smith", "external_id": "m-1", "pco_id": "501"}
    await church.call("PUT", "/bulk", {"members": [ann], "families": []})
    (member,) = await church.rows(Member)
    receipt = await church.call("POST", f"/members/{member.id}/erasure", {"on_request_of": "person"}, status=201)
    assert receipt["pco_ids"] == ["501"]
    refused = await church.call("PUT", "/bulk", {"members": [{**ann, "external_id": "m-2"}], "families": []})
    assert "was erased here" in str(refused["rejected"])
    async with church.app.state.runtime.sessions.begin() as session:
        await adopt_supplied(session, "org-1", "77")
    assert {(one.pco_organization_id, one.pco_id) for one in await church.rows(Erased)} == {("77", "501")}


async def test_a_child_is_erased_at_a_parents_request(church: Any) -> None:
    child = await church.add(first_name="Zoe", child=True)
    path = f"/members/{child['id']}/erasure"
    refused = await church.call("POST", path, {"on_request_of": "person"}, status=422)
    assert refused["errors"][0]["field"] == "on_request_of"
    receipt = await church.call("POST", path, {"on_request_of": "parent"}, status=201)
    assert {line["place"]: line["outcome"] for line in receipt["lines"]}["marker"] == "not_needed"
    await church.call("POST", f"/erasures/{receipt['id']}/let-back", status=409)
    await church.call("GET", f"/erasures/{uuid4()}", status=404)
