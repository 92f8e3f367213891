"""The C engine as a function: exact continuation, independent rows, harmless failures."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from jax import vmap
from mujoco import mjx

import envs
from envs.physics.base import OF_LAST_SUBSTEP
from envs.physics.engines import make_physics
from envs.physics.mujoco import MujocoPhysics
from envs.physics.worlds import simulate_together
from tests.helpers.originals import need_warp

FIELDS = ("qpos", "qvel", "xmat", "sensordata")


def make_hopper() -> MujocoPhysics:
    """A hopper: contacts, several substeps, sensors of all stages."""
    from envs.dmc.models import load_model

    return MujocoPhysics(load_model("hopper.xml"), FIELDS, substeps=4)


def starts(physics: MujocoPhysics, count: int) -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(0)
    qpos = physics.model.qpos0 + random.normal(0, 0.1, (count, physics.model.nq))
    return jnp.asarray(qpos, jnp.float32), jnp.zeros((count, physics.model.nv), jnp.float32)


def controls(physics: MujocoPhysics, *shape: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (*shape, physics.model.nu), minval=-1)


def assert_equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def roll(physics: MujocoPhysics, states, actions: jax.Array):
    """All states along `(steps, batch, nu)` actions."""
    step = jax.vmap(physics.step)

    def body(states, action):
        states = step(states, action)
        return states, states

    return jax.jit(lambda states: jax.lax.scan(body, states, actions)[1])(states)


def test_restored_bits_continue_exactly():
    """A continuation by a fresh engine, which has to derive everything, is the same."""
    physics = make_hopper()
    actions = controls(physics, 60, 4)
    first = jax.jit(jax.vmap(physics.reset))(*starts(physics, 4))
    path = roll(physics, first, actions)
    middle = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf[29])), path)
    rest = roll(make_hopper(), middle, actions[30:])
    assert_equal(rest, jax.tree.map(lambda leaf: leaf[30:], path))


def test_rows_of_a_batch_are_independent():
    physics = make_hopper()
    actions = controls(physics, 20, 5)
    first = jax.jit(jax.vmap(physics.reset))(*starts(physics, 5))
    together = roll(physics, first, actions)
    alone = roll(make_hopper(), jax.tree.map(lambda leaf: leaf[3:4], first), actions[:, 3:4])
    assert_equal(jax.tree.map(lambda leaf: leaf[:, 3:4], together), alone)


def test_twins_stay_twins():
    """Equal states share their bits; each must still be stepped."""
    physics = make_hopper()
    qpos, qvel = starts(physics, 1)
    first = jax.jit(jax.vmap(physics.reset))(qpos.repeat(3, 0), qvel.repeat(3, 0))
    path = roll(physics, first, controls(physics, 20, 1).repeat(3, 1))
    assert_equal(path.bits[:, 0], path.bits[:, 1])
    assert_equal(path.bits[:, 0], path.bits[:, 2])


def test_groups_of_states_that_take_turns_keep_apart():
    """One engine, and with it its simulations, continues now one group, now the other."""
    shared, alone = make_hopper(), make_hopper()
    qpos, qvel = starts(shared, 6)
    groups = [jax.jit(jax.vmap(shared.reset))(qpos[k::2], qvel[k::2]) for k in range(2)]
    actions = controls(shared, 10, 2, 3)
    expected = [roll(alone, groups[k], actions[:, k]) for k in range(2)]
    step = jax.jit(jax.vmap(shared.step))
    for index, action in enumerate(actions):
        for k in range(2):
            groups[k] = step(groups[k], action[k])
            assert_equal(groups[k], jax.tree.map(lambda leaf, i=index: leaf[i], expected[k]))


def make_humanoid() -> MujocoPhysics:
    """Gymnasium's, with forces that are derived after the last substep."""
    return envs.make("mujoco/Humanoid-v4", "mujoco").unwrapped.physics


@pytest.mark.parametrize("make", [make_hopper, make_humanoid])
def test_more_rows_than_simulations_are_kept(make, monkeypatch):
    physics = make()
    first = jax.jit(jax.vmap(physics.reset))(*starts(physics, 5))
    actions = controls(physics, 10, 5)
    kept = roll(physics, first, actions)
    monkeypatch.setattr("envs.physics.simulations._MOST_SIMULATIONS", 2)
    assert_equal(roll(make(), first, actions), kept)


