"""Temporal segment networks: one 2D network over the segments of a video, one answer (Wang et al. 2016)."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon

from ..errors import ModelError
from ..nn import Consensus
from .recognizer import Recognizer


class TSN(Recognizer):
    """A 2D network whose scores for the segments of a video become one by consensus (arXiv:1608.00859).

    Parameters
    ----------
    basenet : ActionRec
        Network for single frames.
    num_segments, num_crop : int
        Segments S and crops C of a video.
    consensus : {'avg', 'max', 'weighted'}
        See :class:`gluon_action.nn.Consensus`. With ``feat_ext`` it is taken over features.

    Notes
    -----
    Frames (B*S*C, 3, H, W) go in, scores (B, K) come out. The keys of its parameter files are those of the network
    inside, as in GluonCV, so a file fits with and without segments; ``tsn_consensus.weight`` is added by 'weighted'.
    """

    def __init__(self, basenet: ActionRec, num_segments: int = 3, num_crop: int = 1, consensus: str = 'avg', **kwargs):
        super().__init__(**kwargs)
        self.num_segments, self.num_crop = num_segments, num_crop
        self.num_classes, self.feat_dim = basenet.num_classes, basenet.feat_dim
        self.feat_ext, self.base = basenet.feat_ext, basenet.base
        self.may_be_joined = basenet.may_be_joined
        with self.name_scope():
            self.basenet = basenet
            self.tsn_consensus = Consensus(num_segments, num_crop, consensus)

    def check_input(self, shape):
        """Take whole videos."""
        rows = self.num_segments * self.num_crop
        if shape[0] % rows:
            raise ModelError(f'{shape[0]} frames are not a whole number of videos of {self.num_segments} segments x '
                             f'{self.num_crop} crops; batch with tsn_mp_batchify_fn and split with multiplier={rows}')

    def forward(self, x, *args):
        """Combine (B*S*C, 3, H, W) to (B, K); B is whatever the rows make."""
        if isinstance(x, mx.nd.NDArray):
            self.check_input(x.shape)
        return super().forward(x, *args)

    def hybrid_forward(self, F, x):
        """Score the frames, then combine the scores of the segments."""
        return self.tsn_consensus(self.basenet(x))

    def _collect_params_with_prefix(self, prefix=''):
        consensus = f'{prefix}.tsn_consensus' if prefix else 'tsn_consensus'
        return {**self.basenet._collect_params_with_prefix(prefix),
                **self.tsn_consensus._collect_params_with_prefix(consensus)}


class ActionRec(Recognizer):
    """A 2D network with an action head; a family gives it a body.

    Parameters
    ----------
    nclass : int
        Classes K.
    feat_dim : int
        Features D that the body ends in.
    init_std : float
        Standard deviation that the head's weights start with.
    feat_ext : bool
        Return features (N, D) instead of scores (N, K).
    """

    #: The class that wraps this one for several segments.
    tsn_class = TSN
    may_be_joined = True

    def __init__(self, nclass: int, feat_dim: int, init_std: float, feat_ext: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.feat_dim, self.feat_ext = nclass, feat_dim, feat_ext
        self._init_std = init_std

    def _add_head(self) -> None:
        # Added last, so that the head is printed and saved after the body, as in GluonCV.
        with self.name_scope():
            self.output = gluon.nn.Dense(self.num_classes, in_units=self.feat_dim,
                                         weight_initializer=mx.init.Normal(self._init_std))

    def body(self, x):
        """Frames (N, 3, H, W) to features (N, D)."""
        raise NotImplementedError

    def hybrid_forward(self, F, x):
        """Score frames (N, 3, H, W)."""
        x = self.body(x)
        return x if self.feat_ext else self.output(x)


def over_segments(net: ActionRec, tsn: bool, num_segments: int, num_crop: int, consensus: str) -> Recognizer:
    """Return `net` itself for single frames, or its TSN when `tsn` asks or a video has several rows."""
    if not tsn and num_segments * num_crop == 1:
        return net
    return net.tsn_class(net, num_segments, num_crop, consensus)
