"""Two streams: one network sees the pictures, one the motion, and their scores are added."""
from __future__ import annotations

import math
from collections.abc import Sequence

import mxnet as mx

from ..errors import ModelError
from .recognizer import Recognizer


class TwoStream(Recognizer):
    """Add the scores of a network for RGB clips and of one for optical flow (arXiv:1406.2199, arXiv:1705.07750).

    The two are trained apart, each with a loss of its own; this is for using them together, on two inputs of the same
    videos. Scores of many videos are fused without the networks: see `gluon_action.evaluate.scores.fusion`.

    Parameters
    ----------
    rgb, flow : Recognizer
        From `get_model`, of the same classes.
    weights : (float, float)
        How much the logits of each count; equally, as published, by default.

    Raises
    ------
    ModelError
        When the two do not give scores for the same classes and videos, or one takes the other's input.

    Notes
    -----
    ``net(rgb_clips, flow_clips)`` takes (N, 3, T, H, W) and (N, 2, T', H', W') in [-1, 1] and gives logits (B, K).
    Each stream computes by its own compiled graph, so their clips may differ in size. Keys of parameters are those of
    the streams behind ``rgb.`` and ``flow.``. To export or quantise a two-stream network, do it with each stream.

    Examples
    --------
    >>> net = TwoStream(get_model('i3d_rgb_kinetics400', pretrained_base=False),
    ...                 get_model('i3d_flow_kinetics400', pretrained_base=False))
    """

    def __init__(self, rgb: Recognizer, flow: Recognizer, weights: Sequence[float] = (1., 1.), **kwargs):
        super().__init__(**kwargs)
        _check(rgb, flow, weights)
        self.num_classes = rgb.num_classes
        self.num_segments, self.num_crop = rgb.num_segments, rgb.num_crop
        self.classes = rgb.classes or flow.classes
        self.weights = tuple(map(float, weights))
        self.head_prefixes = (*(f'rgb.{prefix}' for prefix in rgb.head_prefixes),
                              *(f'flow.{prefix}' for prefix in flow.head_prefixes))
        self.rgb, self.flow = rgb, flow

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Lay both streams out for clips of this size."""
        self.rgb.plan_for(frames, height, width)
        self.flow.plan_for(frames, height, width)

    def forward(self, rgb, flow):
        """Score RGB clips and flow clips of the same videos."""
        if isinstance(rgb, mx.nd.NDArray):
            # Past Gluon's compilation: each stream knows the graph that suits its clips.
            return self.hybrid_forward(mx.nd, rgb, flow)
        return super().forward(rgb, flow)

    def hybrid_forward(self, F, rgb, flow):
        """Add the logits (B, K)."""
        return self.rgb(rgb) * self.weights[0] + self.flow(flow) * self.weights[1]


def _check(rgb: Recognizer, flow: Recognizer, weights: Sequence[float]) -> None:
    for net, modality in ((rgb, 'rgb'), (flow, 'flow')):
        if net.card is not None and net.card.modality != modality:
            raise ModelError(f'the {modality} stream of a two-stream network takes {modality}, and {net.card.name} '
                             f'takes {net.card.modality}')
        if net.feat_ext:
            raise ModelError(f'the {modality} stream gives features; build it without feat_ext, for scores to add')
    for what, one, other in (('classes', rgb.num_classes, flow.num_classes),
                             ('segments', rgb.num_segments, flow.num_segments),
                             ('crops', rgb.num_crop, flow.num_crop)):
        if one != other:
            raise ModelError(f'the rgb stream has {one} {what} and the flow stream {other}; they must agree')
    if len(weights) != 2 or not all(math.isfinite(weight) for weight in weights):
        raise ModelError(f'weights are two finite numbers, for rgb and for flow, got {list(weights)}')
