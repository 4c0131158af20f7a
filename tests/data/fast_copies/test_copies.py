"""Fast copies: the same frames at the same times, proved; resumable, and nothing is replaced unasked."""
from __future__ import annotations

import dataclasses
import json
import os

import av
import numpy as np
import pytest
from sounds import write_sounding_video
from timed_videos import write_timed
from videos import KINDS, make_broken, make_kind, read_barcode, rotate_by_header, write_frames, write_video

from gluon_action.cli import prepare_videos
from gluon_action.cli.command import run
from gluon_action.data.fast_copies import copying
from gluon_action.data.fast_copies.copying import make_copies
from gluon_action.data.fast_copies.encoding import encode
from gluon_action.data.fast_copies.proof import Proof, prove, psnr
from gluon_action.data.fast_copies.settings import CopySettings
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import UsageError

SMALL = CopySettings(short_side=0)


def copied(path, out, settings=SMALL, **options):
    """The copy of one video, which must succeed."""
    made = make_copies(path, out, settings, num_workers=0, **options)
    assert made.failed == 0, made.told()
    return out / made.videos[0]['file'], made.videos[0]


def told(path, numbers=None):
    """Numbers that frames carry, and when they are shown."""
    with VideoReader(path) as reader:
        numbers = range(len(reader)) if numbers is None else numbers
        return [read_barcode(frame) for frame in reader.read(list(numbers))], reader.seconds.tolist(), reader.begins


def in_order(*argv):
    try:
        return run(prepare_videos.parse_args, prepare_videos.main, ['-j', '0', *map(str, argv)])
    except SystemExit as stop:
        return stop.code


# ---------------------------------------------------------------- frames and times

@pytest.mark.parametrize('kind', KINDS)
def test_a_copy_has_the_frames_of_its_source_at_their_times(kind, tmp_path):
    source, num_frames = make_kind(kind, tmp_path)
    copy, record = copied(source, tmp_path / 'out')
    numbers, seconds, begins = told(copy)
    assert numbers == list(range(num_frames)) and record['frames'] == num_frames and begins == 0
    np.testing.assert_allclose(seconds, told(source)[1], atol=1e-9)
    assert min(record['psnr']) > 20 and record['bytes'] == copy.stat().st_size


@pytest.mark.parametrize('suffix', ['.mkv', '.mp4'])
def test_times_at_a_rate_that_changes_are_kept(tmp_path, suffix):
    times = [0, 0.033, 0.067, 0.1, 0.5, 0.533, 2.007, 2.1]
    source = write_timed(tmp_path / f'a{suffix}', times)
    copy, _ = copied(source, tmp_path / 'out')
    assert told(copy)[:2] == told(source)[:2]
    with VideoReader(source) as one, VideoReader(copy) as other:
        for part in ((0.05, 0.52), (0.6, 1.9), (2.05, None)):
            assert one.frames_between(*part) == other.frames_between(*part)


@pytest.mark.parametrize('sound', ['drop', 'copy'])
def test_pictures_that_begin_later_than_the_sound_still_do(tmp_path, sound):
    source = write_timed(tmp_path / 'a.mp4', [0.52 + number / 25 for number in range(12)], sound_seconds=1)
    copy, record = copied(source, tmp_path / 'out', CopySettings(short_side=0, sound=sound))
    assert told(source)[2] == pytest.approx(0.52) and told(copy)[2] == pytest.approx(0.52, abs=1e-3)
    assert record['sound'] == 'copied'
    with VideoReader(source) as one, VideoReader(copy) as other:
        assert one.frames_between(0.6, 0.8) == other.frames_between(0.6, 0.8)


def test_sound_is_left_out_or_comes_along(tmp_path):
    source = write_timed(tmp_path / 'a.mp4', [number / 25 for number in range(25)], sound_seconds=1)
    found = {}
    for sound in ('drop', 'copy'):
        copy, record = copied(source, tmp_path / sound, CopySettings(short_side=0, sound=sound))
        with av.open(str(copy)) as container:
            found[sound] = len(container.streams.audio), record['sound']
            heard = sum(frame.samples for frame in container.decode(audio=0)) if sound == 'copy' else 0
    assert found == {'drop': (0, 'none'), 'copy': (1, 'copied')} and heard >= 16000


