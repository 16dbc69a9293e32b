"""The client at a scripted transport: leases, retries, deadlines, guards and the table of errors."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import pytest

from pco_client import (
    Advice,
    BadRequest,
    Conflict,
    Forbidden,
    Hint,
    Lease,
    LeaseUnavailable,
    NotFound,
    Observation,
    Pacers,
    People,
    PlanningCenter,
    PlanningCenterError,
    Priority,
    Problem,
    Reason,
    Rejected,
    Secret,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from pco_client import client as client_module
from pco_client.client import Guard
from pco_client.errors import error_for
from pco_client.testing import FixedLeases, run_in_virtual_time

T = TypeVar("T")
ME = "/people/v2/me"
PERSON = {"data": {"type": "Person", "id": "1", "attributes": {"first_name": "Tim"}}}
BODY = {"data": {"type": "Person", "attributes": {}}}
Step = httpx.Response | Exception | Callable[[httpx.Request], Awaitable[httpx.Response]]


def errors(status: int, **entry: Any) -> httpx.Response:
    return httpx.Response(status, json={"errors": [{"status": str(status), **entry}]})


class Script:
    """Answers in turn; the last one stays."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx.Response):
            return httpx.Response(step.status_code, headers=step.headers, content=step.content)
        return await step(request)


def use(script: Script, job: Callable[[PlanningCenter], Coroutine[Any, Any, T]], **options: Any) -> T:
    async def main() -> T:
        defaults: dict[str, Any] = {
            "base_url": "https://vendor.example",
            "user_agent": "tests (tests@example.org)",
            "lease": FixedLeases("one", "two"),
            "pacers": Pacers(),
            "transport": httpx.MockTransport(script),
        }
        async with PlanningCenter(**{**defaults, **options}) as client:
            return await job(client)

    return run_in_virtual_time(main())


def ok(body: Any = PERSON, **headers: str) -> httpx.Response:
    return httpx.Response(200, json=body, headers=headers)


def read(client: PlanningCenter) -> Coroutine[Any, Any, Any]:
    return client.get(ME)


def write(client: PlanningCenter) -> Coroutine[Any, Any, Any]:
    return client.create("/people/v2/people", BODY)


def test_every_request_names_us_the_token_and_the_version_of_its_product() -> None:
    async def job(client: PlanningCenter) -> None:
        await client.get(ME)
        await client.get("/current/v2/me")
        await client.create("/webhooks/v2/webhook_subscriptions", BODY)

    script = Script(ok())
    use(script, job)
    people, current, webhooks = (request.headers for request in script.requests)
    assert people["User-Agent"] == "tests (tests@example.org)"
    assert people["Authorization"] == "Bearer one"
    versions = [headers["X-PCO-API-Version"] for headers in (people, current, webhooks)]
    assert versions == ["2026-06-04", "2018-08-01", "2022-10-20"]
    assert webhooks["Content-Type"] == "application/json"


def test_a_read_processed_as_another_version_is_not_believed() -> None:
    with pytest.raises(UnexpectedAnswer, match="version"):
        use(Script(ok(**{"X-PCO-API-Processed-As-Version": "2018-08-01"})), read)
    assert use(Script(ok(**{"X-PCO-API-Processed-As-Version": "2026-06-04"})), read).data.id == "1"


@pytest.mark.parametrize("path", ["people/v2/me", "/giving/v2/donations", "/people/v1/me", "/people"])
def test_paths_of_unknown_products_are_refused_before_sending(path: str) -> None:
    script = Script(ok())
    with pytest.raises(ValueError, match="product"):
        use(script, lambda client: client.get(path))
    assert script.requests == []


NOT_FOUND = {"title": "Not Found", "detail": "The resource you requested could not be found"}
NO_RECORD = {"title": "Unauthorized", "detail": "This authenticated user does not have a record in this application."}


