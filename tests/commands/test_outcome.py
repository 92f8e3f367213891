"""Both commands end in the same way."""

import pytest

import envs
from purejax_simba.commands import one_line_errors
from purejax_simba.config import ConfigError
from purejax_simba.errors import WriteError
from purejax_simba.runs.checkpoint import CheckpointError
from purejax_simba.runs.memory import OutOfMemoryError
from purejax_simba.sweep.running import SweepError

ROOM = "error: why: make room there, then do it again\n"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigError("why"), 2, "error: why\n"),
        (envs.TaskError("why"), 2, "error: why\n"),
        (envs.HostEnvironmentError("why"), 1, "error: why\n"),
        (OutOfMemoryError("why"), 1, "error: why\n"),
        (SweepError("why"), 1, "error: why\n"),
        (WriteError("why"), 1, ROOM),
        (CheckpointError("why"), 1, ROOM),
        (None, 0, ""),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_status(error, status, line, capsys):
    with one_line_errors("do it again") as outcome:
        if error is not None:
            raise error
    assert outcome.status == status
    assert capsys.readouterr() == ("", line)


def test_what_nobody_expects_is_not_hidden():
    with pytest.raises(ZeroDivisionError), one_line_errors("do it again"):
        raise ZeroDivisionError
