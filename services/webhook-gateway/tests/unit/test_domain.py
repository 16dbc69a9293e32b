"""Pure decisions: claims and sentences."""

from typing import Any

import pytest

from servicekit.errors import TooMany
from webhook_gateway.domain.claims import identity_of
from webhook_gateway.domain.owners import PARTS, Absence, sentence
from webhook_gateway.identity.limits import Limit, subscriber
from webhook_gateway.usecases.live import Hub, Pace

CLAIMS = {"sub": "ada", "name": "Ada", "organization_id": "org-1", "organization_name": "Church", "roles": ["staff"]}


def test_unknown_roles_are_left_out() -> None:
    assert identity_of(CLAIMS | {"roles": ["choir", "staff", "admin"]}).roles == ("admin", "staff")


@pytest.mark.parametrize("roles", [None, "admin", {"admin": True}])
def test_roles_that_are_no_list_are_none(roles: Any) -> None:
    assert identity_of(CLAIMS | {"roles": roles}).roles == ()


@pytest.mark.parametrize("claim", ["sub", "organization_id"])
@pytest.mark.parametrize("value", [None, "", 7, ["a"]])
def test_user_and_organization_are_required(claim: str, value: Any) -> None:
    with pytest.raises(ValueError, match=claim):
        identity_of(CLAIMS | {claim: value})


@pytest.mark.parametrize("owner", PARTS)
def test_a_change_that_may_have_been_made_is_never_called_undone(owner: str) -> None:
    said = sentence(Absence(owner, reads=False, reached=True))
    assert "may or may not" in said
    assert "Nothing was" not in said
    assert "Nothing was changed" in sentence(Absence(owner, reads=False, reached=False))
    assert "Nothing was lost" in sentence(Absence(owner, reads=True, reached=True, slow=True))


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("unix", "unix"),
    ],
)
def test_addresses_of_one_subscriber_count_as_one(address: str, counted: str) -> None:
    assert subscriber(address) == counted


def test_a_limit_says_when_to_retry() -> None:
    limit = Limit("You", 2)
    limit.count("ada")
    limit.count("ada")
    limit.count("ben")
    with pytest.raises(TooMany, match=r"You have sent too many .* Try again in 30 seconds\.") as refused:
        limit.count("ada")
    assert refused.value.headers == {"Retry-After": "30"}


def test_the_hub_forgets_organizations_without_clients() -> None:
    hub = Hub(queue_size=2, per_user=1, per_second=1)
    with hub.client("org-1", "ada"):
        assert len(hub) == 1
    assert len(hub) == 0
    assert hub._clients == {}
    assert hub._paces == {}


def test_a_pace_recovers_after_a_second_unless_a_reread_is_due() -> None:
    pace = Pace(most=2)
    assert [pace.allows(at) for at in (0.0, 0.1, 0.2, 0.9, 1.0, 1.1, 1.2)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    pace.flooded = True
    assert not pace.allows(5.0)
