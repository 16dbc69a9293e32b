"""Sends events to the addresses of their subscriptions, outside of every request, until they arrive or are given up."""

import asyncio
import contextlib
import heapq
import itertools
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from pco_simulator.jsonapi import stamp
from pco_simulator.rows import Row
from pco_simulator.settings import Settings
from pco_simulator.webhooks import rules
from pco_simulator.webhooks.clock import Hurried
from pco_simulator.webhooks.faults import HookFaults, TruncateBody
from pco_simulator.webhooks.hints import WEBHOOKS, Outbox
from pco_simulator.webhooks.kind import DELIVERY, EVENT, SUBSCRIPTION
from pco_simulator.webhooks.rendering import body_of, headers_of, signature_of
from pco_simulator.world import Change, Mutation, World

if TYPE_CHECKING:
    import httpx

_AGENT = "Planning-Center-Simulator-Webhooks/1.0"
_ANSWER_KEPT = 2_048


@dataclass(order=True, slots=True)
class _Due:
    at: float
    seq: int
    organization_id: str = field(compare=False)
    event_id: int = field(compare=False)
    further: bool = field(compare=False)
    """Whether this is one attempt more, which a script asked for, outside the schedule."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    attempt: int
    sent: str | None
    """The body, where a script broke it."""
    headers: dict[str, str]
    status: int | None
    """None without an answer."""
    answer_headers: dict[str, str]
    answer: str
    seconds: float


class Webhooks:
    """Subscriptions at work: makes the events of every change and sends them."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self.faults = HookFaults()
        """Fault scripts for deliveries."""
        self.clock = Hurried(world.store)
        """The clock of the retry schedule."""
        self.outbox = Outbox(world, settings, self.faults, self.clock.now, self._send_again)
        self._heap: list[_Due] = []
        self._numbers = itertools.count()
        self._waiting: dict[str, deque[_Due]] = {}
        self._under_way: Counter[str] = Counter()
        self._flying: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._client: httpx.AsyncClient | None = None
        world.outbox = self.outbox
        world.mutations.append(self._follow)
        for organization_id in world.organizations:
            for row in world.view(organization_id).all(EVENT):
                self._queue(organization_id, row)

    def hurry(self, *, factor: float | None = None, seconds: float = 0) -> None:
        """Let the schedule's time pass `factor` times as fast, or skip seconds of it."""
        if factor is not None:
            self.clock.set_factor(factor)
        if seconds:
            self.clock.advance(seconds)
        self._wake.set()

    # -- the queue -------------------------------------------------------------------------------------------

    def _follow(self, mutation: Mutation) -> None:
        if mutation.type == EVENT and mutation.kind != "destroyed":
            row = self._world.view(mutation.organization_id).get(EVENT, int(mutation.id))
            if row is not None:
                self._queue(mutation.organization_id, row)

    def _queue(self, organization_id: str, row: Row) -> None:
        if row.attrs["status"] == "pending":
            self._push(organization_id, row.id, row.attrs["due"], further=False)

    def _send_again(self, organization_id: str, event_id: int, due: float) -> None:
        self._push(organization_id, event_id, due, further=True)

    def _push(self, organization_id: str, event_id: int, due: float, *, further: bool) -> None:
        heapq.heappush(self._heap, _Due(due, next(self._numbers), organization_id, event_id, further))
        self._wake.set()

    async def deliver(self) -> None:
        """Send what is due until cancelled; without anything to send it waits for a change."""
        try:
            while True:
                self._wake.clear()
                wait = self._start()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._client is not None:
                await self._client.aclose()

    def _start(self) -> float | None:
        """Start the attempts that are due; gives the real seconds until the next one, None without any."""
        now = self.clock.now()
        while self._heap and self._heap[0].at <= now:
            due = heapq.heappop(self._heap)
            self._waiting.setdefault(due.organization_id, deque()).append(due)
        for organization_id, waiting in self._waiting.items():
            while waiting and self._under_way[organization_id] < self._settings.webhooks_concurrency:
                due = waiting.popleft()
                if self._is_live(due):
                    self._launch(due)
        return max(0.0, (self._heap[0].at - now) / self.clock.factor) if self._heap else None

    def _is_live(self, due: _Due) -> bool:
        """Whether an entry still stands: the event may have been sent, given up or put off meanwhile."""
        row = self._world.view(due.organization_id).get(EVENT, due.event_id)
        if row is None:
            return False
        if due.further:
            return row.attrs["status"] in ("pending", "delivered")
        return row.attrs["status"] == "pending" and row.attrs["due"] == due.at and due.event_id not in self._flying

    def _launch(self, due: _Due) -> None:
        self._under_way[due.organization_id] += 1
        if not due.further:
            self._flying.add(due.event_id)
        task = asyncio.create_task(self._attempt(due))
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._wake.set()

    # -- one attempt -----------------------------------------------------------------------------------------

    async def _attempt(self, due: _Due) -> None:
        view = self._world.view(due.organization_id)
        event = view.get(EVENT, due.event_id)
        subscription = None if event is None else view.get(SUBSCRIPTION, event.attrs["subscription_id"])
        outcome: _Outcome | None = None
        try:
            if event is not None and subscription is not None and subscription.attrs["active"]:
                outcome = await self._send(due, event, subscription)
        finally:
            self._under_way[due.organization_id] -= 1
            if not due.further:
                self._flying.discard(due.event_id)
        if outcome is not None:
            self._settle(due, outcome)

    async def _send(self, due: _Due, event: Row, subscription: Row) -> _Outcome:
        attempt = max(event.attrs["attempts"] + (not due.further), 1)
        body, sent = body_of(event.attrs, due.organization_id, attempt), None
        signature = signature_of(subscription.attrs["authenticity_secret"], body)
        hits = self.faults.hits(due.organization_id, subscription.id, subscription.attrs, of_attempts=True)
        for script in hits:
            if isinstance(script.fault.action, TruncateBody):
                body = body[: int(len(body) * script.fault.action.keep)]
                sent = body.decode(errors="replace")
            else:
                signature = signature_of(rules.new_secret(), body)
        headers = headers_of(event.attrs, event.id, signature, attempt)
        started = time.perf_counter()
        status, answer_headers, answer = await self._post(subscription.attrs["url"], body, headers)
        return _Outcome(attempt, sent, headers, status, answer_headers, answer, time.perf_counter() - started)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int | None, dict[str, str], str]:
        """Status (None: no answer), headers and the beginning of the body. Redirects are not followed (unconfirmed)."""
        import httpx  # noqa: PLC0415 - a tenth of the time to start, for what most tests never do

        if self._client is None:
            # A receiver's cookies are not sent to it again.
            jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
            limits = httpx.Limits(max_connections=None)
            self._client = httpx.AsyncClient(
                cookies=jar, follow_redirects=False, trust_env=False, limits=limits, headers={"User-Agent": _AGENT}
            )
        answer = b""
        try:
            async with (
                asyncio.timeout(self._settings.webhooks_timeout_seconds),
                self._client.stream("POST", url, content=body, headers=headers, timeout=None) as response,
            ):
                async for chunk in response.aiter_raw():
                    answer += chunk
                    if len(answer) >= _ANSWER_KEPT:
                        break
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError, OSError) as error:
            return None, {}, f"{type(error).__name__}: {error}"
        return response.status_code, dict(response.headers), answer[:_ANSWER_KEPT].decode(errors="replace")

    def _settle(self, due: _Due, outcome: _Outcome) -> None:
        """Record an attempt, and what follows from its answer."""
        with self._world.change(due.organization_id, WEBHOOKS) as change:
            event = change.view.get(EVENT, due.event_id)
            if event is None:
                return
            change.create(DELIVERY, _delivery(event, outcome, stamp(change.at)))
            delivered = outcome.status is not None and 200 <= outcome.status < 300
            if due.further:
                return
            counted = {"attempts": outcome.attempt}
            if delivered:
                rules.finish(change, event, "delivered", **counted)
            elif event.attrs["status"] != "pending":
                return
            elif outcome.status == 410:
                rules.finish(change, event, "failed", **counted)
                self._give_up(change, event)
            elif event.attrs.get("redelivery"):
                rules.finish(change, event, "failed", **counted)
            else:
                self._put_off(change, event, counted)
        if self.clock.factor != 1:
            self.clock.keep()

    def _put_off(self, change: Change, event: Row, counted: Mapping[str, int]) -> None:
        failures = event.attrs["failures"]
        if failures == len(rules.SCHEDULE):
            rules.finish(change, event, "failed", **counted)
            self._give_up(change, event)
            return
        wait = rules.SCHEDULE[failures]
        later = {"failures": failures + 1, "due": self.clock.now() + wait, "updated_at": stamp(change.at)}
        change.update(EVENT, event, {**counted, **later})

    @staticmethod
    def _give_up(change: Change, event: Row) -> None:
        """Deactivate the subscription, and tell nobody: mails are not sent about those made with OAuth."""
        subscription = change.view.get(SUBSCRIPTION, event.attrs["subscription_id"])
        if subscription is not None:
            rules.set_active(change, subscription, active=False)


def _delivery(event: Row, outcome: _Outcome, now: str) -> dict[str, Any]:
    return {
        "subscription_id": event.attrs["subscription_id"],
        "event_id": event.id,
        "attempt": outcome.attempt,
        "sent": outcome.sent,
        "request_headers": outcome.headers,
        "status": outcome.status,
        "response_headers": outcome.answer_headers,
        "response_body": outcome.answer,
        "timing": round(outcome.seconds, 4),
        "created_at": now,
    }
