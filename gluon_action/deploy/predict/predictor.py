"""Predict the class of a video by an exported model, over windows of frames decoded while the network computes."""
from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from ...data.preprocess import Preprocess
from ...data.reading.media.damage import check_on_damage
from ...data.reading.part import VideoPart
from ...data.reading.stream import Frame
from ...errors import BundleError, UsageError, VideoReadError
from ...evaluate.scores.fusion_weights import softmax
from ...files import file_sha256
from ..bundle.format import MODEL, Bundle, check_labels, read_bundle
from ..onnx.model import OnnxModel
from .inputs import Pictures, name_of_source, open_frames
from .prediction import Prediction, merge_gaps
from .segments import NONE_OF_THESE, segments_of
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
        Seconds that the rolling mean looks back on, however far apart windows are, and that segments are smoothed over.
    threshold : float, optional
        Least probability of an answer, in [0, 1]: below it a video is ``'none of these'``, and a moment is in no
        segment. Of a model of several labels all those that reach it are the answer. By default the best class is it.
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
    on_damage : {'skip', 'accept', 'raise'}
        Leave out frames that are damaged, take those that come out with parts guessed, or refuse the video.

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
    >>> [(segment.label, segment.start, segment.end) for segment in prediction.segments]
    [('surfing water', 0.0, 6.4), ('swimming', 6.4, 9.2)]
    """

    def __init__(self, bundle: str | os.PathLike | Bundle | Described, *, model: Model | None = None,
                 stride: int | None = None, batch_size: int | None = None, rolling: float = ROLLING,
                 vote: str = 'mean', threads: int | None = None, lead_in: bool = False, flow_method: str = 'tvl1',
                 labels: list[str] | None = None, on_damage: str = 'skip', threshold: float | None = None):
        check_on_damage(on_damage)
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
        check_threshold(threshold)
        Ballot(vote)  # refuses invalid values before a model is loaded
        self.plan = WindowPlan(self.preprocess.offsets, stride or self.preprocess.stride, self.preprocess.rows, lead_in)
        if stride is not None and stride < 1:
            raise UsageError(f'stride must be 1 frame or more, got {stride}')
        numbers = int(np.prod(self.preprocess.shape(self.preprocess.rows * self.preprocess.crops)))
        numbers = max(numbers, self.preprocess.picture_bytes // 4)
        self.batch_size = batch_size or max(1, min(BATCH_SIZE, BATCH_NUMBERS // numbers))
        self.rolling, self.vote, self.threshold = rolling, vote, threshold
        self.flow_method, self.on_damage = flow_method, on_damage
        self.model = model or OnnxModel(self.bundle.model, threads=threads)

    def __call__(self, video: str | os.PathLike | np.ndarray | Sequence, *,
                 fps: float | None = None) -> Prediction | list[Prediction]:
        """Predict the class of a video, or of each of a list of them: `stream` without callbacks.

        Parameters
        ----------
        video : str, path, VideoPart, uint8 ndarray (T, H, W, 3), or list of these
            What `stream` takes. For a list there is a list of predictions; a video that fails raises its error.
        fps : float, optional
            Frames per second of folders and arrays.
        """
        if isinstance(video, (list, tuple)):
            return [self.stream(each, fps=fps) for each in video]
        return self.stream(video, fps=fps)

    def stream(self, source: str | os.PathLike | VideoPart | np.ndarray, *,
               on_open: Callable[[Pictures], None] | None = None, on_window: Callable[[Window], None] | None = None,
               on_frame: Callable[[Frame], None] | None = None, fps: float | None = None) -> Prediction:
        """Predict the class of a video, and call back with every window and frame.

        Parameters
        ----------
        source : str, path, VideoPart, or uint8 ndarray (T, H, W, 3)
            What `FrameStream` takes: a file, a part of one, a folder of pictures, a camera, an address. For a model
            that looks at flow also a folder that ``gluon-action extract-flow`` made. Frames in memory are RGB
            (OpenCV's are BGR: ``frames[..., ::-1]``).
        on_open : callable, optional
            Takes what is known before the first frame: an object with `fps`, `num_frames` (or None), `live` and
            `endless`.
        on_window : callable, optional
            Takes every `Window`, in order, soon after its last frame was decoded. Those of an endless source are
            computed one by one, so that each is known before the next one begins to be.
        on_frame : callable, optional
            Takes every `Frame`, at full size, after the windows that end with it or before. Then windows are computed
            one by one.
        fps : float, optional
            Frames per second of a folder or an array; by default 25.

        Returns
        -------
        Prediction
            Of an endless source, what was seen until it ended or Ctrl-C ended it.

        Raises
        ------
        VideoReadError
            When no frame, or no window, can be decoded.
        DamagedVideoError
            When a frame is damaged, with `on_damage` 'raise'.
        UsageError
            When the model cannot look at such a video.
        """
        name = name_of_source(source)
        with open_frames(source, self.preprocess, wanted=self.plan.wanted, full_size=on_frame is not None, fps=fps,
                         queue=self.queue, method=self.flow_method, on_damage=self.on_damage) as frames, \
                _Run(self, name, on_window, frames) as run:
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
                if not frames.endless:
                    raise
            run.add(cutter.finish(max((item.number + 1 for item in frames.skipped), default=0)))
            run.finish()
            return self._prediction(name, run, cutter, frames, isinstance(source, VideoPart))

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

    @property
    def queue(self) -> int:
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
                'rolling_seconds': self.rolling, 'threshold': self.threshold, 'activation': self.preprocess.activation,
                'flow_method': self.flow_method if self.preprocess.modality == 'flow' else None,
                'on_damage': self.on_damage}

    def _prediction(self, source: str, run: _Run, cutter: WindowCutter, frames: Pictures,
                    is_part: bool) -> Prediction:
        if not run.ballot.count:
            raise VideoReadError(source, 'pyav', f'none of its {cutter.num_left_out} windows of {self.plan.span} '
                                 'frames could be scored: of each more than half of the frames are missing')
        if cutter.repeated:
            _log.warning('%s: has fewer frames than the %d of a window; its last one was repeated', source,
                         self.plan.span)
        best, probabilities = run.ballot.result()
        labels = self.labels or [str(k) for k in range(len(probabilities))]
        several = self.preprocess.activation == 'sigmoid'
        found, score = self.found(probabilities, best), float(probabilities[best])
        label, index = (labels[best], best) if found else (NONE_OF_THESE, None)
        protocol = {**self.about(), 'windows': run.ballot.count, 'windows_left_out': cutter.num_left_out,
                    'frames_repeated': cutter.repeated, 'frames_skipped': len(frames.skipped),
                    'frames_dropped': frames.dropped, 'fps': frames.fps}
        windows, merged = run.history.windows, run.history.merged
        segments = segments_of(windows, labels, step=merged * self.plan.step, smooth=self.rolling,
                               threshold=self.threshold, several=several)
        gaps = merge_gaps(frames.skipped, frames.fps, self.plan.wanted)
        prediction = Prediction(source, label, index, score, probabilities, windows, merged, gaps, labels, protocol,
                                segments, found)
        return prediction.of_part(frames.offset) if is_part else prediction

    def found(self, probabilities: np.ndarray, best: int | None = None) -> list[int]:
        """Return the classes that are the answer: the best one, or all of several labels, unless the threshold says."""
        best = int(np.argmax(probabilities)) if best is None else best
        if self.threshold is None:
            return [best]
        count = len(probabilities) if self.preprocess.activation == 'sigmoid' else 1
        ranked = [best, *(k for k in np.argsort(-probabilities, kind='stable').tolist() if k != best)][:count]
        return [k for k in ranked if probabilities[k] >= self.threshold]


class _Run:
    """The windows of one video, scored by a thread while later ones are cut."""

    def __init__(self, predictor: Predictor, source: str, on_window: Callable[[Window], None] | None, frames: Pictures):
        self.history, self.ballot = History(), Ballot(predictor.vote)
        self._predictor, self._source, self._on_window = predictor, source, on_window
        self._rolling = RollingMean(max(1, round(predictor.rolling * frames.fps / predictor.plan.step)))
        self._batch_size = 1 if frames.endless else predictor.batch_size
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
            if len(self._waiting) == self._batch_size:
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


def check_threshold(threshold: float | None, flag: str = 'threshold') -> None:
    """Raise `UsageError` for what is no probability."""
    if threshold is not None and not 0 <= threshold <= 1:
        percent = f'; {threshold:g} % is {threshold / 100:g}' if 1 < threshold <= 100 else ''
        raise UsageError(f'{flag} must be a probability in 0..1, got {threshold:g}{percent}')


def probabilities_of(logits: np.ndarray, activation: str) -> np.ndarray:
    """Make probabilities float32 of logits (n, K) by 'softmax' or 'sigmoid'."""
    if activation == 'sigmoid':
        return (0.5 + 0.5 * np.tanh(0.5 * logits)).astype(np.float32)
    return softmax(logits).astype(np.float32)
