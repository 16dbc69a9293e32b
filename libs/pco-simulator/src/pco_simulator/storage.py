"""One sqlite3 file as a plain key → JSON store; memory is primary, the file is only read at start."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson


class Store:
    """Buckets of key → JSON value.

    Writes become durable with `commit`: in WAL mode with `synchronous=NORMAL` they survive a SIGKILL of the
    process (not a power cut, which no test stages). Without a path the store keeps no file.
    """

    def __init__(self, path: Path | None) -> None:
        self._db: sqlite3.Connection | None = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (bucket TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (bucket, key))"
            " WITHOUT ROWID"
        )
        self._db = db

    def put(self, bucket: str, key: str, value: Any) -> None:
        """Insert or replace one value."""
        self.put_many(bucket, [(key, value)])

    def put_many(self, bucket: str, items: Iterable[tuple[str, Any]]) -> None:
        """Insert or replace many values."""
        if self._db is None:
            return
        self._begin(self._db)
        self._db.executemany(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
            ((bucket, key, orjson.dumps(value)) for key, value in items),
        )

    def delete(self, bucket: str, key: str) -> None:
        """Delete a key; an unknown key is ignored."""
        if self._db is None:
            return
        self._begin(self._db)
        self._db.execute("DELETE FROM documents WHERE bucket = ? AND key = ?", (bucket, key))

    def get(self, bucket: str, key: str) -> Any | None:
        """The value, or None."""
        if self._db is None:
            return None
        found = self._db.execute("SELECT body FROM documents WHERE bucket = ? AND key = ?", (bucket, key)).fetchone()
        return None if found is None else orjson.loads(found[0])

    def items(self, bucket: str) -> Iterator[tuple[str, Any]]:
        """All values of a bucket, by key as text."""
        if self._db is None:
            return
        for key, body in self._db.execute("SELECT key, body FROM documents WHERE bucket = ? ORDER BY key", (bucket,)):
            yield key, orjson.loads(body)

    def clear(self) -> None:
        """Forget everything."""
        if self._db is None:
            return
        self._begin(self._db)
        self._db.execute("DELETE FROM documents")

    def commit(self) -> None:
        """Make everything written since the last commit survive the death of the process."""
        if self._db is not None and self._db.in_transaction:
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Commit and close the file."""
        if self._db is not None:
            self.commit()
            self._db.close()
            self._db = None

    @staticmethod
    def _begin(db: sqlite3.Connection) -> None:
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