def test_only_episodes_that_have_ended_are_restarted(monkeypatch):
    environment = envs.make("dmc/hopper-stand", "mujoco", action_repeat=1)
    keys = jax.random.split(jax.random.key(0), 5)
    states, _ = jax.vmap(environment.reset)(keys)
    ended = jnp.arange(5) == 3
    reset = mujoco.mj_resetData
    calls = []
    monkeypatch.setattr("mujoco.mj_resetData", lambda *given: (calls.append(1), reset(*given)))
    new, observations = jax.vmap(environment.restart)(states, keys[::-1], ended)
    assert len(calls) == 1
    expected, observation = environment.reset(keys[1])
    assert_equal(jax.tree.map(lambda leaf: leaf[3], new), expected)
    assert_equal(observations[3], observation)
    others = np.flatnonzero(~ended)
    assert_equal(*(jax.tree.map(lambda leaf: leaf[others], tree) for tree in (new, states)))


def test_nested_vmap_makes_one_call():
    physics = make_hopper()
    calls = []
    host_step = physics._host_step
    physics._host_step = lambda words: (calls.append(len(words)), host_step(words))[1]
    qpos, qvel = starts(physics, 6)
    states = jax.vmap(jax.vmap(physics.reset))(qpos.reshape(2, 3, -1), qvel.reshape(2, 3, -1))
    jax.block_until_ready(jax.vmap(jax.vmap(physics.step))(states, controls(physics, 2, 3)))
    assert calls == [6]


def test_threads_change_nothing(monkeypatch):
    physics = make_hopper()
    first = jax.jit(jax.vmap(physics.reset))(*starts(physics, 7))
    actions = controls(physics, 20, 7)
    serial = roll(physics, first, actions)
    monkeypatch.setattr("envs.physics.mujoco._CORES", 3)
    assert_equal(roll(make_hopper(), first, actions), serial)


@pytest.mark.parametrize("engine", ["mujoco", pytest.param("mjx", marks=pytest.mark.slow)])
def test_a_bad_action_harms_only_its_own_row(engine):
    hopper = make_hopper()
    physics = make_physics(engine, hopper.model, FIELDS, substeps=4)
    qpos, qvel = starts(hopper, 3)
    first = jax.jit(jax.vmap(physics.reset))(qpos, qvel)
    actions = np.array(controls(hopper, 6, 3))
    clean = roll(physics, first, jnp.asarray(actions))
    actions[2, 1, 0] = np.nan
    harmed = roll(physics, first, jnp.asarray(actions))
    for name in ("qpos", "qvel"):
        assert np.isfinite(harmed.fields[name][:2]).all()
        assert np.isnan(harmed.fields[name][2:, 1]).all(), "stays failed until the next reset"
        np.testing.assert_array_equal(harmed.fields[name][:, ::2], clean.fields[name][:, ::2])


def test_a_failed_environment_reports_nan_and_recovers_at_the_reset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = envs.AutoReset(
        envs.make("dmc/pendulum-swingup", "mujoco", action_repeat=1, episode_length=4)
    )
    state, _ = environment.reset(jax.random.key(0))
    step = jax.jit(environment.step)
    state, timestep = step(state, jnp.array([jnp.inf]))
    assert np.isnan(timestep.reward) and np.isnan(timestep.observation).all()
    for _ in range(3):
        state, timestep = step(state, jnp.zeros(1))
    assert timestep.truncated and np.isfinite(state.observation).all()
    state, timestep = step(state, jnp.zeros(1))
    assert np.isfinite(timestep.reward) and np.isfinite(timestep.observation).all()


def test_a_simulation_that_explodes_is_nan_and_writes_no_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    physics = make_hopper()
    qpos, qvel = starts(physics, 2)
    first = jax.jit(jax.vmap(physics.reset))(qpos, qvel.at[0].set(1e30))
    path = roll(physics, first, controls(physics, 5, 2))
    assert np.isnan(path.fields["qpos"][-1, 0]).all()
    assert np.isfinite(path.fields["qpos"][:, 1]).all()
    assert not list(tmp_path.iterdir())


MANY_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import jax.numpy as jnp, numpy as np, envs
from jax.sharding import Mesh, PartitionSpec as P

environment = envs.AutoReset(envs.make("dmc/hopper-stand", "mujoco", episode_length=20))

def rollout(keys):
    def one(key):
        state, _ = environment.reset(key)
        action = jnp.full(environment.action_size, 0.3)
        step = lambda state, _: environment.step(state, action)
        return jax.lax.scan(step, state, length=25)[1]
    return jax.vmap(one)(keys)

keys = jax.random.split(jax.random.key(0), 6)
mesh = Mesh(np.array(jax.devices()), ("runs",))
shard = jax.shard_map(rollout, mesh=mesh, in_specs=P("runs"), out_specs=P("runs"), check_vma=False)
jax.tree.map(np.testing.assert_array_equal, jax.jit(shard)(keys), jax.jit(rollout)(keys))

