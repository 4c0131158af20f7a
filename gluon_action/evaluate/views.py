"""Score videos over segments x crops: every video is decoded once, its views are packed into full batches."""
from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .. import engine
from ..compute.on_mxnet.scorer import GluonScorer
from ..compute.scorer import Scorer
from ..compute.waits import Waits
from ..data.loading.batch_memory import BatchMemory
from ..data.loading.loader import SkippedSample
from ..data.loading.workers import WorkerDied, WorkerPool, WorkerTimeout
from ..data.preprocess import Place, Preprocess
from ..errors import ModelError, UsageError, VideoReadError
from .options.config import AVERAGES
from .scores.metrics import log_softmax

_log = logging.getLogger(__name__)

_MOST_THREADS = 4  # that cut views, at the speed of memory

#: What becomes of a video that cannot be read is a matter of the result; everything else is a fault and is raised.
VIDEO_FAILURES = (VideoReadError, WorkerTimeout, WorkerDied)


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
    failures : list of SkippedSample
        Which were not, and why.
    views : int
        Views a video.
    decodes : int
        Times a video was opened; equals N when each was opened once.
    waits : Waits
        How long it was waited for videos, and for the devices.
    """

    keys: list[str]
    labels: list
    scores: np.ndarray
    scored: np.ndarray
    failures: list[SkippedSample] = field(default_factory=list)
    views: int = 0
    decodes: int = 0
    waits: Waits = field(default_factory=Waits)


def score_videos(net, dataset, preprocess: Preprocess, *, contexts: Sequence | None = None,
                 batch_size: int = 32, average: str = 'scores', dtype: str = 'float32', views_per_score: int = 1,
                 num_workers: int = 0, prefetch: int | None = None, timeout: float | None = None,
                 indices: Sequence[int] | None = None, on_video: Callable | None = None) -> VideoScores:
    """Score each video by the mean over its views, with each video decoded once and memory bounded.

    Worker processes read frames as uint8; crops are cut here, straight into the memory of a batch of views that runs on
    into the next video when one is used up. At most `prefetch` videos and two batches of views are held at a time.

    Parameters
    ----------
    net : Scorer or callable
        Views (V, 3, H, W) or (V, 3, T, H, W) to scores (V, K); or (V / views_per_score, K). What is no `Scorer` is a
        network of MXNet, and both are NDArray.
    dataset : VideoClsCustom
        Its ``load_frames(i)`` gives the frames of all segments of video i, uint8 (S * T, H, W, 3), of flow 2.
    preprocess : Preprocess
        How views are cut out of the frames, as these are read, and become numbers.
    contexts : sequence of mxnet.Context, optional
        Devices that share a batch of a network of MXNet; the CPU by default.
    batch_size : int
        Views a forward pass, a device.
    average : {'features', 'scores', 'probabilities'}
        What is averaged over the views; features as the scores that one dense layer makes of them.
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
    if average not in AVERAGES:
        raise UsageError(f'--average must be one of {", ".join(AVERAGES)}, got {average!r}')
    indices = list(range(len(dataset)) if indices is None else indices)
    samples = [dataset.samples[i] for i in indices]
    collected = _Collector([s.label for s in samples], on_video)
    scorer = net if isinstance(net, Scorer) else \
        GluonScorer(net, contexts or engine.contexts(), dtype=dtype, rows=views_per_score)
    waits = Waits()
    batcher = _Batcher(scorer, preprocess, average, collected, group=views_per_score, batch_size=batch_size,
                       waits=waits)
    failures, num_views, decodes = [], 0, 0
    frames_of = partial(resized_frames, dataset, preprocess)
    videos = _in_order(frames_of, indices, num_workers, prefetch or 2 * num_workers, timeout)
    with batcher:
        for position, frames in waits.for_data(videos):
            decodes += 1
            if isinstance(frames, Exception):
                failures.append(_failure(frames, indices[position], samples[position]))
                _log.warning('not scored: %s', failures[-1].message)
                collected.fail(position)
            else:
                num_views = batcher.add(position, frames, dataset.num_segments)
        batcher.finish()
    failures += [SkippedSample(indices[i], samples[i].key,
                               f'{samples[i].path}: the network gave scores that are not finite')
                 for i in collected.not_finite]
    scores, scored = collected.table()
    return VideoScores([s.key for s in samples], [s.label for s in samples], scores, scored, failures, num_views,
                       decodes, waits)


