"""Decisions about a consent: its scope, whether its attempt is ours, and its effect on an earlier grant."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from contracts.http.auth import Product
from contracts.values import PRODUCTS, writes_people


@dataclass(frozen=True, slots=True)
class Attempt:
    """A consent in progress, as begun."""

    organization_id: str
    user_id: str
    browser_hash: bytes
    created_at: datetime
    used: bool


class AttemptProblem(Enum):
    """Why an answer from Planning Center is refused."""

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
    """Why an answer must be refused, or None.

    An attempt of another church or person counts as unknown, so that the answer reveals nothing about it.
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


def scope_to_ask(product: Product, *, one_grant: bool, webhooks: str) -> str:
    """The scope of a consent. `openid` gives the identity of the consenting person.

    webhooks: the scope for subscribing to changes; empty to ask for none.
    """
    asked = ("openid", *(PRODUCTS if one_grant else (product,)), webhooks)
    return " ".join(filter(None, asked))


def products_granted(scope: str) -> frozenset[str]:
    """Our products that a scope covers."""
    return frozenset(scope.split()) & frozenset(PRODUCTS)


def replaced_by(*, ended_issued_at: datetime, same_person: bool, other_granted_at: datetime) -> bool:
    """Whether a refused grant was ended by the same person's later consent to the other product.

    Tokens renewed after that consent prove that it did not end the grant.
    """
    return same_person and ended_issued_at < other_granted_at


def people_role_problem(person: Mapping[str, Any] | None, person_name: str) -> str | None:
    """A sentence if a person's rights in People are not enough for a sync; None if they are.

    person: their attributes of `/people/v2/me`; None for somebody without access to People.
    """
    if person is not None and writes_people(person):
        return None
    permissions = person and person.get("people_permissions")
    has = f"has the role {permissions}" if permissions else "has no access to Planning Center People"
    return (
        f"{person_name} {has}. Members are read and written in the name of the person who connects, so the role "
        "Editor or Manager is needed. Nothing was connected. Ask an administrator at Planning Center for that role, "
        "or connect as somebody who has it."
    )


def calendar_role_problem(person_name: str, *, opens: bool) -> str | None:
    """A sentence if a person has no role in Calendar; None with any role, since a sync only reads events."""
    if opens:
        return None
    return (
        f"{person_name} has no access to Planning Center Calendar. Events are read in the name of the person who "
        "connects, so the role Viewer in Calendar, or a higher one, is needed. Nothing was connected. Ask an "
        "administrator at Planning Center for that role, or connect as somebody who has it."
    )
