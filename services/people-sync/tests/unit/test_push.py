"""Several records pushed at once: an error of one loses no answer of the others."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from people_sync.usecases.run import push
from servicekit.jobs.queue import LeaseLost


async def test_an_error_of_one_leaves_the_answers_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request loses the lease after another was answered, and only its sender can store that answer."""
    lost, begun = asyncio.Event(), asyncio.Event()
    stored: list[str] = []

    async def note(_: Any, change: Any, outcome: str, **__: Any) -> None:
        stored.append(f"{change.id} {outcome}")

    async def one(_: Any, change: Any) -> tuple[str, list[str]]:
        if change.id == "loses":
            await begun.wait()
            lost.set()
            raise LeaseLost
        begun.set()
        await lost.wait()
        await asyncio.sleep(0)  # one turn of the loop, like storing an answer, in which a sibling could be cancelled
        return "updated_there", []

    monkeypatch.setattr(push, "_note", note)
    settings = SimpleNamespace(push_at_once=2)
    context: Any = SimpleNamespace(job=SimpleNamespace(leaving=False), resources=SimpleNamespace(settings=settings))
    changes: Any = [
        SimpleNamespace(id=name, outcome="updated_there", sentence=None) for name in ("loses", "answered", "not begun")
    ]
    with pytest.raises(LeaseLost):
        await push._together(context, changes, one)
    assert stored == ["answered updated_there"]
