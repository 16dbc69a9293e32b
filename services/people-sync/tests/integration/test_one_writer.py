"""Decisions about a record, or reads of it, while the writer's request is under way."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage whose requests may hang for as long as a test needs."""
    async with staging("writers", PCO_REQUEST_TIMEOUT_SECONDS=60, JOB_LEASE_SECONDS=90) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def site(stage: Stage) -> Site:
    """A site in sync, with the first-match choice made."""
    made = await stage.site()
    await made.settings(first_match="planning_center")
    await made.sync()
    return made


async def asked_for(site: Site, *, pco_id: str) -> None:
    """Queue a sync of an unlinked person in Planning Center, as a webhook will, and wait for its end."""
    id_ = uuid4()
    await site.database.fetch(
        "INSERT INTO refresh (id, organization_id, pco_organization_id, kind, pco_id, reasons, urgent, not_before,"
        " state, tries, requested_at) VALUES ($1, $2, $3, 'member', $4, '{asked}', true, now(), 'queued', 0, now())",
        id_,
        site.organization_id,
        site.church.id,
        pco_id,
    )

    async def done() -> bool:
        return bool(await site.database.value("SELECT state FROM refresh WHERE id = $1", id_) == "done")

    await eventually(done)


async def held_in(site: Site, fault: str) -> None:
    await eventually(lambda: site.control.fault(fault)["holding"])


async def let_go(site: Site, fault: str) -> None:
    site.control.release(fault)
    site.control.remove_fault(fault)


async def linked_to(site: Site, member_id: str) -> Any:
    return await site.database.value("SELECT pco_id FROM link WHERE record_id = $1", UUID(member_id))


async def test_an_answer_about_a_member_being_added_there_waits(site: Site) -> None:
    nina = await site.add("Nina", "New", email="nina@example.org")
    hold = site.fault({"kind": "hold", "when": "after"}, method="POST", path="/people/v2/people$")
    run_id = await site.start("incremental")
    await held_in(site, hold)
    another = site.create("Nina", "New", email="another.nina@example.org")
    await site.visible()
    await asked_for(site, pco_id=another)
    [held] = (await site.call("GET", "/held-matches"))["items"]
    answer = {"answer": "same", "member_id": nina, "version": held["version"]}
    refused = await site.call("POST", f"/held-matches/{held['id']}/answer", answer, status=409)
    assert refused["type"].endswith("busy")
    await let_go(site, hold)
    await site.until(run_id, "done")
    assert await linked_to(site, nina) not in {None, another}
    assert len(site.people("Nina")) == 2


async def test_an_id_supplied_during_the_members_creation_counts(site: Site) -> None:
    await site.settings(first_match="planning_center")
    nina = {"external_id": "n", "first_name": "Nina", "last_name": "New", "birthdate": "1980-01-01"}
    await site.call("PUT", "/bulk", {"members": [nina]})
    id_ = str((await site.member("Nina"))["id"])
    hold = site.fault({"kind": "hold", "when": "after"}, method="POST", path="/people/v2/people$")
    run_id = await site.start("incremental")
    await held_in(site, hold)
    another = site.create("Nora", "Newman")
    await site.call("PUT", "/bulk", {"members": [nina | {"pco_id": another}]})
    await let_go(site, hold)
    await site.until(run_id, "done")
    await site.believable()
    await site.sync()
    assert await linked_to(site, id_) == another
    # Records postponed by the first run are synced beside these.
    await site.believable()
    await site.sync()
    await site.believable()
    run = await site.sync()
    assert run["counts"].keys() <= {"unchanged"}, await site.items(run["id"])


