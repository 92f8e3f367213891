"""Sweeps of the SimbaV2 paper (arXiv 2502.15280) by name: what to change, and how it is called."""

from collections.abc import Callable
from typing import Any, Literal

from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import with_agent_defaults, with_lengths, with_recipe

PresetName = Literal["design-study", "parameter-scaling", "utd-scaling", "resets"]
Variants = dict[str, dict[str, Any]]


def _design_study(config: Config) -> Variants:
    """The ablations of its design study, and the unchanged agent.

    What the paper leaves open is as in the scripts of its authors' repository (February 2025):
    `a` goes from the observation, normalised by running statistics as ever, straight to the first
    layer; `b` normalises it without a constant beside it; `d` is the projection of a cube; `h`
    copies the target every 250 updates; `j` and `k` concern the scalers of the blocks alone, for
    those of the embedder had 1 there in every variant. Most are numbers, and train as one program
    with the unchanged agent; `a`, `b`, `d`, `e` and `f` are programs of their own.
    """
    agent = with_agent_defaults(config).agent.given()
    rate = agent.get("learning_rate")
    variants: Variants = {
        "unchanged": {},
        "a-no-input-norm": {"agent.input_projection": "raw"},
        "b-no-shift": {"agent.input_projection": "normalize"},
        "c-shift-1": {"agent.shift": 1.0},
        "d-resize-projection": {"agent.input_projection": "hypercube"},
        "e-squared-error": {"agent.critic_loss": "squared_error"},
        "f-no-reward-norm": {"normalize_rewards": False},
        "g-no-reward-bound": {"bound_returns": False},
        "h-hard-target-copy": {"agent.tau": 1.0, "agent.target_update_interval": 250},
        "i-no-learning-rate-decay": {"agent.learning_rate_end": rate},
        "j-scaler-init-1": {"agent.block_scaler_init": 1.0},
        "k-scaler-scale-1": {"agent.block_scaler_scale": 1.0},
        "l-alpha-init-0.5": {"agent.alpha_init": 0.5},
        "m-alpha-scale-1": {"agent.alpha_scale": 1.0},
    }
    if rate == agent.get("learning_rate_end"):  # so has the unchanged agent
        del variants["i-no-learning-rate-decay"]
    return variants


def _parameter_scaling(config: Config) -> Variants:
    """Widths of the critics."""
    return {f"width-{n}": {"agent.critic_hidden_dim": n} for n in (128, 256, 512, 1024)}


def _utd_scaling(config: Config) -> Variants:
    """Updates per transition."""
    return {f"utd-{n}": {"update_to_data_ratio": float(n)} for n in (1, 2, 4, 8)}


def _resets(config: Config) -> Variants:
    """Networks and optimisers that begin anew, never or after equal parts of the run.

    Parts are whole interactions, so that one may have one more than another. A fifth of a million
    env steps is the interval of arXiv 2205.07802.
    """
    if config.is_offline:
        raise ConfigError("--preset resets is for learning in an environment: drop --offline")
    run = with_lengths(with_recipe(config))
    once = run.steps_per_interaction
    return {
        name: {
            "agent.reset_env_steps": tuple(
                run.interactions * i // parts * once for i in range(1, parts)
            )
        }
        for name, parts in {"never": 1, "every-half": 2, "every-fifth": 5}.items()
        if parts <= run.interactions
    }


PRESETS: dict[PresetName, Callable[[Config], Variants]] = {
    "design-study": _design_study,
    "parameter-scaling": _parameter_scaling,
    "utd-scaling": _utd_scaling,
    "resets": _resets,
}
