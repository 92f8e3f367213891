"""Sweeps whose groups train in other processes: on Ray, on SLURM, and what both rest on.

What they write is what one process writes that trains one group after the other.
"""

import contextlib
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from purejax_simba.config import Config, ConfigError
from purejax_simba.files import write_json
from purejax_simba.runs.run_lock import LOCK_FILE
from purejax_simba.sweep import commands, on_slurm, running
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.grouping import make_groups
from purejax_simba.sweep.options import LauncherOptions
from tests.helpers import tiny

TASK = "gymnax/Pendulum-v1"
# Two groups of two configurations, of which nothing is learned: they compile in seconds.
TINY = (
    f"--task {TASK} --num-seeds 2 --total-env-steps 1200 --evaluation-interval 400 "
    "--num-evaluation-episodes 2 --episode-length 50 --learning-starts 40 --experiment tiny "
    "--agent.name random --checkpoint.interval 40 --output . "
    "--grid num-environments=1,2 --grid discount=0.9,0.99"
).split()
SECONDS = 300.0
# The command line with another executor of submitit, which is the one that needs no SLURM.
LOCAL = """
import sys
from purejax_simba.commands import sweep
from purejax_simba.sweep import on_slurm
on_slurm.CLUSTER = "local"
sys.exit(sweep.main())
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Of all processes: what one has compiled, the others find."""
    cache = tmp_path_factory.mktemp("cache")
    flags = "--xla_backend_optimization_level=0"
    return os.environ | {
        "PYTHONPATH": str(tiny.ROOT),
        "XDG_CACHE_HOME": str(cache),
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
    }


