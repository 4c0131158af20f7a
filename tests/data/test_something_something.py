"""Something-Something in its official layout: read as it is, checked, and never mirrored."""
from __future__ import annotations

import json
import os

import numpy as np
import pytest
from videos import make_broken, write_frames, write_video

from gluon_action import data
from gluon_action.cli import extract_flow as extraction
from gluon_action.cli import prepare_something_something as command
from gluon_action.cli.command import run
from gluon_action.data.by_name import open_dataset, train_transform
from gluon_action.data.flow.extraction import FlowSettings, extract_flow
from gluon_action.data.flow.find_videos import find_videos
from gluon_action.data.flow.methods import MEAN, STD
from gluon_action.data.lists.annotations import read_annotations
from gluon_action.data.lists.published.something_downloads import prepare
from gluon_action.data.preprocess import Preprocess
from gluon_action.data.somethingsomethingv1 import SomethingSomethingV1
from gluon_action.data.somethingsomethingv1.classification import MIRRORED_LABELS
from gluon_action.errors import AnnotationError, OutputError, UsageError

CLASSES = ['Closing something', 'Pushing something from left to right', 'Pushing something from right to left']
OFFICIAL = {'train': [('11', 1), ('7', 2), ('12', 0)], 'validation': [('4', 2), ('5', 0)]}


@pytest.fixture(scope='module')
def v1(tmp_path_factory):
    """Version 1: folders of JPEGs, 00001.jpg the first, and CSV files with semicolons."""
    root = tmp_path_factory.mktemp('v1')
    for part, rows in OFFICIAL.items():
        (root / f'something-something-v1-{part}.csv').write_text(
            ''.join(f'{name};{CLASSES[label]}\n' for name, label in rows))
        for name, label in rows:
            write_frames(root / 'videos' / name, range(1, 6 + label), pattern='%05d.jpg', size=(48, 32))
    (root / 'something-something-v1-labels.csv').write_text('\n'.join(CLASSES))
    (root / 'something-something-v1-test.csv').write_text('1\n2\n')
    return root


@pytest.fixture(scope='module')
def v2(tmp_path_factory):
    """Version 2: WebM files, and JSON whose templates have brackets and whose numbers are texts."""
    root = tmp_path_factory.mktemp('v2')
    for part, rows in OFFICIAL.items():
        (root / f'something-something-v2-{part}.json').write_text(json.dumps([
            {'id': name, 'label': 'pushing a pen', 'template': CLASSES[label].replace('something', '[something]'),
             'placeholders': ['a pen']} for name, label in rows]))
        for name, label in rows:
            (root / 'videos').mkdir(exist_ok=True)
            write_webm(root / 'videos' / f'{name}.webm', 5 + label)
    labels = {name: str(label) for label, name in enumerate(CLASSES)}
    (root / 'something-something-v2-labels.json').write_text(json.dumps(labels))
    (root / 'something-something-v2-test.json').write_text(json.dumps([{'id': '1'}]))
    return root


def write_webm(path, num_frames):
    return write_video(path, num_frames, codec='libvpx-vp9', size=(48, 32),
                       options={'deadline': 'realtime', 'cpu-used': '8'})


def preset(version):
    return getattr(data, f'SomethingSomethingV{version}')


def official(root, part):
    return str(next(root.glob(f'*-{part}.*')))


@pytest.mark.parametrize('version', [1, 2])
def test_official_lists_are_read_as_they_are(request, version):
    root = request.getfixturevalue(f'v{version}')
    for part, train in (('train', True), ('validation', False)):
        dataset = preset(version)(str(root / 'videos'), official(root, part), train=train, new_length=2, new_width=0)
        assert [(s.key, s.label) for s in dataset.samples] == OFFICIAL[part]
        assert dataset.classes == CLASSES and dataset.num_classes == 3
        assert dataset.load(0)[0].shape == (1, 3, 2, 32, 48)
    assert read_annotations(official(root, 'train')).format == f'somethingsomethingv{version}'


def test_class_names_of_version_1_may_be_given_and_must_be_known(v1, tmp_path):
    (tmp_path / 'train.csv').write_text(f'11;{CLASSES[1]}\n')
    listed = read_annotations(str(tmp_path / 'train.csv'), classes=CLASSES)
    assert listed.samples[0].label == 1 and listed.classes == CLASSES
    (tmp_path / 'labels.csv').write_text('Closing something\n')
    with pytest.raises(AnnotationError, match="train.csv line 1: 'Pushing something .*' is not one of"):
        read_annotations(str(tmp_path / 'train.csv'))


