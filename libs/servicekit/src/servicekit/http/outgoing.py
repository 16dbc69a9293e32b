"""What every HTTP client of a server shares."""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

_POOLS: Final = 16
_KEPT_SECONDS: Final = 4.0
"""Shorter than the 5 s after which uvicorn closes an idle connection: a call must not meet its end."""


def no_cookies() -> CookieJar:
    """A jar that stays empty, for `httpx.AsyncClient(cookies=no_cookies())`.

    A server's client asks in the name of many people: a cookie that one of them was given would be sent for all others.
    """
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class Pools(httpx.AsyncBaseTransport):
    """Several pools of connections, each without a bound: a peer that hangs must not keep others from being asked.

    httpcore looks through all connections of a pool at every request: with one pool, each of a hundred callers costs
    half as much again as each of eight.
    """

    def __init__(self) -> None:
        verify = httpx.create_ssl_context()  # made once: it reads all certificates
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEPT_SECONDS)
        self._pools = [httpx.AsyncHTTPTransport(verify=verify, limits=limits) for _ in range(_POOLS)]
        self._waiting = [0] * _POOLS

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """By the pool in which the fewest wait, the first of them: who asks seldom finds the same connection again."""
        chosen = min(range(_POOLS), key=self._waiting.__getitem__)
        self._waiting[chosen] += 1
        try:
            return await self._pools[chosen].handle_async_request(request)
        finally:
            self._waiting[chosen] -= 1

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools:
            await pool.aclose()
