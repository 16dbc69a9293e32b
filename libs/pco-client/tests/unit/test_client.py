"""The client on a scripted transport: leases, retries, deadlines, guards and the table of errors."""

import asyncio
import json
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pco_client import (
    Advice,
    AnsweredTooLate,
    BadRequest,
    Conflict,
    Document,
    Forbidden,
    Hint,
    Lease,
    LeaseUnavailable,
    NotFound,
    Observation,
    Pacers,
    PlanningCenter,
    PlanningCenterError,
    Priority,
    Problem,
    Query,
    Reason,
    Rejected,
    Secret,
    Timeouts,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Where,
    wire,
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
    """Gives the scripted answers in turn, the last one for ever."""

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
    assert leases.asked == [None]  # a renewal was just requested, so not again with every request
    monkeypatch.setattr(client_module._Leases, "_ASK_AGAIN", timedelta(0))
    leases = Away(life=timedelta(seconds=30))
    use(Script(ok()), job, lease=leases)
    assert len(leases.asked) > 2  # a renewal is due before the end; the source is down, but the token is still valid
    gone = Away(life=timedelta(seconds=-1))
    with pytest.raises(LeaseUnavailable):
        use(Script(ok()), job, lease=gone)


def test_a_token_is_hidden_from_repr() -> None:
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


def test_an_unsent_write_has_a_known_outcome() -> None:
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
    """A guard whose lease is lost after `times` calls."""
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
    """A process frozen while it connected sends no complete request."""
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


class Vendor:
    """Accepts connections, records each request, and answers while `answers` is set."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.arrived = asyncio.Semaphore(0)
        self.answers = asyncio.Event()
        self.answers.set()
        self._tls = tls

    async def __aenter__(self) -> "Vendor":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://localhost:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length.group(1)) if length else 0)
                self.requests.append(head.split(b" ", 2)[1] + b" " + body)
                self.arrived.release()
                await self.answers.wait()
                answer = json.dumps(PERSON).encode()
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def client(self, **options: Any) -> PlanningCenter:
        defaults = {"user_agent": "tests (tests@example.org)", "lease": FixedLeases("one"), "pacers": Pacers()}
        return PlanningCenter(base_url=self.url, **{**defaults, **options})


@pytest.mark.parametrize("frozen_at", [9, 16, 20, 24])
async def test_a_thawed_process_does_not_send_the_rest_of_a_batch(frozen_at: int) -> None:
    """Eight requests, each with three guard calls that may wait; the lease is lost during one of these waits."""
    held = True
    looks = 0

    def check() -> None:
        if not held:
            raise LeaseLost

    async def guard() -> None:
        nonlocal held, looks
        looks += 1
        await asyncio.sleep(0)
        held = held and looks < frozen_at

    async with Vendor() as vendor, vendor.client() as client:
        await asyncio.gather(*(client.get(ME) for _ in range(8)))
        del vendor.requests[:]
        writes = (client.using(guard=guard, check=check).create("/people/v2/people", BODY) for _ in range(8))
        results = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(result) for result in results} <= {Document, LeaseLost}
    assert len(vendor.requests) == sum(isinstance(result, Document) for result in results) < 8


async def test_the_check_is_asked_in_the_step_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn of the loop lies between the check and the write of the bytes."""
    loop = asyncio.get_running_loop()
    turn = 0
    asked: list[int] = []
    written: list[int] = []
    over = False

    def count() -> None:
        nonlocal turn
        turn += 1
        if not over:
            loop.call_soon(count)

    link_write = wire._Link.write

    def write(link: wire._Link, data: bytes) -> None:
        written.append(turn)
        link_write(link, data)

    async with Vendor() as vendor, vendor.client() as client:
        await client.get(ME)
        monkeypatch.setattr(wire._Link, "write", write)
        loop.call_soon(count)
        await client.using(check=lambda: asked.append(turn)).create("/people/v2/people", BODY)
        over = True
    assert asked == written
    assert len(asked) == 2, "head and body"


async def test_an_answer_to_a_lost_lease_tells_what_was_made() -> None:
    held = True

    async def answered() -> None:
        if not held:
            raise LeaseLost

    async with Vendor() as vendor, vendor.client() as client:
        view = client.using(answered=answered)
        assert (await view.create("/people/v2/people", BODY)).data.id == "1"
        held = False
        assert (await view.get(ME)).data.id == "1", "a read makes nothing"
        with pytest.raises(AnsweredTooLate) as caught:
            await view.create("/people/v2/people", BODY)
    assert (caught.value.record, caught.value.status) == (("Person", "1"), 201)
    assert isinstance(caught.value.__cause__, LeaseLost)


async def test_an_answer_that_came_while_the_process_was_frozen_is_read() -> None:
    async with Vendor() as vendor, vendor.client(timeouts=Timeouts(exchange=0.5)) as client:
        await client.get(ME)
        await vendor.arrived.acquire()
        vendor.answers.clear()
        writing = asyncio.create_task(write(client))
        await vendor.arrived.acquire()
        vendor.answers.set()
        time.sleep(1.5)  # noqa: ASYNC251 - frozen; the vendor of this test is frozen with it, and answers on waking
        assert (await writing).data.id == "1"


def certified(path: Path) -> ssl.SSLContext:
    """A TLS context for localhost. `path` gets key and certificate, for clients to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


class Elsewhere:
    """A vendor that runs on while this process's loop is frozen: in a thread, with blocking sockets."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.received = 0
        self.more = threading.Condition()
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://localhost:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
        request = b""
        while data := connection.recv(65536):
            with self.more:
                self.received += len(data)
                self.more.notify()
            request += data
            head, end, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if end and length and len(body) == int(length.group(1)):
                answer, request = json.dumps(PERSON).encode(), b""
                connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        connection.close()
        self._listening.close()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_written_bytes_reach_the_kernel_at_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop], tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes arrive although the process freezes after each write: on asyncio's loop, which sends at once, and on
    uvloop, which gathers writes."""
    context = certified(tmp_path / "pair.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pair.pem"))
    vendor = Elsewhere(context if tls else None)
    written = 0
    arrived: list[bool] = []
    link_write = wire._Link.write

    def write(link: wire._Link, data: bytes) -> None:
        nonlocal written
        link_write(link, data)
        written += len(data)
        with vendor.more:
            arrived.append(vendor.more.wait_for(lambda: vendor.received >= written, timeout=10))

    async def main() -> None:
        client = PlanningCenter(
            base_url=vendor.url, user_agent="tests (tests@example.org)", lease=FixedLeases("one"), pacers=Pacers()
        )
        async with client:
            note = {"data": {"type": "Person", "attributes": {"note": "x" * 40_000}}}
            for body in (note, BODY):
                assert (await client.create("/people/v2/people", body)).data.id == "1"

    monkeypatch.setattr(wire._Link, "write", write)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert arrived == [True] * len(arrived)
    assert len(arrived) >= 6


async def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Vendor() as vendor:
        loop = asyncio.get_running_loop()
        port = int(vendor.url.rsplit(":", 1)[1])
        stream = (socket.SOCK_STREAM, 6, "")
        silent, refusing = "192.0.2.1", "127.0.0.2"
        known = [(socket.AF_INET, *stream, (address, port)) for address in (silent, refusing, "127.0.0.1")]

        async def addresses(*_: Any, **__: Any) -> list[Any]:
            return known

        monkeypatch.setattr(loop, "getaddrinfo", addresses)
        link = await wire._connected("vendor.example", port, None)
        assert link.transport.get_extra_info("peername")[0] == "127.0.0.1"
        link.transport.abort()
        del known[0], known[-1]
        with pytest.raises(ConnectionRefusedError):
            await wire._connected("vendor.example", port, None)


async def test_over_tls_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certified(tmp_path / "pair.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pair.pem"))
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise LeaseLost

    async with Vendor(context) as vendor, vendor.client() as client:
        view = client.using(check=check)
        large = {"data": {"type": "Person", "attributes": {"note": "x" * 10_000}}}
        assert (await view.create("/people/v2/people", large)).data.id == "1"
        with pytest.raises(LeaseLost):
            await view.create("/people/v2/people", BODY)
        assert (await client.get(ME)).data.id == "1"
    assert len(vendor.requests) == 2
    monkeypatch.delenv("SSL_CERT_FILE")
    async with Vendor(context) as stranger, stranger.client() as client:
        with pytest.raises(Unavailable) as caught:
            await write(client)
    assert (caught.value.reason, caught.value.outcome_unknown) == (Reason.CONNECTION, False)


async def test_a_connection_that_the_vendor_closed_is_not_used_again() -> None:
    async with Vendor() as vendor, vendor.client() as client:
        await client.get(ME)
        (connection,) = client._http._transport._pool.connections  # type: ignore[attr-defined]
        stream = connection._connection._network_stream
        stream._link.eof_received()
        assert (await write(client)).data.id == "1"
        assert client._http._transport._pool.connections != [connection]  # type: ignore[attr-defined]


def test_observations_and_logs_hold_no_personal_data(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Observation] = []
    caplog.set_level(logging.INFO)

    async def job(client: PlanningCenter) -> None:
        view = client.using(priority=Priority.INTERACTIVE)
        with pytest.raises(NotFound) as caught:
            await view.list("/people/v2/emails", Query(where=(Where("address", "tim@example.org"),)))
        assert "tim@" not in str(caught.value)

    use(Script(errors(404, **NOT_FOUND)), job, observer=seen.append)
    assert [(o.product, o.method, o.path, o.status, o.priority) for o in seen] == [
        ("people", "GET", "/people/v2/emails", 404, Priority.INTERACTIVE)
    ]
    assert "tim@" not in caplog.text
