"""How a program is stopped: a signal is heard at any moment, said at once, and ends it.

Python calls the handler of a signal in the main thread, between two of its own steps. While XLA
compiles there are none for minutes, and what a handler raises while JAX lets Python collect garbage
is lost. So a thread is told of signals too: it says what will happen, and ends the program where
the main thread does not.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from purejax_simba import waiting

# Ctrl-C, a request to end, and the end of the terminal.
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# For things to be put in order; then the program ends wherever it is.
PATIENCE = 1.0

_duties: list[Callable[[], object]] = []


class Interrupted(KeyboardInterrupt):
    """A signal ends the program."""


class StopRequest:
    """Whether a signal has asked to stop: `signal` is which; None until then."""

    def __init__(self, after: str):
        """`after` says what is done before."""
        self.signal: signal.Signals | None = None
        self._after = after
        self._is_said = threading.Event()

    def hear(self, heard: signal.Signals) -> bool:
        """Says so, of the first signal; False for further ones."""
        if self._is_said.is_set():
            return False
        self.signal = self.signal or heard
        now = f" ({doing})" if (doing := waiting.doing()) else ""
        ends = "a second signal ends it at once"
        waiting.say(f"{heard.name}: stopping after {self._after}{now}; {ends}")
        self._is_said.set()
        return True

    def wait(self, seconds: float) -> None:
        """Returns after so long, or when a signal was heard."""
        self._is_said.wait(seconds)


class _Hearing:
    """What is done about signals, until `close`.

    The handler (in the main thread) and the listener (in its own) are told of each in any order.

    Attributes:
      request: that the next signal is for; None: it ends the program.
      ended_by: the signal that does.
    """

    def __init__(self, is_of_program: bool):
        """Of a program, until it ends; or else of a single request, to be closed after that."""
        self.request: StopRequest | None = None
        self.ended_by: signal.Signals | None = None
        self._is_of_program = is_of_program
        self._met: StopRequest | None = None
        self._num_handled = self._num_said = 0
        self._ear, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        self._usual_bell = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        self._usual = self.take()

    def take(self) -> dict[int, Any]:
        """Takes the signals; returns how they were handled."""
        is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        return {
            number: signal.signal(number, self._handle)
            for number in _NUMBERS
            if number is not signal.SIGHUP or not is_nohup
        }

    def close(self) -> None:
        """Signals act as they did."""
        _give_back(self._usual)
        signal.set_wakeup_fd(self._usual_bell)
        self._bell.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._num_handled += 1
        request = self.request
        is_first = request is not self._met
        self._met = request
        # What is under way now is what is to be said, and the listener knows what came first. It
        # cannot say it where this thread was saying something.
        self.wait_until_said(0.1)
        if request is None or not is_first:
            self.ended_by = self.ended_by or signal.Signals(number)
            if self._is_of_program and _is_importing(frame):
                self.leave(self.ended_by)
            raise Interrupted
        request.signal = request.signal or signal.Signals(number)
        if not self._is_of_program:
            _give_back(self._usual)

    def leave(self, number: int) -> NoReturn:
        """Ends the program, without waiting for what other threads compile."""
        self.wait_until_said(PATIENCE)
        for duty in reversed(_duties):
            with contextlib.suppress(Exception):
                duty()
        os._exit(128 + number)

    def wait_until_said(self, seconds: float) -> None:
        """Returns when the listener has been told of all that the handler was."""
        deadline = time.monotonic() + seconds
        while self._num_said < self._num_handled and time.monotonic() < deadline:
            time.sleep(0.001)

    def _listen(self) -> None:
        while word := self._ear.recv(1):
            if word[0] not in _NUMBERS:
                continue
            heard = signal.Signals(word[0])
            ends = not (self.request and self.request.hear(heard)) and self._is_of_program
            if ends:
                self.ended_by = heard
                during = f" while {doing}" if (doing := waiting.doing()) else ""
                waiting.say(f"{heard.name}: interrupted{during}")
            self._num_said += 1
            if ends:
                select.select([self._ear], [], [], PATIENCE)  # a further signal ends it now
                self.leave(heard)
        self._ear.close()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether modules are being imported. Those of C++ abort where something is raised inside."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _give_back(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


_hearing: _Hearing | None = None


def hear() -> None:
    """From now on every signal ends this program, at once or as it was requested.

    For commands, before they import what takes long.
    """
    global _hearing
    _hearing = hearing = _Hearing(is_of_program=True)
    usual, usual_unraisable = sys.excepthook, sys.unraisablehook

    def end_or_raise(*error: Any) -> None:
        if hearing.ended_by:
            hearing.leave(hearing.ended_by)
        usual(*error)

    def end_or_show(lost: Any) -> None:
        if isinstance(lost.exc_value, Interrupted) and hearing.ended_by:
            hearing.leave(hearing.ended_by)
        usual_unraisable(lost)

    sys.excepthook, sys.unraisablehook = end_or_raise, end_or_show


def hear_again() -> None:
    """Takes the signals from a library that has taken them since."""
    if _hearing is not None:
        _hearing.take()


def is_interrupted() -> bool:
    """Whether a signal ends this program: whatever was raised since comes from that."""
    return _hearing is not None and _hearing.ended_by is not None


@contextlib.contextmanager
def stop_requests(after: str = "what is under way") -> Iterator[StopRequest]:
    """Turns the first signal into a request; the second acts as usual.

    Outside the main thread, where Python takes no signals, nothing is ever requested. `after` says
    to the user what is done before the program stops.
    """
    request = StopRequest(after)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    hearing = _hearing or _Hearing(is_of_program=False)
    before = hearing.take() if hearing is _hearing else {}
    hearing.request = request
    try:
        yield request
    finally:
        hearing.wait_until_said(PATIENCE)
        hearing.request = None
        _give_back(before)
        if hearing is not _hearing:
            hearing.close()


@contextlib.contextmanager
def in_any_case(duty: Callable[[], object]) -> Iterator[None]:
    """Does a duty at the end of what is inside, also where a signal ends the program within."""
    _duties.append(duty)
    try:
        yield
    finally:
        _duties.remove(duty)
        duty()
