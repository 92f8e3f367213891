"""`python -m tests.parity`: see `command`."""

import sys

from tests.parity.command import main

if __name__ == "__main__":
    sys.exit(main())
