"""The pacer: limits requests by the vendor's own headers.

Planning Center limits a *user* (all applications and processes of that user together) to some number of requests in a
sliding period. Every answer states the limit, the period and the vendor's count of requests, refused ones included.
That count is the only state our processes share, so the pacer keeps a ledger of it:

- **Own requests** occupy a slot from the moment they are sent until one period after their *answer*. The vendor counted
  them somewhere between the two, so a slot is never used again too early: alone, this process never causes a 429.
- **Foreign requests** (other processes, other products, other applications of this user) are what the reported count
  holds beyond our own. They are taken to have come evenly since the last look and leave the ledger one period later;
  every answer corrects the estimate in both directions.
- What is left, `limit − own − foreign`, may be sent at once: bursts are allowed and waiting is not spread out. No
  constant of ours limits anything, and a limit that moves is obeyed from the answer that carries it.

Until the limit is known (at the start, after 429, after a period of silence) one request is in flight; each answer then
allows one more, which doubles the requests in flight per round trip.

**Sharing.** A process that has seen foreign requests in the last two periods keeps to
`max(limit/2, limit − 2·most − 1)` of its own, where `most` is the most it saw at once: other processes always find room
to double, a process that waits out a 429 keeps its place, and a light user costs us little more than it uses. Two
saturating processes meet at half each; with more, each still stays within the rest, but the shares may differ. Foreign
requests in flight are in no count yet, so bulk leaves an estimate of them free and takes at most half of the room at
once; while foreign requests keep appearing, the number in flight halves, down to what sustains half of the limit at the
observed latency.

**Priority.** A waiting interactive request always goes before bulk, and is not held back by the share or by the number
in flight. While people are at work, bulk also leaves them as many slots as they used in the last three periods plus a
tenth of the limit (at most a quarter of it). Without interactive requests no slot is reserved.

**Limit classes.** Requests with an offset beyond 30,000 get a smaller limit (75, seen as low as 10 in
planningcenter/developers#1449). The limit is therefore kept per class, and one deep answer does not throttle the normal
requests. Whether the count in a deep answer covers all requests or the deep ones alone is not documented: it may raise
the estimate of foreign requests but never lower it, and a deep request is sent only when *everything* in the ledger
fits under the deep limit.

Times are the event loop's (`loop.time()`), so tests run on a loop with a virtual clock.
"""

import asyncio
import heapq
import itertools
import math
import re
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import IntEnum
from itertools import islice
from typing import Final, Protocol

LIMIT_HEADER: Final = "X-PCO-API-Request-Rate-Limit"
PERIOD_HEADER: Final = "X-PCO-API-Request-Rate-Period"
COUNT_HEADER: Final = "X-PCO-API-Request-Rate-Count"

_MARGIN: Final = 0.02
"""Seconds added to a slot's end against clock granularity on either side."""
_TICK: Final = 0.001
_DEFAULT_MAX_IN_FLIGHT: Final = 64
_KEPT_IDLE: Final = 60.0
"""Minimum seconds an idle pacer is kept, and seconds between two searches for idle ones."""


class Priority(IntEnum):
    """Priority of a request."""

    INTERACTIVE = 0
    """A person at a screen waits for the answer."""
    BULK = 1


class LimitClass(IntEnum):
    """The vendor's limit that applies to a request."""

    NORMAL = 0
    DEEP = 1
    """Offset beyond 30,000."""


DEEP_OFFSET: Final = 30_000
"""The last offset that is not deep."""


@dataclass(frozen=True, slots=True)
class PacerState:
    """Figures for an honest progress line ("Planning Center allows 100 requests in 20 s; 12 s to go")."""

    limit: int | None
    """Requests per period, `None` until the first answer that states the limit."""
    period: float | None
    """Seconds."""
    used: int
    """Occupied slots in the sliding period, own and foreign."""
    foreign: int
    """The estimated foreign share of `used`."""
    in_flight: int
    waiting_interactive: int
    waiting_bulk: int
    seconds_until_next_slot: float
    """Seconds until a bulk request may be sent, 0 for now; an estimate while other processes share the limit."""


