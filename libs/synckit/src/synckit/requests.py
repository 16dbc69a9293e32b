"""What a run asks of Planning Center: how many requests, and how fast it may."""

from dataclasses import dataclass

from pco_client.client import Observation, PlanningCenter
from synckit.progress import Pace


@dataclass(slots=True)
class Requests:
    """Counts the requests that a run sends to Planning Center."""

    sent: int = 0
    unwritten: int = 0

    def observe(self, _: Observation) -> None:
        """For `PlanningCenter(observer=...)`."""
        self.sent += 1
        self.unwritten += 1

    def take(self) -> int:
        """How many since the last call."""
        taken, self.unwritten = self.unwritten, 0
        return taken


async def pace_of(pco: PlanningCenter, requests: Requests) -> Pace | None:
    """What the vendor's headers said last; None before the first answer."""
    if requests.sent == 0:
        return None
    state = (await pco.pacer()).state()
    if state.limit is None or state.period is None:
        return None
    # Slots may be taken while nothing waits for one: then the limit holds nobody up.
    waited = state.seconds_until_next_slot if state.waiting_bulk else 0.0
    return Pace(state.limit, state.period, waited)
