"""What FFmpeg says while it works, heard instead of shown: for some damage its log is the only sign."""
from __future__ import annotations

import os
import re
import threading

# Errors by FFmpeg's count that are no damage: what follows from beginning in the middle of a file, and notes in a
# stream that no picture depends on.
_HARMLESS = re.compile('mmco: unref short failure|number of reference frames .* exceeds max|co located POCs|no frame!'
                       '|unable to decode APP fields|SEI type|Frame num gap')

_lock = threading.Lock()
_num_listening = 0


class FfmpegLog:
    """What FFmpeg says in this thread between entering and leaving; may be entered again and again.

    PyAV keeps FFmpeg's log off, and this switches it on only while somebody listens, so that nothing of it reaches
    handlers of Python's logging. A program that has switched it on itself keeps its level.

    Parameters
    ----------
    av : module
    deaf : bool
        Hear nothing. Needed with decoders that have threads of their own: one that speaks waits for Python's lock,
        and Python may be waiting for that thread.
    """

    def __init__(self, av, deaf: bool = False):
        self._logging, self._deaf = av.logging, deaf
        self._switched, self._capture, self._heard = False, None, []

    def __enter__(self) -> FfmpegLog:
        self._heard = []
        if not self._deaf:
            self._switched = _switch_on(self._logging)
            self._capture = self._logging.Capture()
            self._heard = self._capture.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        if not self._deaf:
            self._capture.__exit__(*exception)
            if self._switched:
                _switch_off(self._logging)

    def forget(self) -> None:
        """Begin anew."""
        self._heard.clear()

    def says(self, words: str) -> bool:
        """Whether a message holds these words."""
        return any(words in message for _, _, message in self._heard)

    def damage(self) -> str:
        """The first message that means damage; empty where none does."""
        for level, _, message in self._heard:
            # What it conceals is no error by its count.
            if (level <= self._logging.ERROR or 'concealing' in message) and not _HARMLESS.search(message):
                return message.strip()
        return ''


def _switch_on(logging) -> bool:
    """Switch the log on for one listener more; False where the program did it and keeps its own level."""
    global _num_listening
    with _lock:
        now = logging.get_level()
        if not _num_listening and now is not None:
            return False
        _num_listening += 1
        if now is None:
            logging.set_level(logging.INFO)
            logging.set_skip_repeated(False)  # or a second video with the same message would seem whole
        return True


def _switch_off(logging) -> None:
    """Switch the log off with the last listener."""
    global _num_listening
    with _lock:
        _num_listening -= 1
        if not _num_listening:
            logging.set_level(None)
            logging.set_skip_repeated(True)


def _forget_listeners() -> None:
    """In a forked process only the thread that forked keeps running: others neither listen nor hold the lock."""
    global _lock, _num_listening
    _lock, _num_listening = threading.Lock(), 0


os.register_at_fork(after_in_child=_forget_listeners)