@dataclass(slots=True, eq=False)
class Slot:
    """The permission to send one request. Call `sending()` right before the send and `answered()` with the answer; a
    slot left without `sending()` counts as unused."""

    pacer: "Pacer"
    priority: Priority
    limit_class: LimitClass
    sent: float
    answered_at: float | None = None
    used: bool = False

    def sending(self) -> None:
        self.sent = self.pacer.now()
        self.used = True

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Takes the answer's rate headers into the ledger. `headers` must be case-insensitive."""
        self.pacer.learn(self, status, headers)


@dataclass(slots=True, eq=False)
class _Foreign:
    seen: float
    until: float


class _Own:
    """Our own requests: in flight, and answered ones in the order of their answers."""

    def __init__(self) -> None:
        self._flying: set[Slot] = set()
        self._answered: list[Slot] = []
        self._answered_people: list[Slot] = []

    @property
    def in_flight(self) -> int:
        return len(self._flying)

    def grant(self, slot: Slot) -> None:
        self._flying.add(slot)

    def take_back(self, slot: Slot) -> None:
        self._flying.remove(slot)

    def answer(self, slot: Slot, now: float) -> None:
        self._flying.remove(slot)
        slot.answered_at = now
        self._answered.append(slot)
        if slot.priority is Priority.INTERACTIVE:
            self._answered_people.append(slot)

    def occupied(self, now: float, period: float | None) -> int:
        """Slots that may still be in the vendor's window."""
        return len(self._flying) + _after(self._answered, now - (period or 0.0) - _MARGIN)

    def by_people(self, since: float) -> int:
        """Number of interactive requests in flight, or answered after `since`."""
        under_way = sum(slot.priority is Priority.INTERACTIVE for slot in self._flying)
        return under_way + _after(self._answered_people, since)

    def next_free(self, now: float, period: float | None) -> list[float]:
        """When the next slot of an answered request becomes free; empty without answered requests."""
        count = _after(self._answered, now - (period or 0.0) - _MARGIN)
        return [_answered_at(self._answered[-count]) + (period or 0.0) + _MARGIN] if count else []

    # The vendor counts a request at some moment between its send and its answer, hence two bounds.

    def possibly_counted(self, slot: Slot, period: float) -> int:
        """Number of our requests that the count in the answer to `slot` may include, `slot` among them."""
        return len(self._flying) + _after(self._answered, slot.sent - period)

    def surely_counted(self, slot: Slot, period: float, now: float) -> int:
        """Number of our requests that the count in the answer to `slot` must include, `slot` among them."""
        before = islice(self._answered, 0, len(self._answered) - _after(self._answered, slot.sent))
        return 1 + sum(1 for s in before if s is not slot and s.sent > now - period)

    def forget(self, now: float, period: float | None) -> None:
        """Drop answered requests that no count can include any more."""
        oldest = min((slot.sent for slot in self._flying), default=now)
        for answered, periods in ((self._answered, 1), (self._answered_people, 3)):
            gone = len(answered) - _after(answered, oldest - periods * (period or 60.0) - _MARGIN)
            if gone > len(answered) // 2:
                del answered[:gone]


def _after(answered: list[Slot], moment: float) -> int:
    """Number of slots answered after `moment`; `answered` is in the order of answers."""
    return len(answered) - bisect_right(answered, moment, key=_answered_at)


def _answered_at(slot: Slot) -> float:
    assert slot.answered_at is not None
    return slot.answered_at


@dataclass(slots=True)
class _Class:
    limit: int | None = None
    limit_said: float = -math.inf
    """Send time of the request whose answer gave the limit: answers to older requests do not overrule it."""
    paused_until: float = -math.inf


@dataclass(order=True, slots=True)
class _Waiter:
    priority: Priority
    ticket: int
    limit_class: LimitClass = field(compare=False)
    granted: "asyncio.Future[Slot]" = field(compare=False)


