"""TFRecords of clips made from annotated videos: in parallel, resumable, the same whatever the number of processes."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ....errors import OutputError, RecordError, VideoReadError
from ....files import file_sha256, write_file
from ...lists.parts_of_videos import AnnotatedVideos
from ...loading.video_tasks import for_each_video
from ..examples import make_example
from ..framing import RecordWriter
from .clip_records import CLASSES_FILE, ClipRecords
from .cutting import cut_clips
from .manifest import Manifest
from .plan import ClipSettings, Part, Shard, find_parts, plan_digest, plan_shards, skipping
from .report import report_of

REPORT = 'report.json'

_PATIENCE = 2.0  # seconds; the readers of a process that was killed may outlive it by a moment


def make_clip_records(videos: AnnotatedVideos, out: str | os.PathLike, settings: ClipSettings | None = None, *,
                      num_workers: int = 1, timeout: float | None = None, overwrite: bool = False,
                      verify: bool = False, progress: bool = False) -> dict:
    """Make TFRecords that `ClipRecords` reads.

    ``out`` (with several splits ``out/<split>``) gets the files and ``classes.txt``. Each example has ``feature``, the
    raw pixels uint8 (T, H, W, 3), ``label``, uint8 (K,) of zeros and ones, ``video``, the name in the list, and
    ``frames``, int64, the first frame of the clip and the last one it holds. ``out/manifest.json`` lists finished files
    with their SHA-256; an interrupted run resumes after them. ``out/report.json`` is what is returned.

    Parameters
    ----------
    videos : AnnotatedVideos
    out : path
        Made if need be; holds nothing, or what the same settings made of the same list.
    settings : ClipSettings, optional
    num_workers : int
        Processes that read; 0 reads in this one, without a time limit.
    timeout : float, optional
        Seconds that reading one clip, or counting the frames of one video, may take.
    overwrite : bool
        Replace records that other settings or another list made.
    verify : bool
        Read everything again in the end, and compare.
    progress : bool
        Show a bar where the error stream is a terminal.

    Returns
    -------
    dict
        ``settings``, ``annotations`` (``sha256``, ``parts``, ``overlapping``), ``classes``, ``clips``, ``skipped`` (for
        each part or clip that is missing ``where``, ``video``, ``clips`` and ``reason``), ``splits`` (by name
        ``videos``, ``clips``, ``files``, ``bytes`` and ``clips_per_label``), ``verified``.

    Raises
    ------
    OutputError
        When `out` holds other things or cannot be written, or another process writes there.
    RecordError
        When what was read again differs; the files are made again by the next call.
    """
    settings, out = settings or ClipSettings(), Path(out).expanduser()
    origin = {'settings': dataclasses.asdict(settings), 'annotations_sha256': videos.sha256}
    with _to_disk(out), _alone(out):
        manifest = Manifest(out, origin, overwrite)
        parts, skipped = find_parts(videos, settings.cut.decoder, num_workers, timeout, progress)
        shards, short = plan_shards(parts, videos, settings)
        skipped += short
        manifest.expect(shards_sha256=plan_digest(shards, parts))
        _write_classes(out, videos)
        waiting = [shard for shard in shards if not manifest.has(shard.name)]
        _write_all(waiting, parts, out, videos, settings, manifest, progress,
                   functools.partial(cut_clips, cut=settings.cut, num_workers=num_workers, timeout=timeout))
        if verify:
            _verify(shards, manifest, out, videos, settings, num_workers, progress)
        report = report_of(origin, videos, parts, shards, manifest, skipped, verify)
        write_file(out / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + '\n')
    return report


def _write_all(shards: list[Shard], parts: list[Part], out: Path, videos: AnnotatedVideos, settings: ClipSettings,
               manifest: Manifest, progress: bool, cut: Callable) -> None:
    from tqdm import tqdm
    wanted = [(parts[number].annotation.path, frames) for shard in shards for number, frames in shard.clips]
    with contextlib.closing(cut(wanted)) as answers:
        shown = iter(tqdm(answers, desc='clips', unit='clip', total=len(wanted), disable=None if progress else True))
        for shard in shards:
            pixels = itertools.islice(shown, len(shard.clips))
            manifest.add(shard.name, _write_shard(out / shard.name, shard, parts, len(videos.classes), pixels))


def _write_shard(path: Path, shard: Shard, parts: list[Part], num_classes: int, answers: Iterator) -> dict:
    """Write a file, and return what the manifest says of it."""
    labels, skipped = np.zeros(num_classes + 1, int), []
    with RecordWriter(path) as writer:
        for (number, frames), pixels in zip(shard.clips, answers, strict=True):
            annotation = parts[number].annotation
            if isinstance(pixels, VideoReadError):
                skipped.append(skipping(annotation, str(pixels), 1))
                continue
            hot = np.zeros(num_classes, np.uint8)
            hot[list(annotation.labels)] = 1
            labels[list(annotation.labels) or [num_classes]] += 1
            writer.write(make_example({
                'feature': pixels.tobytes(), 'label': hot.tobytes(), 'frames': [frames[0], frames[-1]],
                'video': annotation.key.encode('utf-8', 'surrogateescape')}))
    return {'sha256': writer.sha256, 'bytes': writer.num_bytes, 'clips': writer.num_records,
            'labels': {str(label): int(count) for label, count in enumerate(labels) if count}, 'skipped': skipped}


def _verify(shards: list[Shard], manifest: Manifest, out: Path, videos: AnnotatedVideos, settings: ClipSettings,
            num_workers: int, progress: bool) -> None:
    check = functools.partial(_check_file, num_classes=len(videos.classes), shape=(
        settings.clip_length, settings.cut.height, settings.cut.width))
    tasks = [(str(out / shard.name), shard.name, manifest.files[shard.name]) for shard in shards]
    errors = []
    for (_, name, _), error in for_each_video(check, tasks, num_workers=num_workers,
                                              bar='verifying' if progress else ''):
        if error is not None:
            errors.append(error)
            manifest.drop(name)
    if errors:
        causes = '; '.join([errors[0].cause, *map(str, errors[1:])])
        raise RecordError(errors[0].path, errors[0].offset, f'{causes}. The same command makes what is wrong again')


def _check_file(path: str, name: str, expected: dict, *, num_classes: int, shape: tuple) -> RecordError | None:
    """Read a file again; return what is wrong with it."""
    try:
        if not os.path.exists(path):
            raise RecordError(path, 0, 'does not exist')
        same = file_sha256(path) == expected['sha256']
        labels = np.zeros(num_classes, int)
        if expected['clips']:
            records = ClipRecords(path, num_classes=num_classes, clip_length=shape[0], height=shape[1], width=shape[2])
            for index in range(len(records)):
                labels += records.read(index)[1]
        counts = {str(label): int(count) for label, count in enumerate(labels) if count}
        if not same or counts != {label: count for label, count in expected['labels'].items()
                                  if int(label) < num_classes}:
            raise RecordError(path, 0, f'is not what was written (its SHA-256 is {expected["sha256"]} in the manifest)')
    except RecordError as error:
        return error
    return None


def _write_classes(out: Path, videos: AnnotatedVideos) -> None:
    for split in {'', *videos.splits}:
        (out / split).mkdir(parents=True, exist_ok=True)
        write_file(out / split / CLASSES_FILE, ''.join(f'{name}\n' for name in videos.classes))


@contextlib.contextmanager
def _to_disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f'{out}: the records could not be written: {error.strerror or error}') from error


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a folder for this process; the kernel lets go of it when the process ends, however it ends."""
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out, os.O_RDONLY)
    until = time.monotonic() + _PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise OutputError(f'{out}: another process writes there; wait for it, or choose another '
                                      '--out') from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