async def test_a_created_person_linked_to_another_member_is_one_line(site: Site) -> None:
    """All other records still sync."""
    nina = await site.add("Nina", "New")
    lost = site.fault({"kind": "reset", "when": "after"}, method="POST", path="/people/v2/people$", times=1)
    run_id = await site.start("incremental")
    await eventually(lambda: site.control.fault(lost)["acted"])
    await site.call("POST", f"/runs/{run_id}/stop")
    await site.until(run_id, "stopped")
    # Renamed there, added here as a new member, and renamed back.
    person = site.person("Nina")["id"]
    zita, again = {"first_name": "Zita", "last_name": "Zink"}, {"first_name": "Nina", "last_name": "New"}
    site.mutate({"op": "edit", "id": person, "attributes": zita})
    await site.visible()
    await asked_for(site, pco_id=person)
    site.mutate({"op": "edit", "id": person, "attributes": again})
    await site.visible()
    await site.database.fetch("UPDATE creation SET look_after = now() WHERE record_id = $1", UUID(nina))
    await site.change("Bruno", last_name="Bakerson")
    run = await site.sync("incremental")
    assert site.person("Bruno")["last_name"] == "Bakerson"
    [item] = await site.items(run["id"], "rejected")
    assert item["record_id"] == nina
    assert len(site.people("Nina")) == 1


async def test_a_link_does_not_end_during_a_write_of_its_record(site: Site) -> None:
    """A run finds a person missing whom another writer is writing; the write's answer shows that they exist."""
    bruno = str((await site.member("Bruno"))["id"])
    person = site.person("Bruno")["id"]
    await site.change("Bruno", last_name="Bakerson")
    hold = site.fault({"kind": "hold", "when": "after"}, method="PATCH", path=f"/people/v2/people/{person}$", times=1)
    asked = await site.call("POST", f"/members/{bruno}/sync", status=202)
    await held_in(site, hold)
    missing = "UPDATE link SET state = 'missing', missing_since = now() - interval '1 hour' WHERE record_id = $1"
    async with site.held_up("Carl"):
        site.edit("Carl", last_name="There")
        await site.visible()
        run_id = await site.start()
        await site.waits()
        await site.database.fetch(missing, UUID(bruno))
        await site.database.fetch(
            "INSERT INTO change (organization_id, run_id, kind, record_id, pco_id, name, here, there, outcome)"
            " VALUES ($1, $2, 'member', $3, $4, 'Bruno', 'planned', 'none', 'gone')"
            " ON CONFLICT (run_id, kind, record_id) DO UPDATE SET outcome = 'gone', here = 'planned', there = 'none'",
            site.organization_id,
            UUID(run_id),
            UUID(bruno),
            person,
        )
    await site.until(run_id, "done", within=120)
    state = await site.database.value("SELECT state FROM link WHERE record_id = $1", UUID(bruno))
    await let_go(site, hold)
    assert state != "gone"

    async def ended() -> bool:
        return bool((await site.call("GET", f"/syncs/{asked['id']}"))["state"] == "done")

    await eventually(ended)
    await site.believable()
    await site.sync()
    link = await site.database.value("SELECT state FROM link WHERE record_id = $1", UUID(bruno))
    assert link == "linked"
    assert (await site.member("Bruno"))["last_name"] == site.person("Bruno")["last_name"] == "Bakerson"


async def test_a_second_request_reports_the_first_ones_outcome(site: Site) -> None:
    """The second sync finds nothing left to do, but the outcome is that of the first."""
    site.edit("Bruno", gender="Male")
    await site.visible()
    bruno = str((await site.member("Bruno"))["id"])
    held = site.fault({"kind": "hold", "when": "before"}, method="GET", path="^/people/v2/people/[0-9]+$", times=1)
    first = await site.call("POST", f"/members/{bruno}/sync")
    await eventually(lambda: site.control.fault(held)["holding"] >= 1)
    second = await site.call("POST", f"/members/{bruno}/sync")
    site.control.remove_fault(held)
    assert first["id"] == second["id"]

    async def ended() -> Any:
        found = await site.call("GET", f"/syncs/{first['id']}")
        return found if found["state"] == "done" else None

    assert (await eventually(ended, within=60))["outcome"] == "updated_here"
