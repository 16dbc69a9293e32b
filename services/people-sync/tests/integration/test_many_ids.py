"""A query with more ids than a PostgreSQL statement may have parameters."""

from typing import Any
from uuid import UUID

from people_sync.usecases.record.families import record_ids
from people_sync.usecases.record.writer import Writer


async def test_a_person_is_found_among_all_people_of_a_church(church: Any, writer: Writer) -> None:
    ann = (await church.add())["id"]
    await church.link(ann, "7")
    async with writer.job.sessions() as session:
        found = await record_ids(session, writer, [str(number) for number in range(40_000)])
    assert found == {"7": UUID(ann)}
