"""Decisions about a consent."""

from datetime import UTC, datetime, timedelta

import pytest

from auth_service.domain.consent import (
    Attempt,
    AttemptProblem,
    attempt_problem,
    people_role_problem,
    products_granted,
    replaced_by,
    scope_to_ask,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
GOOD = Attempt("church", "anna", b"browser", NOW - timedelta(minutes=10), used=False)


@pytest.mark.parametrize(
    ("attempt", "organization", "user", "browser", "problem"),
    [
        (GOOD, "church", "anna", b"browser", None),
        (None, "church", "anna", b"browser", AttemptProblem.UNKNOWN),
        (GOOD, "other", "anna", b"browser", AttemptProblem.UNKNOWN),
        (GOOD, "church", "ben", b"browser", AttemptProblem.UNKNOWN),
        (GOOD, "church", "anna", b"elsewhere", AttemptProblem.OTHER_BROWSER),
        (GOOD, "church", "anna", None, AttemptProblem.OTHER_BROWSER),
        (Attempt("church", "anna", b"browser", NOW, used=True), "church", "anna", b"browser", AttemptProblem.USED),
        (
            Attempt("church", "anna", b"browser", NOW - timedelta(minutes=10, seconds=1), used=False),
            "church",
            "anna",
            b"browser",
            AttemptProblem.EXPIRED,
        ),
    ],
)
def test_attempt(
    attempt: Attempt | None, organization: str, user: str, browser: bytes | None, problem: AttemptProblem | None
) -> None:
    found = attempt_problem(
        attempt,
        organization_id=organization,
        user_id=user,
        browser_hash=browser,
        now=NOW,
        lifetime=timedelta(minutes=10),
    )
    assert found is problem


def test_scope() -> None:
    assert scope_to_ask("people", one_grant=False, webhooks="webhooks") == "openid people webhooks"
    assert scope_to_ask("calendar", one_grant=False, webhooks="webhooks") == "openid calendar webhooks"
    assert scope_to_ask("calendar", one_grant=True, webhooks="webhooks") == "openid people calendar webhooks"
    assert scope_to_ask("people", one_grant=False, webhooks="") == "openid people"
    assert products_granted("calendar openid giving") == {"calendar"}


def test_a_grant_renewed_after_the_other_consent_was_not_ended_by_it() -> None:
    before, after = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    assert replaced_by(ended_issued_at=before, same_person=True, other_granted_at=NOW)
    assert not replaced_by(ended_issued_at=after, same_person=True, other_granted_at=NOW)
    assert not replaced_by(ended_issued_at=before, same_person=False, other_granted_at=NOW)


def test_people_role() -> None:
    def problem(role: str | None, administrator: bool = False) -> str:
        return people_role_problem({"people_permissions": role, "site_administrator": administrator}, "Anna") or ""

    assert [problem(role) for role in ("Editor", "Manager")] == ["", ""]
    assert "Anna has the role Viewer" in problem("Viewer")
    assert "Anna has no access" in problem(None)
    assert "Anna has no access" in (people_role_problem(None, "Anna") or "")
    # As recorded: an organization administrator reads and writes without a role.
    assert problem(None, administrator=True) == ""
