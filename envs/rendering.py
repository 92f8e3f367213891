"""Episodes as pictures: mp4, gif, or a strip of frames as png. Works without a screen."""

import ctypes.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs import episodes
from envs.base import Drawable, Environment
from envs.registry import TaskError

FRAMES_PER_SECOND = 30  # at most
FRAMES_OF_STRIP = 8
FORMATS = (".mp4", ".gif", ".png")
MOST_PIXELS = 4096  # of a side; every way of drawing has as many

Policy = Callable[[jax.Array, jax.Array], jax.Array]  # (key, observation) -> action


def choose_backend() -> None:
    """Chooses how MuJoCo draws, unless `MUJOCO_GL` says so. Before MuJoCo is imported.

    Raises:
      TaskError: where nothing that draws without a screen is installed.
    """
    if "MUJOCO_GL" in os.environ or sys.platform != "linux":
        return
    for library, backend in (("EGL", "egl"), ("OSMesa", "osmesa")):
        if ctypes.util.find_library(library) is not None:
            os.environ["MUJOCO_GL"] = backend
            return
    raise TaskError("nothing here draws without a screen: apt-get install libegl1 (or libosmesa6)")


def check_output(output: Path) -> None:
    """Finds out before an episode is played whether its pictures can be written.

    Raises:
      TaskError: for an unknown format, a missing directory or a missing package, or what is no
        file.
    """
    if output.suffix not in FORMATS:
        raise TaskError(f"{output} has an unknown format: choose from {', '.join(FORMATS)}")
    if output.exists() and not output.is_file():
        raise TaskError(f"{output} is there and no file: give another --output")
    if not output.parent.is_dir():
        raise TaskError(f"{output.parent} is no directory: make it first")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise TaskError(f"{output} cannot be written: give another --output")
    if output.suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ModuleNotFoundError as error:
            raise TaskError(
                f"{error.name} is not installed: pip install imageio-ffmpeg, or take .gif or .png"
            ) from error


def check_sizes(width: int, height: int, steps: int | None = None) -> None:
    """Finds out before an episode is played whether there is anything to draw.

    Raises:
      TaskError: for a side or a number of steps that cannot be.
    """
    for name, pixels in {"width": width, "height": height}.items():
        if not 1 <= pixels <= MOST_PIXELS:
            raise TaskError(f"--{name} is {pixels}: give 1 to {MOST_PIXELS} pixels")
    if steps is not None and steps < 1:
        raise TaskError(f"--steps is {steps}: give 1 or more")


class Episode(NamedTuple):
    """What happened in an episode; what comes after its end means nothing.

    Attributes:
      states: of the environment under all wrappers, `(steps + 1, ...)`, the first one included; or
        empty, where they cannot be drawn.
      observations: `(steps + 1, O)`.
      actions: `(steps, A)`.
      rewards: `(steps,)`.
      length: `()` int32, steps until it ended.
    """

    states: Any
    observations: jax.Array
    actions: jax.Array
    rewards: jax.Array
    length: jax.Array


def play(environment: Environment, policy: Policy, key: jax.Array, steps: int) -> Episode:
    """Plays one episode of at most so many steps; a pure function, to be compiled."""

    def visible(state: Any) -> Any:
        return environment.unwrapped_state(state) if can_draw(environment) else ()

    def step(carry: tuple, number: jax.Array) -> tuple[tuple, jax.Array, tuple]:
        state, observation, running, length = carry
        action = policy(jax.random.fold_in(key, number), observation)
        state, timestep = environment.step(state, action)
        length = length + running
        running = running & ~(timestep.terminated | timestep.truncated)
        seen = (visible(state), timestep.observation, action, timestep.reward)
        return (state, timestep.observation, running, length), running, seen

    state, observation = environment.reset(key)
    begin = (state, observation, jnp.ones((), bool), jnp.int32(0))
    (*_, length), seen = episodes.play(step, begin, steps)
    states, observations, actions, rewards = seen

    def prepend(first: jax.Array, others: jax.Array) -> jax.Array:
        return jnp.concatenate([first[None], others])

    states, observations = jax.tree.map(
        prepend, (visible(state), observation), (states, observations)
    )
    return Episode(states, observations, actions, rewards, length)


def play_one(
    environment: Environment, policy: Policy, seed: int, steps: int | None = None
) -> Episode:
    """Plays one episode of at most so many steps, as numpy arrays."""
    steps = steps_of(environment, steps)
    played = jax.jit(lambda key: play(environment, policy, key, steps))(jax.random.key(seed))
    return jax.device_get(played)


def steps_of(environment: Environment, most: int | None = None) -> int:
    """Steps of an episode, but at most so many."""
    length = environment.episode_length or 1000
    return length if most is None else min(length, most)


