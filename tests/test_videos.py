"""`python train.py --video`: films and plots of trained policies, and which seeds they show."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from purejax_simba import videos
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.data.normalisation import RunningMoments
from purejax_simba.runs.policies import Policy, save_policies
from purejax_simba.runs.result_files import MetricsFile, create_run_directory
from purejax_simba.training import make_program
from tests.helpers import tiny

RETURNS = {3: 10.0, 4: 40.0, 5: 20.0}


def _finished_run(output: Path, task: str, episode_length: int) -> Path:
    """A run directory as training leaves it, with policies that know nothing."""
    config = Config(
        task=task,
        num_seeds=len(RETURNS),
        seed=3,
        total_env_steps=80,
        evaluation_interval=40,
        learning_starts=20,
        episode_length=episode_length,
        agent=tiny.AGENT,
        replay=ReplayConfig(capacity=80, batch_size=8),
        output=str(output),
    )
    program = make_program(config)
    directory = create_run_directory(program.config)
    metrics = MetricsFile(directory, program.config)
    metrics.write(0, {seed: {"avg_return": -value} for seed, value in RETURNS.items()})
    metrics.write(80, {seed: {"avg_return": value} for seed, value in RETURNS.items()})
    one = Policy(
        jax.jit(program.agent.init)(jax.random.key(0), program.hyperparameters()).actor,
        RunningMoments.create(program.environment.observation_size),
        program.hyperparameters(),
    )
    save_policies(directory, jax.tree.map(lambda x: jnp.stack([x] * len(RETURNS)), one))
    return directory


@pytest.mark.slow
def test_tasks_without_pictures_are_plotted(tmp_path):
    directory = _finished_run(tmp_path, "gymnax/Pendulum-v1", episode_length=12)
    files = list(videos.make_videos(directory))
    assert [file.name for file in files] == [*(f"seed-{s}.png" for s in RETURNS), "mosaic.png"]
    widths = [Image.open(file).size[0] for file in files]
    assert widths[-1] > 2 * widths[0]
    index = json.loads((directory / "videos" / "index.json").read_text())
    assert (index["best"], index["median"], index["mosaic"]) == (4, 5, "mosaic.png")
    assert index["seeds"]["3"]["file"] == "seed-3.png"
    # 12 steps of at most pi^2 + 0.1 * 8^2 + 0.001 * 2^2 each.
    assert all(-12 * 16.3 < seed["return"] < 0 for seed in index["seeds"].values())


def test_a_mosaic_holds_the_last_picture_of_a_shorter_episode():
    def film(colour: int, count: int) -> list[bytes]:
        small: list[bytes] = []
        frames = (np.full((60, 80, 3), colour + 40 * i, np.uint8) for i in range(count))
        passed_on = list(videos._keep_small(frames, small, width=40))
        assert len(passed_on) == count and passed_on[0].shape == (60, 80, 3)
        return small

    tiles = [("one", film(0, 2)), ("two", film(100, 3)), ("three", film(200, 1))]
    pictures = list(videos._mosaic(tiles, columns=2))
    assert [picture.shape for picture in pictures] == [(60, 80, 3)] * 3
    middles = [
        [picture[y, x, 0] for y, x in ((20, 20), (20, 60), (50, 20))] for picture in pictures
    ]
    np.testing.assert_allclose(middles, [[0, 100, 200], [40, 140, 200], [40, 180, 200]], atol=3)
    assert pictures[0][45, 60].max() == 0, "no fourth seed"


@pytest.mark.slow
def test_tasks_with_a_model_are_filmed(tmp_path):
    """The frames of 30 steps of 0.025 s; by the command, as MuJoCo can draw where it may choose."""
    import imageio_ffmpeg

    directory = _finished_run(tmp_path, "dmc/walker-walk", episode_length=60)
    command = [sys.executable, str(tiny.ROOT / "train.py"), "--video", str(directory)]
    result = subprocess.run(
        command, capture_output=True, text=True, env=tiny.choosing_how_to_draw()
    )
    assert result.returncode == 0, result.stderr[-2000:]
    for name in (*(f"seed-{seed}.mp4" for seed in RETURNS), "mosaic.mp4"):
        file = directory / "videos" / name
        frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(file))
        assert (frames, round(seconds, 2)) == (31, 1.55)
