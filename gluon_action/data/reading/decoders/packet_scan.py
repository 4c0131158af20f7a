"""All packets of a file's video, read once and in order: what they say of its frames, and whether all are there."""
from __future__ import annotations

from ....errors import VideoReadError
from ..media.ffmpeg_log import FfmpegLog
from ..media.media_file import ENDED_EARLY, Extent, import_decoder, in_words

# VP8 stores frames that are never shown in packets of their own (show_frame, RFC 6386 section 9.1), so its packets
# cannot be counted as frames.
HIDES_FRAMES = frozenset({'vp8'})


class PacketScan:
    """The packets of a stream of PyAV from where its file stands to the end.

    Parameters
    ----------
    path, reader : str
        Of the file, and the name of what reads it, for messages.
    container, stream
        PyAV's, opened and not read yet.
    log : FfmpegLog
    keep_bytes : int
        Bytes of packets that are kept; of more, none are.

    Attributes
    ----------
    marks : list of (int or None, int, int, bool, bool)
        Of each packet that is not empty: its time, its place in the file or -1, its bytes, whether it is a key frame
        and whether it is shown.
    packets : list or None
        The packets, where they are small enough.

    Raises
    ------
    VideoReadError
        When the file ends or breaks before its end.
    """

    def __init__(self, path: str, reader: str, container, stream, log: FfmpegLog, keep_bytes: int):
        self._container, self._stream = container, stream
        self._extent = Extent(stream.codec_context.extradata)
        self.packets, self.marks, num_bytes = [], [], 0
        try:
            for packet in container.demux(stream):
                self._extent.add(packet)
                if not packet.size:
                    continue
                self.marks.append((packet.pts, -1 if packet.pos is None else packet.pos, packet.size,
                                   packet.is_keyframe, not packet.is_discard))
                num_bytes += packet.size
                if packet.is_corrupt and container.format.name != 'mpegts':  # there a gap in the reception
                    raise VideoReadError(path, reader, self._cut_short())
                if num_bytes > keep_bytes:
                    self.packets = None
                if self.packets is not None:
                    self.packets.append(packet)
        except import_decoder('av', 'av').FFmpegError as error:
            raise VideoReadError(path, reader, f'{self._cut_short()} ({in_words(error)})') from error
        if cause := self._extent.cut_short(container, stream, log.says(ENDED_EARLY)):
            raise VideoReadError(path, reader, cause)
        if self._extent.changes:  # a decoder that was told so cannot go back: the file is opened again each time
            self.packets = None

    def times_tell_frames(self) -> bool:
        """Whether frames can be told apart by the times of their packets."""
        times, decoder = [mark[0] for mark in self.marks], self._stream.codec_context
        if None in times or len(set(times)) < len(times) or decoder.name in HIDES_FRAMES:
            return False
        if self._extent.starts_again or self._extent.changes:
            return False
        if not any(is_shown for *_, is_shown in self.marks):
            return False
        # A file that was cut out of another may begin with frames that refer to what is no longer there (an open group
        # of pictures): FFmpeg drops them, so that times and decoded frames would not match.
        if not self.marks[0][3] or min(times) < times[0]:
            return False
        # AVI has no presentation times: FFmpeg guesses them with B-frames, and wrongly where DivX or XviD packed two
        # frames into one packet (its filter mpeg4_unpack_bframes describes them).
        return self._container.format.name != 'avi' or not decoder.has_b_frames

    def is_lead_in(self, position: int) -> bool:
        """Whether a packet is shown, or stored, before the first key frame, and so may refer to what is not there."""
        key = next((place for place, (*_, is_key, _) in enumerate(self.marks) if is_key), 0)
        time, begin = self.marks[position][0], self.marks[key][0]
        return position < key or None not in (time, begin) and time < begin

    def _cut_short(self) -> str:
        promised = f' of the {self._stream.frames} that it announces' if self._stream.frames else ''
        reached = self._extent.reached(self._container, self._stream)
        return (f'the file ends or breaks after {max(0, len(self.marks) - 1)} frames{promised}: it was cut short'
                + f' to {reached}' * bool(reached))
