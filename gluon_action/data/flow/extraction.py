"""Optical flow of many videos, extracted into a folder for each: in parallel, resumable, and all or nothing a video."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import glob
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import OutputError, UsageError, VideoReadError
from ...files import put_folder, write_file
from ..loading.video_tasks import for_each_video
from ..reading.video_reader import VideoReader, resize
from ..transforms.functional import opencv
from .folder import ARRAY, FORMATS, MANIFEST, PATTERNS, read_manifest
from .methods import BOUND, check_method, color_wheel, compute_flow, flow_colors, quantize, to_gray, top_speed

PREVIEW = 'preview.png'
FAILURES = 'failures.jsonl'
_READ_BYTES = 64 << 20  # frames in memory at a time
_JPEG_QUALITY = 95
_LOCK = '.lock'


@dataclass(frozen=True)
class FlowSettings:
    """How flow is extracted; what is recorded with it, and must be equal to resume an extraction.

    Parameters
    ----------
    method : {'tvl1', 'farneback'}
        As in `gluon_action.data.flow.methods.compute_flow`.
    bound : float
        Displacements in pixels are clipped to -bound..bound and stored in 8 bits.
    short_side : int
        Frames are resized to this shorter side first; 0 keeps their size. Displacements are in pixels of this size.
    stride : int
        Take every n-th frame: flow is from one taken frame to the next.
    max_frames : int
        Take no more than so many frames; 0 takes all.
    image_format : {'jpg', 'png', 'npz'}
        Pictures of x and of y (JPEG is a fifth of the size and off by a level or two, PNG exact), or one compressed
        array ``flow`` uint8 (T, H, W, 2) a video, which is exact and always read whole.
    """

    method: str = 'tvl1'
    bound: float = BOUND
    short_side: int = 256
    stride: int = 1
    max_frames: int = 0
    image_format: str = 'jpg'

    def __post_init__(self):
        check_method(self.method)
        if not 0 < self.bound < float('inf'):
            raise UsageError(f'--bound must be above 0, got {self.bound}')
        for name, least in (('short_side', 0), ('stride', 1), ('max_frames', 0)):
            if getattr(self, name) < least:
                raise UsageError(f'--{name.replace("_", "-")} must be {least} or more, got {getattr(self, name)}')
        if 0 < self.short_side < 16:
            raise UsageError(f'--short-side must be 0 or at least 16 pixels, got {self.short_side}')
        if self.max_frames == 1:
            raise UsageError('--max-frames must be 0 or at least 2: flow needs two frames')
        if self.image_format not in FORMATS:
            raise UsageError(f'--format must be one of {", ".join(FORMATS)}, got {self.image_format!r}')


@dataclass
class FlowReport:
    """The result: how many were extracted, had been before, and failed (with path, name and error)."""

    extracted: int
    finished_before: int
    failures: list[dict[str, str]]


def extract_flow(videos: dict[str, str], out: str | os.PathLike, settings: FlowSettings | None = None, *,
                 name_pattern: str | None = None, decoder: str = 'auto', num_workers: int = 1,
                 timeout: float | None = None, overwrite: bool = False, preview: bool = False,
                 progress: bool = False) -> FlowReport:
    """Extract the flow of videos; finished ones are skipped, so it can be interrupted.

    The flow of a video is a folder ``out/name``: pictures ``flow_x_00001.jpg`` and ``flow_y_00001.jpg`` (from frame 1
    to frame 2) and so on, and ``flow.json``, which says how it was made. n frames give n - 1 of them, and a single
    frame one without motion. A folder gets its name when it is whole. ``out/failures.jsonl`` lists the videos that
    failed.

    Parameters
    ----------
    videos : dict of str to str
        Name -> path, as `gluon_action.data.flow.find_videos.find_videos` gives them.
    out : path
    settings : FlowSettings, optional
    name_pattern : str, optional
        Names of the pictures in folders of frames; 'img_%05d.jpg' by default.
    decoder : str
        As in `VideoReader`.
    num_workers : int
        Processes, each of which takes one video after the other; 0 works in this one.
    timeout : float, optional
        Seconds that one video may take.
    overwrite : bool
        Extract again what was extracted with other settings.
    preview : bool
        Add ``preview.png`` to each folder: frames, and their flow as colours.
    progress : bool
        Show a progress bar where the error stream is a terminal.

    Returns
    -------
    FlowReport

    Raises
    ------
    OutputError
        When `out` cannot be written, or holds other things or flow of other settings where flow should go.
    """
    settings = settings or FlowSettings()
    out = Path(out).expanduser()
    waiting, finished = _plan(videos, out, settings, overwrite)
    todo = waiting + [name for name in finished if preview and not (out / name / PREVIEW).exists()]
    work = functools.partial(_work, out=out, settings=settings, preview=preview,
                             reading=dict(name_pattern=name_pattern, decoder=decoder))
    failures: list[dict[str, str]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        try:
            for (path, name), error in for_each_video(work, [(videos[name], name) for name in todo], timeout=timeout,
                                                      num_workers=num_workers, bar='optical flow' if progress else ''):
                if error is not None:
                    failures.append({'path': path, 'name': name, 'error': str(error)})
        finally:
            _write_failures(out, failures)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f'{out}: flow could not be written: {error.strerror or error}') from error
    failed = {failure['name'] for failure in failures}
    return FlowReport(len([name for name in waiting if name not in failed]), len(finished), failures)


def extract_video(path: str, folder: str | os.PathLike, settings: FlowSettings, *, name_pattern: str | None = None,
                  decoder: str = 'auto') -> dict:
    """Extract the flow of one video into `folder`, which is there when it is whole; what it held before is replaced.

    Returns
    -------
    dict
        What ``flow.json`` says: the settings, and ``num_frames``, ``num_flows``, ``width``, ``height``, ``fps``.

    Raises
    ------
    VideoReadError
        When the video cannot be read.
    OutputError
        When `folder` cannot be written.
    """
    folder = Path(folder)
    with VideoReader(path, short_side=settings.short_side, name_pattern=name_pattern, decoder=decoder) as reader:
        with _whole_or_nothing(folder) as part:
            taken = range(0, len(reader), settings.stride)[:settings.max_frames or None]
            with _WRITERS[settings.image_format](part) as write:
                num_flows = 0
                for flow in _flows(reader, taken, settings.method):
                    stored = quantize(flow, settings.bound)
                    write(stored)
                    num_flows += 1
            manifest = {**dataclasses.asdict(settings), 'num_frames': len(taken), 'num_flows': num_flows,
                        'width': stored.shape[1], 'height': stored.shape[0],
                        'fps': reader.fps and reader.fps / settings.stride,
                        **_times(reader, taken[:num_flows])}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + '\n')
    return manifest


def _times(reader: VideoReader, taken: range) -> dict:
    """What the rate alone does not tell of when frames are shown: a late beginning, distances that vary."""
    times: dict = {'begins': round(reader.begins, 4)} if reader.begins else {}
    if reader.seconds is not None and reader.fps:
        shown = reader.seconds[list(taken)]
        if np.abs(shown - np.array(taken) / reader.fps).max() > 0.5 / reader.fps:
            times['seconds'] = shown.round(4).tolist()
    return times


def draw_preview(path: str, folder: str | os.PathLike, *, name_pattern: str | None = None, decoder: str = 'auto',
                 columns: int = 4, height: int = 160) -> np.ndarray:
    """Frames of a video, evenly spaced, above their flow as colours, with the key to them: uint8 (2 * height, W, 3)."""
    manifest = read_manifest(folder)
    with VideoReader(folder, modality='flow') as flows:
        picks = sorted({round((i + 0.5) * len(flows) / columns - 0.5) for i in range(columns)})
        stored = flows.read(picks)
    with VideoReader(path, short_side=manifest['short_side'], name_pattern=name_pattern, decoder=decoder) as reader:
        frames = reader.read([pick * manifest['stride'] for pick in picks])
    full = top_speed(stored)
    width = round(frames.shape[2] * height / frames.shape[1])
    rows = [np.concatenate([resize(picture, width, height) for picture in pictures], axis=1)
            for pictures in (frames, [flow_colors(flow, full) for flow in stored])]
    wheel = color_wheel(height // 4)
    rows[1][-len(wheel):, -len(wheel):] = wheel
    return np.concatenate(rows)


def _plan(videos: dict[str, str], out: Path, settings: FlowSettings, overwrite: bool) -> tuple[list[str], list[str]]:
    """Names of the videos to extract and of those that are finished."""
    waiting, finished, others = [], [], []
    for name in videos:
        folder = out / name
        manifest = read_manifest(folder)
        if not manifest and folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f'{folder} holds other things than flow of this command; choose another --out')
        (finished if _is_finished(folder, settings) else waiting).append(name)
        if manifest and finished[-1:] != [name]:
            others.append((folder, manifest))
    if others and not overwrite:
        folder, manifest = others[0]
        differing = ', '.join(f'{key} {manifest.get(key)!r} instead of {value!r}'
                              for key, value in dataclasses.asdict(settings).items() if manifest.get(key) != value)
        raise OutputError(f'{len(others)} of {len(videos)} videos have flow of other settings, first {folder} '
                          f'({differing}); choose another --out, or pass --overwrite to extract again')
    return waiting, finished


def _is_finished(folder: Path, settings: FlowSettings) -> bool:
    manifest = read_manifest(folder)
    return {**manifest, **dataclasses.asdict(settings)} == manifest


def _work(path: str, name: str, *, out: Path, settings: FlowSettings, preview: bool, reading: dict) -> None:
    """Extract or draw what is missing of one video."""
    folder = out / name
    if not _is_finished(folder, settings):
        extract_video(path, folder, settings, **reading)
    if preview:
        picture = draw_preview(path, folder, **reading)
        write_file(folder / PREVIEW, opencv().imencode('.png', picture[:, :, ::-1])[1].tobytes(), durable=False)


def _flows(reader: VideoReader, taken: range, method: str) -> Iterator[np.ndarray]:
    """Flow from each taken frame to the next; of a single one, none anywhere."""
    before = to_gray(reader.read(taken[:1])[0])
    if len(taken) == 1:
        yield np.zeros((*before.shape, 2), np.float32)
    step = max(8, _READ_BYTES // (3 * before.size))
    for first in range(1, len(taken), step):
        for frame in reader.read(taken[first:first + step]):
            after = to_gray(frame)
            if after.shape != before.shape:
                raise VideoReadError(reader.path, reader.decoder, 'its frames differ in size')
            yield compute_flow(before, after, method)
            before = after


@contextlib.contextmanager
def _pictures(folder: Path, image_format: str) -> Iterator[Callable]:
    numbers = itertools.count(1)
    options = [opencv().IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if image_format == 'jpg' else []

    def write(stored: np.ndarray) -> None:
        number = next(numbers)
        for axis, letter in enumerate('xy'):
            name = PATTERNS[image_format] % (letter, number)
            _write_picture(folder / name, np.ascontiguousarray(stored[..., axis]), options)
    yield write


@contextlib.contextmanager
def _array(folder: Path) -> Iterator[Callable]:
    flows: list[np.ndarray] = []
    yield flows.append
    np.savez_compressed(folder / ARRAY, flow=np.stack(flows))


_WRITERS = {'jpg': functools.partial(_pictures, image_format='jpg'),
            'png': functools.partial(_pictures, image_format='png'), 'npz': _array}


def _write_picture(path: Path, picture: np.ndarray, options: Sequence[int] = ()) -> None:
    if not opencv().imwrite(str(path), picture, list(options)):
        raise OutputError(f'{path}: the picture could not be written; is the disk full?')


@contextlib.contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces `folder` on success and is removed on failure.

    While it is written a file in it is locked, so that what a killed process left is told from what another one writes.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = f'.{folder.name}.part-'
    for left in folder.parent.glob(f'{glob.escape(mark)}*/{_LOCK}'):
        with contextlib.suppress(OSError), open(left, 'a') as lock:  # BlockingIOError: somebody writes there
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent)
    part = folder.with_name(mark + secrets.token_hex(4))
    part.mkdir()
    try:
        with open(part / _LOCK, 'a') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield part
            (part / _LOCK).unlink()
            if (folder / MANIFEST).exists():
                put_folder(part, folder, durable=False)
            else:
                os.rename(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_failures(out: Path, failures: list[dict[str, str]]) -> None:
    path = out / FAILURES
    if failures:
        path.write_text(''.join(json.dumps(failure) + '\n' for failure in failures), encoding='utf-8')
    else:
        path.unlink(missing_ok=True)