# Arrays this large are copied by the runtime's own threads, which must not wait for ours.
physics = environment.unwrapped.physics
batch = 1000
qpos = jnp.tile(jnp.asarray(physics.model.qpos0, jnp.float32), (batch, 1))
reset = jax.jit(jax.vmap(physics.reset))
states = reset(qpos, jnp.zeros((batch, physics.model.nv)))
step = jax.jit(jax.vmap(physics.step))
jax.block_until_ready(step(states, jnp.zeros((batch, physics.model.nu))))
print("done")
"""


@pytest.mark.slow
def test_several_devices_and_large_batches():
    """In a process of its own, because the number of devices is fixed at the start."""
    result = subprocess.run(
        [sys.executable, "-c", MANY_DEVICES], capture_output=True, text=True, timeout=300
    )
    assert result.stdout.endswith("done\n"), result.stderr[-2000:]


SLIDER = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="x" type="slide" axis="1 0 0" damping="0.3" frictionloss="0.2"/>
      <geom size="0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator>
    <general joint="x" gear="3" ctrlrange="-1 1" dyntype="integrator"/>
    <position joint="x" kp="2"/>
  </actuator>
</mujoco>
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mjx", "warp"])
def test_forces_are_those_of_the_last_substep(engine):
    """As the C engine leaves them where dm_control reads positions of the state that follows."""
    if engine == "warp":
        need_warp()
    model = mujoco.MjModel.from_xml_string(SLIDER)
    fields = tuple(sorted(OF_LAST_SUBSTEP))
    exact, ours = (make_physics(name, model, fields, 3) for name in ("mujoco", engine))

    def play(physics):
        reset, step = (jax.jit(jax.vmap(each)) for each in (physics.reset, physics.step))
        state = reset(jnp.zeros((2, 1)), jnp.ones((2, 1)))
        first = step(state, jnp.ones((2, 2)))
        return state.fields, first.fields, step(first, jnp.ones((2, 2))).fields

    expected, found = play(exact), play(ours)
    for there, here in zip(expected, found, strict=True):
        for name in fields:
            np.testing.assert_allclose(here[name], there[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert all(np.abs(expected[-1][name]).min() > 1e-3 for name in fields)
    # The first state is without actuation, whatever acted while it settled.
    for name in ("mujoco", engine):
        settling = make_physics(name, model, ("qpos", "actuator_force"), 3, settling_steps=2)
        fields = jax.jit(settling.reset)(jnp.ones(1), jnp.ones(1)).fields
        assert fields["qpos"] > 1.0 and not fields["actuator_force"].any()


@pytest.mark.slow
def test_mjx_is_traced_once_however_often_it_is_called(monkeypatch):
    """It takes seconds, and a program calls it for training, for evaluation and at the start."""
    traced, batched = [], []

    def noted(notes, function):
        def noting(*arguments, **named):
            notes.append(arguments[0])
            return function(*arguments, **named)

        return noting

    monkeypatch.setattr(mjx, "step", noted(traced, mjx.step))
    monkeypatch.setattr(mjx, "forward", noted(traced, mjx.forward))
    model = mujoco.MjModel.from_xml_string(SLIDER)
    physics = make_physics("mjx", model, ("qpos",), 3, settling_steps=2)
    monkeypatch.setattr(jax, "vmap", noted(batched, jax.vmap))
    for sizes in ((6,), (2, 3)):
        reset, step = physics.reset, physics.step
        for _ in sizes:
            reset, step = vmap(reset), vmap(step)
        start = jnp.zeros((*sizes, 1)), jnp.ones((*sizes, 1))
        state = jax.eval_shape(reset, *start)
        jax.jit(reset).lower(*start)
        jax.jit(step).lower(state, jnp.zeros((*sizes, model.nu)))
    assert len(traced) == 2, "a substep, for resets and steps, and the first state of an episode"
    batched = [function for function in batched if function.__name__ == "of_one"]
    assert len(batched) == 2, "a reset and a step of six simulations"


def test_simulations_are_computed_together_without_jit_too():
    """As whoever looks into them with a debugger does."""
    called = []

    def double(on_cpu, start, others):
        called.append((on_cpu, start.shape))
        return {"doubled": 2 * start + others["offset"]}

    def of_one(start):
        outline = {"doubled": jax.ShapeDtypeStruct((1,), jnp.float32)}
        return simulate_together(double, outline, start, {"offset": jnp.ones(1)})

    starts = jnp.arange(6.0).reshape(2, 3, 1)
    with jax.disable_jit():
        found = jax.vmap(jax.vmap(of_one))(starts)["doubled"]
    np.testing.assert_array_equal(found, 2 * starts + 1)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(of_one)))(starts)["doubled"], found)
    assert called[0] == (True, (6, 1))
