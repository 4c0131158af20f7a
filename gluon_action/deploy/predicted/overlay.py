"""A video with the predictions of a model drawn onto its frames: label, score, and the probabilities so far."""
from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...data.reading.stream import Frame
from ...errors import OutputError, UsageError
from ...files import new_part, put_file
from ..predict.windows import History, Window
from .background import Background
from .overlay_panel import ClassColors, Panel, import_pillow

EXTENSIONS = ('.mp4', '.gif')
#: Bytes of frames that wait for the first score; of what is longer the beginning has none.
HOLD_BYTES = 256 << 20
#: Shorter side of the pictures of an overlay, at least: text on anything smaller covers all of it.
SHORT_SIDE = 320
#: Longer side of what is enlarged to that: pictures as thin as a line stay thin.
LONG_SIDE = 8192
#: A GIF's longer side at most, its frames a second, and its frames in all: of long videos it is a time lapse.
GIF_SIDE, GIF_FPS, GIF_FRAMES = 400, 10, 300

#: Bytes of pictures that wait for the encoder at most.
WAITING_BYTES = 64 << 20
_WAITING = 16  # of them, however small they are

_POINTS = 1000  # of the curves
_TICKS = 60000  # a second, of an mp4: whole for frame rates of film, of both televisions and of screens


class Overlay:
    """Writes the predictions of `Predictor.stream` onto videos, which get their names when they are complete.

    Parameters
    ----------
    paths : sequence of path
        Each ends in ``.mp4`` or ``.gif``. What is there is replaced.
    labels : sequence of str, optional
        Names of the classes; their numbers by default.
    threshold : float, optional
        Rolling mean below which nothing is said to be shown.

    Attributes
    ----------
    colors : ClassColors
        Those of the classes, for a timeline of the same video.

    Raises
    ------
    UsageError
        For other endings, or where Pillow is not installed.
    OutputError
        When a file cannot be written; nothing of it is left.

    Examples
    --------
    >>> with Overlay(['out.mp4'], predictor.labels) as overlay:
    ...     predictor.stream('in.mp4', **overlay.listeners)
    """

    def __init__(self, paths: Sequence[str | os.PathLike], labels: Sequence[str] | None = None, *,
                 threshold: float | None = None):
        import_pillow()
        kinds = [_FILES[check_path(path)] for path in paths]
        self._files: list[_File] = []
        try:
            for kind, path in zip(kinds, paths):
                self._files.append(kind(Path(path)))
        except OutputError:
            self._discard()
            raise
        self._labels, self._threshold = labels, threshold
        self._history, self.colors = History(_POINTS), ClassColors()
        self._held: collections.deque[Frame] = collections.deque()
        self._held_bytes = 0
        self._fps, self._duration = 25.0, None

    @property
    def listeners(self) -> dict[str, Callable]:
        """The callbacks to pass to `Predictor.stream`."""
        return {'on_open': self.open, 'on_window': self.window, 'on_frame': self.frame}

    def open(self, frames) -> None:
        """Take the properties of a stream before its first frame: `fps`, `num_frames` and whether it is `live`."""
        self._fps = frames.fps
        self._duration = frames.num_frames / frames.fps if frames.num_frames and not frames.live else None

    def window(self, window: Window) -> None:
        """Take the next scores."""
        self._history.add(window)
        self.colors.take(window.rolling)

    def frame(self, frame: Frame) -> None:
        """Draw the next frame, or keep it until there is a score."""
        self._held.append(frame)
        self._held_bytes += frame.picture.nbytes
        while self._held and (self._history.windows or self._held_bytes > HOLD_BYTES):
            self._draw_one()

    def __enter__(self) -> Overlay:
        return self

    def __exit__(self, kind, *exception) -> None:
        try:
            while kind is None and self._held:
                self._draw_one()
            for file in self._files:
                if kind is None:
                    file.finish()
        finally:
            self._discard()

    def _discard(self) -> None:
        for file in self._files:
            file.discard()

    def _draw_one(self) -> None:
        frame = self._held.popleft()
        self._held_bytes -= frame.picture.nbytes
        for file in self._files:
            file.add(frame, self)

    def panel(self, width: int, height: int) -> Panel:
        """Return what draws onto pictures of a size."""
        return Panel(width, height, self._labels, self._duration, self.colors, self._threshold)

    @property
    def history(self) -> History:
        """Windows so far."""
        return self._history

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._fps


