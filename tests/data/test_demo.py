"""Generated data sets: real files, lists that others' readers know, classes that mean what they say."""
from __future__ import annotations

import hashlib
import os
from pathlib import Path

import av
import numpy as np
import pytest

from gluon_action.data.by_name import open_dataset
from gluon_action.data.demo.make import find_demo, make_demo, make_demo_flow, render_motion
from gluon_action.data.demo.moving_texture import CLASSES, LIFETIME, render_two_stream
from gluon_action.data.flow.methods import dequantize, to_gray
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import OutputError, UsageError

SMALL = dict(train_per_class=1, val_per_class=1, size=(48, 36), num_frames=6)


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)])


def digests(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob('*')) if path.is_file()}


@pytest.mark.parametrize('name, num_classes', [('demo_appearance', 8), ('demo_motion', 4), ('demo_two_stream', 4)])
def test_lists_name_real_h264_videos_of_the_stated_length(name, num_classes, request):
    data = request.getfixturevalue(name)
    assert len(data.classes) == num_classes and list(data.classes) == sorted(data.classes)
    for lines, per_class in ((data.train_list, 3), (data.val_list, 2)):
        entries = [line.split() for line in lines.read_text().splitlines()]
        assert [int(label) for _, _, label in entries] == [k for k in range(num_classes) for _ in range(per_class)]
        for path, _, label in entries:
            assert Path(path).parent.name == data.classes[int(label)]
        path, num_frames, _ = entries[-1]
        with av.open(str(data.video_dir / path)) as container:
            assert container.streams.video[0].codec_context.name == 'h264'
        assert frames_of(data.video_dir / path).shape == (int(num_frames), 64, 86, 3)


def test_lists_in_the_look_of_ucf101_name_the_same_videos(demo_motion):
    ours = [line.split() for line in demo_motion.train_list.read_text().splitlines()]
    official = [line.split() for line in demo_motion.ucf_train_list.read_text().splitlines()]
    assert [(path, int(label) + 1) for path, _, label in ours] == [(path, int(label)) for path, label in official]
    assert demo_motion.ucf_test_list.read_text().split() == \
        [line.split()[0] for line in demo_motion.val_list.read_text().splitlines()]
    assert demo_motion.class_ind.read_text().splitlines()[0] == f'1 {demo_motion.classes[0]}'
    groups = [{Path(path).stem.split('_')[2] for path in lines.read_text().split() if path.endswith('.mp4')}
              for lines in (demo_motion.ucf_train_list, demo_motion.ucf_test_list)]
    assert groups[0].isdisjoint(groups[1])


def test_clips_of_one_number_in_demo_motion_hold_the_same_pictures_in_another_order(demo_motion):
    for line in demo_motion.val_list.read_text().splitlines()[:2]:
        name = Path(line.split()[0]).name
        clips = {cls: frames_of(demo_motion.video_dir / cls / name.replace('ScrollDownFast', cls))
                 for cls in demo_motion.classes}
        pictures = [sorted(frame.tobytes() for frame in clip) for clip in clips.values()]
        assert all(other == pictures[0] for other in pictures)  # decoded pixels, so the encoder tells nothing either
        assert len(set(pictures[0])) == len(pictures[0])
        assert len({clip.tobytes() for clip in clips.values()}) == len(clips)
        for speed in ('Fast', 'Slow'):
            assert (clips[f'ScrollDown{speed}'] == clips[f'ScrollUp{speed}'][::-1]).all()


def test_a_scrolling_picture_has_no_seam_that_would_tell_how_far_it_scrolled():
    inside, seam = [], []
    for clip in range(40):
        frames = render_motion(np.random.default_rng(clip), 1, 8, 48, 32)
        assert all((np.roll(frame, 4, axis=0) == after).all() for frame, after in zip(frames, frames[1:]))
        rows = frames[0].astype(int)
        inside.append(abs(np.diff(rows, axis=0)).mean())
        seam.append(abs(rows[0] - rows[-1]).mean())
    assert 0.8 < np.mean(seam) / np.mean(inside) < 1.25


# ---------------------------------------------------------------- demo_two_stream

@pytest.fixture(scope='module')
def demo_two_stream(tmp_path_factory):
    return make_demo('demo_two_stream', tmp_path_factory.mktemp('two'), train_per_class=3, val_per_class=2, size=64,
                     num_frames=12)


