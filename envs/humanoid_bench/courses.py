"""Hurdles, poles, stairs, hills and a tunnel, to be passed in the direction of x."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.humanoid_bench import scenes
from envs.humanoid_bench.base import Humanoid, collision_discount
from envs.humanoid_bench.locomotion import RUN_SPEED, WALK_SPEED
from envs.rewards import tolerance

POLE_SPEED = 0.5  # m/s
HEAD_ABOVE_FEET = 1.2  # m, that counts as standing on uneven ground
LEAST_UPRIGHT = 0.1  # cosine below which an episode of climbing ends
CRAWL_HEIGHTS = (0.6, 1.0)  # m, of head and chest
CRAWL_QUATERNION = (0.75, 0.0, 0.65, 0.0)  # of the pelvis, face down
TUNNEL = (-1.0, 1.0)  # m, across


class Hurdle(Humanoid):
    """Running over hurdles without touching the barriers beside them."""

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        upright = self.upright(data, least=0.8)
        sides = ("right", "left", "rear")
        touches = jnp.stack([self.touches(data, f"{side}_barrier") for side in sides])
        return self.stand_terms(data, self.standing(data), upright) | {
            "move": self.moving(data, RUN_SPEED),
            "wall_collision_discount": collision_discount(touches.any()),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        running = terms["small_control"] * terms["stand_reward"] * terms["move"]
        return running * terms["wall_collision_discount"]


class Pole(Humanoid):
    """Walking between poles without touching them."""

    lowest = 0.5

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        return self.stand_terms(data, self.standing(data), self.upright(data)) | {
            "move": self.moving(data, POLE_SPEED),
            "collision_discount": collision_discount(self.touches(data, "poles") > 0),
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
        return self.stand_terms(data, standing, self.upright(data, least=0.5)) | {
            "move": self.moving(data, WALK_SPEED)
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        return terms["stand_reward"] * terms["small_control"] * terms["move"]

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Whether the torso lies or is upside down."""
        return data.xmat[self._torso, 2, 2] < LEAST_UPRIGHT


class Crawl(Humanoid):
    """Crawling through a tunnel. Being low does not end an episode: it has to get down."""

    lowest = -math.inf

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


TASKS = {
    "hurdle": partial(Hurdle, scenes.add_hurdles),
    "pole": partial(Pole, scenes.add_poles),
    "stair": partial(Climb, scenes.add_stairs),
    "slide": partial(Climb, scenes.add_slides),
    "crawl": partial(Crawl, scenes.add_tunnel),
}
