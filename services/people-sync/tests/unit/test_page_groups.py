"""Pages of a walk in groups: pages available together make one transaction, and none is lost."""

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
    """The groups of a walk that yields pages, waits for events and raises errors. Sets the events one by one."""
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


async def test_available_pages_form_a_group_up_to_the_limit() -> None:
    assert await groups("a", "b", "c", "d", "e", "f", "g") == ([["a", "b", "c", "d", "e"], ["f", "g"]], None)


async def test_an_awaited_page_is_a_group_of_its_own() -> None:
    assert await groups("a", asyncio.Event(), "b", "c", asyncio.Event()) == ([["a"], ["b", "c"]], None)


async def test_pages_before_an_error_are_handed_over_first() -> None:
    error = ValueError()
    assert await groups("a", "b", error) == ([["a", "b"]], error)


async def test_an_empty_walk() -> None:
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


async def test_an_error_of_the_consumer_is_raised_during_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk cannot be closed while it waits for a page, which once hid the error that ended the pull."""

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
