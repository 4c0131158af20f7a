"""Videos that are sent: kept under names of our own while they are looked at, within limits, and of known formats."""
from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterable
from pathlib import Path

from ...data.reading.media.media_file import DecoderTrouble, import_decoder
from ...errors import GluonActionError, VideoReadError

#: What FFmpeg may take a file for. Playlists (HLS, DASH, concat, SDP) are not among them: they name other files, and
#: addresses, which would be opened from here.
FORMATS = ('mov,mp4,avi,matroska,webm,mpeg,mpegts,mpegvideo,flv,asf,gif,apng,ogg,mxf,dv,rm,nut,ivf,m4v,h264,hevc,obu,'
           'mjpeg,mjpeg_2000,yuv4mpegpipe,wtv,amv,vc1,h261,h263,swf')
#: Pixels of a frame, at most: more than those of 8K.
LARGEST_FRAME = 2 ** 26
_LOOKED_AT = 4096  # bytes that tell a text


class Refused(GluonActionError):
    """A request that is not served.

    Parameters
    ----------
    status : int
        Of HTTP.
    why : str
    """

    def __init__(self, status: int, why: str):
        super().__init__(status, why)
        self.status, self.why = status, why

    def __str__(self) -> str:
        return self.why


async def receive(chunks: AsyncIterable[bytes], folder: Path, *, megabytes: float, seconds: float,
                  announced: int | None = None) -> Path:
    """Write what is sent to a file with a name that nobody chose.

    Parameters
    ----------
    chunks : async iterable of bytes
    folder : path
        Where the file is made.
    megabytes : float
        Of a million bytes; more is refused as soon as it is known.
    seconds : float
        That it may take to arrive.
    announced : int, optional
        Bytes that the request says it has.

    Raises
    ------
    Refused
    """
    most = round(1e6 * megabytes)
    too_large = Refused(413, f'the video is larger than {megabytes:g} MB, the limit of this server (--max-mb)')
    if announced is not None and announced > most:
        raise too_large
    descriptor, name = tempfile.mkstemp(dir=folder, prefix='video')
    path, size = Path(name), 0
    try:
        with os.fdopen(descriptor, 'wb') as file:
            async with asyncio.timeout(seconds):
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most:
                        raise too_large
                    file.write(chunk)
        if not size:
            raise Refused(400, 'nothing was sent: the video itself is the body of the request')
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, TimeoutError):
            raise Refused(408, f'the video took longer than {seconds:g} s to arrive (--max-seconds)') from error
        if isinstance(error, OSError):
            raise Refused(507, f'the video cannot be kept: {error.strerror or error}') from error
        raise
    return path


def check_video(path: Path) -> None:
    """Refuse what is no video, before anything reads on: texts, playlists, frames beyond all measure.

    Raises
    ------
    Refused
    """
    with open(path, 'rb') as file:
        if _is_text(file.read(_LOOKED_AT)):
            raise Refused(422, 'this is a text file, not a video')
    try:
        av = import_decoder('av', 'av')
    except DecoderTrouble as trouble:
        raise Refused(500, str(trouble)) from trouble
    try:
        with av.open(str(path), options={'format_whitelist': FORMATS, 'protocol_whitelist': 'file'},
                     metadata_errors='replace') as container:
            streams = [(stream.width, stream.height) for stream in container.streams.video]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Refused(422, 'this is not a video of any known format, or it is damaged') from error
    if not streams:
        raise Refused(422, 'there are no pictures in this file')
    width, height = max(streams, key=lambda size: (size[0] or 0) * (size[1] or 0))
    if (width or 0) * (height or 0) > LARGEST_FRAME:
        raise Refused(422, f'its frames of {width}x{height} are too large')


def in_plain_words(error: GluonActionError, path: Path) -> str:
    """Return what a message says without the name of the file, which is nobody's."""
    if isinstance(error, VideoReadError):
        return f'the video cannot be read: {error.cause}'
    return str(error).replace(f'{path}: ', '').replace(str(path), 'the video')


def _is_text(begin: bytes) -> bool:
    try:
        text = begin.decode('utf-8')
    except UnicodeDecodeError as error:
        if error.end < len(begin) - 3:  # a letter may be cut in two at the end
            return False
        text = begin[:error.start].decode('utf-8')
    return bool(text) and not any(letter < ' ' and letter not in '\t\n\r\f' or letter == '\x7f' for letter in text)