@pytest.mark.parametrize(
    ("status", "body", "error", "advice"),
    [
        (302, b"", UnexpectedAnswer, Advice.REPORT),
        (400, b'{"errors":[{"code":"invalid_resource_payload"}]}', BadRequest, Advice.REPORT),
        (401, b"", Unauthorized, Advice.RECONNECT),
        (403, b'{"errors":[{"status":"403","title":"Forbidden"}]}', Forbidden, Advice.ASK_PERMISSION),
        (404, json.dumps({"errors": [NOT_FOUND]}).encode(), NotFound, Advice.LOOK_AGAIN),
        (404, b"<html>Not Found</html>", UnexpectedAnswer, Advice.REPORT),
        (404, b"", UnexpectedAnswer, Advice.REPORT),
        (409, b'{"errors":[{"title":"Duplicate Record"}]}', Conflict, Advice.LOOK_AGAIN),
        (413, b"", BadRequest, Advice.REPORT),
        (422, b'{"errors":[{"title":"Forbidden Attribute"}]}', Rejected, Advice.SKIP_RECORD),
        (500, b'{"errors":[{"title":"Internal Server Error"}]}', Unavailable, Advice.RETRY_LATER),
        (503, b"<html>maintenance</html>", Unavailable, Advice.RETRY_LATER),
        (101, b"", UnexpectedAnswer, Advice.REPORT),
    ],
)
def test_the_table(status: int, body: bytes, error: type[PlanningCenterError], advice: Advice) -> None:
    made = error_for("POST", "/people/v2/people", status, body, request_id="r-1")
    assert type(made) is error
    assert (made.advice, made.status, made.request_id) == (advice, status, "r-1")
    assert "/people/v2/people" in str(made)


def test_rejected_says_which_parameter_and_why() -> None:
    entry = {
        "title": "Validation Error",
        "detail": "must be between -1 and 12",
        "source": {"parameter": "grade"},
        "meta": {"resource": "Person"},
    }
    with pytest.raises(Rejected, match="grade") as caught:
        use(Script(errors(422, **entry)), write)
    assert caught.value.problems == (Problem("grade", "Validation Error", "must be between -1 and 12"),)
    assert "must be" not in str(caught.value), "the vendor's words can hold personal data"


@pytest.mark.parametrize(
    ("body", "hint", "renewable"),
    [
        (b"", None, True),
        (b'{"errors":[{"code":"BABOON"}]}', Hint.BABOON, True),
        (b'{"errors":[{"detail":"CAPUCHIN"}]}', Hint.CAPUCHIN, True),
        (b'{"errors":[{"code":"TRASH_PANDA"}]}', Hint.TRASH_PANDA, False),
        (b"PELICAN", Hint.PELICAN, False),
        (json.dumps({"errors": [NO_RECORD]}).encode(), None, False),
    ],
)
def test_hints_of_a_401(body: bytes, hint: Hint | None, renewable: bool) -> None:
    leases = FixedLeases("one", "two")
    script = Script(httpx.Response(401, content=body))
    with pytest.raises(Unauthorized) as caught:
        use(script, read, lease=leases)
    assert caught.value.hint == hint
    assert leases.asked == ([None, 1] if renewable else [None])
    assert len(script.requests) == (2 if renewable else 1)


def test_a_401_asks_for_another_lease_once_for_all_callers() -> None:
    async def judge(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.1)
        return ok() if request.headers["Authorization"] == "Bearer two" else httpx.Response(401)

    async def job(client: PlanningCenter) -> None:
        await asyncio.gather(*(client.get(ME) for _ in range(20)), write(client))

    leases = FixedLeases("one", "two")
    use(Script(judge), job, lease=leases)
    assert leases.asked == [None, 1]


def test_a_lease_is_renewed_ahead_of_its_end_and_outlives_a_source_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away(FixedLeases):
        async def lease(self, failed_generation: int | None) -> Lease:
            if self.asked:
                self.asked.append(failed_generation)
                raise LeaseUnavailable("auth-service is away")
            return await super().lease(failed_generation)

    async def job(client: PlanningCenter) -> None:
        for _ in range(3):
            await client.get(ME)

    leases = Away(life=timedelta(seconds=30))
    use(Script(ok()), job, lease=leases)
    assert leases.asked == [None]  # asked a moment ago: not again with every request
    monkeypatch.setattr(client_module._Leases, "_ASK_AGAIN", timedelta(0))
    leases = Away(life=timedelta(seconds=30))
    use(Script(ok()), job, lease=leases)
    assert len(leases.asked) > 2  # asked ahead of the end; away, but the token is still good
    gone = Away(life=timedelta(seconds=-1))
    with pytest.raises(LeaseUnavailable):
        use(Script(ok()), job, lease=gone)


