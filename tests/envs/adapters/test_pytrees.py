"""Observations of other libraries as one vector."""

from collections import OrderedDict

import flax
import jax.numpy as jnp

from envs.adapters.pytrees import flatten_observation


def test_parts_come_in_the_order_of_their_names_whatever_holds_them():
    inner = {"z": 3.0, "y": jnp.array([[1.0], [2.0]])}
    expected = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    for kind in (dict, OrderedDict, flax.core.FrozenDict):
        observation = kind([("c", (4.0, kind(b=5.0))), ("b", kind(inner)), ("a", 0.0)])
        assert flatten_observation(observation).tolist() == expected
    pair = (OrderedDict(b=1.0, a=0.0), 2.0)
    assert flatten_observation(pair).tolist() == [0.0, 1.0, 2.0]
