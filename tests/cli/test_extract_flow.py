"""Extraction of optical flow: what it leaves, that it can be interrupted, and what it refuses."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from flows import write_flow_pictures, write_moving_video
from videos import make_broken, read_barcode, write_frames, write_video

from gluon_action.cli import extract_flow as command
from gluon_action.cli.command import run
from gluon_action.data.flow.extraction import FlowSettings, _whole_or_nothing, draw_preview, extract_flow, extract_video
from gluon_action.data.flow.find_videos import find_videos
from gluon_action.data.flow.methods import compute_flow, dequantize, quantize, to_gray
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import OutputError, UsageError, VideoReadError

QUICK = FlowSettings('farneback', short_side=0, image_format='png')
SCRIPT = Path(__file__).parents[2] / 'scripts' / 'extract_flow.py'


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Two videos that move right and up, by 8 and 6 frames, and a list of them."""
    root = tmp_path_factory.mktemp('videos')
    write_moving_video(root / 'right' / 'a.mp4', (2, 0), 8)
    write_moving_video(root / 'up' / 'b.avi', (0, -2), 6)
    (root / 'list.txt').write_text('right/a.mp4 8 0\nup/b.avi 6 1\n')
    return root


def read(folder: Path) -> np.ndarray:
    with VideoReader(folder, modality='flow') as reader:
        return reader.read(range(len(reader)))


def run_command(*argv) -> int:
    return run(command.parse_args, command.main, ['-j', '0', '--method', 'farneback', *map(str, argv)])


# ---------------------------------------------------------------- what is written

