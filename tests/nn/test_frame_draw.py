"""Frames drawn of videos: which, how often, and the same ones outside of training."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from gluon_action.nn import FrameDraw, FrameShuffle, as_operators

LENGTHS = [0, 1, 7, 12, 300]


def drawn(layer, given, training=True):
    with autograd.record(train_mode=training):
        videos, frames = layer(mx.nd.array(given)).asnumpy()
    assert (videos == np.arange(len(given))[:, None]).all()
    return frames


def column(lengths):
    return [[length] for length in lengths]


@pytest.mark.parametrize('hybrid', [False, True])
@pytest.mark.parametrize('options', [{}, {'sequence': True}, {'each': True}])
def test_only_frames_that_there_are_are_drawn_and_others_each_time(options, hybrid):
    layer = FrameDraw(30, **options)
    layer.hybridize(hybrid)
    mx.random.seed(5)
    first, second = (drawn(layer, column(LENGTHS)) for _ in range(2))
    for frames in (first, second, drawn(layer, column(LENGTHS), training=False)):
        assert frames.shape == (5, 30) and (frames == np.floor(frames)).all()
        assert (frames >= 0).all() and (frames <= np.maximum(np.array(LENGTHS)[:, None] - 1, 0)).all()
    assert (first[4] != second[4]).any() or 'each' in options
    mx.random.seed(5)
    assert (drawn(layer, column(LENGTHS)) == first).all()


def test_every_frame_is_drawn_as_often_as_any_other():
    mx.random.seed(0)
    frames = drawn(FrameDraw(3000), column([7] * 40))
    counts = np.bincount(frames.astype(int).ravel(), minlength=7)
    expected = frames.size / 7
    assert ((counts - expected) ** 2 / expected).sum() < 22.5  # chi squared of 6 degrees, 1 in 1,000
    pairs = np.bincount((frames[:, 1:] * 7 + frames[:, :-1]).astype(int).ravel(), minlength=49)
    expected = pairs.sum() / 49
    assert ((pairs - expected) ** 2 / expected).sum() < 85  # 48 degrees


def test_outside_of_training_frames_lie_evenly():
    layer = FrameDraw(6)
    np.testing.assert_array_equal(drawn(layer, column([1, 2, 6, 12, 300]), training=False), [
        [0] * 6, [0, 0, 0, 1, 1, 1], range(6), [0, 2, 4, 6, 8, 10], [24, 74, 124, 174, 224, 274]])
    assert (layer(mx.nd.array([[12]])).asnumpy()[1] == [0, 2, 4, 6, 8, 10]).all()


def test_sequences_begin_anywhere_and_the_last_frame_stands_in_for_missing_ones():
    mx.random.seed(0)
    layer = FrameDraw(4, sequence=True)
    frames = drawn(layer, column([2, 4, 6] + [7] * 300))
    np.testing.assert_array_equal(frames[0], [0, 1, 1, 1])
    np.testing.assert_array_equal(frames[1], range(4))
    assert (np.diff(frames[2:]) == 1).all()
    counts = np.bincount(frames[3:, 0].astype(int))
    assert len(counts) == 4 and counts.min() > 45
    np.testing.assert_array_equal(drawn(layer, column([2, 7]), training=False), [[0, 1, 1, 1], [1, 2, 3, 4]])


@pytest.mark.parametrize('training', [False, True])
def test_each_frame_is_there_once_and_what_is_missing_is_drawn(training):
    frames = drawn(FrameDraw(12, each=True), column([5, 12, 20, 1]), training)
    np.testing.assert_array_equal(frames[0][:5], range(5))
    np.testing.assert_array_equal(frames[1:3], [range(12)] * 2)
    assert len(set(frames[0][5:])) > 1 and not frames[3].any()


def test_rounds_of_an_evaluation_see_other_frames():
    frames = []
    for number in range(3):
        layer = FrameDraw(5)
        layer.round = number
        frames.append(tuple(drawn(layer, column([300]), training=False)[0]))
    assert len(set(frames)) == 3


def test_padding_stays_behind_the_frames_that_are_shuffled():
    mask = np.zeros((4, 9))
    for row, length in zip(mask, (0, 1, 5, 9)):
        row[:length] = 1
    mx.random.seed(1)
    orders = [drawn(FrameShuffle(), mask) for _ in range(2)]
    for order in (*orders, drawn(FrameShuffle(), mask, training=False)):
        np.testing.assert_array_equal(np.sort(order), [range(9)] * 4)
        np.testing.assert_array_equal(np.sort(order[2][:5]), range(5))
        assert (order[3] != range(9)).any() and order[1][0] == 0
    assert (orders[0] != orders[1]).any()
    assert (drawn(FrameShuffle(), mask, training=False) == drawn(FrameShuffle(), mask, training=False)).all()


@pytest.mark.parametrize('layer, given', [(FrameDraw(6), column(LENGTHS)), (FrameDraw(6, each=True), column(LENGTHS)),
                                          (FrameDraw(6, sequence=True), column(LENGTHS)),
                                          (FrameShuffle(), np.ones((2, 5)))])
def test_what_is_exported_draws_the_same_and_has_no_dropout(layer, given):
    with as_operators(layer):
        exported = layer(mx.nd.array(given)).asnumpy()
        assert 'Dropout' not in layer(mx.sym.var('data')).tojson()
    np.testing.assert_array_equal(exported, layer(mx.nd.array(given)).asnumpy())
    assert 'Dropout' in layer(mx.sym.var('data')).tojson()
