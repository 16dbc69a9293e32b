"""The platform API's calls about connections; see contracts.routes."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from auth_service.resources import Wired
from auth_service.usecases import cards, connect, disconnect
from contracts.http.auth import (
    AuthorizationCompleted,
    AuthorizationStarted,
    CompleteAuthorization,
    Connections,
    DisconnectReceipt,
    ForgetOrganization,
    Product,
)
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/connections", tags=["connections"])

_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")


async def _browser(request: Request, wired: Wired) -> str | None:
    return request.cookies.get(wired.settings.attempt_cookie)


Browser = Annotated[str | None, Depends(_browser)]
"""The attempt's secret from the browser's cookie, if any."""


@router.get("")
async def get_cards(user: User, session: Session) -> Connections:
    """Both cards."""
    return await cards.cards(session, user.organization_id)


@router.post("/{product}/authorize", status_code=201)
async def authorize(
    product: Product, user: Admin, session: Session, wired: Wired, response: Response, browser: Browser
) -> AuthorizationStarted:
    """Begin a consent."""
    known = browser if browser and _SECRET.fullmatch(browser) else None
    begun = await wired.connecting.begin(session, user, product, known)
    response.set_cookie(
        wired.settings.attempt_cookie,
        begun.browser,
        max_age=wired.settings.attempt_lifetime_seconds,
        # A `__Host-` cookie requires the path `/`.
        path="/" if wired.settings.secure_cookie else router.prefix,
        httponly=True,
        samesite="lax",
        secure=wired.settings.secure_cookie,
    )
    return begun.answer


@router.post("/complete")
async def complete(
    answer: CompleteAuthorization, user: Admin, wired: Wired, browser: Browser
) -> AuthorizationCompleted:
    """Finish connecting. Opens its own transactions, with requests to Planning Center between them."""
    return await wired.connecting.complete(user, answer, browser)


@router.post("/{product}/disconnect", status_code=202)
async def start_disconnect(product: Product, user: Admin, session: Session, wired: Wired) -> DisconnectReceipt:
    """Disconnect, or join the disconnect in progress."""
    return await wired.disconnecting.begin(session, user, product)


@router.get("/{product}/receipt")
async def get_receipt(product: Product, user: User, session: Session) -> DisconnectReceipt:
    """The receipt of the disconnect in progress, else of the last one."""
    return await disconnect.receipt(session, user.organization_id, product)


@router.post("/forget-organization")
async def forget_organization(answer: ForgetOrganization, user: Admin, session: Session) -> Connections:
    """Allow another Planning Center organization."""
    await connect.forget_organization(session, user, answer)
    await session.flush()
    return await cards.cards(session, user.organization_id)
