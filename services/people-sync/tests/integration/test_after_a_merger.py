"""What a merger in Planning Center leaves here: a link, a question, a line of the run."""

from typing import Any

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def link_of(site: Site, member: dict[str, Any]) -> tuple[str, str, str | None]:
    """A member's link: its state, its person, and the person that one was merged with."""
    (link,) = await site.database.fetch("SELECT * FROM link WHERE record_id = $1", member["id"])
    return link["state"], link["pco_id"], link["merged_into"]


async def held(site: Site) -> list[dict[str, Any]]:
    """The unanswered held matches."""
    found: list[dict[str, Any]] = (await site.call("GET", "/held-matches"))["items"]
    return found


async def two_lees(site: Site) -> tuple[dict[str, Any], dict[str, Any], str, str]:
    """Lee and Leo, two members of one person; and both ids in Planning Center."""
    removed = str(site.person("Lee")["id"])
    keep = site.create("Leo", "Lane", email="leo@example.org")
    await site.visible()
    await site.sync()
    return await site.member("Lee"), await site.member("Leo"), removed, keep


# Kind: our own advice leads nowhere.
@pytest.mark.parametrize("kind", ["full", "incremental"])
@pytest.mark.parametrize("first", ["merged", "deleted"])
async def test_the_member_who_stays_after_a_merger_gets_the_link(site: Site, first: str, kind: str) -> None:
    """Two linked people are merged, and the linked member is deleted here, in either order."""
    lee, leo, removed, keep = await two_lees(site)
    if first == "deleted":
        await site.remove("Leo")
    site.merge(keep, removed)
    await site.visible()
    if first == "merged":
        run = await site.sync()
        (item,) = await site.items(run["id"], "merged")
        assert "Say in Held matches" in item["sentence"]
        assert await link_of(site, lee) == ("gone", removed, keep)
        await site.remove("Leo")
    run = await site.sync(kind)
    assert await site.items(run["id"], "merged") == []
    assert await link_of(site, lee) == ("linked", keep, None)
    site.edit("Leo", gender="Male")
    await site.visible()
    await site.believable()
    await site.sync(kind)
    assert (await site.database.value("SELECT gender FROM member WHERE id = $1", lee["id"])) == "Male"
    assert len(site.rows("Person")) == 14
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []
    # The deleted member is not added there either, if the platform sends them again.
    await site.database.fetch("UPDATE member SET deleted_at = NULL WHERE id = $1", leo["id"])
    await site.sync()
    assert len(site.rows("Person")) == 14


# Kind: one thing is told as another.
@pytest.mark.parametrize("by_run", [False, True])
async def test_a_merged_member_names_the_member_kept(site: Site, *, by_run: bool) -> None:
    lee, leo, removed, keep = await two_lees(site)
    await site.believable()
    site.merge(keep, removed)
    await site.visible()
    if by_run:
        await site.sync()
    asked = await site.call("POST", f"/members/{lee['id']}/sync", status=202)

    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/syncs/{asked['id']}")
        return found if found["state"] == "done" else None

    end = await eventually(ended)
    assert end["outcome"] == "merged"
    assert end["sentence"].startswith("Lee Lane was merged with Leo Lane in Planning Center.")
    shown = await site.call("GET", f"/members/{lee['id']}")
    assert (shown["link"]["state"], shown["link"]["merged_with"]) == ("gone", str(leo["id"]))
    assert (await site.call("GET", f"/members/{leo['id']}"))["link"]["merged_with"] is None
    await site.call("POST", f"/members/{lee['id']}/create-again", status=409)
    await site.remove("Leo")
    # The page must not link to a deleted member.
    assert (await site.call("GET", f"/members/{lee['id']}"))["link"]["merged_with"] is None


