"""TFRecords made from annotated videos: the right frames, the same for any number of processes, and after a kill."""
import contextlib
import fcntl
import itertools
import json
import os
import signal

import numpy as np
import pytest
from forking import Copy
from records import records_in
from videos import make_broken, read_barcode, write_frames, write_video

from gluon_action.cli import make_clip_records as command
from gluon_action.cli.command import run
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.loading.workers import WorkerPool
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.data.tfrecords.clips import cutting, writing
from gluon_action.data.tfrecords.clips.clip_records import ClipRecords
from gluon_action.data.tfrecords.clips.manifest import Manifest
from gluon_action.data.tfrecords.examples import make_example, parse_example

SMALL = ('--clip-length', 8, '--size', '24x32', '--clips-per-file', 3, '-j', 0)
LIST = ('video,start,end,labels\n'
        'a.mp4,0,3,gate down;train\n'   # 30 frames: 3 clips and one of 6 frames
        'a.mp4,3,,train\n'              # 30 frames more
        'sub/b.mp4,,,car\n'             # 50 frames: 6 clips and one of 2 frames
        'c.mp4,0.4,1,gate down\n')      # 5 frames of 9


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    """Videos of 10 frames a second whose frames carry their numbers, and lists of them."""
    folder = tmp_path_factory.mktemp('media')
    (folder / 'sub').mkdir()
    for name, frames in (('a.mp4', 60), ('sub/b.mp4', 50), ('c.mp4', 9)):
        write_video(folder / name, frames, fps=10)
    for kind in ('garbage', 'data_cut'):
        make_broken(kind, folder)
    holed = bytearray(write_video(folder / 'holed.mp4', 60, fps=10, options={'g': '8', 'bf': '0'}).read_bytes())
    holed[len(holed) // 2:len(holed) * 7 // 12] = bytes(len(holed) * 7 // 12 - len(holed) // 2)
    (folder / 'holed.mp4').write_bytes(holed)
    write_frames(folder / 'pictures', range(1, 21))
    (folder / 'list.csv').write_text(LIST)
    return folder


@pytest.fixture
def make(media, tmp_path, capsys):
    """Run the command in this process; returns exit code and what it printed."""
    def make(*flags, rows=None, out='out'):
        path = media / 'list.csv'
        if rows is not None:
            path = tmp_path / 'list.csv'
            path.write_text('video,start,end,labels\n' + ''.join(f'{row}\n' for row in rows))
        argv = [path, '--data-dir', media, '--out', tmp_path / out, *SMALL, *flags]
        try:
            code = run(command.parse_args, command.main, list(map(str, argv)))
        except SystemExit as stop:  # how argparse ends
            code = stop.code
        said = capsys.readouterr()
        assert 'Traceback' not in said.err
        return code, said.out + said.err
    make.out = tmp_path / 'out'
    return make


def examples(folder):
    """(numbers that the frames carry, labels, video, first and last frame) of each record, in order."""
    found = []
    for path in sorted(folder.glob('**/*.tfrecord')):
        for record in records_in(path):
            example = parse_example(record)
            clip = np.frombuffer(example['feature'][0], np.uint8).reshape(8, -1, 32, 3)
            found.append(([read_barcode(frame) for frame in clip], list(bytes(example['label'][0])),
                          bytes(example['video'][0]).decode(), example['frames'].tolist()))
    return found


def frames_of(folder):
    return [frames for frames, *_ in examples(folder)]


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def padded(*numbers):
    return [*numbers, *[numbers[-1]] * (8 - len(numbers))]


WHOLE = [*(list(range(first, first + 8)) for first in (0, 8, 16)), padded(*range(24, 30)),
         *(list(range(first, first + 8)) for first in (30, 38, 46)), padded(*range(54, 60)),
         *(list(range(first, first + 8)) for first in range(0, 48, 8)), padded(48, 49), padded(4, 5, 6, 7, 8)]


def test_clips_hold_the_frames_and_labels_of_their_parts(make):
    code, said = make()
    assert code == 0, said
    found = examples(make.out)
    assert [frames for frames, *_ in found] == WHOLE
    labels = [[0, 1, 1]] * 4 + [[0, 0, 1]] * 4 + [[1, 0, 0]] * 7 + [[0, 1, 0]]
    assert [label for _, label, *_ in found] == labels
    assert {video for _, _, video, _ in found} == {'a.mp4', 'sub/b.mp4', 'c.mp4'}
    assert all(ends == [frames[0], frames[-1]] for frames, _, _, ends in found)
    assert (make.out / 'classes.txt').read_text().split('\n') == ['car', 'gate down', 'train', '']
    assert sorted(path.name for path in make.out.glob('*.tfrecord')) == [f'{n:05d}-of-00006.tfrecord' for n in range(6)]


@pytest.mark.parametrize('workers', [1, 3])
def test_the_files_are_the_same_for_any_number_of_processes(make, tmp_path, workers):
    make()
    assert make('-j', workers, out='parallel')[0] == 0
    assert files_of(tmp_path / 'parallel') == files_of(make.out)


@pytest.mark.parametrize('flags, row, expected', [
    (('--frame-stride', 3), 'a.mp4,0,5,x', [list(range(0, 24, 3)), list(range(24, 48, 3)), padded(48)]),
    (('--clip-step', 4), 'a.mp4,0,1.7,x', [*(list(range(n, n + 8)) for n in (0, 4, 8)), padded(*range(12, 17))]),
    (('--clip-step', 20), 'a.mp4,0,5,x', [list(range(8)), list(range(20, 28)), list(range(40, 48))]),
    (('--drop-short',), 'a.mp4,0,2,x', [list(range(8)), list(range(8, 16))]),
    (('--unit', 'frames'), 'a.mp4,50,58,x', [list(range(50, 58))]),
    ((), 'a.mp4,5.5,,x', [padded(*range(55, 60))]),
    ((), 'a.mp4,5.5,99,x', [padded(*range(55, 60))]),
    ((), 'pictures,,,x', [list(range(1, 9)), list(range(9, 17)), padded(17, 18, 19, 20)]),  # pictures count from 1
    (('--unit', 'frames'), 'pictures,10,18,x', [list(range(11, 19))])])
def test_flags_say_which_frames(make, flags, row, expected):
    code, said = make(*flags, rows=[row])
    assert code == 0, said
    assert frames_of(make.out) == expected


def test_a_crop_is_taken_before_resizing(make, media, tmp_path):
    import av
    make('--crop', '48,0,48,64', rows=['a.mp4,0,0.8,x'])
    clip, = (np.frombuffer(parse_example(record)['feature'][0], np.uint8).reshape(8, 24, 32, 3)
             for path in make.out.glob('*.tfrecord') for record in records_in(path))
    with av.open(str(media / 'a.mp4')) as container:
        frames = [frame.to_ndarray(format='rgb24') for frame, _ in zip(container.decode(video=0), range(8))]
    assert frames[0].shape == (64, 96, 3)
    import cv2
    expected = np.stack([cv2.resize(np.ascontiguousarray(frame[:, 48:]), (32, 24)) for frame in frames])
    assert (clip == expected).all()


@pytest.mark.parametrize('bytes, together', [(2.5, [2, 2, 2, 1, 2]), (1, [1] * 9), (0.5, [1] * 9), (99, [7, 2])])
def test_clips_are_read_in_groups_that_fit_into_memory(media, monkeypatch, bytes, together):
    monkeypatch.setattr(cutting, '_GROUP_BYTES', int(bytes * 8 * 24 * 32 * 3))
    read = []
    monkeypatch.setattr(VideoReader, 'read', lambda self, indices, given=VideoReader.read: (
        read.append(len(indices)) or given(self, indices)))
    wanted = [(str(media / 'a.mp4'), list(range(n, n + 8))) for n in (0, 4, 10, 30, 17, 50, 52)]
    wanted += [(str(media / 'sub/b.mp4'), list(range(n, n + 8))) for n in (40, 2)]
    clips = list(cutting.cut_clips(wanted, cutting.CropSettings(24, 32), num_workers=0))
    assert [[read_barcode(frame) for frame in clip] for clip in clips] == [frames for _, frames in wanted]
    assert read == [8 * number for number in together]


def test_clips_are_read_ahead_no_further_than_the_workers_need(media, monkeypatch):
    monkeypatch.setattr(cutting, '_GROUP_BYTES', 1)
    submitted = []
    monkeypatch.setattr(WorkerPool, 'submit', lambda self, *task, submit=WorkerPool.submit: (
        submitted.append(task[0]) or submit(self, *task)))
    wanted = [(str(media / 'a.mp4'), list(range(n, n + 8))) for n in range(12)]
    with contextlib.closing(cutting.cut_clips(wanted, cutting.CropSettings(24, 32), num_workers=2)) as clips:
        for number in range(12):
            assert read_barcode(next(clips)[0]) == number
            assert submitted == list(range(min(12, number + 4)))


def test_a_worker_has_the_time_of_all_clips_that_it_reads_together(media, monkeypatch):
    allowed = []
    monkeypatch.setattr(cutting, 'WorkerPool', lambda *given, timeout: (
        allowed.append(timeout) or WorkerPool(*given, timeout=timeout)))
    wanted = [(str(media / name), list(range(n, n + 8))) for name, n in (('a.mp4', 0), ('a.mp4', 8), ('c.mp4', 0))]
    for timeout in (60, None):
        assert len(list(cutting.cut_clips(wanted, cutting.CropSettings(24, 32), timeout=timeout))) == 3
    assert allowed == [120, None]


def test_what_says_which_files_are_finished_is_on_the_disk_before_it_gets_its_name(tmp_path, disk):
    Manifest(tmp_path, {'settings': {}}).add('a.tfrecord', {'bytes': 3})
    path = tmp_path / 'manifest.json'
    renamed, = (event for event in disk if event[0] == 'rename')
    assert renamed[2] == str(path) and json.loads(path.read_text())['files'] == {'a.tfrecord': {'bytes': 3}}
    assert disk.index(('sync', renamed[1], path.stat().st_size)) < disk.index(renamed)


def test_one_number_is_a_square_and_files_can_be_numbered_plainly(make):
    assert make('--size', 16, '--file-names', 'plain')[0] == 0
    assert [path.name for path in sorted(make.out.glob('*.tfrecord'))][:2] == ['0000000.tfrecord', '0000001.tfrecord']
    assert len(ClipRecords(make.out, num_classes=3, clip_length=8, height=16, width=16).read(0)[0]) == 8


def test_training_reads_them_with_their_classes(make):
    make('--val-share', 0.4)
    train = ClipRecords(make.out / 'train', num_classes=3, clip_length=8, height=24, width=32)
    assert train.classes == ['car', 'gate down', 'train']
    with VideoLoader(train, 2, shuffle=True) as loader:
        batch = next(loader.epoch(0))
    assert batch.data.shape == (2, 3, 8, 24, 32) and batch.label.shape == (2, 3)


def test_no_video_is_in_two_splits(make):
    assert make('--val-share', 0.4)[0] == 0
    videos = [{video for _, _, video, _ in examples(make.out / split)} for split in ('train', 'val')]
    assert len(videos[0]) == 2 and len(videos[1]) == 1 and not videos[0] & videos[1]
    assert not list(make.out.glob('*.tfrecord'))


# What is reported, and what cannot be read.

def report(make):
    return json.loads((make.out / 'report.json').read_text())


def test_the_report_counts_clips_of_each_class_and_says_what_was_skipped(make):
    code, said = make('--failure-limit', 0.7, rows=[
        'a.mp4,0,3,x;y', 'garbage.mp4,,,x', 'missing.mp4,0,1,y', 'c.mp4,5,6,y', 'pictures,0.5,1,x', 'c.mp4,,,y'])
    found = report(make)
    assert code == 0 and found['splits']['all']['clips_per_label'] == {'x': 4, 'y': 6}
    assert (found['clips'], found['splits']['all']['videos'], found['splits']['all']['files']) == (6, 2, 2)
    reasons = {skip['video']: skip['reason'] for skip in found['skipped']}
    assert [skip['where'][-6:] for skip in found['skipped']] == ['line 3', 'line 4', 'line 5', 'line 6']
    assert 'garbage.mp4: cannot be read' in reasons['garbage.mp4']
    assert reasons['missing.mp4'].endswith('does not exist')
    assert reasons['c.mp4'].endswith('the part holds none of the 9 frames, 0.90 s')
    assert 'no frame rate, so it cannot be cut by time; give its parts in frames' in reasons['pictures']
    for reason in reasons.values():
        assert reason in said
    assert 'all clips          6' in said and 'y                  6' in said


@pytest.mark.parametrize('limit, code', [(0.5, 0), (0.4, 1)])
def test_it_fails_when_more_is_missing_than_allowed(make, limit, code):
    assert make('--failure-limit', limit, rows=['a.mp4,0,1,x', 'garbage.mp4,,,x'])[0] == code


def test_nothing_at_all_is_a_failure(make):
    code, said = make('--failure-limit', 1, rows=['garbage.mp4,,,x'])
    assert code == 1 and 'all clips          0' in said


@pytest.mark.parametrize('workers', [0, 1])
def test_clips_around_the_damage_of_a_video_are_kept(make, workers):
    code, said = make('-j', workers, '--failure-limit', 0.6, rows=['holed.mp4,,,x', 'a.mp4,0,0.8,x'])
    found = report(make)
    missing = found['skipped']
    assert [(skip['video'], skip['clips']) for skip in missing] == [('holed.mp4', 1)] * len(missing)
    assert 1 <= len(missing) <= 3 and all('cannot be decoded' in skip['reason'] for skip in missing)
    kept = frames_of(make.out)
    assert kept[:3] == [list(range(first, first + 8)) for first in (0, 8, 16)] and kept[-1] == list(range(8))
    assert kept[-2] == padded(56, 57, 58, 59) and len(kept) + len(missing) == 8 + 1
    assert code == 0 and found['clips'] == len(kept)


def test_a_file_that_was_cut_short_is_skipped(make):
    assert 'it was cut short' in make(rows=['data_cut.mp4,,,x', 'a.mp4,0,0.8,x'])[1]


def test_a_part_shorter_than_a_clip_is_skipped_where_short_ones_are_dropped(make):
    make('--drop-short', rows=['c.mp4,0,0.5,x', 'a.mp4,0,1,x'])
    assert report(make)['skipped'][0]['reason'] == 'its 5 frames are fewer than a clip takes (--drop-short)'


def test_a_crop_outside_the_frames_is_told_with_their_size(make):
    code, said = make('--crop', '50,0,48,64', rows=['a.mp4,0,1,x'])
    assert code == 1
    assert 'a.mp4: cannot be read by pyav: its frames are 96x64, which has no 48x64 (width x height) at (50, 0)' in said


def test_parts_that_overlap_with_other_labels_are_told(make):
    code, said = make(rows=['a.mp4,0,3,x', 'a.mp4,2,4,y', 'a.mp4,4,5,x', 'c.mp4,0,0.5,x', 'c.mp4,0.3,0.9,x'])
    assert 'parts that overlap and have other labels: 1, first ' in said and 'line 2 and ' in said
    assert len(report(make)['annotations']['overlapping']) == 1
    make('--overwrite', rows=['a.mp4,0,6,x', 'a.mp4,1,2,y', 'a.mp4,3,4,y', 'a.mp4,6,,y', 'sub/b.mp4,0,2,x',
                              'sub/b.mp4,2,4,y'])  # two within a long one, and what only touches
    assert [pair.replace(f'{make.out.parent}/', '') for pair in report(make)['annotations']['overlapping']] == [
        f'list.csv line 2 and list.csv line {line}' for line in (3, 4)]


def test_a_class_without_clips_is_told(make, tmp_path):
    (tmp_path / 'classes.txt').write_text('x\nbicycle\n')
    assert 'all: no clip of bicycle' in make('--classes', tmp_path / 'classes.txt', rows=['a.mp4,0,1,x'])[1]


def test_clips_without_a_label_are_counted(make):
    make('--allow-no-label', rows=['a.mp4,0,1,x', 'a.mp4,1,2,'])
    assert report(make)['splits']['all']['clips_per_label'] == {'x': 2, '(no label)': 2}
    assert [label for _, label, *_ in examples(make.out)] == [[1], [1], [0], [0]]


def test_a_video_that_never_answers_is_given_up(make, media):
    os.mkfifo(media / 'hanging.mp4')
    try:
        code, said = make('-j', 1, '--timeout', 1, rows=['hanging.mp4,,,x', 'c.mp4,,,x'])
    finally:
        os.unlink(media / 'hanging.mp4')
    assert 'hanging.mp4: cannot be read by auto: not done after 1 s' in said and report(make)['clips'] == 2


# Going on, verifying, replacing.

def die_at_clip(number, argv):
    """Run the command in a copy of this process, which is killed when it writes that clip, counted from 1."""
    written = itertools.count(1)

    def example(features):
        if next(written) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return make_example(features)

    writing.make_example = example
    command.main(command.parse_args(argv))


def test_a_killed_run_goes_on_behind_the_finished_files(make, media, tmp_path):
    make(out='whole')
    argv = [media / 'list.csv', '--data-dir', media, '--out', make.out, *SMALL, '-j', 1]
    killed = Copy(die_at_clip, 8, list(map(str, argv)))  # the second of the three clips of the third file
    assert killed.wait() == -signal.SIGKILL, killed.communicate()[0]
    half, = make.out.glob('.00002-of-00006.tfrecord.*')
    finished = json.loads((make.out / 'manifest.json').read_text())['files']
    assert [*finished] == ['00000-of-00006.tfrecord', '00001-of-00006.tfrecord']
    assert not (make.out / 'report.json').exists()
    times = {name: (make.out / name).stat().st_mtime_ns for name in finished}
    assert make()[0] == 0 and not half.exists()
    assert {name: (make.out / name).stat().st_mtime_ns for name in finished} == times
    assert files_of(make.out) == files_of(tmp_path / 'whole')


def test_a_run_killed_at_its_very_start_goes_on(make):
    make.out.mkdir()
    (make.out / '.manifest.json.123').write_bytes(b'{')
    assert make()[0] == 0 and not [name for name in os.listdir(make.out) if name.startswith('.')]


def test_what_a_kill_leaves_of_any_file_is_removed(tmp_path):
    for name in ('00004-of-00006.tfrecord', 'classes.txt', 'manifest.json', 'report.json'):
        (tmp_path / f'.{name}.123').touch()
    Manifest(tmp_path, {'settings': {}}).expect(shards_sha256='0' * 64)
    assert os.listdir(tmp_path) == ['manifest.json']


def test_a_finished_run_makes_nothing_again(make):
    make()
    times = {path: path.stat().st_mtime_ns for path in make.out.glob('*.tfrecord')}
    before = report(make)
    assert make()[0] == 0 and report(make) == before
    assert {path: path.stat().st_mtime_ns for path in make.out.glob('*.tfrecord')} == times


@pytest.mark.parametrize('damage', ['flipped', 'other', 'missing', 'cut'])
def test_verifying_finds_what_differs_and_the_next_run_makes_it_again(make, tmp_path, damage):
    assert 'read again and found whole' in make('--verify')[1]
    good = files_of(make.out)
    first, second = (make.out / f'{n:05d}-of-00006.tfrecord' for n in (3, 4))
    content = bytearray(second.read_bytes())
    if damage == 'flipped':
        content[len(content) // 2] ^= 1
    elif damage == 'other':
        content = bytearray(first.read_bytes())
    second.write_bytes(content if damage != 'cut' else content[:-1])
    if damage == 'missing':
        second.unlink()
    code, said = make('--verify')
    if damage in ('missing', 'cut'):  # seen without reading
        assert code == 0
    else:
        assert code == 1 and str(second) in said and 'The same command makes what is wrong again' in said
        assert ('is damaged' if damage == 'flipped' else 'is not what was written') in said
        assert make('--verify')[0] == 0
    assert files_of(make.out) == good


def test_other_settings_are_refused_unless_asked_to_replace(make, media, tmp_path):
    make('--val-share', 0.4)
    before = files_of(make.out)
    code, said = make('--val-share', 0.4, '--clip-length', 4, '--crop', '0,0,48,48')
    assert code == 1 and files_of(make.out) == before
    assert 'clip_length 8 instead of 4, crop None instead of [0, 0, 48, 48]. Choose another --out, or pass' in said
    code, said = make('--val-share', 0.4, rows=['a.mp4,0,1,x', 'c.mp4,,,x'])
    assert code == 1 and 'the annotations are others, or have changed' in said
    assert make('--clips-per-file', 16, '--overwrite')[0] == 0
    assert [str(path.relative_to(make.out)) for path in make.out.rglob('*.tfrecord')] == ['00000-of-00001.tfrecord']
    assert frames_of(make.out) == WHOLE


def test_videos_that_changed_are_refused(make, media, tmp_path):
    videos = tmp_path / 'videos'
    videos.mkdir()
    write_video(videos / 'v.mp4', 20, fps=10)
    rows = ['v.mp4,,,x']
    assert make('--data-dir', videos, rows=rows)[0] == 0
    write_video(videos / 'v.mp4', 40, fps=10)
    code, said = make('--data-dir', videos, rows=rows)
    assert code == 1 and 'videos have changed since: they have other frames' in said
    assert make('--data-dir', videos, '--overwrite', rows=rows)[0] == 0 and len(examples(make.out)) == 5


def test_a_folder_with_other_things_is_left_alone(make):
    make.out.mkdir()
    (make.out / 'thesis.tex').write_text('...')
    code, said = make('--overwrite')
    assert code == 1 and 'is not empty and was not made by this command; choose another --out' in said
    assert os.listdir(make.out) == ['thesis.tex']


def test_two_processes_do_not_write_into_one_folder(make):
    make.out.mkdir()
    descriptor = os.open(make.out, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    code, said = make()
    os.close(descriptor)
    assert code == 1 and 'another process writes there' in said and make()[0] == 0


def test_a_folder_that_cannot_be_made_is_told(make, tmp_path):
    (tmp_path / 'file').touch()
    code, said = make('--out', tmp_path / 'file' / 'out')
    assert code == 1 and 'the records could not be written: Not a directory' in said


@pytest.mark.parametrize('flags, told', [
    (('--clip-length', 0), '--clip-length must be 1 or more, got 0'), (('--clip-step', 0), '--clip-step must be 1'),
    (('--frame-stride', -1), '--frame-stride must be 1'), (('--clips-per-file', 0), '--clips-per-file must be 1'),
    (('--size', '0'), '--size must be 1 or more'), (('--size', '8x8x8'), '--size one or two such as 224 or 240x320'),
    (('--crop', '1,2,3'), '--crop takes four numbers such as'), (('--crop', '0,0,0,5'), '--crop takes left, top'),
    (('--val-share', 1), '--val-share at least 0 and below 1'), (('-j', -1), '--num-data-workers must be 0 or more'),
    (('--timeout', 'nan'), '--timeout must be 0 or more, got nan'), (('--failure-limit', 2), '--failure-limit must')])
def test_values_that_cannot_be_are_refused(make, flags, told):
    code, said = make(*flags)
    assert code == 2 and told in said and not make.out.exists()


def test_a_bad_row_stops_it_before_anything_is_written(make):
    code, said = make(rows=['a.mp4,0,1,x', 'a.mp4,2,1,x'])
    assert code == 1 and 'list.csv line 3: ends at 1, where it starts (2) or before' in said and not make.out.exists()
