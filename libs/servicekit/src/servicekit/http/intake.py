"""The body of a request: read when somebody asks for it, within limits of size, time and memory.

By then the route is known, and who sends it: a call without a token, or to nowhere, is answered with its body unread.
What still comes of a refused body is dropped by `servicekit.http.protocol` for a while: a connection that is closed
while something unread waits in it takes the answer with it.
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
"""Bytes per second: a large body has a second more for each of them that has come."""

SHARE: Final = 4
"""One organization's bodies may hold a quarter of the budget."""
ORGANIZATION: Final = "organization_id"
"""In the request's state: whose body it is, from whoever has checked the token."""

Admit = Callable[[HTTPConnection], Awaitable[None]]
"""Raises a ServiceError unless this caller may send a body."""


class Judge(Protocol):
    """Raises a ServiceError for a body that no route can take."""

    def __call__(self, body: bytes, *, texts: bool) -> None:
        """texts: also for one text that cannot be stored."""


class Budget:
    """Bytes that the bodies of all requests of a process may hold at the same time; of one organization's a share."""

    def __init__(self, size: int) -> None:
        self.free = size
        self._share = size // SHARE
        self._held: Counter[str] = Counter()

    def take(self, count: int, whose: str | None) -> None:
        """Unavailable if there is no room, TooMany if this organization has its share. whose: None if nobody knows."""
        if whose is not None and self._held[whose] + count > self._share:
            raise TooMany("Your organization is sending too much at the moment. Nothing was changed.", retry_after=5)
        if count > self.free:
            raise Unavailable(
                "Too much is being sent here at the moment. Nothing was changed. Try again in a few seconds."
            )
        self.free -= count
        if whose is not None:
            self._held[whose] += count

    def give_back(self, count: int, whose: str | None) -> None:
        """Give back taken bytes of the budget, all or a part."""
        self.free += count
        if whose is not None:
            self._held[whose] -= count
            if not self._held[whose]:
                del self._held[whose]


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the bodies of a process."""

    budget: Budget
    seconds: float
    """For a body to be complete; see SLOWEST."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Bytes by the route's template, for routes that take more than 1 MiB."""
    texts_judged: Collection[str] = ()
    """Templates of routes that refuse text which cannot be stored themselves, record by record."""
    admit: Admit | None = None
    """None where every endpoint reads its body itself, after it knows who sends it."""


class Intake:
    """The `receive` of one request; `close` when the request is over."""

    def __init__(self, scope: Scope, receive: Receive, rules: Rules, judge: Judge) -> None:
        self._scope = scope
        self._receive = receive
        self._rules = rules
        self._judge = judge
        self._asked = False
        self._held = 0
        self._whose: str | None = None
        self.left = False
        """The caller went away before the body was complete."""

    async def __call__(self) -> Message:
        """The whole body first. ServiceError if it is refused."""
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
        """Nobody holds the body any more."""
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
        self._judge(whole, texts=route not in self._rules.texts_judged)
        return whole


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body may have {limit} bytes: send less at a time.", limit=limit)
