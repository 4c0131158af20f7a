"""Work that waits for nobody: done in order by a thread, while the network keeps working."""
from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Background:
    """Calls functions in order in a thread.

    Parameters
    ----------
    most : int
        Calls that wait at most; whoever asks for more waits.
    """

    def __init__(self, most: int):
        self._calls: queue.Queue = queue.Queue(most)
        self._errors: list[BaseException] = []
        self._dropped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='background', daemon=True)
        self._thread.start()

    def __call__(self, function: Callable, *args) -> None:
        """Call ``function(*args)`` later; what an earlier one raised is raised here, or by `finish`."""
        self._tell()
        self._calls.put((function, args))

    def finish(self) -> None:
        """Wait until all is done."""
        self._calls.put(None)
        self._thread.join()
        self._tell()

    def drop(self) -> None:
        """Do nothing of what still waits; safe to call again."""
        self._dropped.set()
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join()

    def _tell(self) -> None:
        if self._errors:
            raise self._errors[0]

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._errors or self._dropped.is_set():
                continue  # so that nobody waits for room
            function, args = call
            try:
                function(*args)
            except BaseException as error:  # it belongs to whoever asked for it
                self._errors.append(error)