@pytest.fixture(scope='module')
def two_streams(tmp_path_factory):
    """Of 40 videos: is it red, does it go up, mean flow (x, y) in pixels, mean RGB, mean brightness, its deviation."""
    data = make_demo('demo_two_stream', tmp_path_factory.mktemp('streams'), train_per_class=8, val_per_class=2,
                     size=64, num_frames=10)
    flow_dir = make_demo_flow(data)
    rows = []
    for line in data.train_list.read_text().splitlines() + data.val_list.read_text().splitlines():
        path, _, label = line.split()
        frames = frames_of(data.video_dir / path)
        gray = np.stack([to_gray(frame) for frame in frames])
        with VideoReader(flow_dir / path[:-4], modality='flow') as reader:
            flow = 4 * dequantize(reader.read(range(9))).mean((0, 1, 2))
        name = data.classes[int(label)]
        rows.append([name.startswith('Red'), name.endswith('Up'), *flow, *frames.mean((0, 1, 2)), gray.mean(),
                     gray.std()])
    return np.array(rows, float).T


def best_threshold(values, is_class):
    right = [((values > place) == is_class).mean() for place in values]
    return max(*right, *(1 - share for share in right))


def test_optical_flow_of_two_streams_tells_the_direction_and_not_the_colour(two_streams):
    red, up, x, y = two_streams[:4]
    assert ((y < 0) == up).mean() > 0.95 and 0.8 < np.abs(y).min() and np.abs(y).max() < 2.2
    assert np.abs(x).max() < 0.7
    for values in (x, y, np.abs(y)):
        assert best_threshold(values, red) < 0.65


def test_colours_of_two_streams_tell_the_class_and_brightness_does_not(two_streams):
    red, up, _, _, r, g, b, brightness, contrast = two_streams
    assert ((r > g) == red).mean() == 1
    for values in (brightness, contrast):
        assert best_threshold(values, red) < 0.65 and best_threshold(values, up) < 0.65
    for values in (r - g, b - g):
        assert best_threshold(values[red == 1], up[red == 1]) < 0.75


def likeness(one, other):
    """Mean correlation of frames (T, H, W) at the shift where it is largest."""
    one, other = (np.fft.fft2(frames - frames.mean((1, 2), keepdims=True)) for frames in (one, other))
    scale = np.sqrt((np.abs(one) ** 2).sum((1, 2)) * (np.abs(other) ** 2).sum((1, 2)))
    return (np.fft.ifft2(one * other.conj()).real * one[0].size / scale[:, None, None]).mean(0).max()


def test_frames_of_two_streams_far_apart_are_as_alike_as_those_of_two_videos_and_neighbours_nearly_equal():
    clips = [render_two_stream(np.random.default_rng(clip), 0, 40, 64, 48).mean(-1) for clip in range(9)]
    near, far = (np.mean([likeness(clip[gap:], clip[:-gap]) for clip in clips]) for gap in (1, LIFETIME))
    chance = np.mean([likeness(one[LIFETIME:], other[:-LIFETIME]) for one, other in zip(clips, clips[1:])])
    assert 0.75 < near < 0.9 and abs(far - chance) < 0.03


def test_clips_of_one_number_in_two_streams_differ_in_tint_and_order_alone():
    clips = {name: render_two_stream(np.random.default_rng(7), label, 10, 40, 32) for label, name in enumerate(CLASSES)}
    gray = {name: np.stack([to_gray(frame) for frame in clip]).astype(int) for name, clip in clips.items()}
    for color in ('Green', 'Red'):
        np.testing.assert_array_equal(clips[f'{color}Up'], clips[f'{color}Down'][::-1])
    assert np.abs(gray['RedDown'] - gray['GreenDown']).max() <= 1
    assert all(0 < clip.min() and clip.max() < 255 for clip in clips.values())  # nothing is cut off


def test_the_flow_of_a_demo_is_made_when_it_is_asked_for_and_kept(demo_two_stream):
    options = dict(data_dir=str(demo_two_stream.root), new_length=4, new_width=0, new_height=0)
    rgb, flow = (open_dataset('demo_two_stream', train=False, modality=modality, **options)
                 for modality in ('rgb', 'flow'))
    assert [sample.label for sample in rgb.samples] == [sample.label for sample in flow.samples]
    assert (rgb.load(0)[0].shape, flow.load(0)[0].shape) == ((1, 3, 4, 64, 86), (1, 2, 4, 64, 86))
    assert flow.classes == list(CLASSES)
    before = {path: path.stat().st_mtime_ns for path in demo_two_stream.flow_dir.rglob('*')}
    assert len(open_dataset('demo_two_stream', train=True, modality='flow', **options)) == 12
    assert {path: path.stat().st_mtime_ns for path in demo_two_stream.flow_dir.rglob('*')} == before


