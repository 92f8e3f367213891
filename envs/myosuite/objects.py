"""Turning a key, holding an object, twirling a pen."""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from envs.myosuite.hand import Hand, palm_up

KEY_ANGLE = 3.14  # rad, to which the key is to be turned
KEY_RADIUS = 0.030  # m, of its head, on which thumb and index finger are to be
KEY_FAR = 0.1  # m from there, at which an episode ends
HELD = 0.010  # m from the goal, that counts as held
LOST = 0.300  # m, that counts as lost
PEN_LOST = 0.075  # m
ALIGNED = 0.95  # cosine between pen and goal, that counts as turned


class KeyTurn(Hand):
    """Observes positions (23), velocities (23, per step), those of the key (2), from thumb and
    index finger to its head (6), and activations (39)."""

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
        return jnp.zeros(self.model.nq)

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
            "solved": angle > KEY_ANGLE,
            "done": (index > KEY_FAR) | (thumb > KEY_FAR),
        }


class Hold(Hand):
    """Observes positions (23), velocities (23, per step), the object (3), how far it has to go (3)
    and activations (39)."""

    recipe = "hand_hold"
    weights: ClassVar[dict[str, float]] = {"goal_dist": 100.0, "bonus": 4.0, "penalty": 10.0}

    def pose(self, key: jax.Array) -> jax.Array:
        """See `palm_up`."""
        return jnp.asarray(palm_up(self.model, 7))

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """See above."""
        place = self.site(data, "object")
        left = self.site(data, "goal") - place
        velocity = data.qvel[:-6] * self._interval
        return jnp.concatenate([data.qpos[:-7], velocity, place, left, data.act])

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Hand.terms`."""
        distance = jnp.linalg.norm(self.site(data, "goal") - self.site(data, "object"))
        lost = distance > LOST
        return {
            "goal_dist": -distance,
            "bonus": (distance < 2 * HELD).astype(float) + (distance < HELD),
            "penalty": -lost.astype(float),
            "solved": distance < HELD,
            "done": lost,
        }


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


TASKS = {
    "key-turn": partial(KeyTurn, hard=False),
    "obj-hold": partial(Hold, hard=False),
    "pen-twirl": partial(PenTwirl, hard=False),
    "pen-twirl-hard": partial(PenTwirl, hard=True),
}
