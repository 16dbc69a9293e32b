"""Settings shared by all HTTP clients of a server."""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

_POOLS: Final = 16
_KEPT_SECONDS: Final = 4.0
"""Shorter than uvicorn's 5 s idle timeout, so that no call uses a connection that the server is closing."""


def no_cookies() -> CookieJar:
    """A jar that stays empty, for `httpx.AsyncClient(cookies=no_cookies())`.

    A server's client calls for many people, and would send one person's cookie with everybody's requests.
    """
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


class Pools(httpx.AsyncBaseTransport):
    """Several unbounded connection pools, so that calls to a hanging peer do not block calls to others.

    httpcore scans all connections of a pool at every request, so with a single pool a request costs half as much again
    with a hundred callers as with eight.
    """

    def __init__(self) -> None:
        verify = httpx.create_ssl_context()  # shared by the pools, because making it reads all certificates
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEPT_SECONDS)
        self._pools = [httpx.AsyncHTTPTransport(verify=verify, limits=limits) for _ in range(_POOLS)]
        self._waiting = [0] * _POOLS

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Use the first of the pools with the fewest waiting requests, so that a rare caller reuses the same
        connection.
        """
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
