"""Writes the policy of a finished run as an ONNX file, for robots without JAX.

python -m purejax_simba.export <run directory> --output policy.onnx

The file takes `observation`, `(N, O)` float32 as the environment gives them (of those that keep a
part for critics only what the actor sees), and returns `action`, `(N, A)` in [-1, 1]; how
observations are normalised is part of it. Its metadata say which run it is from, and what the
actions -1 and 1 are where the environment has a range of its own.
"""

if __name__ == "__main__":
    from purejax_simba import stopping

    stopping.hear()  # while the rest is imported, too

import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import tyro

import envs
from purejax_simba.commands import one_line_errors
from purejax_simba.commands.command_line import OwnCode
from purejax_simba.config import ConfigError
from purejax_simba.errors import FailedError, require
from purejax_simba.files import check_output, write_bytes
from purejax_simba.runs.policies import TrainedPolicy, load_policy
from purejax_simba.waiting import still

PLAYED = 200  # interactions, on whose observations the file is checked
LARGEST_ERROR = 1e-5


@dataclass(frozen=True)
class Arguments:
    """Write the policy of a finished run as an ONNX file."""

    directory: Annotated[Path, tyro.conf.Positional]
    """The run directory."""
    output: Path
    """The file."""
    seed: int | None = None
    """The seed of the run whose policy it is. Default: the first."""
    own: Annotated[OwnCode, tyro.conf.arg(name="")] = field(default_factory=OwnCode)


def export(policy: TrainedPolicy) -> bytes:
    """A policy as an ONNX model.

    Raises:
      ConfigError: if it cannot be one, or the extra `onnx` is not installed.
      FailedError: if the model gives other actions than the policy.
    """
    # It warns of what it has for other libraries.
    logging.getLogger("jax2onnx").setLevel(logging.ERROR)
    converter = require("jax2onnx", "onnx")
    observations = _played(policy)
    actions = policy(observations)
    others = policy(observations, jax.random.key(policy.seed + 1))
    if not np.array_equal(actions, others, equal_nan=True):
        raise ConfigError(
            f"{policy.config.agent.name} draws its actions in evaluations too: export another agent"
        )
    # Any number of rows; but networks ask whether these are more than the features of a layer.
    (rows,) = jax.export.symbolic_shape("N", constraints=[f"N >= {2**30}"])
    seen = policy.actor_observation_size
    hidden = [(0, 0), (0, policy.observation_size - seen)]  # which the actor does not look at
    model = converter.to_onnx(
        lambda observation: policy(jnp.pad(observation, hidden), jax.random.key(policy.seed)),
        [jax.ShapeDtypeStruct((rows, seen), np.float32)],
        model_name="policy",
        input_names=["observation"],
        output_names=["action"],
    )
    for name, value in metadata(policy).items():
        model.metadata_props.add(key=name, value=value)
    data = model.SerializeToString()
    error = float(np.abs(_run(data, observations[:, :seen]) - actions).max())
    if not error <= LARGEST_ERROR:
        raise FailedError(f"the model's actions differ from those of the policy by {error:.1e}")
    return data


def metadata(policy: TrainedPolicy) -> dict[str, str]:
    """What the file says of the run; lists are JSON."""
    found: dict[str, Any] = {
        "task": policy.config.task,
        "agent": policy.config.agent.name,
        "seed": policy.seed,
        "action_repeat": policy.config.action_repeat,
    }
    if policy.environment.action_range is not None:
        low, high = policy.environment.action_range
        found |= {"action_low": low.tolist(), "action_high": high.tolist()}
    return {name: json.dumps(value).strip('"') for name, value in found.items()}


def _played(policy: TrainedPolicy) -> np.ndarray:
    """Observations `(PLAYED, O)` from episodes that the policy plays."""
    environment = envs.AutoReset(policy.environment)

    @jax.jit
    def play(key: jax.Array) -> jax.Array:
        def step(state: Any, _: None) -> tuple[Any, jax.Array]:
            return environment.step(state, policy(state.observation))[0], state.observation

        state, _ = environment.reset(key)
        return jax.lax.scan(step, state, length=PLAYED)[1]

    with envs.clear_errors():
        return np.asarray(play(jax.random.key(0)))


def _run(model: bytes, observations: np.ndarray) -> np.ndarray:
    """Actions by the runtime that others have."""
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(model, options)
    return session.run(["action"], {"observation": observations})[0]


def main() -> int:
    """Runs the command line; returns the exit status."""
    with one_line_errors("give the same command again") as outcome:
        arguments = tyro.cli(Arguments)
        check_output(arguments.output)
        # In full, because GPUs would round products that the model does not.
        policy = load_policy(
            arguments.directory, arguments.seed, arguments.own.given(), precision="float32"
        )
        with still("writing the model"):
            data = export(policy)
        write_bytes(arguments.output, data)
        print(
            f"{arguments.output}: {len(data) / 1e3:,.0f} kB, observation (N, "
            f"{policy.actor_observation_size}) to action (N, {policy.action_size}), like the "
            f"policy of seed {policy.seed} on {PLAYED} observations"
        )
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())