def test_the_test_set_has_no_labels(v1):
    with pytest.raises(AnnotationError, match='v1-test.csv line 1: expected `id;label`.*published without labels'):
        read_annotations(official(v1, 'test'), list_format='somethingsomethingv1')


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('modality', ['rgb', 'flow'])
def test_training_that_mirrors_is_refused_and_other_training_reads_clips(request, tmp_path, version, modality):
    root = request.getfixturevalue(f'v{version}')
    place, looks = root / 'videos', dict(mean=(.5,) * 3, std=(.5,) * 3)
    if modality == 'flow':
        settings = FlowSettings('farneback', short_side=0)
        videos = find_videos([official(root, 'train'), official(root, 'validation')], str(place))
        assert sorted(videos) == ['11', '12', '4', '5', '7']
        report = extract_flow(videos, tmp_path, settings, num_workers=0, name_pattern='%05d.jpg')
        assert report.extracted == 5
        place, looks = tmp_path, dict(mean=MEAN, std=STD)
    name, options = f'somethingsomethingv{version}', dict(modality=modality, new_length=4, data_dir=str(place))
    options |= dict(data_aug='v2', new_height=32, new_width=0)

    def opened(flip_prob):
        transform = train_transform('v2', 28, **looks, new_height=32, flip_prob=flip_prob)
        return open_dataset(name, train=True, setting=official(root, 'train'), transform=transform, **options)

    with pytest.raises(UsageError, match='classes have sides.*--flip-prob 0'):
        opened(0.5)
    dataset = opened(0)
    channels = 2 if modality == 'flow' else 3
    assert [dataset.load(i)[0].shape for i in range(3)] == [(1, channels, 4, 28, 28)] * 3
    assert [dataset.load(i)[1] for i in range(3)] == [1, 2, 0]
    preprocess = Preprocess(layout='NCTHW', modality=modality, offsets=(0, 1, 2, 3), crop=(28, 28), **looks,
                            resize={'short_side': 32}, flow_bound=20 if modality == 'flow' else None)
    val = open_dataset(name, train=False, setting=official(root, 'validation'), transform=preprocess.transform,
                       **options)
    assert val.load(0)[0].shape == (1, channels, 4, 28, 28)


def test_mirrored_videos_may_take_the_other_label(v1):
    transform = train_transform('v2', 28, (.5,) * 3, (.5,) * 3, new_height=32, flip_prob=1)
    mirrored = {name: other for name, other in MIRRORED_LABELS.items() if name in CLASSES}
    dataset = SomethingSomethingV1(str(v1 / 'videos'), official(v1, 'train'), transform=transform, data_aug='v2',
                                   flip_label_map=mirrored)
    assert [dataset.load(i)[1] for i in range(3)] == [2, 1, 0]


# ---------------------------------------------------------------- preparation

def lines(path):
    return path.read_text().splitlines()


@pytest.mark.parametrize('version, expected', [
    (1, (['11 6 1', '7 7 2', '12 5 0'], ['4 7 2', '5 5 0'])),
    (2, (['11.webm 6 1', '7.webm 7 2', '12.webm 5 0'], ['4.webm 7 2', '5.webm 5 0']))])
def test_preparation_counts_frames_and_numbers_classes(request, tmp_path, version, expected):
    root = request.getfixturevalue(f'v{version}')
    found = prepare(version, root, root / 'videos', tmp_path, num_workers=2)
    assert (lines(found.lists['train']), lines(found.lists['val'])) == expected
    assert lines(tmp_path / 'category.txt') == CLASSES
    assert (found.num_videos, found.num_classes, found.failures, found.empty_classes) == (5, 3, [], [])
    assert sorted(os.listdir(tmp_path)) == ['category.txt', 'train_videofolder.txt', 'val_videofolder.txt']
    dataset = preset(version)(str(root / 'videos'), str(found.lists['train']), new_length=3, new_width=0)
    assert (dataset.load(1)[0].shape, dataset.load(1)[1]) == ((1, 3, 3, 32, 48), 2)


