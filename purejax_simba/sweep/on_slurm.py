"""A sweep on SLURM: every group is a job, which is queued again when its time is over.

Submitit hands over by pickles, which run code when they are read. A sweep may come from somebody
else, so every submission has a new folder, in which nothing lay before, and how jobs end is written
as JSON.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import submitit
from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import FailedJobError

from purejax_simba.config import ConfigError
from purejax_simba.files import read_json, write_json
from purejax_simba.stopping import stop_requests
from purejax_simba.sweep.options import LauncherOptions, slurm_parameters
from purejax_simba.sweep.running import Assignment, work
from purejax_simba.waiting import say

# Of submitit's executors; the one that is "local" needs no SLURM.
CLUSTER = "slurm"
# Times that a job's time may be over.
_MOST_TIMEOUTS = 100
_JOB_FILE = "job.json"


class Job(submitit.helpers.Checkpointable):
    """What a job does."""

    def __call__(self, *arguments: Any) -> None:
        """See `work`. Before its time is over it writes a checkpoint, and is queued again."""
        number = JobEnvironment._usr_sig()
        queue_again = signal.getsignal(number)
        is_over = False

        def stop(*_: object) -> None:
            nonlocal is_over
            is_over = True
            signal.raise_signal(signal.SIGTERM)

        # While there is nothing to write, SIGTERM ends it here; a session writes its checkpoint.
        signal.signal(signal.SIGTERM, lambda received, _: sys.exit(128 + received))
        signal.signal(number, stop)
        try:
            reason = work(*arguments)
        except SystemExit:
            if is_over and callable(queue_again):
                queue_again(number, None)
            raise
        environment = JobEnvironment()
        write_json(_outcome_file(environment.paths.folder, environment.job_id), reason)


def launch(
    options: LauncherOptions, assignments: Iterable[Assignment]
) -> Iterator[tuple[Assignment, str]]:
    """Trains assignments as jobs of SLURM; see `running.Launcher`.

    Raises:
      ConfigError: if SLURM refuses the jobs.
      SystemExit: after a signal; the jobs go on.
    """
    with stop_requests("a last look at the jobs") as request:
        waiting = submit(options, assignments)
        while waiting:
            for job in [job for job in waiting if job.done()]:
                log = f"job {job.job_id} ended without a result: {job.paths.stderr} says why"
                outcome = _outcome_file(job.paths.folder, job.job_id)
                yield waiting.pop(job), read_json(outcome, str, log)
            if request.signal is not None:
                names = " ".join(job.job_id for job in waiting)
                say(f"jobs {names} go on: scancel {names} ends them, the same command waits again")
                raise SystemExit(128 + request.signal)
            request.wait(1.0)


def submit(options: LauncherOptions, assignments: Iterable[Assignment]) -> dict[Any, Assignment]:
    """A job for each assignment: the one that was submitted before, if it is not over.

    Raises:
      ConfigError: if there is no SLURM, or it refuses the jobs.
    """
    if CLUSTER == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError(
            "--launcher slurm: there is no sbatch here: give the command on a machine from which "
            "jobs are submitted"
        )
    jobs: dict[Any, Assignment] = {}
    new: list[Assignment] = []
    for each in assignments:
        known = read_json(each.group.directory / _JOB_FILE, str, "")
        folder, _, name = known.partition("/")
        if name and CLUSTER == "slurm" and _is_queued(name):
            jobs[submitit.SlurmJob(_jobs(each) / folder, name)] = each
        else:
            new.append(each)
    for job, each in zip(_submit(options, new) if new else (), new, strict=True):
        write_json(each.group.directory / _JOB_FILE, f"{job.paths.folder.name}/{job.job_id}")
        jobs[job] = each
    for job, each in jobs.items():
        say(f"{each.name} is job {job.job_id}, which writes to {job.paths.stderr}")
    return jobs


def _jobs(assignment: Assignment) -> Path:
    """The directory in which every submission has a folder."""
    return assignment.sweep.directory / "jobs"


def _submit(options: LauncherOptions, assignments: Sequence[Assignment]) -> list[Any]:
    directory = _jobs(assignments[0])
    directory.mkdir(exist_ok=True)
    executor = submitit.AutoExecutor(
        tempfile.mkdtemp(dir=directory), CLUSTER, slurm_max_num_timeout=_MOST_TIMEOUTS
    )
    executor.update_parameters(
        name="purejax_simba",
        timeout_min=options.slurm_minutes,
        gpus_per_node=options.gpus or None,
        cpus_per_task=options.cpus,
        slurm_partition=options.slurm_partition,
        slurm_additional_parameters=slurm_parameters(options),
    )
    try:
        return executor.map_array(Job(), assignments, repeat(Path.cwd()), repeat(sys.argv))
    except FailedJobError as error:
        raise ConfigError(f"sbatch refuses the jobs: {' '.join(str(error).split())}") from error


def _outcome_file(folder: Path, job: str) -> Path:
    """Why a job failed, empty if it did not; nothing where it ended otherwise."""
    return folder / f"{job}.json"


def _is_queued(job: str) -> bool:
    """Whether a job waits or runs."""
    words = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
    found = subprocess.run(words, capture_output=True, text=True)
    return found.returncode == 0 and bool(found.stdout.strip())
