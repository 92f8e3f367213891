"""Checkpoints on disk: complete or not there at all, and what is done with damaged ones."""

import numpy as np
import pytest

from purejax_simba.config import ConfigError
from purejax_simba.runs import checkpoint
from purejax_simba.runs.checkpoint import CheckpointError, CheckpointWriter, Notes, read_newest


def _arrays(number: int) -> dict[str, np.ndarray]:
    words = np.arange(1000, dtype=np.uint32) * number
    return {"a.words": words, "a.flags": words % 2 == 0, "count": np.asarray(np.int32(number))}


def _notes(number: int) -> Notes:
    return {"interactions": number, "replay": True, "metrics_bytes": [9], "num_seeds": [2]}


def _write(directory, *numbers: int, keep: int = 2) -> None:
    with CheckpointWriter(directory, keep) as writer:
        for number in numbers:
            writer.save(number, _arrays(number), _notes(number))


def _files(directory) -> list:
    """The files that hold arrays, largest last."""
    files = (path for path in (directory / "arrays").rglob("*") if path.is_file())
    return sorted(files, key=lambda path: path.stat().st_size)


def test_the_newest_comes_back_and_the_last_ones_are_kept(tmp_path):
    _write(tmp_path, 5, 10, 20)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [10, 20]
    found = read_newest(tmp_path)
    assert (found.env_step, found.notes, found.damaged) == (20, _notes(20), [])
    assert found.arrays.keys() == _arrays(20).keys()
    for name, array in _arrays(20).items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def _truncate(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.unlink()])
@pytest.mark.parametrize("which", ["array", "checksums.json", "notes.json"])
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path, damage, which):
    _write(tmp_path, 10, 20)
    newest = tmp_path / "20"
    damage(_files(newest)[-1] if which == "array" else newest / which)
    found = read_newest(tmp_path)
    assert found.env_step == 10
    (message,) = found.damaged
    assert str(newest) in message and "damaged" in message and "\n" not in message
    np.testing.assert_array_equal(found.arrays["a.words"], _arrays(10)["a.words"])


def test_none_that_can_be_used_is_an_error_that_says_why(tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint was written"):
        read_newest(tmp_path / "nowhere")
    _write(tmp_path, 10)
    _flip(_files(tmp_path / "10")[-1])
    with pytest.raises(ConfigError, match="10 is damaged"):
        read_newest(tmp_path)


def test_what_was_never_finished_does_not_count(tmp_path, monkeypatch):
    """As after a kill in the middle of writing, which leaves no time to clean up."""
    _write(tmp_path, 10)
    monkeypatch.setattr(checkpoint, "_checksums", lambda _: (_ for _ in ()).throw(SystemExit()))
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(SystemExit):
        _write(tmp_path, 20)
    monkeypatch.undo()
    assert (tmp_path / "unfinished").exists()
    assert read_newest(tmp_path).env_step == 10
    _write(tmp_path, 30)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "30"]


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    _write(tmp_path, 10)

    def fail(path, _) -> None:
        path.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_save_tree", fail)
    with CheckpointWriter(tmp_path, keep=1) as writer:
        writer.save(20, _arrays(20), _notes(20))
        with pytest.raises(CheckpointError, match="No space left on device") as failed:
            writer.save(30, _arrays(30), _notes(30))
        assert "\n" not in str(failed.value)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["10"]
    assert read_newest(tmp_path).env_step == 10


def test_the_same_step_can_be_written_again(tmp_path):
    _write(tmp_path, 10)
    _write(tmp_path, 10)
    assert read_newest(tmp_path).env_step == 10


def test_a_damaged_one_does_not_stand_for_one_that_is_kept(tmp_path):
    """The run went on from the one before, and has not come as far again."""
    _write(tmp_path, 10, 20)
    _truncate(tmp_path / "20" / "notes.json")
    _write(tmp_path, 15, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["15", "20"]
    assert read_newest(tmp_path).env_step == 15
