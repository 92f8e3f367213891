"""A signal is heard at any moment, said at once, and ends the program; a closed pipe does too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from purejax_simba.stopping import StopRequest, stop_requests
from tests.helpers import tiny

BEGIN = """
import gc, hashlib, sys, threading, time
from purejax_simba import stopping
from purejax_simba.waiting import say, still
stopping.hear()
def in_c(millions):
    # A single call that no signal ends, as those of XLA; the lock of the interpreter is free.
    hashlib.pbkdf2_hmac("sha256", b"", b"", int(millions * 1e6))
def ready():
    print("ready", flush=True)
"""


@pytest.fixture(autouse=True)
def usual_signals():
    """Also where the tests run in the background, for which shells ignore some."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _start(code: str, *words: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", BEGIN + code, *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, text=True, cwd=tiny.ROOT, **streams)


def _stopped(code: str, *numbers: signal.Signals) -> tuple[int, str, float]:
    """Sends signals to a program that is `ready`: its status, its words, and how long it took."""
    with _start(code) as process:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        begin = time.monotonic()
        words = ""
        for number in numbers:
            time.sleep(0.2)
            process.send_signal(number)
            words += process.stderr.readline()  # at once, whatever it is busy with
        words += process.communicate(timeout=60)[1]
        return process.returncode, words, time.monotonic() - begin


COMPILING = """
with still("compiling"):
    ready()
    WAIT
print("went on")
"""


