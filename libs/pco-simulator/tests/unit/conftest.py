from datetime import UTC, datetime

import pytest

from pco_simulator.direct import Direct, SetClock
from pco_simulator.human import Human
from pco_simulator.state import open_world
from pco_simulator.world import World


@pytest.fixture
def clock() -> SetClock:
    return SetClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))


@pytest.fixture
def world(clock: SetClock) -> World:
    return open_world(None, people=400, seed=7, clock=clock)


@pytest.fixture
def human(world: World) -> Human:
    """Changes made by staff at Planning Center."""
    return Human(world)


@pytest.fixture
def api(world: World) -> Direct:
    """The administrator of the first church, at the newest version."""
    login = world.logins[0]
    return Direct(world, login.organization_id, login.person_id)


@pytest.fixture
def person_id(api: Direct) -> str:
    """A person made for the test, without contacts."""
    created = api.post("/people/v2/people", {"first_name": "Ada", "last_name": "Lovelace"})
    assert created.status == 201
    return str(created.data["id"])
