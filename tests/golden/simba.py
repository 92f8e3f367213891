"""SimbaV2 and SimBa against recorded updates of the published implementation."""

import ast
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.agents import simba, simba_v2
from purejax_simba.agents.agent import Agent, AgentState, HyperParameters
from purejax_simba.agents.simba_v2 import SphereScales
from purejax_simba.data.normalisation import RewardScale, RunningMoments
from tests.golden.checks import FAST_COMPILATION, Check, forward, recorded_batch, relative_error

TOLERANCE_FIRST = 2e-5
TOLERANCE_LAST = 1e-4
TOLERANCE_NORMALISER = 1e-5

# Their path components and ours.
SIMBA_V2_NAMES = {
    "embedder": "encoder/embedder",
    "encoder": "encoder",
    "w": "kernel",
    "w1": "kernel_in",
    "w2": "kernel_out",
    "alpha_scaler": "alpha",
    "value_bias": "value/bias",
    "mean_w1": "mean/kernel_in",
    "mean_w2": "mean/kernel_out",
    "mean_scaler": "mean/scaler",
    "mean_bias": "mean/bias",
    "std_w1": "log_std/kernel_in",
    "std_w2": "log_std/kernel_out",
    "std_scaler": "log_std/scaler",
    "std_bias": "log_std/bias",
}
SIMBA_NAMES = {
    "embedder": "encoder/embedder",
    "encoder": "encoder",
    "pre_ln": "norm",
    "w1": "dense_in",
    "w2": "dense_out",
    "mean_w": "mean",
    "std_w": "log_std",
    "w": "value",
}


def _our_path(parts: list[str], is_v2: bool, num_blocks: int) -> tuple[str, ...]:
    parts = [part for part in parts if not part.startswith("Vmap")]
    if is_v2:
        if parts[-1] in ("scaler", "kernel"):  # repeats what the component before it says
            parts = parts[:-1]
        parts = [p for p in parts if p not in ("hyper_dense", "mlp")]
        if parts[0] == "predictor" and parts[1] in ("w1", "w2", "scaler"):
            parts = ["value", *parts[1:]]
    names = SIMBA_V2_NAMES if is_v2 else SIMBA_NAMES
    ours: list[str] = []
    for part in parts:
        if part.startswith("layers_"):
            index = int(part.removeprefix("layers_"))
            ours.append("norm" if index == num_blocks else f"block_{index}")
        elif part != "predictor":
            ours += names.get(part, part).split("/")
    return tuple(ours)


def _network(trace: dict, stage: str, net: str, config: dict, is_v2: bool) -> dict:
    """One network's parameters as a nested dictionary of our names."""
    prefix = f"{stage}/{net}/"
    num_blocks = config["actor_num_blocks" if net == "actor" else "critic_num_blocks"]
    tree: dict = {}
    for key, value in trace.items():
        if not key.startswith(prefix):
            continue
        path = _our_path(key.removeprefix(prefix).split("/"), is_v2, num_blocks)
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        if net != "actor" and not config["use_cdq"]:
            value = value[None]  # our critics always carry their axis
        node[path[-1]] = jnp.asarray(value)
    return tree


def _scales(hidden_dim: int, num_blocks: int, shift: float) -> SphereScales:
    scaler = (2 / hidden_dim) ** 0.5
    alpha = (1 / (num_blocks + 1), hidden_dim**-0.5)
    values = (shift, scaler, scaler, scaler / 2, scaler / 2, *alpha)
    return SphereScales(*(jnp.float32(v) for v in values))


def _agent(config: dict, is_v2: bool) -> tuple[Agent, HyperParameters]:
    settings = {
        "actor_hidden_dim": config["actor_hidden_dim"],
        "actor_num_blocks": config["actor_num_blocks"],
        "critic_hidden_dim": config["critic_hidden_dim"],
        "critic_num_blocks": config["critic_num_blocks"],
        "num_critics": 2 if config["use_cdq"] else 1,
    }
    observation_size, action_size = config["observation_dim"], config["action_dim"]
    if is_v2:
        own = simba_v2.SimbaV2(num_bins=config["num_bins"], **settings).with_defaults()
        agent = simba_v2.make(observation_size, action_size, own)
    else:
        agent = simba.make(observation_size, action_size, simba.Simba(**settings).with_defaults())
    shift = config.get("c_shift", 0.0)
    learning_rate = config.get("lr_init", config.get("learning_rate"))
    numbers = {
        "learning_rate": learning_rate,
        "learning_rate_end": config.get("lr_end", learning_rate),
        "learning_rate_decay_updates": config.get("lr_decay_steps", 1),
        "discount": config["gamma"],
        "tau": config["tau"],
        "target_entropy": config["target_entropy"],
        "initial_temperature": 0.01,
        "value_range": config.get("g_max", 1.0),
        "behaviour_cloning_weight": config["bc_alpha"],
        "weight_decay": config.get("weight_decay", 0.0),
    }
    return agent, HyperParameters(
        **{name: jnp.float32(value) for name, value in numbers.items()},
        target_update_interval=jnp.int32(1),
        actor=_scales(config["actor_hidden_dim"], config["actor_num_blocks"], shift),
        critic=_scales(config["critic_hidden_dim"], config["critic_num_blocks"], shift),
    )


def _largest_error(ours: dict, theirs: dict) -> float:
    return max(jax.tree.leaves(jax.tree.map(relative_error, ours, theirs)))