def test_pictures_hold_the_flow_from_each_frame_to_the_next(videos, tmp_path):
    about = extract_video(str(videos / 'right/a.mp4'), tmp_path / 'a', QUICK)
    with VideoReader(videos / 'right/a.mp4') as reader:
        frames = [to_gray(frame) for frame in reader.read(range(8))]
    expected = [quantize(compute_flow(*pair, 'farneback')) for pair in zip(frames, frames[1:])]
    names = sorted(path.name for path in (tmp_path / 'a').iterdir())
    assert names == ['flow.json', *(f'flow_{axis}_{i:05d}.png' for axis in 'xy' for i in range(1, 8))]
    for axis, letter in enumerate('xy'):
        for i, flow in enumerate(expected, 1):
            picture = cv2.imread(str(tmp_path / 'a' / f'flow_{letter}_{i:05d}.png'), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(picture, flow[..., axis])
    np.testing.assert_array_equal(read(tmp_path / 'a'), expected)
    assert about == json.loads((tmp_path / 'a/flow.json').read_text()) == {
        'method': 'farneback', 'bound': 20.0, 'short_side': 0, 'stride': 1, 'max_frames': 0, 'image_format': 'png',
        'num_frames': 8, 'num_flows': 7, 'width': 80, 'height': 64, 'fps': 10.0}


@pytest.mark.parametrize('method', ['tvl1', 'farneback'])
def test_a_video_that_moves_right_has_flow_to_the_right(videos, tmp_path, method):
    settings = FlowSettings(method, short_side=0, max_frames=3)
    extract_flow(find_videos([videos]), tmp_path, settings, num_workers=2)
    right, up = (np.median(dequantize(read(tmp_path / name)), (0, 1, 2)) * 20 for name in ('right/a', 'up/b'))
    np.testing.assert_allclose(right, (2, 0), atol=0.2)
    np.testing.assert_allclose(up, (0, -2), atol=0.2)


def test_jpeg_is_near_and_an_array_is_equal_to_what_png_holds(videos, tmp_path):
    found = {}
    for image_format in ('png', 'jpg', 'npz'):
        folder = tmp_path / image_format
        extract_video(str(videos / 'up/b.avi'), folder, FlowSettings('farneback', image_format=image_format))
        found[image_format] = read(folder).astype(int)
    assert sorted(path.name for path in (tmp_path / 'npz').iterdir()) == ['flow.json', 'flow.npz']
    np.testing.assert_array_equal(found['npz'], found['png'])
    np.testing.assert_array_equal(np.load(tmp_path / 'npz/flow.npz')['flow'], found['npz'])
    assert np.abs(found['jpg'] - found['png']).mean() < 0.5 and np.abs(found['jpg'] - found['png']).max() <= 6
    assert found['png'].shape == (5, 256, 320, 2)  # the short side comes first


def test_displacements_are_in_pixels_of_the_resized_frames(videos, tmp_path):
    for side in (64, 128):
        extract_video(str(videos / 'right/a.mp4'), tmp_path / str(side), FlowSettings('farneback', short_side=side))
    small, large = (np.median(dequantize(read(tmp_path / side))[..., 0]) * 20 for side in ('64', '128'))
    assert abs(small - 2) < 0.2 and abs(large - 4) < 0.4


def test_every_second_frame_moves_twice_as_far(videos, tmp_path):
    settings = FlowSettings('farneback', short_side=0, stride=2)
    about = extract_video(str(videos / 'right/a.mp4'), tmp_path / 'a', settings)
    assert (about['num_frames'], about['num_flows'], about['fps']) == (4, 3, 5.0)
    assert abs(np.median(dequantize(read(tmp_path / 'a'))[..., 0]) * 20 - 4) < 0.3


def test_a_smaller_bound_keeps_slow_motion_finer(videos, tmp_path):
    extract_video(str(videos / 'right/a.mp4'), tmp_path / 'a', FlowSettings('farneback', bound=4, short_side=0))
    assert abs(np.median(dequantize(read(tmp_path / 'a'))[..., 0]) * 4 - 2) < 0.1


def test_a_video_of_one_frame_has_one_flow_without_motion(tmp_path):
    write_video(tmp_path / 'one.mp4', 1)
    about = extract_video(str(tmp_path / 'one.mp4'), tmp_path / 'one', QUICK)
    assert (about['num_frames'], about['num_flows']) == (1, 1) and (read(tmp_path / 'one') == 128).all()


def test_a_long_video_is_read_in_parts_without_a_seam(videos, tmp_path, monkeypatch):
    from gluon_action.data.flow import extraction as flow_extraction
    extract_video(str(videos / 'right/a.mp4'), tmp_path / 'whole', QUICK)
    path = write_moving_video(tmp_path / 'long.mp4', (2, 0), 20)
    extract_video(str(path), tmp_path / 'at_once', QUICK)
    monkeypatch.setattr(flow_extraction, '_READ_BYTES', 1)
    together = []
    monkeypatch.setattr(VideoReader, 'read', lambda self, indices, read=VideoReader.read: (
        together.append(len(indices)) or read(self, indices)))
    extract_video(str(path), tmp_path / 'parts', QUICK)
    assert together == [1, 8, 8, 3]  # no more in memory, however long it is
    monkeypatch.undo()
    np.testing.assert_array_equal(read(tmp_path / 'parts'), read(tmp_path / 'at_once'))


def test_a_preview_shows_frames_above_their_flow(videos, tmp_path):
    extract_flow(find_videos([videos]), tmp_path, QUICK, num_workers=0, preview=True)
    picture = cv2.imread(str(tmp_path / 'right/a/preview.png'))[:, :, ::-1]
    assert picture.shape == (320, 4 * 200, 3)
    np.testing.assert_array_equal(picture, draw_preview(str(videos / 'right/a.mp4'), tmp_path / 'right/a'))
    frames, flow = picture[:160], picture[170:250, 20:180].reshape(-1, 3)
    assert np.ptp(frames.astype(int), axis=2).mean() < 4  # the videos are grey
    assert np.median(flow[:, 0]) > 240 and np.median(flow[:, 1:]) < 160  # right is red


def test_a_preview_shows_the_frames_that_its_flow_begins_at(tmp_path):
    path = str(write_video(tmp_path / 'v.mp4', 20))
    extract_video(path, tmp_path / 'v', FlowSettings('farneback', short_side=0, stride=2))  # 9 images
    picture = draw_preview(path, tmp_path / 'v')
    assert [read_barcode(picture[:160, left:left + 240]) for left in range(0, 960, 240)] == [2, 6, 10, 14]


# ---------------------------------------------------------------- which videos

def test_the_flow_of_a_path_is_the_path_without_its_extension(videos):
    expected = {'right/a': str(videos / 'right/a.mp4'), 'up/b': str(videos / 'up/b.avi')}
    assert find_videos([videos]) == expected
    assert find_videos([videos / 'list.txt'], str(videos)) == expected
    assert find_videos([videos / 'right/a.mp4']) == {'a': str(videos / 'right/a.mp4')}


def test_folders_of_frames_are_videos_too(tmp_path):
    write_frames(tmp_path / 'run' / 'b', range(1, 5))
    assert find_videos([tmp_path]) == {'run/b': str(tmp_path / 'run/b')}
    assert find_videos([tmp_path / 'run/b']) == {'b': str(tmp_path / 'run/b')}
    assert run_command(tmp_path, '--out', tmp_path / 'flow', '--short-side', 0) == 0
    assert read(tmp_path / 'flow/run/b').shape == (3, 64, 96, 2)
    assert find_videos([tmp_path]) == {'run/b': str(tmp_path / 'run/b')}  # the flow within is none


def test_names_of_pictures_may_be_others(tmp_path, capsys):
    write_frames(tmp_path / 'v', range(1, 5), pattern='%06d.png')
    assert run_command(tmp_path, '--out', tmp_path / 'flow') == 1
    assert 'no file is named like img_%05d.jpg; it holds 4 others, such as 000001.png' in capsys.readouterr().out
    assert run_command(tmp_path, '--out', tmp_path / 'flow', '--name-pattern', '%06d.png') == 0


def test_lists_of_all_splits_and_labels_are_read(videos, tmp_path):
    table = tmp_path / 'list.csv'
    table.write_text('path,label,split\nright/a.mp4,going right,train\nup/b.avi,going up,val\n')
    assert set(find_videos([table], str(videos))) == {'right/a', 'up/b'}
    several = tmp_path / 'several.txt'
    several.write_text('right/a.mp4 3 1,2\nup/b.avi 3 1\n')
    found = find_videos([several], str(videos), list_format='multi_label_frames', multi_label=True)
    assert set(found) == {'right/a', 'up/b'}


def test_lists_with_absolute_paths_keep_them_below_out(videos, tmp_path):
    setting = tmp_path / 'list.txt'
    setting.write_text(f'{videos}/right/a.mp4 0\n')
    assert find_videos([setting]) == {f'{videos}/right/a'.lstrip('/'): str(videos / 'right/a.mp4')}
    assert find_videos([setting], str(videos)) == {'right/a': str(videos / 'right/a.mp4')}


@pytest.mark.parametrize('make, message', [
    (lambda root: (write_video(root / 'a.mp4', 2), write_video(root / 'a.avi', 2, codec='mpeg4')),
     r'a.avi and .*a.mp4 would share the flow folder a'),
    (lambda root: (write_video(root / 'a.mp4', 2), (root / 'a').mkdir(), write_video(root / 'a/b.mp4', 2)),
     r'a/b.mp4 would lie within that of .*a.mp4'),
    (lambda root: (root / 'notes.md').write_text('none'), 'no video and no folder of frames'),
])
def test_videos_that_cannot_have_a_folder_each_are_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(UsageError, match=message):
        find_videos([tmp_path])


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match='nowhere.txt: there is no such list or folder; pass videos'):
        find_videos([tmp_path / 'nowhere.txt'])


