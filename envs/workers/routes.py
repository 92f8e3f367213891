"""Who lives where: slots of workers, and the way of a batch to its slots."""

import threading
from dataclasses import dataclass, field

import numpy as np

from envs.workers.process import WorkerProcess


@dataclass(eq=False)
class Worker:
    """A process and its slots; `lock` belongs to whoever exchanges messages with it."""

    process: WorkerProcess
    slots: "list[Slot]" = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def new_slot(self) -> "Slot":
        """One more slot, empty until it is reset."""
        slot = Slot(self, len(self.slots))
        self.slots.append(slot)
        return slot

    def load(self) -> int:
        """Episodes under way."""
        return sum(slot.running for slot in self.slots)


@dataclass(eq=False)
class Slot:
    """Where a sub-environment lives, and how far its episode is.

    Attributes:
      worker, index: its place.
      episode: number of its episode.
      seed: of its episode.
      steps: taken, but for those that `route` has counted since.
      running: whether the episode has not ended.
      route: the batch that it was last stepped with.
    """

    worker: Worker
    index: int
    episode: int = -1
    seed: int = 0
    steps: int = 0
    running: bool = False
    route: "Route | None" = None


@dataclass(eq=False)
class Group:
    """The members of a batch that live in one worker.

    Attributes:
      worker: theirs.
      slots: theirs.
      rows: their rows in the batch.
      indices: of their slots in the worker.
      continues: whether each follows an episode in the same slot.
    """

    worker: Worker
    slots: list[Slot]
    rows: np.ndarray
    indices: np.ndarray
    continues: list[bool]


@dataclass(eq=False)
class Route:
    """Where the members of a batch are: the same at every step until an episode ends.

    Attributes:
      steps: `(N,)` that the episodes have taken; -1 for rows that have ended.
      active: `(N,)` 1 for rows that are stepped, else 0.
      groups: the active rows by worker.
    """

    steps: np.ndarray
    active: np.ndarray
    groups: list[Group]

    def end(self) -> None:
        """Gives the slots their counts back."""
        for group in self.groups:
            for slot, row in zip(group.slots, group.rows.tolist(), strict=True):
                slot.steps, slot.route = int(self.steps[row]), None


def group_by_worker(members: list[tuple[int, Slot, bool]]) -> list[Group]:
    """Members `(row, slot, continues)` by worker.

    The workers are always in the same order, so that two calls cannot wait for one another.
    """
    by_worker: dict[int, list[tuple[int, Slot, bool]]] = {}
    for member in members:
        by_worker.setdefault(id(member[1].worker), []).append(member)
    groups = []
    for key in sorted(by_worker):
        rows, slots, continues = zip(*by_worker[key], strict=True)
        indices = np.array([slot.index for slot in slots])
        groups.append(Group(slots[0].worker, list(slots), np.array(rows), indices, list(continues)))
    return groups


def send_reset(group: Group) -> None:
    """Asks the group's worker for new episodes."""
    seeds = [slot.seed for slot in group.slots]
    worker = group.worker
    worker.process.send_reset(len(worker.slots), group.indices.tolist(), seeds, group.continues)


def send_step(group: Group, actions: np.ndarray) -> None:
    """Asks the group's worker for a step with the group's rows of actions."""
    group.worker.process.send_step(group.indices, actions[group.rows])
