"""One round of each loop."""

from conflict_service.resources import Resources
from conflict_service.usecases import bulk
from servicekit.runtime import Runtime


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Delete old previews and bulk answers to conflicts."""
    await bulk.forget_old(runtime.sessions, resources.clock.now())
