"""Trains many configurations of SimbaV2, as many as can be in one program.

The command is in `purejax_simba/commands/sweep.py`; installed, it is `purejax-simba sweep`.
"""

import sys

from purejax_simba import stopping

if __name__ == "__main__":
    stopping.hear()  # while the rest is imported, too
    from purejax_simba.commands.sweep import main

    sys.exit(main())
