"""`python -m local_stack`, behind `make run`."""

import os
import signal
import sys


def _stop_at_once(_number: int, _frame: object) -> None:
    os.write(sys.stdout.fileno(), b"stopped; nothing was started yet\n")
    os._exit(0)


if __name__ == "__main__":
    # Before the imports, which take a second: nothing runs until they are done. SIGINT also where it was ignored
    # by whoever started this, as a shell does for what it starts in the background.
    signal.signal(signal.SIGINT, _stop_at_once)
    signal.signal(signal.SIGTERM, _stop_at_once)

    from local_stack.launcher import main

    sys.exit(main())
