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

# The replay is larger than a megabyte, from where copies count. Networks are as published for the
# GPU, and small for TPUs, for which those take minutes to compile.
TASK = "--task gymnax/Pendulum-v1 --replay.capacity 131072"
SMALL = (
    "--replay.batch-size 64 --agent.actor-hidden-dim 16 --agent.critic-hidden-dim 16 "
    "--agent.critic-num-blocks 1"
)
TWO = f"{TASK} --num-seeds 2"
SPREAD = f"{TASK} {SMALL} --num-seeds 64"  # eight on each chip
ALONE = f"{TASK} {SMALL} --num-seeds 8"
DIVIDED = (
    f"{TASK} {SMALL} --num-seeds 1 --devices-per-run 8 --num-environments 8 "
    "--num-evaluation-episodes 8 --total-env-steps 800000 --evaluation-interval 80000"
)
PHYSICS = "--task dmc/cheetah-run --physics mjx --agent.name random --num-seeds 2"
H100, POD = "h100", "v5e:2x4"
# As they are. What to aim for: 150 operations of an update on a GPU.
MOST_OPERATIONS = {(H100, TWO): 230, (POD, SPREAD): 370, (POD, ALONE): 510}
MOST_TEMPORARY = {H100: 60_000_000, POD: 15_000_000}


@cache
def compiled(target: str, options: str) -> dict[str, Any]:
    """What `benchmarks.targets` prints."""
    command = [sys.executable, "-m", "benchmarks.targets", "--target", target, *options.split()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)


@pytest.mark.parametrize(("target", "options"), [(H100, TWO), (POD, SPREAD), (POD, DIVIDED)])
def test_the_state_stays_where_it_is(target, options):
    found = compiled(target, options)
    # What is left are hyperparameters and counters, which may be padded.
    assert found["argument_bytes"] - found["donated_bytes"] < 50_000
    assert found["bytes_copied_per_interaction"] == 0


@pytest.mark.parametrize(("target", "options"), [(H100, TWO), (POD, SPREAD)])
def test_runs_do_not_wait_for_each_other_and_need_little(target, options):
    found = compiled(target, options)
    assert found["collectives"] == {}
    assert found["operations_per_update"] <= MOST_OPERATIONS[target, options]
    assert found["temporary_bytes"] <= MOST_TEMPORARY[target]


def test_a_run_that_has_a_chip_to_itself_takes_few_operations():
    """Those on single numbers are one by one then, where several runs do them as one."""
    assert compiled(POD, ALONE)["operations_per_update"] <= MOST_OPERATIONS[POD, ALONE]


def test_the_memory_of_a_gpu_is_that_which_was_estimated():
    assert compiled(H100, TWO)["estimate_over_compiled"] == pytest.approx(1, abs=0.1)


def test_the_devices_of_a_run_meet_for_sums_and_for_what_they_draw():
    found = compiled(POD, DIVIDED)
    assert found["collectives"]["all-reduce"] > 0


def test_physics_has_float32():
    """For TPUs, tests/test_precision.py reads it before it is compiled, which would take long."""
    products = compiled(H100, PHYSICS)["products_by_precision"]["environment"]
    assert set(products) == {"highest"}


def test_the_command_of_a_run_says_whether_it_fits():
    def run(seeds: int) -> subprocess.CompletedProcess[str]:
        words = "train.py --compile-for h100 --task gymnax/Pendulum-v1 --agent.name random"
        command = [sys.executable, *f"{words} --num-seeds {seeds}".split()]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    fits, too_many = run(2), run(4_000)
    assert fits.returncode == 0 and "collectives none" in " ".join(fits.stdout.split())
    assert too_many.returncode == 2
    last = too_many.stderr.splitlines()[-1]
    assert last.startswith("error: 4,000 runs need") and "give --num-seeds" in last
