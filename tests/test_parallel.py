"""Runs side by side and in turn."""

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.parallel import make_mesh, map_runs, runs_take_turns

RUNS = 6


def _walk(steps: jax.Array, state: dict, scale: jax.Array, count: jax.Array) -> tuple:
    """A random walk that counts its steps; the count is the same in every run."""

    def body(index: jax.Array, state: dict) -> dict:
        key = jax.random.fold_in(state["key"], steps + index)
        return state | {"x": state["x"] + scale * jax.random.normal(key, (3,))}

    return steps + count, jax.lax.fori_loop(0, count, body, state)


def test_in_turn_is_side_by_side():
    mesh = make_mesh(RUNS)
    scale = jnp.arange(1.0, RUNS + 1)
    results = []
    for in_turn in (False, True):
        state = {
            "key": jax.vmap(jax.random.key)(jnp.arange(RUNS)),
            "x": jnp.zeros((RUNS, 3)),
        }
        walk = map_runs(_walk, mesh, (None, 0, 0, None), (None, 0), donate=(1,), in_turn=in_turn)
        steps = jnp.int32(0)
        for count in (5, 7):
            steps, state = walk(steps, state, scale, jnp.int32(count))
        assert int(steps) == 12
        results.append(state)
    side_by_side, in_turn = results
    assert (jax.random.key_data(side_by_side["key"]) == jax.random.key_data(in_turn["key"])).all()
    np.testing.assert_array_equal(side_by_side["x"], in_turn["x"])
    assert len(np.unique(np.asarray(in_turn["x"])[:, 0])) == RUNS


def test_only_small_networks_go_side_by_side():
    assert runs_take_turns(256, 128)
    assert runs_take_turns(256, 512)
    assert not runs_take_turns(128, 64)
