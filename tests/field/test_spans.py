"""A part of a video that a list gives in seconds is those frames that are shown in it, whatever the file's rate."""
from __future__ import annotations

import json

import numpy as np
import pytest
import videos
from timed_videos import write_timed

from gluon_action.data import VideoClsCustom
from gluon_action.data.flow.extraction import FlowSettings, extract_video
from gluon_action.data.lists.parts_of_videos import read_clip_annotations
from gluon_action.data.reading.clip_reader import FramePlan
from gluon_action.data.reading.single_clip import steady_frames
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.data.tfrecords.clips.plan import find_parts
from gluon_action.deploy.predict.inputs import StoredFlow
from gluon_action.errors import VideoReadError

#: 25 frames a second for 2 s, then a frame each 0.7 s for 7 s as a dark room makes phones do, then 25 again for 1 s.
VARIABLE = [*(i / 25 for i in range(50)), *(2 + 0.7 * i for i in range(10)), *(9 + i / 25 for i in range(25))]
SPANS = [(0, 1), (0.4, 2), (1.8, 3.5), (2.7, 9), (8.9, 9.6), (9.2, 20)]


def shown_between(times, start: float, end: float) -> list[int]:
    """Expected frames, by the times that the file was written with."""
    return [number for number, time in enumerate(times) if round(start - time, 6) <= 0 < round(end - time, 6)]


def frames_of_part(path, start, end, num_frames: int, tmp_path, **options) -> list[int]:
    """Numbers that the first `num_frames` frames carry of a part in a list."""
    span = f'{start},{"" if end is None else end}'
    (tmp_path / 'list.csv').write_text(f'video,start,end,label\n{path.name},{span},0\n')
    dataset = VideoClsCustom(str(path.parent), str(tmp_path / 'list.csv'), plan=FramePlan('val', 1, num_frames, 1),
                             train=False, new_width=0, new_height=0, num_classes=1, **options)
    return [videos.read_barcode(frame) for frame in dataset.load_frames(0)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('spans')


@pytest.fixture(scope='module')
def variable(folder):
    return {suffix: write_timed(folder / f'variable.{suffix}', VARIABLE, options={'bf': '2', 'g': '20'})
            for suffix in ('mp4', 'mkv')}


@pytest.mark.parametrize('suffix, decoder', [('mp4', 'pyav'), ('mkv', 'pyav'), ('mp4', 'decord'), ('mkv', 'decord')])
@pytest.mark.parametrize('start, end', SPANS)
def test_seconds_of_a_video_without_a_constant_rate(variable, tmp_path, suffix, decoder, start, end):
    expected = shown_between(VARIABLE, start, end)
    assert frames_of_part(variable[suffix], start, end, len(expected), tmp_path, decoder=decoder) == expected


def test_a_part_up_to_the_end_is_there_where_the_average_rate_would_put_it_past_the_end(variable, tmp_path):
    """As 20 to 23 s of the film of 23.2 s in dmlc/decord#26."""
    last = VARIABLE[-1]
    assert frames_of_part(variable['mp4'], last - 0.29, None, 8, tmp_path) == list(range(77, 85))


@pytest.mark.parametrize('rate', [25, 30000 / 1001, 12.5])
def test_at_a_constant_rate_a_bound_is_the_nearest_frame(folder, rate):
    times = np.arange(50) / rate
    with VideoReader(write_timed(folder / f'constant{rate:.2f}.mkv', times)) as reader:
        for start in np.arange(0, 50 / rate - 0.2, 0.0937):
            assert abs(reader.frames_between(start, start + 0.5).start - start * rate) < 0.52  # times are rounded to ms


def test_seconds_count_from_the_files_start_where_pictures_begin_later_than_sound(folder, tmp_path):
    path = write_timed(folder / 'late.mp4', 0.8 + np.arange(50) / 25, sound_seconds=2.8)
    assert frames_of_part(path, 1.2, 1.6, 10, tmp_path) == list(range(10, 20))
    assert frames_of_part(path, 0, 1, 5, tmp_path) == list(range(5))
    with pytest.raises(VideoReadError, match='the part from 0 s to 0.5 s holds no frame of its 2.80 s'):
        frames_of_part(path, 0, 0.5, 1, tmp_path)


@pytest.mark.parametrize('suffix', ['mp4', 'ts', 'mkv'])
def test_seconds_count_from_the_first_frame_where_there_is_nothing_else(folder, tmp_path, suffix):
    path = write_timed(folder / f'offset.{suffix}', 5 + np.arange(50) / 25)
    assert frames_of_part(path, 0.4, 0.8, 10, tmp_path) == list(range(10, 20))


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'ts'])
def test_the_lead_in_of_sound_moves_nothing(folder, tmp_path, suffix):
    path = write_timed(folder / f'sound.{suffix}', np.arange(50) / 25, sound_seconds=2)
    assert frames_of_part(path, 0.4, 0.8, 10, tmp_path) == list(range(10, 20))


