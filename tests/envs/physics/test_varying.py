"""Fields of the model that vary from episode to episode: each row is of a model of its own."""

import re

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs import TaskError
from envs.physics.engines import make_physics
from envs.physics.varying import derive, without_short_cuts
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
FIELDS = ("qpos", "qvel", "xpos")
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
    fields = (*FIELDS, "cfrc_ext" if reading == "gymnasium" else "qfrc_constraint")
    physics = make_physics(
        engine, model, fields, 2, settling_steps=3, reading=reading, varied=tuple(own[0])
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


# What MuJoCo's compiler makes short cuts for, and the opposite of each.
SHORT_CUTS = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="5 5 1" friction="0.1 0.005 0.0001"/>
    <body name="slider" pos="0 3 1">
      <joint type="slide" axis="1 0 0" damping="0.5" armature="0.1"/>
      <joint type="slide" axis="0 1 0" damping="0.5"/>
      <geom size="0.1" mass="1.1"/>
    </body>
    <body name="box" pos="0 -3 2">
      <joint type="free" damping="0.3"/> <geom type="box" size="0.1 0.15 0.2" mass="1.2"/>
    </body>
    <body name="puck" pos="0 0 0.11">
      <joint type="slide" axis="1 0 0"/> <joint type="slide" axis="0 0 1" damping="3"/>
      <joint axis="0 1 0" pos="0 0 0.01"/>
      <geom size="0.1" mass="1.3" friction="0.4 0.005 0.0001" solref="0.02 1"/>
    </body>
    <body name="arm" pos="3 0 1.5">
      <joint name="shoulder" axis="0 1 0" damping="0.2" frictionloss="0.05"/>
      <geom type="capsule" size="0.05 0.2" pos="0.2 0 0" mass="0.7"/>
      <body name="hand" pos="0.4 0 0">
        <inertial pos="0.1 0 0" mass="0.5" diaginertia="0.01 0.02 0.03"/>
        <joint name="elbow" axis="0 1 0" range="-0.3 0.3" limited="true" stiffness="0.6"/>
        <geom type="capsule" size="0.05 0.1" pos="0.1 0 0"/> <site name="tip" pos="0.2 0 0"/>
      </body>
    </body>
    <body name="wheel" pos="-3 0 2">
      <joint type="hinge" axis="0 0 1" damping="0.03"/>
      <geom type="box" size="0.1 0.2 0.3" mass="1.4"/>
    </body>
    <body name="globe" pos="-3 3 2">
      <joint type="ball" damping="0.01"/> <geom type="box" size="0.1 0.2 0.3" mass="1.5"/>
    </body>
  </worldbody>
  <tendon>
    <fixed stiffness="0.3" damping="0.1">
      <joint joint="shoulder" coef="1"/> <joint joint="elbow" coef="0.5"/>
    </fixed>
  </tendon>
  <actuator>
    <motor joint="shoulder" gear="2" forcerange="-1.5 1.5"/>
    <position joint="elbow" kp="3" kv="0.2"/>
  </actuator>
  <sensor>
    <framepos objtype="site" objname="tip"/> <framelinvel objtype="site" objname="tip"/>
    <subtreecom body="arm"/> <subtreelinvel body="arm"/> <subtreeangmom body="arm"/>
  </sensor>
</mujoco>
"""
CHANGES = [
    ('mass="1.1"', 'mass="2.1"'),
    ('armature="0.1"', 'armature="0.4"'),
    ('mass="1.2"', 'mass="2.2"'),
    ('size="0.1 0.15 0.2"', 'size="0.2 0.1 0.15"'),
    ('mass="1.3"', 'mass="0.9"'),
    ('friction="0.4 ', 'friction="0.8 '),
    ('solref="0.02 1"', 'solref="0.05 0.5"'),
    ('mass="0.7"', 'mass="1.7"'),
    ('inertial pos="0.1 0 0"', 'inertial pos="0.15 0 0.05"'),
    ('diaginertia="0.01 0.02 0.03"', 'diaginertia="0.02 0.05 0.04"'),
    ('mass="0.5"', 'mass="0.9"'),
    ('size="0.05 0.2" pos="0.2 0 0"', 'size="0.05 0.2" pos="0.3 0 0"'),
    ('damping="0.2"', 'damping="0.9"'),
    ('frictionloss="0.05"', 'frictionloss="0.2"'),
    ('name="elbow"', 'name="elbow" frictionloss="0.1" damping="0.2"'),
    ('name="shoulder"', 'name="shoulder" stiffness="0.5"'),
    ('range="-0.3 0.3"', 'range="-0.1 0.2"'),
    ('stiffness="0.6"', 'stiffness="2" springref="0.1"'),
    ('pos="3 0 1.5"', 'pos="3 0 1.8"'),
    ('name="hand" pos="0.4 0 0"', 'name="hand" pos="0.5 0 0.1"'),
    ('name="tip" pos="0.2 0 0"', 'name="tip" pos="0.3 0.1 0"'),
    ('stiffness="0.3" damping="0.1"', 'stiffness="1.3" damping="0.3"'),
    ('gear="2"', 'gear="3"'),
    ('forcerange="-1.5 1.5"', 'forcerange="-0.5 0.5"'),
    ('kp="3" kv="0.2"', 'kp="5" kv="0.6"'),
    ('mass="1.4"', 'mass="0.8"'),
    ('mass="1.4"', 'mass="1.4" pos="0.2 0.1 0"'),
    ('mass="1.5"', 'mass="0.9"'),
    ('pos="0 0 0.01"', 'pos="0 0 0.03"'),
]
# Has to follow by itself, or is only looked at where bodies have more than one geom.
FOLLOWS = {"body_subtreemass", "dof_M0", "geom_rbound", "geom_aabb", "bvh_aabb", "dof_length"}


def compiled(text: str, old: str = "", new: str = "") -> mujoco.MjModel:
    assert not old or text.count(old) == 1
    return mujoco.MjModel.from_xml_string(text.replace(old, new))


def differing(one: mujoco.MjModel, other: mujoco.MjModel) -> set[str]:
    """Names of what the compiler made differently, in numbers."""
    names = [n for n in dir(one) if getattr(getattr(one, n, None), "dtype", None) == np.float64]
    return {n for n in names if not np.array_equal(getattr(one, n), getattr(other, n))}


def swing(engine: str, model: mujoco.MjModel, own: list[dict]) -> dict:
    """`(rows, steps, ...)` fields of models with these fields."""
    physics = make_physics(engine, model, ("qpos", "qvel", "sensordata"), 2, varied=tuple(own[0]))
    assert not any(map(physics.why_fixed, set(own[0]) - {"jnt_pos", "body_ipos"}))
    varied = {name: jnp.stack([row[name] for row in own]) for name in own[0]}
    qpos, qvel = jnp.asarray(model.qpos0, jnp.float32), jnp.linspace(0.6, -0.8, model.nv)

    def run(_, varied):
        def step(state, _):
            state = physics.step(state, jnp.array((0.9, 0.2)))
            return state, state.fields

        return jax.lax.scan(step, physics.reset(qpos, qvel, None, varied), length=40)[1]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(jnp.zeros(len(own)), varied))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_is_of_the_model_that_would_have_been_compiled(engine):
    """Whatever the compiler made of the field: the oracle is the C engine with that model."""
    if engine == "warp":
        need_warp()
    blank = compiled(SHORT_CUTS)
    models = [compiled(SHORT_CUTS, *change) for change in CHANGES]
    names = set().union(*(differing(blank, model) for model in models)) - FOLLOWS
    own = [{n: jnp.asarray(getattr(model, n), jnp.float32) for n in names} for model in models]
    together = swing(engine, blank, own)
    unchanged = swing("mujoco", blank, [{}])
    for row, (model, change) in enumerate(zip(models, CHANGES, strict=True)):
        alone = swing("mujoco", model, [{}])
        moved = 0.0
        for name, values in alone.items():
            tolerance = 2e-5 if engine == "mujoco" else 2e-4
            np.testing.assert_allclose(
                together[name][row], values[0], rtol=tolerance, atol=tolerance, err_msg=str(change)
            )
            moved = max(moved, np.abs(values - unchanged[name]).max())
        assert moved > 1e-3, change


@pytest.mark.parametrize("kind", ["sphere", "capsule", "cylinder", "ellipsoid", "box"])
def test_the_bounds_of_a_geom_follow_from_its_size(kind):
    text = f'<mujoco><worldbody><geom type="{kind}" size="0.1 0.2 0.3"/></worldbody></mujoco>'
    wanted = compiled(text, "0.1 0.2 0.3", "0.25 0.1 0.2")
    found = derive(compiled(text), {"geom_size": jnp.asarray(wanted.geom_size, jnp.float32)})
    for name in ("geom_rbound", "geom_aabb"):
        np.testing.assert_allclose(found[name], getattr(wanted, name), rtol=1e-6)


def test_contacts_are_found_outside_of_what_the_model_would_have_allowed():
    """In the boxes around several geoms of one body, too."""
    text = """<mujoco><worldbody>
      <body><freejoint/> <geom size="0.1"/> <geom size="0.1" pos="1 0 0"/> </body>
      <body><freejoint/> <geom size="0.1" pos="0 0 1"/> <geom size="0.1" pos="1 0 1"/> </body>
    </worldbody></mujoco>"""
    model = compiled(text)
    physics = make_physics("mujoco", model, ("qpos",), 1, varied=("geom_size",))
    sizes = jnp.asarray(model.geom_size, jnp.float32)
    grown = jnp.stack([sizes, sizes.at[2, 0].set(0.95)])
    qpos = jnp.tile(jnp.asarray(model.qpos0, jnp.float32), (2, 1))
    found = jax.vmap(lambda qpos, size: physics.contacts(qpos, {"geom_size": size}))(qpos, grown)
    np.testing.assert_array_equal(found, [0, 1])


@pytest.mark.parametrize("name", ["body_iquat", "geom_quat", "site_pos"])
def test_frames_that_vary_are_not_taken_from_others(name):
    model = without_short_cuts(compiled(SHORT_CUTS), (name,))
    for frames in (model.body_sameframe, model.geom_sameframe, model.site_sameframe):
        assert not frames.any()


@pytest.mark.parametrize(
    ("engine", "name", "said"),
    [
        ("mujoco", "body_gravcomp", "no body has gravcomp in the model: give one of them any"),
        ("mujoco", "body_ipos", 'of box, globe, slider is diagonal: .*simple="false"'),
        ("mujoco", "jnt_axis", "is diagonal"),
        ("mujoco", "body_mass", ""),
        ("mjx", "body_gravcomp", "no body has gravcomp"),
        ("mjx", "body_ipos", ""),
    ],
)
def test_why_a_field_is_fixed(engine, name, said):
    physics = make_physics(engine, compiled(SHORT_CUTS), ("qpos",), 1, varied=(name,))
    assert re.search(said, physics.why_fixed(name)) and bool(said) == bool(physics.why_fixed(name))


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
        (
            "mujoco",
            "mesh_vert",
            (0, 3),
            "in physics mujoco mesh_vert cannot vary: it is one for all simulations",
        ),
        ("mjx", "bvh_aabb", None, "in physics mjx bvh_aabb cannot vary"),
        ("warp", "geom_type", (3,), "in physics warp geom_type cannot vary"),
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
