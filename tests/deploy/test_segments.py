"""Segments: windows in a row that show the same, against what is counted by hand."""
import numpy as np
import pytest

from gluon_action.deploy.predict.segments import Segment, segments_of, smoothed
from gluon_action.deploy.predict.windows import Window

LABELS = ['rest', 'wave', 'jump']


def windows(rows, *, length=2., step=1., frames=25):
    """Windows `length` seconds long, one every `step` seconds, at 25 frames a second."""
    return [Window(n * step, n * step + length, round(25 * (n * step + length)) - 1, np.float32(row), np.float32(row))
            for n, row in enumerate(rows)]


def bounds(segments):
    return [(segment.label, segment.start, segment.end) for segment in segments]


REST, WAVE, JUMP = (.8, .1, .1), (.1, .8, .1), (.1, .3, .6)


def test_windows_of_one_class_are_a_segment_and_segments_meet_halfway_between_their_middles():
    found = segments_of(windows([REST] * 3 + [JUMP] * 2), LABELS, step=25, smooth=0.1)
    # Middles are at 1, 2, 3 and 4, 5 s.
    assert bounds(found) == [('rest', 0., 3.5), ('jump', 3.5, 6.)]
    assert [segment.score for segment in found] == pytest.approx([.8, .6])


def test_without_a_threshold_every_moment_is_in_a_segment():
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    found = segments_of(windows(rows), LABELS, step=25, smooth=1.)
    assert found[0].start == 0 and found[-1].end == 51
    assert all(before.end == after.start and before.label != after.label for before, after in zip(found, found[1:]))


def test_what_stays_below_the_threshold_is_in_no_segment():
    rows = [REST, REST, (.4, .35, .25), JUMP, JUMP]
    found = segments_of(windows(rows), LABELS, step=25, smooth=0.1, threshold=0.5)
    assert bounds(found) == [('rest', 0., 2.5), ('jump', 3.5, 6.)]
    assert segments_of(windows(rows), LABELS, step=25, smooth=0.1, threshold=0.9) == []
    assert bounds(segments_of(windows([(.5, .5, 0)]), LABELS, step=25, smooth=0.1, threshold=0.5)) == [('rest', 0., 2.)]


def test_smoothing_looks_both_ways_so_that_a_change_is_found_where_it_is():
    rows = [REST] * 10 + [WAVE] * 10
    for seconds in (0.1, 2.1, 4.1, 6.1):
        found = segments_of(windows(rows), LABELS, step=25, smooth=seconds)
        assert bounds(found) == [('rest', 0., 10.5), ('wave', 10.5, 21.)]
    flicker = [REST] * 5 + [JUMP] + [REST] * 5
    assert len(segments_of(windows(flicker), LABELS, step=25, smooth=0.1)) == 3
    assert len(segments_of(windows(flicker), LABELS, step=25, smooth=2.1)) == 1


def test_smoothed_probabilities_are_means_of_the_windows_around_each():
    rows = np.random.default_rng(1).random((7, 3)).astype(np.float32)
    expected = [rows[max(0, n - 1):n + 2].mean(axis=0) for n in range(7)]
    np.testing.assert_allclose(smoothed(windows(rows), 2.), expected, rtol=1e-6)


def test_several_labels_have_segments_of_their_own():
    rows = [(.9, .1, .2), (.9, .8, .2), (.1, .8, .2)]
    given = dict(step=25, smooth=0.1, several=True)
    assert bounds(segments_of(windows(rows), LABELS, **given)) == [('rest', 0., 2.5), ('wave', 1.5, 4.)]
    assert bounds(segments_of(windows(rows), LABELS, threshold=0.85, **given)) == [('rest', 0., 2.5)]


def test_frames_that_no_window_saw_are_in_no_segment():
    made = windows([REST] * 8, length=1., step=1.)
    found = segments_of(made[:3] + made[6:], LABELS, step=25, smooth=0.1)
    assert bounds(found) == [('rest', 0., 3.), ('rest', 6., 8.)]


def test_windows_that_lie_apart_by_their_stride_speak_for_what_lies_between():
    made = windows([REST, REST, JUMP], length=0.04, step=0.32)
    assert bounds(segments_of(made, LABELS, step=8, smooth=0.1)) == [('rest', 0., 0.5), ('jump', 0.5, 0.68)]


def test_a_video_of_one_window_is_one_segment_and_none_has_none():
    assert segments_of(windows([WAVE]), LABELS, step=25, smooth=2.) == [
        Segment('wave', 1, 0., 2., pytest.approx(.8))]
    assert segments_of([], LABELS, step=25, smooth=2.) == []
