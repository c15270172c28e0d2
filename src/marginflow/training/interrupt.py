"""Ctrl-C in a training: put off until the state is whole, so that it can be written."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

DOUBLE_PRESS = 1.0  # seconds


class Interrupted(KeyboardInterrupt):
    """An interrupt at a point where the state of the training is whole."""


class Interrupts:
    """Inside, the first Ctrl-C (or termination) waits for `check`; a second one, not just a double press, acts at once.

    Only Python's own handler is replaced, and only in the main thread: elsewhere interrupts go their usual way.
    """

    def __init__(self) -> None:
        self.asked, self._asked_at = False, 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(signum) is signal.default_int_handler:
                    self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self.asked, self._asked_at = True, now
        elif now - self._asked_at > DOUBLE_PRESS:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise `Interrupted` where an interrupt has come in."""
        if self.asked:
            raise Interrupted
