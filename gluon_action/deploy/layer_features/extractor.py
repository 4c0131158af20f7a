"""Features of a video: what a layer of a network gives for the clips that a prediction would look at."""
from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.reading.part import VideoPart
from ...errors import UsageError, VideoReadError
from ..predict.inputs import name_of_source, open_frames
from ..predict.open_predictor import open_predictor
from ..predict.predictor import Predictor
from ..predict.windows import WindowCutter, WindowFrames, WindowPlan
from .layer import layer_shapes, mean_over_places, open_layer
from .rows import EACH_CLIP, OneRow, RowOfEachClip, RowOfEachWindow, Rule

POOLS = ('mean', 'none')


@dataclass(frozen=True)
class Features:
    """The features of one video.

    Attributes
    ----------
    source : str
        The video; of a part of it ``video#t=start,end`` or ``video#f=first,last``.
    values : float32 ndarray (D,), or (n, D) by window
        With ``pool='none'`` and a layer of maps (C, T, H, W) or (n, C, T, H, W) and the like.
    start, end : float64 ndarray () or (n,)
        When what they were made of begins and ends, in seconds; of a part too from the start of the whole video.
    about : dict
        How many clips there were, and what was left out of them.
    part : float64 ndarray (2,) or None
        When the part begins and ends, where only a part of the video was looked at: less the first number, times count
        from the start of the part.
    """

    source: str
    values: np.ndarray
    start: np.ndarray
    end: np.ndarray
    about: dict[str, Any]
    part: np.ndarray | None = None


