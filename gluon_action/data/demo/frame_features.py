"""Generated features of videos in YouTube-8M's formats: what their mean tells, and what only their order does."""
from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import OutputError, UsageError
from ...files import output_errors, put_folder, to_json
from ..tfrecords.features.feature_messages import dequantize, make_frame_record, make_video_record, quantize
from ..tfrecords.framing import RecordWriter

#: Name of the data set that `make_feature_demo` makes.
NAME = 'demo_features'
PARTITIONS = ('train', 'validate', 'test')
#: Fewest frames of a video that an order is seen in.
LEAST_ORDERED = 4

_FORMAT = 1  # raised when the same settings would give other records
# Of a class in each number of a frame; what differs between videos, and between the frames of one, at noise 1.
_SIGNAL, _OF_VIDEO, _OF_FRAME = 0.45, 0.25, 0.35
_MORE_LABELS = 0.8  # classes that a mean tells, beside the first one, on average
_ORDERED = 0.5      # share of the videos that have an order


@dataclass(frozen=True)
class FeatureDemo:
    """What is generated; equal settings give equal bytes.

    Every video has one to several of the classes that a mean tells: each adds a direction of its own to all frames,
    and the first classes are the most frequent ones, as in YouTube-8M. Half of the videos with `LEAST_ORDERED` frames
    or more also have one of the order classes. These come in pairs, and so do their videos: 2 k and 2 k + 1 are the
    very same frames, one forwards, the other backwards, so whatever does not look at the order scores both alike.

    Attributes
    ----------
    classes : int
        K, all of them.
    order_classes : int, optional
        An even number of classes, the last ones, that only the order of the frames tells; two fifths by default.
    sizes : sequence of (str, int)
        Features of a frame and their sizes.
    lengths : (int, int)
        Fewest and most frames of a video.
    noise : float
        What differs between videos of equal labels, and between frames, in multiples of the usual.
    seed : int
    """

    classes: int = 10
    order_classes: int | None = None
    sizes: Sequence[tuple[str, int]] = (('rgb', 16), ('audio', 8))
    lengths: tuple[int, int] = (1, 300)
    noise: float = 1.
    seed: int = 0

    def __post_init__(self):
        if self.order_classes is None:
            object.__setattr__(self, 'order_classes', 2 * int(0.2 * self.classes + 0.5))
        object.__setattr__(self, 'sizes', tuple((str(name), int(size)) for name, size in self.sizes))
        low, high = self.lengths
        for right, told in (
                (self.classes >= 1, f'classes must be 1 or more, got {self.classes}'),
                (0 <= self.order_classes <= self.classes and self.order_classes % 2 == 0,
                 f'order_classes must be an even number from 0 to {self.classes}, got {self.order_classes}'),
                (self.sizes and min(size for _, size in self.sizes) >= 1,
                 f'sizes must name one or more features of size 1 or more, got {self.sizes}'),
                (1 <= low <= high, f'lengths must be the fewest and the most frames, 1 or more, got {self.lengths}'),
                (0 <= self.noise < float('inf'), f'noise must be 0 or more, got {self.noise}'),
                (self.seed >= 0, f'seed must be 0 or more, got {self.seed}')):
            if not right:
                raise UsageError(f'generated features: {told}')

    @property
    def mean_classes(self) -> int:
        """Number of classes that the mean of the frames tells: the first ones."""
        return self.classes - self.order_classes

    def videos(self, partition: str, count: int) -> Iterator[tuple[np.ndarray, list[int]]]:
        """Yield the frames uint8 (n, D) and the labels of `count` videos of a partition."""
        generator = _Generator(self, PARTITIONS.index(partition))
        for pair in range(-(-count // 2)):
            yield from generator.pair(pair)[:count - 2 * pair]


@dataclass(frozen=True)
class MadeRecords:
    """Records that were written, and what is true of them.

    Attributes
    ----------
    pattern : str
        All files.
    paths : list of Path
    ids : list of str
    labels : uint8 ndarray (N, K)
        All of them, whatever was dropped.
    num_frames : int64 ndarray (N,)
    """

    pattern: str
    paths: list[Path]
    ids: list[str]
    labels: np.ndarray
    num_frames: np.ndarray


def make_feature_records(folder: str | os.PathLike, *, videos: int = 1000, partition: str = 'train', files: int = 3,
                         video_level: bool = False, labelled: bool | None = None, drop_labels: float = 0.,
                         **settings) -> MadeRecords:
    """Write generated records of one partition: ``train00.tfrecord``, ``train01.tfrecord`` ...

    Parameters
    ----------
    folder : path
        It is made; records of this partition must not be there.
    videos : int
    partition : {'train', 'validate', 'test'}
        Partitions have the same classes and other videos.
    files : int
        The videos are spread over so many, in order.
    video_level : bool
        Write the means of the frames, ``mean_rgb`` and so on, instead of the frames.
    labelled : bool, optional
        Write labels; by default all partitions but the test have them, as in YouTube-8M.
    drop_labels : float
        Share of the labels, each by itself, that is not written, as if nobody had noticed them.
    **settings
        Those of `FeatureDemo`.

    Returns
    -------
    MadeRecords

    Raises
    ------
    UsageError
        When an argument is invalid.
    OutputError
        When there are such records, or they cannot be written.
    """
    demo, folder = FeatureDemo(**settings), Path(folder)
    if partition not in PARTITIONS:
        raise UsageError(f'partition must be one of {", ".join(PARTITIONS)}, got {partition!r}')
    if videos < 1 or not 1 <= files <= videos:
        raise UsageError(f'there must be 1 video or more, and one for each file; got {videos} videos, {files} files')
    if not 0 <= drop_labels < 1:
        raise UsageError(f'drop_labels must be at least 0 and less than 1, got {drop_labels}')
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if there := sorted(folder.glob(f'{partition}*.tfrecord')):
        raise OutputError(f'{there[0]}: exists; choose another folder, or remove it')
    labelled = partition != 'test' if labelled is None else labelled
    dropping = np.random.default_rng((demo.seed, PARTITIONS.index(partition), 1))
    width = max(2, len(str(files - 1)))
    made = MadeRecords(str(folder / f'{partition}*.tfrecord'), [], [], np.zeros((videos, demo.classes), np.uint8),
                       np.zeros(videos, np.int64))
    source = enumerate(demo.videos(partition, videos))
    ends = [round(videos * (number + 1) / files) for number in range(files)]
    for number, end in enumerate(ends):
        made.paths.append(folder / f'{partition}{number:0{width}d}.tfrecord')
        with RecordWriter(made.paths[-1]) as writer:
            while len(made.ids) < end:
                index, (frames, labels) = next(source)
                made.ids.append(f'{partition[:2]}{index:06d}')
                made.labels[index, labels], made.num_frames[index] = 1, len(frames)
                kept = [label for label, share in zip(labels, dropping.random(len(labels))) if share >= drop_labels]
                writer.write(_record(demo, made.ids[-1], frames, kept if labelled else None, video_level))
    return made


@dataclass(frozen=True)
class FeatureDemoData:
    """Where a demo of features lies: `frame` and `video` hold records of the partitions, ``train*.tfrecord`` etc."""

    root: Path

    @property
    def frame(self) -> Path:
        """Records of frames."""
        return self.root / 'frame'

    @property
    def video(self) -> Path:
        """Records of means."""
        return self.root / 'video'


def make_feature_demo(root: str | os.PathLike, *, videos: int = 1000, drop_labels: float = 0.,
                      **settings) -> FeatureDemoData:
    """Make a data set of features: frames and their means, each for training, validation and test.

    Parameters
    ----------
    root : path
        Folder of the data set. One that holds these very records already is left as it is.
    videos : int
        For training; a fifth as many for validation, and for the test.
    drop_labels : float
        Share of the training labels that is not written.
    **settings
        Those of `FeatureDemo`.

    Returns
    -------
    FeatureDemoData

    Raises
    ------
    UsageError
        When an argument is invalid.
    OutputError
        When the folder holds something else, or cannot be written.
    """
    root, demo = Path(root).expanduser(), FeatureDemo(**settings)
    about = json.loads(to_json({'name': NAME, 'format': _FORMAT, 'videos': videos, 'drop_labels': drop_labels,
                                **asdict(demo)}))
    if root.exists():
        _check_same(root, about)
        return FeatureDemoData(root)
    part = root.with_name(f'.{root.name}.{uuid.uuid4().hex}')
    try:
        with output_errors(root):
            part.mkdir(parents=True)
            for level in ('frame', 'video'):
                for partition in PARTITIONS:
                    train = partition == 'train'
                    make_feature_records(part / level, videos=videos if train else max(1, videos // 5),
                                         partition=partition, files=min(3, max(1, videos // 5)),
                                         video_level=level == 'video', drop_labels=drop_labels if train else 0.,
                                         **settings)
            (part / 'demo.json').write_text(to_json(about), 'utf-8')
            put_folder(part, root, durable=False)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return FeatureDemoData(root)


def _check_same(root: Path, about: dict) -> None:
    try:
        found = json.loads((root / 'demo.json').read_text('utf-8'))
    except (OSError, ValueError):
        raise OutputError(f'{root} exists and was not made by this command; choose another folder') from None
    if found != about:
        raise OutputError(f'{root} holds demo data made with other settings ({found}, wanted {about}); choose another '
                          'folder, or delete it')


def _record(demo: FeatureDemo, video_id: str, frames: np.ndarray, labels: list[int] | None, video_level: bool) -> bytes:
    parts = np.split(frames, np.cumsum([size for _, size in demo.sizes])[:-1], axis=1)
    features = {name: part for (name, _), part in zip(demo.sizes, parts)}
    if not video_level:
        return make_frame_record(video_id, features, labels)
    means = {f'mean_{name}': dequantize(part).mean(0) for name, part in features.items()}
    return make_video_record(video_id, means, labels)


class _Generator:
    """Draws pairs of videos of a partition."""

    def __init__(self, demo: FeatureDemo, partition: int):
        self._demo, self._partition = demo, partition
        self._width = sum(size for _, size in demo.sizes)
        rng = np.random.default_rng((demo.seed, 0))
        # One direction a class that a mean tells; of a pair of order classes one that says which pair it is, and one
        # along which its videos go up or down.
        directions = rng.standard_normal((demo.classes, self._width))
        directions *= _SIGNAL * np.sqrt(self._width) / np.linalg.norm(directions, axis=1, keepdims=True)
        self._directions = directions.astype(np.float32)
        shares = 1 / np.arange(2, demo.mean_classes + 2)
        self._shares = shares / shares.sum()

    def pair(self, number: int) -> list[tuple[np.ndarray, list[int]]]:
        """Two videos: one video forwards and backwards, or two of their own."""
        demo = self._demo
        rng = np.random.default_rng((demo.seed, 1 + self._partition, number))
        num_frames = int(rng.integers(demo.lengths[0], demo.lengths[1] + 1))
        ordered = demo.order_classes and num_frames >= LEAST_ORDERED and (
            rng.random() < _ORDERED or not demo.mean_classes)
        if not ordered:
            return [self._video(rng, num_frames),
                    self._video(rng, int(rng.integers(demo.lengths[0], demo.lengths[1] + 1)))]
        first = demo.mean_classes + 2 * int(rng.integers(demo.order_classes // 2))
        frames, labels = self._video(rng, num_frames, first)
        videos = [(frames, [*labels, first]), (frames[::-1], [*labels, first + 1])]
        return videos if rng.random() < 0.5 else videos[::-1]

    def _video(self, rng: np.random.Generator, num_frames: int,
               first: int | None = None) -> tuple[np.ndarray, list[int]]:
        """A video with classes that a mean tells; of the pair of order classes from `first` on it is going up."""
        demo, labels = self._demo, []
        if demo.mean_classes:
            count = min(1 + int(rng.poisson(_MORE_LABELS)), demo.mean_classes)
            labels = sorted(rng.choice(demo.mean_classes, count, replace=False, p=self._shares).tolist())
        what = _OF_VIDEO * demo.noise * rng.standard_normal(self._width, np.float32)
        for label in labels:
            what += rng.uniform(0.7, 1.3) * self._directions[label]
        frames = _OF_FRAME * demo.noise * rng.standard_normal((num_frames, self._width), np.float32) + what
        if first is not None:
            frames += self._directions[first]
            frames += np.linspace(-1.5, 1.5, num_frames, dtype=np.float32)[:, None] * self._directions[first + 1]
        return quantize(frames), labels
