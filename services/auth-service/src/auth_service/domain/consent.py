"""Decisions about a consent: what is asked for, whether it is ours, and what it says about an earlier one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from contracts.http.auth import Product
from contracts.values import PEOPLE_WRITERS, PRODUCTS


@dataclass(frozen=True, slots=True)
class Attempt:
    """A consent on its way, as it was begun."""

    organization_id: str
    user_id: str
    browser_hash: bytes
    created_at: datetime
    used: bool


class AttemptProblem(Enum):
    """Why an answer from Planning Center is not taken."""

    UNKNOWN = "authorization-unknown"
    USED = "authorization-used"
    EXPIRED = "authorization-expired"
    OTHER_BROWSER = "authorization-other-browser"


def attempt_problem(
    attempt: Attempt | None,
    *,
    organization_id: str,
    user_id: str,
    browser_hash: bytes | None,
    now: datetime,
    lifetime: timedelta,
) -> AttemptProblem | None:
    """What is wrong with an answer that came back, if anything is.

    Another church's or another person's attempt is unknown: nothing about it may be learned.
    """
    if attempt is None or (attempt.organization_id, attempt.user_id) != (organization_id, user_id):
        return AttemptProblem.UNKNOWN
    if attempt.browser_hash != browser_hash:
        return AttemptProblem.OTHER_BROWSER
    if attempt.used:
        return AttemptProblem.USED
    if now - attempt.created_at > lifetime:
        return AttemptProblem.EXPIRED
    return None


def scope_to_ask(product: Product, *, one_grant: bool) -> str:
    """The scope of a consent. `openid` gives the identity of whoever consents."""
    return " ".join(("openid", *(PRODUCTS if one_grant else (product,))))


def products_granted(scope: str) -> frozenset[str]:
    """The products of ours that a scope covers."""
    return frozenset(scope.split()) & frozenset(PRODUCTS)


def replaced_by(*, ended_issued_at: datetime, same_person: bool, other_granted_at: datetime) -> bool:
    """Whether a refused grant was ended by the same person's later consent to the other product.

    If its tokens were renewed after that consent, the consent had not ended it.
    """
    return same_person and ended_issued_at < other_granted_at


def people_role_problem(permissions: str | None, person_name: str) -> str | None:
    """A sentence if a person's People role does not allow what a sync does; None if it does.

    permissions: `people_permissions` of `/people/v2/me`; None for a person without access to People.
    """
    if permissions in PEOPLE_WRITERS:
        return None
    has = f"has the role {permissions}" if permissions else "has no access to Planning Center People"
    return (
        f"{person_name} {has}. Members are read and written in the name of the person who connects, so the role "
        "Editor or Manager is needed. Nothing was connected. Ask an administrator at Planning Center for that role, "
        "or connect as somebody who has it."
    )


def calendar_role_problem(person_name: str, *, opens: bool) -> str | None:
    """A sentence if a person has no role in Calendar; None if they have any: events are only read there."""
    if opens:
        return None
    return (
        f"{person_name} has no access to Planning Center Calendar. Events are read in the name of the person who "
        "connects, so the role Viewer in Calendar, or a higher one, is needed. Nothing was connected. Ask an "
        "administrator at Planning Center for that role, or connect as somebody who has it."
    )
