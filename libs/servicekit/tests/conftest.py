"""Makes tests/support importable, here and in the processes that tests start; fixtures around the sample service."""

import sys
from pathlib import Path

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
