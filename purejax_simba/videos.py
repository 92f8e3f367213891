"""Videos of the trained policies of a run, one per seed and all of them side by side.

Where a task has no picture, plots of what was observed and done take their place.
"""

import importlib.util
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import envs
from envs import rendering
from purejax_simba import drawing
from purejax_simba.config import Config
from purejax_simba.evaluation import evaluation_policy
from purejax_simba.files import write_json, writing
from purejax_simba.program import Program
from purejax_simba.runs.policies import Policy, finished_run, load_policies
from purejax_simba.runs.result_files import read_returns
from purejax_simba.waiting import count_of, still

VIDEO_DIRECTORY, INDEX_FILE = "videos", "index.json"
_SIZE = 480, 360  # of a seed's video in pixels, even numbers
_MOSAIC_WIDTH = 1440  # at most


# A video, and all of them; see `make_videos`.
Film = TypedDict("Film", {"file": str, "return": float})


class Index(TypedDict):
    best: int | None
    median: int | None
    mosaic: str
    seeds: dict[str, Film]


def make_videos(directory: Path, given: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Plays one episode with the final policy of every seed, and draws it.

    Writes `<run directory>/videos/`: `seed-<number>` and `mosaic`, each as mp4 (gif where
    imageio-ffmpeg is not installed, png for plots), and `index.json`:

        {"best": seed, "median": seed, "mosaic": file, "seeds": {seed: {"file", "return"}}}

    `best` and `median` (of an even number the lower one) go by the last evaluation in
    `metrics.csv`; null if there is none. `return` is that of the episode in the video.

    Args:
      directory: of a finished run.
      given: see `policies.load_policy`.

    Yields:
      Each file when it is written.

    Raises:
      ConfigError, envs.TaskError: if there is no finished run, or nothing draws here.
    """
    config = finished_run(directory, given)
    if envs.spec(config.task).physics:
        rendering.choose_backend()
    config = to_draw(config)
    program, policies = load_policies(directory, config)
    scene = None
    if rendering.can_draw(program.environment):
        scene = rendering.Scene(program.environment, None, *_SIZE)
    seeds = config.seeds
    with envs.clear_errors(), still(f"playing an episode of {count_of(len(seeds), 'seed')}"):
        played = _play_all(program, policies, seeds)
    episodes = {
        seed: jax.tree.map(lambda leaf, i=index: leaf[i], played)  # type: ignore[misc]
        for index, seed in enumerate(seeds)
    }
    target, files = directory / VIDEO_DIRECTORY, []
    with writing(target, "make room"):
        target.mkdir(exist_ok=True)
        for file in _film(target, scene, episodes) if scene else _plot(target, episodes):
            files.append(file)
            yield file
        write_json(target / INDEX_FILE, _index(directory, episodes, files))


def to_draw(config: Config) -> Config:
    """The configuration with the engine that can be drawn, where there is a choice of engines."""
    if not envs.spec(config.task).physics:
        return config
    return replace(config, physics="mujoco", host_python="")


def _play_all(program: Program, policies: Policy, seeds: Sequence[int]) -> rendering.Episode:
    """An episode of every seed, as numpy arrays with a leading axis of seeds."""
    steps = rendering.steps_of(program.environment)

    def play(key: jax.Array, policy: Policy) -> rendering.Episode:
        act = evaluation_policy(program.config, program.agent, *policy)
        return rendering.play(program.environment, lambda key, x: act(x, key), key, steps)

    # Other episodes than those of training and of `--evaluate`.
    keys = [jax.random.fold_in(jax.random.key(seed), 2) for seed in seeds]
    return jax.device_get(jax.jit(jax.vmap(play))(jnp.stack(keys), policies))


def _return(episode: rendering.Episode) -> float:
    return float(episode.rewards[: int(episode.length)].sum())


def _index(directory: Path, episodes: dict[int, rendering.Episode], files: Sequence[Path]) -> Index:
    final = {seed: points[-1][1] for seed, points in read_returns(directory).items()}
    # What is NaN is worse than anything.
    rank = {seed: math.inf if math.isnan(value) else -value for seed, value in final.items()}
    ranked = sorted((seed for seed in episodes if seed in rank), key=lambda seed: rank[seed])
    *of_seeds, mosaic = (file.name for file in files)
    return {
        "best": ranked[0] if ranked else None,
        "median": ranked[len(ranked) // 2] if ranked else None,
        "mosaic": mosaic,
        "seeds": {
            str(seed): {"file": file, "return": _return(episode)}
            for (seed, episode), file in zip(episodes.items(), of_seeds, strict=True)
        },
    }


def _film(
    target: Path, scene: rendering.Scene, episodes: dict[int, rendering.Episode]
) -> Iterator[Path]:
    suffix = ".mp4" if importlib.util.find_spec("imageio_ffmpeg") else ".gif"
    columns = math.ceil(math.sqrt(len(episodes)))
    tiles = []
    for seed, episode in episodes.items():
        small: list[bytes] = []
        frames = _keep_small(scene.frames(episode), small, _MOSAIC_WIDTH // columns)
        yield _write(target / f"seed-{seed}{suffix}", frames, scene)
        tiles.append((f"seed {seed}, return {_return(episode):.0f}", small))
    yield _write(target / f"mosaic{suffix}", _mosaic(tiles, columns), scene)


def _write(output: Path, frames: Iterator[np.ndarray], scene: rendering.Scene) -> Path:
    with still(f"drawing {output.name}") as note:

        def counted() -> Iterator[np.ndarray]:
            for number, frame in enumerate(frames):
                note(count_of(number, "picture"))
                yield frame

        rendering.write_film(output, counted(), scene.frames_per_second)
    return output


def _keep_small(
    frames: Iterator[np.ndarray], small: list[bytes], width: int
) -> Iterator[np.ndarray]:
    """Passes frames on and keeps them, at most so wide, compressed because they may be many."""
    for frame in frames:
        picture = Image.fromarray(frame)
        picture.thumbnail((width, width))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=92)
        small.append(file.getvalue())
        yield frame


def _mosaic(tiles: Sequence[tuple[str, list[bytes]]], columns: int) -> Iterator[np.ndarray]:
    """All seeds side by side; an episode that is over keeps its last picture."""
    tile_width, tile_height = Image.open(io.BytesIO(tiles[0][1][0])).size
    rows = math.ceil(len(tiles) / columns)
    font = ImageFont.load_default(max(10.0, tile_height / 20))
    # An even number of pixels is what the codec of an mp4 takes.
    size = (tile_width * columns + 1) // 2 * 2, (tile_height * rows + 1) // 2 * 2
    for time in range(max(len(small) for _, small in tiles)):
        picture = Image.new("RGB", size)
        for number, (label, small) in enumerate(tiles):
            tile = Image.open(io.BytesIO(small[min(time, len(small) - 1)]))
            draw = ImageDraw.Draw(tile)
            draw.text((6, 4), label, "white", font, stroke_width=2, stroke_fill="black")
            row, column = divmod(number, columns)
            picture.paste(tile, (column * tile_width, row * tile_height))
        yield np.asarray(picture)


def _plot(target: Path, episodes: dict[int, rendering.Episode]) -> Iterator[Path]:
    plots = {f"seed-{seed}": {seed: episode} for seed, episode in episodes.items()}
    for name, shown in (plots | {"mosaic": episodes}).items():
        with still(f"drawing {name}"):
            draw_states(target / f"{name}.png", shown)
        yield target / f"{name}.png"


def draw_states(output: Path, episodes: dict[int, rendering.Episode]) -> None:
    """A column per seed: observation, action and reward over the steps of the episode."""
    pyplot = drawing.pyplot()
    count = len(episodes)
    size = (2 + 3.6 * count, 6)
    figure, axes = pyplot.subplots(
        3, count, figsize=size, sharex="col", sharey="row", squeeze=False, layout="constrained"
    )
    for column, (seed, episode) in zip(axes.T, episodes.items(), strict=True):
        length = int(episode.length)
        rows = (episode.observations[: length + 1], episode.actions[:length])
        for axis, values in zip(column, (*rows, episode.rewards[:length, None]), strict=False):
            axis.plot(values, linewidth=1, alpha=0.8)
            axis.grid(alpha=0.3)
        column[0].set_title(f"seed {seed}: return {_return(episode):.1f}")
        column[-1].set_xlabel("step")
    for axis, name in zip(axes[:, 0], ("observation", "action", "reward"), strict=True):
        axis.set_ylabel(name)
    drawing.save(figure, output, dpi=100)
