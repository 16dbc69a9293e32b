"""`python -m local_stack`, behind `make run`."""

import os
import signal
import sys


def _stop_at_once(_number: int, _frame: object) -> None:
    os.write(sys.stdout.fileno(), b"stopped; nothing was started yet\n")
    os._exit(0)


if __name__ == "__main__":
    # Before the imports, which take a second. Also resets a SIGINT that the parent ignored, as shells do for background
    # processes.
    signal.signal(signal.SIGINT, _stop_at_once)
    signal.signal(signal.SIGTERM, _stop_at_once)

    from local_stack.launcher import main

    sys.exit(main())
