"""Trains many seeds of SimbaV2 at once, or evaluates a finished run.

The command is in `purejax_simba/commands/train.py`; installed, it is `purejax-simba train`.
"""

import sys

from purejax_simba import stopping

if __name__ == "__main__":
    stopping.hear()  # while the rest is imported, too
    from purejax_simba.commands.train import main

    sys.exit(main())
