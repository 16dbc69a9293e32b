"""Real PostgreSQL and real Apache Kafka from packages, for `make run` and for tests.

Needs only the extra ``servicekit[local]``. A handle owns one directory with data, log, port and password. The data
survives ``stop()``, ``kill()`` and the end of the process. The server ends with the process that started it, however
that process ends.
"""

from servicekit.local.kafka import LocalKafka
from servicekit.local.postgres import LocalPostgres
from servicekit.local.process import LocalStackError, default_cache, free_port

__all__ = ["LocalKafka", "LocalPostgres", "LocalStackError", "default_cache", "free_port"]