def test_equal_settings_give_equal_bytes_and_another_seed_others(tmp_path):
    first = make_demo('demo_appearance', tmp_path / 'a', **SMALL)
    make_demo('demo_appearance', tmp_path / 'b', **SMALL)
    make_demo('demo_appearance', tmp_path / 'c', seed=1, **SMALL)
    a, b, c = (digests(tmp_path / name) for name in 'abc')
    assert a == b and first.root == tmp_path / 'a'
    videos = [name for name in a if name.endswith('.mp4')]
    assert len(videos) == 16 and all(a[name] != c[name] for name in videos)


def test_a_second_call_keeps_what_is_there_and_makes_what_is_missing(tmp_path):
    data = make_demo('demo_motion', tmp_path, **SMALL)
    before = digests(tmp_path)
    kept, lost = (data.video_dir / line.split()[0] for line in data.train_list.read_text().splitlines()[:2])
    inode = kept.stat().st_mtime_ns
    lost.unlink()
    assert make_demo('demo_motion', tmp_path, **SMALL) == data
    assert digests(tmp_path) == before
    assert kept.stat().st_mtime_ns == inode


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(OutputError, match='is not empty'):
        make_demo('demo_motion', tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    make_demo('demo_motion', tmp_path, **SMALL)
    before = digests(tmp_path)
    with pytest.raises(OutputError, match="made with other settings.*'seed': 0.*'seed': 5"):
        make_demo('demo_motion', tmp_path, seed=5, **SMALL)
    assert digests(tmp_path) == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='file/demo: the demo data could not be written'):
        make_demo('demo_motion', tmp_path / 'file' / 'demo', **SMALL)


def test_a_failed_encoding_leaves_no_half_video(tmp_path, monkeypatch):
    from gluon_action.data.demo import make as demo

    def full_disk(path, frames, options):
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(demo, '_write_h264', full_disk)
    with pytest.raises(OutputError, match='No space left on device'):
        make_demo('demo_motion', tmp_path, **SMALL)
    assert [name for name in digests(tmp_path) if name != 'demo.json'] == []


@pytest.mark.parametrize('arguments, words', [
    (dict(name='demo_colour'), "unknown demo data 'demo_colour'; there are demo_appearance, demo_motion, demo_two"),
    (dict(size=(47, 36)), 'even sides of 32 or more pixels, got 47x36'),
    (dict(size=16), 'got 22x16'),
    (dict(num_frames=2), 'num_frames >= 4'),
    (dict(val_per_class=0), 'val_per_class >= 1'),
])
def test_settings_that_cannot_be_are_refused_before_anything_is_written(tmp_path, arguments, words):
    with pytest.raises(UsageError, match=words):
        make_demo(**{'name': 'demo_motion', 'root': tmp_path / 'demo', **SMALL, **arguments})
    assert not (tmp_path / 'demo').exists()


def test_classes_of_demo_appearance_do_not_differ_in_colour(demo_appearance):
    means = {}
    for line in demo_appearance.train_list.read_text().splitlines():
        path, _, label = line.split()
        means.setdefault(int(label), []).append(frames_of(demo_appearance.video_dir / path).mean((0, 1, 2)))
    spread_within = np.mean([np.std(values, axis=0) for values in means.values()])
    spread_between = np.std([np.mean(values, axis=0) for values in means.values()], axis=0).mean()
    assert spread_between < 1.5 * spread_within


def test_the_command_says_where_everything_is(tmp_path, capsys):
    from gluon_action.cli.command import run
    from gluon_action.cli.make_demo_data import main, parse_args
    flags = f'demo_motion --root {tmp_path} --train-per-class 1 --val-per-class 1 --size 36 --num-frames 6 --seed 3'
    assert run(parse_args, main, flags.split()) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / 'demo_motion' / 'videos') in printed and '4 classes' in printed
    assert run(parse_args, main, ['demo_nothing', '--root', str(tmp_path)]) == 2
    assert 'unknown demo data' in capsys.readouterr().err


def test_the_command_refuses_a_read_only_place(tmp_path, capsys):
    if os.geteuid() == 0:
        pytest.skip('root may write anywhere')
    from gluon_action.cli.command import run
    from gluon_action.cli.make_demo_data import main, parse_args
    tmp_path.chmod(0o500)
    assert run(parse_args, main, ['demo_motion', '--root', str(tmp_path / 'demo')]) == 1
    assert 'could not be written' in capsys.readouterr().err


def test_finished_data_of_other_settings_are_found_as_they_are(tmp_path):
    made = make_demo('demo_motion', tmp_path, **SMALL)
    assert find_demo('demo_motion', tmp_path) == made
    assert find_demo('demo_appearance', tmp_path) is None
    made.ucf_test_list.unlink()
    assert find_demo('demo_motion', tmp_path) is None