@pytest.fixture
def start(tmp_path, environment):
    """Starts the command in a directory of its own; more words -> process."""
    started: list[subprocess.Popen] = []

    def start(*words: str, local: bool = False) -> subprocess.Popen:
        words += ("--gpus", "0") if words else ()
        program = ["-c", LOCAL] if local else [str(tiny.ROOT / "sweep.py")]
        process = subprocess.Popen(
            [sys.executable, *program, *TINY, *words],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def expected(tmp_path_factory, environment) -> dict[str, str]:
    """The results of one process."""
    return _of_one_process(tmp_path_factory.mktemp("expected"), environment)


def _of_one_process(
    directory: Path, environment: dict[str, str], words: Sequence[str] = ()
) -> dict[str, str]:
    command = [sys.executable, str(tiny.ROOT / "sweep.py"), *TINY, *words]
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return _results(directory)


def _results(directory: Path) -> dict[str, str]:
    """The table, and all rows of all runs."""
    files = [directory / "tiny" / "sweep.csv", *sorted(directory.rglob("metrics.csv"))]
    assert len(files) >= 5
    return {str(file.relative_to(directory)): file.read_text() for file in files}


def _wait_for(process: subprocess.Popen, pattern: str, directory: Path) -> Path:
    """The first file of that pattern."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # directories come and go
            for file in directory.glob(pattern):
                return file
        time.sleep(0.02)
    raise AssertionError(f"no {pattern}: {process.communicate(timeout=1)}")


def _checkpoint(process: subprocess.Popen, directory: Path) -> Path:
    """The directory of a group that has written a checkpoint, but not its last one."""
    pattern = "tiny/programs/*/part-0/stage-0/checkpoints/state/[0-9]*"
    return _wait_for(process, pattern, directory).parents[4]


def _finish(process: subprocess.Popen) -> str:
    """What it printed for the user; it has to succeed."""
    _, messages = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, messages
    return messages


def _sessions(directory: Path, group: Path) -> list[dict]:
    first = {"000": "000", "001": "002"}[group.name]
    return json.loads((directory / "tiny" / first / TASK / "run.json").read_text())


@pytest.fixture
def nodes(environment, monkeypatch):
    """A cluster of Ray whose first node has no cores, and two others that have one each."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    size = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **size})
    others = [cluster.add_node(num_cpus=1, **size) for _ in range(2)]
    yield cluster, others
    cluster.shutdown()


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
def test_what_a_dead_node_trained_goes_on_on_another(nodes, start, tmp_path, expected):
    cluster, others = nodes
    process = start("--launcher", "ray", "--ray-address", cluster.address, "--cpus", "1")
    group = _checkpoint(process, tmp_path)
    worker = json.loads((group / LOCK_FILE).read_text())["pid"]
    (node,) = [
        node for node in others if node.all_processes["raylet"][0].process.pid == _parent(worker)
    ]
    cluster.remove_node(node, allow_graceful=False)
    messages = _finish(process)
    assert "resumed" in messages
    assert _results(tmp_path) == expected
    first, second = _sessions(tmp_path, group)
    assert first["status"] == "running" and second["status"] == "finished"
    assert second["first_env_step"] > 0
    assert second["command"].split()[1].endswith("sweep.py")


@pytest.mark.slow
def test_ctrl_c_stops_the_tasks_of_ray_with_a_checkpoint(start, tmp_path, expected):
    """Of a cluster of its own; the same command goes on."""
    process = start("--launcher", "ray")
    group = _checkpoint(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, messages
    assert "stopping after the tasks have written their checkpoints" in messages
    assert not (group / LOCK_FILE).exists()
    (session,) = _sessions(tmp_path, group)
    assert session["status"] == "stopped"
    assert "resumed" in _finish(start("--launcher", "ray"))
    assert _results(tmp_path) == expected
    assert _sessions(tmp_path, group)[1]["first_env_step"] == session["env_step"]
    assert _finish(start()).count("was finished before") == 2


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port", "127.0.0.1"])
def test_a_cluster_that_is_not_there_is_one_line(tmp_path, address):
    with pytest.raises(ConfigError, match=f"^there is no Ray cluster at --ray-address {address}: "):
        commands.train(_sweep(tmp_path), LauncherOptions("ray", ray_address=address, gpus=0))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_job_goes_on_after_its_time_is_over(start, tmp_path, expected):
    process = start("--launcher", "slurm", local=True)
    group = _checkpoint(process, tmp_path)
    job = json.loads((group / LOCK_FILE).read_text())["pid"]
    os.kill(job, signal.SIGUSR2)  # as SLURM does before the end
    _finish(process)
    assert _results(tmp_path) == expected
    first, second = _sessions(tmp_path, group)
    assert (first["status"], second["status"]) == ("stopped", "finished")
    # It had written a checkpoint for it.
    assert second["first_env_step"] == first["env_step"] > 0
    assert "Requeued job" in "".join(file.read_text() for file in tmp_path.rglob("*.err"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "--halving 2 --rungs 400",
        "--sampler tpe --samples 4 --trials-per-batch 2 --storage sqlite:///x",
    ],
)
def test_what_is_compared_on_the_way_may_be_jobs(start, tmp_path, environment, words):
    """Halving, and two studies in one database."""
    (tmp_path / "one").mkdir()
    expected = _of_one_process(tmp_path / "one", environment, words.split())
    _finish(start("--launcher", "slurm", *words.split(), local=True))
    shutil.rmtree(tmp_path / "one")
    assert _results(tmp_path) == expected


def _sweep(output: Path, **options) -> Sweep:
    config = Config(
        TASK,
        num_seeds=2,
        total_env_steps=400,
        evaluation_interval=200,
        learning_starts=60,
        agent=tiny.AGENT,
        experiment="tiny",
        output=str(output),
    )
    return Sweep(config, (TASK,), (Axis("agent.num_bins", "grid", (11, 13)),), **options)


def _assignments(output: Path) -> list[running.Assignment]:
    sweep = _sweep(output)
    groups = make_groups(sweep)
    running.begin_sweep(sweep, groups)
    return [running.Assignment(sweep, each, len(groups)) for each in groups]


def test_assignments_travel(tmp_path):
    for each in _assignments(tmp_path):
        assert pickle.loads(pickle.dumps(each)) == each


def test_a_node_that_does_not_see_the_directory_says_so(tmp_path):
    (first, _) = _assignments(tmp_path)
    reason = running.work(first, tmp_path / "elsewhere", [])
    assert f"cannot use {tmp_path}/elsewhere (No such file or directory): start where" in reason


SBATCH = """#!/bin/sh
cp "$1" "$(dirname "$0")/submitted"
echo "Submitted batch job 17"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Iterator[Path]:
    """A directory with SLURM's programs, which take a job and never run it."""
    programs = tmp_path / "slurm"
    programs.mkdir()
    answers = {"sbatch": SBATCH, "srun": "#!/bin/sh\n", "squeue": "#!/bin/sh\necho RUNNING\n"}
    for name, text in answers.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    yield programs


def test_jobs_are_submitted_once_with_what_was_asked_for(slurm, tmp_path):
    assignments = _assignments(tmp_path)
    options = LauncherOptions(
        "slurm",
        gpus=2,
        cpus=8,
        slurm_partition="long",
        slurm_minutes=90,
        slurm_options=("account=mine", "mem=64G"),
    )
    jobs = on_slurm.submit(options, assignments)
    assert {job.job_id: each for job, each in jobs.items()} == {
        "17_0": assignments[0],
        "17_1": assignments[1],
    }
    asked = (slurm / "submitted").read_text()
    for line in ("partition=long", "time=90", "gpus-per-node=2", "cpus-per-task=8"):
        assert f"#SBATCH --{line}\n" in asked
    for line in ("account=mine", "mem=64G", "signal=USR2@90", "open-mode=append", "array=0-1%2"):
        assert f"#SBATCH --{line}\n" in asked
    (slurm / "submitted").unlink()
    again = on_slurm.submit(options, assignments)
    assert [job.job_id for job in again] == ["17_0", "17_1"]
    assert not (slurm / "submitted").exists()
    # Once they are over, others take their place.
    (slurm / "squeue").write_text("#!/bin/sh\nexit 1\n")
    on_slurm.submit(options, assignments)
    assert (slurm / "submitted").exists()


class Hostile:
    """Makes a directory when it is read as a pickle."""

    def __init__(self, directory: Path):
        self._directory = directory

    def __reduce__(self):
        return os.mkdir, (str(self._directory),)


def test_pickles_that_lie_in_a_sweep_are_not_read(slurm, tmp_path):
    """Neither as what a job gave, nor by a job that was just submitted."""
    assignments = _assignments(tmp_path)
    jobs = assignments[0].sweep.directory / "jobs"
    (jobs / "earlier").mkdir(parents=True)
    code = pickle.dumps(Hostile(tmp_path / "ran"))
    for name in ("17_0_0_result.pkl", "17_0_0_submitted.pkl", "17_1_0_submitted.pkl"):
        (jobs / name).write_bytes(code)
        (jobs / "earlier" / name).write_bytes(code)
    write_json(assignments[0].group.directory / "job.json", "earlier/17_0")
    outcomes = on_slurm.launch(LauncherOptions("slurm"), assignments)
    assert next(outcomes)[1].startswith("job 17_0 ended without a result: ")
    submitted = (slurm / "submitted").read_text()
    folder = Path(shlex.split(submitted.splitlines()[-1])[-1])
    assert folder.parent == jobs and folder.name != "earlier"
    assert [file.name for file in folder.iterdir()].count("17_1_0_submitted.pkl") == 0
    assert not (tmp_path / "ran").exists()


def test_what_sbatch_says_is_one_line(slurm, tmp_path):
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'invalid partition: long' >&2\nexit 1\n")
    with pytest.raises(ConfigError, match=r"sbatch refuses the jobs: .*invalid partition") as error:
        on_slurm.submit(LauncherOptions("slurm"), _assignments(tmp_path))
    assert "\n" not in str(error.value)


def test_without_slurm_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no sbatch here"):
        commands.train(_sweep(tmp_path), LauncherOptions("slurm"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("launcher", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_launcher_that_is_not_installed_says_how_it_is(tmp_path, monkeypatch, launcher, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"purejax_simba.sweep.on_{launcher}", raising=False)
    advice = rf"{package} is not installed: pip install 'purejax_simba\[{launcher}\]'"
    with pytest.raises(ConfigError, match=advice):
        commands.train(_sweep(tmp_path), LauncherOptions(launcher))
    assert not list(tmp_path.iterdir())
