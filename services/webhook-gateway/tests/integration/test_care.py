"""The care of subscriptions against the simulator: made, found again, mended, rotated, removed; gaps; the statement."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import stamina
from cryptography.fernet import Fernet
from fastapi import FastAPI
from sqlalchemy import delete, func, select, update

from contracts.events.auth_connection_v1 import (
    ConnectionAuthorized,
    ConnectionClosing,
    ConnectionFact,
    ConnectionRevoked,
    ReconnectRequired,
)
from contracts.events.webhooks_care_v1 import GapReconciled
from contracts.http.subscriptions import SubscriptionStatement
from contracts.values import CALENDAR, PEOPLE
from pco_simulator.testing import Control, SimulatorProcess
from servicekit.db.tables import JOB
from servicekit.testing import Databases, FakeClock, KeyRing, unstarted
from servicekit.testing.facts import take
from servicekit.testing.statements import statements
from synckit.testing.jobs import work_off
from synckit.testing.lender import Grant, Lender, lending
from webhook_gateway.config import Settings
from webhook_gateway.domain.subscriptions import wanted_names
from webhook_gateway.main import create_app, workers
from webhook_gateway.resources import open_resources
from webhook_gateway.storage.tables import Connection, Delivery, DeliveryGap, WebhookKey, WebhookSubscription
from webhook_gateway.usecases import care, gaps, subscriptions
from webhook_gateway.usecases.connections import connection_changed
from webhook_gateway.usecases.statement import statement

PLATFORM: Final = ("platform", "platform-secret")
REDIRECT: Final = "http://localhost:8080/oauth/callback"
NOBODY: Final = "http://127.0.0.1:1"
BASE: Final = "http://127.0.0.1:9/webhooks/pco/"
ALL: Final = set(wanted_names(PEOPLE, ()))
UPDATED: Final = "people.v2.events.person.updated"


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    """Churches, each for one test. What they deliver is refused by nobody listening."""
    client = ":".join((*PLATFORM, REDIRECT))
    with SimulatorProcess(
        people=3, churches=60, oauth_clients=[client], settings={"rate_limit": 0, "webhooks_clock_factor": 1e-6}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def churches(simulator: SimulatorProcess) -> Iterator[dict[str, Any]]:
    """Those that no test has had, one after the other."""
    return iter(simulator.control.organizations())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lender(keys: KeyRing) -> AsyncIterator[Lender]:
    """Stands in for auth-service."""
    async with lending(keys) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(databases: Databases) -> str:
    """Migrated; emptied before each test."""
    return await databases.create("webhook_gateway")


@dataclass(frozen=True, slots=True)
class There:
    """A church in the simulator, with a person of it who gave us access."""

    id: str
    admin_id: str
    token: str


def allowed(simulator: SimulatorProcess, church: dict[str, Any], scope: str, person_id: str = "") -> There:
    """Somebody of the church (its administrator) consents."""
    admin = person_id or next(one["person_id"] for one in church["logins"] if one["organization_administrator"])
    asked = {"client_id": PLATFORM[0], "redirect_uri": REDIRECT, "response_type": "code", "scope": scope}
    form = {**asked, "login": f"{church['id']}:{admin}", "decision": "allow"}
    code = httpx.URL(httpx.post(f"{simulator.base_url}/oauth/authorize", data=form).headers["location"]).params["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    granted = httpx.post(f"{simulator.base_url}/oauth/token", data=form, auth=PLATFORM)
    assert granted.status_code == 200, granted.text
    return There(church["id"], admin, granted.json()["access_token"])


@dataclass(slots=True)
class Church:
    """A church here that is connected with one there. Nothing moves by itself: neither the clock nor jobs."""

    app: FastAPI
    there: There
    control: Control
    clock: FakeClock
    lender: Lender
    organization_id: str
    generation: int = 0
    version: int = 0

    async def connect(self, product: str = PEOPLE, *, there: There | None = None, work: bool = True) -> None:
        """An administrator connects, or again."""
        self.there = there or self.there
        self.generation += 1
        grant = Grant(self.there, self.there.token, connection_generation=self.generation)
        self.lender.grants[f"gw/{self.organization_id}"] = grant
        await self.fact(ConnectionAuthorized, "connected", product)
        if work:
            await self.work()

    async def fact(self, kind: type[ConnectionFact], state: str, product: str = PEOPLE, **more: Any) -> None:
        """A fact of auth-service."""
        self.version += 1
        fact = kind(
            organization_id=self.organization_id,
            version=self.version,
            product=product,
            generation=self.generation,
            state=state,
            pco_organization_id=self.there.id,
            pco_organization_name="Church",
            pco_person_id=self.there.admin_id,
            occurred_at=self.clock.now(),
            **more,
        )
        own = self.app.state.resources
        async with self.sessions.begin() as session:
            await connection_changed(session, fact, own.settings, own.vault, own.clock)

    @property
    def sessions(self) -> Any:
        return self.app.state.runtime.sessions

    async def work(self) -> int:
        """Carry out all jobs."""
        self.clock.advance(1)
        return await work_off(self.app, workers(self.app.state.resources.settings))

    async def ask(self, product: str = PEOPLE, **more: Any) -> None:
        """*Check now*, to its end."""
        self.clock.advance(60)
        async with self.sessions.begin() as session:
            await subscriptions.ask(session, self.organization_id, product, self.clock.now(), **more)
        await self.work()

    def listed(self) -> list[dict[str, Any]]:
        """The subscriptions there, whoever made them."""
        return self.control.subscriptions(self.there.id)

    def one(self, name: str) -> dict[str, Any]:
        """The subscription of a name there."""
        (found,) = [one for one in self.listed() if one["name"] == name]
        return found

    async def rows(self, table: Any) -> list[Any]:
        """Rows here, the oldest first."""
        async with self.sessions() as session:
            return list(await session.scalars(select(table).order_by(table.id)))

    async def row(self, name: str) -> WebhookSubscription:
        """The row of a name of the newest key."""
        key = (await self.rows(WebhookKey))[-1]
        rows = [row for row in await self.rows(WebhookSubscription) if (row.name, row.key_id) == (name, key.id)]
        found: WebhookSubscription = rows[0]
        return found

    def opened(self, row: WebhookSubscription) -> str:
        """A row's secret."""
        assert row.sealed_secret is not None
        return str(self.app.state.resources.vault.open(row.sealed_secret, row=str(row.id)))

    async def told(self) -> list[tuple[str, Any]]:
        """Facts since the last call."""
        return [(kind, body) for kind, _, body in await take(self.sessions)]

    async def state(self, product: Any = PEOPLE) -> SubscriptionStatement:
        """The statement."""
        settings = self.app.state.resources.settings
        async with self.sessions() as session:
            return await statement(session, self.organization_id, product, settings, self.clock.now())

    async def assert_in_place(self, names: set[str] = ALL) -> None:
        """Exactly one active subscription for each name, with its address and secret as known here."""
        own = self.app.state.resources
        key = (await self.rows(WebhookKey))[-1]
        address = BASE + own.vault.open(key.sealed_key, row=f"{key.organization_id}/{key.product}/{key.generation}")
        there = self.listed()
        assert sorted(one["name"] for one in there) == sorted(names)
        assert all(one["active"] and one["url"] == address for one in there)
        rows = {row.name: row for row in await self.rows(WebhookSubscription) if row.key_id == key.id}
        for one in there:
            row = rows[one["name"]]
            assert (row.state, row.pco_id, self.opened(row)) == ("active", one["id"], one["authenticity_secret"])


