"""How often one user, one organization and one address may ask this process.

They keep callers from taking the process from one another, so each process counts for itself (docs/decisions/0022).
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
"""Callers of a kind. Beyond that the one who was heard of longest ago is forgotten, and may ask anew."""
_ONE_SUBSCRIBER: Final = 64
"""Bits of an IPv6 address that a provider gives to one subscriber, who chooses the rest freely."""


class Limit:
    """So many requests a minute for each key; a whole minute's worth may come at once."""

    def __init__(self, who: str, per_minute: int) -> None:
        self._who = who
        self._throttled = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=per_min(per_minute),
            store=MemoryStore(options={"MAX_SIZE": REMEMBERED}),
        )

    def count(self, key: str) -> None:
        """One more. TooMany says when there is room again."""
        result = self._throttled.limit(key)
        if result.limited:
            seconds = max(1, ceil(result.state.retry_after))
            raise TooMany(sentence(self._who, seconds), retry_after=seconds)


class Limits:
    """All limits of the public API that are counted by the minute."""

    def __init__(self, settings: Settings) -> None:
        self._address = Limit("Your network address", settings.limit_address_per_minute)
        self._user = Limit("You", settings.limit_user_per_minute)
        self._organization = Limit("Your organization", settings.limit_organization_per_minute)

    def address(self, connection: HTTPConnection) -> None:
        """Before anything is known of the caller."""
        self._address.count(subscriber(connection.client.host if connection.client else ""))

    def caller(self, identity: UserIdentity) -> None:
        """As soon as it is known who asks."""
        self._user.count(f"{identity.organization_id}\n{identity.user_id}")
        self._organization.count(identity.organization_id)


def subscriber(address: str) -> str:
    """What stands for everybody who can choose this address: an IPv4 address itself, of IPv6 the network."""
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
