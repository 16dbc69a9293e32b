"""A bulk answer to held matches: previewed, bound to the preview, carried out in batches."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

from servicekit.testing import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

Body = dict[str, Any]
HELD = "/held-matches"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    """A stage of its own, because a test leaves ten thousand held matches."""
    async with staging("bulk") as made:
        yield made


async def shown(site: Site, answer: str, **filters: Any) -> Body:
    found: Body = await site.call("POST", f"{HELD}/bulk", {"answer": answer, **filters}, status=201)
    return found


async def carried_out(site: Site, preview: Body) -> Body:
    path = f"{HELD}/bulk/{preview['id']}"
    await site.call("POST", f"{path}/answer", {"digest": preview["digest"]}, status=202)

    async def done() -> Body | None:
        now: Body = await site.call("GET", path)
        return now if now["state"] == "done" else None

    found: Body = await eventually(done)
    return found


async def held(site: Site, query: str = "") -> dict[str, Body]:
    rows = (await site.call("GET", f"{HELD}?limit=200{query}"))["items"]
    return {row["theirs"]["first_name"]: row for row in rows}


def ours_is_there(site: Site, first_name: str) -> bool:
    return bool(site.contacts(first_name, "Email")[0]["address"] == f"{first_name.lower()}.here@example.org")


async def namesakes(site: Site, *first_names: str) -> None:
    """People on both sides with the same name and different emails, so that each is held."""
    for first in first_names:
        await site.add(first, "Held", email=f"{first.lower()}.here@example.org")
        site.create(first, "Held", email=f"{first.lower()}.there@example.org")
    await site.settings(first_match="ours")
    await site.visible()
    await site.sync()


async def test_one_answer_acts_on_exactly_the_shown_matches(site: Site) -> None:
    await namesakes(site, "Hal", "Hope", "Hugh")
    await site.add("Hedy", "Held", email="hedy.one@example.org")
    await site.add("Hedy", "Held", email="hedy.two@example.org")
    site.create("Hedy", "Held", email="hedy.there@example.org")
    await site.visible()
    await site.sync()
    preview = await shown(site, "same")
    assert (preview["count"], preview["left_out"], preview["state"]) == (3, 1, "shown")
    samples = {one["match"]["theirs"]["first_name"]: one["sentence"] for one in preview["samples"]}
    assert samples.keys() == {"Hal", "Hope", "Hugh"}
    assert samples["Hal"].startswith("Hal Held here and Hal Held in Planning Center become one person")
    # A later match is not answered together with the shown ones.
    await namesakes(site, "Hetty")
    wrong = {"digest": "0" * 32}
    await site.call("POST", f"{HELD}/bulk/{preview['id']}/answer", wrong, status=409)
    end = await carried_out(site, preview)
    assert (end["done"], end["skipped"]) == (3, 0)
    assert (await site.call("GET", f"{HELD}/bulk/{end['id']}/skipped"))["items"] == []
    assert (await held(site)).keys() == {"Hedy", "Hetty"}
    for first in ("Hal", "Hope", "Hugh"):
        await eventually(partial(ours_is_there, site, first))
        assert len(await site.members(first)) == len(site.people(first)) == 1
    hal = (await site.member("Hal"))["id"]
    told = (await site.call("GET", f"/members/{hal}/history"))["items"]
    assert [(one["by"], one["by_name"]) for one in told if one["field"] == "planning_center_id"] == [
        ("person", "Test User")
    ]
    again = await site.call("POST", f"{HELD}/bulk/{end['id']}/answer", {"digest": end["digest"]}, status=202)
    assert again == end


async def test_changed_matches_are_skipped_and_named(site: Site) -> None:
    await namesakes(site, "Hal", "Hope", "Hugh", "Hiram", "Hank")
    preview = await shown(site, "same")
    rows = await held(site)
    member = {first: row["candidates"][0]["member"]["id"] for first, row in rows.items()}
    await site.call("POST", f"{HELD}/{rows['Hal']['id']}/answer", {"answer": "different"})
    await site.call("POST", f"{HELD}/{rows['Hope']['id']}/answer", {"answer": "later"})
    await site.call("DELETE", f"/members/{member['Hugh']}")
    person = {"external_id": "x", "first_name": "Hiram", "last_name": "Held", "pco_id": rows["Hiram"]["pco_id"]}
    await site.call("PUT", "/bulk", {"members": [person]})
    end = await carried_out(site, preview)
    assert (end["done"], end["skipped"]) == (5, 4)
    said = {
        row["name"]: row["sentence"] for row in (await site.call("GET", f"{HELD}/bulk/{end['id']}/skipped"))["items"]
    }
    assert said.keys() == {"Hal Held", "Hope Held", "Hugh Held", "Hiram Held"}
    assert "Somebody else answered it" in said["Hal Held"]
    assert "has changed since it was shown" in said["Hope Held"]
    assert "deleted meanwhile" in said["Hugh Held"]
    assert "no longer needs an answer" in said["Hiram Held"]
    states = await site.database.fetch(
        "SELECT theirs->>'first_name' AS first, state FROM held_match WHERE organization_id = $1", site.organization_id
    )
    assert {row["first"]: row["state"] for row in states} == {
        "Hal": "different",
        "Hope": "later",
        "Hugh": "open",
        "Hank": "same",
    }
    page = await site.call("GET", f"{HELD}/bulk/{end['id']}/skipped?limit=3")
    rest = await site.call("GET", f"{HELD}/bulk/{end['id']}/skipped?limit=3&after={page['next']}")
    assert [row["name"] for row in [*page["items"], *rest["items"]]] == [*said]


async def test_two_people_are_not_both_linked_to_one_member_by_one_answer(site: Site) -> None:
    await site.add("Hal", "Held", email="hal.here@example.org")
    for number in (1, 2):
        site.create("Hal", "Held", email=f"hal.{number}@example.org")
    await site.visible()
    await site.sync()
    assert (await site.call("GET", f"{HELD}?single=true"))["total"] == 2
    preview = await shown(site, "same")
    assert (preview["count"], preview["left_out"]) == (0, 2)
    await site.call("POST", f"{HELD}/bulk/{preview['id']}/answer", {"digest": preview["digest"]}, status=409)


async def many(site: Site, count: int) -> None:
    """Held matches as rows, each with its own member, as a run of a large church leaves them."""
    base = await site.add("Many", "Held")
    await site.database.fetch(
        """
        WITH made AS (
            INSERT INTO member (id, organization_id, first_name, last_name, child, name_key, version)
            SELECT gen_random_uuid(), $1, 'Many ' || n, 'Held', false, 'many ' || n || ' held', 1
            FROM generate_series(1, $2) AS n RETURNING id, first_name
        )
        INSERT INTO held_match (id, organization_id, pco_organization_id, pco_id, theirs, candidates, candidate_ids,
                                reasons, state, different_from, version)
        SELECT gen_random_uuid(), $1, (SELECT pco_organization_id FROM connection WHERE organization_id = $1),
               (8000000 + substr(first_name, 6)::int)::text,
               (SELECT theirs FROM held_match WHERE organization_id = $1 LIMIT 1)
                   || jsonb_build_object('first_name', first_name),
               jsonb_build_array(jsonb_build_object('member_id', id, 'reasons', '[]'::jsonb)), ARRAY[id::text],
               '["Same name, but no email to be sure."]', 'open', '{}', 1
        FROM made
        """,
        site.organization_id,
        count,
    )
    assert base


async def test_ten_thousand_are_answered_in_batches_and_no_more_at_once(site: Site) -> None:
    await namesakes(site, "Hal", "Hope")
    for first in ("Hal", "Hope"):
        raw = {"op": "set_raw", "type": "Person", "id": str(site.person(first)["id"])}
        site.mutate(raw | {"attributes": {"login_identifier": f"{first.lower()}@example.org"}})
    await site.visible()
    await site.sync()
    await many(site, 10_000)
    await site.database.fetch(
        "UPDATE held_match SET created_at = now() + interval '1 h' WHERE organization_id = $1"
        " AND theirs->>'first_name' = 'Hope'",
        site.organization_id,
    )
    preview = await shown(site, "same")
    # Skipped people do not count as mailed.
    assert (preview["count"], preview["left_out"], preview["may_be_mailed"]) == (10_000, 2, 1)
    preview = await shown(site, "later", reason="name")
    assert (preview["count"], preview["left_out"]) == (10_000, 2)
    assert len(preview["samples"]) == 10
    assert await site.database.value("SELECT count(*) FROM held_bulk WHERE id = $1", UUID(preview["id"])) == 1
    end = await carried_out(site, preview)
    assert (end["done"], end["skipped"]) == (10_000, 0)
    left = await held(site, "&state=open")
    assert len(left) == 2
    assert "Hope" in left
    assert (await shown(site, "later", reason="name"))["count"] == 2


async def test_filters_select_matches(site: Site) -> None:
    hal = await site.add("Hal", "Held", email="hal.here@example.org")
    await site.add("Hope", "Held", email="hope@example.org", child=True)
    await site.add("Hugh", "Held Jr.", birthdate="1990-02-03")
    await site.add("Hedy", "Else", email="hedy@example.org")
    await site.add("Hetty", "Held", email="hetty.one@example.org")
    await site.add("Hetty", "Held", email="hetty.two@example.org")
    family = await site.family("Held", hal)
    site.create("Hal", "Held", email="hal.there@example.org", status="inactive")
    site.create("Hope", "Held", email="hope@example.org")
    site.create("Hugh", "Held", birthdate="1990-02-03")
    site.create("Hiram", "Held", email="hedy@example.org")
    site.create("Hetty", "Held", email="hetty.there@example.org")
    await site.visible()
    await site.sync()
    everybody = await held(site)
    assert everybody.keys() == {"Hal", "Hope", "Hugh", "Hiram", "Hetty"}
    wanted = {
        "reason=name": {"Hal", "Hetty"},
        "reason=child": {"Hope"},
        "reason=suffix": {"Hugh"},
        "reason=email": {"Hiram"},
        "single=false": {"Hetty"},
        "single=true": {"Hal", "Hope", "Hugh", "Hiram"},
        f"family_id={family}": {"Hal"},
        "older_than_days=1": set(),
        "older_than_days=0": {*everybody},
        "reason=name&single=true": {"Hal"},
    }
    for query, names in wanted.items():
        assert (await held(site, f"&{query}")).keys() == names, query
        filters = dict(part.split("=") for part in query.split("&"))
        typed = {key: json.loads(text) if key not in {"reason", "family_id"} else text for key, text in filters.items()}
        assert (await shown(site, "different", **typed))["count"] == len(names), query
    hal_there, hugh = everybody["Hal"]["theirs"], everybody["Hugh"]
    query = "SELECT snapshot->>'middle_name' FROM remote WHERE organization_id = $1 AND pco_id = $2"
    middle_name = await site.database.value(query, site.organization_id, everybody["Hal"]["pco_id"])
    assert (hal_there["middle_name"], hal_there["active"], hal_there["suffix"]) == (middle_name, False, None)
    assert everybody["Hal"]["candidates"][0]["member"]["active"] is True
    assert (hugh["candidates"][0]["suffix"], hugh["theirs"]["suffix"], hugh["more"]) == ("Jr.", None, 0)


async def test_further_candidates_are_counted(site: Site) -> None:
    for number in range(12):
        await site.add("Ned", "Held", email=f"ned.{number}@example.org")
    site.create("Ned", "Held", email="ned.there@example.org")
    await site.visible()
    await site.sync()
    (ned,) = (await held(site)).values()
    assert (len(ned["candidates"]), ned["more"]) == (10, 2)


async def test_an_answer_can_be_taken_back_until_a_sync_has_acted_on_it(site: Site) -> None:
    await namesakes(site, "Hal", "Hope")
    await site.database.fetch(
        "UPDATE connection SET state = 'reconnect_required' WHERE organization_id = $1", site.organization_id
    )
    rows = await held(site)
    members = {first: row["candidates"][0]["member"]["id"] for first, row in rows.items()}
    answers: dict[str, Body] = {
        "Hal": {"answer": "same", "member_id": members["Hal"]},
        "Hope": {"answer": "different"},
    }
    for first, body in answers.items():
        answer = await site.call("POST", f"{HELD}/{rows[first]['id']}/answer", body)
        assert answer["can_take_back"]
        late = await site.call("POST", f"{HELD}/{rows[first]['id']}/answer", {"answer": "later"}, status=409)
        assert late["detail"].startswith(f"{answer['answered_by_name']} has answered this: ")
        stale = {"version": answer["version"] - 1}
        await site.call("POST", f"{HELD}/{answer['id']}/take-back", stale, status=409)
        back = await site.call("POST", f"{HELD}/{answer['id']}/take-back", {"version": answer["version"]})
        assert (back["state"], back["can_take_back"], back["member_id"]) == ("open", False, None)
    assert (await held(site)).keys() == {"Hal", "Hope"}
    assert [one["link"] for one in (await site.call("GET", "/members?q=Held"))["items"]] == [None, None]
    for first, body in answers.items():
        await site.call("POST", f"{HELD}/{rows[first]['id']}/answer", body)
    await site.database.fetch(
        "UPDATE connection SET state = 'connected' WHERE organization_id = $1", site.organization_id
    )
    await site.sync()
    for first, state in (("Hal", "same"), ("Hope", "different")):
        now = (await held(site, f"&state={state}"))[first]
        assert not now["can_take_back"]
        assert (now["member_id"] == members[first]) is (state == "same")
        refused = await site.call("POST", f"{HELD}/{now['id']}/take-back", {}, status=409)
        assert refused["type"].endswith("acted-on")