def test_sound_that_mp4_does_not_take_is_named_with_the_cure(tmp_path):
    source = write_sounding_video(tmp_path / 'a.avi', seconds=1)
    with av.open(str(tmp_path / 'b.avi'), 'w') as container:  # of a codec that no MP4 holds
        tone = container.add_stream('adpcm_ms', rate=16000, layout='mono')
        pictures = container.add_stream('mpeg4', rate=5)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, 'yuv420p'
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format='s16', layout='mono')
        frame.sample_rate = 16000
        for _ in range(3):
            container.mux(pictures.encode(av.VideoFrame(32, 32, 'yuv420p')))
        container.mux([*tone.encode(frame), *tone.encode(), *pictures.encode()])
    made = make_copies(tmp_path / 'b.avi', tmp_path / 'out', CopySettings(sound='copy'), num_workers=0)
    assert made.failed == 1 and '--sound drop' in made.videos[0]['error']
    assert copied(source, tmp_path / 'out2')[1]['sound'] == 'none'


def test_a_video_on_its_side_is_turned_and_says_nothing_of_it_any_more(tmp_path):
    source = rotate_by_header(write_video(tmp_path / 'a.mp4', 6, size=(96, 64)))
    copy, record = copied(source, tmp_path / 'out')
    assert (record['width'], record['height']) == (64, 96)
    with av.open(str(copy)) as container:
        assert next(container.decode(video=0)).rotation == 0
    with VideoReader(source) as one, VideoReader(copy) as other:
        assert psnr(one.read([3])[0], other.read([3])[0]) > 25


@pytest.mark.parametrize('settings, size', [
    (CopySettings(short_side=32), (48, 32)), (CopySettings(short_side=100), (102, 78)),
    (CopySettings(size=(64, 48)), (64, 48)), (CopySettings(short_side=0), (102, 78))])
def test_copies_have_the_size_that_was_asked_for_and_even_sides(tmp_path, settings, size):
    source = write_video(tmp_path / 'a.mkv', 4, size=(101, 77) if size != (48, 32) else (99, 66), pix_fmt='yuv444p')
    copy, record = copied(source, tmp_path / 'out', settings)
    with VideoReader(copy) as reader:
        assert reader.read([0]).shape[1:3] == size[::-1]
    assert (record['width'], record['height']) == size


