"""Episodes as pictures: mp4, gif, or a strip of frames as png. Works without a screen."""

import ctypes.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.base import Environment
from envs.registry import TaskError

FRAMES_PER_SECOND = 30  # at most
FRAMES_OF_STRIP = 8
FORMATS = (".mp4", ".gif", ".png")

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
      TaskError: for an unknown format, a missing directory or a missing package.
    """
    if output.suffix not in FORMATS:
        raise TaskError(f"{output} has an unknown format: choose from {', '.join(FORMATS)}")
    if not output.parent.is_dir():
        raise TaskError(f"{output.parent} is no directory: make it first")
    if output.suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ModuleNotFoundError as error:
            raise TaskError(
                f"{error.name} is not installed: pip install imageio-ffmpeg, or take .gif or .png"
            ) from error


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
    scene = _Scene(environment, camera, width, height)
    states = list(_play(environment, policy, seed, steps))
    if output.suffix == ".png":
        count = min(FRAMES_OF_STRIP, len(states))
        chosen = np.linspace(0, len(states) - 1, count).astype(int)
        _write_png(output, [scene.draw(states[index]) for index in chosen])
        return len(states) - 1
    stride = max(1, round(1 / (FRAMES_PER_SECOND * scene.interval)))
    frames = (scene.draw(state) for state in states[::stride])
    write = _write_mp4 if output.suffix == ".mp4" else _write_gif
    write(output, frames, 1 / (stride * scene.interval))
    return len(states) - 1


def _play(environment: Environment, policy: Policy, seed: int, steps: int | None) -> Iterator[Any]:
    """States of one episode, the first one included."""
    key = jax.random.key(seed)
    state, observation = jax.jit(environment.reset)(key)
    yield jax.device_get(_under_wrappers(state))

    @jax.jit
    def step(state: Any, observation: jax.Array, number: int) -> tuple[Any, Any]:
        return environment.step(state, policy(jax.random.fold_in(key, number), observation))

    limit = environment.episode_length or 1000
    for number in range(limit if steps is None else min(limit, steps)):
        state, timestep = step(state, observation, number)
        observation = timestep.observation
        yield jax.device_get(_under_wrappers(state))
        if timestep.terminated or timestep.truncated:
            return


class _Scene:
    """Draws states of one environment."""

    def __init__(self, environment: Environment, camera: str | int | None, width: int, height: int):
        import mujoco

        bare: Any = environment
        repeat = 1
        while hasattr(bare, "inner"):
            repeat *= getattr(bare, "repeat", 1)
            bare = bare.inner
        if not hasattr(bare, "pose"):
            raise TaskError("this task has no MuJoCo model: only tasks that have one can be drawn")
        self._bare = bare
        self._model = bare.mujoco_model()
        self.interval = repeat * bare.interval
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

    def draw(self, state: Any) -> np.ndarray:
        """`(height, width, 3)` uint8."""
        import mujoco

        self._bare.pose(self._model, self._data, state)
        mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, self._camera)
        return self._renderer.render()


def _under_wrappers(state: Any) -> Any:
    """The state of the environment under all wrappers (whose states say `environment`)."""
    from envs.wrappers import AutoResetState, TimeLimitState

    while isinstance(state, AutoResetState | TimeLimitState):
        state = state.environment
    return state


def _write_mp4(output: Path, frames: Iterator[np.ndarray], frequency: float) -> None:
    import imageio_ffmpeg

    first = next(frames)
    size = (first.shape[1], first.shape[0])
    writer = imageio_ffmpeg.write_frames(
        str(output), size, fps=frequency, quality=8, macro_block_size=2
    )
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
