"""A sweep on SLURM: every group is a job, which is queued again when its time is over."""

import functools
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from purejax_simba.config import ConfigError
from purejax_simba.runs.result_files import replace_text
from purejax_simba.runs.session import stop_requests
from purejax_simba.sweep.launching import check_package, work
from purejax_simba.sweep.options import LauncherOptions
from purejax_simba.sweep.running import Assignment, Launcher
from purejax_simba.waiting import say

# Another executor of submitit needs no SLURM.
CLUSTER = "slurm"
# Times that a job's time may be over.
_MOST_TIMEOUTS = 100
_JOB_FILE = "job"


class Job:
    """What a job does; submitit looks for `checkpoint` to see that it may be queued again."""

    def __init__(self, *arguments: Any):
        """Of `work`."""
        self._arguments = arguments

    def __call__(self) -> str:
        """Trains, and writes a checkpoint before its time is over, or it is preempted."""
        from submitit.core.job_environment import JobEnvironment

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
            return work(*self._arguments)
        except SystemExit:
            if is_over and callable(queue_again):
                queue_again(number, None)
            raise

    def checkpoint(self) -> Any:
        """How it goes on, in the words of submitit."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def launcher(options: LauncherOptions) -> Launcher:
    """Trains assignments as jobs of SLURM.

    After a signal the launcher raises SystemExit, and the jobs go on.

    Raises:
      ConfigError: if there is no SLURM, or an option is wrong; by the launcher: if it refuses jobs.
    """
    parameters = {
        "name": "purejax_simba",
        "timeout_min": options.slurm_minutes,
        "gpus_per_node": options.gpus or None,
        "cpus_per_task": options.cpus,
        "slurm_partition": options.slurm_partition,
        "slurm_additional_parameters": dict(map(_name_and_value, options.slurm_options)),
    }
    check_package("submitit")
    if CLUSTER == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError(
            "--launcher slurm: there is no sbatch here: give the command on a machine from which "
            "jobs are submitted"
        )
    return functools.partial(_launch, parameters)


def _name_and_value(option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals:
        raise ConfigError(f"--slurm-options {option}: give names and values, qos=long")
    return name, value


def _launch(
    parameters: dict[str, Any], assignments: Sequence[Assignment]
) -> Iterator[tuple[Assignment, str]]:
    with stop_requests() as request:
        waiting = submit(parameters, assignments)
        names = " ".join(job.job_id for job in waiting)
        say(f"waiting for jobs {names}; Ctrl-C leaves them to go on")
        while waiting:
            for job in [job for job in waiting if job.done()]:
                yield waiting.pop(job), _outcome(job)
            if request.signal is not None:
                names = " ".join(job.job_id for job in waiting)
                say(f"jobs {names} go on: scancel {names} ends them, the same command waits again")
                raise SystemExit(128 + request.signal)
            time.sleep(1.0)


def submit(parameters: dict[str, Any], assignments: Sequence[Assignment]) -> dict[Any, Assignment]:
    """A job for each assignment: the one that was submitted before, if it is not over.

    Args:
      parameters: of submitit's executor.
      assignments: of one sweep.

    Raises:
      ConfigError: if SLURM refuses the jobs.
    """
    import submitit

    directory = assignments[0].sweep.directory / "jobs"
    executor = submitit.AutoExecutor(directory, CLUSTER, slurm_max_num_timeout=_MOST_TIMEOUTS)
    executor.update_parameters(**parameters)
    jobs: dict[Any, Assignment] = {}
    new: list[Assignment] = []
    for each in assignments:
        file = each.group.directory / _JOB_FILE
        known = file.read_text() if file.exists() else ""
        if known and CLUSTER == "slurm" and _is_queued(known):
            jobs[submitit.SlurmJob(executor.folder, known)] = each
        else:
            new.append(each)
    try:
        tasks = [Job(each, Path.cwd(), sys.argv) for each in new]
        submitted = executor.submit_array(tasks) if tasks else []
    except submitit.core.utils.FailedJobError as error:
        raise ConfigError(f"sbatch refuses the jobs: {' '.join(str(error).split())}") from error
    for job, each in zip(submitted, new, strict=True):
        each.group.directory.mkdir(parents=True, exist_ok=True)
        replace_text(each.group.directory / _JOB_FILE, job.job_id)
        say(f"{each.name} is job {job.job_id}, which writes to {job.paths.stderr}")
        jobs[job] = each
    return jobs


def _is_queued(job: str) -> bool:
    """Whether a job waits or runs."""
    words = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
    found = subprocess.run(words, capture_output=True, text=True)
    return found.returncode == 0 and bool(found.stdout.strip())


def _outcome(job: Any) -> str:
    if job.exception() is None:
        return job.result()
    return f"job {job.job_id} ended without a result: {job.paths.stderr} says why"