@pytest_asyncio.fixture
async def make(
    database: str,
    databases: Databases,
    keys: KeyRing,
    simulator: SimulatorProcess,
    churches: Iterator[dict[str, Any]],
    lender: Lender,
) -> AsyncIterator[Any]:
    """`await make(scope)`: a church with a consent of that scope; not connected yet. `like`: at the same church."""
    await databases.truncate(database)
    simulator.control.clear_faults()
    stamina.set_testing(True, attempts=1)
    clock = FakeClock(datetime.now(UTC).replace(microsecond=0))
    numbers = count(1)
    async with AsyncExitStack() as stack:

        async def made(scope: str = "openid people calendar webhooks", *, like: Church | None = None) -> Church:
            settings = keys.settings(
                Settings,
                database_url=database,
                kafka="127.0.0.1:1",
                log_level="WARNING",
                auth_service_url=lender.url_of("gw"),
                pco_base_url=simulator.base_url,
                webhook_url="http://127.0.0.1:9",
                webhook_encryption_keys=KEY,
                **OTHERS,
            )
            app = await stack.enter_async_context(unstarted(create_app(settings, clock=clock), open_resources))
            there = like.there if like else allowed(simulator, next(churches), scope)
            return Church(app, there, simulator.control, clock, lender, f"org-{next(numbers)}-{uuid4().hex[:6]}")

        yield made
    stamina.set_testing(False)
    simulator.control.reset()
    simulator.control.change_settings(rate_limit=0, webhooks_clock_factor=1e-6)