def test_a_key_frame_comes_every_few_frames_and_no_frame_refers_to_a_later_one(tmp_path):
    source = write_video(tmp_path / 'a.mp4', 40, options={'bf': '3', 'g': '250', 'sc_threshold': '0'})
    copy, _ = copied(source, tmp_path / 'out', CopySettings(short_side=0, key_frames=8))
    with av.open(str(copy)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [packet.pts for packet in packets] == [packet.dts for packet in packets]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert {*range(0, 40, 8)} <= {*keys} or max(np.diff([*keys, 40])) <= 8


def test_colours_stay_what_they_are(tmp_path):
    flat = np.zeros((64, 96, 3), np.uint8)
    flat[:, :48], flat[:, 48:] = (200, 30, 60), (20, 90, 220)
    with av.open(str(tmp_path / 'a.mp4'), 'w') as container:  # by the matrix of high definition
        stream = container.add_stream('libx264', rate=25, options={'colorspace': 'bt709', 'crf': '1'})
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv444p'
        frame = av.VideoFrame.from_ndarray(flat, format='rgb24').reformat(format='yuv444p', dst_colorspace='ITU709')
        container.mux([*stream.encode(frame), *stream.encode()])
    copy, _ = copied(tmp_path / 'a.mp4', tmp_path / 'out')
    with VideoReader(tmp_path / 'a.mp4') as one, VideoReader(copy) as other:
        before, after = (reader.read([0])[0].astype(int) for reader in (one, other))
    for part in (np.s_[8:56, 8:40], np.s_[8:56, 56:88]):
        np.testing.assert_allclose(after[part].mean((0, 1)), before[part].mean((0, 1)), atol=3)


# ---------------------------------------------------------------- the proof

@pytest.mark.parametrize('change, trouble', [
    (lambda t: dataclasses.replace(t, ticks=[*t.ticks, t.ticks[-1] + 512]), 'the copy has 12 frames, the source 13'),
    (lambda t: dataclasses.replace(t, ticks=[*t.ticks[:-1], t.ticks[-1] + 1]), 'frame 11 of the copy is shown at'),
    (lambda t: dataclasses.replace(t, begins=0.4), 'begin 0.000 s after the file, those of the source 0.400 s')])
def test_frames_and_times_that_differ_are_found(tmp_path, change, trouble):
    made = encode(str(write_video(tmp_path / 'a.mp4', 12)), tmp_path / 'b.mp4', SMALL)
    assert prove(tmp_path / 'b.mp4', made).trouble == ''
    found = prove(tmp_path / 'b.mp4', dataclasses.replace(made, timing=change(made.timing)))
    assert trouble in found.trouble and not found.psnr


def test_frames_are_compared_with_those_of_their_own_number(tmp_path):
    made = encode(str(write_video(tmp_path / 'a.mp4', 12)), tmp_path / 'b.mp4', SMALL)
    frames = dict(zip(made.frames, reversed(made.frames.values())))
    right, wrong = (prove(tmp_path / 'b.mp4', dataclasses.replace(made, frames=each)).psnr
                    for each in (made.frames, frames))
    assert len(right) == 3 and min(right) > 25 > wrong[0]
    assert psnr(made.frames[1], made.frames[1]) == 99


@pytest.mark.parametrize('keep', [False, True])
def test_a_copy_that_is_not_as_its_source_is_told_and_kept_only_if_asked(tmp_path, monkeypatch, capsys, keep):
    (tmp_path / 'v').mkdir()
    source = write_video(tmp_path / 'v' / 'a.mp4', 6)
    monkeypatch.setattr(copying, 'prove', lambda *_: Proof('frame 3 is late', []))
    assert in_order(source.parent, '--out', tmp_path / 'out', *['--keep-unequal'] * keep) == 1
    said = capsys.readouterr().out
    assert 'a.mp4: frame 3 is late' in said and 'failed' in said and ('it is kept' in said) == keep
    assert (tmp_path / 'out' / 'a.mp4').exists() == keep
    monkeypatch.undo()
    assert in_order(source.parent, '--out', tmp_path / 'out') == 0  # it is tried again


@pytest.mark.parametrize('kind', ['garbage', 'empty', 'data_cut', 'audio_only'])
def test_what_cannot_be_read_is_told_and_the_others_are_copied(tmp_path, kind):
    make_broken(kind, tmp_path)
    write_video(tmp_path / 'good.mp4', 5)
    made = make_copies(tmp_path, tmp_path.parent / f'{tmp_path.name}_out', SMALL, num_workers=0)
    assert (made.done, made.failed) == (1, 1)
    assert [record['video'] for record in made.videos if 'error' in record] == [str(tmp_path / f'{kind}.mp4')]
    assert json.loads(made.report.read_text())['failed'] == 1


def test_a_folder_of_frames_is_told(tmp_path):
    write_frames(tmp_path / 'v' / 'frames', range(1, 4))
    made = make_copies(tmp_path / 'v', tmp_path / 'out', SMALL, num_workers=0)
    assert made.failed == 1 and 'is a folder of frames' in made.told()


# ---------------------------------------------------------------- many videos

@pytest.fixture
def videos(tmp_path):
    for number in range(4):
        (tmp_path / 'v' / str(number % 2)).mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / 'v' / str(number % 2) / f'{number}.mp4', 4 + number, size=(48, 32))
    return tmp_path / 'v'


