"""Turning a key, holding an object, twirling a pen."""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.myosuite.hand import Hand, palm_up

KEY_ANGLE = 3.14  # rad, to which the key is to be turned
KEY_ANGLE_IF_HARD = 2 * np.pi
KEY_START_IF_HARD = np.pi / 2  # rad, how far from rest it begins at most, to either side
KEY_OFFSET = 0.010  # m, how far the key is from its place at most, along each axis
KEY_RADIUS = 0.030  # m, of its head, on which thumb and index finger are to be
KEY_FAR = 0.1  # m from there, at which an episode ends
HELD = 0.010  # m from the goal, that counts as held
GOAL_OFFSET = 0.030  # m, how far the goal is from the object's place at most, along each axis
OBJECT_SIZES = (0.020, 0.030)  # m, from which the half axes of the object are drawn
LOST = 0.300  # m, that counts as lost
PEN_LOST = 0.075  # m
ALIGNED = 0.95  # cosine between pen and goal, that counts as turned


class KeyTurn(Hand):
    """Observes positions (23), velocities (23, per step), those of the key (2), from thumb and
    index finger to its head (6), and activations (39). Hard: the key is elsewhere, turned to any
    side, and has to be turned once around."""

    recipe = "hand_keyturn"
    weights: ClassVar[dict[str, float]] = {
        "key_turn": 1.0,
        "IFtip_approach": 10.0,
        "THtip_approach": 10.0,
        "act_reg": 1.0,
        "bonus": 4.0,
        "penalty": 25.0,
    }

    def pose(self, key: jax.Array) -> jax.Array:
        """The open hand."""
        most = KEY_START_IF_HARD if self._hard else 0.0
        return jnp.zeros(self.model.nq).at[-1].set(_offset(key, most, ()))

    def vary(self, key: jax.Array) -> dict[str, jax.Array]:
        """The place of the key."""
        if not self._hard:
            return {}
        places = jnp.asarray(self.model.body_pos, jnp.float32)
        return {"body_pos": places.at[self.model.body("key").id].add(_offset(key, KEY_OFFSET))}

    def _from_tips(self, data: Any) -> list[jax.Array]:
        head = self.site(data, "keyhead")
        return [head - self.site(data, tip) for tip in ("IFtip", "THtip")]

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """See above."""
        velocity = data.qvel * self._interval
        return jnp.concatenate(
            [
                data.qpos[:-1],
                velocity[:-1],
                data.qpos[-1:],
                velocity[-1:],
                *self._from_tips(data),
                data.act,
            ]
        )

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Hand.terms`."""
        angle = data.qpos[-1]
        index, thumb = (jnp.abs(jnp.linalg.norm(way) - KEY_RADIUS) for way in self._from_tips(data))
        off = [distance > KEY_FAR / 2 for distance in (index, thumb)]
        return {
            "key_turn": angle,
            "IFtip_approach": -index,
            "THtip_approach": -thumb,
            "act_reg": self.effort(data),
            "bonus": (angle > np.pi / 2).astype(float) + (angle > np.pi),
            "penalty": -off[0].astype(float) - off[1],
            "solved": angle > (KEY_ANGLE_IF_HARD if self._hard else KEY_ANGLE),
            "done": (index > KEY_FAR) | (thumb > KEY_FAR),
        }


class Hold(Hand):
    """Observes positions (23), velocities (23, per step), the object (3), how far it has to go (3)
    and activations (39). Hard: any ellipsoid, to be held near where it begins."""

    recipe = "hand_hold"
    weights: ClassVar[dict[str, float]] = {"goal_dist": 100.0, "bonus": 4.0, "penalty": 10.0}

    def __init__(self, hard: bool):
        """See `Hand`."""
        super().__init__(hard)
        thing = self.model.body("object")
        self._place, self._geom = thing.pos.copy(), thing.geomadr[0]
        if hard:  # contacts are looked for around the largest, whose inertia is that of all
            self.model.geom_rbound[self._geom] = OBJECT_SIZES[1]
            self.model.geom_aabb[self._geom, 3:] = OBJECT_SIZES[1]
            self.model.bvh_aabb[self.model.body_bvhadr[thing.id], 3:] = OBJECT_SIZES[1]

    def goal(self, key: jax.Array) -> jax.Array:
        """Where to hold it, `(3,)`."""
        if not self._hard:
            return jnp.asarray(self.model.site("goal").pos, jnp.float32)
        return self._place + _offset(key, GOAL_OFFSET)

    def vary(self, key: jax.Array) -> dict[str, jax.Array]:
        """The size of the object."""
        if not self._hard:
            return {}
        sizes = jnp.asarray(self.model.geom_size, jnp.float32)
        low, high = OBJECT_SIZES
        drawn = jax.random.uniform(key, (3,), minval=low, maxval=high)
        return {"geom_size": sizes.at[self._geom].set(drawn)}

    def pose(self, key: jax.Array) -> jax.Array:
        """See `palm_up`."""
        return jnp.asarray(palm_up(self.model, 7))

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """See above."""
        place = self.site(data, "object")
        left = variables - place
        velocity = data.qvel[:-6] * self._interval
        return jnp.concatenate([data.qpos[:-7], velocity, place, left, data.act])

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Hand.terms`."""
        distance = jnp.linalg.norm(variables - self.site(data, "object"))
        lost = distance > LOST
        return {
            "goal_dist": -distance,
            "bonus": (distance < 2 * HELD).astype(float) + (distance < HELD),
            "penalty": -lost.astype(float),
            "solved": distance < HELD,
            "done": lost,
        }

    def show(self, model: mujoco.MjModel, variables: Any) -> None:
        """See `Task.show`."""
        model.site("goal").pos = variables


class PenTwirl(Hand):
    """Observes positions (23), the pen's place (3), velocity (6, per step) and direction (3), that
    to which it is to be turned (3), how far it has to go (3, 3), and activations (39)."""

    fields = ("qpos", "qvel", "act", "site_xpos", "xpos")
    substeps = 5
    recipe = "hand_pen"
    weights: ClassVar[dict[str, float]] = {
        "pos_align": 1.0,
        "rot_align": 1.0,
        "act_reg": 5.0,
        "drop": 5.0,
        "bonus": 10.0,
    }

    def __init__(self, hard: bool):
        """See `Hand`."""
        super().__init__(hard)
        self._pen = self.model.body("Object").id
        ends = [self.model.site(f"object_{end}").pos for end in ("top", "bottom")]
        self._length = float(np.linalg.norm(ends[0] - ends[1]))

    def pose(self, key: jax.Array) -> jax.Array:
        """See `palm_up`."""
        return jnp.asarray(palm_up(self.model, 6))

    def goal(self, key: jax.Array) -> Any:
        """The direction to turn the pen to, `(3,)`: up, tilted about y, then x, by a radian at most
        if it is hard."""
        x, y = jax.random.uniform(key, (2,), minval=-1.0) if self._hard else jnp.zeros(2)
        return jnp.stack([jnp.sin(y), -jnp.sin(x) * jnp.cos(y), jnp.cos(x) * jnp.cos(y)])

    def _errors(self, data: Any, variables: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The pen's direction, from its goal to its place, from its goal to its direction."""
        ends = [self.site(data, f"object_{end}") for end in ("top", "bottom")]
        direction = (ends[0] - ends[1]) / self._length
        from_goal = data.xpos[self._pen] - self.site(data, "eps_ball")
        return direction, from_goal, direction - variables

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """See above."""
        direction, *errors = self._errors(data, variables)
        velocity = data.qvel[-6:] * self._interval
        pen = (data.xpos[self._pen], velocity, direction, variables, *errors)
        return jnp.concatenate([data.qpos[:-6], *pen, data.act])

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Hand.terms`."""
        direction, from_goal, _ = self._errors(data, variables)
        distance = jnp.linalg.norm(from_goal)
        cosine = direction @ variables
        cosine /= jnp.linalg.norm(direction) * jnp.linalg.norm(variables)
        lost = distance > PEN_LOST
        bonus = (cosine > 0.9).astype(float) + 5.0 * (cosine > ALIGNED)
        return {
            "pos_align": -distance,
            "rot_align": cosine,
            "act_reg": self.effort(data),
            "drop": -lost.astype(float),
            "bonus": bonus * (distance < PEN_LOST),
            "solved": (cosine > ALIGNED) & ~lost,
            "done": lost,
        }


def _offset(key: jax.Array, most: float, shape: tuple[int, ...] = (3,)) -> jax.Array:
    """Drawn evenly from both sides of zero."""
    return jax.random.uniform(key, shape, minval=-most, maxval=most)


TASKS = {
    "key-turn": partial(KeyTurn, hard=False),
    "key-turn-hard": partial(KeyTurn, hard=True),
    "obj-hold": partial(Hold, hard=False),
    "obj-hold-hard": partial(Hold, hard=True),
    "pen-twirl": partial(PenTwirl, hard=False),
    "pen-twirl-hard": partial(PenTwirl, hard=True),
}
