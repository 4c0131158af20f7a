"""Which frames make which window, and one answer out of many: numbers only."""
import numpy as np
import pytest

from gluon_action.data.reading.sampling import clip_indices, slowfast_indices
from gluon_action.deploy.predict.windows import Ballot, History, RollingMean, Window, WindowCutter, WindowPlan
from gluon_action.errors import UsageError

SLOWFAST = tuple(slowfast_indices([0], 32, 32, 8, 2))


def cut(plan, numbers, num_frames=None, fps=10.0):
    """The windows of frames with these numbers, whose pictures carry them, and the cutter."""
    cutter = WindowCutter(plan, fps)
    cuts = [window for number in numbers for window in cutter.push(number, number / fps, np.full((1, 1, 1), number))]
    return cuts + cutter.finish(num_frames), cutter


def pictures(window):
    return [int(picture[0, 0, 0]) for picture in window.pictures]


def window(frame, *probabilities):
    probabilities = np.array(probabilities, np.float32)
    return Window(frame / 10, (frame + 1) / 10, frame, probabilities, probabilities)


# ---------------------------------------------------------------- windows

def test_windows_start_every_stride_frames_and_take_the_offsets():
    cuts, _ = cut(WindowPlan((0, 2, 4), stride=3), range(12))
    assert [pictures(found) for found in cuts] == [[0, 2, 4], [3, 5, 7], [6, 8, 10], [7, 9, 11]]
    assert [(found.first, found.last) for found in cuts] == [(0, 4), (3, 7), (6, 10), (7, 11)]


def test_a_window_lasts_until_its_last_frame_is_gone():
    cuts, _ = cut(WindowPlan((0, 2), stride=4), range(8), fps=25.0)
    assert [(found.start, found.end) for found in cuts] == [
        (pytest.approx(first / 25), pytest.approx((first + 3) / 25)) for first in (0, 4, 5)]


def test_a_window_comes_out_with_its_last_frame():
    cutter = WindowCutter(WindowPlan((0, 1, 2), stride=3), 25.0)
    sizes = [len(cutter.push(number, number / 25, np.zeros((1, 1, 1)))) for number in range(7)]
    assert sizes == [0, 0, 1, 0, 0, 1, 0]


def test_slowfast_takes_the_fast_frames_and_then_the_slow_ones():
    cuts, _ = cut(WindowPlan(SLOWFAST, stride=5), range(40))
    assert pictures(cuts[1]) == [5 + offset for offset in SLOWFAST]


def test_several_clips_may_make_one_window():
    cuts, _ = cut(WindowPlan((0,), stride=4, rows=3), range(25))
    assert [pictures(found) for found in cuts] == [[0, 4, 8], [12, 16, 20], [16, 20, 24]]


@pytest.mark.parametrize('offsets, step, length, num_frames', [
    ((0, 1, 2, 3), 1, 4, 1), ((0, 1, 2, 3), 1, 4, 3), *(((0, 3, 6, 9), 3, 4, count) for count in range(1, 10))])
def test_a_short_video_is_filled_as_in_training(offsets, step, length, num_frames):
    cuts, cutter = cut(WindowPlan(offsets, stride=2), range(num_frames))
    assert pictures(cuts[0]) == clip_indices([0], num_frames, length, step) and len(cuts) == 1
    assert cutter.repeated == max(offsets) + 1 - num_frames


@pytest.mark.parametrize('num_frames', [1, 7, 20, 31])
def test_a_short_video_for_slowfast_is_filled_as_in_training(num_frames):
    cuts, _ = cut(WindowPlan(SLOWFAST, stride=2), range(num_frames))
    assert pictures(cuts[0]) == slowfast_indices([0], num_frames, 32, 8, 2)


def test_a_short_video_for_several_clips_stays_inside_it():
    cuts, _ = cut(WindowPlan((0, 1, 2), stride=4, rows=3), range(5))
    assert pictures(cuts[0]) == [0, 1, 2, 2, 3, 4, 2, 3, 4]


@pytest.mark.parametrize('offsets, stride, rows', [((0, 2, 4), 3, 1), ((0,), 7, 1), ((1, 3, 5, 3), 20, 1),
                                                   ((0, 1), 5, 3), (SLOWFAST, 9, 1)])
