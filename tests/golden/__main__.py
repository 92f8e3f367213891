"""Replays recorded numbers of published implementations.

`python -m tests.golden FILE.npz ...` prints how far ours are from them: of updates, the largest
relative l2 error over the leaves of each network after the first and after the last one. Beside it
is how large the error may be; the exit status is 1 if any is larger.
"""

if __name__ == "__main__":
    from purejax_simba import stopping

    stopping.hear()  # while the rest is imported, too

import argparse
import sys
from pathlib import Path

import numpy as np

from tests.golden import flash_sac, simba
from tests.golden.checks import Check


def replay(path: Path) -> list[Check]:
    """All checks of one file; which kind it is, its keys tell.

    Raises:
      ValueError: if it is of no kind that there is.
    """
    with np.load(path) as file:
        trace = {name: file[name] for name in file.files}
    kinds = {
        "obs_mean": simba.replay_normalisers,
        "single/reward": flash_sac.replay_normalisers,
        "uniform": flash_sac.replay_exploration,
        "batch0/index": flash_sac.replay_updates,
        "config": simba.replay_updates,
    }
    for key, replay_kind in kinds.items():
        if key in trace:
            return list(replay_kind(trace))
    raise ValueError(f"{path}: neither an update trace nor a normaliser stream")


def main() -> int:
    """Replays the files named on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz")
    failed = False
    for path in parser.parse_args().files:
        print(path)
        for what, error, tolerance in replay(path):
            verdict = "ok" if error <= tolerance else "BEYOND TOLERANCE"
            failed |= not error <= tolerance
            print(f"  {what:36s} {error:9.2e}  (tolerance {tolerance:.0e})  {verdict}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
