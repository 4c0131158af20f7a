"""Parts of videos in a stream: which frames come, when they are shown, and what they are called."""
import numpy as np
import pytest
from timed_videos import write_timed
from videos import make_broken, read_barcode, write_frames, write_guessed, write_video

from gluon_action.data.reading import part_frames
from gluon_action.data.reading.part import VideoPart
from gluon_action.data.reading.stream import FrameStream
from gluon_action.errors import DamagedVideoError, VideoReadError


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp('part') / 'a.mp4', 100, options={'g': '30'}))


def streamed(part, **options):
    with FrameStream(part, **options) as frames:
        found = list(frames)
        return [read_barcode(frame.picture) for frame in found], [frame.seconds for frame in found], frames


@pytest.mark.parametrize('bounds, expected', [
    ({'start': 0.4, 'end': 3.6}, range(10, 90)), ({'start': 3.6}, range(90, 100)), ({'end': 0.2}, range(5)),
    ({'first': 11, 'last': 90}, range(10, 90)), ({'first': 100, 'last': 100}, [99]), ({'last': 3}, range(3))])
def test_a_part_has_its_frames_and_counts_from_the_first(video, bounds, expected):
    numbers, seconds, frames = streamed(VideoPart(video, **bounds))
    assert numbers == list(expected) and (frames.fps, frames.num_frames) == (25, len(numbers))
    assert frames.offset == pytest.approx(expected[0] / 25)
    assert seconds == pytest.approx([number / 25 for number in range(len(numbers))])


def test_what_is_not_wanted_is_not_decoded_and_large_frames_wait_in_small_numbers(video, monkeypatch):
    monkeypatch.setattr(part_frames, '_BYTES', 3 * 96 * 64 * 3)
    asked, read = [], part_frames.VideoReader.read
    monkeypatch.setattr(part_frames.VideoReader, 'read', lambda self, numbers: asked.append(numbers) or read(
        self, numbers))
    numbers, *_ = streamed(VideoPart(video, first=11, last=60), wanted=lambda number: number % 5 == 0)
    assert numbers == list(range(10, 60, 5))
    assert asked == [[10, 15, 20, 25], [30, 35, 40], [45, 50, 55]]


def test_times_are_the_frames_own_though_the_rate_is_not_constant(tmp_path):
    path = write_timed(tmp_path / 'a.mkv', [0, 0.1, 0.5, 1.5, 1.6, 2.0])
    numbers, seconds, frames = streamed(VideoPart(str(path), start=0.5, end=2.0))
    assert numbers == [2, 3, 4] and seconds == pytest.approx([0, 1, 1.1]) and frames.offset == pytest.approx(0.5)


def test_parts_of_folders_count_pictures_or_their_numbers(tmp_path):
    write_frames(tmp_path / 'v', range(1, 31))
    write_frames(tmp_path / 'epic', range(101, 131), pattern='frame_%010d.jpg')
    assert streamed(VideoPart(str(tmp_path / 'v'), first=5, last=8))[0] == [5, 6, 7, 8]
    numbers, _, frames = streamed(VideoPart(str(tmp_path / 'v'), start=1, end=2), fps=10)
    assert numbers == list(range(11, 21)) and frames.offset == 1
    assert streamed(VideoPart(str(tmp_path / 'epic'), first=105, last=107, by_name=True))[0] == [105, 106, 107]
    for bounds in ({'first': 5, 'last': 31}, {'start': 9, 'end': 10}):
        with pytest.raises(VideoReadError, match='frames 5 to 31 were asked for|from 9 s to 10 s holds none'):
            FrameStream(VideoPart(str(tmp_path / 'v'), **bounds))


def test_what_is_damaged_in_a_part_is_left_out_and_listed(tmp_path):
    path = str(write_guessed(tmp_path / 'a.wmv'))
    whole, _, frames = streamed(path)
    lost = [frame.number for frame in frames.skipped]
    first = max(0, lost[0] - 3)
    numbers, _, frames = streamed(VideoPart(path, first=first + 1, last=40))
    assert [first + frame.number for frame in frames.skipped] == list(range(lost[0], 32))  # up to the next key frame
    assert len(numbers) == 40 - first - len(frames.skipped) and 'guessed' in frames.skipped[0].cause
    with pytest.raises(DamagedVideoError), FrameStream(VideoPart(path, first=first + 1), on_damage='raise') as frames:
        list(frames)


@pytest.mark.parametrize('bounds, told', [({'start': 9, 'end': 10}, 'the part from 9 s to 10 s holds no frame'),
                                          ({'first': 90, 'last': 101}, 'frames 90 to 101 were asked for')])
def test_a_part_that_is_not_there_is_told(video, tmp_path, bounds, told):
    with pytest.raises(VideoReadError, match=told):
        FrameStream(VideoPart(video, **bounds))
    with pytest.raises(VideoReadError, match='not a video'):
        FrameStream(VideoPart(str(make_broken('garbage', tmp_path)), **bounds))


@pytest.mark.parametrize('bounds, shown, suffix', [
    ({'start': 2.0, 'end': 4.5}, '#t=2,4.5', '_t2-4.5'), ({'start': 2.0}, '#t=2,', '_t2-end'),
    ({'end': 12345.678}, '#t=,12345.678', '_t0-12345.678'), ({'first': 51, 'last': 100}, '#f=51,100', '_f51-100'),
    ({'last': 9}, '#f=,9', '_f1-9')])
def test_a_part_is_called_by_its_bounds(bounds, shown, suffix):
    part = VideoPart('v/a.mp4', **bounds)
    assert (str(part), part.suffix, part.__fspath__()) == (f'v/a.mp4{shown}', suffix, 'v/a.mp4')


def test_pictures_are_resized_as_those_of_whole_videos(video):
    with FrameStream(VideoPart(video, first=1, last=4), resize={'short_side': 32}) as part, \
            FrameStream(video, resize={'short_side': 32}) as whole:
        for one, other in zip(part, whole):
            np.testing.assert_array_equal(one.picture, other.picture)
