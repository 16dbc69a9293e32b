"""Unreadable or incompletely read people and households: nothing is decided about them, and nobody is doubled."""

from typing import Any

import pytest
from sync_harness.site import Site

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


def spoil(site: Site, id_: str, birthdate: str | None = "0000-00-00") -> None:
    """Give a person an impossible birthdate in Planning Center; None: correct it."""
    site.mutate({"op": "set_raw", "type": "Person", "id": id_, "attributes": {"birthdate": birthdate}})


async def sync_one(site: Site, path: str) -> dict[str, Any]:
    """*Sync this person now*, or this family, and wait for the end."""
    asked = await site.call("POST", f"{path}/sync", status=202)

    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = await site.call("GET", f"/syncs/{asked['id']}")
        return found if found["state"] == "done" else None

    found: dict[str, Any] = await eventually(ended, within=60, every=0.2)
    return found


# Kind: an incompletely read person counts as nobody.
@pytest.mark.parametrize("how", ["full", "incremental", "alone"])
@pytest.mark.parametrize("why", ["unreadable", "incomplete"])
async def test_an_incompletely_read_person_is_not_created_again(site: Site, why: str, how: str) -> None:
    await site.sync()
    await site.believable()
    id_ = site.create("Pam", "Page", email="pam@example.org")
    lacking = None
    if why == "unreadable":
        spoil(site, id_)
        told = "birthdate, it is no date"
    else:
        lacking = site.fault({"kind": "omit", "type": "Person", "id": id_, "relationship": "emails"}, method="GET")
        told = "emails missing"
    await site.visible()
    pam = await site.add("Pam", "Page", email="pam@example.org")
    if how == "alone":
        end = await sync_one(site, f"/members/{pam}")
        outcome, sentence = end["outcome"], end["sentence"]
    else:
        run = await site.sync(how)
        (item,) = [one for one in await site.items(run["id"]) if one["record_id"] == pam]
        outcome, sentence = item["outcome"], item["sentence"]
    assert (outcome, len(site.people("Pam"))) == ("later", 1)
    assert sentence.startswith("Pam Page in Planning Center may be this person, so nothing was created there.")
    assert told in sentence
    if lacking is None:
        spoil(site, id_, None)
    else:
        site.control.remove_fault(lacking)
    await site.visible()
    await site.believable()
    await site.sync("full" if how == "full" else "incremental")
    assert (len(site.people("Pam")), [str(one["id"]) for one in await site.members("Pam")]) == (1, [pam])
    (link,) = await site.database.fetch("SELECT * FROM link WHERE record_id::text = $1", pam)
    assert (link["state"], link["pco_id"]) == ("linked", id_)


# Kind: an incompletely read person counts as nobody.
async def test_a_renamed_unreadable_person_is_not_created_again(site: Site) -> None:
    """Both the former read and the readable part may show a candidate."""
    await site.sync()
    await site.believable()
    held = await site.add("Pat", "Page")
    id_ = site.create("Pat", "Page", email="pat@example.org")
    await site.visible()
    await site.sync()
    (question,) = (await site.call("GET", "/held-matches"))["items"]
    assert question["pco_id"] == id_
    await site.call("DELETE", f"/members/{held}")
    changed = {"first_name": "Pam", "birthdate": "0000-00-00"}
    site.mutate({"op": "set_raw", "type": "Person", "id": id_, "attributes": changed})
    await site.visible()
    for name in ("Pat", "Pam"):
        await site.add(name, "Page")
    await site.sync()
    assert (len(site.people("Pat")), len(site.people("Pam"))) == (0, 1)


# Kind: one bad record affects all.
async def test_a_certainly_different_person_is_created(site: Site) -> None:
    """The same name and another, readable birthdate; only the gender is impossible."""
    await site.sync()
    await site.believable()
    id_ = site.create("Pam", "Page", birthdate="1990-01-01")
    site.mutate({"op": "set_raw", "type": "Person", "id": id_, "attributes": {"gender": "x" * 2_000}})
    await site.visible()
    await site.add("Pam", "Page", birthdate="1950-05-05")
    await site.sync()
    assert len(site.people("Pam")) == 2


def spoil_name(site: Site, household: str) -> str:
    """Give a household an impossible name in Planning Center; gives its id."""
    (id_,) = [row["id"] for row in site.rows("Household") if row["name"] == household]
    site.mutate({"op": "set_raw", "type": "Household", "id": id_, "attributes": {"name": "x" * 2_000}})
    return str(id_)


async def join_a_stranger(site: Site, household: str) -> str:
    """Somebody at Planning Center adds a person to a household; gives the person's id."""
    (id_,) = [row["id"] for row in site.rows("Household") if row["name"] == household]
    made = site.create("Bad", "Value")
    site.move("Bad", to=str(id_), left="0")
    return made