def test_a_token_shows_itself_to_nobody() -> None:
    lease = Lease(Secret("s3cret"), datetime.now(UTC), 1, "1")
    assert "s3cret" not in f"{lease!r} {lease.token!s}"


def test_429_never_fails_even_a_write() -> None:
    refused = httpx.Response(429, headers={"Retry-After": "19"}, content=b"{}")
    script = Script(refused, refused, ok())
    assert use(script, write).data.id == "1"
    assert len(script.requests) == 3


def test_half_a_character_in_one_record_does_not_hide_the_page() -> None:
    content = b'{"data": {"type": "Person", "id": "1", "attributes": {"last_name": "\\ud83d"}}}'
    assert use(Script(httpx.Response(200, content=content)), read).data.attributes == {"last_name": "\ud83d"}


LOST: list[tuple[Step, Reason]] = [
    (errors(500), Reason.STATUS),
    (errors(503), Reason.STATUS),
    (httpx.Response(200, content=b"<html>busy</html>"), Reason.HTML),
    (httpx.Response(200, content=b'{"data": {"type": "Pers'), Reason.TRUNCATED),
    (httpx.Response(200, content=b""), Reason.TRUNCATED),
    (httpx.ReadError("reset"), Reason.CONNECTION),
    (httpx.RemoteProtocolError("incomplete"), Reason.CONNECTION),
    (httpx.ReadTimeout("slow"), Reason.TIMEOUT),
]


@pytest.mark.parametrize(("step", "reason"), LOST)
def test_reads_are_repeated_and_writes_are_not(step: Step, reason: Reason) -> None:
    script = Script(step, step, ok())
    assert use(script, read).data.id == "1"
    assert len(script.requests) == 3

    script = Script(step, ok())
    with pytest.raises(Unavailable) as caught:
        use(script, write)
    assert len(script.requests) == 1
    assert (caught.value.reason, caught.value.outcome_unknown) == (reason, True)

    script = Script(step)
    with pytest.raises(Unavailable) as caught:
        use(script, read)
    assert len(script.requests) == 5
    assert (caught.value.reason, caught.value.outcome_unknown) == (reason, False)


def test_what_never_left_has_a_known_outcome() -> None:
    with pytest.raises(Unavailable) as caught:
        use(Script(httpx.ConnectError("refused")), write)
    assert not caught.value.outcome_unknown


def test_an_accepted_write_without_its_record_is_an_open_outcome() -> None:
    with pytest.raises(Unavailable) as caught:
        use(Script(httpx.Response(201, json={"data": []})), write)
    assert caught.value.outcome_unknown


