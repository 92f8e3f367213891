"""Hurdles, poles, stairs, hills and a tunnel, to be passed in the direction of x."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.humanoid_bench import scenes
from envs.humanoid_bench.base import Humanoid
from envs.humanoid_bench.locomotion import RUN_SPEED, WALK_SPEED
from envs.humanoid_bench.models import load_robot
from envs.rewards import tolerance

COLLISION_DISCOUNT = 0.1  # of the reward while touching what should not be touched
POLE_SPEED = 0.5  # m/s
HEAD_ABOVE_FEET = 1.2  # m, that counts as standing on uneven ground
LEAST_UPRIGHT = 0.1  # cosine below which an episode of climbing ends
CRAWL_HEIGHTS = (0.6, 1.0)  # m, of head and chest
CRAWL_QUATERNION = (0.75, 0.0, 0.65, 0.0)  # of the pelvis, face down
TUNNEL = (-1.0, 1.0)  # m, across


class Hurdle(Humanoid):
    """Running over hurdles without touching the barriers beside them."""

    def __init__(self) -> None:
        """Loads the model."""
        spec = load_robot()
        scenes.add_hurdles(spec)
        super().__init__(spec)

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        standing, upright = self.standing(data), self.upright(data, least=0.8)
        sides = ("right", "left", "rear")
        touches = jnp.stack([self.touches(data, f"{side}_barrier") for side in sides])
        return {
            "standing": standing,
            "upright": upright,
            "stand_reward": standing * upright,
            "small_control": self.small_control(data),
            "move": self.moving(data, RUN_SPEED),
            "wall_collision_discount": _discount(touches.any()),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        running = terms["small_control"] * terms["stand_reward"] * terms["move"]
        return running * terms["wall_collision_discount"]


class Pole(Humanoid):
    """Walking between poles without touching them."""

    lowest = 0.5

    def __init__(self) -> None:
        """Loads the model."""
        spec = load_robot()
        scenes.add_poles(spec)
        super().__init__(spec)

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        standing, upright = self.standing(data), self.upright(data)
        return {
            "standing": standing,
            "upright": upright,
            "stand_reward": standing * upright,
            "small_control": self.small_control(data),
            "move": self.moving(data, POLE_SPEED),
            "collision_discount": _discount(self.touches(data, "poles") > 0),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Half for standing with little force, half for moving."""
        terms = self.terms(data, variables)
        standing = terms["small_control"] * terms["stand_reward"]
        return (standing + terms["move"]) / 2 * terms["collision_discount"]


class Climb(Humanoid):
    """Walking upright where the height of the ground changes."""

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        head = self.site(data, "head")[2]
        feet = jnp.stack([self.site(data, f"{side}_foot")[2] for side in ("left", "right")])
        standing = tolerance(head - feet, bounds=(HEAD_ABOVE_FEET, np.inf), margin=0.45).prod()
        upright = self.upright(data, least=0.5)
        return {
            "standing": standing,
            "upright": upright,
            "stand_reward": standing * upright,
            "small_control": self.small_control(data),
            "move": self.moving(data, WALK_SPEED),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        return terms["stand_reward"] * terms["small_control"] * terms["move"]

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Whether the torso lies or is upside down."""
        return data.xmat[self._torso, 2, 2] < LEAST_UPRIGHT


class Stair(Climb):
    """Stairs, up and down."""

    def __init__(self) -> None:
        """Loads the model."""
        spec = load_robot()
        scenes.add_stairs(spec)
        super().__init__(spec)


class Slide(Climb):
    """Hills, up and down."""

    def __init__(self) -> None:
        """Loads the model."""
        spec = load_robot()
        scenes.add_slides(spec)
        super().__init__(spec)


class Crawl(Humanoid):
    """Crawling through a tunnel."""

    def __init__(self) -> None:
        """Loads the model."""
        spec = load_robot()
        scenes.add_tunnel(spec)
        super().__init__(spec)

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`. The official repository does not report `reward_xquat`."""
        chest = self.site(data, "imu")
        difference = data.xquat[self._pelvis] - jnp.array(CRAWL_QUATERNION)
        return {
            "crawling": tolerance(chest[2], CRAWL_HEIGHTS, margin=1),
            "crawling_head": tolerance(self.site(data, "head")[2], CRAWL_HEIGHTS, margin=1),
            "small_control": self.small_control(data),
            "move": self.moving(data, WALK_SPEED),
            "reward_xquat": tolerance(jnp.linalg.norm(difference), margin=1),
            "in_tunnel": tolerance(chest[1], TUNNEL),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """A weighted mean within the tunnel's width, nothing outside."""
        terms = self.terms(data, variables)
        mean = (
            0.1 * terms["small_control"]
            + 0.25 * jnp.minimum(terms["crawling"], terms["crawling_head"])
            + 0.4 * terms["move"]
            + 0.25 * terms["reward_xquat"]
        )
        return mean * terms["in_tunnel"]

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Never: it has to get down."""
        return jnp.zeros((), bool)


def _discount(collided: jax.Array) -> jax.Array:
    return jnp.where(collided, COLLISION_DISCOUNT, 1.0)


TASKS = {"hurdle": Hurdle, "pole": Pole, "stair": Stair, "slide": Slide, "crawl": Crawl}
