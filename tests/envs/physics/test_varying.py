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


PENDULUM = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body name="arm" pos="0 0 1">
      <joint name="hinge" axis="0 1 0" frictionloss="{friction}"/>
      <inertial pos="{arm}" mass="{mass}" diaginertia="{inertia} 0.02 0.02"/>
      <geom size="0.1" pos="{geom}" contype="0" conaffinity="0"/> <site name="tip" pos="{site}"/>
    </body>
    <body name="ball" pos="2 0 1">
      <freejoint/> <inertial pos="{ball}" mass="{mass}" diaginertia="{inertia} 0.02 0.02"/>
      <geom size="0.1" contype="0" conaffinity="0"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="hinge" ctrllimited="true" ctrlrange="-1 1"/>
    <motor site="tip" gear="0 0 0 0 1 0" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""
# Where all frames are the same and all mass matrices diagonal, and something else.
PLAIN = {"arm": "0 0 0", "ball": "0 0 0", "geom": "0 0 0", "site": "0 0 0"}
PLAIN |= {"mass": "1", "inertia": "0.02", "friction": "0"}
OTHERS = {
    "inertias": ({"arm": "0.1 0 0.05"}, ("body_ipos", "body_iquat")),
    "masses": ({"mass": "3", "inertia": "0.04"}, ("body_mass", "body_inertia")),
    "geoms": ({"geom": "0.1 0.2 0"}, ("geom_pos",)),
    "friction": ({"friction": "0.3"}, ("dof_frictionloss",)),
    "sites": ({"site": "0.1 0.2 0"}, ("site_pos",)),
}


@pytest.mark.parametrize("changed", OTHERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_compiler_found_unnecessary_counts_once_it_varies(engine, changed):
    """As in a model that was compiled so."""
    if engine == "warp":
        need_warp()
    other, names = OTHERS[changed]
    model = mujoco.MjModel.from_xml_string(PENDULUM.format(**PLAIN))
    expected = mujoco.MjModel.from_xml_string(PENDULUM.format(**(PLAIN | other)))
    fields = ("qpos", "qvel", "geom_xpos", "site_xpos")
    physics = make_physics(engine, model, fields, STEPS, reading="gymnasium", varied=names)
    varied = {name: jnp.asarray(getattr(expected, name), jnp.float32) for name in names}
    qpos = jnp.asarray(model.qpos0, jnp.float32)
    qvel = jnp.linspace(-1.0, 1.0, model.nv)

    def run():
        start = physics.reset(qpos, qvel, None, varied)
        return physics.step(start, jnp.array([0.5, 0.5])).fields

    data = mujoco.MjData(expected)
    data.qvel[:], data.ctrl[:] = qvel, 0.5
    mujoco.mj_step(expected, data, STEPS)
    for name, found in jax.jit(run)().items():
        np.testing.assert_allclose(found, getattr(data, name), rtol=1e-4, atol=1e-4, err_msg=name)


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


def test_places_for_which_the_mass_matrix_has_no_room_are_refused(monkeypatch):
    """Of the ball, which is free; not of the arm, with a single joint."""
    task = Rolling()
    places = jnp.asarray(task.model.body_ipos, jnp.float32)
    monkeypatch.setattr(task, "vary", lambda key: {"body_ipos": places.at[2, 1].add(0.1)})
    TaskEnvironment(task, "mujoco")
    monkeypatch.setattr(task, "vary", lambda key: {"body_ipos": places.at[1, 1].add(0.1)})
    with pytest.raises(TaskError, match="of body ball is, and in its model the mass"):
        TaskEnvironment(task, "mujoco")


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
        ("mujoco", "body_gravcomp", None, "body_gravcomp, and no body of the model has any"),
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
