"""DroQ: where dropout is, and that its masks differ."""

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.agents.networks import mlp
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from tests.helpers import updates


def test_a_hidden_layer_is_linear_dropout_layer_norm_relu(monkeypatch):
    mask = np.float32([0, 1, 1, 1, 0, 1, 1, 1])
    monkeypatch.setattr(mlp, "dropout", lambda key, x, rate: x * mask * (10 * rate))
    network = mlp.MLP(hidden_dim=8, num_layers=2, outputs=3, layer_norm=True)
    x = updates.draw(0, updates.BATCH, 5)
    params = network.init(jax.random.key(0), x)["params"]
    ours = network.apply({"params": params}, x, 0.2, rngs={"dropout": jax.random.key(1)})
    h = x.astype(np.float64)
    for index in range(2):
        layer = params[f"hidden_{index}"]
        h = (h @ np.asarray(layer["kernel"]) + layer["bias"]) * mask * 2
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
        h = np.maximum(h, 0)
    expected = h @ np.asarray(params["output"]["kernel"]) + params["output"]["bias"]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_masks_differ_between_critics_and_between_keys():
    agent, numbers = updates.make("droq", dropout_rate=0.5)
    state, batch = updates.start(agent, numbers)
    twins = jax.tree.map(lambda leaf: jnp.stack([leaf[0], leaf[0]]), state.critic)

    @jax.jit
    def evaluate(key: jax.Array) -> jax.Array:
        return agent.evaluate(twins, batch.observation, batch.action, numbers, key)

    plain = agent.evaluate(twins, batch.observation, batch.action, numbers)
    np.testing.assert_array_equal(plain[0], plain[1])
    one, other = evaluate(jax.random.key(0)), evaluate(jax.random.key(1))
    assert (one[0] != one[1]).all()
    assert (one != other).all()
    # The mean over masks is near what there is without, were it not for the layer norm.
    assert np.abs(one - plain).max() < 10


def test_every_pass_of_every_update_has_masks_of_its_own():
    keys: list[jax.Array] = []

    class Recorder(SoftActorCritic):
        def evaluate(self, *arguments, **options):
            keys.append(jax.random.key_data(arguments[4]))
            return super().evaluate(*arguments, **options)

    agent, numbers = updates.make("droq")
    fields = {name: getattr(agent, name) for name in agent.__dataclass_fields__}
    recorder = Recorder(**fields | {"policy_delay": 1})
    state, batch = updates.start(agent, numbers)

    @jax.jit
    def update(noise):
        keys.clear()
        recorder.update(state, batch, noise, numbers)
        return jnp.stack(keys)

    # The critics' own pass, that of the target and that of the actor's loss.
    used = np.concatenate([update(updates.noise(seed)) for seed in (0, 1)])
    assert len(used) == 6
    assert len(np.unique(used, axis=0)) == 6


def test_the_actor_maximises_the_mean_and_the_target_is_the_smaller_value():
    agent, numbers = updates.make("droq")
    values = jnp.float32([[1.0, 5.0], [3.0, 4.0]])
    np.testing.assert_array_equal(agent.reduce_value(values), [2.0, 4.5])
    np.testing.assert_array_equal(agent.reduce_target(values[..., None], values)[:, 0], [1.0, 4.0])
    assert agent.target_critics is None
    np.testing.assert_allclose(numbers.dropout_rate, 0.01)
