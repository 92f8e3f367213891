"""Which originals of tasks can be compared with."""

import sys

import pytest

import envs


def need_dm_control() -> None:
    """Skips a test on the Pythons that dm_control does not install on."""
    if sys.version_info >= (3, 13):
        pytest.skip("dm_control can be installed up to Python 3.12 only")


def need_warp() -> None:
    """Skips the test where MuJoCo Warp does not run."""
    try:
        envs.make("dmc/pendulum-swingup", "warp")
    except envs.TaskError as error:
        pytest.skip(str(error))
