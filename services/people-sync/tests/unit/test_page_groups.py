"""Pages of a walk in groups: what came together makes one transaction, and nothing that came is lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from people_sync.usecases.run import pull
from people_sync.usecases.run.checkpoint import Checkpoint
from servicekit.jobs.queue import StopRequested


async def groups(*steps: Any) -> tuple[list[list[Any]], Exception | None]:
    """Of a walk that yields these; an event is waited for by it, an error ends it. Sets the events one by one."""
    events = [step for step in steps if isinstance(step, asyncio.Event)]

    async def walk() -> AsyncIterator[Any]:
        for step in steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, Exception):
                raise step
            else:
                yield step

    found: list[list[Any]] = []
    try:
        async for group in pull._together(walk()):
            found.append(group)
            if events:
                events.pop(0).set()
    except ValueError as error:
        return found, error
    return found, None


async def test_what_is_there_comes_together_up_to_so_many() -> None:
    assert await groups("a", "b", "c", "d", "e", "f", "g") == ([["a", "b", "c", "d", "e"], ["f", "g"]], None)


async def test_what_has_to_be_waited_for_is_a_group_of_its_own() -> None:
    assert await groups("a", asyncio.Event(), "b", "c", asyncio.Event()) == ([["a"], ["b", "c"]], None)


async def test_what_came_before_an_error_is_handed_over_first() -> None:
    error = ValueError()
    assert await groups("a", "b", error) == ([["a", "b"]], error)


async def test_nothing() -> None:
    assert await groups() == ([], None)


async def test_leaving_early_ends_the_walk() -> None:
    ended = asyncio.Event()

    async def walk() -> AsyncIterator[Any]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            ended.set()

    taken: Any = pull._together(walk())
    assert await anext(taken) == ["a"]
    await taken.aclose()
    assert ended.is_set()


async def test_what_ends_the_pull_comes_through_while_a_page_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk cannot be closed while its next page is waited for: the error that ends the pull was lost over that."""

    async def walk(*_: Any, **__: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(position={"complete": False}, asked=0.0)
        await asyncio.Event().wait()

    async def put(*_: Any) -> None:
        await asyncio.sleep(0)
        raise StopRequested

    monkeypatch.setattr(pull, "walk_all", walk)
    monkeypatch.setattr(pull, "_put_pages", put)
    checkpoint = Checkpoint(cursor="2026-11-01T10:00:00Z")
    context: Any = SimpleNamespace(pco=None, checkpoint=checkpoint, now=lambda: datetime.now(UTC))
    with pytest.raises(StopRequested):
        await pull._everybody(context)


pytestmark = pytest.mark.asyncio
