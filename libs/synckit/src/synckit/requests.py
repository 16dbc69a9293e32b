"""A run's requests to Planning Center: their number, and the allowed rate."""

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
        """The number of requests since the last call."""
        taken, self.unwritten = self.unwritten, 0
        return taken


async def pace_of(pco: PlanningCenter, requests: Requests) -> Pace | None:
    """The limits in the vendor's latest headers; None before the first answer."""
    if requests.sent == 0:
        return None
    state = (await pco.pacer()).state()
    if state.limit is None or state.period is None:
        return None
    # All slots may be taken while no request waits for one; then the limit delays nothing.
    waited = state.seconds_until_next_slot if state.waiting_bulk else 0.0
    return Pace(state.limit, state.period, waited)