KEY: Final = Fernet.generate_key().decode()
OTHERS: Final = {
    **dict.fromkeys(
        ("people_sync_url", "conflict_service_url", "calendar_sync_url", "identity_issuer", "identity_jwks_url"), NOBODY
    ),
    "identity_audience": "a",
    "console_client_id": "c",
}


# -- made ----------------------------------------------------------------------------------------------------------


async def test_connecting_makes_one_subscription_for_each_name(make: Any) -> None:
    church = await make()
    assert (await church.state()).state == "off"
    await church.connect(work=False)
    assert (await church.state()).state == "waiting"
    await church.work()
    await church.assert_in_place()
    (fact,) = await church.told()
    assert fact[0] == "SubscriptionsActive"
    assert (set(fact[1]["names"]), fact[1]["missing"], fact[1]["generation"]) == (ALL, [], 1)
    shown = await church.state()
    assert (shown.state, shown.gaps, len(shown.names)) == ("live", (), len(ALL))
    assert all(name.state == "active" and name.since for name in shown.names)
    await church.ask()
    assert await church.told() == []
    await church.assert_in_place()


async def test_a_fact_that_comes_twice_makes_one_key(make: Any) -> None:
    church = await make()
    await church.connect(work=False)
    own, session_of = church.app.state.resources, church.sessions.begin
    async with session_of() as session:
        connection = await session.get(Connection, (church.organization_id, PEOPLE))
        await subscriptions.ensure_key(session, connection, own.settings, own.vault, church.clock.now())
    church.version -= 1
    await church.fact(ConnectionAuthorized, "connected")
    await church.work()
    assert len(await church.rows(WebhookKey)) == 1
    await church.assert_in_place()


async def test_a_connection_of_before_gets_a_key(make: Any) -> None:
    church = await make()
    await church.connect(work=False)
    async with church.sessions.begin() as session:
        await session.execute(delete(WebhookKey))
        await session.execute(JOB.delete())
    await subscriptions.make_keys(church.app.state.runtime, church.app.state.resources)
    await subscriptions.make_keys(church.app.state.runtime, church.app.state.resources)
    await church.work()
    await church.assert_in_place()


async def test_calendar_beside_people_in_one_consent(make: Any) -> None:
    church = await make()
    await church.connect()
    church.lender.grants[f"gw/{church.organization_id}"].connection_generation = 1
    await church.fact(ConnectionAuthorized, "connected", CALENDAR)
    await church.work()
    calendar = set(wanted_names(CALENDAR, ()))
    assert sorted(one["name"] for one in church.listed()) == sorted(ALL | calendar)
    await church.ask()
    await church.ask(CALENDAR)
    assert len(church.listed()) == len(ALL | calendar)
    assert {(await church.state(product)).state for product in (PEOPLE, CALENDAR)} == {"live"}


async def test_names_that_the_vendor_offers_later(make: Any) -> None:
    church = await make()
    await church.connect(CALENDAR)
    await church.assert_in_place(set(wanted_names(CALENDAR, ())))
    church.control.change_settings(calendar_event_hints=True)
    await church.ask(CALENDAR)
    later = {f"calendar.v2.events.{kind}.{change}" for kind in ("event", "event_instance") for change in CHANGES}
    await church.assert_in_place(set(wanted_names(CALENDAR, later)))
    assert len(church.listed()) == 10


CHANGES: Final = ("created", "updated", "destroyed")


async def test_where_the_vendor_has_the_old_paths_only(make: Any) -> None:
    church = await make()
    church.control.add_fault({"kind": "respond", "status": 404}, path="^/webhooks/v2/webhook_subscriptions")
    await church.connect()
    await church.assert_in_place()
    church.control.set_subscription_active(church.there.id, church.one(UPDATED)["id"], active=False)
    await church.ask(rotate=True)
    await church.assert_in_place()
    await church.fact(ConnectionClosing, "closing")
    await church.work()
    assert church.listed() == []


# -- interrupted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 2, 16])
async def test_an_answer_that_was_lost_makes_no_second_subscription(make: Any, nth: int) -> None:
    church = await make()
    church.control.add_fault({"kind": "reset", "when": "after"}, method="POST", path="webhook_subscriptions$", nth=nth)
    await church.connect()
    assert len(church.listed()) == nth
    assert (await church.row(church.listed()[-1]["name"])).state == "wanted"
    church.clock.advance(120)
    await subscriptions.start_due(church.app.state.runtime, church.app.state.resources)
    await church.work()
    await church.assert_in_place()


