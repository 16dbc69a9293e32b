"""The People story against docker-compose.yml: two containers of people-sync, state that outlives the containers.

The tests of this module are chapters: each goes on where the one before ended.
"""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from contracts.values import PEOPLE_SYNC, SERVICES
from local_stack.church import Church, StoryError

pytestmark = pytest.mark.containers

Compose = Callable[..., str]
Person = Callable[[str], Church]
ADDRESS = {"street_line_1": "5 Mill Lane", "city": "Dover", "state": "NH", "zip": "03820"}


def pco(church: Church) -> str:
    """The Planning Center organization of the first church."""
    return str(church.control.organizations()[0]["id"])


def there(church: Church, type_: str, **attributes: Any) -> list[dict[str, Any]]:
    """Rows in Planning Center with these attributes."""
    rows = church.control.dump(pco(church))
    return [row for row in rows if row["type"] == type_ and attributes.items() <= row["attributes"].items()]


def containers(compose: Compose) -> list[dict[str, Any]]:
    """What `docker compose ps` tells of every container, ended ones included."""
    printed = compose("ps", "--all", "--format", "json")
    # One document per line, or one list: that depends on the version.
    return [each for line in printed.splitlines() for each in _listed(json.loads(line))]


def _listed(document: Any) -> list[dict[str, Any]]:
    return document if isinstance(document, list) else [document]


def test_everything_is_healthy_and_the_jobs_have_ended_well(compose: Compose) -> None:
    found = containers(compose)
    healthy = sorted(each["Service"] for each in found if each["Health"] == "healthy")
    surroundings = ["postgres", "kafka", "simulator", "identity-provider"]
    assert healthy == sorted([*SERVICES, PEOPLE_SYNC, *surroundings])
    ended = {each["Service"]: each["ExitCode"] for each in found if each["State"] == "exited"}
    assert ended == dict.fromkeys(["databases", "topics", *(f"migrate-{service}" for service in SERVICES)], 0)


def test_browsers_are_sent_to_addresses_that_they_can_reach(ada: Church, addresses: dict[str, str]) -> None:
    page = ada.api.get("/")
    assert page.headers["content-type"].startswith("text/html")
    settings = ada.get("/console-settings")
    assert settings["authorization_endpoint"] == f"{addresses['provider']}/authorize"
    assert settings["token_endpoint"] == f"{addresses['provider']}/token"
    started = ada.call("POST", "/connections/people/authorize")
    asked = httpx.URL(started["authorize_url"])
    assert str(asked.copy_with(query=None)) == f"{addresses['simulator']}/oauth/authorize"
    assert asked.params["redirect_uri"] == f"{addresses['gateway']}/oauth/callback"


def test_connect(ada: Church) -> None:
    card = ada.connect()
    assert card["state"] == "connected"
    assert card["connected_by_name"] == "Ada Moreno"


def test_the_first_sync_brings_everybody(ada: Church) -> None:
    run = ada.sync()
    truth = ada.control.truth(pco(ada))
    assert run["counts"]["created_here"] == truth["people"] + truth["households"]
    members, families = ada.members(), ada.families()
    assert (len(members), len(families)) == (truth["people"], truth["households"])
    assert sum(len(family["member_ids"]) for family in families) == truth["household_memberships"]


def test_a_second_sync_writes_nothing(ada: Church) -> None:
    mark = ada.control.mark()
    assert ada.sync()["counts"].keys() == {"unchanged"}
    assert ada.writes_since(mark) == []


def test_a_family_added_here_appears_there(ada: Church) -> None:
    before = ada.control.truth(pco(ada))
    nora = ada.add_member(
        first_name="Nora",
        last_name="Newcome",
        email="nora.newcome@example.org",
        phone="(202) 555-0188",
        address=ADDRESS,
    )
    tim = ada.add_member(first_name="Tim", last_name="Newcome", child=True, birthdate="2018-03-04")
    ada.add_family("Newcome", nora, tim)
    assert ada.sync()["counts"]["created_there"] == 3
    after = ada.control.truth(pco(ada))
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "people": 2,
        "emails": 1,
        "phone_numbers": 1,
        "addresses": 1,
        "households": 1,
        "household_memberships": 2,
    }
    assert there(ada, "Email", address="nora.newcome@example.org", primary=True)
    assert there(ada, "Address", street_line_1="5 Mill Lane", city="Dover", zip="03820", primary=True)