def test_frames_that_an_edit_list_hides_have_no_seconds(folder, tmp_path):
    source, _ = videos.make_kind('h264_b_frames', folder)
    path = videos.copy_packets(source, folder / 'edit.mp4', earlier=7 / 25)
    assert frames_of_part(path, 0.4, 0.8, 10, tmp_path) == list(range(17, 27))


def test_a_part_in_which_no_frame_begins_is_the_one_on_the_screen(variable, tmp_path):
    assert shown_between(VARIABLE, 3, 3.2) == [] and VARIABLE[51] == 2.7 and VARIABLE[52] == 3.4
    assert frames_of_part(variable['mp4'], 3, 3.2, 1, tmp_path) == [51]
    assert frames_of_part(variable['mp4'], 3.2, 3.3, 1, tmp_path) == [51]


@pytest.mark.parametrize('start, end, words', [(12, 14, 'from 12 s to 14.0 s'), (10.5, None, 'from 10.5 s to None s')])
def test_a_part_behind_the_end_is_refused(variable, tmp_path, start, end, words):
    with pytest.raises(VideoReadError, match=f'{words} holds no frame of its 10..* s'):
        frames_of_part(variable['mp4'], start, end, 1, tmp_path)


def test_records_are_cut_by_the_frames_own_times(variable, tmp_path):
    rows = [f'{variable["mp4"].name},{start},{end},x' for start, end in SPANS]
    (tmp_path / 'list.csv').write_text('\n'.join(['video,start,end,label', *rows]) + '\n')
    listed = read_clip_annotations(tmp_path / 'list.csv', variable['mp4'].parent)
    parts, skipped = find_parts(listed, 'auto', 0, None, False)
    assert [list(part.frames) for part in parts] == [shown_between(VARIABLE, *span) for span in SPANS] and not skipped


@pytest.mark.parametrize('begins', [0, 0.8])
def test_flow_is_found_by_the_times_of_the_frames_it_was_made_of(folder, tmp_path, begins):
    times = [begins + time for time in VARIABLE]
    path = write_timed(folder / f'flow{begins}.mp4', times, sound_seconds=4 if begins else 0)
    extract_video(str(path), tmp_path / 'flow', FlowSettings(method='farneback', short_side=16))
    with VideoReader(tmp_path / 'flow', modality='flow') as reader:
        for start, end in SPANS:
            assert list(reader.frames_between(start, end)) == shown_between(times[:-1], start, end)


@pytest.mark.parametrize('stride', [1, 3])
def test_predictions_on_flow_have_the_times_of_its_frames(folder, variable, tmp_path, stride):
    steady = write_timed(folder / 'steady.mp4', np.arange(40) / 25)
    for path, times in ((variable['mp4'], VARIABLE), (steady, np.arange(40) / 25)):
        flow = tmp_path / path.stem
        extract_video(str(path), flow, FlowSettings(method='farneback', short_side=16, stride=stride))
        with StoredFlow(str(flow), None, lambda number, num_frames: False, None) as stored:
            found = [frame.seconds for frame, _ in stored]
        assert path != steady or stored.fps == pytest.approx(25 / stride, rel=0.01)
        np.testing.assert_allclose(found, times[::stride][:-1], atol=0.02)


def test_a_clip_at_25_frames_a_second_follows_the_clock():
    """As I3D takes it, of a video whose second half has a fifth of the frames."""
    shown = np.array([*np.arange(50) / 25, *(2 + np.arange(10) / 5)])
    numbers = steady_frames(60, 60 / 4, 1000, shown)
    assert len(numbers) == 96 and numbers[:50] == list(range(50))
    assert abs(shown[numbers] - np.arange(96) / 25).max() <= 0.1


def test_flow_whose_times_were_spoilt_is_refused(folder, variable, tmp_path):
    extract_video(str(variable['mp4']), tmp_path / 'flow', FlowSettings(method='farneback', short_side=16))
    manifest = json.loads((tmp_path / 'flow' / 'flow.json').read_text())
    for spoilt in ({'seconds': manifest['seconds'][:-1]}, {'seconds': manifest['seconds'][::-1]}, {'seconds': 'x'},
                   {'begins': -1}, {'begins': None}):
        (tmp_path / 'flow' / 'flow.json').write_text(json.dumps({**manifest, **spoilt}))
        with pytest.raises(VideoReadError, match='flow.json: begins must be a number and seconds ascending'):
            VideoReader(tmp_path / 'flow', modality='flow')
