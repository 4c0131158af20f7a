"""The file of events that TensorBoard reads, shared by all who write about one run."""
from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from ....errors import OutputError
from ....files import cause_of

_COUNT = itertools.count()  # files of events that this process has made


class EventFile:
    """TensorBoard's events of a run.

    TensorBoard follows one file a folder, so there is one of these for a run, whoever writes. The file is made when
    the first event is written. Events are written by the caller's thread: tensorboardX's SummaryWriter has a thread for
    it that ends on a full disk without a word, and then waits for that thread for ever.

    Parameters
    ----------
    folder : path
        Exists.

    Raises
    ------
    OutputError
        From every method, when the file cannot be written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._writer: RecordWriter | None = None

    def begin(self, step: int) -> None:
        """Make the file; a run that resumes at `step` takes back the events that were written from there on."""
        self.close()
        self._open()
        if step:
            self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers by their tags, which stay as they are: tensorboardX would make Hit_1 of Hit@1."""
        if values:
            self.add(step, Summary(value=[Summary.Value(tag=tag, simple_value=float(value))
                                          for tag, value in values.items()]))

    def add(self, step: int, *parts: Summary) -> None:
        """Write what `tensorboardX.summary` made, as one event."""
        self._write(Event(step=step, summary=Summary(value=[value for part in parts for value in part.value])))

    def flush(self) -> None:
        """Let readers see what was written."""
        if self._writer is not None:
            with self._writing():
                self._writer.flush()

    def close(self) -> None:
        """Close the file. Safe to call again; what is written later makes another one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._writing():
                writer.close()

    def _write(self, event: Event) -> None:
        if self._writer is None:
            self._open()
        event.wall_time = time.time()
        with self._writing():
            self._writer.write(event.SerializeToString())

    def _open(self) -> None:
        with self._writing():
            # As TensorFlow names them: two runs, or two starts of one, may begin in the same second.
            name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_COUNT)}'
            self._writer = RecordWriter(str(self.folder / name))
        self._write(Event(file_version='brain.Event:2'))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f'cannot write the events in {self.folder}: {cause_of(error)}') from error