class _File:
    """A file that is written under a temporary name."""

    def __init__(self, path: Path):
        self.path = path
        self._panel: Panel | None = None
        with self._telling():
            self.part = new_part(path)

    def add(self, frame: Frame, overlay: Overlay) -> None:
        """Draw a frame and write it."""
        if not self._due(frame.seconds):
            return
        from PIL import Image
        picture = Image.fromarray(frame.picture)
        if self._panel is None:
            width, height = self._size(*picture.size)
            self._panel = overlay.panel(width, height)
            with self._telling():
                self._open(width, height, overlay.fps)
        if picture.size != self._panel.size:
            picture = picture.resize(self._panel.size, Image.Resampling.BICUBIC)
        self._panel.draw(picture, frame.seconds, overlay.history)
        with self._telling():
            self._write(picture, frame.seconds)

    def finish(self) -> None:
        """Write the rest and give the file its name."""
        with self._telling():
            self._close()
            put_file(self.part, self.path)

    def discard(self) -> None:
        """Remove a file that was not finished."""
        with contextlib.suppress(OSError):
            self._abandon()
        self.part.unlink(missing_ok=True)

    def _due(self, seconds: float) -> bool:
        return True

    def _abandon(self) -> None:
        """Close what is open."""

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except self._causes() as error:
            raise OutputError(f'{self.path}: cannot be written: {error.strerror or error}') from error

    def _causes(self) -> tuple[type[Exception], ...]:
        return (OSError,)


class _Mp4(_File):
    """H.264, or MPEG-4 where FFmpeg was built without x264; every frame is shown as long as in the source."""

    _container = _work = None

    def _size(self, width: int, height: int) -> tuple[int, int]:
        factor = max(1, min(-(-SHORT_SIDE // min(width, height)), LONG_SIDE // max(width, height)))
        return tuple(max(2, side * factor // 2 * 2) for side in (width, height))  # colours are stored for 2 x 2 pixels

    def _open(self, width: int, height: int, fps: float) -> None:
        from fractions import Fraction

        import av
        codec = 'libx264' if 'libx264' in av.codecs_available else 'mpeg4'
        options = {'crf': '20', 'preset': 'veryfast'} if codec == 'libx264' else {'qscale': '3'}
        self._container = av.open(str(self.part), 'w', format='mp4', options={'movflags': 'faststart'})
        self._stream = self._container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, 'yuv420p'
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._last = -1
        self._work = Background(max(1, min(_WAITING, WAITING_BYTES // (3 * width * height))))

    def _write(self, picture, seconds: float) -> None:
        self._last = max(self._last + 1, round(seconds * _TICKS))
        self._work(self._encode, picture, self._last)

    def _encode(self, picture, time: int) -> None:
        import av
        frame = av.VideoFrame.from_image(picture)
        frame.pts, frame.time_base = time, self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))

    def _causes(self) -> tuple[type[Exception], ...]:
        import av
        return OSError, av.FFmpegError  # the encoder's own; those about files are both

    def _close(self) -> None:
        if self._container is not None:
            self._work.finish()
            self._container.mux(self._stream.encode())
            self._abandon()

    def _abandon(self) -> None:
        if self._work is not None:
            self._work.drop()
        if self._container is not None:
            container, self._container = self._container, None
            container.close()


class _Gif(_File):
    """A GIF of small pictures, each with its own palette; every second one is dropped when they become too many."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._pictures: list[tuple[float, object]] = []
        self._interval, self._next = 1 / GIF_FPS, 0.0

    def _size(self, width: int, height: int) -> tuple[int, int]:
        if min(width, height) < SHORT_SIDE:
            factor = -(-SHORT_SIDE // min(width, height))
            width, height = width * factor, height * factor
        scale = min(1.0, GIF_SIDE / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _due(self, seconds: float) -> bool:
        return seconds >= self._next - 1e-6

    def _open(self, width: int, height: int, fps: float) -> None:
        """Nothing is written before the end."""

    def _write(self, picture, seconds: float) -> None:
        from PIL import Image
        if len(self._pictures) >= GIF_FRAMES:
            del self._pictures[1::2]
            self._interval *= 2
        # Of Pillow's ways to choose colours the one that keeps those of the curves, and a hundred times the fastest.
        self._pictures.append((seconds, picture.quantize(256, method=Image.Quantize.FASTOCTREE)))
        self._next = seconds + self._interval

    def _close(self) -> None:
        if not self._pictures:
            return
        times = [seconds for seconds, _ in self._pictures]
        shown = np.diff(times, append=times[-1] + self._interval)
        if times[-1] - times[0] > GIF_FRAMES / GIF_FPS:
            shown[:] = 1 / GIF_FPS
        first, *rest = (picture for _, picture in self._pictures)
        first.save(self.part, format='GIF', save_all=True, append_images=rest, loop=0,
                   duration=[max(20, round(1000 * seconds)) for seconds in shown])


_FILES = {'.mp4': _Mp4, '.gif': _Gif}


def check_path(path: str | os.PathLike) -> str:
    """Return the ending of an overlay's name; `UsageError` for those that nothing here writes."""
    ending = Path(path).suffix.lower()
    if ending not in EXTENSIONS:
        raise UsageError(f'{os.fspath(path)}: an overlay is written as {" or ".join(EXTENSIONS)}, not as '
                         f'{ending or "a file without an ending"}')
    return ending
