"""The body of a request: read on demand, within limits of size, time and memory.

By then the route and the caller are known, so a call without a token or to an unknown address is answered before its
body is read. `servicekit.http.protocol` discards the rest of a refused body for a while, because closing a connection
with unread data loses the answer.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope

from servicekit.errors import TooLarge, TooMany, TooSlow, Unavailable

DEFAULT_BODY_LIMIT: Final = 1024 * 1024
SLOWEST: Final = 32 * 1024
"""Minimum rate in bytes per second: each received SLOWEST bytes extend the deadline by a second."""

SHARE: Final = 4
"""One organization's bodies may hold a quarter of the budget."""
ORGANIZATION: Final = "organization_id"
"""Key in the request's state for the body's organization, set once the token is checked."""

Admit = Callable[[HTTPConnection], Awaitable[None]]
"""Raises a ServiceError unless this caller may send a body."""


class Judge(Protocol):
    """Raises a ServiceError for a body that no route can take."""

    def __call__(self, body: bytes, *, texts: bool) -> None:
        """texts: also raise for a text that cannot be stored."""


class Budget:
    """The bytes that all request bodies of a process may hold at once; one organization may use a share of them."""

    def __init__(self, size: int) -> None:
        self.free = size
        self._share = size // SHARE
        self._held: Counter[str] = Counter()

    def take(self, count: int, whose: str | None) -> None:
        """Unavailable if the budget is used up, TooMany if the organization's share is. whose: None for an unknown
        organization.
        """
        if whose is not None and self._held[whose] + count > self._share:
            raise TooMany(
                "Your organization is sending too much at the moment. Nothing was changed. Try again in a few seconds.",
                retry_after=5,
            )
        if count > self.free:
            raise Unavailable(
                "Too much is being sent here at the moment. Nothing was changed. Try again in a few seconds."
            )
        self.free -= count
        if whose is not None:
            self._held[whose] += count

    def give_back(self, count: int, whose: str | None) -> None:
        """Return taken bytes to the budget, all or a part."""
        self.free += count
        if whose is not None:
            self._held[whose] -= count
            if not self._held[whose]:
                del self._held[whose]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for the bodies of a process."""

    budget: Budget
    seconds: float
    """Time for a body to be complete; see SLOWEST."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Maximum bytes by the route's template, for routes that accept more than 1 MiB."""
    texts_judged: Collection[str] = ()
    """Templates of routes that check each record themselves for text that cannot be stored."""
    raw: Collection[str] = ()
    """Templates of routes that take any bytes, also those that are no text."""
    admit: Admit | None = None
    """None if every endpoint reads its body itself, after it has authenticated the caller."""


class Intake:
    """The `receive` of one request. Call `close` when the request is over."""

    def __init__(self, scope: Scope, receive: Receive, rules: Rules, judge: Judge) -> None:
        self._scope = scope
        self._receive = receive
        self._rules = rules
        self._judge = judge
        self._asked = False
        self._held = 0
        self._whose: str | None = None
        self.left = False
        """The caller disconnected before the body was complete."""

    async def __call__(self) -> Message:
        """Give the whole body at the first call. ServiceError if it is refused."""
        if self._asked:
            return await self._receive()
        self._asked = True
        if self._rules.admit is not None:
            await self._rules.admit(HTTPConnection(self._scope))
        body = await self._read()
        if body is None:
            self.left = True
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": False}

    def close(self) -> None:
        """Return the body's bytes to the budget."""
        self._rules.budget.give_back(self._held, self._whose)
        self._held = 0

    async def _read(self) -> bytes | None:
        route = getattr(self._scope.get("route"), "path", "")
        limit = self._rules.limits.get(route, DEFAULT_BODY_LIMIT)
        declared = HTTPConnection(self._scope).headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        self._whose = self._scope.get("state", {}).get(ORGANIZATION)
        body = bytearray()
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._rules.seconds) as deadline:
                more = True
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        return None
                    if part := message.get("body", b""):
                        if self._held + len(part) > limit:
                            raise _too_large(limit)
                        self._rules.budget.take(len(part), self._whose)
                        self._held += len(part)
                        body += part
                        deadline.reschedule(began + self._rules.seconds + self._held / SLOWEST)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise TooSlow("The body took too long to arrive. Nothing was changed. Send it again.") from None
        whole = bytes(body)
        if route not in self._rules.raw:
            self._judge(whole, texts=route not in self._rules.texts_judged)
        return whole


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body may have {limit} bytes: send less at a time.", limit=limit)