@pytest.mark.parametrize(
    ("wait", "number"),
    [
        ("while True: pass", signal.SIGINT),
        ("threading.Event().wait()", signal.SIGHUP),
        ("in_c(300)", signal.SIGINT),
        ("in_c(300)", signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_program_at_once(wait, number):
    status, words, seconds = _stopped(COMPILING.replace("WAIT", wait), number)
    assert (status, words) == (128 + number, f"{number.name}: interrupted while compiling\n")
    assert seconds < 10


def test_a_signal_is_heard_after_all_is_done():
    """Where Python waits for what other threads compile."""
    code = "threading.Thread(target=in_c, args=[300]).start()\nready()"
    assert _stopped(code, signal.SIGTERM)[:2] == (143, "SIGTERM: interrupted\n")


def test_what_is_raised_where_it_is_lost_ends_the_program():
    """As where JAX lets Python collect garbage."""
    code = """
def collect(*_):
    while True: pass
with still("compiling"):
    ready()
    gc.callbacks.append(collect)
    gc.collect()
in_c(300)
"""
    assert _stopped(code, signal.SIGINT)[:2] == (130, "SIGINT: interrupted while compiling\n")


def test_what_was_being_said_does_not_keep_it_from_being_said():
    code = """
class Slow:
    def write(self, words):
        if words == "a line\\n":
            ready()
            while True: pass
        sys.__stderr__.write(words)
    def flush(self): sys.__stderr__.flush()
sys.stderr = Slow()
with still("compiling"): say("a line")
"""
    assert _stopped(code, signal.SIGTERM)[:2] == (143, "SIGTERM: interrupted while compiling\n")


def test_a_process_of_several_hears_a_signal_that_jax_takes():
    code = """
import socket
from purejax_simba.config import ProcessOptions
from purejax_simba.runs.processes import join
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
join(ProcessOptions(True, f"127.0.0.1:{port}", 1, 0))
with still("compiling"):
    ready()
    in_c(300)
"""
    status, words, _ = _stopped(code, signal.SIGTERM)
    assert status == 143 and "SIGTERM: interrupted while compiling\n" in words


def test_what_others_make_of_the_interruption_is_not_an_error():
    code = """
from purejax_simba.commands import one_line_errors
with one_line_errors("do it again"):
    try:
        with still("compiling"):
            ready()
            in_c(0.5)
            for _ in range(10**9): pass
    except BaseException as error:
        raise RuntimeError("INTERNAL: callback failed") from error
"""
    assert _stopped(code, signal.SIGTERM)[:2] == (143, "SIGTERM: interrupted while compiling\n")


REQUESTED = """
with stopping.stop_requests("the chunk under way") as request:
    with still("training"):
        ready()
        in_c(MILLIONS)
        while request.signal is None: time.sleep(0.01)
    print("in order", flush=True)
sys.exit(128 + request.signal)
"""
SAID = "stopping after the chunk under way (training); a second signal ends it at once\n"


def test_a_request_is_said_at_once_and_met_in_order():
    status, words, _ = _stopped(REQUESTED.replace("MILLIONS", "1"), signal.SIGTERM)
    assert (status, words) == (143, f"SIGTERM: {SAID}")


def test_a_second_signal_ends_the_program_at_once():
    code = REQUESTED.replace("MILLIONS", "300")
    status, words, seconds = _stopped(code, signal.SIGTERM, signal.SIGINT)
    assert (status, words) == (130, f"SIGTERM: {SAID}SIGINT: interrupted while training\n")
    assert seconds < 10


def test_what_has_to_be_done_is_done_in_any_case(tmp_path):
    code = f"""
from pathlib import Path
from purejax_simba.runs.run_lock import RunLock
with RunLock(Path({str(tmp_path)!r})), still("compiling"):
    ready()
    in_c(300)
"""
    assert _stopped(code, signal.SIGINT)[0] == 130
    assert list(tmp_path.iterdir()) == []


def test_without_a_program_of_ours_the_second_signal_acts_as_usual(capsys):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests("the chunk under way") as request:
        signal.raise_signal(signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert "SIGINT: stopping after the chunk" in capsys.readouterr().err
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_a_wait_ends_with_a_signal(capsys):
    with stop_requests("a last page") as request:
        begin = time.monotonic()
        signal.raise_signal(signal.SIGTERM)
        request.wait(60.0)
        assert time.monotonic() - begin < 10
    assert not StopRequest("").wait(0.01)


def test_a_request_is_heard_where_a_library_has_taken_the_signal():
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + REQUESTED
    status, words, _ = _stopped(code.replace("MILLIONS", "1"), signal.SIGTERM)
    assert (status, words) == (143, f"SIGTERM: {SAID}")


def test_ignored_hangups_stay_ignored():
    """As with `nohup`."""
    with _start("ready(); time.sleep(0.5)", preexec_fn=_ignore_hangups) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0


def _ignore_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


# Modules of C++ abort where something is raised while they are imported.
IN_CPP = """
import os, time
try:
    print("ready", flush=True)
    time.sleep(60)
except BaseException:
    os.abort()
"""
COMMANDS = ["train.py", "sweep.py"]
COMMANDS += [f"-m purejax_simba{name}" for name in (" train", " sweep", ".datasets", ".report")]


COMMANDS += ["-m envs", "-m envs render", "-m benchmarks.update", "-m tests.parity"]


@pytest.mark.parametrize("command", [*COMMANDS, "-m tests.golden"])
def test_commands_hear_while_they_import(tmp_path, command):
    """Also while the packages are imported that they are in: JAX comes after that."""
    (tmp_path / "jax.py").write_text(IN_CPP)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, *command.split()],
        text=True,
        cwd=tiny.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "SIGINT: interrupted\n"
        assert process.returncode == 130


CLOSED = """
with stopping.stop_requests("the chunk under way") as request:
    with still("training"):
        while request.signal is None:
            say("a line")
            time.sleep(0.01)
    with open(sys.argv[1], "w") as file: file.write("in order")
    say("another line")
sys.exit(128 + request.signal)
"""


def test_words_that_nobody_reads_are_a_request_to_end(tmp_path):
    with _start(CLOSED, str(tmp_path / "file")) as process:
        assert process.stderr.readline() == "a line\n"
        process.stderr.close()
        assert process.wait(60) == 143
        assert process.stdout.read() == ""
    assert (tmp_path / "file").read_text() == "in order"


LISTING = """
from purejax_simba.commands import one_line_errors
with one_line_errors("do it again") as outcome:
    for line in range(100_000 if sys.argv[1] == "long" else 3): print("line", line)
sys.exit(outcome.status)
"""


@pytest.mark.parametrize(
    ("length", "unbuffered"), [("long", {}), ("short", {}), ("long", {"PYTHONUNBUFFERED": "1"})]
)
def test_a_list_that_nobody_reads_ends_quietly(length, unbuffered):
    reader, writer = os.pipe()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | unbuffered
    with _start(LISTING, length, stdout=writer, env=environment) as process:
        os.close(writer)
        if length == "long":
            os.read(reader, 1)
        os.close(reader)
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_list_that_finds_no_room_says_so_in_one_line():
    with Path("/dev/full").open("w") as full, _start(LISTING, "short", stdout=full) as process:
        line = "error: cannot write to standard output: No space left on device\n"
        assert process.stderr.read() == line
        assert process.wait(60) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_words_that_find_no_room_are_no_reason_to_end():
    code = """
from purejax_simba.commands import one_line_errors
with one_line_errors("do it again") as outcome:
    say("a")
    ready()
sys.exit(outcome.status)
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full, _start(code, stderr=full, env=environment) as process:
        assert process.stdout.read() == "ready\n"
        assert process.wait(60) == 0
