"""The commands where the package is installed: `train.py` and `sweep.py` by name.

purejax-simba train --task dmc/cheetah-run
python -m purejax_simba sweep --grid agent.learning-rate=1e-4,3e-4
"""

import sys

from purejax_simba import stopping


def main() -> int:
    """Does what the first word says; returns the exit status."""
    stopping.hear()  # while the rest is imported, too
    import argparse
    import importlib

    program = "purejax-simba"
    parser = argparse.ArgumentParser(prog=program, description="Trains SimbaV2 and other agents.")
    parser.add_argument("command", choices=("train", "sweep"), help="`train --help` says more")
    name = parser.parse_args(sys.argv[1:2]).command
    sys.argv[:2] = [f"{program} {name}"]
    return importlib.import_module(f"purejax_simba.commands.{name}").main()


if __name__ == "__main__":
    sys.exit(main())