@pytest.fixture
def encoded(monkeypatch):
    """Names of the videos that are encoded, in order."""
    names = []
    monkeypatch.setattr(copying, 'encode', lambda path, *rest, **more: names.append(os.path.basename(path))
                        or encode(path, *rest, **more))
    return names


def test_an_interrupted_command_goes_on_with_the_others(videos, tmp_path, monkeypatch, encoded):
    real = copying.encode

    def interrupted(path, *rest, **more):
        if len(encoded) == 2:
            raise KeyboardInterrupt
        return real(path, *rest, **more)
    monkeypatch.setattr(copying, 'encode', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_copies(videos, tmp_path / 'out', SMALL, num_workers=0)
    assert len(encoded) == 2 and not list((tmp_path / 'out').glob('.copies-*'))
    monkeypatch.setattr(copying, 'encode', real)
    made = make_copies(videos, tmp_path / 'out', SMALL, num_workers=0)
    assert (made.done, made.found, len(encoded)) == (2, 2, 4) and len(set(encoded)) == 4
    again = make_copies(videos, tmp_path / 'out', SMALL, num_workers=0)
    assert (again.done, again.found, len(encoded)) == (0, 4, 4)
    assert not list((tmp_path / 'out').glob('*.unfinished'))


def test_what_a_killed_process_left_is_made_again_or_removed(videos, tmp_path, encoded):
    make_copies(videos, tmp_path / 'out', SMALL, num_workers=0)
    (tmp_path / 'out' / 'copies.json').unlink()  # copies that nothing knows of, but what they say themselves
    left = tmp_path / 'out' / '.copies-0123'
    left.mkdir()
    (left / 'lock').touch()
    (left / 'half.mp4').write_bytes(b'x')
    assert make_copies(videos, tmp_path / 'out', SMALL, num_workers=0).done == 4 and not left.exists()


def test_a_source_or_a_copy_that_has_changed_is_copied_again(videos, tmp_path, encoded):
    make_copies(videos, tmp_path / 'out', SMALL, num_workers=0)
    (tmp_path / 'out' / '1' / '3.mp4').unlink()
    del encoded[:]
    assert make_copies(videos, tmp_path / 'out', SMALL, num_workers=0).done == 1 and encoded == ['3.mp4']
    write_video(videos / '0' / '2.mp4', 9, size=(48, 32))
    with pytest.raises(UsageError, match='holds 1 files that are no copies.*pass --overwrite'):
        make_copies(videos, tmp_path / 'out', SMALL, num_workers=0)
    made = make_copies(videos, tmp_path / 'out', SMALL, num_workers=0, overwrite=True)
    assert made.done == 1 and len(told(tmp_path / 'out' / '0' / '2.mp4')[0]) == 9


def test_nothing_is_replaced_unasked_and_no_video_by_its_own_copy(videos, tmp_path):
    (tmp_path / 'out' / '0').mkdir(parents=True)
    (tmp_path / 'out' / '0' / '0.mp4').write_text('mine')
    for settings in (SMALL, CopySettings(size=(32, 32))):
        with pytest.raises(UsageError, match='first .*/0/0.mp4; pass --overwrite'):
            make_copies(videos, tmp_path / 'out', settings, num_workers=0)
    assert (tmp_path / 'out' / '0' / '0.mp4').read_text() == 'mine'
    for place in (videos, videos / 'fast'):
        with pytest.raises(UsageError, match='so that copies would be copied the next time'):
            make_copies(videos, place, SMALL, num_workers=0, overwrite=True)
    assert make_copies(videos, tmp_path / 'out', SMALL, num_workers=0, overwrite=True).done == 4


def test_neither_videos_nor_lists_are_replaced_when_asked_to_replace(videos, tmp_path):
    names = sorted(str(path.relative_to(videos)) for path in videos.rglob('*.*'))
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'train.txt').write_text(''.join(f'{name} 0\n' for name in names[:1]))
    lists = [tmp_path / folder / 'train.txt' for folder in ('a', 'b')]
    for given, out, why in ((lists, tmp_path / 'out', 'would have one name'),
                            (lists[:1], tmp_path / 'a', 'take its place'),
                            (lists[:1], videos, 'would take the place of')):
        with pytest.raises(UsageError, match=why):
            make_copies(given, out, SMALL, data_dir=str(videos), num_workers=0, overwrite=True)


