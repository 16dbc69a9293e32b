"""Requests to Planning Center: leases, pace, retries and the table of errors around `httpx.AsyncClient`."""

import asyncio
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

import httpx
import orjson
import stamina

from pco_client import jsonapi
from pco_client.errors import (
    AnsweredTooLate,
    LeaseUnavailable,
    PlanningCenterError,
    Reason,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    error_for,
)
from pco_client.jsonapi import Document, Page
from pco_client.pacer import DEEP_OFFSET, LimitClass, Pacer, Pacers, Priority, _retry_after
from pco_client.query import Query, check_honoured
from pco_client.versions import PROCESSED_AS_HEADER, VERSION_HEADER, VERSIONS, product_of
from pco_client.wire import Check, check_writes, checking

# httpx logs every URL at INFO, and queries carry names and addresses.
logging.getLogger("httpx").setLevel(logging.WARNING)

Guard = Callable[[], Awaitable[None]]
"""Awaited before each send, and again once connected; raises any exception to forbid the send. The caller gets that
exception unchanged."""

_WRITING: Final = frozenset({"http11.send_request_headers.started", "http11.send_request_body.started"})
"""httpcore's trace events between connecting and writing. The vendor ignores a POST without its whole body."""

_FROZEN: Final = 0.5
"""Seconds a timer must be late to show that the process was frozen or busy."""
_LOOK: Final = 5.0
"""Seconds a thawed process gets to read answers that wait in the kernel: dropping an answer would leave a write's
outcome unknown, and all other work of the process thaws at the same time."""


class Secret:
    """A token that `repr` and logs hide; `reveal` gives its value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"


@dataclass(frozen=True, slots=True)
class Lease:
    """An access token on loan from the grant's keeper."""

    token: Secret
    expires_at: datetime
    """UTC, by the clock of this machine."""
    generation: int
    """Grows with every new token of the connection; a renewal names the generation that failed."""
    pco_user_id: str
    """The person in Planning Center whose rate limit the requests count against."""


class LeaseSource(Protocol):
    """The source of tokens."""

    async def lease(self, failed_generation: int | None) -> Lease:
        """A lease of another generation than `failed_generation`, if given: the vendor refused that one with 401.

        May raise `LeaseUnavailable` (retry later) or own errors (the connection is gone), which reach the caller.
        """


@dataclass(frozen=True, slots=True)
class Observation:
    """One sent request, for metrics. No query, body or token; `path` may hold record ids."""

    product: str
    method: str
    path: str
    status: int | None
    """`None` when no answer came."""
    seconds: float
    """Seconds from the send to the end of the answer (or its loss)."""
    priority: Priority


