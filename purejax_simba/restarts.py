"""Seeds that diverged are trained anew as other seeds: which in place of which.

Runs of a program share their counters, so a run cannot begin again beside the others. Those that
diverged are therefore a program of their own, once the others are done; what of those diverges can
be trained anew in another round.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from purejax_simba import logging, resuming
from purejax_simba.checkpoint import STATE_DIRECTORY, Checkpoint, has_checkpoint
from purejax_simba.members import Entry


def round_directory(directory: Path, number: int) -> Path:
    """For the checkpoints of a round, from 1; 0 are the seeds that were asked for."""
    return directory / f"restart-{number}" if number else directory


def has_begun(directory: Path, number: int) -> bool:
    """Whether a round can go on from a checkpoint."""
    return has_checkpoint(round_directory(directory, number) / STATE_DIRECTORY)


def choose(entries: Sequence[Entry], number: int) -> None:
    """Chooses the seeds of a round, unless they were chosen before, and writes them down.

    Nothing is written if nothing has diverged.
    """
    before = [logging.read_replaced(entry.directory) for entry in entries]
    if all(len(rounds) >= number for rounds in before):
        return
    chosen = []
    for (config, directory, *_), rounds in zip(entries, before, strict=True):
        diverged = logging.read_diverged(directory)
        seeds = [seed for seed in logging.read_seeds(directory, config) if seed in diverged]
        first = config.seeds.stop + sum(map(len, rounds))
        chosen.append({seed: first + index for index, seed in enumerate(seeds)})
    if any(chosen):
        for entry, rounds, each in zip(entries, before, chosen, strict=True):
            logging.write_replaced(entry.directory, [*rounds[: number - 1], each])


def read(
    entries: Sequence[Entry], directory: Path, number: int
) -> tuple[list[Entry], Checkpoint | None]:
    """What a round trains, if anything, and where it was left.

    Args:
      entries: of the seeds that were asked for.
      directory: for the checkpoints of these.
      number: of the round.
    """
    chosen = []
    for config, place, *_ in entries:
        rounds = logging.read_replaced(place)
        if len(rounds) >= number and rounds[number - 1]:
            replaced = rounds[number - 1]
            seeds = list(config.seeds)
            for each in rounds[: number - 1]:
                seeds = [each.get(seed, seed) for seed in seeds]
            again = dataclasses.replace(
                config, seed=min(replaced.values()), num_seeds=len(replaced)
            )
            slots = [seeds.index(seed) for seed in replaced]
            chosen.append(Entry(again, place, logging.metrics_size(place), slots))
    if not (chosen and has_begun(directory, number)):
        return chosen, None
    checkpoint = resuming.find(round_directory(directory, number))
    sizes = checkpoint.notes["metrics_bytes"]
    chosen = [entry._replace(metrics_bytes=size) for entry, size in zip(chosen, sizes, strict=True)]
    return chosen, checkpoint


def is_any_left(entries: Sequence[Entry]) -> bool:
    """Whether a seed, or what came in its place, has not diverged."""
    return any(
        seed not in logging.read_diverged(entry.directory)
        for entry in entries
        for seed in logging.read_seeds(entry.directory, entry.config)
    )