# ---------------------------------------------------------------- again, and what is in the way

def test_a_second_run_keeps_what_is_finished(videos, tmp_path, capsys):
    assert run_command(videos, '--out', tmp_path) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    write_moving_video(videos / 'new.mp4', num_frames=3)
    try:
        assert run_command(videos, '--out', tmp_path) == 0
    finally:
        (videos / 'new.mp4').unlink()
    assert 'flow of 1 videos extracted, 2 were finished before, 0 failed' in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path != tmp_path)
    assert read(tmp_path / 'new').shape == (2, 256, 320, 2)


def test_what_was_killed_in_the_middle_is_done_again(tmp_path):
    write_moving_video(tmp_path / 'videos/long.mp4', num_frames=150)
    argv = [tmp_path / 'videos', '--out', tmp_path / 'flow', '--method', 'farneback', '--short-side', '128', '-j', '1']
    process = subprocess.Popen([sys.executable, str(SCRIPT), *map(str, argv)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('flow/.long.part-*/flow_y_00005.jpg')) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [path.name for path in (tmp_path / 'flow').iterdir()]
    assert len(left) == 1 and left[0].startswith('.long.part-')
    time.sleep(0.2)  # the worker dies with its parent, but not at once
    assert run_command(*argv) == 0
    assert os.listdir(tmp_path / 'flow') == ['long'] and len(read(tmp_path / 'flow/long')) == 149


def test_two_commands_at_once_do_not_delete_each_others_work(videos, tmp_path):
    with _whole_or_nothing(tmp_path / 'a') as part:
        extract_video(str(videos / 'right/a.mp4'), tmp_path / 'a', QUICK)
        assert part.exists()
        (part / 'flow.json').write_text('{}')
    assert os.listdir(tmp_path) == ['a'] and os.listdir(tmp_path / 'a') == ['flow.json']


def test_workers_do_not_change_a_byte(videos, tmp_path):
    for workers in (0, 2):
        extract_flow(find_videos([videos]), tmp_path / str(workers), QUICK, num_workers=workers)
    one, other = ({path.relative_to(tmp_path / workers): path.read_bytes() for path in
                   (tmp_path / workers).rglob('*.*') if path.is_file()} for workers in '02')
    assert one == other and len(one) == 2 * (7 + 5) + 2


def test_flow_of_other_settings_is_replaced_only_on_demand(videos, tmp_path, capsys):
    assert run_command(videos, '--out', tmp_path) == 0
    assert run_command(videos, '--out', tmp_path, '--bound', 10) == 1
    assert '2 of 2 videos have flow of other settings' in (told := capsys.readouterr().err)
    assert 'bound 20.0 instead of 10.0' in told and '--overwrite' in told
    assert run_command(videos, '--out', tmp_path, '--bound', 10, '--overwrite') == 0
    assert json.loads((tmp_path / 'up/b/flow.json').read_text())['bound'] == 10
    assert sorted(os.listdir(tmp_path)) == ['right', 'up'] and os.listdir(tmp_path / 'up') == ['b']


def test_folders_of_others_are_left_alone(videos, tmp_path, capsys):
    write_flow_pictures(tmp_path / 'right/a')
    before = sorted(os.listdir(tmp_path / 'right/a'))
    for overwrite in ([], ['--overwrite']):
        assert run_command(videos, '--out', tmp_path, *overwrite) == 1
        assert 'right/a holds other things than flow of this command' in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path / 'right/a')) == before


