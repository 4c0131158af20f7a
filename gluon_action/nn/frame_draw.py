"""Frames drawn of videos of any length: at random while a network trains, always the same ones otherwise.

A graph that is traced once has to do both. What differs between training and evaluation there is dropout: it tells
which of the two it is (see `in_training`), and its bits add up to random fractions, from MXNet's own generator.
"""
from __future__ import annotations

from mxnet import gluon

from .composed import Composed, in_training

#: Bits of a random fraction: of 300 frames none is drawn more often than another by 0.03 percent.
BITS = 20
# Where in its part of a video a frame is taken outside of training. In the middle, 0.5, the number of a frame would
# often be a whole one, and rounding would decide.
_PLACE = 0.499
# Successive multiples of the golden ratio, without their whole parts, are spread evenly and look unordered.
_GOLDEN = (5 ** 0.5 - 1) / 2


class Draws(Composed):
    """What draws frames.

    Attributes
    ----------
    round : int
        Number of the evaluation, which `set_round` changes: each draws other frames.
    """

    round = 0

    def fractions(self, F, like, table):
        """Return fractions in [0, 1) of the shape of `like`, (N, S).

        Parameters
        ----------
        like : (N, S)
        table : (1, S)
            What they are outside of training.
        """
        fixed = F.broadcast_mul(F.ones_like(like), table)
        if not self.composed:
            return fixed
        coins = F.Dropout(F.broadcast_axis(F.expand_dims(F.ones_like(like), axis=2), axis=2, size=BITS), p=0.5)
        weights = 0.5 ** (F.contrib.arange_like(coins, axis=2) + 2)  # a coin is 2, its bit a half, a quarter, ...
        drawn = F.FullyConnected(coins, F.reshape(weights, shape=(1, -1)), num_hidden=1, no_bias=True, flatten=False)
        training = in_training(F, fixed)
        return F.BlockGrad(training * F.reshape(drawn, shape=(0, 0)) + (1 - training) * fixed)


class FrameDraw(Draws):
    """Which frames of a video are looked at: S single ones with replacement, or a sequence of S.

    Outside of training single frames lie evenly over the video, and a sequence in its middle.

    Parameters
    ----------
    frames : int
        S.
    sequence : bool
        Draw one sequence; of a video of fewer frames the last one stands in for those that are missing.
    each : bool
        Of single frames: take the first S of a video as they are, and draw only in place of those that it has not.

    References
    ----------
    SampleRandomFrames, SampleRandomSequence and represent_all in model_utils.py of miha-skalic/youtube8mchallenge.
    """

    def __init__(self, frames: int, *, sequence: bool = False, each: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.frames, self._sequence, self._each = frames, sequence, each

    def hybrid_forward(self, F, num_frames):
        """Draw: lengths of videos (N, 1) to indices for ``gather_nd`` of (N, T, D), (2, N, S); 0 for no frames."""
        wide = F.broadcast_axis(num_frames, axis=1, size=self.frames)
        drawn = num_frames if self._sequence else wide
        fractions = self.fractions(F, drawn, self._table(F, drawn))
        if self._sequence:
            starts = F.floor(fractions * (F.relu(num_frames - self.frames) + 1))
            picked = F.broadcast_add(starts, _numbers(F, wide))
        else:
            picked = F.floor(fractions * wide)
            if self._each:
                places = F.broadcast_mul(F.ones_like(wide), _numbers(F, wide))
                there = F.broadcast_lesser(places, wide)
                picked = there * places + (1 - there) * picked
        # A fraction near 1 may be rounded up to a frame that there is not.
        picked = F.relu(F.broadcast_minimum(picked, wide - 1))
        return _indices(F, picked)

    def _table(self, F, drawn):
        """Fractions outside of training, (1, S): even ones, or where only the last are used, any of which are even."""
        if self._each:
            return _scattered(F, _numbers(F, drawn) + self.round * self.frames)
        place = (_PLACE + self.round * _GOLDEN) % 1
        return (_numbers(F, drawn) + place) / (1 if self._sequence else self.frames)


class FrameShuffle(Draws):
    """An order for the frames of a video that leaves its padding behind them; outside of training always the same.

    References
    ----------
    shuffle_frames in model_utils.py of miha-skalic/youtube8mchallenge, which shuffles in evaluation too.
    """

    def hybrid_forward(self, F, mask):
        """Shuffle: 1 of frames that there are and 0 of others, (N, T), to indices for ``gather_nd``, (2, N, T)."""
        keys = mask * (1 + self.fractions(F, mask, _scattered(F, _numbers(F, mask) + 1009 * self.round)))
        return _indices(F, F.argsort(keys, axis=1, is_ascend=False))


def set_round(net: gluon.Block, number: int) -> None:
    """Let the networks inside `net` look at other frames outside of training: each number, from 0, has its own."""
    def change(layer):
        if isinstance(layer, Draws):
            layer.round = number
        layer._clear_cached_op()  # a compiled graph has the frames of its round

    net.apply(change)


def _numbers(F, like):
    """0, 1, ... for the columns of (N, S), as (1, S)."""
    return F.reshape(F.contrib.arange_like(like, axis=1), shape=(1, -1))


def _scattered(F, numbers):
    """Fractions that look unordered, and of which any run is spread evenly."""
    multiples = (numbers + 1) * _GOLDEN
    return multiples - F.floor(multiples)


def _indices(F, picked):
    videos = F.contrib.arange_like(F.slice_axis(picked, axis=1, begin=0, end=1), axis=0)
    return F.stack(F.broadcast_mul(F.ones_like(picked), F.reshape(videos, shape=(-1, 1))), picked, axis=0)
