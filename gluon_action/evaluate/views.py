"""Score videos over segments x crops: every video is decoded once, its views are packed into full batches."""
from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import mxnet as mx
import numpy as np

from ..data.dataloader import Failure, split_and_load
from ..data.loading.workers import WorkerDied, WorkerPool, WorkerTimeout
from ..data.transforms.functional import crop, horizontal_flip, short_side_rescale
from ..errors import ModelError, UsageError, VideoReadError
from .scores.metrics import log_softmax

_log = logging.getLogger(__name__)

#: What becomes of a video that cannot be read is a matter of the result; everything else is a fault and is raised.
VIDEO_FAILURES = (VideoReadError, WorkerTimeout, WorkerDied)


@dataclass(frozen=True)
class ViewRecipe:
    """How views are cut out of a video's frames and presented to the network.

    Parameters
    ----------
    crops : {1, 3, 10}
        Centre; three along the longer side; the corners and the centre with their mirror images.
    size : int
        Side of the square crop, in pixels.
    mean, std : sequence of float
        Per channel, on values in `value_range`.
    value_range : (float, float)
        What 0 and 255 become before normalisation.
    short_side : int
        Frames are first rescaled to this short side; 0 leaves them as they were read.
    time_axis : bool
        Give clips of one frame a time axis as well: (N, 3, 1, H, W).
    """

    crops: int = 1
    size: int = 224
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    value_range: tuple[float, float] = (0., 1.)
    short_side: int = 0
    time_axis: bool = False

    def __post_init__(self):
        if self.crops not in (1, 3, 10):
            raise UsageError(f'crops must be 1, 3 or 10, got {self.crops}')
        if self.short_side and self.short_side < self.size:
            raise UsageError(f'frames of short side {self.short_side} hold no crop of {self.size}: lower --input-size '
                             'or raise the size that frames are resized to')

    def cut(self, frames: np.ndarray, num_segments: int) -> Iterator[np.ndarray]:
        """Yield the views uint8 (T, H, W, 3) of frames (S * T, H, W, 3): all segments of one crop, then of the next.

        Raises
        ------
        UsageError
            When the frames hold no such crops, or are not `num_segments` clips of equal length.
        """
        if len(frames) % num_segments:
            raise UsageError(f'{len(frames)} frames are not {num_segments} segments of equal length')
        clips = frames.reshape(num_segments, -1, *frames.shape[1:])
        for top, left, mirrored in crop_boxes(*frames.shape[1:3], self.size, self.crops):
            for clip in clips:
                view = crop(clip, top, left, self.size, self.size)
                yield horizontal_flip(view) if mirrored else view

    def to_network(self, views: mx.nd.NDArray, dtype: str = 'float32') -> mx.nd.NDArray:
        """Normalise views uint8 (V, T, H, W, C) on their device: (V, C, T, H, W), or (V, C, H, W) of single frames."""
        low, high = self.value_range
        std = np.asarray(self.std, np.float64)
        scale = (high - low) / 255. / std
        shift = (low - np.asarray(self.mean, np.float64)) / std
        scale, shift = (mx.nd.array(v.reshape(-1, 1, 1, 1), dtype='float32', ctx=views.context) for v in (scale, shift))
        views = mx.nd.transpose(views.astype('float32'), (0, 4, 1, 2, 3))
        views = mx.nd.broadcast_add(mx.nd.broadcast_mul(views, scale.expand_dims(0)), shift.expand_dims(0))
        if views.shape[2] == 1 and not self.time_axis:
            views = views.squeeze(axis=2)
        return views.astype(dtype, copy=False)


@dataclass
class VideoScores:
    """Scores of every video of a list, in its order.

    Attributes
    ----------
    keys : list of str
        The videos as the list names them.
    labels : list of int, or of tuple of int
        What the list says they show.
    scores : float32 ndarray (N, K)
        Mean over views of logits or probabilities; NaN for a video that could not be scored.
    scored : bool ndarray (N,)
        Which videos were.
    failures : list of Failure
        Which were not, and why.
    views : int
        Views a video.
    decodes : int
        Times a video was opened; equals N when each was opened once.
    """

    keys: list[str]
    labels: list
    scores: np.ndarray
    scored: np.ndarray
    failures: list[Failure] = field(default_factory=list)
    views: int = 0
    decodes: int = 0


