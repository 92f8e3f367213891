"""Walk through a maze, from checkpoint to checkpoint."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from envs.humanoid_bench import scenes
from envs.humanoid_bench.base import Humanoid, collision_discount
from envs.rewards import tolerance

SPEED = 2.0  # m/s
# Per stage, the checkpoint to go to, m, and the direction to go in. A stage ends at its
# checkpoint; the last one does not end.
CHECKPOINTS = ((0.0, 0.0), (3.0, 0.0), (3.0, 6.0), (6.0, 6.0), (6.0, 6.0))
DIRECTIONS = ((1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, 1.0))
LAST_STAGE = len(CHECKPOINTS) - 1
CHECKPOINT_DISTANCE = 0.4  # m, at which one is reached
STAGE_REWARD = 100.0  # times the number of the stage that begins


@struct.dataclass
class Progress:
    """How far the robot has come.

    Attributes:
      stage: `()` int32.
      advanced: `()` bool, whether the stage began in this step.
    """

    stage: jax.Array
    advanced: jax.Array


class Maze(Humanoid):
    """Pays standing, moving along the maze and being near the next checkpoint.

    The variables are the `Progress`.
    """

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The pose of the keyframe at rest, plus noise, in the first stage."""
        qpos, qvel, _ = super().initialize(key)
        return qpos, qvel, Progress(jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def advance(self, data: Any, variables: Any) -> Any:
        """The next stage, where the checkpoint is reached."""
        checkpoint = jnp.array(CHECKPOINTS)[variables.stage]
        distance = jnp.linalg.norm(data.xpos[self._pelvis, :2] - checkpoint)
        advanced = (distance < CHECKPOINT_DISTANCE) & (variables.stage < LAST_STAGE)
        return Progress(variables.stage + advanced, advanced)

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        stage = variables.stage
        off_speed = self.velocity(data)[:2] - SPEED * jnp.array(DIRECTIONS)[stage]
        move = tolerance(off_speed, margin=1, value_at_margin=0, sigmoid="linear").prod()
        move = jnp.where(stage == LAST_STAGE, 1.0, move)
        to_checkpoint = self.site(data, "imu")[:2] - jnp.array(CHECKPOINTS)[stage]
        return {
            "stand_reward": self.standing(data) * self.upright(data),
            "small_control": self.small_control(data),
            "move": (5 * move + 1) / 6,
            "wall_collision_discount": collision_discount(self.touches(data, "maze") > 0),
            "stage_convert_reward": jnp.where(variables.advanced, STAGE_REWARD * stage, 0.0),
            "checkpoint_proximity_reward": tolerance(jnp.linalg.norm(to_checkpoint), margin=1),
            "success_subtasks": stage,
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """A weighted mean, discounted while touching the maze, and what a new stage earns."""
        terms = self.terms(data, variables)
        mean = (
            0.2 * terms["stand_reward"] * terms["small_control"]
            + 0.4 * terms["move"]
            + 0.4 * terms["checkpoint_proximity_reward"]
        )
        return mean * terms["wall_collision_discount"] + terms["stage_convert_reward"]


TASKS = {"maze": partial(Maze, scenes.add_maze)}