Observer = Callable[[Observation], None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `exchange` bounds one request from its send to the last byte of the answer."""

    connect: float = 10.0
    exchange: float = 60.0


@dataclass(frozen=True, slots=True)
class Retries:
    """Attempts for a GET without a usable answer, and the backoff between them (seconds, exponential with jitter)."""

    attempts: int = 5
    wait_initial: float = 0.5
    wait_max: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer."""

    status: int
    body: Any
    """Decoded JSON; `None` without a body (204)."""
    request_id: str | None
    processed_as: str | None
    """The API version named by the vendor's answer."""


@dataclass(frozen=True, slots=True)
class _Options:
    priority: Priority = Priority.BULK
    timeout: float | None = None
    deadline: float | None = None
    guard: Guard | None = None
    check: Check | None = None
    answered: Guard | None = None
    version: str | None = None


class _Leases:
    """Holds one lease in memory; concurrent callers share one renewal."""

    _AHEAD: Final = timedelta(seconds=60)
    _ASK_AGAIN: Final = timedelta(seconds=5)

    def __init__(self, source: LeaseSource) -> None:
        self._source = source
        self._lease: Lease | None = None
        self._failed: int | None = None
        self._asked = datetime.min.replace(tzinfo=UTC)
        self._lock = asyncio.Lock()

    async def current(self) -> Lease:
        held = self._fresh()
        if held is not None:
            return held
        async with self._lock:
            held = self._fresh()
            if held is not None:
                return held
            try:
                self._lease = await self._source.lease(self._failed)
            except LeaseUnavailable:
                if self._lease is None or self._lease.expires_at <= datetime.now(UTC):
                    raise
            self._asked = datetime.now(UTC)
            return self._lease

    def _fresh(self) -> Lease | None:
        """The held lease, or None when a renewal is due: near its end, and at most once per `_ASK_AGAIN`."""
        now = datetime.now(UTC)
        if self._lease is None or self._lease.expires_at <= now:
            return None
        due = self._lease.expires_at - now < self._AHEAD and now - self._asked > self._ASK_AGAIN
        return None if due else self._lease

    def refused(self, generation: int) -> None:
        """Drop the lease of a generation that the vendor answered with 401; a newer lease stays."""
        if self._lease is not None and self._lease.generation == generation:
            self._failed = generation
            self._lease = None


class PlanningCenter:
    """Planning Center for one organization and product grant; an async context manager.

    GETs are repeated (bounded, with backoff) when no usable answer came. POST, PATCH and DELETE are sent again only
    after a 429 or a 401, by which the vendor surely refused them; every other lost answer to a write raises
    `Unavailable(outcome_unknown=True)`.

    Every method raises `PlanningCenterError` (see `errors`), `ValueError` for an invalid path or query,
    and whatever the lease source or the guard raises.
    """

    def __init__(
        self,
        *,
        base_url: str,
        user_agent: str,
        lease: LeaseSource,
        pacers: Pacers,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        pool_size: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`user_agent` needs name and contact: the vendor answers a generic one with a bare 403. `pool_size` is the
        number of connections; `transport` replaces the network in tests."""
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or Retries()
        self._leases = _Leases(lease)
        self._pacers = pacers
        self._observer = observer
        self._options = _Options()
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            # `_send` bounds the whole exchange, because it tells a frozen process from a silent vendor.
            timeout=httpx.Timeout(None, connect=self._timeouts.connect),
            limits=httpx.Limits(max_connections=pool_size, max_keepalive_connections=pool_size),
            follow_redirects=False,
            # One client serves many callers: a cookie set for one of them must not reach another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            transport=transport,
            verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        )
        check_writes(self._http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    def using(
        self,
        *,
        priority: Priority | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        guard: Guard | None = None,
        check: Check | None = None,
        answered: Guard | None = None,
        version: str | None = None,
    ) -> "PlanningCenter":
        """The same client with other options; connections, lease and pace are shared. Omitted options stay.

        - `timeout`: seconds for one exchange, from send to answer; after it a write's outcome is unknown.
        - `deadline`: seconds for a whole call, waiting for a slot and repeats included. When it passes before the
        first send, the `Unavailable` raised has `outcome_unknown=False`.
        - `version`: asked for instead of the product's entry in `VERSIONS`, where the vendor no longer has that one.
        A caller that works under a job's lease gives three callables; their exceptions reach the caller unchanged:

        - `guard`: awaited before each send, and again once connected, since connecting can take longer than a lease.
        It may block, and renew.
        - `check`: called in the step that hands bytes to the kernel, for every request by itself: a process frozen amid
        a batch, even for hours, sends none of it when it thaws. It must not block, and its clock must advance while
        the process or the machine sleeps (`JobContext.check`).
        - `answered`: awaited after a POST, PATCH or DELETE that the vendor accepted, before the caller gets the answer.
        If it raises, the lease was lost during the request, and another worker may be writing the same record:
        `AnsweredTooLate` is raised, which holds the answer (with the id of a created record), so that the write can
        be settled. It should ask the database (`JobContext.renew`) when its own clock says that the lease may have
        ended. Requests cancelled meanwhile, such as the others in a TaskGroup, have no answer: their outcome is
        unknown.
        """
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        old = self._options
        view._options = _Options(
            priority=old.priority if priority is None else priority,
            timeout=old.timeout if timeout is None else timeout,
            deadline=old.deadline if deadline is None else deadline,
            guard=old.guard if guard is None else guard,
            check=old.check if check is None else check,
            answered=old.answered if answered is None else answered,
            version=old.version if version is None else version,
        )
        return view

    async def pacer(self) -> Pacer:
        """The pacer of the connected PCO user (requests a lease if none is held)."""
        return self._pacers.of((await self._leases.current()).pco_user_id)

    async def get(self, path: str, query: Query | None = None) -> Document:
        """GET one record. An include unknown to the vendor raises `QueryNotSupported`."""
        query = query or Query()
        answer = await self.request("GET", path, query=query)
        document = _parsed(jsonapi.document, answer, "GET", path)
        if query.include and "can_include" in document.meta:
            check_honoured(Query(include=query.include), document.meta, path=path)
        return document

    async def list(self, path: str, query: Query | None = None) -> Page:
        """GET one page of a collection; the answer's meta must admit `where`, `order`, `include` and `filter`."""
        query = query or Query()
        answer = await self.request("GET", path, query=query)
        page = _parsed(jsonapi.page, answer, "GET", path)
        check_honoured(query, page.meta, path=path)
        return page

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        return await self.request("POST", path, body=body)

    async def create(self, path: str, body: Mapping[str, Any]) -> Document:
        """POST; gives the created record."""
        answer = await self.post(path, body)
        return _parsed(jsonapi.document, answer, "POST", path)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Document:
        """PATCH; gives the record after the change."""
        answer = await self.request("PATCH", path, body=body)
        return _parsed(jsonapi.document, answer, "PATCH", path)

    async def delete(self, path: str) -> None:
        await self.request("DELETE", path)

    async def request(
        self, method: str, path: str, *, query: Query | None = None, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """One call of any method; the typed methods above build on it."""
        call = _Call(method, path, product_of(path), query or Query(), None if body is None else orjson.dumps(body))
        if self._options.deadline is None:
            return await self._repeated(call)
        try:
            async with asyncio.timeout(self._options.deadline) as limit:
                return await self._repeated(call)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unavailable(
                "the deadline of the call has passed",
                reason=Reason.DEADLINE,
                outcome_unknown=call.is_write and call.under_way,
                method=method,
                path=path,
            ) from None

    async def _repeated(self, call: "_Call") -> Answer:
        if call.is_write:
            return await self._once(call)
        async for attempt in stamina.retry_context(
            on=_backoff,
            attempts=self._retries.attempts,
            timeout=None,
            wait_initial=self._retries.wait_initial,
            wait_max=self._retries.wait_max,
            wait_jitter=self._retries.wait_initial,
        ):
            with attempt:
                return await self._once(call)
        raise AssertionError("stamina ends with an answer or an error")

    async def _once(self, call: "_Call") -> Answer:
        """Send until an answer is neither a 429 nor the first 401."""
        ticket: tuple[Pacer, int] | None = None
        asked_again = False
        while True:
            pacer = await self.pacer()
            if ticket is None or ticket[0] is not pacer:
                ticket = (pacer, pacer.ticket())
            async with pacer.slot(self._options.priority, call.limit_class, ticket[1]) as slot:
                lease = await self._leases.current()
                if lease.pco_user_id != pacer.user:
                    continue  # another person reconnected during the wait, so another limit applies
                if self._options.guard is not None:
                    await self._options.guard()
                slot.sending()
                response = await self._send(call, lease)
                slot.answered(response.status_code, response.headers)
            call.under_way = False
            if response.status_code == 429:
                continue
            if response.is_success:
                return await self._given(call, self._accepted(call, response))
            error = _refusal(call, response)
            if isinstance(error, Unauthorized) and error.renewable and not asked_again:
                asked_again = True
                self._leases.refused(lease.generation)
                continue
            raise error

    async def _send(self, call: "_Call", lease: Lease) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {lease.token.reveal()}",
            VERSION_HEADER: self._version(call.product),
        }
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        started = asyncio.get_running_loop().time()
        status: int | None = None
        timeout = self._options.timeout or self._timeouts.exchange
        call.under_way = True
        try:
            async with _exchange(timeout) as limit:
                with checking(self._options.check):
                    response = await self._http.request(
                        call.method,
                        call.path,
                        params=tuple(call.query.parameters()),
                        content=call.body,
                        headers=headers,
                        extensions={"trace": self._before_writing},
                    )
            status = response.status_code
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            call.under_way = False
            raise call.lost(Reason.CONNECTION, "no connection to Planning Center", sent=False) from error
        except httpx.TimeoutException as error:
            raise call.lost(Reason.TIMEOUT, "no answer in time", sent=True) from error
        except httpx.TransportError as error:
            raise call.lost(Reason.CONNECTION, "the connection broke before the answer was complete") from error
        except httpx.DecodingError as error:
            raise call.lost(Reason.TRUNCATED, "the answer cannot be decoded") from error
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise call.lost(Reason.TIMEOUT, "no answer in time") from error
        else:
            return response
        finally:
            if self._observer is not None:
                seconds = asyncio.get_running_loop().time() - started
                self._observer(
                    Observation(call.product, call.method, call.path, status, seconds, self._options.priority)
                )

    async def _before_writing(self, event: str, _: Mapping[str, Any]) -> None:
        if event in _WRITING and self._options.guard is not None:
            await self._options.guard()

    async def _given(self, call: "_Call", answer: Answer) -> Answer:
        if call.is_write and self._options.answered is not None:
            try:
                await self._options.answered()
            except Exception as error:
                raise AnsweredTooLate(call.method, call.path, answer.status, answer.body) from error
        return answer

    def _version(self, product: str) -> str:
        return self._options.version or VERSIONS[product]

    def _accepted(self, call: "_Call", response: httpx.Response) -> Answer:
        content = response.content
        body: Any = None
        if content.strip():
            try:
                body = _decoded(content)
            except ValueError as error:
                html = content.lstrip()[:1] == b"<"
                raise call.lost(
                    Reason.HTML if html else Reason.TRUNCATED,
                    "HTML in place of an answer" if html else "the answer is cut off",
                    status=response.status_code,
                ) from error
        elif response.status_code != 204 and not (call.is_write and call.method == "DELETE"):
            raise call.lost(Reason.TRUNCATED, "the answer is empty", status=response.status_code)
        processed_as = response.headers.get(PROCESSED_AS_HEADER)
        # Only reads: the write is done, and its writer has read under the right version before.
        if not call.is_write and processed_as is not None and processed_as != self._version(call.product):
            raise UnexpectedAnswer(
                f"asked for version {self._version(call.product)} of {call.product}, answered as {processed_as}",
                **call.place,
            )
        return Answer(response.status_code, body, response.headers.get("X-Request-Id"), processed_as)


@cache
def _trusted(_cert_file: str | None, _cert_dir: str | None) -> ssl.SSLContext:
    """The environment's trusted certificates, loaded once: loading is slow, and each job has a client."""
    return httpx.create_ssl_context()


@asynccontextmanager
async def _exchange(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """`asyncio.timeout(seconds)`, except that a process frozen past it still reads the answers that arrived meanwhile.

    After the thaw the timer is due in the same turn of the loop as the answer, and would win.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    async with asyncio.timeout(None) as limit:

        def over() -> None:
            limit.reschedule(loop.time() + (_LOOK if loop.time() - due > _FROZEN else 0.0))

        timer = loop.call_at(due, over)
        try:
            yield limit
        finally:
            timer.cancel()


@dataclass(slots=True)
class _Call:
    """One logical call and its progress."""

    method: str
    path: str
    product: str
    query: Query
    body: bytes | None
    under_way: bool = False
    """Whether a request was sent and its answer is outstanding."""

    @property
    def is_write(self) -> bool:
        return self.method != "GET"

    @property
    def limit_class(self) -> LimitClass:
        return LimitClass.DEEP if (self.query.offset or 0) > DEEP_OFFSET else LimitClass.NORMAL

    @property
    def place(self) -> dict[str, Any]:
        return {"method": self.method, "path": self.path}

    def lost(self, reason: Reason, message: str, *, sent: bool = True, status: int | None = None) -> Unavailable:
        return Unavailable(message, reason=reason, outcome_unknown=self.is_write and sent, status=status, **self.place)


def _refusal(call: _Call, response: httpx.Response) -> PlanningCenterError:
    return error_for(
        call.method,
        call.path,
        response.status_code,
        response.content,
        request_id=response.headers.get("X-Request-Id"),
        retry_after=_retry_after(response.headers.get("Retry-After")),
    )


def _backoff(error: Exception) -> bool | float:
    """stamina's hook: retry on `Unavailable`, after the vendor's `Retry-After` if given."""
    if not isinstance(error, Unavailable):
        return False
    return True if error.retry_after is None else error.retry_after


_T = TypeVar("_T", Document, Page)


def _decoded(content: bytes) -> Any:
    """Decode JSON, lone surrogates included: one bad record must not make the rest of its page unreadable.

    Raises ValueError for invalid JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        if b"\\u" not in content:
            raise
        return json.loads(content)


def _parsed(parse: Callable[[Any], _T], answer: Answer, method: str, path: str) -> _T:
    """The document in an answer; an error about it names the call."""
    try:
        return parse(answer.body)
    except UnexpectedAnswer as error:
        if method != "GET":
            raise Unavailable(
                f"the write was accepted, but {error}",
                reason=Reason.TRUNCATED,
                outcome_unknown=True,
                method=method,
                path=path,
                status=answer.status,
                request_id=answer.request_id,
            ) from error
        raise UnexpectedAnswer(
            str(error), method=method, path=path, status=answer.status, request_id=answer.request_id
        ) from error
