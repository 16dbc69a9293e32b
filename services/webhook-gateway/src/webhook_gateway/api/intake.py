"""The address that Planning Center calls. The key in it is a secret: it is hashed at once and goes no further."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from webhook_gateway.resources import IntakeResources
from webhook_gateway.storage.keys import key_hash

PATH: Final = "/webhooks/pco/{key:path}"
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The deliveries are stored durably, or were before."},
    401: {"description": "No secret of this address's subscriptions signed the body."},
    404: {"description": "There is no such address."},
    405: {"description": "Another method than POST."},
    408: {"description": "The body did not arrive in time."},
    410: {"description": "The address belongs to a connection that has ended: stop sending."},
    413: {"description": "The body has more than 1 MiB."},
    415: {"description": "The body is encoded."},
    422: {"description": "The address holds a character that does not exist."},
    429: {"description": "Too many calls: wait for as many seconds as `Retry-After` says."},
    503: {"description": "Nothing can be stored: send it again after `Retry-After`."},
}


class _Plain(APIRoute):
    """Calls its endpoint with the request. FastAPI's own way to it, which solves dependencies, costs as much as the
    signature and the reading of a delivery together.
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        return self.endpoint


router = APIRouter(route_class=_Plain)


@router.post(PATH, responses=_ANSWERS, response_class=Response)
async def take(request: Request) -> Response:
    """Take deliveries signed with a secret of one of the address's subscriptions."""
    wired: IntakeResources = request.app.state.resources
    await wired.intake.take(key_hash(request.path_params["key"]), request)
    return Response()