def test_an_edit_there_appears_here(ada: Church) -> None:
    member = next(one for one in ada.members() if one["email"] and not one["child"])
    ada.edit_there(pco(ada), member["link"]["pco_id"], last_name="Renamed-There")
    run = ada.sync()
    items = ada.all(f"/people/runs/{run['id']}/items", outcome="updated_here")
    # The family takes over who its household was made with as primary contact.
    assert {item["record_id"] for item in items if item["record_kind"] == "member"} == {member["id"]}
    assert ada.get(f"/people/members/{member['id']}")["last_name"] == "Renamed-There"


def test_edits_on_both_sides_are_a_conflict_and_nothing_is_overwritten(ada: Church) -> None:
    member = next(one for one in ada.members() if one["birthdate"] and not one["child"])
    pco_id = member["link"]["pco_id"]
    ada.change_member(member, last_name="Ours")
    ada.edit_there(pco(ada), pco_id, last_name="Theirs")
    mark = ada.control.mark()
    assert ada.sync()["counts"]["conflict"] == 1
    assert ada.writes_since(mark) == []
    assert ada.get(f"/people/members/{member['id']}")["last_name"] == "Ours"
    assert [row["id"] for row in there(ada, "Person", last_name="Theirs")] == [pco_id]
    ada.eventually(lambda: ada.get("/conflicts/count")["open"] == 1, "the conflict is counted")


def test_the_other_church_sees_nothing(ada: Church, person: Person) -> None:
    olga = person("olga")
    assert olga.members() == olga.families() == []
    assert olga.get("/people/runs")["items"] == olga.get("/conflicts")["items"] == []
    member = ada.members()[0]
    with pytest.raises(StoryError, match="404"):
        olga.get(f"/people/members/{member['id']}")


def test_a_run_is_finished_by_new_containers_when_both_are_killed(compose: Compose, ada: Church) -> None:
    ada.control.change_settings(latency_ms=1000)
    asked = ada.control.summary()["requests"]
    run_id = ada.start()
    ada.eventually(lambda: ada.control.summary()["requests"] > asked, "the run asks Planning Center")
    compose("kill", PEOPLE_SYNC)
    ada.control.change_settings(latency_ms=0)
    compose("up", "--detach", "--wait", PEOPLE_SYNC)
    run = ada.wait(run_id)
    assert run["state"] == "done"
    assert run["counts"].keys() <= {"unchanged", "conflict"}
    assert len(ada.members()) == ada.control.truth(pco(ada))["people"]


def test_a_service_can_be_scaled_apart(compose: Compose, ada: Church) -> None:
    compose("up", "--detach", "--wait", "--scale", "conflict-service=2", "--scale", f"{PEOPLE_SYNC}=1")
    running = [each["Service"] for each in containers(compose) if each["State"] == "running"]
    assert (running.count("conflict-service"), running.count(PEOPLE_SYNC)) == (2, 1)
    assert ada.get("/conflicts/count")["open"] == 1
    assert ada.sync("incremental")["state"] == "done"


def test_everything_is_there_again_after_the_containers_are_gone(compose: Compose, ada: Church) -> None:
    before = {member["id"]: member["version"] for member in ada.members()}
    compose("down")
    compose("up", "--detach", "--wait")
    assert {member["id"]: member["version"] for member in ada.members()} == before
    assert ada.get("/connections")["people"]["state"] == "connected"
    mark = ada.control.mark()
    run = ada.sync()
    assert run["counts"].keys() <= {"unchanged", "conflict"}
    assert ada.writes_since(mark) == []