def views_per_score(net, preprocess: Preprocess, num_segments: int, context) -> int:
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
    reason, scorer = '', GluonScorer(net, [context])
    for group in dict.fromkeys((1, num_segments, num_segments * preprocess.crops)):
        try:
            rows = scorer.count_scores(np.zeros(preprocess.shape(group), np.float32))
        except ModelError as error:
            reason = str(error)
            continue
        if rows and group % rows == 0:
            return group // rows
        reason = f'{group} views gave {rows} scores'
    height, width = preprocess.crop
    raise ModelError(f'the network takes neither 1 view, nor {num_segments} segments, nor {num_segments} x '
                     f'{preprocess.crops} views of {len(preprocess.offsets)} frames of {width}x{height}: {reason}; '
                     'give the --num-segments, --new-length, --input-size and crops that it was exported for')


def resized_frames(dataset, preprocess: Preprocess, index: int) -> np.ndarray:
    """Frames uint8 (S * T, H, W, 3) of one video, of the size that views are cut from.

    Runs in the worker processes; it is the only place where a video is opened.
    """
    return preprocess.resized(dataset.load_frames(index))


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


def _failure(error: Exception, index: int, sample) -> SkippedSample:
    # A deadline and a dead process know neither file nor line.
    told = str(error) if isinstance(error, VideoReadError) else f'{sample.path}: {error} ({sample.where})'
    return SkippedSample(index, sample.key, told)


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

    def __init__(self, scorer: Scorer, preprocess: Preprocess, average: str, collected: _Collector, *, group: int,
                 batch_size: int, waits: Waits):
        self.scorer, self.preprocess, self.average, self.collected = scorer, preprocess, average, collected
        self.group, self.waits = group, waits
        # A score's views must not be torn apart, so a batch holds whole groups, at least one a device.
        self.capacity = max(1, batch_size // group) * group * scorer.num_devices
        self.rows: np.ndarray | None = None  # float32, the network's input
        self.owners: list[int] = []  # position of the video of each view in it
        self.spare = BatchMemory(1)
        self.num_threads = min(_MOST_THREADS, engine.usable_cores())
        self.threads = ThreadPoolExecutor(self.num_threads)
        self.running: deque = deque()  # (what gives the scores, owner of each score)

    def __enter__(self) -> _Batcher:
        return self

    def __exit__(self, *_) -> None:
        self.threads.shutdown()

    def add(self, position: int, frames: np.ndarray, num_segments: int) -> int:
        """Take a video's frames uint8 (S * T, H, W, 3); returns how many views they gave."""
        num_views = self.preprocess.crops * num_segments
        if num_views % self.group:
            raise UsageError(f'the network makes one score of {self.group} views, which does not divide '
                             f'{num_segments} segments x {self.preprocess.crops} crops')
        self.collected.begin(position, num_views // self.group)
        places = self.preprocess.places(frames, num_segments)
        if self.group == 1:  # in any order, then: that in which a frame is normalised once for all its crops
            places.sort(key=lambda place: place.first)
        while places:
            if self.rows is None:
                self.rows = self._memory(self.preprocess.shape(self.capacity))
            begin = len(self.owners)
            now, places = places[:self.capacity - begin], places[self.capacity - begin:]
            self._write(frames, now, self.rows[begin:begin + len(now)])
            self.owners += [position] * len(now)
            if len(self.owners) == self.capacity:
                self._launch()
        return num_views

    def finish(self) -> None:
        """Run what is left in the buffer and wait for all results."""
        self._launch()
        while self.running:
            self._take()

    def _memory(self, shape: tuple[int, ...]) -> np.ndarray:
        rows = self.scorer.memory(shape)
        if rows is None:
            rows = self.spare.lend(4 * math.prod(shape)).view(np.float32).reshape(shape)
        return rows

    def _write(self, frames: np.ndarray, places: list[Place], rows: np.ndarray) -> None:
        """Write views, each thread its share: one alone is slower than a GPU scores them."""
        share = -(-len(places) // self.num_threads)
        parts = [slice(begin, begin + share) for begin in range(0, len(places), share)]
        for _ in self.threads.map(lambda part: self.preprocess.write(frames, places[part], rows[part]), parts):
            pass  # what a thread raised is raised here

    def _launch(self) -> None:
        if not self.owners:
            return
        # An engine computes in the background: the next batch is cut while this one runs.
        views, self.rows = self.rows[:len(self.owners)], None
        with self.waits.for_devices():  # some compute at once
            self.running.append((self.scorer(views), self.owners[::self.group]))
        self.owners = []
        if len(self.running) > 1:
            self._take()

    def _take(self) -> None:
        scores_of, owners = self.running.popleft()
        with self.waits.for_devices():
            scores = scores_of().astype(np.float64)
        if len(scores) != len(owners):
            raise ModelError(f'the network gave {len(scores)} scores for {len(owners) * self.group} views, expected '
                             f'{len(owners)}: build it with num_segments={self.group} and num_crop=1')
        if self.average == 'probabilities':
            scores = np.exp(log_softmax(scores))
        for position, score in zip(owners, scores):
            self.collected.add(position, score)
