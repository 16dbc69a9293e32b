"""A worker is frozen between a request's check and its answer, so the vendor executes its request and its successor's.

The successor takes over, finds nothing and creates the record; then the first request arrives as well. The frozen
worker learns from the answer that it lost the lease, and stores the created record as a stray.
"""

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from sync_harness.process import LAG, LEASE_SECONDS, Service, ports, running
from sync_harness.site import OVER, Site
from sync_harness.stage import Stage, Staging

from people_sync.storage.runs import RUNS
from people_sync.usecases import refreshes
from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    async with staging("strays") as made:
        yield made


@asynccontextmanager
async def beside(stage: Stage) -> AsyncIterator[Service]:
    """Another people-sync on the same database."""
    async with running({**stage.service.env, **ports()}, stage.service.log.with_name("second.log")) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def second(stage: Stage) -> AsyncIterator[Service]:
    async with beside(stage) as service:
        yield service


@asynccontextmanager
async def frozen(
    stage: Stage, second: Service, site: Site, path: str, *, refresh: str | None = None
) -> AsyncIterator[Service]:
    """The worker of a run, frozen during a POST to `path`, which is executed once a successor has ended the run.

    `refresh`: the worker syncs only this member instead. It resumes after the block, unless it has ended in it.
    """
    fault = site.fault({"kind": "hold", "when": "before", "if_gone": "carried_out"}, method="POST", path=path, times=1)
    if refresh is None:
        job, asked = RUNS.job, f"/runs/{await site.start()}"
    else:
        member = await site.member(refresh)
        sync = await site.call("POST", f"/members/{member['id']}/sync")
        job, asked = refreshes.REFRESHES.job, f"/syncs/{sync['id']}"
    await eventually(lambda: site.control.fault(fault)["holding"] == 1, within=120, every=0.02)
    owner = await site.database.value(
        "SELECT lease_owner FROM job WHERE organization_id = $1 AND kind = $2 AND state = 'running'",
        site.organization_id,
        job,
    )
    paused = next(one for one in (stage.service, second) if f":{one.pid}:" in owner)
    site.through((second if paused is stage.service else stage.service).base_url)
    paused.send(signal.SIGSTOP)

    async def end() -> str | None:
        state = str((await site.call("GET", asked))["state"])
        return state if state in OVER else None

    try:
        assert await eventually(end, within=LEASE_SECONDS + 120, every=0.2) == "done"
        site.control.release(fault)
        await eventually(lambda: site.control.fault(fault)["holding"] == 0)
        yield paused
    finally:
        if paused.running:
            paused.send(signal.SIGCONT)


async def settled(site: Site) -> None:
    """Wait until no stray is unsettled and no refresh is queued."""

    async def nothing() -> bool:
        stray = "SELECT count(*) FROM stray WHERE organization_id = $1 AND settled_at IS NULL"
        told = "SELECT count(*) FROM refresh WHERE organization_id = $1 AND state = 'done' AND 'stray' = ANY(reasons)"
        return not await site.database.value(stray, site.organization_id) and bool(
            await site.database.value(told, site.organization_id)
        )

    await eventually(nothing, within=120, every=0.1)


async def history(site: Site, first_name: str) -> list[tuple[str, str | None]]:
    """A member's history: field and rule."""
    member = await site.member(first_name)
    items = (await site.call("GET", f"/members/{member['id']}/history"))["items"]
    return [(item["field"], item["rule"]) for item in items]


async def told(site: Site) -> str:
    """The sentence of the record's refresh."""
    query = "SELECT sentence FROM refresh WHERE organization_id = $1 AND 'stray' = ANY(reasons)"
    return str(await site.database.value(query, site.organization_id))


async def linked_to(site: Site, first_name: str) -> str:
    """Planning Center's id of a member."""
    member = await site.member(first_name)
    return str(await site.database.value("SELECT pco_id FROM link WHERE record_id = $1", member["id"]))


def statuses(site: Site) -> dict[str, bool]:
    """Whether each person of this name is active, by id."""
    return {row["id"]: row.get("status") != "inactive" for row in site.people("Nora")}


async def nothing_more(site: Site) -> None:
    """Check that the next syncs change nothing on either side."""
    await site.believable()
    for _ in range(2):
        run = await site.sync()
        assert run["counts"].keys() <= {"unchanged"}, [
            await site.items(run["id"]),
            await site.database.fetch("SELECT * FROM effect WHERE cause_id::text = $1", run["id"]),
        ]


CONTACTS: dict[str, tuple[str, str, Any, dict[str, Any]]] = {
    "email": ("Email", "email", "nora@example.org", {"address": "nora@example.org"}),
    "phone": ("PhoneNumber", "phone number", "(212) 555-0140", {"number": "(212) 555-0140"}),
    "address": (
        "Address",
        "address",
        {"street_line_1": "9 Oak St", "city": "Ashford", "zip": "06278"},
        {"street_line_1": "9 Oak St", "city": "Ashford", "zip": "06278"},
    ),
}
PATHS = {"email": "/emails$", "phone": "/phone_numbers$", "address": "/addresses$"}


