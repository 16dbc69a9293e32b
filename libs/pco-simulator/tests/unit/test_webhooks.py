"""Webhooks: subscriptions through the API, what is rendered for a change, and when nothing is."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pco_simulator.direct import Direct, SetClock
from pco_simulator.human import Human
from pco_simulator.settings import Settings
from pco_simulator.webhooks import rules
from pco_simulator.webhooks.faults import HookFault, HookFaults
from pco_simulator.webhooks.hints import Outbox
from pco_simulator.webhooks.kind import EVENT, SUBSCRIPTION
from pco_simulator.webhooks.names import LATER, NAMES, parts_of
from pco_simulator.webhooks.rendering import body_of, headers_of, signature_of
from pco_simulator.world import World

DATA = Path(__file__).parents[5] / "shared" / "pco-data" / "webhooks"
SUBSCRIPTIONS = "/webhooks/v2/webhook_subscriptions"
URL = "https://platform.example/webhooks/pco/key"
PEOPLE = "people.v2.events."

recorded = pytest.mark.skipif(not DATA.is_dir(), reason="THE VENDOR'S RECORDINGS ARE ABSENT: nothing is compared")


def data(name: str) -> Any:
    return json.loads((DATA / name).read_text())


class Hooks:
    """A world whose events are made and never sent."""

    def __init__(self, world: World, clock: SetClock) -> None:
        self.world = world
        self.settings = Settings()
        self.faults = HookFaults()
        self.again: list[tuple[str, int, float]] = []
        self.outbox = Outbox(world, self.settings, self.faults, clock.elapsed, lambda *one: self.again.append(one))
        world.outbox = self.outbox
        login = world.logins[0]
        self.church = login.organization_id
        scopes = ("webhooks", "people", "calendar")
        self.api = Direct(world, self.church, login.person_id, version="2022-10-20", scopes=scopes)

    def subscribe(self, *names: str, url: str = URL) -> list[str]:
        ids = []
        for name in names:
            made = self.api.post(SUBSCRIPTIONS, {"name": name, "url": url, "active": True})
            assert made.status == 201, made.text
            ids.append(made.data["id"])
        return ids

    def events(self) -> list[dict[str, Any]]:
        rows = self.world.view(self.church).tables[EVENT].rows
        return [rows[id_].attrs for id_ in sorted(rows)]

    def made(self, do: Callable[[], object]) -> dict[str, Any]:
        """Payloads of the events that a change makes, by the end of their name."""
        before = len(self.events())
        do()
        return {each["name"].split(".events.")[1]: json.loads(each["payload"]) for each in self.events()[before:]}


@pytest.fixture
def hooks(world: World, clock: SetClock) -> Hooks:
    return Hooks(world, clock)


# -- what is sent ----------------------------------------------------------------------------------------------

_ALL = ("created", "updated", "destroyed")
_EVERY = (
    *(
        f"{PEOPLE}{resource}.{action}"
        for resource in ("person", "email", "phone_number", "address", "household", "field_datum")
        for action in _ALL
    ),
    f"{PEOPLE}field_definition.updated",
    f"{PEOPLE}person_merger.created",
    *(f"calendar.v2.events.event_request.{action}" for action in (*_ALL, "approved")),
)


def every_kind(hooks: Hooks, human: Human) -> dict[str, Any]:
    """Makes one change of each kind; gives the payloads."""
    church, view = hooks.church, hooks.world.view(hooks.church)
    hooks.subscribe(*_EVERY)
    person = ""

    def changes() -> None:
        nonlocal person
        person = human.create_person(church, {"first_name": "Ada", "gender": "Female"})
        other = human.create_person(church, {"first_name": "Ada"})
        contacts = {
            "Email": ({"address": "ada@example.org"}, {"location": "Work"}),
            "PhoneNumber": ({"number": "5551234567", "location": "Home"}, {"location": "Work"}),
            "Address": ({"street_line_1": "12 Elm St", "street_line_2": "Apt 4"}, {"city": "Rome"}),
        }
        for type_, (new, edit) in contacts.items():
            id_ = human.create(church, type_, new, person_id=person)
            human.edit(church, type_, id_, edit)
            human.delete(church, type_, id_)
        definition = next(row for row in view.all("FieldDefinition") if row.get("data_type") == "string")
        people = Direct(hooks.world, church, hooks.api.person_id)
        datum = people.post(
            f"/people/v2/people/{person}/field_data", {"value": "1", "field_definition_id": definition.id}
        ).data["id"]
        human.edit(church, "FieldDatum", datum, {"value": "2"})
        human.delete(church, "FieldDatum", datum)
        human.set_raw(church, "FieldDefinition", str(definition.id), {"name": "Renamed"})
        household = human.create_household(church, {"name": "Camp", "person_ids": [person, other]})
        human.edit(church, "Household", household, {"name": "Camps"})
        human.delete(church, "Household", household)
        human.edit_person(church, person, {"nickname": "A"})
        human.merge_people(church, person, other)
        event = human.request_event(church, {"name": "Wedding", "starts_at": "2026-06-20T15:00"}, person)
        human.edit(church, "Event", event, {"approval_status": "A"})
        human.delete(church, "Event", event)

    return hooks.made(changes)


@recorded
def test_keys_are_those_of_100_captured_deliveries(hooks: Hooks, human: Human) -> None:
    payloads, seen = every_kind(hooks, human), data("observed-schema-2026-07-02.json")
    assert payloads.keys() == {name.split(".events.")[1] for name in _EVERY}
    for name, payload in payloads.items():
        type_, action = payload["data"]["type"], name.split(".")[1]
        if type_ not in seen["attributes"]:
            assert type_ in ("PhoneNumber", "PersonMerger")
            continue
        assert payload["meta"]["parent"] == {"id": hooks.church, "type": "Organization"}
        related = payload["data"].get("relationships", {})
        wanted = [key.removesuffix("[]") for key in seen["relationships"].get(type_, related)]
        if action == "destroyed":
            assert set(payload) == {"data", "meta"}
            assert set(payload["meta"]) == {"parent"}
            assert set(payload["data"]) == {"type", "id", "relationships", "links"}
            assert set(payload["data"]["links"]) == {"self"}
            assert set(related) == set(wanted)
            continue
        attributes = {key.removesuffix("(integer)") for key in seen["attributes"][type_]}
        assert set(payload["data"]["attributes"]) == attributes, name
        assert set(payload["data"]) == {"type", "id", "attributes", "relationships", "links"}
        assert (payload["included"], set(related)) == ([], set(wanted))
        includes = set() if type_ in ("Email", "Address", "PhoneNumber", "EventRequest") else {"can_include"}
        assert set(payload["meta"]) == {"parent", "event_time", "idempotency_token", *includes}
    (people,) = [payloads["household.destroyed"]["data"]["relationships"]["people"]["data"]]
    assert len(people) == 2


@recorded
def test_a_first_email_is_as_recorded(hooks: Hooks, human: Human) -> None:
    payload = every_kind(hooks, human)["email.created"]
    known = json.loads(data("recorded-email-created.json")["body"]["data"][0]["attributes"]["payload"])
    for part in ("attributes", "relationships", "links"):
        assert payload["data"][part].keys() == known["data"][part].keys()
    # The recording's oddity: false, although it is the only one and a GET says true.
    assert payload["data"]["attributes"]["primary"] is known["data"]["attributes"]["primary"] is False


@recorded
def test_shapes_of_a_destroyed_person_and_of_a_merger(hooks: Hooks, human: Human) -> None:
    payloads = every_kind(hooks, human)
    for name, file in (
        ("person.destroyed", "shape-person-destroyed.json"),
        ("person_merger.created", "shape-person_merger-created.json"),
    ):
        known = json.loads(data(file)["body"]["data"][0]["attributes"]["payload"])
        assert skeleton(payloads[name]) == skeleton(known)


def skeleton(value: Any) -> Any:
    """A document with types in place of values."""
    if isinstance(value, dict):
        return {key: skeleton(each) for key, each in value.items()}
    return type(value).__name__


@recorded
def test_body_headers_and_signature_of_the_vector() -> None:
    vector = data("signature-vector.json")
    sent = json.loads(vector["raw_body"])["data"][0]
    event = {"uuid": sent["id"], **{name: sent["attributes"][name] for name in ("name", "payload")}}
    body = body_of(event, "9", 2)
    assert body == vector["raw_body"].encode()
    known = vector["headers"]
    event["event_time"] = known["X-PCO-Webhooks-Event-Time"]
    headers = headers_of(event, 1234567, signature_of(vector["secret"], body), 2)
    assert headers == {**known, "X-PCO-Webhooks-Attempt": "2"}
    assert known.keys() == data("recorded-headers-2024-02.json")["headers"].keys()


def test_a_contact_that_is_not_the_first_keeps_its_primary(hooks: Hooks, human: Human, person_id: str) -> None:
    hooks.subscribe(f"{PEOPLE}email.created")
    human.create(hooks.church, "Email", {"address": "first@example.org"}, person_id=person_id)
    second = {"address": "second@example.org", "primary": True}
    made = hooks.made(lambda: human.create(hooks.church, "Email", second, person_id=person_id))
    assert made["email.created"]["data"]["attributes"]["primary"] is True


def test_members_make_a_household_known_and_people_only_their_own_values(
    hooks: Hooks, human: Human, person_id: str
) -> None:
    household = human.create_household(hooks.church, {"name": "Camp", "person_ids": [person_id]})
    hooks.subscribe(f"{PEOPLE}household.updated", f"{PEOPLE}person.updated")
    email = {"address": "a@example.org"}
    assert hooks.made(lambda: human.create(hooks.church, "Email", email, person_id=person_id)) == {}
    left = {"household_id": None, "from_household_id": household}
    made = hooks.made(lambda: human.move_person(hooks.church, person_id, left))
    assert made.keys() == {"household.updated"}
    assert made["household.updated"]["data"]["relationships"]["people"] == {"data": []}
    hooks.settings.memberships_update_household = False
    assert hooks.made(lambda: human.move_person(hooks.church, person_id, {"household_id": household})) == {}


def test_a_merger_and_the_person_it_removed_come_in_either_order(hooks: Hooks, human: Human) -> None:
    hooks.subscribe(f"{PEOPLE}person_merger.created", f"{PEOPLE}person.destroyed")
    orders = set()
    for _ in range(20):
        keep, remove = (human.create_person(hooks.church, {"first_name": "Ada"}) for _ in range(2))
        orders.add(tuple(hooks.made(partial(human.merge_people, hooks.church, keep, remove))))
    assert orders == {("person_merger.created", "person.destroyed"), ("person.destroyed", "person_merger.created")}


def test_half_a_surrogate_pair_stays_an_escape_in_the_payload(hooks: Hooks, human: Human, person_id: str) -> None:
    hooks.subscribe(f"{PEOPLE}person.updated")
    human.set_raw(hooks.church, "Person", person_id, {"first_name": "A\ud83d"})
    (event,) = hooks.events()
    assert '"first_name":"A\\ud83d"' in event["payload"]
    assert rb"A\\ud83d" in body_of(event, hooks.church, 1)


def test_nobody_learns_what_they_may_not_open(hooks: Hooks, human: Human, person_id: str) -> None:
    hooks.subscribe(f"{PEOPLE}person.updated")
    taken = {"people_permissions": None, "site_administrator": False}
    me = hooks.api.person_id
    assert hooks.made(lambda: human.edit_person(hooks.church, me, taken)) == {}
    assert hooks.made(lambda: human.edit_person(hooks.church, person_id, {"nickname": "A"})) == {}


def test_nothing_is_rendered_without_an_active_subscription_in_this_church(
    hooks: Hooks, human: Human, person_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("rendered for nobody")

    monkeypatch.setattr("pco_simulator.webhooks.hints.changed", refuse)
    human.edit_person(hooks.church, person_id, {"nickname": "A"})
    (subscription,) = hooks.subscribe(f"{PEOPLE}person.updated")
    other = next(iter(hooks.world.organizations.keys() - {hooks.church}))
    human.create_person(other, {"first_name": "Elsewhere"})
    human.create_person(hooks.church, {"first_name": "Not updated"})
    hooks.api.patch(f"{SUBSCRIPTIONS}/{subscription}", {"active": False})
    human.edit_person(hooks.church, person_id, {"nickname": "B"})
    assert hooks.events() == []


def test_events_are_kept_within_a_bound_but_pending_ones_always(hooks: Hooks, human: Human, person_id: str) -> None:
    hooks.subscribe(f"{PEOPLE}person.updated")
    hooks.settings.webhooks_kept = 2
    for nickname in "abc":
        human.edit_person(hooks.church, person_id, {"nickname": nickname})
    assert len(hooks.events()) == 3
    with hooks.world.change(hooks.church, "webhooks") as change:
        for row in list(change.view.all(EVENT)):
            rules.finish(change, row, "delivered")
    human.edit_person(hooks.church, person_id, {"nickname": "d"})
    assert [each["status"] for each in hooks.events()] == ["delivered", "delivered", "pending"]


# -- fault scripts ---------------------------------------------------------------------------------------------


def test_scripts_choose_hints_and_act_on_them(hooks: Hooks, human: Human, person_id: str, clock: SetClock) -> None:
    (subscription,) = hooks.subscribe(f"{PEOPLE}person.updated")
    now = clock.elapsed()

    def hint(action: dict[str, Any], **match: Any) -> list[dict[str, Any]]:
        hooks.faults.clear()
        hooks.again.clear()
        hooks.faults.add(HookFault.model_validate({"action": action, "match": match}))
        before = len(hooks.events())
        hooks.outbox.send(hooks.church, f"{PEOPLE}person.updated", [int(person_id)], 1)
        return hooks.events()[before:]

    assert [each["due"] for each in hint({"kind": "delay", "ms": 500})] == [now + 0.5]
    (twice,) = hint({"kind": "duplicate", "copies": 2, "gap_ms": 100})
    assert twice["due"] == 0
    assert [at for *_, at in hooks.again] == pytest.approx([now + 0.1, now + 0.2])
    hint({"kind": "resend", "after_ms": 60_000})
    assert [at for *_, at in hooks.again] == [now + 60]
    storm = hint({"kind": "storm", "count": 9})
    assert (len(storm), len({each["uuid"] for each in storm})) == (10, 10)
    assert [each["status"] for each in hint({"kind": "drop"})] == ["failed"]
    assert hint({"kind": "drop", "listed": False}) == []
    assert len(hint({"kind": "drop", "listed": False}, name="email")) == 1
    assert len(hint({"kind": "drop", "listed": False}, subscription_id="999")) == 1
    secret = hooks.api.get(f"{SUBSCRIPTIONS}/{subscription}").data["attributes"]["authenticity_secret"]
    assert len(hint({"kind": "rotate"})) == 1
    assert hooks.api.get(f"{SUBSCRIPTIONS}/{subscription}").data["attributes"]["authenticity_secret"] != secret
    assert hint({"kind": "deactivate"}) == []
    assert hooks.api.get(f"{SUBSCRIPTIONS}/{subscription}").data["attributes"]["active"] is False
    hooks.api.patch(f"{SUBSCRIPTIONS}/{subscription}", {"active": True})
    hooks.faults.clear()
    hooks.faults.add(HookFault.model_validate({"action": {"kind": "remove"}}))
    hooks.outbox.send(hooks.church, f"{PEOPLE}person.updated", [int(person_id)], 1)
    assert hooks.events() == []
    assert hooks.api.get(SUBSCRIPTIONS).data == []


def test_reordered_hints_are_due_last_first(hooks: Hooks, person_id: str, clock: SetClock) -> None:
    hooks.subscribe(f"{PEOPLE}person.updated")
    action = {"kind": "reorder", "window": 3, "within_ms": 9_000, "gap_ms": 1_000}
    hooks.faults.add(HookFault.model_validate({"action": action}))
    hooks.outbox.send(hooks.church, f"{PEOPLE}person.updated", [int(person_id)], 4)
    now = clock.elapsed()
    assert [each.get("due") for each in hooks.events()] == [now + 2, now + 1, now, now + 9]


# -- the API ---------------------------------------------------------------------------------------------------


@recorded
def test_names_are_the_vendors(hooks: Hooks) -> None:
    known = data("available-events.json")
    assert set(NAMES) == {*known["names"], *known["also_seen_2026"]}
    listed = hooks.api.get("/webhooks/v2/available_events?per_page=100").data
    assert [row["attributes"]["name"] for row in listed] == list(NAMES)
    assert parts_of("services.v2.events.plan.live.updated")["resource"] == "plan.live"


def test_names_of_events_of_calendar_are_a_setting(hooks: Hooks, human: Human) -> None:
    refused = hooks.api.post(SUBSCRIPTIONS, {"name": LATER[0], "url": URL, "active": True})
    assert (refused.status, refused.error["source"]) == (422, {"parameter": "name"})
    hooks.world.calendar_event_hints = True
    hooks.subscribe(*LATER)
    made = hooks.made(lambda: human.create_event(hooks.church, {"name": "Supper", "starts_at": "2026-06-20T15:00"}))
    assert made.keys() == {"event.created", "event_instance.created"}


def test_paths_depend_on_the_version(hooks: Hooks) -> None:
    (id_,) = hooks.subscribe(f"{PEOPLE}person.updated")
    old = Direct(hooks.world, hooks.church, hooks.api.person_id, version=None, scopes=("webhooks",))
    for path in ("", f"/{id_}", f"/{id_}/events"):
        assert old.get(SUBSCRIPTIONS + path).status == 404
        assert hooks.api.get(f"/webhooks/v2/subscriptions{path}").status == 404
    row = old.get(f"/webhooks/v2/subscriptions/{id_}").data
    assert (row["type"], row["links"]["events"].rsplit("/v2/")[1]) == ("Subscription", f"subscriptions/{id_}/events")
    assert old.post(f"{SUBSCRIPTIONS}/{id_}/rotate_secret", {}).status == 404
    answer = hooks.api.get(f"{SUBSCRIPTIONS}/{id_}")
    assert (answer.data["type"], answer.headers["X-PCO-API-Processed-As-Version"]) == (SUBSCRIPTION, "2022-10-20")


@pytest.mark.parametrize(
    ("changed", "status", "word"),
    [
        ({"name": "people.v2.events.person.renamed"}, 422, "name"),
        ({"name": None}, 422, "name"),
        ({"name": "groups.v2.events.group.created"}, 422, "not available for subscription within current OAuth2 scope"),
        ({"url": "ftp://platform.example/"}, 422, "url"),
        ({"url": "https://"}, 422, "url"),
        ({"url": "https://a b/"}, 422, "url"),
        ({"url": None}, 422, "url"),
        ({"authenticity_secret": "mine"}, 422, "authenticity_secret cannot be assigned"),
        ({}, 409, "already exists"),
    ],
)
def test_refused_subscriptions(hooks: Hooks, changed: dict[str, Any], status: int, word: str) -> None:
    hooks.subscribe(f"{PEOPLE}person.updated")
    refused = hooks.api.post(SUBSCRIPTIONS, {"name": f"{PEOPLE}person.updated", "url": URL, "active": True, **changed})
    assert refused.status == status
    assert word in json.dumps(refused.error).replace('\\"', '"')
    assert len(hooks.api.get(SUBSCRIPTIONS).data) == 1


def test_one_subscription_per_event_address_person_and_application(hooks: Hooks) -> None:
    name = f"{PEOPLE}person.updated"
    (first,) = hooks.subscribe(name)
    hooks.subscribe(name, url=f"{URL}2")
    other = next(
        login
        for login in hooks.world.logins
        if login.organization_id == hooks.church and login.person_id != hooks.api.person_id
    )
    theirs = Direct(hooks.world, hooks.church, other.person_id, version="2022-10-20", scopes=("webhooks", "people"))
    assert theirs.get(SUBSCRIPTIONS).data == []
    assert theirs.post(SUBSCRIPTIONS, {"name": name, "url": URL, "active": True}).status == 201
    for call in (theirs.get, theirs.delete):
        assert call(f"{SUBSCRIPTIONS}/{first}").status == 404
    rows = hooks.api.get(f"{SUBSCRIPTIONS}?per_page=1").body
    assert (rows["meta"]["total_count"], len(rows["data"]), "next" in rows["links"]) == (2, 1, True)
    application = rows["data"][0]["attributes"]["application_id"]
    assert len(hooks.api.get(f"{SUBSCRIPTIONS}?where[application_id]={application}").data) == 2
    assert hooks.api.get(f"{SUBSCRIPTIONS}?where[application_id]=1").data == []


def test_a_subscription_is_changed_rotated_and_deleted(hooks: Hooks, person_id: str, human: Human) -> None:
    (id_,) = hooks.subscribe(f"{PEOPLE}person.updated")
    path = f"{SUBSCRIPTIONS}/{id_}"
    secret = hooks.api.get(path).data["attributes"]["authenticity_secret"]
    assert hooks.api.patch(path, {"url": "https://elsewhere.example"}).status == 422
    human.edit_person(hooks.church, person_id, {"nickname": "A"})
    (event,) = hooks.api.get(f"{path}/events?where[status]=pending").data
    assert hooks.api.post(f"{path}/events/{event['id']}/ignore", {}).status == 422
    assert hooks.api.patch(path, {"active": False}).data["attributes"]["active"] is False
    assert hooks.api.get(f"{path}/events").data[0]["attributes"]["status"] == "skipped"
    assert hooks.api.post(f"{path}/events/{event['id']}/redeliver", {}).status == 422
    ignored = hooks.api.post(f"{path}/events/{event['id']}/ignore", {})
    assert (ignored.status, ignored.data["attributes"]["status"]) == (201, "ignored_skipped")
    rotated = hooks.api.post(f"{path}/rotate_secret", {})
    assert (rotated.status, len(rotated.data["attributes"]["authenticity_secret"])) == (201, 64)
    assert rotated.data["attributes"]["authenticity_secret"] != secret
    assert hooks.api.delete(path).status == 204
    assert (hooks.api.get(path).status, hooks.events()) == (404, [])


def test_the_schedule_lasts_five_days_in_sixteen_retries() -> None:
    assert len(rules.SCHEDULE) == 16
    assert rules.SCHEDULE[:3] == (30, 60, 120)
    assert 5.3 < sum(rules.SCHEDULE) / 86_400 < 5.5
