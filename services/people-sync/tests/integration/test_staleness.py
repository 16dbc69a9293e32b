"""Stale reads for longer than a run takes, in lists, filters and single reads."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

pytestmark = pytest.mark.asyncio(loop_scope="session")
LAG_SECONDS: Final = 6.0
HORIZON_SECONDS: Final = 7.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage whose reads lag by seconds."""
    async with staging("stale", PCO_STALENESS_HORIZON_SECONDS=HORIZON_SECONDS) as made:
        milliseconds = int(LAG_SECONDS * 1000)
        made.simulator.control.change_settings(
            lists_lag_ms=milliseconds, filters_lag_ms=milliseconds, singles_lag_ms=milliseconds
        )
        yield made


@pytest.fixture
def late(site: Site) -> Site:
    """A site that knows the lag of reads."""
    site.horizon_seconds, site.lag_seconds = HORIZON_SECONDS, LAG_SECONDS
    return site


async def open_conflicts(site: Site) -> int:
    statement = "SELECT count(*) FROM conflict WHERE organization_id = $1 AND state = 'open'"
    return int(await site.database.value(statement, site.organization_id))


async def test_own_writes_are_neither_reverted_nor_counted_as_edits(late: Site) -> None:
    await late.sync()
    await late.change("Bruno", last_name="Bakerson", phone="(212) 555-0150", email="bb@example.org")
    await late.change("Alan", address={"street_line_1": "7 Pine St", "city": "Ashford"})
    await late.change("Abel", email="abel@example.org")
    await late.change("Dora", phone=None)
    await late.regroup("Baker Household", join=["Cora"])
    await late.regroup("Abbot Household", leave=["Amy"])
    dean = (await late.family_of("Dean Household"))["id"]
    await late.call("PATCH", f"/families/{dean}", {"name": "Dean Family"})
    await late.sync()

    async def check() -> None:
        bruno = await late.member("Bruno")
        assert (bruno["last_name"], bruno["phone"]) == ("Bakerson", "(212) 555-0150")
        assert bruno["email"] == "bb@example.org"
        assert late.person("Bruno")["last_name"] == "Bakerson"
        assert [row["address"] for row in late.contacts("Bruno", "Email")] == ["bb@example.org"]
        assert [row["number"] for row in late.contacts("Bruno", "PhoneNumber")] == ["(212) 555-0150"]
        assert [row["address"] for row in late.contacts("Abel", "Email")] == ["abel@example.org"]
        assert (await late.member("Abel"))["email"] == "abel@example.org"
        assert (await late.member("Alan"))["address"]["street_line_1"] == "7 Pine St"
        assert (await late.member("Dora"))["phone"] is None
        assert late.contacts("Dora", "PhoneNumber") == []
        assert late.household("Baker Household") == ["Bea", "Bruno", "Cora"]
        assert await late.members_of("Baker Household") == ["Bea", "Bruno", "Cora"]
        assert late.household("Abbot Household") == ["Abel", "Alan"]
        assert await late.members_of("Abbot Household") == ["Abel", "Alan"]
        assert await late.members_of("Dean Family") == late.household("Dean Family") == ["Dan", "Dora"]
        assert await open_conflicts(late) == 0

    mark = late.mark()
    for kind in ("full", "incremental"):
        run = await late.sync(kind)
        assert run["counts"].keys() <= {"unchanged", "later"}, run
        await check()
    await late.believable()
    run = await late.sync()
    assert run["counts"].keys() <= {"unchanged"}, run
    await check()
    assert late.journal(mark, writes=True) == []


async def test_a_person_just_created_is_not_gone(late: Site) -> None:
    await late.sync()
    one = await late.add("Nina", "New", email="nina@example.org", phone="(212) 555-0140")
    two = await late.add("Nils", "New", child=True)
    await late.call("POST", "/families", {"name": "New Household", "member_ids": [one, two], "primary_contact_id": one})
    await late.sync()
    mark = late.mark()
    for kind in ("full", "incremental"):
        run = await late.sync(kind)
        assert run["counts"].keys() <= {"unchanged", "later"}, run
    await late.change("Nina", phone="(212) 555-0141")
    await late.sync()
    await late.believable()
    await late.sync()
    assert [row["number"] for row in late.contacts("Nina", "PhoneNumber")] == ["(212) 555-0141"]
    assert late.household("New Household") == ["Nils", "Nina"]
    assert [len(late.people("Nina")), len(await late.members("Nina"))] == [1, 1]
    assert len(late.contacts("Nina", "Email")) == 1
    writes = late.journal(mark, writes=True)
    assert [entry["method"] for entry in writes] == ["PATCH"]


