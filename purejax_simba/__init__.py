"""SimbaV2 as one compiled JAX program: what users import.

    import purejax_simba

    config = purejax_simba.Config(task="dmc/cheetah-run", num_seeds=4)
    directory = purejax_simba.train(config)
    print(purejax_simba.evaluate(directory))
    policy = purejax_simba.load_policy(directory)

Everything here is imported when it is first used: JAX and the engines take seconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purejax_simba.agents.bro import BRO
    from purejax_simba.agents.crossq import CrossQ
    from purejax_simba.agents.droq import DroQ
    from purejax_simba.agents.flash_sac import FlashSAC
    from purejax_simba.agents.random_actions import Random
    from purejax_simba.agents.redq import REDQ
    from purejax_simba.agents.registry import agent_settings
    from purejax_simba.agents.sac import SAC
    from purejax_simba.agents.simba import Simba
    from purejax_simba.agents.simba_v2 import SimbaV2
    from purejax_simba.agents.td3 import TD3
    from purejax_simba.config import (
        CheckpointConfig,
        Config,
        ConfigError,
        OfflineConfig,
        ReplayConfig,
        StartConfig,
        TemperatureConfig,
    )
    from purejax_simba.runs.compiling import make_program
    from purejax_simba.runs.experiment import resume, train
    from purejax_simba.runs.policies import TrainedPolicy, evaluate, load_policy
    from purejax_simba.runs.population import Population
    from purejax_simba.training import make_train

__all__ = [
    "BRO",
    "REDQ",
    "SAC",
    "TD3",
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "CrossQ",
    "DroQ",
    "FlashSAC",
    "OfflineConfig",
    "Population",
    "Random",
    "ReplayConfig",
    "Simba",
    "SimbaV2",
    "StartConfig",
    "TemperatureConfig",
    "TrainedPolicy",
    "agent_settings",
    "evaluate",
    "load_policy",
    "make_program",
    "make_train",
    "resume",
    "train",
]
_MODULES = {
    **{
        name: f"purejax_simba.agents.{name.lower()}"
        for name in ("BRO", "CrossQ", "DroQ", "REDQ", "SAC", "Simba", "TD3")
    },
    "Random": "purejax_simba.agents.random_actions",
    "FlashSAC": "purejax_simba.agents.flash_sac",
    "SimbaV2": "purejax_simba.agents.simba_v2",
    "agent_settings": "purejax_simba.agents.registry",
    **dict.fromkeys(("resume", "train"), "purejax_simba.runs.experiment"),
    **dict.fromkeys(("TrainedPolicy", "evaluate", "load_policy"), "purejax_simba.runs.policies"),
    "Population": "purejax_simba.runs.population",
    "make_program": "purejax_simba.runs.compiling",
    "make_train": "purejax_simba.training",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("purejax_simba")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "purejax_simba.config")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
