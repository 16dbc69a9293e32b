"""Private iCal feeds, for whoever knows their address: no sign-in, and nothing that tells addresses apart.

The address is a secret. Here it becomes the key that its owner knows it by, so no other process, log line or span has
it.
"""

from typing import Final

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import Response

from contracts.feeds import FEED_BY_KEY, FEEDS, feed_key
from contracts.routes import Route
from contracts.values import CALENDAR_SYNC
from servicekit.context import current_flow
from servicekit.errors import ServiceError
from servicekit.http.auth import sign_service
from servicekit.http.edge import CORRELATION_HEADER, problem
from webhook_gateway.api.platform import passed_on, send
from webhook_gateway.resources import Resources, Wired

_ROUTE: Final = Route("GET", FEED_BY_KEY, CALENDAR_SYNC, "staff", "", None, media="text/calendar")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}

router = APIRouter(include_in_schema=False)


@router.api_route(f"{FEEDS}/{{address:path}}", methods=["GET", "HEAD"])
async def read_feed(address: str, request: Request, wired: Wired) -> Response:
    """The feed with an address. 404 for any other, 429 over a limit."""
    try:
        answer = await _ask(address, request, wired)
    except ServiceError as error:
        answer = problem(error)
    answer.headers.update(_HEADERS)
    return answer


async def _ask(address: str, request: Request, wired: Resources) -> Response:
    key = feed_key(address).hex()
    wired.limits.feed(request, key)
    headers = {
        "authorization": f"Bearer {sign_service(wired.settings, CALENDAR_SYNC)}",
        CORRELATION_HEADER: current_flow().correlation_id,
        "accept-encoding": "identity",
        "if-none-match": request.headers.get("if-none-match", ""),
    }
    outgoing = wired.http.build_request(
        request.method,
        wired.settings.owner_urls[CALENDAR_SYNC] + FEED_BY_KEY.format(key=key),
        headers=httpx.Headers(headers, encoding="latin-1"),
        timeout=wired.settings.owner_timeout_seconds,
    )
    return passed_on(await send(wired.http, outgoing, _ROUTE, stream=True))
