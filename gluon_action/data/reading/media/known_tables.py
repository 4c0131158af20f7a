"""Tables of frames that were found before, in memory and beside lists.

To know which frames a file has, all of its packets must be read. Of a file of an hour that costs a hundred times what a
short part of it needs, so the tables of long files are remembered, and their parts are sought.
"""
from __future__ import annotations

import logging
import os
from collections import OrderedDict

from ....errors import OutputError
from ....files import check_folder_takes_files, open_file, output_errors, write_file
from .frame_table import FrameTable, LongFile

_log = logging.getLogger(__name__)

#: Bytes of tables that a process remembers. They are packed: about 4 bytes a frame, so 150 hours at 30 frames a second.
TABLES_BYTES = 64 << 20


class FrameTables:
    """Tables of the long files that were read last, in memory, and if wanted in a folder, where other processes and
    later runs find them.

    Parameters
    ----------
    most_bytes : int
        That are kept in memory.
    """

    def __init__(self, most_bytes: int):
        self._most_bytes, self._bytes = most_bytes, 0
        self._packed: OrderedDict[LongFile, bytes] = OrderedDict()
        self._warned = False

    def recall(self, file: LongFile | None, folder: str | None = None) -> FrameTable | None:
        """Return the table of a file; None where it is unknown, or the file has changed since.

        Parameters
        ----------
        file : LongFile or None
        folder : str, optional
            Where to look for what this process does not know.
        """
        if file is None:
            return None
        packed = self._packed.get(file)
        if packed is None and folder is not None:
            packed = _content(os.path.join(folder, file.table_name))
        if packed is None:
            return None
        try:
            table = FrameTable.unpack(packed, file)
        except ValueError as error:
            _log.warning('%s: the table of its frames in %s cannot be used (%s); it is made again', file.name, folder,
                         error)
            return None
        self._keep(file, packed)
        return table

    def remember(self, file: LongFile | None, table: FrameTable, folder: str | None = None) -> None:
        """Keep a table; a folder that cannot be written to is told once."""
        if file is None:
            return
        packed = table.pack(file)
        self._keep(file, packed)
        if folder is None:
            return
        try:
            write_file(os.path.join(folder, file.table_name), packed, durable=False)
        except OutputError as error:
            if not self._warned:
                _log.warning('tables of frames are not kept: %s', error)
            self._warned = True

    def forget(self, file: LongFile | None, folder: str | None = None) -> None:
        """Drop what is known of a file."""
        if file is None:
            return
        self._bytes -= len(self._packed.pop(file, b''))
        if folder is not None:
            try:
                os.unlink(os.path.join(folder, file.table_name))
            except OSError:
                _log.debug('%s: has no table in %s', file.name, folder)

    def _keep(self, file: LongFile, packed: bytes) -> None:
        self._bytes += len(packed) - len(self._packed.pop(file, b''))
        self._packed[file] = packed
        while self._bytes > self._most_bytes and len(self._packed) > 1:
            _, oldest = self._packed.popitem(last=False)
            self._bytes -= len(oldest)


def tables_beside(setting: str | os.PathLike) -> str:
    """Make the folder beside a list of videos that tables of their frames are kept in, ``LIST.frames``.

    Raises
    ------
    OutputError
        When it cannot be written to.
    """
    folder = os.path.abspath(setting) + '.frames'
    with output_errors(folder, '; --frame-tables needs a list beside which files can be written'):
        check_folder_takes_files(folder)
    return folder


def _content(path: str) -> bytes | None:
    try:
        with open_file(path) as file:
            return file.read()
    except OSError:
        return None


#: What this process knows.
known_tables = FrameTables(TABLES_BYTES)
