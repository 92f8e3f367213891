"""Stopping a run from outside without losing what it has done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """Which signal asked to stop, if any has.

    Attributes:
      signal: None until then.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turns the first SIGINT (Ctrl-C) or SIGTERM into a request; the second acts as usual.

    Outside the main thread, where Python takes no signals, nothing is ever requested.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        restore()

    for number in usual:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
