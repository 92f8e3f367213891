"""Fields of the model that vary from episode to episode: each row is of a model of its own."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs import TaskError
from envs.physics.engines import make_physics
from envs.task import Task, TaskEnvironment
from tests.helpers.originals import need_warp

MODEL = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="5 5 1"/>
    <body name="ball" pos="0 0 0.3"> <freejoint/> <geom size="0.1" mass="1"/> </body>
    <body name="arm" pos="2 0 1">
      <joint name="hinge" axis="0 1 0"/> <geom type="capsule" size="0.05 0.2" pos="0.2 0 0"/>
    </body>
  </worldbody>
  <actuator> <motor joint="hinge" ctrllimited="true" ctrlrange="-1 1"/> </actuator>
</mujoco>
"""
FIELDS = ("qpos", "qvel", "xpos", "cfrc_ext")
STEPS = 60
ENGINES = ["mujoco", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mjx", "warp"))]


def models() -> list[mujoco.MjModel]:
    """Three that differ in the size of the ball and in the place of the arm."""
    varied = []
    for size, height in ((0.1, 1.0), (0.2, 1.0), (0.15, 1.1)):
        model = mujoco.MjModel.from_xml_string(MODEL)
        model.geom_size[1, 0] = size
        model.geom_rbound[1] = size
        model.body_pos[2, 2] = height
        varied.append(model)
    return varied


def fields_of(model: mujoco.MjModel) -> dict[str, jax.Array]:
    names = ("geom_size", "geom_rbound", "body_pos")
    return {name: jnp.asarray(getattr(model, name), jnp.float32) for name in names}


def play(engine: str, model: mujoco.MjModel, own: list[dict], reading: str) -> dict:
    """Contacts at the start and `(steps, rows, ...)` fields, from one state in all rows."""
    physics = make_physics(
        engine, model, FIELDS, 2, settling_steps=3, reading=reading, varied=tuple(own[0])
    )
    varied = jax.tree.map(lambda *rows: jnp.stack(rows), *own)
    qpos = jnp.asarray(model.qpos0, jnp.float32).at[2].set(0.18)
    starts = jnp.tile(qpos, (len(own), 1))

    def run(qpos, varied):
        def step(state, _):
            state = physics.step(state, jnp.full(1, 0.5))
            return state, state.fields

        state = physics.reset(qpos, jnp.zeros(model.nv), None, varied)
        _, path = jax.lax.scan(step, state, length=STEPS)
        return {"contacts": physics.contacts(qpos, varied), "first": state.fields, "path": path}

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(starts, varied))


@pytest.mark.parametrize("reading", ["dm_control", "gymnasium"])
@pytest.mark.parametrize("engine", ENGINES)
def test_each_row_is_of_its_own_model(engine, reading):
    """To the bit in the C engine, though all rows begin in the same state."""
    if engine == "warp":
        need_warp()
    different = models()
    blank = mujoco.MjModel.from_xml_string(MODEL)
    together = play(engine, blank, [fields_of(model) for model in different], reading)
    np.testing.assert_array_equal(together["contacts"], [0, 1, 0])
    for row, model in enumerate(different):
        # The numbers that the row was given, in float32.
        for name, values in fields_of(model).items():
            getattr(model, name)[:] = values
        alone = play(engine, model, [{}], reading)
        ours = jax.tree.map(lambda leaf, row=row: leaf[row], together)
        theirs = jax.tree.map(lambda leaf: leaf[0], alone)
        if engine == "mujoco":
            jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        else:
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs
            )
    heights = together["path"]["qpos"][:, -1, 2]
    np.testing.assert_allclose(heights, [0.1, 0.2, 0.15], atol=0.02)


class Rolling(Task):
    """A ball whose size is another in every episode, at most that for which contacts are sought."""

    fields = ("qpos",)
    most_attempts = 50

    def __init__(self):
        self.model = mujoco.MjModel.from_xml_string(MODEL)
        self.model.geom_rbound[1] = 0.2

    def initialize(self, key):
        height = jax.random.uniform(key, minval=0.05, maxval=0.3)
        return (
            jnp.asarray(self.model.qpos0, jnp.float32).at[2].set(height),
            jnp.zeros(self.model.nv),
            (),
        )

    def vary(self, key):
        size = jax.random.uniform(key, minval=0.05, maxval=0.2)
        return {"geom_size": jnp.asarray(self.model.geom_size, jnp.float32).at[1, 0].set(size)}

    def observe(self, data, variables):
        return data.qpos

    def reward(self, data, variables):
        return data.qpos[0]


def test_an_episode_keeps_what_it_drew_and_the_next_draws_anew():
    """A start in which nothing touches is one for the size that was drawn; pictures show it."""
    environment = TaskEnvironment(Rolling(), "mujoco")
    keys = jax.random.split(jax.random.key(0), 20)
    states, _ = jax.jit(jax.vmap(environment.reset))(keys)
    sizes = np.asarray(states.physics.varied["geom_size"][:, 1, 0])
    heights = np.asarray(states.physics.fields["qpos"][:, 2])
    assert len(set(sizes)) == 20 and (heights > sizes).all() and (heights < 0.15).any()
    following, _ = jax.jit(jax.vmap(environment.step))(states, jnp.zeros((20, 1)))
    np.testing.assert_array_equal(following.physics.varied["geom_size"][:, 1, 0], sizes)
    ended = jnp.arange(20) == 3
    begun, _ = jax.jit(jax.vmap(environment.restart))(following, keys[::-1], ended)
    anew = np.asarray(begun.physics.varied["geom_size"][:, 1, 0])
    np.testing.assert_array_equal(anew != sizes, ended)
    model = environment.mujoco_model()
    environment.pose(model, mujoco.MjData(model), jax.tree.map(lambda leaf: leaf[5], following))
    assert model.geom_size[1, 0] == sizes[5]


@pytest.mark.parametrize(
    ("engine", "name", "shape", "said"),
    [
        (
            "mujoco",
            "geom_size",
            (3,),
            r"vary draws geom_size, \(3,\), and of the model it is \(3, 3\)",
        ),
        ("mujoco", "geom_sizes", (3, 3), r"vary draws geom_sizes, .* is None"),
        ("mujoco", "mesh_vert", (0, 3), "in physics mujoco mesh_vert cannot vary"),
        ("mjx", "bvh_aabb", None, "in physics mjx bvh_aabb cannot vary from episode to episode"),
        (
            "warp",
            "geom_type",
            (3,),
            "in physics warp geom_type cannot vary from episode to episode",
        ),
    ],
)
def test_what_cannot_vary_is_refused(engine, name, shape, said, monkeypatch):
    if engine == "warp":
        need_warp()
    task = Rolling()
    values = jnp.zeros(getattr(task.model, name).shape if shape is None else shape)
    monkeypatch.setattr(task, "vary", lambda key: {name: values})
    with pytest.raises(TaskError, match=said):
        TaskEnvironment(task, engine)