@pytest.mark.parametrize("nth", range(1, 23, 3))
async def test_a_death_at_any_step_is_made_good(make: Any, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """One subscription is off, one gone, one has another secret: the care dies before or after a transaction."""
    church = await make()
    await church.connect()
    await church.told()
    church.control.set_subscription_active(church.there.id, church.one(UPDATED)["id"], active=False)
    gone = [one for one in church.listed() if ".email." in one["name"]]
    for one in gone:
        church.control.remove_subscription(church.there.id, one["id"])
    church.control.rotate_subscription_secret(church.there.id, church.one("people.v2.events.address.created")["id"])

    steps, real = count(1), care._Care._transaction

    def dying(self: Any) -> Any:
        if next(steps) == nth:
            raise RuntimeError("killed")
        return real(self)

    monkeypatch.setattr(care._Care, "_transaction", dying)
    await church.ask(rotate=True)
    monkeypatch.setattr(care._Care, "_transaction", real)
    assert next(steps) > nth, "there are fewer steps"
    for _ in range(2):
        await church.work()
    await church.assert_in_place()
    (gap,) = await church.rows(DeliveryGap)
    found = [body for kind, body in await church.told() if kind == "DeliveryGapFound"]
    assert found[-1]["gap_id"] == str(gap.id)
    assert found[-1]["version"] == gap.version


async def test_two_replicas_at_once(make: Any) -> None:
    church = await make()
    other = await make(like=church)
    other.organization_id = church.organization_id
    await church.connect(work=False)
    for _ in range(3):
        await asyncio.gather(church.work(), other.work())
    await church.assert_in_place()


async def test_what_the_job_began_with_must_still_be(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that closes while its subscriptions are made: nothing is made afterwards, and all is removed."""
    church = await make()
    await church.connect(work=False)
    steps, real = count(1), care._Care._store

    async def closing(self: Any, *args: Any, **values: Any) -> None:
        await real(self, *args, **values)
        if next(steps) == 3:
            await church.fact(ConnectionClosing, "closing")

    monkeypatch.setattr(care._Care, "_store", closing)
    mark = church.control.mark()
    await church.work()
    assert church.listed() == []
    made = church.control.journal(after=mark, method="POST", path="webhook_subscriptions$")
    assert len(made) == 3
    assert [kind for kind, _ in await church.told()] == ["SubscriptionsRemoved"]


# -- lost and mended -----------------------------------------------------------------------------------------------


async def _silently(church: Church, how: str) -> None:
    one = church.one(UPDATED)
    match how:
        case "off":
            church.control.set_subscription_active(church.there.id, one["id"], active=False)
        case "gone":
            church.control.remove_subscription(church.there.id, one["id"])
        case "rotated":
            church.control.rotate_subscription_secret(church.there.id, one["id"])


@pytest.mark.parametrize("how", ["off", "gone", "rotated"])
async def test_what_was_lost_silently_is_found_and_mended(make: Any, how: str) -> None:
    church = await make()
    await church.connect()
    await church.told()
    before = await church.row(UPDATED)
    (key,) = await church.rows(WebhookKey)
    received = church.clock.now() + timedelta(minutes=10)
    async with church.sessions.begin() as session:
        session.add_all([_delivery(church, UPDATED, received), _delivery(church, "another", received + timedelta(1))])
    church.clock.advance(3_000)
    await _silently(church, how)
    await subscriptions.start_due(church.app.state.runtime, church.app.state.resources)
    church.clock.advance(3_600)
    await subscriptions.start_due(church.app.state.runtime, church.app.state.resources)
    await church.work()
    await church.assert_in_place()
    (gap,) = await church.rows(DeliveryGap)
    assert (gap.since, gap.until) == (received - timedelta(minutes=5), church.clock.now())
    assert gap.since > key.verified_at
    assert "people" in gap.cause
    told = await church.told()
    (found,) = [body for kind, body in told if kind == "DeliveryGapFound"]
    assert datetime.fromisoformat(found["since"]) == gap.since
    assert datetime.fromisoformat(found["until"]) == gap.until
    assert (found["gap_id"], found["version"], found["product"]) == (str(gap.id), gap.version, PEOPLE)
    row = await church.row(UPDATED)
    if how == "rotated":
        assert row.sealed_previous is not None
        assert row.previous_until == church.clock.now() + care.PREVIOUS_VALID
        assert church.app.state.resources.vault.open(row.sealed_previous, row=str(row.id)) == church.opened(before)
    shown = await church.state()
    assert (shown.state, shown.gaps[0].closed_at) == ("partly", None)
    async with church.sessions.begin() as session:
        await gaps.close(session, _reconciled(church, gap, version=gap.version - 1))
    assert (await church.state()).state == "partly"
    async with church.sessions.begin() as session:
        await gaps.close(session, _reconciled(church, gap))
    shown = await church.state()
    assert (shown.state, shown.gaps[0].closed_how, shown.gaps[0].run_id) == ("live", "Read again.", "run-1")


def _delivery(church: Church, name: str, at: datetime) -> Delivery:
    return Delivery(
        organization_id=church.organization_id,
        product=PEOPLE,
        generation=1,
        body_id=uuid4(),
        position=0,
        delivery_id=str(uuid4()),
        name=name,
        state="applied",
        received_at=at,
        verified_at=at,
    )


def _reconciled(church: Church, gap: DeliveryGap, *, version: int | None = None) -> GapReconciled:
    return GapReconciled(
        organization_id=church.organization_id,
        version=version or gap.version,
        product=PEOPLE,
        gap_id=str(gap.id),
        by="people-sync",
        sentence="Read again.",
        run_id="run-1",
        reconciled_at=church.clock.now(),
    )


async def test_a_gap_that_is_open_is_extended(make: Any) -> None:
    church = await make()
    await church.connect()
    await _silently(church, "off")
    await church.ask()
    (first,) = await church.rows(DeliveryGap)
    await _silently(church, "gone")
    await church.ask()
    (gap,) = await church.rows(DeliveryGap)
    assert (gap.id, gap.since) == (first.id, first.since)
    assert gap.until > first.until
    assert gap.version > first.version
    assert "switched off" in gap.cause
    assert "no longer had" in gap.cause
    async with church.sessions.begin() as session:
        await gaps.close(session, _reconciled(church, gap, version=first.version))
    assert (await church.rows(DeliveryGap))[0].closed_at is None


async def test_a_gap_that_was_not_published_before_a_reconnect_is_published_after_it(make: Any) -> None:
    church = await make()
    await church.connect()
    await _silently(church, "gone")
    church.control.add_fault({"kind": "respond", "status": 503}, method="POST", path="webhook_subscriptions$")
    await church.ask()
    (gap,) = await church.rows(DeliveryGap)
    assert gap.version == 0
    church.control.clear_faults()
    await church.told()
    await church.fact(ReconnectRequired, "reconnect_required", reason="refused")
    await church.connect()
    found = [body for kind, body in await church.told() if kind == "DeliveryGapFound"]
    (gap,) = await church.rows(DeliveryGap)
    assert [(body["gap_id"], body["version"], body["generation"]) for body in found] == [(str(gap.id), gap.version, 1)]
    async with church.sessions.begin() as session:
        await gaps.close(session, _reconciled(church, gap))
    assert (await church.state()).state == "live"


async def test_failed_deliveries_are_sent_again(make: Any) -> None:
    church = await make()
    await church.connect()
    await church.told()
    church.control.add_webhook_fault({"kind": "drop"}, organization_id=church.there.id)
    person = next(row for row in church.control.dump(church.there.id) if row.get("type") == "Person")["id"]
    church.control.send_hints(church.there.id, UPDATED, [person], times=130)
    await asyncio.to_thread(_until, lambda: church.control.delivery_counts(church.there.id).get("failed") == 130)
    oldest = church.control.deliveries(church.there.id, status="failed")[0]["created_at"]
    await church.ask()
    (gap,) = await church.rows(DeliveryGap)
    assert gap.redelivered == 130
    assert gap.since == datetime.fromisoformat(oldest) - timedelta(minutes=5)
    assert "could not deliver 130 messages" in gap.cause
    assert [kind for kind, _ in await church.told()] == ["DeliveryGapFound"]
    async with church.sessions.begin() as session:
        await gaps.close(session, _reconciled(church, gap))
    await asyncio.to_thread(_until, lambda: church.control.delivery_counts(church.there.id).get("failed") == 130)
    await church.ask()
    assert await church.told() == [], "their window was read again already"
    assert len(await church.rows(DeliveryGap)) == 1


def _until(condition: Any) -> None:
    for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=30, wait_initial=0.05, wait_max=0.2):
        with attempt:
            assert condition()


# -- refused -------------------------------------------------------------------------------------------------------


async def test_a_consent_of_before_without_the_scope_is_lived_with(make: Any) -> None:
    church = await make("openid people")
    await church.connect()
    assert church.listed() == []
    shown = await church.state()
    assert shown.state == "off"
    assert "Disconnect People on the Integrations page and connect it once more" in shown.sentence
    ((kind, body),) = await church.told()
    assert (kind, body["names"], set(body["missing"])) == ("SubscriptionsActive", [], ALL)
    await church.ask()
    assert await church.told() == []
    async with asyncio.timeout(20):
        await church.ask(rotate=True)  # ends, although no secret can be rotated
    assert (await church.state()).state == "off"


async def test_a_consent_without_the_products_scope(make: Any) -> None:
    church = await make("openid calendar webhooks")
    await church.connect()
    assert church.listed() == []
    assert "does not cover this" in (await church.state()).sentence


async def test_one_refused_name_does_not_stop_the_others(make: Any) -> None:
    church = await make()
    fault = church.control.add_fault(
        {"kind": "respond", "status": 403}, method="POST", path="webhook_subscriptions$", nth=2
    )
    await church.connect()
    assert len(church.listed()) == len(ALL) - 1
    shown = await church.state()
    assert shown.state == "partly"
    assert "Changes come at once, except for 1 of 16 kinds of change." in shown.sentence
    (refused,) = [name for name in shown.names if name.state == "refused"]
    assert refused.refusal is not None
    assert "ask for these messages" in refused.refusal
    church.control.remove_fault(fault)
    await church.ask()
    await church.assert_in_place()


async def test_what_was_refused_for_a_while_is_a_gap(make: Any) -> None:
    church = await make()
    fault = church.control.add_fault(
        {"kind": "respond", "status": 403}, method="POST", path="webhook_subscriptions$", nth=2
    )
    await church.connect()
    await church.told()
    church.control.remove_fault(fault)
    church.clock.advance(7200)
    await church.ask()
    await church.assert_in_place()
    (gap,) = (await church.state()).gaps
    assert gap.closed_at is None
    assert gap.until - gap.since >= timedelta(hours=2)
    assert "had not agreed to send some messages" in gap.cause
    assert {kind for kind, _ in await church.told()} == {"DeliveryGapFound", "SubscriptionsActive"}


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_a_refused_side_request_ends_no_verification(make: Any, status: int) -> None:
    church = await make()
    await church.connect()
    await church.told()
    church.control.add_webhook_fault({"kind": "drop"}, organization_id=church.there.id)
    person = next(row for row in church.control.dump(church.there.id) if row.get("type") == "Person")["id"]
    church.control.send_hints(church.there.id, UPDATED, [person], times=3)
    await asyncio.to_thread(_until, lambda: church.control.delivery_counts(church.there.id).get("failed") == 3)
    refused = {"kind": "respond", "status": status}
    faults = [church.control.add_fault(refused, method="POST", path=path) for path in ("redeliver$", "rotate_secret$")]
    await church.ask(rotate=True)
    shown = await church.state()
    assert shown.verified_at == church.clock.now()
    assert {name.state for name in shown.names} == {"active"}
    assert {name.refusal for name in shown.names} == {care.ROTATION_REFUSED}
    (gap,) = await church.rows(DeliveryGap)
    assert (gap.version, gap.redelivered) == (2, 0)
    assert [kind for kind, _ in await church.told()] == ["DeliveryGapFound"]
    for fault in faults:
        church.control.remove_fault(fault)
    church.control.add_fault(refused, method="GET", path="/events$")
    church.clock.advance(86_400)
    await church.ask(rotate=True)
    shown = await church.state()
    assert shown.verified_at == church.clock.now()
    assert {name.refusal for name in shown.names} == {None}
    await church.assert_in_place()


async def test_a_lost_subscription_is_not_told_as_active(make: Any) -> None:
    church = await make()
    await church.connect()
    connected = church.clock.now()
    await _silently(church, "gone")
    fault = church.control.add_fault({"kind": "respond", "status": 503}, method="POST", path="webhook_subscriptions$")
    await church.ask()
    shown = await church.state()
    (lost,) = [name for name in shown.names if name.name == UPDATED]
    assert (shown.state, lost.state, lost.since) == ("partly", "waiting", None)
    assert "except for 1 of 16 kinds of change" in shown.sentence
    church.control.remove_fault(fault)
    church.clock.advance(3_600)
    await church.ask()
    (mended,) = [name for name in (await church.state()).names if name.name == UPDATED]
    assert mended.state == "active"
    assert mended.since is not None
    assert mended.since > connected + timedelta(hours=1)
    await church.assert_in_place()


async def test_a_duplicate_that_is_not_shown_is_refused_in_words(make: Any) -> None:
    church = await make()
    church.control.add_fault({"kind": "respond", "status": 409}, method="POST", path="webhook_subscriptions$", times=3)
    await church.connect()
    shown = await church.state()
    (refused,) = [name for name in shown.names if name.state == "refused"]
    assert refused.refusal is not None
    assert "sends these messages already" in refused.refusal


async def test_planning_center_away(make: Any) -> None:
    church = await make()
    fault = church.control.add_fault({"kind": "respond", "status": 503}, path="^/webhooks/")
    await church.connect()
    assert (await church.state()).state == "waiting"
    church.control.remove_fault(fault)
    church.clock.advance(61)
    await subscriptions.start_due(church.app.state.runtime, church.app.state.resources)
    await church.work()
    await church.assert_in_place()


# -- rotated -------------------------------------------------------------------------------------------------------


async def test_a_rotation_keeps_the_former_secret(make: Any) -> None:
    church = await make()
    await church.connect()
    before = {one["name"]: one["authenticity_secret"] for one in church.listed()}
    await church.ask(rotate=True)
    await church.assert_in_place()
    now = {one["name"]: one["authenticity_secret"] for one in church.listed()}
    assert not set(before.values()) & set(now.values())
    for name, secret in before.items():
        row = await church.row(name)
        assert row.sealed_previous is not None
        assert church.app.state.resources.vault.open(row.sealed_previous, row=str(row.id)) == secret
    assert await church.rows(DeliveryGap) == []
    await church.ask()
    assert {one["authenticity_secret"] for one in church.listed()} == set(now.values())


async def test_the_lost_answer_to_a_rotation_is_found_in_the_list(make: Any) -> None:
    church = await make()
    await church.connect()
    church.control.add_fault({"kind": "reset", "when": "after"}, method="POST", path="rotate_secret$", nth=4)
    await church.ask(rotate=True)
    church.clock.advance(400)
    await subscriptions.start_due(church.app.state.runtime, church.app.state.resources)
    await church.work()
    await church.assert_in_place()
    (key,) = await church.rows(WebhookKey)
    assert key.rotate_asked_at is None


# -- closed --------------------------------------------------------------------------------------------------------


async def test_a_disconnect_removes_all_and_retires_the_key(make: Any) -> None:
    church = await make()
    await church.connect()
    await church.told()
    await church.fact(ConnectionClosing, "closing")
    await church.work()
    assert church.listed() == []
    ((kind, body),) = await church.told()
    assert (kind, body["removed"], body["left_behind"]) == ("SubscriptionsRemoved", len(ALL), [])
    (key,) = await church.rows(WebhookKey)
    assert key.retired_at is not None
    assert {row.state for row in await church.rows(WebhookSubscription)} == {"removed"}
    assert all(row.sealed_secret is None for row in await church.rows(WebhookSubscription))
    await church.fact(ConnectionRevoked, "disconnected")
    await church.work()
    assert await church.told() == []
    assert (await church.state()).state == "off"


async def test_a_disconnect_while_planning_center_is_away(make: Any) -> None:
    church = await make()
    await church.connect()
    await church.told()
    fault = church.control.add_fault({"kind": "respond", "status": 503}, method="DELETE", nth=3)
    await church.fact(ConnectionClosing, "closing")
    await church.work()
    assert await church.told() == []
    church.control.remove_fault(fault)
    church.control.add_fault({"kind": "reset", "when": "after"}, method="DELETE", nth=2)
    await church.work()
    assert await church.told() == []
    await church.work()
    assert church.listed() == []
    ((kind, body),) = await church.told()
    assert (kind, body["removed"], body["left_behind"]) == ("SubscriptionsRemoved", len(ALL), [])


async def test_auth_service_gave_up_waiting(make: Any) -> None:
    church = await make()
    await church.connect()
    await church.told()
    church.control.add_fault({"kind": "respond", "status": 503}, path="^/webhooks/")
    await church.fact(ConnectionClosing, "closing")
    await church.work()
    await church.fact(ConnectionRevoked, "disconnected")
    await church.work()
    (key,) = await church.rows(WebhookKey)
    assert key.retired_at is not None
    assert await church.told() == []
    async with church.sessions() as session:
        assert await session.scalar(select(func.count()).where(JOB.c.finished_at.is_(None))) == 0


async def test_a_dead_grant_leaves_subscriptions_behind(make: Any) -> None:
    church = await make()
    await church.connect()
    await church.told()
    church.lender.grants[f"gw/{church.organization_id}"].usable = False
    await church.fact(ConnectionClosing, "closing")
    await church.work()
    ((_, body),) = await church.told()
    assert (body["removed"], set(body["left_behind"])) == (0, ALL)
    (key,) = await church.rows(WebhookKey)
    assert key.retired_at is not None


async def test_a_connection_without_a_key_is_answered_at_once(make: Any) -> None:
    church = await make()
    church.generation = 1
    await church.fact(ConnectionClosing, "closing")
    ((kind, body),) = await church.told()
    assert (kind, body["removed"]) == ("SubscriptionsRemoved", 0)


async def test_a_required_reconnect_removes_nothing_and_a_reconnect_replaces(make: Any) -> None:
    church = await make()
    await church.connect()
    church.lender.grants[f"gw/{church.organization_id}"].usable = False
    await church.fact(ReconnectRequired, "reconnect_required", reason="refused")
    await church.work()
    assert len(church.listed()) == len(ALL)
    assert (await church.state()).state == "waiting"
    (before,) = await church.rows(WebhookKey)
    assert before.retired_at is None
    await church.connect()
    await church.assert_in_place()
    former, present = await church.rows(WebhookKey)
    assert former.retired_at is not None
    assert (present.retired_at, present.generation) == (None, 2)
    assert former.key_hash != present.key_hash


async def test_moved_to_another_church_there(make: Any, simulator: Any, churches: Any) -> None:
    church = await make()
    await church.connect()
    await church.connect(there=allowed(simulator, next(churches), "openid people calendar webhooks"))
    await church.assert_in_place()
    former, present = await church.rows(WebhookKey)
    assert former.retired_at is not None
    assert present.pco_organization_id == church.there.id


async def test_a_key_of_another_generation_is_never_used(make: Any) -> None:
    """This replica has not heard of the reconnect yet."""
    church = await make()
    await church.connect(work=False)
    church.lender.grants[f"gw/{church.organization_id}"].connection_generation = 2
    await church.work()
    assert church.listed() == []


async def test_others_at_the_same_church_are_not_touched(make: Any) -> None:
    church = await make()
    neighbour = await make(like=church)
    await church.connect()
    await neighbour.connect()
    assert len(church.listed()) == 2 * len(ALL)
    stranger = _subscribe(church, "https://elsewhere.example/hooks", UPDATED)
    lost = _subscribe(church, f"{BASE}a-key-that-nobody-knows", UPDATED)
    await church.ask()
    ids = {one["id"] for one in church.listed()}
    assert stranger in ids
    assert lost not in ids
    assert len(ids) == 2 * len(ALL) + 1
    await church.fact(ConnectionClosing, "closing")
    await church.work()
    left = church.listed()
    assert len(left) == len(ALL) + 1
    assert (await neighbour.state()).state == "live"


def _subscribe(church: Church, url: str, name: str) -> str:
    base = str(church.control.client.base_url).removesuffix("/").removesuffix("/_sim")
    body = {"data": {"type": "WebhookSubscription", "attributes": {"name": name, "url": url, "active": True}}}
    headers = {
        "Authorization": f"Bearer {church.there.token}",
        "X-PCO-API-Version": "2022-10-20",
        "User-Agent": "tests (tests@example.org)",
    }
    answer = httpx.post(f"{base}/webhooks/v2/webhook_subscriptions", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


# -- many ----------------------------------------------------------------------------------------------------------


async def test_a_thousand_due_connections_are_bounded_work(make: Any) -> None:
    church = await make()
    now = church.clock.now()
    async with church.sessions.begin() as session:
        for number in range(1_000):
            whose = {"organization_id": f"many-{number}", "product": PEOPLE, "generation": 1}
            session.add(Connection(**whose, pco_organization_id="1", state="connected", version=1, updated_at=now))
            session.add(
                WebhookKey(
                    **whose,
                    pco_organization_id="1",
                    key_hash=str(number).encode(),
                    sealed_key=b"",
                    created_at=now,
                    due_at=now - timedelta(seconds=number),
                )
            )
    async with church.sessions.begin() as session:
        await session.execute(
            update(Connection).where(Connection.organization_id == "many-7").values(state="disconnected")
        )
    runtime, own = church.app.state.runtime, church.app.state.resources
    with statements(runtime.engine) as sent:
        await subscriptions.start_due(runtime, own)
    assert len(sent) < 1_000 * 2 + 11 * 8
    async with church.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(JOB)) == 999
        due = list(await session.scalars(select(WebhookKey.due_at).where(WebhookKey.due_at.is_not(None))))
    assert len(due) == 999
    assert all(now < at <= now + timedelta(hours=1) for at in due)
    assert len({at.minute for at in due}) == 60
    with statements(runtime.engine) as sent:
        await subscriptions.start_due(runtime, own)
    assert len(sent) <= 3
