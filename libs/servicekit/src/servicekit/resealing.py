"""Puts stored secrets under the current key, so that old keys can go (`python -m <service> reencrypt`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from cryptography.fernet import InvalidToken
from sqlalchemy import ColumnElement, select

from servicekit.db.sessions import Sessions
from servicekit.vault import Vault

BATCH: Final = 200
"""Rows of one transaction."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Resealed:
    """Numbers of rows."""

    done: int
    unreadable: int
    """Left as they are, because their key is missing."""


async def reseal(
    sessions: Sessions, vault: Vault, kind: type[Any], columns: Sequence[str], *where: ColumnElement[bool]
) -> Resealed:
    """Re-encrypt columns of the rows of a mapped class with an `id`; None stays None.

    Rows are locked meanwhile, so that nobody's change is overwritten.
    """
    done = unreadable = 0
    last = None
    while True:
        async with sessions.begin() as session:
            query = select(kind).where(*where).order_by(kind.id).limit(BATCH).with_for_update()
            rows = (await session.scalars(query if last is None else query.where(kind.id > last))).all()
            for row in rows:
                try:
                    _reseal(vault, row, columns)
                except InvalidToken:
                    unreadable += 1
                    log.warning("a secret cannot be decrypted", table=kind.__tablename__, id=str(row.id))
                else:
                    done += 1
        if len(rows) < BATCH:
            return Resealed(done, unreadable)
        last = rows[-1].id


def _reseal(vault: Vault, row: Any, columns: Sequence[str]) -> None:
    """InvalidToken for the last of the columns that cannot be decrypted; all others are re-encrypted."""
    failed: InvalidToken | None = None
    for name in columns:
        if (sealed := getattr(row, name)) is not None:
            try:
                setattr(row, name, vault.reseal(sealed))
            except InvalidToken as error:
                failed = error
    if failed is not None:
        raise failed
