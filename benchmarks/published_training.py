"""One run of the published SimbaV2 code, unchanged but for where its numbers go.

A program for an interpreter of its own: it imports nothing of this project, and the published
packages come from a checkout of https://github.com/DAVIAN-Robotics/SimbaV2.

    <python> benchmarks/published_training.py <checkout> <metrics.csv> seed=0 env=dmc ...

The rest of the command line are overrides of its configuration. A finished run appends its
evaluations to the file, which has the columns of the published result files.
"""

import csv
import os
import sys
import types
from unittest import mock

COLUMNS = ("exp_name", "env_name", "seed", "metric", "env_step", "value")
METRICS = ("avg_return", "avg_length", "avg_success")
SUITES = {"dmc": "dmc", "mujoco": "mujoco"}


class Rows:
    """In the place of the published logger: keeps the evaluations."""

    kept: list = []  # noqa: RUF012, of the only run of this process

    def __init__(self, configuration):
        self._configuration = configuration
        self._metrics = {}

    def update_metric(self, **metrics):
        """Takes in numbers of the step that is logged next."""
        self._metrics.update({name: metrics[name] for name in METRICS if name in metrics})

    def log_metric(self, step):
        """Makes rows of them."""
        task = self._configuration.env
        name = f"{SUITES[task.env_type]}/{task.env_name}"
        for metric, value in self._metrics.items():
            row = ("published", name, self._configuration.seed, metric, int(step), float(value))
            self.kept.append(row)
            print(*row, flush=True)

    def reset(self):
        """Forgets the numbers that were logged."""
        self._metrics = {}


def main():
    """Trains with the published program."""
    checkout, path, *overrides = sys.argv[1:]
    sys.path.insert(0, checkout)
    # Suites and services that it imports whether they are used or not.
    for name in ("wandb", "d4rl", "moviepy"):
        sys.modules.setdefault(name, types.ModuleType(name))
    never = 10**12
    every = [
        f"{what}_per_interaction_step={never}"
        for what in ("metrics", "recording", "save_checkpoint", "save_buffer")
    ]
    import run_online

    with mock.patch.object(run_online, "WandbTrainerLogger", Rows):
        # Its configuration is found relative to its program.
        os.chdir(checkout)
        run_online.run(
            {"config_path": "./configs", "config_name": "online_rl", "overrides": every + overrides}
        )
    is_new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerows(Rows.kept)


if __name__ == "__main__":
    main()
