"""Rules that decide conflicts; see contracts.routes."""

from fastapi import APIRouter

from conflict_service.resources import Wired
from conflict_service.usecases import rules
from contracts.http.common import Page
from contracts.http.rules import DeclineOffer, Rule, RuleCondition, RuleOffer, RulePreview, TurnOnRule
from servicekit.db.sessions import Session
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User

router = APIRouter(route_class=KeyedRoute, prefix="/api/v1/conflicts/rules", tags=["conflicts"])


@router.get("")
async def list_rules(user: User, session: Session) -> Page[Rule]:
    """All rules, newest first."""
    return await rules.every(session, user.organization_id)


@router.get("/offers")
async def list_offers(user: User, session: Session) -> Page[RuleOffer]:
    """List rules learned from people's decisions."""
    return await rules.offers(session, user.organization_id)


@router.post("/offers/decline")
async def decline(body: DeclineOffer, user: Admin, session: Session, wired: Wired) -> Page[RuleOffer]:
    """Stop offering a rule for a kind of conflict."""
    return await rules.decline(session, user.organization_id, body, wired.clock.now())


@router.post("/preview")
async def preview(body: RuleCondition, user: Admin, session: Session, wired: Wired) -> RulePreview:
    """Preview a rule: its past and present decisions."""
    return await rules.preview(session, user.organization_id, body, wired.clock.now())


@router.post("", status_code=201)
async def turn_on(body: TurnOnRule, user: Admin, session: Session, wired: Wired) -> Rule:
    """Turn on the shown rule."""
    return await rules.turn_on(session, user.organization_id, body, user, wired.clock.now())


@router.post("/{rule_id}/off")
async def turn_off(rule_id: str, user: Admin, session: Session, wired: Wired) -> Rule:
    """Turn a rule off."""
    return await rules.turn_off(session, user.organization_id, rule_id, wired.clock.now())


@router.delete("/{rule_id}", status_code=204)
async def remove(rule_id: str, user: Admin, session: Session, wired: Wired) -> None:
    """Delete a rule."""
    await rules.remove(session, user.organization_id, rule_id, wired.clock.now())