def render(
    environment: Environment,
    policy: Policy,
    output: Path,
    seed: int = 0,
    steps: int | None = None,
    camera: str | int | None = None,
    width: int = 480,
    height: int = 360,
) -> int:
    """Plays one episode and writes it to `output`, whose name says in which format.

    Args:
      environment: as `envs.make` returns it, with physics `mujoco` where there is a choice.
      policy: what acts, `(key, observation) -> action`.
      output: a file that ends in one of `FORMATS`.
      seed: of the episode and the policy's key.
      steps: at most so many; None plays the whole episode.
      camera: name or number of one of the model's cameras; None takes its first, if any.
      width, height: of a frame, in pixels.

    Returns:
      The number of steps played.

    Raises:
      TaskError: if the environment has no model to draw, or nothing can draw here.
    """
    check_output(output)
    scene = Scene(environment, camera, width, height)
    episode = play_one(environment, policy, seed, steps)
    if output.suffix == ".png":
        count = min(FRAMES_OF_STRIP, int(episode.length) + 1)
        chosen = np.linspace(0, episode.length, count).astype(int)
        _write_png(output, [scene.draw(_at(episode.states, index)) for index in chosen])
    else:
        write_film(output, scene.frames(episode), scene.frames_per_second)
    return int(episode.length)


def can_draw(environment: Environment) -> bool:
    """Whether there is a MuJoCo model to draw."""
    return isinstance(environment.unwrapped, Drawable)


def write_film(output: Path, frames: Iterator[np.ndarray], frequency: float) -> None:
    """Writes frames `(height, width, 3)` uint8 as mp4 or gif, as the name says, whole or not."""
    write = _write_mp4 if output.suffix == ".mp4" else _write_gif
    unfinished = output.with_name(f"unfinished-{output.name}")
    try:
        write(unfinished, frames, frequency)
        unfinished.rename(output)
    finally:
        unfinished.unlink(missing_ok=True)


def _at(states: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], states)


class Scene:
    """Draws states of one environment.

    Attributes:
      frames_per_second: of `frames`, at most `FRAMES_PER_SECOND`.
    """

    def __init__(self, environment: Environment, camera: str | int | None, width: int, height: int):
        """See `render`.

        Raises:
          TaskError: if the environment has no model to draw, or nothing can draw here.
        """
        import mujoco

        bare = environment.unwrapped
        if not isinstance(bare, Drawable):
            raise TaskError("this task has no MuJoCo model: only tasks that have one can be drawn")
        self._bare, self._model = bare, bare.mujoco_model()
        interval = bare.interval * environment.repeat
        self._stride = max(1, round(1 / (FRAMES_PER_SECOND * interval)))
        self.frames_per_second = 1 / (self._stride * interval)
        self._data = mujoco.MjData(self._model)
        size = self._model.vis.global_
        size.offwidth, size.offheight = max(width, size.offwidth), max(height, size.offheight)
        names = [self._model.camera(number).name for number in range(self._model.ncam)]
        if camera is None:
            camera = 0 if names else -1
        elif str(camera).lstrip("-").isdecimal():
            camera = int(camera)
        if camera not in names and camera not in range(-1, len(names)):
            raise TaskError(
                f"no camera {camera}: choose from {names} or a number below {len(names)}"
            )
        self._camera = camera
        try:
            self._renderer = mujoco.Renderer(self._model, height, width)
        except Exception as error:  # each way of drawing has exceptions of its own
            raise TaskError(
                f"drawing with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} failed ({error}): set "
                "MUJOCO_GL to egl or osmesa and install libegl1 or libosmesa6"
            ) from error

    def frames(self, episode: Episode) -> Iterator[np.ndarray]:
        """Pictures of an episode, as numpy arrays, in the order of time."""
        for index in range(0, int(episode.length) + 1, self._stride):
            yield self.draw(_at(episode.states, index))

    def draw(self, state: Any) -> np.ndarray:
        """`(height, width, 3)` uint8."""
        import mujoco

        self._bare.pose(self._model, self._data, state)
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
        return self._renderer.render()


def _write_mp4(output: Path, frames: Iterator[np.ndarray], frequency: float) -> None:
    import imageio_ffmpeg

    first = next(frames)
    size = (first.shape[1], first.shape[0])
    writer = imageio_ffmpeg.write_frames(
        str(output), size, fps=frequency, quality=8, macro_block_size=2
    )
    with warnings.catch_warnings():
        # JAX is afraid of a fork. This one becomes ffmpeg at once.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        writer.send(None)
    writer.send(np.ascontiguousarray(first))
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


def _write_gif(output: Path, frames: Iterator[np.ndarray], frequency: float) -> None:
    from PIL import Image

    first, *others = [Image.fromarray(frame) for frame in frames]
    milliseconds = round(1000 / frequency)
    first.save(output, save_all=True, append_images=others, duration=milliseconds, loop=0)


def _write_png(output: Path, frames: list[np.ndarray]) -> None:
    from PIL import Image

    Image.fromarray(np.concatenate(frames, axis=1)).save(output)