def test_the_report_keeps_what_was_copied_before(videos, tmp_path):
    names = sorted(str(path.relative_to(videos)) for path in videos.rglob('*.*'))
    for number in (0, 1, 0):
        (tmp_path / f'{number}.txt').write_text(f'{names[number]} 0\n')
        made = make_copies(tmp_path / f'{number}.txt', tmp_path / 'out', SMALL, data_dir=str(videos), num_workers=0)
    assert made.done == 0 and len(json.loads((tmp_path / 'out' / 'copies.json').read_text())['videos']) == 2


def test_shards_share_the_videos_and_the_plain_command_takes_all_over(videos, tmp_path):
    made = [make_copies(videos, tmp_path / 'out', SMALL, num_workers=0, shard=f'{number}/3') for number in (1, 2, 3)]
    assert [one.done for one in made] == [2, 1, 1]
    assert made[1].report.name == 'copies.2-of-3.json'
    whole = make_copies(videos, tmp_path / 'out', SMALL, num_workers=0)
    assert (whole.done, whole.found) == (0, 4)
    assert [path.name for path in (tmp_path / 'out').glob('*.json')] == ['copies.json']


def test_workers_make_the_same_copies(videos, tmp_path):
    folders = [make_copies(videos, tmp_path / f'out{number}', SMALL, num_workers=number).folder for number in (0, 2)]
    contents = [{str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*.mp4')}
                for folder in folders]
    assert len(contents[0]) == 4 and contents[0] == contents[1]


def test_videos_that_differ_in_their_ending_have_copies_of_their_own(tmp_path):
    (tmp_path / 'v').mkdir()
    write_video(tmp_path / 'v' / 'a.mp4', 4)
    write_video(tmp_path / 'v' / 'a.avi', 6, codec='mpeg4')
    made = make_copies(tmp_path / 'v', tmp_path / 'out', SMALL, num_workers=0)
    assert sorted((os.path.basename(record['video']), record['file'], record['frames']) for record in made.videos) == [
        ('a.avi', 'a.mp4', 6), ('a.mp4', 'a.mp4.mp4', 4)]


def test_a_disk_that_is_full_ends_the_command_with_its_cause(videos, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise av.error.OSError(28, 'No space left on device')
    monkeypatch.setattr(av, 'open', lambda path, mode='r', real=av.open, **more:
                        full() if mode == 'w' else real(path, mode, **more))
    assert in_order(videos, '--out', tmp_path / 'out') == 1
    assert 'the disk is full' in capsys.readouterr().err


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(videos, tmp_path, capsys):
    assert in_order(videos, '--out', tmp_path / 'out', '--dry-run', '--short-side', '0') == 0
    said = capsys.readouterr().out
    assert '4 videos are to be copied; nothing was written' in said and 'kB instead of' in said
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('argv, words', [
    (['--size', '340'], "--size must be WIDTHxHEIGHT, such as 340x256, got '340'"),
    (['--size', '341x256'], 'even numbers'), (['--short-side', '7'], '--short-side must be 0 or at least 16'),
    (['--key-frames', '0'], '--key-frames must be 1..1000, got 0'), (['--quality', '52'], '--quality must be 0..51'),
    (['--size', '64x64', '--short-side', '64'], '--size and --short-side'), (['--shard', '3/2'], '--shard 3/2'),
    (['--timeout', '-1'], '--timeout must be 0 or more')])
def test_bad_flags_are_refused_by_name(videos, tmp_path, capsys, argv, words):
    assert in_order(videos, '--out', tmp_path / 'out', *argv) == 2
    assert words in capsys.readouterr().err
    with pytest.raises(UsageError, match='there is no such video, folder or list'):
        make_copies(tmp_path / 'nowhere.txt', tmp_path / 'out')
