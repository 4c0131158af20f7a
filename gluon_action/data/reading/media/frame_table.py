"""The table of a video file's frames: when each is shown, where it lies, where decoding can start."""
from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Bytes from which on a file is long: reading less costs little, and millions of short files would fill the memory.
LONG_BYTES = 4 << 20

_VERSION = 1
_SEEK_TRIES = 3


class FrameTable:
    """The packets of a file's video in the order of decoding, of which the first is a key frame.

    Parameters
    ----------
    stream : int
        Which stream of the file it is.
    times, offsets, sizes : int64 ndarray (P,)
        Of each packet: when its frame is shown, in the stream's units of time, unlike all others; the byte of the file
        at which it begins, -1 where it is unknown; its bytes.
    keys, shown : bool ndarray (P,)
        Whether decoding can start at it; whether its frame is shown at all.
    may_seek : bool
        Whether the demuxer may be sent to a packet; otherwise packets are passed over to get there.
    """

    def __init__(self, stream: int, times: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, keys: np.ndarray,
                 shown: np.ndarray, may_seek: bool):
        self.stream, self.times, self.may_seek = stream, times, may_seek
        self._offsets, self._sizes, self._keys, self._shown = offsets, sizes, keys, shown

    @classmethod
    def of_packets(cls, stream: int, packets: Sequence[tuple[int, int, int, bool, bool]], may_seek: bool) -> FrameTable:
        """Make the table of what is said of each packet."""
        times, offsets, sizes, keys, shown = np.array(packets, np.int64).T.copy()
        return cls(stream, times, offsets, sizes, keys.astype(bool), shown.astype(bool), may_seek)

    def __len__(self) -> int:
        return len(self.shown_times)

    @functools.cached_property
    def shown_times(self) -> np.ndarray:
        """When the frames are shown, int64 (n,) in ascending order, in the stream's units."""
        return self._sorted[self._shown[self._order]]

    def runs(self, wanted: Sequence[int]) -> list[tuple[int, int, set[int]]]:
        """Packets to decode for the frames of these times: ranges, in order and disjoint.

        Returns
        -------
        list of (int, int, set of int)
            The first and the last packet of a range, and the times that are wanted of it.
        """
        runs: list[tuple[int, int, set[int]]] = []
        spans = ((self.position_of(time), time) for time in wanted)
        for key, last, time in sorted((self._key_for(position, time), position, time) for position, time in spans):
            if runs and key <= runs[-1][1]:
                first, end, times = runs[-1]
                runs[-1] = (first, max(end, last), times | {time})
            else:
                runs.append((key, last, {time}))
        return runs

    def position_of(self, time: int | None) -> int:
        """The packet whose frame is shown at this time; -1 where there is none."""
        place = len(self._sorted) if time is None else int(np.searchsorted(self._sorted, time))
        found = place < len(self._sorted) and self._sorted[place] == time
        return int(self._order[place]) if found else -1

    def key_before(self, position: int) -> int:
        """The last packet up to this one at which decoding can start."""
        return int(self._key_positions[np.searchsorted(self._key_positions, position, side='right') - 1])

    def seek_times(self, position: int) -> list[int]:
        """Times to seek to, one after the other, until the demuxer stands at this key frame or before it.

        The first is as late as it can be: of HEVC's open groups of pictures FFmpeg takes one for a start only if it is
        asked for a time after that one's first picture, and would go far back for others.
        """
        after = int(np.searchsorted(self._key_positions, position, side='right'))
        earlier = self.times[self._key_positions[max(0, after - _SEEK_TRIES):after][::-1]].tolist()
        latest = self.times[self._key_positions[after]] - 1 if after < len(self._key_positions) else self._sorted[-1]
        return [int(latest), *earlier]

    def holds(self, position: int, packet) -> bool:
        """Whether a packet of PyAV is the one at this position, by all that the table knows of it."""
        return bool(position < len(self.times) and packet.pts == self.times[position]
                    and (-1 if packet.pos is None else packet.pos) == self._offsets[position]
                    and packet.size == self._sizes[position] and packet.is_keyframe == self._keys[position]
                    and packet.is_discard != self._shown[position])

    def pack(self, file: LongFile) -> bytes:
        """Everything as bytes: a line of JSON, then steps of time, gaps between packets and sizes, compressed."""
        count = len(self.times)
        times, gaps = (np.diff(column, prepend=column[:1]) for column in (self.times, self._offsets))
        gaps[1:] -= self._sizes[:-1]
        steps = np.stack([times, gaps, self._sizes])
        width = 4 if np.abs(steps).max() < 1 << 31 else 8
        # Byte by byte of equal weight: most of the higher ones are 0.
        planes = steps.astype(f'<i{width}').view(np.uint8).reshape(3, -1, width).transpose(0, 2, 1)
        head = {'table_of_frames': _VERSION, 'bytes': file.size, 'mtime_ns': file.mtime_ns, 'stream': self.stream,
                'num_packets': count, 'may_seek': self.may_seek, 'width': width,
                'first': [int(self.times[0]), int(self._offsets[0])]}
        body = planes.tobytes() + np.packbits(self._keys).tobytes() + np.packbits(self._shown).tobytes()
        return json.dumps(head).encode() + b'\n' + zlib.compress(body, 1)

    @classmethod
    def unpack(cls, content: bytes, file: LongFile) -> FrameTable:
        """Return the table that `pack` packed.

        Raises
        ------
        ValueError
            When it is damaged, of another kind or version, or of a file of other size or time of change.
        """
        line, _, body = content.partition(b'\n')
        head = json.loads(line) if len(line) < 500 else None
        if not isinstance(head, dict) or (head.get('table_of_frames'), head.get('bytes'), head.get('mtime_ns')) != (
                _VERSION, file.size, file.mtime_ns):
            raise ValueError('it is of another version, or of another file')
        stream, count, width = numbers = [head.get(name) for name in ('stream', 'num_packets', 'width')]
        first = head.get('first')
        if not all(_is_number(number, 0) for number in numbers) or not count or width not in (4, 8) or not (
                isinstance(first, list) and len(first) == 2 and all(map(_is_number, first))):
            raise ValueError('its head is damaged')
        flags = -(-count // 8)
        expected = 3 * width * count + 2 * flags
        if expected > 1100 * len(body):  # more than zlib can make of it: memory is not taken for a promise
            raise ValueError('it is cut short')
        unzip = zlib.decompressobj()
        try:
            plain = unzip.decompress(body, expected + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if len(plain) != expected or not unzip.eof:
            raise ValueError('it is cut short')
        planes = np.frombuffer(plain, np.uint8, 3 * width * count).reshape(3, width, count).transpose(0, 2, 1)
        times, offsets, sizes = np.ascontiguousarray(planes).view(f'<i{width}').reshape(3, count).astype(np.int64)
        times[0], offsets[0] = first
        np.cumsum(times, out=times)
        offsets[1:] += sizes[:-1]
        np.cumsum(offsets, out=offsets)
        keys, shown = (np.unpackbits(np.frombuffer(plain, np.uint8, flags, start), count=count).astype(bool)
                       for start in (len(plain) - 2 * flags, len(plain) - flags))
        if not keys[0] or not shown.any():
            raise ValueError('it has no frame to begin with')
        return cls(stream, times, offsets, sizes, keys, shown, bool(head.get('may_seek')))

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.times, kind='stable')  # which is quick where they are nearly sorted, as here

    @functools.cached_property
    def _sorted(self) -> np.ndarray:
        return self.times[self._order]

    @functools.cached_property
    def _key_positions(self) -> np.ndarray:
        return np.flatnonzero(self._keys)

    def _key_for(self, position: int, time: int) -> int:
        """The last key frame that is both decoded and shown no later than the frame at this position."""
        before = int(np.searchsorted(self._key_positions, position, side='right'))
        return next((int(key) for key in self._key_positions[:before][::-1] if self.times[key] <= time), 0)


class LongFile(NamedTuple):
    """A file whose table is worth remembering, by what tells it from others and from what it was before."""

    name: str
    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def table_name(self) -> str:
        """Name of its table in a folder; it stays the same where videos are moved or seen under another path."""
        identity = f'{self.size} {self.mtime_ns} '.encode() + os.fsencode(self.name)
        return hashlib.sha256(identity).hexdigest()[:32] + '.frames'


def long_file(path: str) -> LongFile | None:
    """A path as a long file; None of what is short, or no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if status.st_size < LONG_BYTES or not stat.S_ISREG(status.st_mode):
        return None
    return LongFile(os.path.basename(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _is_number(value: object, least: int = -1 << 62) -> bool:
    return type(value) is int and least <= value < 1 << 62
