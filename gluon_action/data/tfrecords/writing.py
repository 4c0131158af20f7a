"""TFRecords of clips made from annotated videos: in parallel, resumable, the same whatever the number of processes."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import OutputError, RecordError, UsageError, VideoReadError
from ...files import write_file
from ..lists.parts_of_videos import AnnotatedVideos, Annotation, clip_starts
from ..loading.video_tasks import for_each_video
from ..reading.sampling import clip_indices
from ..reading.video_reader import VideoReader
from .clips import CLASSES_FILE, ClipRecords
from .cutting import CropSettings, cut_clips
from .examples import make_example
from .framing import RecordWriter
from .manifest import Manifest

REPORT = 'report.json'
FILE_NAMES = {'counted': '{0:05d}-of-{1:05d}.tfrecord', 'plain': '{0:07d}.tfrecord'}

_PATIENCE = 2.0  # seconds; the readers of a process that was killed may outlive it by a moment


@dataclass(frozen=True)
class ClipSettings:
    """How clips are made; must be equal to resume an interrupted run.

    Parameters
    ----------
    clip_length : int
        T, frames of a clip.
    frame_stride : int
        Frames of the video from one frame of a clip to the next.
    clip_step : int, optional
        Frames of the video from the start of a clip to that of the next; by default clips touch and do not overlap.
    drop_short : bool
        Leave out the clip that the end of a part cuts short; otherwise it repeats its last frame.
    cut : CropSettings
        Crop and size.
    clips_per_file : int
        Records of a file.
    file_names : {'counted', 'plain'}
        ``00000-of-00012.tfrecord`` or ``0000000.tfrecord``.

    Raises
    ------
    UsageError
        When one is invalid.
    """

    clip_length: int = 64
    frame_stride: int = 1
    clip_step: int | None = None
    drop_short: bool = False
    cut: CropSettings = CropSettings()
    clips_per_file: int = 16
    file_names: str = 'counted'

    def __post_init__(self):
        for name in ('clip_length', 'frame_stride', 'clip_step', 'clips_per_file'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f'--{name.replace("_", "-")} must be 1 or more, got {value}')
        if self.file_names not in FILE_NAMES:
            raise UsageError(f'--file-names must be {" or ".join(FILE_NAMES)}, got {self.file_names!r}')

    def starts(self, num_frames: int) -> list[int]:
        """First frames of the clips of a part, counted from its own first."""
        span = (self.clip_length - 1) * self.frame_stride + 1
        step = self.clip_step or self.clip_length * self.frame_stride
        return clip_starts(num_frames, span, step, self.drop_short)


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
        parts, skipped = _find_parts(videos, settings.cut.decoder, num_workers, timeout, progress)
        shards, short = _plan(parts, videos, settings)
        skipped += short
        manifest.expect(shards_sha256=_digest(shards, parts))
        _write_classes(out, videos)
        waiting = [shard for shard in shards if not manifest.has(shard.name)]
        _write_all(waiting, parts, out, videos, settings, manifest, progress,
                   functools.partial(cut_clips, cut=settings.cut, num_workers=num_workers, timeout=timeout))
        if verify:
            _verify(shards, manifest, out, videos, settings, num_workers, progress)
        report = _report(origin, videos, parts, shards, manifest, skipped, verify)
        write_file(out / REPORT, json.dumps(report, indent=1, ensure_ascii=False) + '\n')
    return report


def report_text(report: dict) -> str:
    """Put a report into lines for reading."""
    splits = report['splits']
    width = max(len('all clips'), *map(len, report['classes']))
    lines = ['  '.join([' ' * width, *(f'{name:>9}' for name in splits)]),
             '  '.join([f'{"all clips":<{width}}', *(f'{split["clips"]:9d}' for split in splits.values())])]
    for name in (*report['classes'], *(['(no label)'] if any('(no label)' in split['clips_per_label']
                                                             for split in splits.values()) else ())):
        lines.append('  '.join([f'{name:<{width}}', *(f'{split["clips_per_label"].get(name, 0):9d}'
                                                      for split in splits.values())]))
    for name, split in splits.items():
        lines.append(f'{name}: {split["clips"]} clips of {split["videos"]} videos in {split["files"]} files, '
                     f'{split["bytes"] / 1e6:.1f} MB')
        without = [label for label in report['classes'] if not split['clips_per_label'].get(label)]
        if without:
            lines.append(f'{name}: no clip of {", ".join(without[:8])}{" ..." * (len(without) > 8)}')
    if report['annotations']['overlapping']:
        pairs = report['annotations']['overlapping']
        lines.append(f'parts that overlap and have other labels: {len(pairs)}, first {pairs[0]}; each clip has the '
                     'labels of its own row only')
    for skip in report['skipped'][:10]:
        lines.append(f'skipped {skip["where"]}: {skip["reason"]}')
    if len(report['skipped']) > 10:
        lines.append(f'and {len(report["skipped"]) - 10} more')
    return '\n'.join(lines)


@dataclass(frozen=True)
class _Part:
    """An annotation, and the frames that it means."""

    annotation: Annotation
    frames: range


@dataclass(frozen=True)
class _Shard:
    """A file to write: its split, its name below ``out``, and for each clip (number of the part, frames)."""

    split: str
    name: str
    clips: list[tuple[int, list[int]]]


def _find_parts(videos: AnnotatedVideos, decoder: str, num_workers: int, timeout: float | None,
                progress: bool) -> tuple[list[_Part], list[dict]]:
    """Parts with their frames, and what is left out with the reason."""
    by_path: dict[str, list[Annotation]] = {}
    for annotation in videos.annotations:
        by_path.setdefault(annotation.path, []).append(annotation)
    tasks = [(path, decoder, annotations) for path, annotations in by_path.items()]
    found: dict[str, Iterator] = {}
    answers = for_each_video(_frames_of_parts, tasks, num_workers=num_workers, timeout=timeout,
                             bar='counting frames' if progress else '')
    for (path, _, of_path), answer in answers:
        found[path] = iter([answer] * len(of_path) if isinstance(answer, VideoReadError) else answer)
    parts, skipped = [], []
    for annotation in videos.annotations:
        answer = next(found[annotation.path])
        if isinstance(answer, range):
            parts.append(_Part(annotation, answer))
        else:
            skipped.append(_skip(annotation, str(answer)))
    return parts, skipped


def _frames_of_parts(path: str, decoder: str, annotations: list[Annotation]) -> list[range | str]:
    """Frames of each part of a video, or why it has none."""
    found: list[range | str] = []
    with VideoReader(path, decoder=decoder) as reader:
        for annotation in annotations:
            try:
                frames = annotation.frames(reader)
            except UsageError as error:
                found.append(f'{path}: {error}')
                continue
            length = '' if reader.ends is None else f', {reader.ends:.2f} s'
            found.append(frames or f'{path}: the part holds none of the {len(reader)} frames{length}')
    return found


def _skip(annotation: Annotation, reason: str, clips: int | None = None) -> dict:
    return {'where': annotation.where, 'video': annotation.key, 'clips': clips, 'reason': reason}


def _plan(parts: list[_Part], videos: AnnotatedVideos, settings: ClipSettings) -> tuple[list[_Shard], list[dict]]:
    """Which clip goes into which file, and the parts that give none."""
    clips: dict[str, list] = {split: [] for split in videos.splits}
    skipped = []
    for number, part in enumerate(parts):
        starts = settings.starts(len(part.frames))
        if not starts:
            skipped.append(_skip(part.annotation, f'its {len(part.frames)} frames are fewer than a clip takes '
                                 '(--drop-short)'))
        clips[part.annotation.split] += [(number, [part.frames.start + frame for frame in clip_indices(
            [start], len(part.frames), settings.clip_length, settings.frame_stride)]) for start in starts]
    shards = []
    for split, wanted in clips.items():
        total = -(-len(wanted) // settings.clips_per_file)
        for number in range(total):
            name = FILE_NAMES[settings.file_names].format(number, total)
            first = number * settings.clips_per_file
            shards.append(_Shard(split, os.path.join(split, name), wanted[first:first + settings.clips_per_file]))
    return shards, skipped


def _write_all(shards: list[_Shard], parts: list[_Part], out: Path, videos: AnnotatedVideos, settings: ClipSettings,
               manifest: Manifest, progress: bool, cut: Callable) -> None:
    from tqdm import tqdm
    wanted = [(parts[number].annotation.path, frames) for shard in shards for number, frames in shard.clips]
    with contextlib.closing(cut(wanted)) as answers:
        shown = iter(tqdm(answers, desc='clips', unit='clip', total=len(wanted), disable=None if progress else True))
        for shard in shards:
            pixels = itertools.islice(shown, len(shard.clips))
            manifest.add(shard.name, _write_shard(out / shard.name, shard, parts, len(videos.classes), pixels))


def _write_shard(path: Path, shard: _Shard, parts: list[_Part], num_classes: int, answers: Iterator) -> dict:
    """Write a file, and return what the manifest says of it."""
    labels, skipped = np.zeros(num_classes + 1, int), []
    with RecordWriter(path) as writer:
        for (number, frames), pixels in zip(shard.clips, answers, strict=True):
            annotation = parts[number].annotation
            if isinstance(pixels, VideoReadError):
                skipped.append(_skip(annotation, str(pixels), 1))
                continue
            hot = np.zeros(num_classes, np.uint8)
            hot[list(annotation.labels)] = 1
            labels[list(annotation.labels) or [num_classes]] += 1
            writer.write(make_example({
                'feature': pixels.tobytes(), 'label': hot.tobytes(), 'frames': [frames[0], frames[-1]],
                'video': annotation.key.encode('utf-8', 'surrogateescape')}))
    return {'sha256': writer.sha256, 'bytes': writer.num_bytes, 'clips': writer.num_records,
            'labels': {str(label): int(count) for label, count in enumerate(labels) if count}, 'skipped': skipped}


def _verify(shards: list[_Shard], manifest: Manifest, out: Path, videos: AnnotatedVideos, settings: ClipSettings,
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
        with open(path, 'rb') as file:
            same = hashlib.file_digest(file, 'sha256').hexdigest() == expected['sha256']
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


def _report(about: dict, videos: AnnotatedVideos, parts: list[_Part], shards: list[_Shard], manifest: Manifest,
            skipped: list[dict], verified: bool) -> dict:
    splits = {}
    for split in videos.splits:
        files = [manifest.files[shard.name] for shard in shards if shard.split == split]
        names = [*videos.classes, '(no label)']
        counts = {name: sum(file['labels'].get(str(label), 0) for file in files) for label, name in enumerate(names)}
        splits[split or 'all'] = {
            'videos': len({part.annotation.path for part in parts if part.annotation.split == split}),
            'clips': sum(file['clips'] for file in files), 'files': len(files),
            'bytes': sum(file['bytes'] for file in files),
            'clips_per_label': {name: count for name, count in counts.items() if count or name != '(no label)'}}
    broken = [skip for shard in shards for skip in manifest.files[shard.name]['skipped']]
    return {'settings': about['settings'],
            'annotations': {'sha256': videos.sha256, 'parts': len(videos.annotations),
                            'overlapping': _overlapping(parts)},
            'classes': videos.classes, 'clips': sum(split['clips'] for split in splits.values()),
            'splits': splits, 'skipped': skipped + broken, 'verified': verified}


def _overlapping(parts: list[_Part]) -> list[str]:
    """Pairs of parts of a video that share frames and not labels, by their places in the list."""
    pairs = []
    ordered = sorted(parts, key=lambda part: (part.annotation.path, part.frames.start))
    for _, found in itertools.groupby(ordered, key=lambda part: part.annotation.path):
        furthest, *others = found
        for part in others:
            if part.frames.start < furthest.frames.stop and part.annotation.labels != furthest.annotation.labels:
                pairs.append(f'{furthest.annotation.where} and {part.annotation.where}')
            furthest = max(furthest, part, key=lambda part: part.frames.stop)
    return pairs


def _write_classes(out: Path, videos: AnnotatedVideos) -> None:
    for split in {'', *videos.splits}:
        (out / split).mkdir(parents=True, exist_ok=True)
        write_file(out / split / CLASSES_FILE, ''.join(f'{name}\n' for name in videos.classes))


def _digest(shards: Sequence[_Shard], parts: list[_Part]) -> str:
    digest = hashlib.sha256()
    for shard in shards:
        for number, frames in shard.clips:
            digest.update(f'{shard.name} {parts[number].annotation.key} {frames}\n'.encode('utf-8', 'surrogateescape'))
    return digest.hexdigest()


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