# Kind: a request is sent after the loss of its lease.
@pytest.mark.parametrize("refresh", [False, True], ids=["run", "sync of one"])
@pytest.mark.parametrize("field", CONTACTS)
async def test_a_doubled_contact_is_taken_back(stage: Stage, second: Service, field: str, refresh: bool) -> None:
    """By each kind of job that may have made the duplicate."""
    type_, called, value, shown = CONTACTS[field]
    site = await stage.site()
    await site.sync()
    await site.add("Nora", "New", **{field: value})
    async with frozen(stage, second, site, PATHS[field], refresh="Nora" if refresh else None):
        assert len(site.contacts("Nora", type_)) == 2
    await settled(site)
    (contact,) = site.contacts("Nora", type_)
    assert {name: contact[name] for name in (*shown, "primary")} == {**shown, "primary": True}
    assert (field, "doubled") in await history(site, "Nora")
    assert f"The {called} was there twice" in await told(site)
    await nothing_more(site)
    assert len(site.contacts("Nora", type_)) == len(site.people("Nora")) == 1


async def test_an_outdated_email_is_taken_back(stage: Stage, second: Service) -> None:
    """The member got another e-mail while the worker that sent the first one was frozen."""
    site = await stage.site()
    await site.sync()
    await site.add("Nora", "New", email="old@example.org")
    async with frozen(stage, second, site, "/emails$"):
        await site.change("Nora", email="nora@example.org")
        await site.sync()
    await settled(site)
    assert (await site.member("Nora"))["email"] == "nora@example.org"
    await nothing_more(site)
    assert [row["address"] for row in site.contacts("Nora", "Email")] == ["nora@example.org"]


async def test_a_stray_with_our_newer_email_is_not_taken_back(staging: Staging) -> None:
    """A stale read shows both with the former e-mail; the contact with ours was deleted, and the other one kept."""
    lag_seconds = 5
    async with staging("newer", PCO_STALENESS_HORIZON_SECONDS=lag_seconds + 1) as stage, beside(stage) as second:
        site = await stage.site()
        site.horizon_seconds = lag_seconds + 1
        site.control.change_settings(**dict.fromkeys(LAG, 0), lag_past_ms=30_000)
        await site.sync()
        await site.add("Nora", "New", email="old@example.org")
        async with frozen(stage, second, site, "/emails$"):
            both_there = time.monotonic()
            await eventually(lambda: time.monotonic() - both_there > lag_seconds)
            await site.change("Nora", email="nora@example.org")
            await site.sync()
            site.control.change_settings(singles_lag_ms=lag_seconds * 1000)
        await settled(site)
        await nothing_more(site)
        assert (await site.member("Nora"))["email"] == "nora@example.org"
        assert [row["address"] for row in site.contacts("Nora", "Email")] == ["nora@example.org"]


async def test_a_doubled_person_is_made_inactive_and_shown(stage: Stage, second: Service) -> None:
    site = await stage.site()
    await site.sync()
    await site.add("Nora", "New", email="nora@example.org")
    async with frozen(stage, second, site, "/people/v2/people$"):
        assert len(site.people("Nora")) == 2
        linked = await linked_to(site, "Nora")
    await settled(site)
    assert statuses(site) == {row["id"]: row["id"] == linked for row in site.people("Nora")}
    assert ("planning_center_id", "doubled") in await history(site, "Nora")
    assert "Nora New" in await told(site)
    await nothing_more(site)
    assert len(await site.members("Nora")) == 1


async def test_a_doubled_household_is_emptied_and_shown(stage: Stage, second: Service) -> None:
    site = await stage.site()
    await site.sync()
    members = [await site.add(name, "New", email=f"{name}@example.org") for name in ("Nora", "Nils")]
    await site.family("New", *members)
    async with frozen(stage, second, site, "/people/v2/households$"):
        assert len([row for row in site.rows("Household") if row["name"] == "New"]) == 2
    await settled(site)
    households = {int(row["id"]): row["name"] for row in site.rows("Household") if row["name"] == "New"}
    people = [row["household_id"] for row in site.rows("HouseholdMembership") if row["household_id"] in households]
    assert (len(households), len(people), len(set(people))) == (2, 2, 1), people
    assert ("families", "doubled") in await history(site, "Nora")
    assert "New" in await told(site)
    await nothing_more(site)
    assert await site.members_of("New") == ["Nils", "Nora"]


