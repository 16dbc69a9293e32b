"""What comes round by itself."""

from conflict_service.resources import Resources
from conflict_service.usecases import bulk
from servicekit.runtime import Runtime


async def forget_answers(runtime: Runtime, resources: Resources) -> None:
    """Delete answers to many conflicts that were shown or given long ago."""
    await bulk.forget_old(runtime.sessions, resources.clock.now())
