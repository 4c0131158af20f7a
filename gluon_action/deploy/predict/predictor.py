"""Predict the class of a video by an exported model, over windows of frames decoded while the network computes."""
from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...data.preprocess import Preprocess
from ...data.reading.stream import Frame, Skipped
from ...errors import BundleError, UsageError, VideoReadError
from ...evaluate.scores.fusion_weights import softmax
from ...files import file_sha256
from ..bundle.format import MODEL, Bundle, check_labels, read_bundle
from ..onnx.model import OnnxModel
from .inputs import Pictures, open_frames
from .windows import Ballot, History, RollingMean, Window, WindowCutter, WindowFrames, WindowPlan

_log = logging.getLogger(__name__)

#: Numbers that the input of one run has at most, unless the user says how many windows: 64 MiB of float32.
BATCH_NUMBERS = 2 ** 24
#: Windows that are computed together by default, if they are not larger than that.
BATCH_SIZE = 8
#: Seconds that the rolling mean looks back on, unless the user says.
ROLLING = 2.0


class Model(Protocol):
    """What computes scores."""

    def run(self, input: np.ndarray) -> np.ndarray:
        """Return scores float32 (videos, K) of an input float32."""


class Described(Protocol):
    """How a model is used: a `Bundle`, or a network with the same two attributes."""

    preprocess: Preprocess
    labels: list[str] | None


class Gap(NamedTuple):
    """Frames in a row that could not be decoded: first and last number, their times in seconds, and the first cause."""

    first: int
    last: int
    start: float
    end: float
    cause: str


@dataclass(frozen=True)
class Prediction:
    """The prediction of a model for a video.

    Attributes
    ----------
    source : str
        The video.
    label, index, score : str, int, float
        The class; its number; its mean probability over all windows, or of a majority its share of the windows.
    probabilities : float32 ndarray (K,)
        The same of all classes.
    windows : list of Window
        In order of time. Each is the mean of `merged` windows: more than 1 only for hours of video.
    merged : int
    skipped : list of Gap
        What could not be decoded.
    labels : list of str
        Names of the classes; their numbers where there are no names.
    protocol : dict
        What the answer depends on: model and its hash, stride, span, vote, and how many windows and frames there were.
    """

    source: str
    label: str
    index: int
    score: float
    probabilities: np.ndarray
    windows: list[Window]
    merged: int
    skipped: list[Gap]
    labels: list[str]
    protocol: dict[str, Any]

    def best(self, count: int = 5, probabilities: np.ndarray | None = None) -> list[int]:
        """Return the best classes, best first; of the video, or of a window's probabilities."""
        values = self.probabilities if probabilities is None else probabilities
        order = np.argsort(-values, kind='stable')[:count].tolist()
        if probabilities is None and self.index in order:  # a majority decides draws by the means
            order.sort(key=lambda k: k != self.index)
        return order

    def top(self, count: int = 5, probabilities: np.ndarray | None = None) -> list[tuple[str, float]]:
        """Return name and probability of the classes that `best` returns."""
        values = self.probabilities if probabilities is None else probabilities
        return [(self.labels[k], float(values[k])) for k in self.best(count, probabilities)]

    def as_dict(self, top_k: int = 5) -> dict[str, Any]:
        """Return everything, for JSON; of the windows the best classes only."""
        named = [{'label': name, 'probability': value} for name, value in self.top(top_k)]
        windows = [{'start': window.start, 'end': window.end, 'frame': window.frame,
                    'top': dict(self.top(top_k, window.probabilities))} for window in self.windows]
        return {'path': self.source, 'label': self.label, 'index': self.index, 'score': self.score, 'top': named,
                'probabilities': self.probabilities.tolist(), 'protocol': self.protocol,
                'skipped': [gap._asdict() for gap in self.skipped], 'windows_merged': self.merged, 'windows': windows}


