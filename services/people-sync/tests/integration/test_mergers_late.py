"""The log of mergers shows a merger later than the staleness horizon, which must not double anybody here."""

from collections.abc import Iterator
from typing import Any

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def late_log(site: Site) -> Iterator[None]:
    """The log of mergers shows no entry younger than a minute."""
    site.control.change_settings(mergers_lag_ms=60_000)
    yield
    site.control.change_settings(mergers_lag_ms=0)


async def link_of(site: Site, member: dict[str, Any]) -> tuple[str, str]:
    (link,) = await site.database.fetch("SELECT * FROM link WHERE record_id = $1", member["id"])
    return link["state"], link["pco_id"]


# Kind: a stale read ends a link.
async def test_two_members_whose_merger_shows_late(site: Site, late_log: None) -> None:
    """A6: one counts as gone until the log shows the merger; then both are named, and neither is added there again."""
    await site.sync()
    bea, bruno = await site.member("Bea"), await site.member("Bruno")
    site.merge(str(site.person("Bea")["id"]), str(site.person("Bruno")["id"]))
    await site.visible()
    assert (await site.sync())["counts"]["gone"] == 1
    site.control.change_settings(mergers_lag_ms=0)
    run = await site.sync()
    (item,) = await site.items(run["id"], "merged")
    assert "Bruno" in item["sentence"]
    assert "Bea" in item["sentence"]
    assert (await link_of(site, bea), await link_of(site, bruno)) == (
        ("linked", str(site.person("Bea")["id"])),
        ("gone", (await link_of(site, bruno))[1]),
    )
    answer = await site.call("POST", f"/members/{bruno['id']}/create-again", status=409)
    assert answer["type"].endswith("merged")
    assert site.people("Bruno") == []
    assert (await site.sync())["counts"].keys() <= {"unchanged"}


# Kind: a lagging log loses an identity.
@pytest.mark.parametrize("kind", ["full", "incremental"])
@pytest.mark.parametrize(("first_name", "email"), [("Bruno", "bruno@example.org"), ("Otto", "otto@example.org")])
async def test_the_kept_person_is_linked_to_the_known_member(
    site: Site, late_log: None, first_name: str, email: str, kind: str
) -> None:
    """A6: a person is added there and merged before the next sync; the member stays single, linked as the log says."""
    await site.sync()
    before = await site.member("Bruno")
    removed = str(site.person("Bruno")["id"])
    keep = site.create(first_name, "Baker", email=email)
    site.merge(keep, removed)
    await site.visible()
    await site.sync(kind)
    site.control.change_settings(mergers_lag_ms=0)
    await site.sync()
    await site.believable()
    await site.sync()
    assert await link_of(site, before) == ("linked", keep)
    (after,) = await site.members(first_name)
    assert after["id"] == before["id"]
    assert len(site.people(first_name)) == 1
    family = await site.call("GET", f"/families/{(await site.family_of('Baker Household'))['id']}")
    assert set(family["member_ids"]) == {str(before["id"]), str((await site.member("Bea"))["id"])}
    assert family["primary_contact_id"] == str(before["id"])
    await site.believable()
    mark = site.mark()
    assert (await site.sync())["counts"].keys() <= {"unchanged"}
    assert site.journal(mark, writes=True) == []


