"""Generated data sets: real files, lists that others' readers know, classes that mean what they say."""
from __future__ import annotations

import hashlib
import os
from pathlib import Path

import av
import numpy as np
import pytest

from gluon_action.data.demo import find_demo, make_demo, render_motion
from gluon_action.errors import OutputError, UsageError

SMALL = dict(train_per_class=1, val_per_class=1, size=(48, 36), num_frames=6)


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)])


def digests(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob('*')) if path.is_file()}


@pytest.mark.parametrize('name, num_classes', [('demo_appearance', 8), ('demo_motion', 4)])
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
    from gluon_action.data import demo

    def full_disk(path, frames, options):
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(demo, '_write_h264', full_disk)
    with pytest.raises(OutputError, match='No space left on device'):
        make_demo('demo_motion', tmp_path, **SMALL)
    assert [name for name in digests(tmp_path) if name != 'demo.json'] == []


@pytest.mark.parametrize('arguments, words', [
    (dict(name='demo_colour'), "unknown demo data 'demo_colour'; there are demo_appearance, demo_motion, demo_two_stream"),
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
