"""Kills its own process with SIGKILL at an instant chosen by a test, or records the instants.

An instant is the n-th commit of a kind (the set of written tables), right before or right after it, or the n-th answer
of Planning Center of a kind (method and path), before it is used.
"""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from pco_client.client import Observation
from servicekit.jobs.worker import Claimer
from synckit.resources import SyncResources, unobserved

VARIABLE: Final = "SABOTAGE"
_WRITE: Final = re.compile(r'(?:^|\))\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+"?(\w+)"?', re.IGNORECASE)
"""A statement that writes, or one that writes at the end of its `WITH`."""
_TABLES: Final = "sabotage.tables"
KindOf: TypeAlias = Callable[[str, str], str]
"""The kind of a request, by method and path."""


class Saboteur:
    """`kind_of`: names requests. `record`: a file that gets a line per instant.

    `kill`: `[what, kind, nth]`, the instant at which to die.

    `only`: the one kind of job that this process takes.
    """

    def __init__(
        self, kind_of: KindOf, *, record: str | None = None, kill: list[Any] | None = None, only: str | None = None
    ) -> None:
        self._kind_of = kind_of
        self._record = Path(record) if record else None
        self._kill = tuple(kill) if kill else None
        self._only = only
        self._seen: Counter[tuple[str, str]] = Counter()

    def at(self, what: str, kind: str) -> None:
        """Note an instant of a kind, and kill the process if it is the chosen one."""
        self._seen[what, kind] += 1
        if self._record:
            with self._record.open("a") as lines:
                lines.write(f"{what}\t{kind}\n")
        if self._kill == (what, kind, self._seen[what, kind]):
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Watch all commits and answers of this process."""
        event.listen(Engine, "before_cursor_execute", _note_table)
        event.listen(Engine, "rollback", _forget_tables)
        commit: Any = DefaultDialect.do_commit

        def do_commit(dialect: Any, connection: Any) -> None:
            tables = connection.info.pop(_TABLES, None)
            kind = " ".join(sorted(tables or ()))
            if tables:
                self.at("before commit", kind)
            commit(dialect, connection)
            if tables:
                self.at("after commit", kind)

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
        client: Any = SyncResources.planning_center

        def watched(
            resources: SyncResources, organization_id: str, pco_organization_id: str, observer: Any = unobserved
        ) -> Any:
            def observed(observation: Observation) -> None:
                if observation.status is not None:
                    self.at("answer", self._kind_of(observation.method, observation.path))
                observer(observation)

            return client(resources, organization_id, pco_organization_id, observed)

        SyncResources.planning_center = watched  # type: ignore[assignment, method-assign]
        if self._only:
            claim: Any = Claimer._claim  # noqa: SLF001 - every claim of this process

            async def only(claimer: Any) -> Any:
                return await claim(claimer) if claimer._worker.kind == self._only else None  # noqa: SLF001

            Claimer._claim = only  # type: ignore[assignment, method-assign]  # noqa: SLF001


def _note_table(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    if written := _WRITE.findall(statement):
        connection.info.setdefault(_TABLES, set()).update(written)


def _forget_tables(connection: Any) -> None:
    connection.info.pop(_TABLES, None)


def install_from_environment(kind_of: KindOf) -> None:
    """Install what the variable SABOTAGE asks for."""
    if VARIABLE in os.environ:
        Saboteur(kind_of, **json.loads(os.environ[VARIABLE])).install()
