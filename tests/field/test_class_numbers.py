"""Classes that are called by numbers, and scores that say nothing: which class is meant, and what counts as a hit."""
import numpy as np
import pytest

from gluon_action.data.lists.annotations import read_annotations
from gluon_action.evaluate.scores.metrics import ClassificationMeter


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'x')


def listed(path, text, **options):
    path.write_text(text)
    return [sample.label for sample in read_annotations(str(path), **options).samples]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_folders_that_are_numbered_are_the_classes_of_these_numbers(tmp_path, split):
    """In the order of the alphabet, folder 10 is class 2 (NVIDIA/DIGITS#665)."""
    touch(tmp_path, *(f'train/{number}/a.mp4' for number in range(12)), 'val/10/b.mp4', 'val/2/c.mp4')
    videos = read_annotations(str(tmp_path), split=split)
    assert videos.classes == [str(number) for number in range(12)]
    assert {sample.key.split('/')[0]: sample.label for sample in videos.samples} == {
        str(number): number for number in (range(12) if split == 'train' else (2, 10))}


def test_a_validation_list_of_numbers_means_the_folders_of_these_numbers(tmp_path, caplog):
    touch(tmp_path, *(f'train/{number}/a.mp4' for number in range(12)))
    classes = read_annotations(str(tmp_path / 'train')).classes
    assert listed(tmp_path / 'val.txt', 'x.mp4 10\ny.mp4 2\n', split='val', classes=classes) == [10, 2]
    assert not caplog.text


def test_folders_that_are_numbered_from_1_beside_a_list_of_numbers_are_warned_of(tmp_path, caplog):
    touch(tmp_path, *(f'train/{number}/a.mp4' for number in range(1, 12)))
    classes = read_annotations(str(tmp_path / 'train')).classes
    assert classes == [str(number) for number in range(1, 12)] and not caplog.text
    assert listed(tmp_path / 'val.txt', 'x.mp4 10\ny.mp4 2\n', split='val', classes=classes, label_base=1) == [9, 1]
    assert not caplog.text
    listed(tmp_path / 'val.txt', 'x.mp4 10\ny.mp4 2\n', split='val', classes=classes)
    assert 'val.txt line 1: label 10 is taken for the number of a class, which is called 11, and another' in caplog.text
    assert 'if the list means names, which run from 1, pass --label-base 1' in caplog.text


@pytest.mark.parametrize('score', [0., 1., float('nan'), float('inf'), -float('inf')])
def test_a_network_that_says_the_same_of_every_class_is_right_by_chance_only(score):
    """tf.nn.in_top_k counts every class as the best then (tensorflow/tensorflow#13005, NVIDIA-Merlin/models#617)."""
    meter = ClassificationMeter(10)
    meter.update(np.full((100, 10), score), np.arange(100) % 10)
    assert meter.top(1) <= 0.1 and meter.top(5) <= 0.5


def test_a_score_that_is_no_number_is_no_hit():
    scores = np.eye(4)
    scores[2, 2] = np.nan
    meter = ClassificationMeter(4, top_k=(1, 3))
    meter.update(scores, np.arange(4))
    assert meter.top(1) == 0.75 and meter.top(3) == 0.75