def test_frames_that_are_not_wanted_are_in_no_window(offsets, stride, rows):
    plan = WindowPlan(offsets, stride, rows)
    used = {frame for number in range(30) for frame in plan.frames(number)}
    assert {frame for frame in range(plan.first(30)) if plan.wanted(frame)} - set(range(plan.span)) <= used
    assert used <= {frame for frame in range(2000) if plan.wanted(frame)}


def test_no_more_frames_are_held_than_a_window_has():
    cutter = WindowCutter(WindowPlan((0, 2, 4, 6), stride=2), 25.0)
    for number in range(500):
        cutter.push(number, number / 25, np.zeros((1, 1, 1)))
        assert len(cutter._held) <= 7


def test_the_original_projects_windows_are_the_last_frames_and_the_first_ones_repeat():
    cuts, _ = cut(WindowPlan(tuple(range(8)), lead_in=True), range(12))
    expected = []
    for number in range(12):
        seen = list(range(max(0, number - 7), number + 1))  # a deque of 8
        expected.append([seen[int(place)] for place in np.linspace(0, len(seen) - 1, 8)])
    assert [pictures(found) for found in cuts] == expected
    assert [found.last for found in cuts] == list(range(12))


@pytest.mark.parametrize('offsets, stride, rows, num_frames', [
    ((0,), 8, 1, 45), ((0, 2, 4, 6), 8, 1, 40), ((0, 2, 4, 6), 8, 1, 39), (tuple(range(8)), 30, 1, 59),
    ((0, 1), 5, 3, 47), (SLOWFAST, 40, 1, 100), ((1, 3, 5, 3), 20, 1, 33)])
def test_the_last_window_ends_with_the_last_frame_of_those_that_are_wanted(offsets, stride, rows, num_frames):
    plan = WindowPlan(offsets, stride, rows)
    cuts, cutter = cut(plan, [number for number in range(num_frames) if plan.wanted(number, num_frames)], num_frames)
    assert cuts[-1].last == num_frames - 1 and cutter.num_cut == len(cuts) and cutter.num_left_out == 0
    first = num_frames - plan.span
    assert pictures(cuts[-1]) == [first + row * stride + offset for row in range(rows) for offset in offsets]
    before = [found.first for found in cuts[:-1]]
    assert before == list(range(0, before[-1] + 1, plan.step)) and before[-1] + plan.step >= first


def test_where_nobody_knows_where_a_video_ends_its_last_window_takes_what_is_nearest():
    plan = WindowPlan((0, 2, 4), stride=6)
    cuts, _ = cut(plan, [number for number in range(16) if plan.wanted(number)], 16)
    assert pictures(cuts[-1]) == [12, 12, 14] and cuts[-1].last == 15  # 11, 13 and 15 were not asked for


def test_no_window_is_added_where_the_last_one_ends_with_the_last_frame_or_only_damage_follows():
    plan = WindowPlan((0, 1, 2, 3), stride=4)
    assert [found.last for found in cut(plan, range(12))[0]] == [3, 7, 11]
    cuts, cutter = cut(plan, range(8), 10)
    assert [found.last for found in cuts] == [3, 7] and cutter.num_left_out == 0


def test_a_lead_in_ends_with_the_last_frame_at_any_stride():
    plan = WindowPlan(tuple(range(8)), stride=3, lead_in=True)
    for num_frames in (5, 8, 12, 13, 14):
        cuts, _ = cut(plan, range(num_frames))
        assert cuts[-1].last == num_frames - 1 and pictures(cuts[-1])[-1] == num_frames - 1


# ---------------------------------------------------------------- what is missing

def test_a_missing_frame_is_replaced_by_the_nearest_of_its_window_and_times_stay():
    cuts, _ = cut(WindowPlan((0, 1, 2, 3), stride=4), [0, 1, 3, 5, 6, 7])
    assert [pictures(found) for found in cuts] == [[0, 1, 1, 3], [5, 5, 6, 7]]
    assert [(found.start, found.end) for found in cuts] == [(0, 0.4), (pytest.approx(0.4), pytest.approx(0.8))]


def test_a_window_that_is_mostly_missing_is_left_out_and_counted():
    cuts, cutter = cut(WindowPlan((0, 1, 2, 3), stride=4), [0, 1, 2, 3, 4, 8, 9, 10, 11])
    assert [found.first for found in cuts] == [0, 8]
    assert (cutter.num_cut, cutter.num_left_out) == (2, 1)