def score_videos(net, dataset, recipe: ViewRecipe, *, contexts: Sequence[mx.Context] | None = None,
                 batch_size: int = 32, average: str = 'logits', dtype: str = 'float32', views_per_score: int = 1,
                 num_workers: int = 0, prefetch: int | None = None, timeout: float | None = None,
                 indices: Sequence[int] | None = None, on_video: Callable | None = None) -> VideoScores:
    """Score each video by the mean over its views, with each video decoded once and memory bounded.

    Worker processes read frames as uint8; crops are cut here, straight into a batch of views that goes on to the next
    video when one is used up. At most `prefetch` videos and two batches of views are held at a time.

    Parameters
    ----------
    net : callable
        Views (V, 3, H, W) or (V, 3, T, H, W) to scores (V, K); or (V / views_per_score, K).
    dataset : VideoClsCustom
        Its ``load_frames(i)`` gives the frames of all segments of video i, uint8 (S * T, H, W, 3), of flow 2.
    recipe : ViewRecipe
        How views are cut out of the frames.
    contexts : sequence of mxnet.Context, optional
        Devices that share a batch; the CPU by default.
    batch_size : int
        Views a forward pass, a device.
    average : {'logits', 'softmax'}
        What is averaged over the views.
    views_per_score : int
        Consecutive views (segments of one crop, then the next crop) that the network itself makes one score of.
    num_workers : int
        Processes that read videos; 0 reads them here. The result does not depend on it.
    prefetch : int, optional
        Videos in the hands of workers or waiting; twice the workers by default.
    timeout : float, optional
        Seconds a worker may take over a video before it is killed and the video has failed.
    indices : sequence of int, optional
        Which videos, all by default; `VideoScores` lists these only.
    on_video : callable, optional
        Called as ``on_video(position, label, score (K,) or None)`` in order, as soon as a video's score is known.

    Returns
    -------
    VideoScores

    Raises
    ------
    UsageError
        When the videos hold no such views: frames smaller than the crop, for one.
    """
    if average not in ('logits', 'softmax'):
        raise UsageError(f"--average must be 'logits' or 'softmax', got {average!r}")
    indices = list(range(len(dataset)) if indices is None else indices)
    samples = [dataset.samples[i] for i in indices]
    collected = _Collector([s.label for s in samples], on_video)
    batcher = _Batcher(net, recipe, contexts or [mx.cpu()], batch_size, average, dtype, views_per_score, collected)
    failures, num_views, decodes = [], 0, 0
    frames_of = partial(rescaled_frames, dataset, recipe.short_side)
    for position, frames in _in_order(frames_of, indices, num_workers, prefetch or 2 * num_workers, timeout):
        decodes += 1
        if isinstance(frames, Exception):
            failures.append(_failure(frames, indices[position], samples[position]))
            _log.warning('not scored: %s', failures[-1].message)
            collected.fail(position)
        else:
            num_views = batcher.add(position, frames, dataset.num_segments)
    batcher.finish()
    failures += [Failure(indices[i], samples[i].key, f'{samples[i].path}: the network gave scores that are not finite')
                 for i in collected.not_finite]
    scores, scored = collected.table()
    return VideoScores([s.key for s in samples], [s.label for s in samples], scores, scored, failures, num_views,
                       decodes)


