"""Optical flow: its sign and size, its storage in 8 bits, and its colours."""
from __future__ import annotations

import sys

import numpy as np
import pytest
from flows import texture

from gluon_action.data.flow import methods as optical_flow
from gluon_action.data.flow.methods import (
    BOUND,
    MEAN,
    STD,
    color_wheel,
    compute_flow,
    dequantize,
    flow_colors,
    quantize,
    to_gray,
    top_speed,
)
from gluon_action.data.transforms import functional as F
from gluon_action.errors import GluonActionError, UsageError


@pytest.mark.parametrize('method', ['tvl1', 'farneback'])
@pytest.mark.parametrize('x, y', [(3, 0), (-3, 0), (0, 2), (0, -2), (2, -3)])
def test_a_shifted_picture_has_the_flow_of_the_shift(method, x, y):
    before = texture(64, 80)
    flow = compute_flow(before, np.roll(before, (y, x), (0, 1)), method)
    assert (flow.shape, flow.dtype) == ((64, 80, 2), np.float32)
    inside = flow[12:-12, 12:-12]
    shift = np.hypot(x, y)
    assert np.abs(np.median(inside, (0, 1)) - (x, y)).max() < 0.05 * shift
    assert (np.linalg.norm(inside - (x, y), axis=-1) < 0.15 * shift).mean() > 0.97


@pytest.mark.parametrize('method', ['tvl1', 'farneback'])
def test_a_still_picture_moves_less_than_a_step_of_storage(method):
    before = texture(48, 64)
    assert np.abs(compute_flow(before, before.copy(), method)).max() < BOUND / 127


def test_stored_flow_is_within_half_a_step_and_clipped_at_the_bound():
    flow = np.linspace(-30, 30, 2002, dtype=np.float32).reshape(13, 77, 2)
    stored = quantize(flow)
    assert (stored.dtype, stored.min(), stored.max()) == (np.uint8, 1, 255)
    back = dequantize(stored) * BOUND
    assert np.abs(back - np.clip(flow, -20, 20)).max() <= 20 / 127 / 2 + 1e-5
    assert np.abs(dequantize(quantize(flow, 5.0)) * 5 - np.clip(flow, -5, 5)).max() <= 5 / 127 / 2 + 1e-5


def test_no_motion_and_opposite_motion_are_stored_exactly():
    assert (quantize(np.zeros((2, 2, 2))) == 128).all() and (dequantize(np.uint8([128])) == 0).all()
    flow = np.random.default_rng(0).normal(0, 9, (20, 30, 2)).astype(np.float32)
    np.testing.assert_array_equal(quantize(-flow), 256 - quantize(flow).astype(int))


def test_mean_and_deviation_bring_stored_flow_to_what_networks_take():
    clip = np.random.default_rng(0).integers(1, 256, (3, 5, 6, 2), dtype=np.uint8)
    np.testing.assert_allclose(F.to_tensor(clip, MEAN, STD), dequantize(clip).transpose(0, 3, 1, 2), atol=1e-6)


def test_brightness_weighs_the_colours_as_eyes_do():
    frame = np.zeros((1, 3, 3), np.uint8)
    frame[0, range(3), range(3)] = 255
    assert to_gray(frame).tolist() == [[76, 150, 29]]


def test_colours_tell_the_direction_and_white_is_rest():
    assert (flow_colors(np.full((4, 4, 2), 128, np.uint8)) == 255).all()
    right, down, left, up = (flow_colors(np.full((2, 2, 2), flow, np.uint8), full=0.5)[0, 0].tolist()
                             for flow in ((255, 128), (128, 255), (1, 128), (128, 1)))
    assert right == [255, 0, 0] and left == [0, 255, 255]
    assert down[1] == up[2] == 255 and down[2] == up[1] == 0
    wheel = color_wheel(41)
    assert wheel[20, -2].tolist()[0] == 255 and wheel[20, -2].tolist()[1] < 30  # what goes right is red, there too
    assert (wheel[0, 0] == 255).all() and (wheel[20, 20] >= 250).all()


def test_faster_is_purer():
    speeds = np.zeros((1, 4, 2), np.uint8) + 128
    speeds[0, :, 0] = [128, 140, 160, 200]
    assert (np.diff(flow_colors(speeds, full=0.6)[0, :, 1].astype(int)) < 0).all()


def test_the_top_speed_leaves_outliers_aside():
    stored = np.full((20, 50, 2), 128, np.uint8)
    assert top_speed(stored) == 2 / 127  # noise of a still picture is not shown in full colour
    stored[..., 0] = 128 - 30
    stored[0, :5] = 255
    assert top_speed(stored) == pytest.approx(30 / 127)


@pytest.mark.parametrize('before, after, method, message', [
    ((8, 8), (8, 9), 'farneback', r'two grey frames \(H, W\) of one size, got \(8, 8\) and \(8, 9\)'),
    ((8, 8, 3), (8, 8, 3), 'farneback', 'two grey frames'),
    ((8, 8), (8, 8), 'raft', "unknown method of optical flow 'raft'; there are tvl1 and farneback"),
])
def test_what_is_no_pair_is_refused(before, after, method, message):
    with pytest.raises(UsageError, match=message):
        compute_flow(np.zeros(before, np.uint8), np.zeros(after, np.uint8), method)


def test_without_scikit_image_the_command_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage.registration', None)
    with pytest.raises(GluonActionError, match=r'pip install "gluon_action\[flow\]", or take --method farneback'):
        optical_flow.check_method('tvl1')
    optical_flow.check_method('farneback')
