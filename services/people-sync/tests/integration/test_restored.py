"""A person's marker in Planning Center proves nothing by itself, because a restored database may have other markers."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from people_sync.storage.sync_tables import Creation
from people_sync.usecases.record import creations
from servicekit.testing import eventually
from servicekit.testing.databases import Database, copy_database, drop_database

pytestmark = pytest.mark.asyncio(loop_scope="session")
_POST_PEOPLE = {"method": "POST", "path": "/people/v2/people$"}


class Backups:
    """Copies of a stage's database, and people-sync on one of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.urls: list[str] = []

    async def take(self) -> str:
        """Back up the database. The service must not be running."""
        await self.stage.database.close()
        self.urls.append(await copy_database(self.stage.database.url))
        return self.urls[-1]

    async def restore(self, url: str, site: Site) -> None:
        """Restore the backup; Planning Center stays unchanged."""
        await self.stage.service.stop()
        self.stage.service.env["DATABASE_URL"] = url
        site.database = Database(url)
        await self.stage.service.start()


@pytest_asyncio.fixture(loop_scope="session")
async def backups(staging: Staging) -> AsyncIterator[Backups]:
    async with staging("restored", copies=1) as stage:
        made = Backups(stage)
        yield made
    for url in made.urls:
        await drop_database(url)


async def nina_is_nobody_there(site: Site) -> None:
    """Check that no person's values came to her, and that none of hers went to a person there."""
    nina = await site.member("Nina")
    assert nina["last_name"] == "New"
    links = "SELECT count(*) FROM link WHERE record_id = $1"
    assert await site.database.value(links, nina["id"]) == 0


async def sentences(site: Site, run: dict[str, Any]) -> str:
    """A run's sentences about postponed records."""
    items = [*await site.items(run["id"], "later"), *await site.items(run["id"], "rejected")]
    return " ".join(item["sentence"] for item in items)


# Kind: one key alone decides an identity.
@pytest.mark.parametrize("known", [False, True], ids=["to before the intent", "to between intent and answer"])
async def test_a_marker_from_before_a_restore_identifies_nobody(backups: Backups, known: bool) -> None:
    """A5: the person whom we created is gone there, and a relative has the marker."""
    stage = backups.stage
    site = await stage.site()
    await site.settings(first_match="planning_center")
    await site.sync()
    await site.add("Nina", "New")
    await stage.service.stop()
    backup = await backups.take()
    await stage.service.start()
    hold = site.fault({"kind": "hold", "when": "after"}, **_POST_PEOPLE)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(hold)["holding"] == 1)
    await stage.service.kill()
    site.control.remove_fault(hold)
    if known:
        backup = await backups.take()
    await stage.service.start()
    await site.until(run_id, "done")
    marker = site.person("Nina")["remote_id"]
    site.delete("Nina")
    otto = site.create("Otto", "New", remote_id=marker)
    await site.visible()
    await backups.restore(backup, site)
    if known:
        await site.until(run_id, "done")
        await nina_is_nobody_there(site)
        said = await sentences(site, await site.sync())
        assert "Otto New has the number that we gave to Nina New" in said
        assert "cannot tell whether Nina New was created" in said
        await nina_is_nobody_there(site)
        assert (await site.members("Otto"), site.people("Nina")) == ([], [])
        site.mutate({"op": "edit", "id": otto, "attributes": {"remote_id": None}})
        await site.visible()
    # Another unanswered creation is found by its own marker.
    await site.add("Zoe", "Zink")
    site.fault({"kind": "reset", "when": "after"}, **_POST_PEOPLE, times=1)
    for _ in range(3):
        await site.sync()
        await site.believable()
    for first in ("Nina", "Otto", "Zoe"):
        assert len(site.people(first)) == len(await site.members(first)) == 1
    assert site.person("Nina")["remote_id"] != site.person("Zoe")["remote_id"]
    assert (await site.sync())["counts"].keys() <= {"unchanged"}


# Kind: one key alone decides an identity.
@pytest.mark.parametrize(("first", "last"), [("Otto", "Other"), ("Otto", "New"), ("Nina", "Other")])
async def test_a_person_with_an_unanswered_intents_marker_may_be_another(site: Site, first: str, last: str) -> None:
    """A5: a drawn marker may be in use there already, even by a relative or a namesake."""
    await site.settings(first_match="planning_center")
    await site.sync()
    await site.add("Nina", "New")
    lost = site.fault({"kind": "reset", "when": "before"}, **_POST_PEOPLE, times=1)
    run_id = await site.start()
    await eventually(lambda: site.control.fault(lost)["acted"] == 1)
    drawn = "SELECT marker FROM creation WHERE organization_id = $1 AND state = 'sent'"
    marker = await site.database.value(drawn, site.organization_id)
    there = site.create(first, last, remote_id=marker, birthdate="1980-01-01")
    await site.visible()
    await site.until(run_id, "done")
    for _ in range(2):
        run = await site.sync()
        assert "cannot tell whether Nina New was created" in await sentences(site, run)
    (nina,) = [row for row in await site.members("Nina") if row["last_name"] == "New"]
    assert nina["birthdate"] is None
    links = "SELECT count(*) FROM link WHERE record_id = $1"
    assert await site.database.value(links, nina["id"]) == 0
    (person,) = [row for row in site.rows("Person") if row["id"] == there]
    assert (person["first_name"], person["last_name"], person["birthdate"]) == (first, last, "1980-01-01")
    site.mutate({"op": "edit", "id": there, "attributes": {"remote_id": None}})
    await site.visible()
    await site.sync()
    names = sorted(
        (row["first_name"], row["last_name"]) for row in site.rows("Person") if row["last_name"] in {"New", last}
    )
    assert names == sorted([("Nina", "New"), (first, last)])


# Kind: a random number counts as unused.
async def test_a_marker_used_by_an_intent_is_drawn_again(church: Any, monkeypatch: Any) -> None:
    taken = {"pco_organization_id": "77", "kind": "member", "record_id": uuid4(), "state": "created"}
    await church.store(Creation, taken | {"marker": 1_000_000_005})
    drawn = iter([5, 5, 6])
    monkeypatch.setattr(creations, "randbelow", lambda _: next(drawn))
    async with church.app.state.runtime.sessions.begin() as session:
        assert await creations._free_marker(session) == 1_000_000_006