@pytest.fixture
def damaged(tmp_path):
    """Version 2 with one video missing and one broken in training, one missing in validation."""
    (tmp_path / 'videos').mkdir()
    write_webm(tmp_path / 'videos/11.webm', 3)
    os.rename(make_broken('garbage', tmp_path), tmp_path / 'videos/7.webm')
    for part, rows in OFFICIAL.items():
        (tmp_path / f'{part}.json').write_text(json.dumps([{'id': int(name), 'template': CLASSES[label]}
                                                           for name, label in rows]))
    write_webm(tmp_path / 'videos/5.webm', 3)
    (tmp_path / 'labels.json').write_text(json.dumps({name: k for k, name in enumerate(CLASSES)}))
    return tmp_path


def test_what_is_missing_is_listed_left_out_of_training_and_kept_in_validation(damaged, capsys):
    argv = ['--version', '2', '--lists', str(damaged), '--data-dir', str(damaged / 'videos'), '--out',
            str(damaged / 'out'), '-j', '0']
    assert run(command.parse_args, command.main, argv) == 1
    printed = capsys.readouterr().out
    assert '5 videos of 3 classes, 3 of them missing or broken' in printed
    assert '2 classes have no training video, first: Closing something' in printed
    assert lines(damaged / 'out/train_videofolder.txt') == ['11.webm 3 1']
    assert lines(damaged / 'out/val_videofolder.txt') == ['4 0 2', '5.webm 3 0']
    failures = [json.loads(line) for line in lines(damaged / 'out/failures.jsonl')]
    assert [(f['split'], os.path.basename(f['path'])) for f in failures] == \
        [('train', '12'), ('train', '7.webm'), ('val', '4')]
    assert 'does not exist' in failures[0]['error'] and 'not a video' in failures[1]['error']


def test_preparation_says_what_comes_next(v1, tmp_path, capsys):
    argv = ['--version', '1', '--lists', str(v1), '--data-dir', str(v1 / 'videos'), '--out', str(tmp_path)]
    assert run(command.parse_args, command.main, argv) == 0
    printed = capsys.readouterr().out
    assert f'--dataset somethingsomethingv1 --train-list {tmp_path}/train_videofolder.txt' in printed
    assert printed.count('--flip-prob 0') == 2
    line = next(line for line in printed.splitlines() if 'extract_flow.py' in line)
    flow_argv = [*line.split()[1:], '--method', 'farneback', '--short-side', '0', '-j', '0']
    assert run(extraction.parse_args, extraction.main, flow_argv) == 0
    assert sorted(os.listdir(tmp_path / 'flow')) == ['11', '12', '4', '5', '7']
    flow = SomethingSomethingV1(str(tmp_path / 'flow'), str(tmp_path / 'train_videofolder.txt'), modality='flow',
                                new_length=9, new_width=0)
    clip = flow.load(1)[0][0]  # of 7 frames, so the last of 6 images stays
    assert clip.shape == (2, 9, 32, 48) and all(np.array_equal(clip[:, 5], clip[:, k]) for k in (6, 7, 8))


def test_lists_that_are_there_are_replaced_on_demand_only(v1, tmp_path):
    prepare(1, v1, v1 / 'videos', tmp_path)
    with pytest.raises(OutputError, match='holds train_videofolder.txt and val_videofolder.txt already.*--overwrite'):
        prepare(1, v1, v1 / 'videos', tmp_path)
    prepare(1, v1, v1 / 'videos', tmp_path, overwrite=True)


def test_a_video_in_both_lists_is_refused(damaged):
    (damaged / 'validation.json').write_text((damaged / 'train.json').read_text())
    with pytest.raises(AnnotationError, match='validation.json entry 1: video 11 is in the training list too'):
        prepare(2, damaged, damaged / 'videos', damaged / 'out')


@pytest.mark.parametrize('arguments, message', [
    ((3, 'lists', 'videos'), 'there are versions 1 and 2'),
    ((1, 'lists', 'nowhere'), 'nowhere: there is no such folder; --data-dir'),
    ((1, 'videos', 'videos'), 'no file is named like something-something-v1-labels.csv; --lists'),
    ((2, 'lists', 'videos'), 'no file is named like something-something-v2-labels.json')])
def test_folders_that_hold_something_else_are_refused(v1, tmp_path, arguments, message):
    version, lists, videos = arguments
    with pytest.raises(UsageError, match=message):
        prepare(version, v1 if lists == 'lists' else v1 / lists, v1 / videos, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('flags', [('-j', '-1'), ('--decode-timeout', 'nan'), ('--version', '3')])
def test_flags_that_cannot_be_are_bad_usage(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        command.parse_args(['--version', '1', '--lists', 'a', '--data-dir', 'b', '--out', 'c', *flags])
    assert stop.value.code == 2 and capsys.readouterr().err
