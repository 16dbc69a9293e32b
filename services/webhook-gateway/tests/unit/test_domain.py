"""Pure decisions: claims and sentences."""

from typing import Any

import pytest

from webhook_gateway.domain.claims import identity_of
from webhook_gateway.domain.owners import PARTS, Absence, sentence
from webhook_gateway.usecases.live import Hub

CLAIMS = {"sub": "ada", "name": "Ada", "organization_id": "org-1", "organization_name": "Church", "roles": ["staff"]}


def test_unknown_roles_are_left_out() -> None:
    assert identity_of(CLAIMS | {"roles": ["choir", "staff", "admin"]}).roles == ("admin", "staff")


@pytest.mark.parametrize("roles", [None, "admin", {"admin": True}])
def test_roles_that_are_no_list_are_none(roles: Any) -> None:
    assert identity_of(CLAIMS | {"roles": roles}).roles == ()


@pytest.mark.parametrize("claim", ["sub", "organization_id"])
@pytest.mark.parametrize("value", [None, "", 7, ["a"]])
def test_who_and_where_must_be_said(claim: str, value: Any) -> None:
    with pytest.raises(ValueError, match=claim):
        identity_of(CLAIMS | {claim: value})


@pytest.mark.parametrize("owner", PARTS)
def test_a_change_that_may_have_been_made_is_never_called_undone(owner: str) -> None:
    said = sentence(Absence(owner, reads=False, reached=True))
    assert "may or may not" in said
    assert "Nothing was" not in said
    assert "Nothing was changed" in sentence(Absence(owner, reads=False, reached=False))
    assert "Nothing was lost" in sentence(Absence(owner, reads=True, reached=True, slow=True))


def test_the_hub_forgets_organizations_without_clients() -> None:
    hub = Hub(queue_size=2)
    with hub.client("org-1"):
        assert len(hub) == 1
    assert len(hub) == 0
    assert hub._clients == {}