def test_videos_that_fail_are_listed_and_tried_again(videos, tmp_path, capsys):
    source = tmp_path / 'videos'
    source.mkdir()
    (source / 'good.mp4').write_bytes((videos / 'right/a.mp4').read_bytes())
    for kind in ('garbage', 'data_cut', 'audio_only'):
        make_broken(kind, source)
    assert run_command(source, '--out', tmp_path / 'flow', '--short-side', 0) == 1
    printed = capsys.readouterr().out
    assert 'flow of 1 videos extracted, 0 were finished before, 3 failed' in printed and 'garbage.mp4' in printed
    failures = [json.loads(line) for line in (tmp_path / 'flow/failures.jsonl').read_text().splitlines()]
    assert {failure['name'] for failure in failures} == {'garbage', 'data_cut', 'audio_only'}
    assert all(failure['path'] in failure['error'] for failure in failures)
    assert sorted(os.listdir(tmp_path / 'flow')) == ['failures.jsonl', 'good']
    for kind in ('garbage', 'data_cut', 'audio_only'):
        (source / f'{kind}.mp4').write_bytes((videos / 'right/a.mp4').read_bytes())
    assert run_command(source, '--out', tmp_path / 'flow', '--short-side', 0) == 0
    assert not (tmp_path / 'flow/failures.jsonl').exists() and len(os.listdir(tmp_path / 'flow')) == 4


def test_a_video_that_hangs_is_given_up(tmp_path):
    (tmp_path / 'videos').mkdir()
    os.mkfifo(tmp_path / 'videos/stuck.mp4')  # whoever opens it waits for ever
    report = extract_flow(find_videos([tmp_path / 'videos']), tmp_path / 'flow', QUICK, num_workers=1, timeout=0.5)
    assert len(report.failures) == 1 and 'stuck.mp4' in report.failures[0]['error']
    assert 'not done after 0.5 s' in report.failures[0]['error']


def test_frames_of_several_sizes_fail_by_name(tmp_path):
    write_frames(tmp_path / 'v', range(1, 10), size=(48, 32))
    write_frames(tmp_path / 'v', range(10, 20), size=(32, 48))
    for step in (1, 64 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('gluon_action.data.flow.extraction._READ_BYTES', step)
            with pytest.raises(VideoReadError, match='/v: .*its frames differ in size'):
                extract_video(str(tmp_path / 'v'), tmp_path / 'flow', QUICK)
    assert not (tmp_path / 'flow').exists() and os.listdir(tmp_path) == ['v']


def test_a_place_that_cannot_be_written_is_named(videos, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='file/flow: flow could not be written'):
        extract_flow(find_videos([videos]), tmp_path / 'file/flow', QUICK, num_workers=0)


@pytest.mark.parametrize('options, message', [
    (dict(bound=0), '--bound must be above 0'), (dict(bound=float('nan')), '--bound must be above 0'),
    (dict(short_side=-1), '--short-side must be 0 or more'), (dict(short_side=8), 'at least 16'),
    (dict(stride=0), '--stride must be 1 or more'), (dict(max_frames=1), 'flow needs two frames'),
    (dict(image_format='gif'), "--format must be one of jpg, png, npz, got 'gif'"),
    (dict(method='raft'), 'unknown method'),
])
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        FlowSettings(**options)


@pytest.mark.parametrize('flags', [
    ('--num-data-workers', '-1'), ('--timeout', '-1'), ('--timeout', 'nan'), ('--method', 'raft')])
def test_numbers_that_cannot_be_are_bad_usage(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        command.parse_args(['videos', '--out', 'flow', *flags])
    assert stop.value.code == 2 and flags[0].lstrip('-')[:3] in capsys.readouterr().err
