"""One sqlite3 file as a plain key → JSON store; memory is primary, the file is only read at start."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Store:
    """Buckets of key → JSON value. Writes are buffered until `commit`, which survives a SIGKILL of the process."""

    def __init__(self, path: Path | None) -> None:
        """`None` keeps nothing: every method works and forgets."""
        raise NotImplementedError

    def put(self, bucket: str, key: str, value: Any) -> None:
        """Insert or replace."""

    def put_many(self, bucket: str, items: Iterable[tuple[str, Any]]) -> None:
        """Insert or replace many."""

    def delete(self, bucket: str, key: str) -> None:
        """Forget a key; unknown keys are fine."""

    def get(self, bucket: str, key: str) -> Any | None:
        """The value or None."""

    def items(self, bucket: str) -> Iterator[tuple[str, Any]]:
        """All of a bucket."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget everything."""

    def commit(self) -> None:
        """Make what was written since the last commit durable against the death of the process."""

    def close(self) -> None:
        """Commit and close the file."""