async def test_edits_there_within_the_staleness_horizon_are_not_lost(late: Site) -> None:
    await late.sync()
    for first in ("Alan", "Amy", "Bruno"):
        await late.change(first, last_name="Ours")
    await late.sync()
    late.edit_contact("Alan", "PhoneNumber", number="(212) 555-0171")  # another field than ours
    late.edit("Amy", last_name="Theirs")  # the one just written
    late.edit("Bruno", last_name="Baker")  # back to what it was
    await late.sync()
    await late.visible()
    await late.believable()
    await late.sync("incremental")
    assert (await late.member("Alan"))["phone"] == "(212) 555-0171"
    assert (await late.member("Alan"))["last_name"] == late.person("Alan")["last_name"] == "Ours"
    assert (await late.member("Amy"))["last_name"] == late.person("Amy")["last_name"] == "Theirs"
    assert (await late.member("Bruno"))["last_name"] == late.person("Bruno")["last_name"] == "Baker"
    assert await open_conflicts(late) == 0


async def test_requests_sent_just_before_their_process_died(late: Site) -> None:
    """They were announced an hour ago and waited for their turn; reads are conclusive a horizon after the takeover."""
    await late.sync()
    await late.believable()
    bruno, dean = await late.member("Bruno"), await late.family_of("Dean Household")
    announced = (
        "WITH touched AS (UPDATE link SET remote_hash = NULL WHERE record_id = $1 RETURNING id)"
        " INSERT INTO link_write (link_id, field, before, after, announced_at)"
        " SELECT id, $2, $3, $4, now() - interval '1 hour' FROM touched"
    )
    await late.database.fetch(announced, bruno["id"], "last_name", bruno["last_name"], "Bakerson")
    await late.database.fetch(announced, dean["id"], "name", dean["name"], "Dean Family")
    marker = 1_234_567_890
    await late.database.fetch(
        "INSERT INTO creation"
        " (organization_id, pco_organization_id, kind, record_id, of_record, marker, content, state, sent_at,"
        " look_after)"
        " SELECT organization_id, pco_organization_id, 'member', $2, $2, $3, $4, 'sent', now() - interval '1 hour',"
        " now() - interval '1 hour' FROM connection WHERE organization_id = $1",
        late.organization_id,
        UUID(await late.add("Lost", "Answer")),
        marker,
        {"first_name": "Lost", "last_name": "Answer"},
    )
    lost = (await late.member("Lost"))["id"]
    for record_id in (bruno["id"], dean["id"], lost):
        await late.database.fetch(
            "INSERT INTO claim (organization_id, record_id, job_id, fence) VALUES ($1, $2, $3, 1)",
            late.organization_id,
            record_id,
            uuid4(),
        )
    # Changed here, and changed back since.
    for name in ("Bakerson", bruno["last_name"]):
        await late.change("Bruno", last_name=name)
    for name in ("Dean Family", dean["name"]):
        await late.call("PATCH", f"/families/{dean['id']}", {"name": name})
    # A request never outlives its lease, so it has arrived by the takeover, and reads show it later.
    late.edit("Bruno", last_name="Bakerson")
    late.rename_household(dean["name"], "Dean Family")
    late.create("Lost", "Answer", remote_id=marker)
    await late.sync()
    await late.visible()
    await late.believable()
    await late.sync()
    assert (await late.member("Bruno"))["last_name"] == late.person("Bruno")["last_name"] == bruno["last_name"]
    assert (await late.family_of(dean["name"]))["id"] == dean["id"]
    assert late.household(dean["name"])
    assert len(await late.members("Lost")) == len(late.people("Lost")) == 1
