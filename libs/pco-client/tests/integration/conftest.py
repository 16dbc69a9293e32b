"""The simulator as a process, and clients connected to it by OAuth."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pco_client import Pacers, PlanningCenter
from pco_client.testing import FixedLeases
from pco_simulator.testing import Control, SimulatorProcess

LAG = {"lists_lag_ms": 150, "filters_lag_ms": 300, "singles_lag_ms": 50}
"""Milliseconds for which reads are stale, as at the vendor."""


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(people=2_500, seed=7) as process:
        yield process


@pytest.fixture
def control(simulator: SimulatorProcess) -> Iterator[Control]:
    """The simulator with lag and without a rate limit; a test changes further settings."""
    simulator.control.reset()
    simulator.control.change_settings(rate_limit=0, **LAG)
    yield simulator.control
    simulator.control.reset()


@pytest.fixture
def church(control: Control) -> str:
    """The first church's organization id."""
    identity: str = control.organizations()[0]["id"]
    return identity


def consent(simulator: SimulatorProcess) -> dict[str, Any]:
    """A grant of the first church's administrator, obtained by the authorization code flow."""
    application = {"client_id": simulator.oauth_client.id, "redirect_uri": simulator.redirect_uri}
    with httpx.Client(base_url=simulator.base_url) as browser:
        question = {**application, "response_type": "code", "scope": "people", "state": "s", "prompt": "login"}
        page = browser.get("/oauth/authorize", params=question)
        fields = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        login = re.findall(r'name="login" value="([^"]+)"', page.text)[0]
        answer = browser.post("/oauth/authorize", data={**fields, "login": login, "decision": "allow"})
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, **application}
        tokens = browser.post("/oauth/token", data={**form, "client_secret": simulator.oauth_client.secret})
    granted: dict[str, Any] = tokens.raise_for_status().json()
    return granted


@pytest.fixture
async def connect(simulator: SimulatorProcess, control: Control) -> AsyncIterator[Callable[..., PlanningCenter]]:
    """Makes clients, each with the pacers of a separate process; `tokens=2` adds a second grant as fallback."""
    async with AsyncExitStack() as stack:

        def make(*, tokens: int = 1, **options: Any) -> PlanningCenter:
            granted = [consent(simulator)["access_token"] for _ in range(tokens)]
            client = PlanningCenter(
                base_url=simulator.base_url,
                user_agent="pco-client tests (tests@example.org)",
                lease=FixedLeases(*granted, life=timedelta(hours=1)),
                pacers=Pacers(),
                **options,
            )
            stack.push_async_callback(client.aclose)
            return client

        yield make
