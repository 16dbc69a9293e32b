"""Rate limits per user, organization and address.

They keep callers from starving each other at one process, so each process counts for itself (docs/decisions/0022).
"""

from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from starlette.requests import HTTPConnection
from throttled import MemoryStore, RateLimiterType, Throttled, per_min

from contracts.identity import UserIdentity
from servicekit.errors import TooMany
from webhook_gateway.config import Settings

REMEMBERED: Final = 50_000
"""Counted callers per kind of limit. Beyond that the least recently seen one is forgotten and starts afresh."""
_ONE_SUBSCRIBER: Final = 64
"""Low bits of an IPv6 address, which one subscriber can choose freely."""


class Limit:
    """A number of requests a minute per key; a whole minute's worth may come at once."""

    def __init__(self, who: str, per_minute: int) -> None:
        self._who = who
        self._throttled = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=per_min(per_minute),
            store=MemoryStore(options={"MAX_SIZE": REMEMBERED}),
        )

    def count(self, key: str) -> None:
        """Count one request. TooMany carries the seconds until the next one is allowed."""
        result = self._throttled.limit(key)
        if result.limited:
            self._refuse(result.state.retry_after)

    def check(self, key: str) -> None:
        """As `count`, without counting."""
        state = self._throttled.peek(key)
        if not state.remaining:
            self._refuse(state.retry_after)

    def _refuse(self, retry_after: float) -> None:
        seconds = max(1, ceil(retry_after))
        raise TooMany(sentence(self._who, seconds), retry_after=seconds)


class Limits:
    """The per-minute limits of the public API."""

    def __init__(self, settings: Settings) -> None:
        self._address = Limit("Your network address", settings.limit_address_per_minute)
        self._feed_address = Limit("Your network address", settings.limit_feed_address_per_minute)
        self._feed = Limit("Whoever reads this address", settings.limit_feed_per_minute)
        self._user = Limit("You", settings.limit_user_per_minute)
        self._organization = Limit("Your organization", settings.limit_organization_per_minute)

    def address(self, connection: HTTPConnection) -> None:
        """Count the address, before the token is checked."""
        self._address.count(subscriber_of(connection))

    def feed(self, connection: HTTPConnection, key: str) -> None:
        """Count the network address and the feed's own, whether or not there is such a feed."""
        self._feed_address.count(subscriber_of(connection))
        self._feed.count(key)

    def caller(self, identity: UserIdentity) -> None:
        """Count user and organization, once the token is checked."""
        self._user.count(f"{identity.organization_id}\n{identity.user_id}")
        self._organization.count(identity.organization_id)


def subscriber_of(connection: HTTPConnection) -> str:
    """The caller, as `subscriber` names it."""
    return subscriber(connection.client.host if connection.client else "")


def subscriber(address: str) -> str:
    """The key of one subscriber: an IPv4 address itself, the network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> _ONE_SUBSCRIBER << _ONE_SUBSCRIBER))
    return str(parsed)


def sentence(who: str, seconds: int) -> str:
    """The problem's detail."""
    made = "have" if who == "You" else "has"
    again = "in a second" if seconds == 1 else f"in {seconds} seconds"
    return f"{who} {made} sent too many requests in the last minute. Nothing was changed. Try again {again}."
