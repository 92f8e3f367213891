"""`python -m tests.parity`: see `command`."""

import sys

from purejax_simba import stopping

if __name__ == "__main__":
    stopping.hear()  # while the rest is imported, too
    from tests.parity.command import main

    sys.exit(main())