class FeatureExtractor:
    """Takes features of videos of any length by any layer of any model.

    Clips slide over a video as in a prediction, prepared in the same way. What the layer gives for a clip is averaged
    over its crops, and by default over its places; then over the clips of the video, or of each window of it.

    Parameters
    ----------
    source : str, path or Predictor
        The model: what `open_predictor` opens: the folder of a run, a bundle, FILE.params, or a model of the zoo.
    layer : str, optional
        One of `layers`. By default the features that the classifier takes, averaged over time and places; of a bundle,
        which gives nothing else, the scores.
    pool : {'mean', 'none'}
        What becomes of a layer that has places, (C, T, H, W) of a clip or (L, C) of tokens: their mean (C,), or all.
    window : float or 'clip', optional
        A row for each so many seconds instead of one for the video, or a row for each clip.
    stride : float, optional
        Seconds from the start of a window to that of the next; by default as long as it lasts, so that they follow
        each other.
    clip_step : int, optional
        Frames from the start of a clip to that of the next; by default the model's, half a clip, and by window no more
        than there are from one window to the next.
    fps : float, optional
        Frames per second of folders of pictures.
    **opening
        Those of `open_predictor` and `Predictor`: ``model``, ``use_pretrained``, ``batch_size``, ``threads`` ...

    Raises
    ------
    UsageError
        When an argument is invalid, or there is no such layer; the message names the layers.
    BundleError, WeightsError
        When the model cannot be used.

    Examples
    --------
    >>> extractor = FeatureExtractor('runs/mine')
    >>> extractor('holiday.mp4').values.shape
    (2048,)
    >>> FeatureExtractor('runs/mine', window=2)('holiday.mp4').values.shape
    (15, 2048)
    """

    def __init__(self, source: str | os.PathLike | Predictor, *, layer: str | None = None, pool: str = 'mean',
                 window: float | str | None = None, stride: float | None = None, clip_step: int | None = None,
                 fps: float | None = None, **opening):
        if pool not in POOLS:
            raise UsageError(f'pool must be one of {", ".join(POOLS)}, got {pool!r}')
        if clip_step is not None and clip_step < 1:
            raise UsageError(f'--clip-step must be 1 frame or more, got {clip_step}')
        if stride is not None and not isinstance(window, (int, float)):
            raise UsageError('--stride: is how far apart windows of --window SECONDS begin; how far apart clips begin '
                             'is --clip-step FRAMES')
        self.pool, self.window, self.fps = pool, window, fps
        self.stride = (stride or window) if isinstance(window, (int, float)) else None
        self._new_rule()  # refuses invalid values before a model is loaded
        self.clip_step = clip_step
        self.predictor = source if isinstance(source, Predictor) else \
            open_predictor(source, stride=clip_step, **opening)
        self._layer = open_layer(self.predictor, layer)

    @property
    def layer(self) -> str:
        """Name of the layer in use."""
        return self._layer.name

    @property
    def layers(self) -> dict[str, tuple]:
        """Names of all layers, and the shape of what each gives for one clip."""
        return layer_shapes(self.predictor)

    def settings(self) -> dict[str, Any]:
        """Return all that features depend on beside the video, for JSON."""
        about = self.predictor.about()
        weights = about['model_sha256'] or _parameters_sha256(self.predictor)
        return {'model': about['model'], 'weights_sha256': weights, 'layer': self.layer, 'pool': self.pool,
                'window': self.window, 'stride': self.stride, 'clip_step': self.clip_step, 'fps': self.fps,
                'clip_stride': self.predictor.plan.stride, 'flow_method': about['flow_method'],
                'on_damage': about['on_damage'], 'preprocess': self.predictor.preprocess.to_json()}

    def __call__(self, video: str | os.PathLike | VideoPart) -> Features:
        """Return the features of a video.

        Parameters
        ----------
        video : str, path or VideoPart
            A file, a folder of pictures, a part of these, an address; for a model of optical flow also a folder of
            stored flow.

        Raises
        ------
        VideoReadError
            When no clip of it can be decoded.
        UsageError
            When the model cannot look at such a video, or it never ends.
        """
        rule, plan = self._new_rule(), _LatePlan()
        with open_frames(video, self.predictor.preprocess, wanted=plan.wanted, full_size=False, fps=self.fps,
                         queue=self.predictor.queue, method=self.predictor.flow_method,
                         on_damage=self.predictor.on_damage) as frames:
            plan.settle(self._plan(frames.fps))
            if frames.live:
                raise UsageError(f'{video}: is a stream without an end; record a part of it, and name that file')
            cutter, waiting, length = WindowCutter(plan.plan, frames.fps), [], self.predictor.batch_size
            for _, pictures in frames:
                for number, seconds, picture in pictures:
                    waiting += cutter.push(number, seconds, picture)
                while len(waiting) >= length:
                    self._compute(video, waiting[:length], rule)
                    del waiting[:length]
            waiting += cutter.finish(max((item.number + 1 for item in frames.skipped), default=0))
            for first in range(0, len(waiting), length):
                self._compute(video, waiting[first:first + length], rule)
            if not cutter.num_cut:
                raise VideoReadError(os.fspath(video), 'pyav', f'none of its {cutter.num_left_out} clips of '
                                     f'{plan.plan.span} frames could be read: of each more than half of the frames are '
                                     'missing')
            about = {'clips': cutter.num_cut, 'clips_left_out': cutter.num_left_out, 'fps': frames.fps,
                     'frames_repeated': cutter.repeated, 'frames_skipped': len(frames.skipped)}
            offset = frames.offset
        values, start, end = rule.rows()
        start, end = start + offset, end + offset
        part = np.array([offset, end[-1]]) if isinstance(video, VideoPart) else None
        if self.window is None:
            values, start, end = values[0], start[0], end[0]
        return Features(name_of_source(video), values, np.asarray(start), np.asarray(end), about, part)

    def _compute(self, video: str | os.PathLike, cuts: Sequence[WindowFrames], rule: Rule) -> None:
        try:
            input = self.predictor.input_of(cuts)
        except UsageError as error:
            raise UsageError(f'{video}: {error}') from error
        values = self._layer.run(input, len(cuts))
        if self.pool == 'mean':
            values = mean_over_places(values, self._layer.channels_last)
        for cut, row in zip(cuts, values):
            rule.add(cut.start, cut.end, row)

    def _new_rule(self) -> Rule:
        if self.window is None:
            return OneRow()
        if self.window == EACH_CLIP:
            return RowOfEachClip()
        if not isinstance(self.window, (int, float)) or isinstance(self.window, bool):
            raise UsageError(f'--window must be a number of seconds or {EACH_CLIP}, got {self.window!r}')
        return RowOfEachWindow(self.window, self.stride)

    def _plan(self, fps: float) -> WindowPlan:
        """The plan of a prediction, with clips so close together that each window has one."""
        plan = self.predictor.plan
        if self.stride is None or self.clip_step is not None:
            return plan
        most = max(1, math.floor(self.stride * fps / plan.rows))
        return WindowPlan(plan.offsets, min(plan.stride, most), plan.rows)


class _LatePlan:
    """A plan that depends on the rate of a video, which is known when frames are decoded already."""

    def __init__(self):
        self.plan: WindowPlan | None = None
        self._settled = threading.Event()

    def settle(self, plan: WindowPlan) -> None:
        self.plan = plan
        self._settled.set()

    def wanted(self, number: int, num_frames: int | None = None) -> bool:
        self._settled.wait()
        return self.plan.wanted(number, num_frames)


def _parameters_sha256(predictor: Predictor) -> str:
    from ...compute.on_mxnet.parameters import parameters_sha256
    return parameters_sha256(predictor.model.net)
