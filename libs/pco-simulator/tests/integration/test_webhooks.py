"""Webhooks over HTTP: a receiver that answers, fails or is away, on a hurried clock."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from pco_simulator.testing import USER_AGENT, Control, SimulatorError, SimulatorProcess

SUBSCRIPTIONS = "/webhooks/v2/webhook_subscriptions"
UPDATED = "people.v2.events.person.updated"
VERSION = {"X-PCO-API-Version": "2022-10-20"}
T = TypeVar("T")
HURRY = 1e6
"""Five days in half a second."""
STILL = 1e-6


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def delivery(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["data"][0]
        return found

    @property
    def subject(self) -> str:
        id_: str = json.loads(self.delivery["attributes"]["payload"])["data"]["id"]
        return id_

    def is_signed_with(self, secret: str) -> bool:
        wanted = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return self.headers["X-PCO-Webhooks-Authenticity"] == wanted


class Receiver:
    """A server that answers with `answer(received)`: a status, or None to hang up."""

    def __init__(self) -> None:
        self.answer: Callable[[Received], int | None] = lambda _received: 200
        self.got: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received = Received(self.path, dict(self.headers), body)
                receiver.got.append(received)
                status = receiver.answer(received)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Set-Cookie", "seen=1")
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def until(read: Callable[[], T], wanted: Callable[[T], object]) -> T:
    """Read until a value is as wanted; gives that value."""
    deadline = time.monotonic() + 20
    while True:
        value = read()
        if wanted(value):
            return value
        assert time.monotonic() < deadline, value
        time.sleep(0.01)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def api(simulator: SimulatorProcess) -> Iterator[httpx.Client]:
    simulator.control.change_settings(rate_limit=0)
    with simulator.api() as client:
        client.headers.update(VERSION)
        yield client
        for church in simulator.control.organizations():
            for row in simulator.control.subscriptions(church["id"]):
                simulator.control.remove_subscription(church["id"], row["id"])


def subscribe(api: httpx.Client, url: str, name: str = UPDATED) -> dict[str, Any]:
    attributes = {"name": name, "url": url, "active": True}
    made = api.post(SUBSCRIPTIONS, json={"data": {"type": "WebhookSubscription", "attributes": attributes}})
    assert made.status_code == 201, made.text
    row: dict[str, Any] = made.json()["data"]
    return {"id": row["id"], **row["attributes"]}


@pytest.fixture
def person(control: Control, church: str) -> str:
    return control.create_person(church, first_name="Ada", last_name="Lovelace")


def is_due(at: float, hint: dict[str, Any]) -> bool:
    return bool(hint["due"] == pytest.approx(at, abs=1))


def edit(control: Control, church: str, person: str, nickname: str = "A") -> None:
    control.edit_person(church, person, nickname=nickname)


def hints(control: Control, church: str, status: str, count: int = 1) -> list[dict[str, Any]]:
    return until(lambda: control.deliveries(church, status=status), lambda found: len(found) == count)


def test_changes_of_every_author_arrive_signed(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    subscription = subscribe(api, f"{receiver.url}?key=1")
    email = subscribe(api, receiver.url, "people.v2.events.email.created")
    edit(control, church, person)
    api.patch(f"/people/v2/people/{person}", json={"data": {"attributes": {"nickname": "B"}}})
    form = {"do": "save", "first_name": "By hand"}
    httpx.post(f"{api.base_url}/churches/{church}/people/{person}", data=form)
    address = {"data": {"attributes": {"address": "ada@example.org", "location": "Home"}}}
    api.post(f"/people/v2/people/{person}/emails", json=address)
    hints(control, church, "delivered", 4)
    assert len(receiver.got) == 4
    for one in receiver.got:
        used = subscription if one.path.endswith("?key=1") else email
        assert one.is_signed_with(used["authenticity_secret"])
        assert one.headers["X-PCO-Webhooks-Event"] == one.delivery["id"]
        assert one.headers["X-PCO-Webhooks-Name"] == one.delivery["attributes"]["name"] == used["name"]
        assert one.headers["X-PCO-Webhooks-Event-ID"].isdecimal()
        assert one.headers["X-PCO-Webhooks-Attempt"] == str(one.delivery["attributes"]["attempt"]) == "1"
        assert one.delivery["relationships"]["organization"]["data"]["id"] == church
        assert "Cookie" not in one.headers
    names = [json.loads(one.delivery["attributes"]["payload"])["data"]["type"] for one in receiver.got]
    assert sorted(names) == ["Email", "Person", "Person", "Person"]
    events = api.get(f"{SUBSCRIPTIONS}/{email['id']}/events").json()["data"]
    assert [row["attributes"]["status"] for row in events] == ["delivered"]
    path = f"{SUBSCRIPTIONS}/{email['id']}/events/{events[0]['id']}/deliveries"
    (tried,) = api.get(path).json()["data"]
    (sent,) = (one for one in receiver.got if one.is_signed_with(email["authenticity_secret"]))
    assert (tried["attributes"]["status"], tried["attributes"]["request_body"].encode()) == (200, sent.body)


def test_failures_are_retried_on_the_schedule(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    subscribe(api, receiver.url)
    control.hurry(factor=STILL)
    answers = iter([500, 302, 404, None, 204])
    receiver.answer = lambda _received: next(answers)
    edit(control, church, person)
    for wait in (30, 60, 120, 240):
        later = control.call("GET", "/webhooks/clock")["now"] + wait
        waiting = until(lambda: control.deliveries(church)[0], partial(is_due, later))
        assert waiting["status"] == "pending"
        control.hurry(seconds=wait)
    (done,) = hints(control, church, "delivered")
    assert [one["status"] for one in done["deliveries"]] == [500, 302, 404, None, 204]
    assert [one.delivery["attributes"]["attempt"] for one in receiver.got] == [1, 2, 3, 4, 5]
    assert {one.delivery["id"] for one in receiver.got} == {done["uuid"]}
    assert {one.path for one in receiver.got} == {"/hooks"}


def test_five_days_of_failures_deactivate_silently_and_redelivery_follows(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    path = f"{SUBSCRIPTIONS}/{subscribe(api, receiver.url)['id']}"
    receiver.answer = lambda _received: 503
    edit(control, church, person)
    control.hurry(factor=HURRY)
    (failed,) = hints(control, church, "failed")
    assert (failed["attempts"], len(receiver.got)) == (17, 17)
    assert api.get(path).json()["data"]["attributes"]["active"] is False
    edit(control, church, person, "unseen")
    assert len(control.deliveries(church)) == 1
    receiver.answer = lambda _received: 200
    control.hurry(factor=1)
    assert api.post(f"{path}/events/{failed['id']}/redeliver").status_code == 422
    api.patch(path, json={"data": {"attributes": {"active": True}}})
    (listed,) = api.get(f"{path}/events", params={"where[status]": "failed"}).json()["data"]
    assert api.post(f"{path}/events/{listed['id']}/redeliver").status_code == 201
    hints(control, church, "delivered")
    assert receiver.got[-1].delivery["id"] == failed["uuid"]
    assert receiver.got[-1].headers["X-PCO-Webhooks-Attempt"] == "18"


def test_a_410_deactivates_at_once(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    control.change_settings(webhooks_concurrency=1)
    subscription = subscribe(api, receiver.url)
    kept = subscribe(api, f"{receiver.url}/kept")
    receiver.answer = lambda received: 200 if received.path.endswith("kept") else 410
    control.send_hints(church, UPDATED, [person], times=2)
    hints(control, church, "delivered", 2)
    (failed,), (skipped,) = hints(control, church, "failed"), hints(control, church, "skipped")
    assert (failed["attempts"], skipped["attempts"]) == (1, 0)
    active = {row["id"]: row["active"] for row in control.subscriptions(church)}
    assert active == {subscription["id"]: False, kept["id"]: True}


def test_a_rotated_secret_signs_what_is_sent_from_then_on(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    subscription = subscribe(api, receiver.url)
    receiver.answer = lambda _received: 500
    edit(control, church, person)
    until(lambda: control.deliveries(church), lambda found: found[0]["attempts"] == 1)
    rotated = api.post(f"{SUBSCRIPTIONS}/{subscription['id']}/rotate_secret")
    receiver.answer = lambda _received: 200
    control.hurry(seconds=30)
    hints(control, church, "delivered")
    before, after = receiver.got
    assert before.is_signed_with(subscription["authenticity_secret"])
    assert after.is_signed_with(rotated.json()["data"]["attributes"]["authenticity_secret"])


def test_fault_scripts_over_http(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    subscription = subscribe(api, receiver.url)
    secret = subscription["authenticity_secret"]
    forged = control.add_webhook_fault({"kind": "wrong_signature"}, nth=1)
    receiver.answer = lambda received: 200 if received.is_signed_with(secret) else 401
    edit(control, church, person)
    until(lambda: control.deliveries(church), lambda found: found[0]["attempts"] == 1)
    control.hurry(seconds=30)
    hints(control, church, "delivered")
    assert control.webhook_fault(forged)["acted"] == 1
    control.remove_webhook_fault(forged)

    cut = control.add_webhook_fault({"kind": "truncate", "keep": 0.5}, times=1)
    edit(control, church, person, "cut")
    until(lambda: receiver.got, lambda got: len(got) == 3)
    with pytest.raises(json.JSONDecodeError):
        json.loads(receiver.got[-1].body)
    until(lambda: control.webhook_fault(cut), lambda state: state["acted"] == 1)
    until(lambda: control.deliveries(church, status="pending"), lambda found: found and found[0]["attempts"] == 1)
    control.hurry(seconds=30)
    hints(control, church, "delivered", 2)

    control.remove_webhook_fault(cut)
    control.add_webhook_fault({"kind": "duplicate", "copies": 3}, times=1)
    del receiver.got[:]
    edit(control, church, person, "again")
    until(lambda: receiver.got, lambda got: len(got) == 4)
    assert len({one.delivery["id"] for one in receiver.got}) == 1

    control.add_webhook_fault({"kind": "reorder", "window": 2, "gap_ms": 200}, times=2)
    del receiver.got[:]
    second = control.create_person(church, first_name="Second")
    edit(control, church, person, "first")
    edit(control, church, second)
    until(lambda: receiver.got, lambda got: len(got) == 2)
    assert [one.subject for one in receiver.got] == [second, person]
    with pytest.raises(SimulatorError, match="regular expression"):
        control.add_webhook_fault({"kind": "drop"}, name="(")


def test_a_burst_arrives_whole(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    subscribe(api, receiver.url)
    second = control.create_person(church, first_name="Second")
    assert control.send_hints(church, UPDATED, [person, second], times=50) == 100
    until(lambda: control.delivery_counts(church), lambda counts: counts == {"delivered": 100})
    assert len({one.delivery["id"] for one in receiver.got}) == len(receiver.got) == 100
    with pytest.raises(SimulatorError, match="404"):
        control.send_hints(church, UPDATED, ["1"])


def test_a_receiver_that_does_not_answer_or_is_not_there_holds_up_nobody(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    control.change_settings(webhooks_timeout_seconds=0.2)
    gone = Receiver()
    gone.close()
    for url in (receiver.url, gone.url, "http://[::1]:9/", "https://127.0.0.1:9/"):
        subscribe(api, url)
    quick = subscribe(api, f"{receiver.url}/quick")
    over = threading.Event()
    receiver.answer = lambda received: 200 if received.path.endswith("quick") or over.wait(20) else None
    edit(control, church, person)
    (done,) = hints(control, church, "delivered")
    assert done["subscription_id"] == quick["id"]
    tried = until(lambda: control.deliveries(church, status="pending"), lambda rows: all(r["attempts"] for r in rows))
    over.set()
    assert [[one["status"] for one in row["deliveries"]] for row in tried] == [[None]] * 4


def test_what_is_pending_survives_a_sigkill(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda _received: 500
    with SimulatorProcess(people=10, state=tmp_path) as simulator:
        church = simulator.control.organizations()[0]["id"]
        with simulator.api() as api:
            api.headers.update(VERSION)
            subscription = subscribe(api, receiver.url)
        person = simulator.control.create_person(church, first_name="Ada")
        edit(simulator.control, church, person)
        until(lambda: simulator.control.deliveries(church), lambda found: found[0]["attempts"] == 1)
        edit(simulator.control, church, person, "just before")
        before = simulator.control.deliveries(church)

        simulator.restart(kill=True)

        control = simulator.control
        assert control.subscriptions(church)[0]["authenticity_secret"] == subscription["authenticity_secret"]
        receiver.answer = lambda _received: 200
        control.hurry(seconds=30)
        found = until(lambda: control.deliveries(church, status="delivered"), lambda rows: len(rows) == 2)
        assert [row["uuid"] for row in found] == [row["uuid"] for row in before]
        assert all(one.is_signed_with(subscription["authenticity_secret"]) for one in receiver.got)


def test_scopes(api: httpx.Client, simulator: SimulatorProcess, receiver: Receiver) -> None:
    control = simulator.control
    redirect = "https://platform.example/callback"
    client = control.register_client(redirect)
    church = control.organizations()[0]
    login = f"{church['id']}:{church['logins'][0]['person_id']}"

    def bearer(scope: str) -> httpx.Client:
        request = {"client_id": client.id, "redirect_uri": redirect, "response_type": "code", "scope": scope}
        form = {**request, "login": login, "decision": "allow"}
        answer = httpx.post(f"{simulator.base_url}/oauth/authorize", data=form)
        code = httpx.URL(answer.headers["location"]).params["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect}
        token = httpx.post(f"{simulator.base_url}/oauth/token", data=form, auth=(client.id, client.secret)).json()
        headers = {"Authorization": f"Bearer {token['access_token']}", "User-Agent": USER_AGENT, **VERSION}
        return httpx.Client(base_url=simulator.base_url, headers=headers)

    with bearer("people calendar") as without, bearer("people webhooks") as partly:
        assert without.get(SUBSCRIPTIONS).status_code == 403
        subscription = subscribe(partly, receiver.url)
        name = "calendar.v2.events.event_request.created"
        attributes = {"name": name, "url": receiver.url, "active": True}
        refused = partly.post(SUBSCRIPTIONS, json={"data": {"attributes": attributes}})
        assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (
            422,
            f'Event "{name}" is not available for subscription within current OAuth2 scope (people webhooks)',
        )
    # The personal access token is another application of the same person.
    theirs = subscribe(api, receiver.url)
    assert theirs["application_id"] != subscription["application_id"]
    assert api.get(SUBSCRIPTIONS, headers={"X-PCO-API-Version": ""}).status_code == 404


def test_staff_see_and_change_subscriptions(
    api: httpx.Client, control: Control, church: str, person: str, receiver: Receiver
) -> None:
    subscription = subscribe(api, receiver.url)
    receiver.answer = lambda _received: 500
    edit(control, church, person)
    (event,) = until(lambda: control.deliveries(church), lambda found: found[0]["attempts"] == 1)
    here = f"{api.base_url}/churches/{church}/webhooks"
    page = httpx.get(here).text
    assert all(word in page for word in (receiver.url, "pending", f"Person {person}", "500"))

    def press(path: str, do: str = "") -> str:
        return httpx.post(f"{here}/{path}", data={"do": do}, follow_redirects=True).text

    receiver.answer = lambda _received: 200
    assert "The hint is sent once more." in press(f"hints/{event['id']}")
    hints(control, church, "delivered")
    one = f"subscriptions/{subscription['id']}"
    assert "The subscription was deactivated." in press(one, "deactivate")
    assert "is not active" in press(f"hints/{event['id']}")
    assert "The subscription was activated." in press(one, "activate")
    assert "The subscription was deleted." in press(one, "delete")
    assert "Nobody has subscribed." in httpx.get(here).text
    assert httpx.get(f"{api.base_url}/churches/1/webhooks").status_code == 404