async def slow(request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(50)
    return ok()


def test_the_timeout_is_of_one_exchange() -> None:
    with pytest.raises(Unavailable) as caught:
        use(Script(slow), lambda client: write(client.using(timeout=5)))
    assert (caught.value.reason, caught.value.outcome_unknown) == (Reason.TIMEOUT, True)


def test_the_deadline_is_of_the_whole_call() -> None:
    limited = httpx.Response(429, headers={"Retry-After": "30"}, content=b"{}")
    with pytest.raises(Unavailable) as caught:
        use(Script(limited), lambda client: write(client.using(deadline=5)))
    assert (caught.value.reason, caught.value.outcome_unknown) == (Reason.DEADLINE, False)
    with pytest.raises(Unavailable) as caught:
        use(Script(slow), lambda client: write(client.using(deadline=5)))
    assert (caught.value.reason, caught.value.outcome_unknown) == (Reason.DEADLINE, True)


class LeaseLost(Exception):
    pass


def guard_that_allows(times: int) -> Guard:
    """A lease that is lost after it was looked at so often."""
    left = iter(range(times))

    async def guard() -> None:
        if next(left, None) is None:
            raise LeaseLost

    return guard


def test_the_guard_is_asked_right_before_each_send() -> None:
    async def job(client: PlanningCenter) -> None:
        with pytest.raises(LeaseLost):
            await write(client.using(guard=guard_that_allows(1)))
        state = (await client.pacer()).state()
        assert (state.in_flight, state.waiting_bulk) == (0, 0)

    script = Script(httpx.Response(429, headers={"Retry-After": "1"}, content=b"{}"), ok())
    use(script, job)
    assert len(script.requests) == 1


@pytest.mark.parametrize(("allowed", "written"), [(1, b""), (2, b"POST ")])
async def test_the_guard_is_asked_again_when_the_connection_is_there(allowed: int, written: bytes) -> None:
    """A process that was frozen while it connected writes no request that could be carried out."""
    received = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        PlanningCenter(
            base_url=f"http://127.0.0.1:{port}",
            user_agent="tests (tests@example.org)",
            lease=FixedLeases("one"),
            pacers=Pacers(),
        ) as client,
    ):
        with pytest.raises(LeaseLost):
            await write(client.using(guard=guard_that_allows(allowed)))
        request = await asyncio.wait_for(received, 5)
    assert request.startswith(written)
    assert request.endswith(b"\r\n\r\n" if written else b"")


def test_what_is_observed_and_logged_holds_no_personal_data(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Observation] = []
    caplog.set_level(logging.INFO)

    async def job(client: PlanningCenter) -> None:
        view = People(client.using(priority=Priority.INTERACTIVE))
        with pytest.raises(NotFound) as caught:
            await view.emails_by_address("tim@example.org")
        assert "tim@" not in str(caught.value)

    use(Script(errors(404, **NOT_FOUND)), job, observer=seen.append)
    assert [(o.product, o.method, o.path, o.status, o.priority) for o in seen] == [
        ("people", "GET", "/people/v2/emails", 404, Priority.INTERACTIVE)
    ]
    assert "tim@" not in caplog.text


def test_people_bodies_have_the_vendors_shape() -> None:
    async def job(client: PlanningCenter) -> None:
        people = People(client)
        await people.create_household("Smith", people=["1", "2"], primary_contact="1")
        await people.add_household_member("5", "7")
        await people.update_email("9", {"primary": True})

    script = Script(ok({"data": {"type": "Household", "id": "1"}}))
    use(script, job)
    household, membership, email = (json.loads(request.content)["data"] for request in script.requests)
    assert household["relationships"]["people"]["data"] == [
        {"type": "Person", "id": "1"},
        {"type": "Person", "id": "2"},
    ]
    assert household["relationships"]["primary_contact"]["data"] == {"type": "Person", "id": "1"}
    assert household["attributes"] == {"name": "Smith"}
    assert membership == {
        "type": "HouseholdMembership",
        "attributes": {"pending": False},
        "relationships": {"person": {"data": {"type": "Person", "id": "7"}}},
    }
    assert email == {"type": "Email", "id": "9", "attributes": {"primary": True}}
    assert [request.url.path for request in script.requests] == [
        "/people/v2/households",
        "/people/v2/households/5/household_memberships",
        "/people/v2/emails/9",
    ]


def test_people_refuse_what_a_sync_must_not_do() -> None:
    async def job(client: PlanningCenter) -> None:
        people = People(client)
        with pytest.raises(ValueError, match="site_administrator"):
            await people.update_person("1", {"site_administrator": True})
        with pytest.raises(ValueError, match="digits"):
            await people.person("1/emails")
        with pytest.raises(ValueError, match="address"):
            await people.emails_by_address("%example.org")

    script = Script(ok())
    use(script, job)
    assert script.requests == []


def test_found_by_address_means_exactly_that_address() -> None:
    rows = [
        {"type": "Email", "id": str(i), "attributes": {"address": a}} for i, a in enumerate(["A@x.org", "aa@x.org"])
    ]
    meta = {"total_count": 2, "count": 2, "can_query_by": ["address"]}
    found = use(Script(ok({"data": rows, "meta": meta})), lambda client: People(client).emails_by_address("a@X.org"))
    assert [row.id for row in found] == ["0"]