# Kind: a link that has ended keeps its record from another.
@pytest.mark.parametrize("email", [None, "lee@example.org"], ids=["held", "matched"])
async def test_a_gone_member_is_linked_to_the_counterpart_of_a_deleted_one(site: Site, email: str | None) -> None:
    lee, _, removed, keep = await two_lees(site)
    await site.remove("Leo")
    site.delete("Lee")
    await site.visible()
    await site.sync()
    assert await link_of(site, lee) == ("gone", removed, None)
    site.mutate({"op": "edit", "id": keep, "attributes": {"first_name": "Lee"}})
    (address,) = site.contacts("Lee", "Email")
    site.mutate({"op": "delete", "type": "Email", "id": address["id"]})
    if email:
        site.mutate({"op": "create", "type": "Email", "id": keep, "attributes": {"address": email}})
    await site.visible()
    run = await site.sync()
    assert run["counts"].keys() & {"later", "held", "linked"} == {"linked" if email else "held"}, run["counts"]
    if email is None:
        (one,) = await held(site)
        body = {"answer": "same", "member_id": str(lee["id"]), "version": one["version"]}
        await site.call("POST", f"/held-matches/{one['id']}/answer", body)
    assert await link_of(site, lee) == ("linked", keep, None)


# Kind: a question outlives its answer.
async def test_the_person_kept_in_a_merger_is_not_held(site: Site) -> None:
    """The log of mergers identifies the person, so the held member is added as a new person."""
    await site.sync()
    lee = await site.member("Lee")
    other = await site.add("Lee", "Lane")
    removed = str(site.person("Lee")["id"])
    keep = site.create("Lee", "Lane")
    await site.visible()
    await site.sync()
    assert [one["pco_id"] for one in await held(site)] == [keep]
    site.merge(keep, removed)
    await site.visible()
    await site.sync()
    assert await held(site) == []
    assert await link_of(site, lee) == ("linked", keep, None)
    await site.believable()
    await site.sync()
    assert len(site.people("Lee")) == 2
    assert (await link_of(site, {"id": other}))[0] == "linked"


# Kind: a question outlives whom it is about.
async def test_a_person_merged_away_is_not_held(site: Site) -> None:
    await site.sync()
    await site.add("Ned", "Nash")
    removed = site.create("Ned", "Nash")
    await site.visible()
    await site.sync()
    assert [one["pco_id"] for one in await held(site)] == [removed]
    site.merge(str(site.person("Lee")["id"]), removed)
    await site.visible()
    await site.sync("incremental")
    assert await held(site) == []


async def asked(site: Site, run_id: str) -> None:
    """Wait for the run's question about the threshold."""

    async def waiting() -> bool:
        run = await site.until(run_id, "waiting")
        return bool(run["question"])

    await eventually(waiting)


# Kind: what was told before a question is forgotten behind it.
async def test_a_runs_list_keeps_lines_from_before_its_question(site: Site) -> None:
    """A merger, which is reported once, and a person that Planning Center does not show."""
    await site.sync()
    await site.settings(threshold_percent=1, threshold_minimum=1)
    carl = str((await site.member("Carl"))["id"])
    site.merge(str(site.person("Cora")["id"]), str(site.person("Carl")["id"]))
    site.edit("Ned", last_name="Nashson")
    path = f"/people/v2/people/{site.create('Pam', 'Page')}$"
    site.control.set_raw(site.church.id, "Person", str(site.person("Pam")["id"]), birthdate="0000-00-00")
    site.fault({"kind": "respond", "status": 403}, method="GET", path=path)
    await site.visible()
    run_id = await site.start()
    await asked(site, run_id)
    before = [(item["outcome"], item["name"]) for item in await site.items(run_id)]
    assert {"merged", "rejected"} <= {outcome for outcome, _ in before}, before
    await site.approve(run_id)
    run = await site.until(run_id, "done")
    after = [(item["outcome"], item["name"]) for item in await site.items(run_id)]
    assert sorted(after) == sorted(before)
    assert (run["counts"]["merged"], run["counts"]["rejected"]) == (1, 1)
    (item,) = await site.items(run_id, "merged")
    assert item["record_id"] == carl
