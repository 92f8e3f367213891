"""Programs as compiled for a GPU and for a pod of TPUs that are not here.

They take the compilers of the extra `targets`, which `.ci/run` installs for them.
"""

import importlib.util
import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from tests.helpers.pages import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.targets,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None
        or importlib.util.find_spec("jax_cuda12_plugin") is None,
        reason="needs the compilers of accelerators: pip install -e '.[targets]'",
    ),
]

# Widths as published; the replay is larger than a megabyte, from where copies count.
TASK = "--task gymnax/Pendulum-v1 --physics auto --replay.capacity 131072"
SPREAD = "--num-seeds 8"
DIVIDED = (
    "--num-seeds 1 --devices-per-run 8 --num-environments 8 --num-evaluation-episodes 8 "
    "--total-env-steps 800000 --evaluation-interval 80000"
)
PHYSICS = "--task dmc/hopper-hop --physics mjx --agent.name random --num-seeds 2"
H100, POD = "h100", "v5e:2x4"
# Operations of an update, as they are; what to aim for is 150 on a GPU and 450 on a TPU.
MOST_OPERATIONS = {H100: 240, POD: 640}
# Whole arrays that an interaction copies, in bytes, as they are; what to aim for is none.
MOST_COPIED = {H100: 20_000_000, POD: 200_000_000}


@cache
def compiled(target: str, options: str) -> dict[str, Any]:
    """What `benchmarks.targets` prints."""
    command = [sys.executable, "-m", "benchmarks.targets", "--target", target, *options.split()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    ("target", "options"), [(H100, "--num-seeds 2"), (POD, SPREAD), (POD, DIVIDED)]
)
def test_the_state_stays_where_it_is(target, options):
    found = compiled(target, f"{TASK} {options}")
    # What is left are hyperparameters and counters, which may be padded.
    assert found["argument_bytes"] - found["donated_bytes"] < 50_000
    assert found["bytes_copied_per_interaction"] <= MOST_COPIED[target]


@pytest.mark.parametrize(("target", "options"), [(H100, "--num-seeds 2"), (POD, SPREAD)])
def test_runs_do_not_wait_for_each_other_and_need_what_was_estimated(target, options):
    found = compiled(target, f"{TASK} {options}")
    assert found["collectives"] == {}
    assert found["operations_per_update"] <= MOST_OPERATIONS[target]
    assert found["estimate_over_compiled"] == pytest.approx(1, abs=0.1)


def test_the_devices_of_a_run_meet_for_sums_and_for_what_they_draw():
    found = compiled(POD, f"{TASK} {DIVIDED}")
    assert found["collectives"]["all-reduce"] > 0


@pytest.mark.parametrize("target", [H100, POD])
def test_physics_has_float32(target):
    products = compiled(target, PHYSICS)["products_by_precision"]["environment"]
    assert set(products) == {"highest"}


def test_the_command_of_a_run_says_whether_it_fits():
    def run(seeds: int) -> subprocess.CompletedProcess[str]:
        words = "train.py --compile-for h100 --task gymnax/Pendulum-v1 --agent.name random "
        command = [sys.executable, *f"{words} --num-seeds {seeds}".split()]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    fits, too_many = run(2), run(20_000)
    assert fits.returncode == 0 and "collectives    none" in fits.stdout
    assert too_many.returncode == 2
    last = too_many.stderr.splitlines()[-1]
    assert last.startswith("error: 20,000 runs need") and "give --num-seeds" in last