async def test_a_doubled_membership_is_removed(stage: Stage, second: Service) -> None:
    site = await stage.site()
    await site.sync()
    await site.regroup("Baker Household", join=["Lee"])
    async with frozen(stage, second, site, "/household_memberships$") as worker:
        before = worker.log.read_text().count("lease lost")
    await eventually(lambda: worker.log.read_text().count("lease lost") > before)
    await nothing_more(site)
    assert site.household("Baker Household") == ["Bea", "Bruno", "Lee"]
    assert await site.members_of("Baker Household") == ["Bea", "Bruno", "Lee"]


async def test_a_doubled_person_of_a_dead_worker_is_recognized_by_the_marker(stage: Stage, second: Service) -> None:
    site = await stage.site()
    await site.sync()
    await site.add("Nora", "New", email="nora@example.org")
    async with frozen(stage, second, site, "/people/v2/people$") as worker:
        await worker.kill()
    await worker.start()
    linked = await linked_to(site, "Nora")
    await site.believable()
    await site.sync()
    await settled(site)
    assert statuses(site) == {row["id"]: row["id"] == linked for row in site.people("Nora")}
    assert len(site.people("Nora")) == 2
    await nothing_more(site)
    assert len(await site.members("Nora")) == 1


# --- unanswered, and the value is no longer wanted --------------------------------------------------------------------


async def unanswered(site: Site, first_name: str, contact_id: str, email: str) -> None:
    """A contact created by a worker, with an unanswered intent."""
    member = await site.member(first_name)
    owner = (site.organization_id, site.church.id)
    await site.database.fetch(
        "INSERT INTO creation (organization_id, pco_organization_id, kind, record_id, of_record, state, content, "
        "sent_at, look_after) VALUES ($1, $2, 'email', $3, $3, 'sent', $4, now(), now())",
        *owner,
        member["id"],
        {"email": email},
    )
    await site.database.fetch(
        "INSERT INTO stray (organization_id, pco_organization_id, kind, pco_id, record_id, intent_id, content, "
        "made_at) VALUES ($1, $2, 'email', $3, $4, $4, $5, now() - interval '1 hour')",
        *owner,
        contact_id,
        member["id"],
        {"email": email},
    )


async def test_an_unwanted_stray_that_does_not_exist_is_settled(site: Site) -> None:
    await site.sync()
    await unanswered(site, "Bruno", "987654321", "gone@example.org")
    await site.sync()
    await settled(site)
    assert await site.database.fetch("SELECT * FROM stray WHERE organization_id = $1", site.organization_id) == []


async def test_a_stray_of_a_member_deleted_here_is_settled(site: Site) -> None:
    await site.sync()
    await unanswered(site, "Bruno", "987654321", "bruno.else@example.org")
    await site.change("Bruno", email="bruno.else@example.org")
    await site.remove("Bruno")
    await site.sync()
    await settled(site)


async def test_an_unwanted_stray_that_exists_is_taken_back(site: Site) -> None:
    await site.sync()
    before = [row["address"] for row in site.contacts("Bruno", "Email")]
    made = {"op": "create", "type": "Email", "id": site.person("Bruno")["id"]}
    (contact,) = site.mutate(made | {"attributes": {"address": "unwanted@example.org"}})
    await unanswered(site, "Bruno", contact["id"], "unwanted@example.org")
    await site.visible()
    await site.sync()
    await settled(site)
    assert [row["address"] for row in site.contacts("Bruno", "Email")] == before
    await nothing_more(site)


# --- no member here is free, so newcomers are planned by one statement ------------------------------------------------


async def test_a_known_stray_is_no_newcomer(site: Site) -> None:
    await site.sync()
    bruno = await site.member("Bruno")
    stray = site.create("Bruno", "Baker", email="bruno@example.org", status="inactive")
    await site.database.fetch(
        "INSERT INTO stray (organization_id, pco_organization_id, kind, pco_id, record_id, intent_id, content, "
        "made_at, settled_at) VALUES ($1, $2, 'member', $3, $4, $4, '{}', now(), now())",
        site.organization_id,
        site.church.id,
        stray,
        bruno["id"],
    )
    await site.visible()
    run = await site.sync()
    assert "created_here" not in run["counts"]
    assert len(await site.members("Bruno")) == 1


async def test_a_stray_with_our_marker_is_no_newcomer(site: Site) -> None:
    """The worker that created the second one never stored it."""
    await site.sync()
    await site.add("Nora", "Nash", email="nora@example.org")
    await site.sync("incremental")
    await site.believable()
    marker = site.person("Nora")["remote_id"]
    site.create("Nora", "Nash", email="nora@example.org", remote_id=marker)
    await site.visible()
    run = await site.sync()
    assert "created_here" not in run["counts"]
    assert len(await site.members("Nora")) == 1

    async def one_is_active() -> bool:
        return sorted(one.get("status", "active") for one in site.people("Nora")) == ["active", "inactive"]

    await eventually(one_is_active)
