"""What the models for MJX leave out, against what their tasks say."""

import mujoco
import numpy as np
import pytest
from mujoco.mjx._src.collision_driver import geom_pairs, has_collision_fn

import envs
from envs.task import Task

ELLIPSOID, BOX, PLANE = (
    getattr(mujoco.mjtGeom, f"mjGEOM_{name}").value for name in ("ELLIPSOID", "BOX", "PLANE")
)
SIZES = ("nq", "nv", "na", "nu", "nbody", "ngeom", "nsite", "nsensordata")


def task_of(name: str) -> Task:
    return envs.make(f"dmc/{name}", "mujoco").unwrapped.task


def pairs_of(model: mujoco.MjModel) -> set[tuple[int, int]]:
    return {(int(first), int(second)) for first, second, _ in geom_pairs(model)}


def missing(task: Task) -> list[tuple[list[str], set[int]]]:
    """Names and types of the pairs that collide in the task's model, and not in that for MJX."""
    model = task.model
    lost = pairs_of(model) - pairs_of(task.mjx_model())
    return [
        ([model.geom(geom).name for geom in pair], set(model.geom_type[list(pair)].tolist()))
        for pair in lost
    ]


@pytest.mark.parametrize(
    "name", ["finger-spin", "fish-swim", pytest.param("dog-stand", marks=pytest.mark.slow)]
)
def test_models_for_mjx_have_the_same_parts_and_no_impossible_pair(name):
    task = task_of(name)
    adapted = task.mjx_model()
    assert all(getattr(adapted, size) == getattr(task.model, size) for size in SIZES)
    assert pairs_of(adapted) <= pairs_of(task.model)
    for pair in pairs_of(adapted):
        assert has_collision_fn(*adapted.geom_type[list(pair)])


def test_the_finger_lacks_its_decorations_only():
    lost = missing(task_of("finger-spin"))
    assert lost
    assert all(any("decoration" in name for name in names) for names, _ in lost)


def test_the_fish_has_no_forces_to_lose():
    task = task_of("fish-swim")
    assert task.model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONSTRAINT


@pytest.mark.slow
def test_the_dog_lacks_teeth_and_ellipsoids_on_boxes_only():
    model = task_of("dog-stand").model
    teeth = {model.geom(geom).name for geom in np.flatnonzero(model.geom_priority == 2)}
    assert len(teeth) == 42
    kinds = {name.split("_")[0] for name in teeth}
    assert kinds == {"Canine", "Incisors", "Molars", "Premolars"}
    lost = missing(task_of("dog-stand"))
    assert lost
    for names, types in lost:
        assert PLANE not in types
        assert teeth & set(names) or types == {ELLIPSOID, BOX}
