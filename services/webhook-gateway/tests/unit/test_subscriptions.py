"""The steps towards the wanted subscriptions, for any state here and there."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.values import CALENDAR, PEOPLE
from webhook_gateway.domain.statement import Known, state_of
from webhook_gateway.domain.subscriptions import (
    Adopt,
    Create,
    Forget,
    Here,
    Loss,
    Reactivate,
    Remove,
    Renew,
    Step,
    There,
    cause_of,
    losses,
    next_verification,
    plan,
    sort,
    subject,
    wanted_names,
)

BASE = "https://hooks.example.org/webhooks/pco/"
OWN, FORMER, OTHER = f"{BASE}own", f"{BASE}former", f"{BASE}other-product"
MOVED = "https://former-host.example.org/webhooks/pco/own"
FOREIGN = (
    "https://elsewhere.example/hook",
    "https://hooks.example.org/webhooks",
    "https://hooks.example.org/x/own2",
    "",
)
NAMES = wanted_names(PEOPLE, ())[:3]
UNWANTED = "people.v2.events.note.created"
NOW = datetime(2026, 5, 1, tzinfo=UTC)

theirs = st.builds(
    There,
    id=st.just(""),
    name=st.sampled_from((*NAMES, UNWANTED)),
    url=st.sampled_from((OWN, OWN, OWN, FORMER, OTHER, MOVED, *FOREIGN)),
    active=st.booleans(),
    secret=st.sampled_from((None, "secret-1", "secret-2")),
)
lists = st.lists(theirs, max_size=8).map(lambda rows: [replace(row, id=str(n)) for n, row in enumerate(rows)])
ours = st.builds(
    Here,
    name=st.sampled_from((*NAMES, UNWANTED)),
    state=st.sampled_from(("wanted", "active", "refused", "removed")),
    pco_id=st.sampled_from((None, "0", "1", "2", "99")),
    secret=st.sampled_from((None, "secret-1", "secret-2")),
)
rows = st.lists(ours, max_size=4, unique_by=lambda row: row.name)


class World:
    """The vendor and our rows, which take steps. `shows`: whether its list has secrets."""

    def __init__(self, here: list[Here], there: list[There]) -> None:
        self.here = {row.name: row for row in here}
        self.there = {row.id: row for row in there}
        self.secrets = {row.id: row.secret or f"hidden-{row.id}" for row in there}
        self.numbers = count(100)

    def plan(self) -> list[Step]:
        found = sort(self.there.values(), OWN, BASE, {OTHER})
        return plan(list(self.here.values()), found, NAMES)

    def take(self, step: Step) -> None:
        match step:
            case Create(name):
                number = str(next(self.numbers))
                assert not [row for row in self.there.values() if (row.name, row.url) == (name, OWN)], "409"
                self.there[number] = There(number, name, OWN, True, f"new-{number}")
                self.secrets[number] = f"new-{number}"
                self.here[name] = Here(name, "active", number, f"new-{number}")
            case Adopt(name, pco_id, secret, active):
                assert secret in {self.secrets[pco_id], self.here[name].secret if name in self.here else None}
                self._known(name, pco_id, secret, active=active)
            case Renew(name, pco_id, active):
                self.secrets[pco_id] = f"renewed-{pco_id}"
                self._known(name, pco_id, self.secrets[pco_id], active=active)
            case Reactivate(name, pco_id):
                self.there[pco_id] = replace(self.there[pco_id], active=True)
                self.here[name] = replace(self.here[name], state="active")
            case Remove(_, pco_id):
                del self.there[pco_id]
            case Forget(name):
                self.here[name] = Here(name, "removed")

    def _known(self, name: str, pco_id: str, secret: str, *, active: bool) -> None:
        before = self.here.get(name, Here(name, "wanted"))
        self.here[name] = replace(before, pco_id=pco_id, secret=secret, state="active" if active else before.state)


@given(rows, lists, st.integers(0, 20))
def test_the_steps_lead_to_the_wanted_state_from_any_other(here: list[Here], there: list[There], deaths: int) -> None:
    world = World(here, there)
    untouched = {row.id: row for row in there if row.url in {OTHER, *FOREIGN}}
    for step in world.plan()[:deaths]:  # the care dies after some steps, and begins again
        world.take(step)
    for step in world.plan():
        world.take(step)
    own = {row.name: row for row in world.there.values() if row.url == OWN}
    assert sorted(own) == sorted(NAMES)
    assert len([row for row in world.there.values() if row.url not in {OTHER, *FOREIGN}]) == len(NAMES)
    for name in NAMES:
        row = world.here[name]
        assert (row.state, row.pco_id, own[name].active) == ("active", own[name].id, True)
        assert row.secret is not None
    assert all(row.state == "removed" for name, row in world.here.items() if name not in NAMES)
    assert {id_: world.there.get(id_) for id_ in untouched} == untouched
    assert world.plan() == []


@given(rows, lists)
def test_nothing_of_others_is_ever_named(here: list[Here], there: list[There]) -> None:
    foreign = {row.id for row in there if row.url in {OTHER, *FOREIGN}}
    steps = plan(here, sort(there, OWN, BASE, {OTHER}), NAMES)
    assert not foreign & {getattr(step, "pco_id", None) for step in steps}


def _in_place(name: str) -> tuple[Here, There]:
    return Here(name, "active", "7", "s"), There("7", name, OWN, active=True, secret="s")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda there: [], "gone"),
        (lambda there: [replace(there, id="8")], "gone"),
        (lambda there: [replace(there, active=False)], "off"),
        (lambda there: [replace(there, secret="t")], "unknown_secret"),
        (lambda there: [replace(there, secret=None)], None),
        (lambda there: [there], None),
    ],
)
def test_losses(change: Callable[[There], list[There]], cause: str | None) -> None:
    here, there = _in_place(NAMES[0])
    found = losses([here], sort(change(there), OWN, BASE, ()))
    assert found == ([Loss(NAMES[0], cause)] if cause else [])  # type: ignore[arg-type]
    assert losses([replace(here, state="refused")], sort(change(there), OWN, BASE, ())) == []


def test_a_secret_that_cannot_be_decrypted_is_a_loss() -> None:
    here, there = _in_place(NAMES[0])
    assert losses([replace(here, secret=None)], sort([there], OWN, BASE, ())) == [Loss(NAMES[0], "unknown_secret")]


def test_causes_in_words() -> None:
    lost = [Loss("people.v2.events.person.updated", "off"), Loss("people.v2.events.phone_number.created", "off")]
    assert cause_of(lost, 0) == "Planning Center had switched off the messages about people, phone numbers."
    assert cause_of([Loss("people.v2.events.person.updated", "gone")], 1) == (
        "Planning Center no longer had the messages about people. Planning Center could not deliver 1 message. What "
        "changed then is read again."
    )
    assert all("_" not in subject(name) for product in (PEOPLE, CALENDAR) for name in wanted_names(product, ()))


@given(st.text(min_size=1), st.integers(0, 10**9), st.integers(60, 90_000))
def test_the_next_verification_comes_within_the_interval(organization: str, now: int, seconds: int) -> None:
    interval, at = timedelta(seconds=seconds), NOW + timedelta(seconds=now)
    following = next_verification(organization, PEOPLE, interval, at)
    assert at < following <= at + interval
    again = next_verification(organization, PEOPLE, interval, following)
    assert abs(again - following - interval) < timedelta(seconds=1)


EVERY = timedelta(hours=1)


LIVE = Known(PEOPLE, "connected", [("active", None), ("active", None)], NOW, open_gap=False)


@pytest.mark.parametrize(
    ("known", "state"),
    [
        (replace(LIVE, connection=None), "off"),
        (replace(LIVE, connection="disconnected"), "off"),
        (replace(LIVE, connection="closing"), "off"),
        (replace(LIVE, connection="reconnect_required"), "waiting"),
        (replace(LIVE, verified_at=None), "waiting"),
        (replace(LIVE, names=[("refused", "Because."), ("refused", "Because.")]), "off"),
        (replace(LIVE, names=[("active", None), ("refused", "Because.")]), "partly"),
        (replace(LIVE, names=[("active", None), ("waiting", None)]), "partly"),
        (replace(LIVE, verified_at=NOW - 2 * EVERY - timedelta(seconds=1)), "partly"),
        (replace(LIVE, open_gap=True), "partly"),
        (replace(LIVE, verified_at=NOW - 2 * EVERY), "live"),
        (LIVE, "live"),
    ],
)
def test_states(known: Known, state: str) -> None:
    found, sentence = state_of(known, EVERY, NOW)
    assert found == state
    assert sentence.endswith(".")
    assert sentence.count("Because.") <= 1
