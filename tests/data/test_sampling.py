"""Frame sampling: equal to GluonCV's formulas, inside the video, and random only where it should be."""
from __future__ import annotations

import numpy as np
import pytest

from gluon_action.data.reading.sampling import (
    clip_indices,
    dense_starts,
    frames_between,
    sample_rng,
    segment_starts,
    slowfast_indices,
    spread_indices,
    temporal_jitter,
)
from gluon_action.errors import UsageError

LENGTHS = [*range(1, 41), 63, 64, 65, 100, 299, 300]
SHAPES = [(1, 1, 1), (3, 1, 1), (7, 1, 1), (25, 1, 1), (1, 4, 1), (3, 5, 2), (2, 16, 2), (1, 32, 2), (1, 64, 1),
          (10, 8, 8), (5, 2, 1), (9, 2, 2)]  # the last two: no choice in a video of as many frames as segments


class GlobalNumpy:
    """numpy's global generator behind the name that `numpy.random.Generator` uses: the draws of GluonCV."""

    @staticmethod
    def integers(high, size):
        return np.random.randint(high, size=size)


def gluoncv_dataset(segments, new_length=1, new_step=1, **kwargs):
    from gluoncv.data import VideoClsCustom
    return VideoClsCustom('', '', num_segments=segments, new_length=new_length, new_step=new_step,
                          lazy_init=True, **kwargs)


class FrameNumbers:
    """Stands for a decord reader: a frame is its own number."""

    def get_batch(self, indices):
        self.indices = [int(i) for i in indices]
        return self

    def asnumpy(self):
        return np.array(self.indices).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize('segments, new_length, new_step', SHAPES)
@pytest.mark.parametrize('mode', ['train', 'val', 'test'])
def test_segment_starts_equal_those_of_gluoncv(mode, segments, new_length, new_step):
    sample = getattr(gluoncv_dataset(segments, new_length, new_step), f'_sample_{mode}_indices')
    for num_frames in LENGTHS:
        np.random.seed(num_frames)
        theirs, _ = sample(num_frames)
        np.random.seed(num_frames)
        ours = segment_starts(num_frames, segments, new_length * new_step, mode, GlobalNumpy)
        assert ours == [int(start) - 1 for start in theirs], num_frames


@pytest.mark.parametrize('segments, new_length, new_step', SHAPES)
@pytest.mark.parametrize('jittered', [False, True])
def test_clips_equal_those_of_gluoncv_until_the_last_frame(segments, new_length, new_step, jittered):
    theirs = gluoncv_dataset(segments, new_length, new_step, temporal_jitter=jittered)
    for num_frames in LENGTHS:
        np.random.seed(num_frames)
        starts, jitter = theirs._sample_train_indices(num_frames)
        reader = FrameNumbers()
        theirs._video_TSN_decord_batch_loader('', reader, num_frames, starts, jitter)
        ours = clip_indices([int(s) - 1 for s in starts], num_frames, new_length, new_step, [int(j) for j in jitter])
        assert len(ours) == segments * new_length
        for mine, other in zip(ours, reader.indices):
            # they stop one step before the last frame
            assert mine == other or (not jittered and mine == num_frames - 1 == other + new_step) or \
                (jittered and num_frames - 1 - new_step <= other < mine)


def test_a_clip_reaches_the_last_frame():
    assert clip_indices([6], 10, 4, 1) == [6, 7, 8, 9]
    assert clip_indices([0], 9, 3, 4) == [0, 4, 8]


def test_a_clip_longer_than_the_video_repeats_the_last_frame_it_reaches():
    assert clip_indices([0], 3, 6, 1) == [0, 1, 2, 2, 2, 2]
    assert clip_indices([0], 4, 4, 2) == [0, 2, 2, 2]
    assert clip_indices([0, 0], 1, 2, 8) == [0, 0, 0, 0]


def test_jitter_that_leaves_the_video_is_dropped():
    assert clip_indices([0], 5, 3, 2, jitter=[1, 0, 1]) == [1, 2, 4]


def test_jitter_needs_one_shift_a_frame():
    with pytest.raises(UsageError, match='2 shifts for clips of 3'):
        clip_indices([0], 9, 3, 1, jitter=[0, 0])