def _initial_state(
    agent: Agent, hyperparameters: HyperParameters, trace: dict, config: dict, is_v2: bool
) -> AgentState:
    init = jax.jit(agent.init, compiler_options=FAST_COMPILATION)
    state = init(jax.random.key(0), hyperparameters)
    nets = {
        name: _network(trace, "init", name, config, is_v2)
        for name in ("actor", "critic", "target_critic")
    }
    for name, params in nets.items():
        expected = jax.tree.map(jnp.shape, getattr(state, name))
        if expected != jax.tree.map(jnp.shape, params):
            raise ValueError(f"{name}: the trace's parameters do not have this agent's shapes")
    return state.replace(**nets, log_temperature=jnp.asarray(trace["init/temperature/log_temp"]))


def _forward_checks(
    agent: Agent,
    state: AgentState,
    hyperparameters: HyperParameters,
    trace: dict,
    config: dict,
    is_v2: bool,
) -> Iterator[Check]:
    batch, noise = recorded_batch(trace, 0, config)
    assert agent.actor_critic is not None
    ours = forward(agent.actor_critic, state, batch, noise, hyperparameters)
    if not is_v2:  # whose critics have no distribution
        del ours["critic_log_prob"]
    mean, std = ours["actor_mean"], ours["actor_std"]
    # The reference gets the noise back as (x - mean) / std, which keeps only the digits of x that
    # are finer than std: for a density that is an error of up to |noise| |x| / std roundings.
    roundings = jnp.abs(noise.action) * jnp.abs(mean + std * noise.action) / std
    lost = np.finfo(np.float32).eps * np.linalg.norm(roundings.sum(-1))
    for name, value in ours.items():
        theirs = trace[f"forward/{name}"]
        tolerance = TOLERANCE_FIRST
        if name == "actor_log_prob":
            tolerance += float(lost / np.linalg.norm(theirs))
        yield f"forward {name}", relative_error(value.reshape(theirs.shape), theirs), tolerance


def replay_updates(trace: dict) -> Iterator[Check]:
    """Yields (what, relative error, tolerance) for a file of recorded updates."""
    config = ast.literal_eval(str(trace["config"]))
    is_v2 = "num_bins" in config
    agent, hyperparameters = _agent(config, is_v2)
    state = _initial_state(agent, hyperparameters, trace, config, is_v2)
    yield from _forward_checks(agent, state, hyperparameters, trace, config, is_v2)
    assert agent.update is not None
    update = jax.jit(agent.update, compiler_options=FAST_COMPILATION)
    last = config["steps"]
    for index in range(last):
        batch, noise = recorded_batch(trace, index, config)
        state, metrics, _ = update(state, batch, noise, hyperparameters, jnp.int32(index))
        tolerance = TOLERANCE_FIRST if index == 0 else TOLERANCE_LAST
        reported = {
            "actor/loss": metrics.actor_loss,
            "actor/entropy": metrics.entropy,
            "critic/loss": metrics.critic_loss,
            "temperature/value": metrics.temperature,
            "temperature/loss": metrics.temperature_loss,
        }
        for name, value in reported.items():
            if index + 1 in (1, last):
                error = relative_error(value, trace[f"info{index}/{name}"])
                yield f"update {index + 1} {name}", error, tolerance
        if index + 1 in (1, last):
            stage = f"after{index + 1}"
            for net in ("actor", "critic", "target_critic"):
                theirs = _network(trace, stage, net, config, is_v2)
                error = _largest_error(getattr(state, net), theirs)
                yield f"update {index + 1} {net}", error, tolerance
            error = relative_error(state.log_temperature, trace[f"{stage}/temperature/log_temp"])
            yield f"update {index + 1} temperature", error, tolerance


def replay_normalisers(trace: dict) -> Iterator[Check]:
    """Yields (what, relative error, tolerance) for a file of recorded normaliser streams."""
    discount, value_range = jnp.float32(trace["gamma"]), jnp.float32(trace["g_max"])
    done = trace["terminated"] | trace["truncated"]

    def observe(moments: RunningMoments, x: jax.Array) -> tuple[RunningMoments, tuple]:
        moments = moments.update(x)
        return moments, (moments.mean.high, moments.variance)

    def reward(scale: RewardScale, x: tuple[jax.Array, jax.Array]) -> tuple[RewardScale, tuple]:
        scale = scale.update(*x, discount)
        denominator = scale.denominator(value_range)
        variance = scale.moments.variance[0]
        return scale, (scale.discounted_return, variance, scale.largest, denominator)

    observations = jnp.asarray(trace["observations"])
    moments = RunningMoments.create(observations.shape[-1])
    moments, (mean, variance) = jax.lax.scan(observe, moments, observations)
    rewards = jnp.asarray(trace["reward"])
    streams = (rewards, jnp.asarray(done))
    _, scales = jax.lax.scan(reward, RewardScale.create(rewards.shape[-1]), streams)
    ours = {"obs_mean": mean, "obs_var": variance} | dict(
        zip(
            ("discounted_return", "return_var", "return_abs_max", "reward_denominator"),
            scales,
            strict=True,
        )
    )
    for name, value in ours.items():
        yield name, relative_error(value, trace[name]), TOLERANCE_NORMALISER
    count = float(moments.count) + 1e-4
    yield "obs_count", relative_error(jnp.float32(count), trace["obs_count"]), TOLERANCE_NORMALISER
