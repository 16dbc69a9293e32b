"""What tests of services need: real servers, fresh databases, keys and tokens, a running app, patience.

The pytest fixtures are in `servicekit.testing.plugin`, and are available wherever servicekit is installed.
"""

from servicekit.testing.databases import Databases
from servicekit.testing.keys import KeyRing
from servicekit.testing.serving import Served, serve, unstarted
from servicekit.testing.statements import statements
from servicekit.testing.time import FakeClock, eventually
from servicekit.testing.wiring import assert_migrated, assert_wiring

__all__ = [
    "Databases",
    "FakeClock",
    "KeyRing",
    "Served",
    "assert_migrated",
    "assert_wiring",
    "eventually",
    "serve",
    "statements",
    "unstarted",
]
