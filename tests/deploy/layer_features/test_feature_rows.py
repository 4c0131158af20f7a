"""Which clips make which row."""
import numpy as np
import pytest

from gluon_action.deploy.layer_features.rows import OneRow, RowOfEachClip, RowOfEachWindow


def rows(rule, *clips):
    for number, (start, end) in enumerate(clips):
        rule.add(start, end, np.array([number], 'float32'))
    found = rule.rows()
    return found.values[:, 0].tolist(), found.start.tolist(), found.end.tolist()


def test_a_video_is_the_mean_of_its_clips():
    assert rows(OneRow(), (0, 2), (1, 3), (2, 4)) == ([1], [0], [4])


def test_each_clip_is_a_row():
    assert rows(RowOfEachClip(), (0, 2), (1, 3)) == ([0, 1], [0, 1], [2, 3])


def test_windows_follow_each_other_and_the_last_ends_with_the_video():
    clips = [(second, second + 1) for second in range(5)]  # middles at 0.5, 1.5 ... 4.5
    assert rows(RowOfEachWindow(2, 2), *clips) == ([0.5, 2.5, 4], [0, 2, 4], [2, 4, 5])


def test_windows_may_overlap():
    clips = [(second, second + 1) for second in range(4)]
    assert rows(RowOfEachWindow(2, 1), *clips) == ([0.5, 1.5, 2.5], [0, 1, 2], [2, 3, 4])


def test_windows_may_leave_gaps():
    clips = [(second, second + 1) for second in range(6)]
    assert rows(RowOfEachWindow(1, 3), *clips) == ([0, 3], [0, 3], [1, 4])


def test_a_window_without_a_clip_takes_the_nearest_one():
    assert rows(RowOfEachWindow(1, 1), (0, 3), (2, 5)) == ([0, 0, 0, 1, 1], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5])


def test_a_video_shorter_than_a_window_is_one_row():
    assert rows(RowOfEachWindow(10, 5), (0, 1), (0.5, 1.5)) == ([0.5], [0], [1.5])


def test_rounded_times_make_no_window_of_their_own():
    assert len(rows(RowOfEachWindow(1, 1), (0, 1), (1, 2 + 1e-9))[0]) == 2


@pytest.mark.parametrize('window, stride', [(0, 1), (1, float('nan')), (1, -1)])
def test_windows_that_cannot_be_are_refused(window, stride):
    with pytest.raises(ValueError, match='must be a number of seconds above 0'):
        RowOfEachWindow(window, stride)
