"""MuJoCo Warp: one batch, room for what touches, rows that do not depend on each other."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.physics.engines import make_physics
from tests.helpers.originals import need_warp

pytestmark = pytest.mark.slow

FIELDS = ("qpos", "qvel", "xmat", "sensordata")


@pytest.fixture(scope="module", autouse=True)
def warp():
    need_warp()


@pytest.fixture(scope="module")
def make():
    """A hopper: contacts, several substeps, sensors of all stages."""
    from envs.dmc.models import load_model

    return partial(make_physics, model=load_model("hopper.xml"), fields=FIELDS, substeps=4)


def _starts(physics, count):
    """On the floor and beside it."""
    random = np.random.default_rng(0)
    qpos = physics.model.qpos0 + random.normal(0, 0.1, (count, physics.model.nq))
    return jnp.asarray(qpos, jnp.float32), jnp.zeros((count, physics.model.nv), jnp.float32)


def _controls(physics, *shape):
    return jax.random.uniform(jax.random.key(1), (*shape, physics.model.nu), minval=-1)


def _play(physics, states, actions):
    """All states along `(steps, batch, nu)` actions."""
    step = jax.vmap(physics.step)

    def body(states, action):
        states = step(states, action)
        return states, states

    return jax.jit(lambda states: jax.lax.scan(body, states, actions)[1])(states)


def test_fields_are_read_as_dm_control_does(make):
    """Of every stage, also those of the first state, after one interval and after several."""
    exact, ours = make("mujoco"), make("warp")
    starts, actions = _starts(exact, 4), _controls(exact, 5, 4)
    first, expected = (jax.jit(jax.vmap(physics.reset))(*starts) for physics in (ours, exact))
    for name, value in expected.fields.items():
        np.testing.assert_allclose(first.fields[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
    path, expected = _play(ours, first, actions), _play(exact, expected, actions)
    for name, value in expected.fields.items():
        np.testing.assert_allclose(path.fields[name], value, rtol=1e-3, atol=1e-3, err_msg=name)


def test_a_row_depends_on_itself_alone(make):
    """On CPUs to the bit; a control that is no number ends its own row until the next reset."""
    physics = make("warp")
    first = jax.jit(jax.vmap(physics.reset))(*_starts(physics, 3))
    actions = np.array(_controls(physics, 6, 3))
    together = _play(physics, first, actions)
    alone = _play(physics, jax.tree.map(lambda leaf: leaf[2:], first), actions[:, 2:])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, 2:], b), together, alone)
    actions[2, 1, 0] = np.nan
    harmed = _play(physics, first, actions)
    for name in FIELDS:
        assert np.isfinite(harmed.fields[name][:2]).all()
        assert np.isnan(harmed.fields[name][2:, 1]).all()
        np.testing.assert_array_equal(harmed.fields[name][:, ::2], together.fields[name][:, ::2])


def test_nested_vmaps_are_one_batch(make):
    physics = make("warp")
    qpos, qvel = _starts(physics, 4)
    flat = jax.jit(jax.vmap(physics.reset))(qpos, qvel)
    nested = jax.jit(jax.vmap(jax.vmap(physics.reset)))(
        qpos.reshape(2, 2, -1), qvel.reshape(2, 2, -1)
    )
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.reshape(b.shape), b), nested, flat)


def test_contacts_are_counted_as_by_the_c_engine(make):
    exact, ours = make("mujoco"), make("warp")
    qpos = _starts(exact, 20)[0].at[:, 1].add(-1.0 * (jnp.arange(20) % 3))
    counts, expected = (
        np.asarray(jax.jit(jax.vmap(physics.contacts))(qpos.at[7].set(jnp.nan)))
        for physics in (ours, exact)
    )
    assert expected.max() > 1 and expected[7] == 0
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize(
    ("room", "needed"), [((1, 64), r"[4-9] and \d+"), ((64, 2), r"\d+ and \d+")]
)
def test_no_room_is_an_error_that_says_how_much_is_needed(make, room, needed):
    qpos, qvel = _starts(make("warp"), 3)
    qpos = qpos.at[1, 1].add(-2.0)
    message = re.compile(
        rf"dmc/hopper-hop: physics warp has room for {3 * room[0]} contacts in 3 worlds and "
        rf"{room[1]} constraints in one, and now {needed} are needed.*: give --physics (warp:\d+), "
    )
    engine = "warp"
    # Candidates that had no room hide contacts, so that advice may have to be followed twice.
    for attempt in range(3):
        physics = make(engine, room=room)
        physics.name = "dmc/hopper-hop"
        try:
            with envs.clear_errors():
                state = jax.block_until_ready(jax.jit(jax.vmap(physics.reset))(qpos, qvel))
        except envs.HostEnvironmentError as error:
            said = str(error)
            assert "\n" not in said
            found = message.match(said) if attempt == 0 else re.search(r"(warp:\d+), ", said)
            assert found, said
            engine = found[1]
        else:
            break
    assert attempt > 0
    assert np.isfinite(state.fields["qpos"]).all()
