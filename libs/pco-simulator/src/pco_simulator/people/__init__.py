"""Planning Center People v2, served from a `World`."""

from pco_simulator.exchange import ApiRequest, ApiResponse
from pco_simulator.world import World


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer one `/people/v2/...` call."""
    raise NotImplementedError
