"""Taking deliveries that Planning Center sends (docs/decisions/0036).

The key is known before the body is read, the signature before the body is parsed, and everything is durable before
the answer. Nothing else happens in between.
"""

import asyncio
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from servicekit.clock import Clock
from servicekit.errors import NotFound, ServiceError, TooLarge, TooMany, TooSlow, Unsupported, is_transient
from servicekit.http.intake import ORGANIZATION
from servicekit.ids import uuid7
from webhook_gateway.domain import envelope, signature
from webhook_gateway.domain.envelope import Hint
from webhook_gateway.errors import AddressRetired, NotSigned
from webhook_gateway.identity.limits import Limit, subscriber_of
from webhook_gateway.storage.deliveries import Body
from webhook_gateway.storage.keys import SealedSecret
from webhook_gateway.usecases.keys import Keys, OpenKey
from webhook_gateway.usecases.refused import Reason, Refused
from webhook_gateway.usecases.writer import Writer, away

LARGE: Final = 64 * 1024
"""A body from this size on is verified and read in a thread, so that other calls go on."""
NOT_THERE: Final = "There is nothing at this address."
_REASONS: Final[dict[type[ServiceError], Reason]] = {
    NotFound: "unknown address",
    AddressRetired: "retired address",
    Unsupported: "encoded",
    TooLarge: "too large",
    TooSlow: "too slow",
    TooMany: "too many",
    NotSigned: "not signed",
}
_Read = tuple[SealedSecret, list[Hint]]


class Intake:
    """The intake of one process."""

    def __init__(self, keys: Keys, writer: Writer, refused: Refused, clock: Clock, per_minute: int) -> None:
        self._keys = keys
        self._writer = writer
        self._refused = refused
        self._clock = clock
        self._rate = Limit("This connection", per_minute)

    async def take(self, hashed: bytes, request: Request) -> None:
        """Store the deliveries in a request to the address whose key has this hash. ServiceError if it is refused."""
        request.state.webhook_organization = ""
        try:
            await self._take(hashed, request)
        except ServiceError as error:
            self._count(request, _REASONS.get(type(error), "not stored"))
            raise
        except (SQLAlchemyError, OSError) as error:
            self._count(request, "not stored")
            if is_transient(error):
                raise away() from error
            raise

    async def _take(self, hashed: bytes, request: Request) -> None:
        known = await self._keys.find(hashed, subscriber_of(request))
        if known is None:
            raise NotFound(NOT_THERE)
        request.state.webhook_organization = known.key.organization_id
        if known.key.retired:
            raise AddressRetired
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Unsupported("Send the body as it was signed, without a Content-Encoding.")
        self._rate.count(str(known.key.id))
        request.scope["state"][ORGANIZATION] = known.key.organization_id
        body = await request.body()
        received_at = self._clock.now()
        read = await self._read(known, body, request)
        if read is None:
            again = await self._keys.again(hashed, known)
            read = await self._read(again, body, request) if again is not None else None
        if read is None:
            raise NotSigned
        secret, hints = read
        kept = Body(uuid7(), known.key, secret.subscription_id, body, received_at, self._clock.now())
        await self._writer.store(kept, hints)

    async def _read(self, known: OpenKey, body: bytes, request: Request) -> _Read | None:
        """Whose secret signed the body, and what is in it; None if nobody's."""
        given = request.headers.get(signature.HEADER, "").encode("latin-1", "replace")
        secrets = known.secrets(request.headers.get(signature.NAME_HEADER, ""), self._clock.now())

        def read() -> _Read | None:
            whose = signature.signer(body, given, secrets)
            return (whose, envelope.read(body, known.key.pco_organization_id)) if whose is not None else None

        return await asyncio.to_thread(read) if len(body) >= LARGE else read()

    def _count(self, request: Request, reason: Reason) -> None:
        headers = request.headers
        self._refused.count(
            request.state.webhook_organization,
            reason,
            self._clock.now(),
            headers.get("content-length", ""),
            headers.get("content-type", ""),
        )
