"""The product `current`: who the token belongs to, without any product scope."""

from pco_simulator.exchange import ApiRequest, ApiResponse
from pco_simulator.world import World


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer one `/current/v2/...` call."""
    raise NotImplementedError
