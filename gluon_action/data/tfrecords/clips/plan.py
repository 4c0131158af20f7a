"""Which clips there are to be: settings, the parts of videos that they are cut from, the file that each goes into."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ....errors import UsageError, VideoReadError
from ...lists.parts_of_videos import AnnotatedVideos, Annotation, clip_starts
from ...loading.video_tasks import for_each_video
from ...reading.sampling import clip_indices
from ...reading.video_reader import VideoReader
from .cutting import CropSettings

FILE_NAMES = {'counted': '{0:05d}-of-{1:05d}.tfrecord', 'plain': '{0:07d}.tfrecord'}


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


@dataclass(frozen=True)
class Part:
    """An annotation, and the frames that it means."""

    annotation: Annotation
    frames: range


@dataclass(frozen=True)
class Shard:
    """A file to write: its split, its name below ``out``, and for each clip (number of the part, frames)."""

    split: str
    name: str
    clips: list[tuple[int, list[int]]]


def find_parts(videos: AnnotatedVideos, decoder: str, num_workers: int, timeout: float | None,
                progress: bool) -> tuple[list[Part], list[dict]]:
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
            parts.append(Part(annotation, answer))
        else:
            skipped.append(skipping(annotation, str(answer)))
    return parts, skipped


def plan_shards(parts: list[Part], videos: AnnotatedVideos, settings: ClipSettings) -> tuple[list[Shard], list[dict]]:
    """Which clip goes into which file, and the parts that give none."""
    clips: dict[str, list] = {split: [] for split in videos.splits}
    skipped = []
    for number, part in enumerate(parts):
        starts = settings.starts(len(part.frames))
        if not starts:
            skipped.append(skipping(part.annotation, f'its {len(part.frames)} frames are fewer than a clip takes '
                                 '(--drop-short)'))
        clips[part.annotation.split] += [(number, [part.frames.start + frame for frame in clip_indices(
            [start], len(part.frames), settings.clip_length, settings.frame_stride)]) for start in starts]
    shards = []
    for split, wanted in clips.items():
        total = -(-len(wanted) // settings.clips_per_file)
        for number in range(total):
            name = FILE_NAMES[settings.file_names].format(number, total)
            first = number * settings.clips_per_file
            shards.append(Shard(split, os.path.join(split, name), wanted[first:first + settings.clips_per_file]))
    return shards, skipped


def plan_digest(shards: Sequence[Shard], parts: list[Part]) -> str:
    """SHA-256 of the plan: what a resumed run must have been about."""
    digest = hashlib.sha256()
    for shard in shards:
        for number, frames in shard.clips:
            digest.update(f'{shard.name} {parts[number].annotation.key} {frames}\n'.encode('utf-8', 'surrogateescape'))
    return digest.hexdigest()


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


def skipping(annotation: Annotation, reason: str, clips: int | None = None) -> dict:
    """What the report says of a part that is left out, or of so many of its clips."""
    return {'where': annotation.where, 'video': annotation.key, 'clips': clips, 'reason': reason}
