"""What a run directory says about the sessions that wrote it."""

import pytest

from purejax_simba.config import CheckpointConfig
from purejax_simba.errors import WriteError
from purejax_simba.runs.session_record import RECORD_FILE, SessionRecord, read_sessions
from tests.helpers import tiny


def test_sessions_follow_one_another(tmp_path):
    with SessionRecord([tmp_path], 4, 0, "float32") as first:
        first.training_begins(updates=0)
        first.update(env_step=100, updates=40)
        (running,) = read_sessions(tmp_path)
        assert running["status"] == "running"
    with SessionRecord([tmp_path], 4, 100, "float32") as second:
        second.training_begins(updates=40)
        second.update(env_step=300, updates=240)
        second.update(env_step=300, updates=240)  # at the end, once more
    sessions = read_sessions(tmp_path)
    assert [[step for step, _ in s["times"]] for s in sessions] == [[100], [300]]
    assert sessions[1]["times"][0][1] >= sessions[1]["startup_seconds"]
    assert [s["status"] for s in sessions] == ["finished", "finished"]
    assert [(s["first_env_step"], s["env_step"], s["updates"]) for s in sessions] == [
        (0, 100, 40),
        (100, 300, 200),
    ]


def test_how_a_session_ended_is_noted(tmp_path):
    with pytest.raises(ValueError), SessionRecord([tmp_path], 1, 0, "float32"):
        raise ValueError("no such joint\nand more")
    with pytest.raises(SystemExit), SessionRecord([tmp_path], 1, 0, "float32"):
        raise SystemExit(130)
    statuses = [session["status"] for session in read_sessions(tmp_path)]
    assert statuses == ["failed: ValueError: no such joint", "stopped"]


def test_a_record_that_cannot_be_written_hides_no_error(tmp_path):
    record = SessionRecord([tmp_path], 1, 0, "float32")
    (tmp_path / RECORD_FILE).unlink()
    (tmp_path / RECORD_FILE).mkdir()
    with pytest.raises(ValueError, match="the reason"), record:
        raise ValueError("the reason")
    with pytest.raises(WriteError, match="cannot write"), record:
        pass


@pytest.mark.slow
def test_what_took_time_before_a_checkpoint_is_known_there(tmp_path):
    """Who goes on from it, after a kill, has spent that time."""
    checkpoint = CheckpointConfig(interval=100)
    tiny.train("gymnax/Pendulum-v1", tmp_path, checkpoint=checkpoint)
    (session,) = read_sessions(tmp_path / "simba_v2/gymnax/Pendulum-v1")
    assert [step for step, _ in session["times"]] == [0, 100, 200, 300, 400]
    passed = [seconds for _, seconds in session["times"]]
    assert passed == sorted(passed)