@pytest.mark.parametrize('new_length, slow, fast', [(64, 16, 2), (64, 8, 2), (32, 8, 4), (8, 8, 8)])
def test_slowfast_frames_equal_those_of_gluoncv(new_length, slow, fast):
    theirs = gluoncv_dataset(2, new_length, slowfast=True, slow_temporal_stride=slow, fast_temporal_stride=fast)
    for num_frames in (3, new_length, 2 * new_length + 1, 300):
        starts, jitter = theirs._sample_test_indices(num_frames)
        reader = FrameNumbers()
        theirs._video_TSN_decord_slowfast_loader('', reader, num_frames, starts, jitter)
        ours = slowfast_indices([int(s) - 1 for s in starts], num_frames, new_length, slow, fast)
        last = num_frames - 1
        assert len(ours) == 2 * (new_length // fast + new_length // slow)
        assert [min(i, last - 1) for i in ours] == [min(i, last - 1) for i in reader.indices]


def test_slowfast_strides_must_divide():
    with pytest.raises(UsageError, match='got 15 and 2'):
        slowfast_indices([0], 64, 64, 15, 2)


@pytest.mark.parametrize('starts', [segment_starts, dense_starts])
@pytest.mark.parametrize('mode', ['train', 'val', 'test'])
def test_every_frame_lies_in_the_video_and_starts_ascend(starts, mode):
    for num_frames in LENGTHS:
        for segments, new_length, new_step in SHAPES:
            rng = sample_rng(1, 2, num_frames)
            chosen = starts(num_frames, segments, new_length * new_step, mode, rng)
            frames = clip_indices(chosen, num_frames, new_length, new_step, temporal_jitter(new_length, new_step, rng))
            assert chosen == sorted(chosen) and len(chosen) == segments
            assert all(isinstance(i, int) and 0 <= i < num_frames for i in frames)


def test_training_starts_cover_each_segment_to_its_ends():
    drawn = np.array([segment_starts(30, 3, 1, 'train', sample_rng(0, epoch, 0)) for epoch in range(400)])
    assert drawn.min(axis=0).tolist() == [0, 10, 20]
    assert drawn.max(axis=0).tolist() == [9, 19, 29]


def test_dense_test_clips_span_the_whole_video():
    assert dense_starts(100, 10, 10, 'test') == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert dense_starts(101, 1, 11, 'test') == dense_starts(101, 1, 11, 'val') == [45]
    assert dense_starts(5, 3, 10, 'test') == [0, 0, 0]


@pytest.mark.parametrize('num_frames, num_clips, starts', [
    (100, 3, [15, 45, 75]), (101, 4, [11, 34, 56, 79]), (12, 5, [0, 0, 1, 1, 1]), (10, 2, [0, 0]), (7, 2, [0, 0])])
def test_dense_validation_clips_lie_in_the_middle_of_equal_parts(num_frames, num_clips, starts):
    assert dense_starts(num_frames, num_clips, 10, 'val') == starts


def test_dense_training_clips_reach_both_ends_of_the_video():
    drawn = [dense_starts(20, 1, 10, 'train', sample_rng(0, epoch, 0))[0] for epoch in range(300)]
    assert set(drawn) == set(range(11))


def test_the_generator_depends_on_each_number_and_on_nothing_else():
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2**40, 0, 0, 0)]
    draws = [tuple(sample_rng(*key).integers(1 << 30, size=4)) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws == [tuple(sample_rng(*key).integers(1 << 30, size=4)) for key in keys]


def test_what_is_drawn_from_a_seed_stays_what_it_was():
    """A run that is resumed with another version resumes with the same frames."""
    assert sample_rng(1, 2, 3, 4).integers(1000, size=5).tolist() == [257, 30, 257, 944, 377]
    assert [segment_starts(100, 3, 4, 'train', sample_rng(7, epoch, 5)) for epoch in (0, 1)] == [[15, 54, 83],
                                                                                                [4, 49, 67]]


@pytest.mark.parametrize('call, words', [
    (lambda: segment_starts(10, 3, 1, 'middle'), "unknown sampling mode 'middle'; the modes are train, val, test"),
    (lambda: segment_starts(0, 3, 1, 'val'), 'from 0 frames'),
    (lambda: dense_starts(10, 0, 1, 'val'), 'cannot take 0 clips'),
    (lambda: segment_starts(10, 3, 1, 'train'), 'pass rng'),
    (lambda: sample_rng(-1, 0, 0), 'must be 0 or more'),
])
def test_arguments_that_cannot_be_are_named(call, words):
    with pytest.raises(UsageError, match=words):
        call()


class Uniform:
    """Random numbers of numpy's global generator behind the name that `numpy.random.Generator` uses."""

    @staticmethod
    def integers(low, high):
        return np.random.randint(low, high)


def reference_spread(num_frames, new_length, train):
    """PySlowFast's `Ssv2.get_seq_frames`, in its own arithmetic."""
    size, frames = float(num_frames - 1) / new_length, []
    for part in range(new_length):
        start, end = int(np.round(size * part)), int(np.round(size * (part + 1)))
        frames.append(np.random.randint(start, end + 1) if train else (start + end) // 2)
    return frames


@pytest.mark.parametrize('new_length', [1, 4, 8, 16, 96])
def test_spread_frames_are_those_of_the_published_networks(new_length):
    for num_frames in LENGTHS:
        for mode in ('val', 'test'):
            assert spread_indices(num_frames, new_length, mode) == reference_spread(num_frames, new_length, False)
        np.random.seed(num_frames)
        drawn = spread_indices(num_frames, new_length, 'train', Uniform)
        np.random.seed(num_frames)
        assert drawn == reference_spread(num_frames, new_length, True)


def test_spread_frames_cover_the_video_in_order_and_stay_inside():
    assert spread_indices(41, 4, 'val') == [5, 15, 25, 35]
    assert spread_indices(1, 8, 'val') == [0] * 8
    rng = sample_rng(0, 0, 0)
    for num_frames in LENGTHS:
        drawn = np.array([spread_indices(num_frames, 8, 'train', rng) for _ in range(40)])
        assert (np.diff(drawn) >= 0).all() and drawn.min() >= 0 and drawn.max() < num_frames
        if 60 < num_frames < 100:  # every part is drawn from, to its ends
            assert len(np.unique(drawn)) > 0.9 * num_frames


def test_random_spread_frames_need_a_generator():
    with pytest.raises(UsageError, match='pass rng'):
        spread_indices(10, 4, 'train')


@pytest.mark.parametrize('rate', [10, 12.5, 25, 30000 / 1001, 50, 60])
@pytest.mark.parametrize('tick', [1 / 90000, 1 / 12800, 0.])
def test_at_a_constant_rate_bounds_are_rounded_to_frames(rate, tick):
    shown = np.arange(100) / rate
    if tick:  # as files store them
        shown = np.rint(shown / tick) * tick
    # Among the bounds are hundredths and halves of seconds, of which many lie in the middle between two frames.
    for start in [*np.arange(0, 97 / rate, 0.01), *np.arange(0, 97 / rate, 0.5)]:
        if tick and abs(start * rate % 1 - 0.5) < tick * rate and rate in (30000 / 1001, 60):
            continue  # between times that were rounded, the middle is another
        first, last = (int(round(seconds * rate, 6) + 0.5) for seconds in (start, start + 0.31))
        if first < last:
            found = frames_between(shown, 100 / rate, start, start + 0.31)
            assert found.start == first and (tick or found.stop == min(100, last)), start


def test_a_part_has_the_frames_that_begin_in_it_or_the_one_on_the_screen():
    shown = np.array([0, 0.04, 0.08, 10, 10.04, 20])
    def part(*bounds):
        return list(frames_between(shown, 20.04, *bounds))
    assert part(None, None) == [0, 1, 2, 3, 4, 5]
    assert part(0, 10) == [0, 1, 2] and part(10, 20) == [3, 4] and part(10, None) == [3, 4, 5]
    assert part(0.2, 10.03) == [3] and part(5, 30) == [3, 4, 5] and part(0.09, 10.03) == [2, 3]
    assert part(2, 3) == [2] and part(10.5, 19) == [4] and part(20.03, None) == [5]
    assert part(20.04, None) == part(20.5, 21) == part(30, 40) == part(3, 3) == part(3, 2) == []


def test_a_single_frame_and_frames_of_the_same_time_have_parts():
    assert list(frames_between(np.array([0.]), 0.04, 0, 1)) == [0]
    assert list(frames_between(np.array([0.5]), 0.54, 0, 0.4)) == []
    assert list(frames_between(np.array([0, 0, 0.04]), 0.08, 0.04, None)) == [2]