class PacerObserver(Protocol):
    """Receives events for metrics; must not raise or block."""

    def limited(self, user: str, retry_after: float) -> None:
        """The vendor refused with 429."""

    def granted(self, user: str, priority: Priority, waited: float) -> None:
        """A request got its slot after waiting this many seconds."""


class Pacer:
    """The pace of one PCO user in this process. Belongs to one event loop."""

    def __init__(
        self, user: str, *, max_in_flight: int = _DEFAULT_MAX_IN_FLIGHT, observer: PacerObserver | None = None
    ) -> None:
        self.user = user
        self._max_in_flight = max_in_flight
        self._observer = observer
        self._classes = {c: _Class() for c in LimitClass}
        self._period: float | None = None
        self._own = _Own()
        self._foreign: list[_Foreign] = []
        self._peaks: deque[tuple[float, int]] = deque()
        self._latency = 0.0
        self._looked = -math.inf
        self._window = 1.0
        self._heard = False
        self._silent_429s = 0
        self._waiters: list[_Waiter] = []
        self._tickets = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._used = self.now()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def ticket(self) -> int:
        """A place in the queue: a refused request keeps the place of its first attempt, before younger ones."""
        return next(self._tickets)

    @asynccontextmanager
    async def slot(
        self,
        priority: Priority = Priority.BULK,
        limit_class: LimitClass = LimitClass.NORMAL,
        ticket: int | None = None,
    ) -> AsyncIterator[Slot]:
        """Wait until a request may be sent, and hold its slot while it is in flight."""
        asked = self.now()
        slot = await self._admit(priority, limit_class, self.ticket() if ticket is None else ticket)
        if self._observer:
            self._observer.granted(self.user, priority, self.now() - asked)
        try:
            yield slot
        finally:
            if slot.answered_at is None:
                self._release(slot)

    def idle(self) -> bool:
        """Whether no request is in flight or waits, and the last one is so old that a new pacer would behave the same:
        both begin with one request."""
        now = self.now()
        quiet = now - self._used > max(_KEPT_IDLE, 3 * (self._period or 0.0))
        paused = any(kind.paused_until > now for kind in self._classes.values())
        return quiet and not paused and not self._waiters and not self._own.in_flight

    def state(self) -> PacerState:
        now = self.now()
        normal = self._classes[LimitClass.NORMAL]
        foreign = self._foreign_now(now)
        return PacerState(
            limit=normal.limit,
            period=self._period,
            used=self._own.occupied(now, self._period) + foreign,
            foreign=foreign,
            in_flight=self._own.in_flight,
            waiting_interactive=sum(w.priority is Priority.INTERACTIVE for w in self._waiters if not w.granted.done()),
            waiting_bulk=sum(w.priority is Priority.BULK for w in self._waiters if not w.granted.done()),
            seconds_until_next_slot=self._seconds_until_next(now),
        )

    # --- the ledger

    def _foreign_now(self, now: float) -> int:
        return sum(1 for f in self._foreign if f.until > now)

    def learn(self, slot: Slot, status: int, headers: Mapping[str, str]) -> None:
        """Enter one answer into the ledger; called once per slot, through `Slot.answered`."""
        now = self._used = self.now()
        self._own.answer(slot, now)
        period = _leading_number(headers.get(PERIOD_HEADER))
        if period:
            self._period = period
        limit = _leading_number(headers.get(LIMIT_HEADER))
        kind = self._classes[slot.limit_class]
        if limit is not None and slot.sent >= kind.limit_said:
            kind.limit, kind.limit_said = int(limit), slot.sent
        count = _leading_number(headers.get(COUNT_HEADER))
        grew = count is not None and self._compare(slot, int(count), now)
        if status == 429:
            self._refused(kind, headers, now)
        else:
            self._heard = True
            self._silent_429s = 0
            self._latency = now - slot.sent
            self._window = max(self._sustaining(), self._window / 2) if grew else self._window + 1
            self._peaks.append((now, self._foreign_now(now)))
        self._dispatch()

    def _compare(self, slot: Slot, count: int, now: float) -> bool:
        """Compare the vendor's count with the ledger; true when it reveals foreign requests unknown so far."""
        if self._period is None:
            return False
        held = self._foreign_now(now)
        unseen = count - self._own.possibly_counted(slot, self._period) - held
        if unseen > 0:
            since = max(self._looked, now - self._period)
            step = (now - since) / unseen
            self._foreign.extend(
                _Foreign(seen=now, until=since + step * (i + 1) + self._period + _MARGIN) for i in range(unseen)
            )
        elif held and slot.limit_class is LimitClass.NORMAL:
            most = max(0, count - self._own.surely_counted(slot, self._period, now))
            # This answer says nothing about foreign requests seen after its request was sent.
            outdated = sorted((f for f in self._foreign if f.seen <= slot.sent), key=lambda f: f.until)
            gone = set(map(id, outdated[: max(0, held - most)]))
            self._foreign = [f for f in self._foreign if id(f) not in gone]
        self._looked = now
        return unseen > 0

    def _sustaining(self) -> float:
        """Requests in flight that sustain half of the limit at the present latency (Little's law)."""
        limit = self._classes[LimitClass.NORMAL].limit
        return 1.0 if not limit or not self._period else 1.0 + limit / 2 * self._latency / self._period

    def _rivals(self, now: float) -> int:
        """The most foreign requests held at once in the last two periods: a process that pauses is not gone."""
        while self._peaks and self._peaks[0][0] < now - 2 * (self._period or 0.0):
            self._peaks.popleft()
        return max((foreign for _, foreign in self._peaks), default=0)

    def _refused(self, kind: _Class, headers: Mapping[str, str], now: float) -> None:
        wait = _retry_after(headers.get("Retry-After"))
        if wait is None:
            # A proxy's 429 may lack the vendor's header: wait a period, or longer each time.
            wait = self._period or min(2.0**self._silent_429s, 60.0)
            self._silent_429s += 1
        kind.paused_until = max(kind.paused_until, now + wait + _MARGIN)
        self._heard = False
        self._window = 1.0
        if self._observer:
            self._observer.limited(self.user, wait)

    # --- the queue

    async def _admit(self, priority: Priority, limit_class: LimitClass, ticket: int) -> Slot:
        waiter = _Waiter(priority, ticket, limit_class, asyncio.get_running_loop().create_future())
        self._used = self.now()
        heapq.heappush(self._waiters, waiter)
        self._dispatch()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._release(waiter.granted.result())
            raise

    def _release(self, slot: Slot) -> None:
        """End a slot without an answer: an unused slot is returned, a lost request counts as answered now."""
        if slot.used:
            self._own.answer(slot, self.now())
        else:
            self._own.take_back(slot)
        self._dispatch()

    def _dispatch(self) -> None:
        """Grant slots to the waiters allowed to send, best first, and set the timer for the next one."""
        now = self.now()
        self._own.forget(now, self._period)
        self._foreign = [f for f in self._foreign if f.until > now]
        while self._waiters:
            head = self._waiters[0]
            if head.granted.done():
                heapq.heappop(self._waiters)
                continue
            if not self._may_go(head.priority, head.limit_class, now):
                break
            heapq.heappop(self._waiters)
            slot = Slot(self, head.priority, head.limit_class, sent=now)
            self._own.grant(slot)
            head.granted.set_result(slot)
        self._set_timer(now)

    def _may_go(self, priority: Priority, limit_class: LimitClass, now: float) -> bool:
        if now < self._classes[limit_class].paused_until:
            return False
        own = self._own.occupied(now, self._period)
        if own == 0:
            self._window, self._heard = 1.0, False
        if not self._heard and self._own.in_flight > 0:
            return False
        foreign = self._foreign_now(now)
        limit = self._limit(limit_class)
        if own + foreign >= limit:
            return False
        if priority is Priority.INTERACTIVE:
            return True
        used = own + foreign + self._room_for_people(limit, now)
        window = self._window
        rivals = self._rivals(now)
        if rivals:
            # No count includes foreign requests in flight yet. Other processes keep to half of the limit, as this one
            # does, however long an answer took.
            used += min(math.ceil(self._sustaining()), limit / 2)
            window = min(window, max(self._sustaining(), (limit - used) / 2))
        if self._own.in_flight >= min(window, self._max_in_flight):
            return False
        return own < self._share(limit, rivals) and used < limit

    def _room_for_people(self, limit: float, now: float) -> float:
        """Slots that bulk leaves free: as many as people used in the last three periods, plus a tenth of the limit."""
        lately = self._own.by_people(now - 3 * (self._period or 0.0))
        if not lately:
            return 0
        occupied = self._own.by_people(now - (self._period or 0.0) - _MARGIN)
        return max(0, min(lately + limit // 10, limit // 4) - occupied)

    def _limit(self, limit_class: LimitClass) -> float:
        """The limit of a class; a class without an answer yet borrows the normal one."""
        known = self._classes[limit_class].limit
        if known is None:
            known = self._classes[LimitClass.NORMAL].limit
        # A limit of 0 would block for ever: one request at a time finds out when it ends.
        return math.inf if known is None else max(1, known)

    @staticmethod
    def _share(limit: float, foreign: int) -> float:
        return limit if foreign == 0 else max(limit / 2, limit - 2 * foreign - 1)

    def _seconds_until_next(self, now: float) -> float:
        if self._may_go(Priority.BULK, LimitClass.NORMAL, now):
            return 0.0
        return max(0.0, min(self._turning_points(now), default=now) - now)

    def _turning_points(self, now: float) -> list[float]:
        """The moments at which a slot becomes free by time alone."""
        points = [f.until for f in self._foreign]
        points += [kind.paused_until for kind in self._classes.values()]
        points += self._own.next_free(now, self._period)
        # A timer can fire a little early, before the ledger drops the expired entry.
        return [max(point, now + _TICK) for point in points if point > now - _TICK]

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        points = self._turning_points(now) if self._waiters else []
        if points:
            self._timer = asyncio.get_running_loop().call_at(min(points), self._dispatch)


class Pacers:
    """All pacers of a process, one per PCO user: clients of the same user share one.

    An idle pacer (`Pacer.idle`) is dropped when another is made and the last search was some time ago: a process meets
    every church sooner or later.
    """

    def __init__(self, *, max_in_flight: int = _DEFAULT_MAX_IN_FLIGHT, observer: PacerObserver | None = None) -> None:
        self._max_in_flight = max_in_flight
        self._observer = observer
        self._pacers: dict[str, Pacer] = {}
        self._looked = -math.inf

    def __len__(self) -> int:
        """Number of pacers held."""
        return len(self._pacers)

    def of(self, pco_user_id: str) -> Pacer:
        """The pacer of a PCO user, made on first use. `max_in_flight` bounds only bulk requests in flight at once
        (the size of the transport pool). Get the pacer anew for every request: an idle one may have been dropped."""
        if pco_user_id not in self._pacers:
            self._forget_idle()
            self._pacers[pco_user_id] = Pacer(pco_user_id, max_in_flight=self._max_in_flight, observer=self._observer)
        return self._pacers[pco_user_id]

    def _forget_idle(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._looked < _KEPT_IDLE:
            return
        self._looked = now
        self._pacers = {user: pacer for user, pacer in self._pacers.items() if not pacer.idle()}


def _leading_number(value: str | None) -> float | None:
    """The period in seconds; both `20` and `20 seconds` were seen."""
    found = re.match(r"\s*(\d+(?:\.\d+)?)", value or "")
    return float(found.group(1)) if found else None


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from seconds or an HTTP date; `None` when absent or unreadable."""
    if value is None:
        return None
    number = _leading_number(value)
    if number is not None:
        return number
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