# Kind: one bad record affects all.
async def test_an_unreadable_stranger_does_not_keep_a_family_from_its_sync(site: Site) -> None:
    await site.sync()
    await site.believable()
    spoil(site, await join_a_stranger(site, "Clark Household"))
    await site.visible()
    family = await site.family_of("Clark Household")
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Clarks"})
    end = await sync_one(site, f"/families/{family['id']}")
    assert end["outcome"] == "updated_there"
    assert "birthdate, it is no date" in end["sentence"]
    assert site.household("Clarks") == ["Bad", "Carl", "Cora"]


# Kind: one bad record affects all.
async def test_an_incomplete_stranger_does_not_keep_a_family_from_its_sync(site: Site) -> None:
    """The family is written at once, and synced again for the stranger."""
    await site.sync()
    await site.believable()
    stranger = await join_a_stranger(site, "Clark Household")
    lacking = site.fault({"kind": "omit", "type": "Person", "id": stranger, "attribute": "birthdate"}, method="GET")
    await site.visible()
    family = await site.family_of("Clark Household")
    await site.call("PATCH", f"/families/{family['id']}", {"name": "Clarks"})
    asked = await site.call("POST", f"/families/{family['id']}/sync", status=202)
    await eventually(lambda: [row for row in site.rows("Household") if row["name"] == "Clarks"])
    assert (await site.call("GET", f"/syncs/{asked['id']}"))["state"] == "queued"
    site.control.remove_fault(lacking)

    async def joined() -> bool:
        return await site.members_of("Clarks") == ["Bad", "Carl", "Cora"]

    await eventually(joined)


# Kind: a wrong reason is reported.
async def test_an_unreadable_record_is_reported_as_such(site: Site) -> None:
    await site.sync()
    await site.believable()
    spoil(site, str(site.person("Ned")["id"]))
    spoil_name(site, "Clark Household")
    await site.visible()
    ned, clarks = await site.member("Ned"), await site.family_of("Clark Household")
    for path, told in (
        (f"/members/{ned['id']}", "for this person that we cannot read: birthdate"),
        (f"/families/{clarks['id']}", "for this household that we cannot read: name"),
    ):
        end = await sync_one(site, path)
        assert end["outcome"] == "later"
        assert told in end["sentence"]
    await site.change("Ned", last_name="Nashson")
    await site.call("PATCH", f"/families/{clarks['id']}", {"name": "Clarks"})
    for kind in ("incremental", "full"):
        run = await site.sync(kind)
        told_of = {one["name"]: one["sentence"] for one in await site.items(run["id"], "later")}
        assert sorted(sentence.split(":")[1].split(",")[0] for sentence in told_of.values()) == [" birthdate", " name"]


# Kind: a wrong reason is reported.
async def test_a_family_that_may_be_an_unreadable_household_is_reported(site: Site) -> None:
    """It is unknown whether the family exists there already."""
    await site.sync()
    await site.believable()
    household = spoil_name(site, "Clark Household")
    await site.visible()
    family = await site.family("Ours", str((await site.member("Carl"))["id"]))
    run = await site.sync()
    (item,) = [one for one in await site.items(run["id"], "later") if one["record_id"] == family]
    assert "for this household that we cannot read: name" in item["sentence"]
    assert [row["id"] for row in site.rows("Household") if row["name"] == "Ours" or row["id"] == household] == [
        household
    ]


async def left_by_a_pull(site: Site, kind: str, run_id: str | None = None) -> None:
    """The row that a pull stores for a record with an invalid id."""
    await site.database.fetch(
        "INSERT INTO remote (organization_id, pco_organization_id, kind, pco_id, email_keys, name_keys, keys, read_at, "
        "again, unread, run_id) VALUES ($1, $2, $3, 'a/bc', '{}', '{}', '{}', now(), true, $4, $5::text::uuid)",
        site.organization_id,
        site.church.id,
        kind,
        {"name": "Nobody", "why": "unreadable", "sentence": "It is no number."},
        run_id,
    )


# Kind: one bad record affects all.
async def test_an_invalid_id_ends_no_incremental_run(site: Site) -> None:
    await site.sync()
    for kind in ("member", "family"):
        await left_by_a_pull(site, kind)
    site.edit("Ned", last_name="Nashson")
    await site.visible()
    mark = site.mark()
    await site.sync("incremental")
    assert (await site.member("Ned"))["last_name"] == "Nashson"
    assert [entry["path"] for entry in site.journal(mark) if "bc" in entry["path"]] == []


# Kind: one bad record affects all.
async def test_a_record_with_an_invalid_id_is_listed_and_not_read(site: Site) -> None:
    await site.sync()
    mark = site.mark()
    stopped = site.fault({"kind": "respond", "status": 503}, method="GET", path="/people/v2/person_mergers$")
    run_id = await site.start()
    await site.until(run_id, "waiting")
    await left_by_a_pull(site, "member", run_id)
    site.control.remove_fault(stopped)
    await site.until(run_id, "done")
    assert [item["name"] for item in await site.items(run_id, "later")] == ["Nobody"]
    assert [entry["path"] for entry in site.journal(mark) if "bc" in entry["path"]] == []