async def lee_became_otto(site: Site) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Lee was merged into Otto, a second member since the log does not show it yet; gives both, and the kept id."""
    await site.sync()
    lee = await site.member("Lee")
    keep = site.create("Otto", "Other", email="otto@example.org")
    site.merge(keep, str(site.person("Lee")["id"]))
    await site.visible()
    await site.sync("incremental")
    otto = await site.member("Otto")
    return lee, otto, keep


# Kind: late news reverts an edit.
async def test_a_second_member_added_to_a_family_here_stays(site: Site, late_log: None) -> None:
    """The history of a family added here does not name its first members."""
    lee, otto, keep = await lee_became_otto(site)
    await site.family("Ours", str(otto["id"]))
    site.control.change_settings(mergers_lag_ms=0)
    await site.sync()
    assert await site.members_of("Ours") == ["Otto"]
    assert [member["id"] for member in await site.members("Lee")] == [lee["id"]]
    assert await link_of(site, otto) == ("linked", keep)


# Kind: late news reverts an edit.
async def test_a_second_member_declared_different_stays(site: Site, late_log: None) -> None:
    """An answer to a held match changes no member, but it outweighs any change."""
    await site.sync()
    bruno = await site.member("Bruno")
    removed = str(site.person("Bruno")["id"])
    keep = site.create("Bruno", "Baker", email="other@example.org")
    site.merge(keep, removed)
    for row in site.contacts("Bruno", "Email"):
        if row["address"] != "other@example.org":
            site.mutate({"op": "delete", "type": "Email", "id": row["id"]})
    await site.visible()
    await site.sync()
    await site.sync()
    (held,) = (await site.call("GET", "/held-matches"))["items"]
    body = {"answer": "different", "version": held["version"]}
    await site.call("POST", f"/held-matches/{held['id']}/answer", body)

    async def added() -> list[dict[str, Any]]:
        return [one for one in await site.members("Bruno") if one["id"] != bruno["id"]]

    (second,) = await eventually(added)
    site.control.change_settings(mergers_lag_ms=0)
    run = await site.sync()
    assert {member["id"] for member in await site.members("Bruno")} == {bruno["id"], second["id"]}
    assert (await link_of(site, bruno), await link_of(site, second)) == (("gone", removed), ("linked", keep))
    (item,) = await site.items(run["id"], "merged")
    assert "Both stay here" in item["sentence"]


# Kind: a change here is missing from the history.
async def test_the_history_shows_a_primary_contact_changed_by_a_merger(site: Site, late_log: None) -> None:
    lee, otto, keep = await lee_became_otto(site)
    household = {"name": "Others", "person_ids": [keep]}
    site.mutate({"op": "create", "type": "Household", "attributes": household})
    await site.visible()
    await site.sync()
    family = await site.family_of("Others")
    assert family["primary_contact_id"] == otto["id"]
    site.control.change_settings(mergers_lag_ms=0)
    await site.sync()
    assert (await site.family_of("Others"))["primary_contact_id"] == lee["id"]
    told = await site.database.fetch(
        "SELECT before, after FROM effect WHERE record_id = $1 AND rule = 'merged'", family["id"]
    )
    assert [(one["before"], one["after"]) for one in told] == [(str(otto["id"]), str(lee["id"]))]


# Kind: what says that it writes nothing deletes somebody.
@pytest.mark.parametrize("purpose", ["preview", "proof"])
@pytest.mark.parametrize("kind", ["full", "incremental"])
async def test_only_a_sync_merges_the_two_members_again(site: Site, late_log: None, purpose: str, kind: str) -> None:
    """Neither the shown nor the approved plan contains the deletion, so the next sync does it."""
    lee, otto, keep = await lee_became_otto(site)
    household = {"name": "Others", "person_ids": [keep]}
    site.mutate({"op": "create", "type": "Household", "attributes": household})
    await site.visible()
    await site.sync(kind)
    assert (await site.family_of("Others"))["primary_contact_id"] == otto["id"]
    before = await link_of(site, lee)
    assert before[0] == ("gone" if kind == "full" else "linked")
    site.control.change_settings(mergers_lag_ms=0)
    if purpose == "proof":
        run = await site.call("POST", "/statements")
        await site.until(run["id"], "done")
        (item,) = [one for one in await site.items(run["id"]) if one["name"].startswith("Lee")]
        assert item["outcome"] == ("one_side" if kind == "full" else "not_read")
    else:
        run = await site.preview()
        assert await site.plan(run["id"]) == []
        assert await site.items((await site.approved(run["id"]))["id"]) == []
    assert [member["id"] for member in await site.members("Otto")] == [otto["id"]]
    assert (await link_of(site, lee), await link_of(site, otto)) == (before, ("linked", keep))
    assert (await site.family_of("Others"))["primary_contact_id"] == otto["id"]
    await site.sync()
    assert await link_of(site, lee) == ("linked", keep)
    assert (await site.family_of("Others"))["primary_contact_id"] == lee["id"]
    assert [member["id"] for name in ("Lee", "Otto") for member in await site.members(name)] == [lee["id"]]


# Kind: what says that it writes nothing deletes somebody.
async def test_later_mergers_of_two_members_not_merged_yet_wait(site: Site, late_log: None) -> None:
    lee, _, otto = await lee_became_otto(site)
    keep = site.create("Olga", "Other", email="olga@example.org")
    site.merge(keep, otto)
    await site.visible()
    site.control.change_settings(mergers_lag_ms=0)
    run = await site.call("POST", "/statements")
    await site.until(run["id"], "done")
    await site.sync()
    await site.sync()
    assert await link_of(site, lee) == ("linked", keep)
    found = [member["id"] for name in ("Lee", "Otto", "Olga") for member in await site.members(name)]
    assert found == [lee["id"]]
