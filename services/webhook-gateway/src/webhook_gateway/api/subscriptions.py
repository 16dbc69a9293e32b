"""The state of the subscriptions, and asking for a comparison or for new secrets."""

from fastapi import APIRouter

from contracts.http.auth import Product
from contracts.http.subscriptions import SubscriptionStatement, SubscriptionStatements
from servicekit.db.sessions import Session
from webhook_gateway.identity.bearer import Admin, OwnRoute, Staff
from webhook_gateway.resources import Wired
from webhook_gateway.usecases import statement, subscriptions

router = APIRouter(prefix="/api/v1/webhooks", route_class=OwnRoute, include_in_schema=False)


@router.get("/status")
async def status(user: Staff, session: Session, wired: Wired) -> SubscriptionStatements:
    """Whether changes come at once, and what was lost."""
    return await statement.statements(session, user.organization_id, wired.settings, wired.clock.now())


@router.post("/{product}/verify", status_code=202)
async def verify(product: Product, user: Admin, session: Session, wired: Wired) -> SubscriptionStatement:
    """Compare with Planning Center's list now."""
    now = wired.clock.now()
    await subscriptions.ask(session, user.organization_id, product, now)
    return await statement.statement(session, user.organization_id, product, wired.settings, now)


@router.post("/{product}/rotate", status_code=202)
async def rotate(product: Product, user: Admin, session: Session, wired: Wired) -> SubscriptionStatement:
    """Compare now, and give every subscription a new secret."""
    now = wired.clock.now()
    await subscriptions.ask(session, user.organization_id, product, now, rotate=True)
    return await statement.statement(session, user.organization_id, product, wired.settings, now)
