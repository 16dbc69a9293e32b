"""`python -m local_stack`, behind `make run`."""

import sys

from local_stack.launcher import main

if __name__ == "__main__":
    sys.exit(main())