def crop_boxes(height: int, width: int, size: int, crops: int) -> list[tuple[int, int, bool]]:
    """Top-left corner (y, x) of each crop, and whether it is mirrored, in GluonCV's order.

    Parameters
    ----------
    height, width : int
        Of the frame.
    size : int
        Side of the square crop.
    crops : {1, 3, 10}
        3 gives left, right, middle, or top, bottom, middle; 10 the centre and the corners, then these mirrored.

    Raises
    ------
    UsageError
        For 3 crops, when they could not cover the longer side because the shorter one is not the crop's.
    """
    y, x = height - size, width - size
    if crops == 1:
        return [(round(y / 2), round(x / 2), False)]
    if crops == 3:
        if min(height, width) != size:
            raise UsageError(f'three crops of {size} lie along frames whose short side is {size}, these are '
                             f'{width}x{height}: rescale the short side first')
        places = (0, 2 * (x // 2), x // 2) if y == 0 else (0, 2 * (y // 2), y // 2)
        return [(0, place, False) if y == 0 else (place, 0, False) for place in places]
    centre = ((height - size) // 2, (width - size) // 2)
    corners = [centre, (0, 0), (y, 0), (0, x), (y, x)]
    return [(top, left, mirrored) for mirrored in (False, True) for top, left in corners]


def views_per_score(net, recipe: ViewRecipe, num_segments: int, clip_length: int, context: mx.Context) -> int:
    """Find how many views a network of unknown making turns into one score, by trying.

    Parameters
    ----------
    net : callable
        An exported network, whose consensus cannot be read off.

    Raises
    ------
    ModelError
        When it takes none of these numbers of views; the message carries MXNet's reason.
    """
    reason = ''
    for group in dict.fromkeys((1, num_segments, num_segments * recipe.crops)):
        shape = (group, clip_length, recipe.size, recipe.size, len(recipe.mean))
        blank = mx.nd.zeros(shape, ctx=context, dtype='uint8')
        try:
            rows = net(recipe.to_network(blank)).shape[0]
            mx.nd.waitall()
        except mx.MXNetError as error:
            reason = str(error).strip().splitlines()[-1]
            continue
        if rows and group % rows == 0:
            return group // rows
        reason = f'{group} views gave {rows} scores'
    raise ModelError(f'the network takes neither 1 view, nor {num_segments} segments, nor {num_segments} x '
                     f'{recipe.crops} views of {clip_length} frames of {recipe.size}x{recipe.size}: {reason}; give '
                     'the --num-segments, --new-length, --input-size and crops that it was exported for')


def rescaled_frames(dataset, short_side: int, index: int) -> np.ndarray:
    """Frames uint8 (S * T, H, W, 3) of one video, rescaled to `short_side` unless it is 0.

    Runs in the worker processes; it is the only place where a video is opened.
    """
    frames = dataset.load_frames(index)
    return short_side_rescale(frames, short_side) if short_side else frames


def _in_order(function: Callable, indices: Sequence[int], num_workers: int, prefetch: int,
              timeout: float | None) -> Iterator[tuple[int, np.ndarray | Exception]]:
    """Yield (position, frames or why there are none) in the order of `indices`, at most `prefetch` read ahead."""
    if num_workers == 0:
        for position, index in enumerate(indices):
            try:
                yield position, function(index)
            except VIDEO_FAILURES as error:
                yield position, error
        return
    pool = WorkerPool(function, num_workers, timeout=timeout)
    try:
        arrived, submitted = {}, 0
        for position in range(len(indices)):
            while submitted < min(len(indices), position + max(prefetch, num_workers)):
                pool.submit(submitted, indices[submitted])
                submitted += 1
            while position not in arrived:
                key, value = pool.next()
                if isinstance(value, Exception) and not isinstance(value, VIDEO_FAILURES):
                    raise value
                arrived[key] = value
            yield position, arrived.pop(position)
    finally:
        pool.close()


def _failure(error: Exception, index: int, sample) -> Failure:
    # A deadline and a dead process know neither file nor line.
    told = str(error) if isinstance(error, VideoReadError) else f'{sample.path}: {error} ({sample.where})'
    return Failure(index, sample.key, told)


class _Collector:
    """Sums of scores, video by video; a video's sum is dropped as soon as its mean is known."""

    def __init__(self, labels: Sequence, on_video: Callable | None):
        self.labels = labels
        self.on_video = on_video
        self.sums: dict[int, list] = {}  # position -> [sum (K,), scores still to come, scores in all]
        self.means: dict[int, np.ndarray | None] = {}
        self.not_finite: list[int] = []
        self.reported = 0

    def begin(self, position: int, num_scores: int) -> None:
        self.sums[position] = [0., num_scores, num_scores]

    def add(self, position: int, score: np.ndarray) -> None:
        entry = self.sums[position]
        entry[0] = entry[0] + score
        entry[1] -= 1
        if entry[1] == 0:
            del self.sums[position]
            mean = np.asarray(entry[0] / entry[2], np.float32)
            if not np.isfinite(mean).all():
                self.not_finite.append(position)
            self._settle(position, mean if np.isfinite(mean).all() else None)

    def fail(self, position: int) -> None:
        self._settle(position, None)

    def _settle(self, position: int, mean: np.ndarray | None) -> None:
        self.means[position] = mean
        while self.reported in self.means:
            if self.on_video:
                self.on_video(self.reported, self.labels[self.reported], self.means[self.reported])
            self.reported += 1

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (N, K) and which rows are (N,); K is 0 when no video was scored."""
        scored = np.array([self.means[i] is not None for i in range(len(self.labels))], bool)
        num_classes = next((len(mean) for mean in self.means.values() if mean is not None), 0)
        scores = np.full((len(self.labels), num_classes), np.nan, np.float32)
        for i in np.flatnonzero(scored):
            scores[i] = self.means[i]
        return scores, scored


class _Batcher:
    """Packs views of consecutive videos into full batches and runs them, one batch ahead of reading results."""

    def __init__(self, net, recipe: ViewRecipe, contexts: Sequence[mx.Context], batch_size: int, average: str,
                 dtype: str, group: int, collected: _Collector):
        self.net, self.recipe, self.contexts, self.dtype = net, recipe, contexts, dtype
        self.average, self.group, self.collected = average, group, collected
        # A score's views must not be torn apart, so a batch holds whole groups, at least one a device.
        self.capacity = max(1, batch_size // group) * group * len(contexts)
        self.buffer: np.ndarray | None = None  # uint8 (V, T, H, W, 3), of optical flow 2
        self.owners: list[int] = []  # position of the video of each view in the buffer
        self.running: deque = deque()  # (outputs by device, owner of each score)

    def add(self, position: int, frames: np.ndarray, num_segments: int) -> int:
        """Take a video's frames uint8 (S * T, H, W, 3); returns how many views they gave."""
        num_views = self.recipe.crops * num_segments
        if num_views % self.group:
            raise UsageError(f'the network makes one score of {self.group} views, which does not divide '
                             f'{num_segments} segments x {self.recipe.crops} crops')
        self.collected.begin(position, num_views // self.group)
        for view in self.recipe.cut(frames, num_segments):
            self._allocate(view.shape)
            self.buffer[len(self.owners)] = view
            self.owners.append(position)
            if len(self.owners) == self.capacity:
                self._launch()
        return num_views

    def finish(self) -> None:
        """Run what is left in the buffer and wait for all results."""
        self._launch()
        while self.running:
            self._take()

    def _allocate(self, view: tuple[int, ...]) -> None:
        shape = (self.capacity, *view)
        if self.buffer is None or self.buffer.shape != shape:
            self._launch()
            self.buffer = np.empty(shape, np.uint8)

    def _launch(self) -> None:
        if not self.owners:
            return
        views = mx.nd.array(self.buffer[:len(self.owners)], dtype='uint8')
        shares = split_and_load(views, self.contexts, batch_axis=0, even_split=False, multiplier=self.group)
        # MXNet computes in the background: the next batch is cut while this one runs.
        outputs = [self.net(self.recipe.to_network(share, self.dtype)) for share in shares]
        self.running.append((outputs, self.owners[::self.group]))
        self.owners = []
        if len(self.running) > 1:
            self._take()

    def _take(self) -> None:
        outputs, owners = self.running.popleft()
        scores = np.concatenate([output.asnumpy() for output in outputs]).astype(np.float64)
        if len(scores) != len(owners):
            raise ModelError(f'the network gave {len(scores)} scores for {len(owners) * self.group} views, expected '
                             f'{len(owners)}: build it with num_segments={self.group} and num_crop=1')
        if self.average == 'softmax':
            scores = np.exp(log_softmax(scores))
        for position, score in zip(owners, scores):
            self.collected.add(position, score)