def test_the_last_window_may_lack_its_last_frames():
    assert [found.last for found in cut(WindowPlan((0, 1, 2, 3), stride=4), [0, 1, 2, 3, 4, 5, 6], 8)[0]] == [3, 7]


def test_a_hole_of_hours_ends():
    cuts, cutter = cut(WindowPlan((0, 1), stride=2), [0, 1, 200_000, 200_001])
    assert [found.first for found in cuts] == [0, 200_000] and cutter.num_left_out == 99_999


# ---------------------------------------------------------------- one answer

def test_the_rolling_mean_is_the_formula_of_the_original_script():
    scores, rolling, r = np.random.default_rng(0).random((250, 3)), RollingMean(100), np.zeros(3)
    for i, s in enumerate(scores):
        r = (r * min(i, 99) + s) / min(i + 1, 100)
        np.testing.assert_allclose(rolling.add(s), r, rtol=1e-6)
        if i < 100:
            np.testing.assert_allclose(r, scores[:i + 1].mean(axis=0), rtol=1e-9)


def test_means_and_majorities_may_disagree():
    rows = [[0.51, 0.49, 0], [0.51, 0.49, 0], [0.0, 1.0, 0]]
    answers = {}
    for vote in ('mean', 'majority'):
        ballot = Ballot(vote)
        for row in rows:
            ballot.add(np.array(row, np.float32))
        answers[vote] = ballot.result()
    assert answers['mean'][0] == 1 and answers['majority'][0] == 0
    np.testing.assert_allclose(answers['mean'][1], np.mean(rows, axis=0), rtol=1e-6)
    np.testing.assert_allclose(answers['majority'][1], [2 / 3, 1 / 3, 0], rtol=1e-6)


def test_a_draw_of_votes_goes_to_the_higher_mean():
    ballot = Ballot('majority')
    for row in ([0.6, 0.4], [0.1, 0.9]):
        ballot.add(np.array(row))
    assert ballot.result()[0] == 1


def test_history_keeps_every_window_until_there_are_too_many():
    history = History(8)
    for number in range(8):
        history.add(window(number, number, 1))
    assert [found.frame for found in history.windows] == list(range(8)) and history.merged == 1


@pytest.mark.parametrize('count', [9, 16, 17, 100, 1000])
def test_history_joins_neighbours_and_keeps_their_mean_and_their_time(count):
    history = History(8)
    for number in range(count):
        history.add(window(number, number, 1))
    merged, windows = history.merged, history.windows
    assert len(windows) <= 8 and merged > 1
    assert windows[0].start == 0 and windows[-1].frame == count - 1
    for place, found in enumerate(windows):
        members = np.arange(place * merged, min((place + 1) * merged, count))
        assert found.probabilities[0] == pytest.approx(members.mean(), rel=1e-5)
        assert (found.start, found.end) == (members[0] / 10, (members[-1] + 1) / 10)


@pytest.mark.parametrize('classes, limit', [(1000, 2096), (700, 2994), (5000, 1000)])
def test_a_history_holds_16_mib_of_probabilities_or_a_thousand_windows(classes, limit):
    history, most = History(), 0
    zeros = np.zeros(classes, np.float32)
    for number in range(3100):
        history.add(Window(number / 10, (number + 1) / 10, number, zeros, zeros))
        most = max(most, len(history.windows))
    assert most == limit and (most == 1000 or 0.99 * 2 ** 24 < most * 2 * zeros.nbytes <= 2 ** 24)


@pytest.mark.parametrize('make, told', [
    (lambda: WindowPlan(()), 'offsets'), (lambda: WindowPlan((-1,)), 'offsets'),
    (lambda: WindowPlan((0,), stride=0), 'stride must be 1 or more, got 0'),
    (lambda: WindowPlan((0,), rows=0), 'rows'), (lambda: WindowPlan((0,), rows=2, lead_in=True), 'lead_in'),
    (lambda: RollingMean(0), 'rolling must be 1'), (lambda: Ballot('best'), 'mean, majority')])
def test_what_cannot_be_is_refused(make, told):
    with pytest.raises(UsageError, match=told):
        make()
