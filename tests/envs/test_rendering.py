"""`python -m envs`: the list, and pictures without a screen."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import envs
from envs import rendering
from purejax_simba.agents.flash_sac import FlashSAC
from purejax_simba.config import Config
from tests.helpers import tiny
from tests.helpers.host_processes import FAKES
from tests.helpers.originals import need_dm_control
from tests.parity.reference import Reference


def run(*arguments: str) -> subprocess.CompletedProcess:
    """In a process of its own, because the way of drawing is chosen before MuJoCo is imported."""
    return subprocess.run(
        [sys.executable, "-m", "envs", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=tiny.choosing_how_to_draw(),
    )


@pytest.mark.slow
def test_a_strip_shows_a_moving_reacher_and_its_target(tmp_path):
    output = tmp_path / "strip.png"
    arguments = ("--steps", "20", "--width", "120", "--height", "90", "--output", str(output))
    result = run("render", "dmc/reacher-easy", *arguments)
    assert result.returncode == 0, result.stderr
    assert "20 steps of dmc/reacher-easy" in result.stdout
    picture = np.asarray(Image.open(output).convert("RGB"), int)
    assert picture.shape == (90, 8 * 120, 3)
    first, last = picture[:, :120], picture[:, -120:]
    assert first.std() > 10, "not a uniform picture"
    changed = np.abs(first - last).max(-1) > 30
    assert 5 < changed.sum() < changed.size / 2


@pytest.mark.parametrize(
    ("task_id", "fields"),
    [
        ("dmc/reacher-hard", ("geom_pos", "geom_size")),
        ("dmc/fish-swim", ("geom_pos",)),
        ("dmc/finger-turn_easy", ("site_pos", "site_size")),
        ("dmc/finger-spin", ("site_rgba",)),
    ],
)
def test_what_is_shown_is_where_the_suite_puts_it(task_id, fields):
    need_dm_control()
    native, reference = envs.make(task_id, "mujoco").unwrapped, Reference(task_id, seed=0)
    _, _, variables = native.task.initialize(jax.random.key(0))
    reference.place_target(variables)
    model = native.mujoco_model()
    native.task.show(model, variables)
    for field in fields:
        ours, theirs = getattr(model, field), getattr(reference.model, field)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert not np.allclose(ours, getattr(native.task.model, field))


def test_what_has_no_model_is_plotted(tmp_path, monkeypatch, capsys):
    from envs.__main__ import main

    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)  # nor is it needed
    output = tmp_path / "x.png"
    words = ["envs", "render", "gymnax/Pendulum-v1", "--steps", "3", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0, capsys.readouterr().err
    assert capsys.readouterr().out == f"{output}: 3 steps of gymnax/Pendulum-v1, as plots\n"
    assert output.read_bytes().startswith(b"\x89PNG")


def test_a_policy_is_played_in_the_environment_that_it_was_trained_in(monkeypatch, tmp_path):
    """What was kept from actors comes last there, too."""
    from envs.__main__ import main

    config = Config(task=f"{FAKES}Dictionary-v0", agent=FlashSAC(), privileged_observations=("a",))

    class Drawn:
        """Of an agent that draws its actions."""

        def __init__(self):
            self.config = config

        def __call__(self, observation, key=None):
            return key

    monkeypatch.setattr("purejax_simba.load_policy", lambda *_, **__: Drawn())
    played = []

    def play_one(environment, policy, *_):
        played.append(environment)
        assert policy("a key", None) == "a key"
        return SimpleNamespace(length=1)

    monkeypatch.setattr(rendering, "play_one", play_one)
    monkeypatch.setattr("purejax_simba.videos.draw_states", lambda *_: None)
    output = str(tmp_path / "x.png")
    words = ["envs", "render", config.task, "--policy", "run", "--output", output]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0
    assert [name for name, _ in played[0].layout] == ["b/x/0", "b/y", "a"]


def test_a_machine_that_cannot_draw_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(envs.TaskError, match="libegl1"):
        rendering.choose_backend()
    monkeypatch.setattr("ctypes.util.find_library", lambda name: name == "OSMesa" or None)
    rendering.choose_backend()
    assert os.environ.pop("MUJOCO_GL") == "osmesa"


def test_the_list_shows_sizes_and_what_is_missing(monkeypatch, capsys):
    from envs.__main__ import main

    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    envs.register(
        "mine/lost",
        lambda physics: None,
        suite="mujoco",
        package="no_such",
        install="pip install x",
    )
    monkeypatch.setattr(sys, "argv", ["envs", "mujoco"])
    assert main() == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert lines["mujoco/Hopper-v4"][1:] == ["11", "3", "1000", "1", "mujoco,", "mjx,", "warp"]
    humanoid = " ".join(lines["mujoco/Humanoid-v4"][1:])
    assert re.fullmatch(r"376 17 1000 1 mujoco, mjx \(Newton .*\), warp \(Newton .*\)", humanoid)
    assert " ".join(lines["mine/lost"][1:]) == "no_such is not installed: pip install x"


def test_the_list_of_everything_makes_published_tasks_only(monkeypatch, capsys):
    from envs.__main__ import main

    made = []

    def make(task, host):
        made.append(task)
        raise envs.TaskError("not now")

    monkeypatch.setattr(envs, "make", make)
    monkeypatch.setattr(sys, "argv", ["envs", "--host-python", sys.executable])
    assert main() == 0
    assert set(made) == set(envs.tasks("all")), "MyoSuite too: the other interpreter may have it"
    listed = capsys.readouterr().out.split()
    assert set(envs.tasks()) <= set(listed)
    made.clear()
    monkeypatch.setattr(sys, "argv", ["envs", "brax"])
    assert main() == 0
    assert tuple(made) == envs.tasks("brax")


@pytest.mark.slow
def test_the_list_comes_without_words_of_libraries():
    result = run()
    assert (result.returncode, result.stderr) == (0, "")


def test_a_film_is_written_whole_or_not_at_all(tmp_path):
    def frames(interrupted: int) -> Iterator[np.ndarray]:
        for number in range(4):
            if number == interrupted:
                raise KeyboardInterrupt
            yield np.full((4, 4, 3), 60 * number, np.uint8)

    output = tmp_path / "film.gif"
    output.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        rendering.write_film(output, frames(2), 10.0)
    assert list(tmp_path.iterdir()) == [output] and output.read_text() == "before"
    rendering.write_film(output, frames(4), 10.0)
    assert list(tmp_path.iterdir()) == [output] and Image.open(output).n_frames == 4


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_films_have_the_frames_of_an_episode(suffix, tmp_path):
    import imageio_ffmpeg

    output = tmp_path / f"film.{suffix}"
    arguments = ("--steps", "30", "--width", "160", "--height", "120", "--output", str(output))
    result = run("render", "dmc/walker-run", *arguments)
    assert result.returncode == 0, result.stderr
    # A control interval of 0.025 s, two intervals per action: 20 frames per second.
    if suffix == "mp4":
        frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(output))
        assert (frames, round(seconds, 2)) == (31, 1.55)
    else:
        film = Image.open(output)
        assert (film.n_frames, film.info["duration"]) == (31, 50)