class Predictor:
    """Predicts the class of videos of any length in bounded memory.

    Parameters
    ----------
    bundle : path or Described
        A bundle, as `read_bundle` reads it, or what says the same.
    model : Model, optional
        What computes; by default the bundle's model in ONNX Runtime.
    stride : int, optional
        Frames from the start of a clip to that of the next one; by default the bundle's.
    batch_size : int, optional
        Windows that are computed together; by default 8, or fewer large ones.
    rolling : float
        Seconds that the rolling mean looks back on, however far apart windows are.
    vote : {'mean', 'majority'}
        Whether the means of the probabilities decide about a video, or the number of windows that a class won.
    threads : int, optional
        As in `OnnxModel`.
    lead_in : bool
        As in `WindowPlan`.
    flow_method : {'tvl1', 'farneback'}
        How optical flow is computed of a video, for a model that looks at flow.
    labels : list of str, optional
        Names of the classes in the order of their numbers, instead of the bundle's.

    Raises
    ------
    BundleError
        When the bundle cannot be used.
    UsageError
        When an argument is invalid.

    Examples
    --------
    >>> prediction = Predictor('bundle')('holiday.mp4')
    >>> prediction.label, prediction.score
    ('surfing water', 0.83)
    """

    def __init__(self, bundle: str | os.PathLike | Bundle | Described, *, model: Model | None = None,
                 stride: int | None = None, batch_size: int | None = None, rolling: float = ROLLING,
                 vote: str = 'mean', threads: int | None = None, lead_in: bool = False, flow_method: str = 'tvl1',
                 labels: list[str] | None = None):
        self.bundle = read_bundle(bundle) if isinstance(bundle, (str, os.PathLike)) else bundle
        if not isinstance(getattr(self.bundle, 'preprocess', None), Preprocess):
            raise UsageError(f'bundle must be the folder or the file of a model, or what describes one, got a '
                             f'{type(bundle).__name__}: Predictor(FOLDER) opens a model, and what it returns takes '
                             'videos')
        self.preprocess, self.labels = self.bundle.preprocess, labels or self.bundle.labels
        if labels:
            known = getattr(self.bundle, 'num_classes', 0) or len(self.bundle.labels or ())
            check_labels(labels, known or None, '--class-names')
        if batch_size is not None and batch_size < 1:
            raise UsageError(f'batch_size must be 1 window or more, got {batch_size}')
        if not 0 < rolling < math.inf:
            raise UsageError(f'rolling must be a number of seconds above 0, got {rolling}')
        Ballot(vote)  # refuses invalid values before a model is loaded
        self.plan = WindowPlan(self.preprocess.offsets, stride or self.preprocess.stride, self.preprocess.rows, lead_in)
        if stride is not None and stride < 1:
            raise UsageError(f'stride must be 1 frame or more, got {stride}')
        numbers = int(np.prod(self.preprocess.shape(self.preprocess.rows * self.preprocess.crops)))
        numbers = max(numbers, self.preprocess.picture_bytes // 4)
        self.batch_size = batch_size or max(1, min(BATCH_SIZE, BATCH_NUMBERS // numbers))
        self.rolling, self.vote, self.flow_method = rolling, vote, flow_method
        self.model = model or OnnxModel(self.bundle.model, threads=threads)

    def __call__(self, video: str | os.PathLike) -> Prediction:
        """Predict the class of a video: `stream` without callbacks."""
        return self.stream(video)

    def stream(self, source: str | os.PathLike, *, on_open: Callable[[Pictures], None] | None = None,
               on_window: Callable[[Window], None] | None = None, on_frame: Callable[[Frame], None] | None = None,
               fps: float | None = None) -> Prediction:
        """Predict the class of a video, and call back with every window and frame.

        Parameters
        ----------
        source : str or path
            What `FrameStream` takes: a file, a folder of pictures, a camera, an address. For a model that looks at
            flow also a folder that ``gluon-action extract-flow`` made.
        on_open : callable, optional
            Takes what is known before the first frame: an object with `fps`, `num_frames` (or None) and `live`.
        on_window : callable, optional
            Takes every `Window`, in order, soon after its last frame was decoded.
        on_frame : callable, optional
            Takes every `Frame`, at full size, after the windows that end with it or before. Then windows are computed
            one by one.
        fps : float, optional
            Frames per second of a folder.

        Returns
        -------
        Prediction
            Of a live source, what was seen until it ended or Ctrl-C ended it.

        Raises
        ------
        VideoReadError
            When no frame, or no window, can be decoded.
        UsageError
            When the model cannot look at such a video.
        """
        if not isinstance(source, (str, os.PathLike)):
            raise UsageError(f'a video is the name of a file, a folder of pictures, a camera or an address, got a '
                             f'{type(source).__name__}; write frames that are in memory to a file, or as pictures into '
                             'a folder')
        with open_frames(source, self.preprocess, wanted=self.plan.wanted, full_size=on_frame is not None, fps=fps,
                         queue=self._queue(), method=self.flow_method) as frames, \
                _Run(self, os.fspath(source), on_window, frames.fps) as run:
            cutter = WindowCutter(self.plan, frames.fps)
            if on_open is not None:
                on_open(frames)
            try:
                for frame, pictures in frames:
                    for number, seconds, picture in pictures:
                        run.add(cutter.push(number, seconds, picture))
                    if on_frame is not None:
                        run.finish()
                        on_frame(frame)
            except KeyboardInterrupt:
                if not frames.live:
                    raise
            run.add(cutter.finish(max((item.number + 1 for item in frames.skipped), default=0)))
            run.finish()
            return self._prediction(os.fspath(source), run, cutter, frames)

    def input_of(self, cuts: Sequence[WindowFrames]) -> np.ndarray:
        """Return the input float32 of the network for windows."""
        pictures = [picture for cut in cuts for picture in cut.pictures]
        if len(sizes := {picture.shape for picture in pictures}) > 1:
            shown = ' and '.join(sorted(f'{shape[1]}x{shape[0]}' for shape in sizes))
            raise UsageError(f'its frames differ in size: before the crop they are {shown}; bring them to one size')
        return self.preprocess.cut(np.stack(pictures))

    def scores(self, input: np.ndarray) -> np.ndarray:
        """Return the probabilities float32 (n, K) of n windows from the input that they make."""
        logits = np.asarray(self.model.run(input), np.float64)
        if not np.isfinite(logits).all():
            raise BundleError(f'{self.name}: the model gives scores that are not finite')
        crops, rows = self.preprocess.crops, self.preprocess.rows
        if logits.ndim != 2 or len(logits) * rows != len(input):
            raise BundleError(f'{self.name}: the model gives scores {logits.shape} for {len(input)} rows of input, and '
                              f'its preprocessing (rows {rows}) says {len(input) // rows}; export it again')
        logits = logits.reshape(len(logits) // crops, crops, -1).mean(axis=1)
        if self.labels is not None and len(self.labels) != logits.shape[1]:
            raise BundleError(f'{self.name}: the model gives {logits.shape[1]} scores for {len(self.labels)} labels')
        return probabilities_of(logits, self.preprocess.activation)

    @functools.cached_property
    def _model_sha256(self) -> str | None:
        if not isinstance(self.bundle, Bundle):
            return None
        listed = self.bundle.manifest.get('files', {}).get(MODEL)
        return listed['sha256'] if listed else file_sha256(self.bundle.model)

    @property
    def name(self) -> str:
        """What messages call the model."""
        return str(getattr(self.bundle, 'path', None) or getattr(self.bundle, 'name', 'the model'))

    def _queue(self) -> int:
        """Frames to prefetch: two batches' worth, so that decoding does not pause while one computes."""
        fresh = min(len(set(self.plan.offsets)) * self.plan.rows, self.plan.step)
        return max(64, 2 * self.batch_size * fresh)

    def about(self) -> dict[str, Any]:
        """Return the model and the settings that every prediction depends on."""
        manifest, path = getattr(self.bundle, 'manifest', {}), getattr(self.bundle, 'path', None)
        return {'model': getattr(self.bundle, 'name', None), 'bundle': path and str(path),
                'bundle_sha256': manifest.get('sha256'), 'model_sha256': self._model_sha256,
                'precision': manifest.get('precision'), 'stride': self.plan.stride, 'span': self.plan.span,
                'frames_per_clip': len(self.plan.offsets), 'clips_per_window': self.plan.rows,
                'crops': self.preprocess.crops, 'lead_in': self.plan.lead_in, 'vote': self.vote,
                'rolling_seconds': self.rolling, 'activation': self.preprocess.activation,
                'flow_method': self.flow_method if self.preprocess.modality == 'flow' else None}

    def _prediction(self, source: str, run: _Run, cutter: WindowCutter, frames: Pictures) -> Prediction:
        if not run.ballot.count:
            raise VideoReadError(source, 'pyav', f'none of its {cutter.num_left_out} windows of {self.plan.span} '
                                 'frames could be scored: of each more than half of the frames are missing')
        if cutter.repeated:
            _log.warning('%s: has fewer frames than the %d of a window; its last one was repeated', source,
                         self.plan.span)
        index, probabilities = run.ballot.result()
        labels = self.labels or [str(k) for k in range(len(probabilities))]
        protocol = {**self.about(), 'windows': run.ballot.count, 'windows_left_out': cutter.num_left_out,
                    'frames_repeated': cutter.repeated, 'frames_skipped': len(frames.skipped),
                    'frames_dropped': frames.dropped, 'fps': frames.fps}
        return Prediction(source, labels[index], index, float(probabilities[index]), probabilities,
                          run.history.windows, run.history.merged,
                          merge_gaps(frames.skipped, frames.fps, self.plan.wanted), labels, protocol)


class _Run:
    """The windows of one video, scored by a thread while later ones are cut."""

    def __init__(self, predictor: Predictor, source: str, on_window: Callable[[Window], None] | None, fps: float):
        self.history, self.ballot = History(), Ballot(predictor.vote)
        self._predictor, self._source, self._on_window = predictor, source, on_window
        self._rolling = RollingMean(max(1, round(predictor.rolling * fps / predictor.plan.step)))
        self._waiting: list[WindowFrames] = []
        self._computing: tuple[list[WindowFrames], Future] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix='network')

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *exception) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, cuts: Sequence[WindowFrames]) -> None:
        """Take windows; compute as soon as they are enough for a batch."""
        for cut in cuts:
            self._waiting.append(cut)
            if len(self._waiting) == self._predictor.batch_size:
                self._start()

    def finish(self) -> None:
        """Compute all that is left, and wait for it."""
        if self._waiting:
            self._start()
        self._collect()

    def _start(self) -> None:
        cuts, self._waiting = self._waiting, []
        try:
            input = self._predictor.input_of(cuts)
        except UsageError as error:
            raise UsageError(f'{self._source}: {error}') from error
        # One batch computes while the next one is made: more would only take memory.
        self._collect()
        self._computing = cuts, self._pool.submit(self._predictor.scores, input)

    def _collect(self) -> None:
        if self._computing is None:
            return
        (cuts, scores), self._computing = self._computing, None
        for cut, probabilities in zip(cuts, scores.result()):
            window = Window(cut.start, cut.end, cut.last, probabilities, self._rolling.add(probabilities))
            self.ballot.add(probabilities)
            self.history.add(window)
            if self._on_window is not None:
                self._on_window(window)


def probabilities_of(logits: np.ndarray, activation: str) -> np.ndarray:
    """Make probabilities float32 of logits (n, K) by 'softmax' or 'sigmoid'."""
    if activation == 'sigmoid':
        return (0.5 + 0.5 * np.tanh(0.5 * logits)).astype(np.float32)
    return softmax(logits).astype(np.float32)


def merge_gaps(skipped: Sequence[Skipped], fps: float, wanted: Callable[[int], bool]) -> list[Gap]:
    """Join consecutive frames, or those with only unused frames between them, into gaps."""
    gaps: list[Gap] = []
    for number, seconds, cause in skipped:
        end = seconds + 1 / fps
        if gaps and not any(wanted(between) for between in range(gaps[-1].last + 1, number)):
            gaps[-1] = gaps[-1]._replace(last=number, end=end)
        else:
            gaps.append(Gap(number, number, seconds, end, cause))
    return gaps
