"""Stacks for the stories: every service twice behind a round-robin proxy, and a vendor with lag and limits.

Stories in Chromium that need no stack of their own share one, `town`, with a church for each file.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from contracts.values import SERVICES
from local_stack.church import Church
from local_stack.stack import INTAKE, Stack
from servicekit.testing import preloaded, servers

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
from pages import ROOT, Windows, chromium, sign_in, watched  # noqa: E402
from silence import silence  # noqa: E402

StateOf = Callable[[str], Path]
HORIZON_SECONDS = 2.0
UNKIND: dict[str, object] = {
    # Reads lag behind writes, as at the vendor; the services know the staleness horizon.
    "lists_lag_ms": 1000,
    "filters_lag_ms": 1000,
    "singles_lag_ms": 1000,
    "rate_period_seconds": 2,
}
SCALED = {
    "PCO_STALENESS_HORIZON_SECONDS": str(HORIZON_SECONDS),
    # A write begins only if the lease, renewed every third of its length, outlasts the write's timeout.
    "PCO_REQUEST_TIMEOUT_SECONDS": "3",
    "JOB_LEASE_SECONDS": "6",
}


@pytest.fixture(scope="module")
def vendor() -> dict[str, object]:
    """Settings of the simulator; a module may override them."""
    return UNKIND


@pytest.fixture(scope="module")
def people() -> int:
    """Number of people in the simulator's first church."""
    return 300


@pytest.fixture(scope="module")
def processes() -> int:
    """Number of replicas of each service."""
    return 2


@pytest.fixture(scope="module")
def live() -> bool:
    """Whether changes in Planning Center come at once. Most stories tell what a sync finds, so nothing comes before."""
    return False


@pytest.fixture(scope="module")
def intakes() -> int:
    """Number of processes that Planning Center calls."""
    return 1


@pytest.fixture(scope="session")
def state_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateOf]:
    """Makes the folder of a stack by its name. What PostgreSQL and Kafka keep stands in memory, where there is room."""
    with ExitStack() as kept:

        def made(name: str) -> Path:
            state = tmp_path_factory.mktemp(name)
            for server in ("postgres", "kafka"):
                (state / server).symlink_to(kept.enter_context(servers.directory()))
            return state

        yield made


@pytest.fixture(scope="module")
def stack(
    state_of: StateOf, vendor: dict[str, object], people: int, processes: int, intakes: int, live: bool
) -> Iterator[Stack]:
    """All services, two processes each unless a module says otherwise."""
    with Stack(
        state_of("stack"),
        people=people,
        replicas={**dict.fromkeys(SERVICES, processes), INTAKE: intakes},
        environment={"people-sync": SCALED, "webhook-gateway": {"LIVE_HEARTBEAT_SECONDS": "1"}},
        simulator_settings=vendor,
        cache=ROOT / ".cache",
        spawn=preloaded.spawn,
    ) as running:
        if not live:
            silence(running)
        yield running


@pytest.fixture(scope="session")
def door(state_of: StateOf) -> Iterator[Stack]:
    """One process of every service, for what does not depend on their number: who may do what, and the document."""
    environment = {"people-sync": {"PCO_STALENESS_HORIZON_SECONDS": "0.5"}}
    cache, spawn = ROOT / ".cache", preloaded.spawn
    with Stack(state_of("door"), people=60, environment=environment, cache=cache, spawn=spawn) as running:
        silence(running)
        yield running


@pytest.fixture
def ada(stack: Stack) -> Iterator[Church]:
    """The admin of the first church."""
    with Church.of(stack, "ada") as church:
        yield church


@pytest.fixture
def olga(stack: Stack) -> Iterator[Church]:
    """The admin of the other church."""
    with Church.of(stack, "olga") as church:
        yield church


@pytest.fixture
def sam(stack: Stack) -> Iterator[Church]:
    """Staff of the first church."""
    with Church.of(stack, "sam") as church:
        yield church


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put stories in Chromium last, because Playwright's event loop then keeps the main thread."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, for all stories: each window has a context of its own."""
    with chromium() as running:
        yield running


# -- stories in Chromium that share a stack ----------------------------------------------------------------------------

STORIES = (
    "decisions",
    "join",
    "kept_out",
    "plans",
    "proof",
    "rules",
    "undo",
    "statement",
    "erase",
    "events",
    "links",
    "webhooks",
)
"""Number of the church by `test_browser_*.py` file, so that its seed does not depend on the selected files."""
FIRST_CHURCH = 3


@pytest.fixture(scope="session")
def town(state_of: StateOf) -> Iterator[Stack]:
    """One process of every service, a vendor whose lists lag, and a church of 60 people for each file."""
    with Stack(
        state_of("town"),
        people=600,
        churches=FIRST_CHURCH + len(STORIES) - 1,
        environment={name: {"PCO_STALENESS_HORIZON_SECONDS": "2"} for name in ("people-sync", "calendar-sync")},
        simulator_settings={"lists_lag_ms": 500},
        cache=ROOT / ".cache",
        spawn=preloaded.spawn,
    ) as running:
        with Church.of(running) as admin:
            organizations = admin.control.organizations()
        for name, organization in zip(STORIES, organizations[FIRST_CHURCH - 1 :], strict=True):
            if name != "webhooks":
                silence(running, organization_id=str(organization["id"]))
        yield running


@pytest.fixture(scope="module")
def number(request: pytest.FixtureRequest) -> int:
    """Number of this file's church."""
    return FIRST_CHURCH + STORIES.index(request.path.stem.removeprefix("test_browser_"))


@pytest.fixture(scope="module")
def connected(town: Stack, number: int) -> Iterator[Church]:
    """Ada of this file's church, connected and never synced."""
    with Church.of(town, f"ada{number}") as church:
        before = church.control.organizations()[: number - 1]
        church.connect(login=sum(len(one["logins"]) for one in before))
        yield church


@pytest.fixture(scope="module")
def church(connected: Church) -> Church:
    """Ada of this file's church, connected and synced once."""
    connected.sync()
    return connected


@pytest.fixture(scope="module")
def pco(connected: Church, number: int) -> str:
    """Id of this church's organization in Planning Center."""
    return str(connected.control.organizations()[number - 1]["id"])


@pytest.fixture(scope="module")
def nora(church: Church) -> dict[str, Any]:
    """A linked member."""
    nora = church.add_member(first_name="Nora", last_name="Newcome", email="nora.newcome@example.org")
    church.sync("incremental")
    return dict(church.get(f"/people/members/{nora['id']}"))


@pytest.fixture(scope="module")
def page(browser: Browser, town: Stack, number: int) -> Iterator[Page]:
    """Ada's browser, signed in, through all chapters of a file."""
    with watched(browser, town) as window:
        sign_in(window, "Ada", f"Church {number}")
        yield window


@pytest.fixture
def window_of(browser: Browser, town: Stack, number: int) -> Iterator[Windows]:
    """Browsers of people of this church."""
    with ExitStack() as windows:

        def opened(name: str) -> Page:
            window = windows.enter_context(watched(browser, town))
            sign_in(window, name, f"Church {number}")
            return window

        yield opened
