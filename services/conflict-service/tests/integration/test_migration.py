"""Decisions from before the rules teach rules, and the list has its new order."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from conflict_service.domain.rules import answer_of, kind_of
from conflict_service.storage.rules import Outcomes, outcomes
from servicekit.db.migrations import migrate
from servicekit.testing import Databases

START = datetime(2026, 3, 1, tzinfo=UTC)


def field(name: str, base: Any, ours: Any, theirs: Any, *, base_known: bool = True) -> dict[str, Any]:
    return {"field": name, "base": base, "base_known": base_known, "ours": ours, "theirs": theirs}


DECIDED: list[tuple[list[dict[str, Any]], dict[str, str]]] = [
    ([field("phone", "1", "2", "3")], {"phone": "theirs"}),
    ([field("phone", "1", "2", "3"), field("email", "a", "b", "c")], {"phone": "theirs", "email": "ours"}),
    ([field("phone", "1", "2", "3"), field("email", "a", "b", "a")], {"phone": "theirs", "email": "theirs"}),
    ([field("phone", None, "2", "3", base_known=False)], {"phone": "both"}),
    ([field("phone", None, None, "3")], {"phone": "ours"}),
    ([field("address", {"zip": "1"}, {"zip": "2"}, {"zip": "1"})], {"address": "ours"}),
    (
        [field("phone", "1", "2", "3"), field("email", None, "b", "c", base_known=False)],
        {"phone": "ours", "email": "ours"},
    ),
    ([field("active", None, True, False, base_known=False)], {"active": "theirs"}),
]


async def insert(connection: AsyncConnection, table: str, **values: Any) -> None:
    columns = ", ".join(values)
    found = ", ".join(f":{name}" for name in values)
    await connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({found})"), values)


async def test_0005_to_0007(databases: Databases) -> None:
    url = await databases.empty()
    await migrate(url, "conflict_service", to="0004")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for number, family in enumerate(("f1", "f2", "f1", None)):
            await insert(
                connection,
                "conflict",
                organization_id="church",
                id=f"c{number}",
                record=json.dumps({"id": f"m{number}"}),
                family_ids=[family, "other"] if family else [],
                fields="[]",
                state="open" if number < 3 else "resolved",
                source_version=1,
                version=1,
                opened_at=START + timedelta(days=number),
                updated_at=START,
            )
        for number, (fields, choices) in enumerate(DECIDED):
            await insert(
                connection,
                "decision",
                organization_id="church",
                id=f"d{number}",
                conflict_id="c3",
                choices=json.dumps(choices),
                fields=json.dumps(fields),
                decided_by="ada",
                decided_at=START,
                outcome="applied",
                refused=[],
            )
    await migrate(url, "conflict_service")
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT kind, answer FROM decision ORDER BY id"))
        assert [tuple(row) for row in rows] == [(kind_of(fields), answer_of(choices)) for fields, choices in DECIDED]
        rows = await connection.execute(text("SELECT id, together, placed_at FROM conflict ORDER BY id"))
        assert [tuple(row) for row in rows] == [
            ("c0", "f1", START),
            ("c1", "f2", START + timedelta(days=1)),
            ("c2", "f1", START),
            ("c3", "m3", START + timedelta(days=3)),
        ]
    await engine.dispose()


async def test_0009(databases: Databases) -> None:
    """The migration counts the earlier decisions of rules."""
    url = await databases.empty()
    await migrate(url, "conflict_service", to="0008")
    engine = create_async_engine(url)
    ended = ["applied"] * 3 + ["overtaken"] * 2 + ["not_needed", "waiting"]
    async with engine.begin() as connection:
        await insert(
            connection,
            "conflict",
            organization_id="church",
            id="c",
            record=json.dumps({"id": "m"}),
            family_ids=[],
            fields="[]",
            state="open",
            source_version=1,
            version=1,
            opened_at=START,
            updated_at=START,
            together="m",
            placed_at=START,
        )
        for rule_id, ends in (("r1", ended), ("r2", ["waiting"]), (None, ["applied"])):
            for number, outcome in enumerate(ends):
                await insert(
                    connection,
                    "decision",
                    organization_id="church",
                    id=f"{rule_id}-{number}",
                    conflict_id="c",
                    choices="{}",
                    fields="[]",
                    decided_by="ada",
                    decided_at=START,
                    outcome=outcome,
                    refused=[],
                    rule_id=rule_id,
                    answer="ours",
                )
    await migrate(url, "conflict_service")
    async with AsyncSession(engine) as session:
        assert await outcomes(session, "church", ["r1", "r2"]) == {"r1": Outcomes(1, 3, 2, 1), "r2": Outcomes(1)}
    await engine.dispose()
