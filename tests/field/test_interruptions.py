"""Tests that were interrupted: nothing that was scored is lost, and nothing else is believed."""
import contextlib
import json
import logging
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from small_tests import results_of, start, warnings_of

from gluon_action.data.video_dataset import VideoClsCustom
from gluon_action.evaluate.scores.files import read_scores
from gluon_action.unfinished import Unfinished

MODEL = tiny.NAME


pytestmark = pytest.mark.usefixtures('tiny_network')


@contextlib.contextmanager
def reading(monkeypatch, stop_at=None, look=lambda: None):
    """Count the videos that are read; at the `stop_at`-th the user presses Ctrl-C."""
    read, load = [], VideoClsCustom.load_frames

    def watched(self, index):
        look()
        if len(read) == stop_at:
            raise KeyboardInterrupt
        read.append(index)
        return load(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(VideoClsCustom, 'load_frames', watched)
        yield read


def unfinished(folder):
    path = Path(folder) / 'scores.unfinished'
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


@pytest.fixture
def argv(demo_appearance, params8, tmp_path):
    return ['--model', MODEL, '--dataset', 'custom', '--data-dir', demo_appearance.video_dir, '--val-list',
            demo_appearance.val_list, '--resume-params', params8, '--input-size', 32, '--new-height', 48, '--new-width',
            64, '-j', 0, '--batch-size', 1, '--save-dir', tmp_path / 'out']


def test_an_interrupted_test_goes_on_where_it_stood_and_gives_the_same(argv, tmp_path, monkeypatch, caplog):
    assert start(*argv[:-1], tmp_path / 'whole') == 0
    assert 'scores.unfinished' not in os.listdir(tmp_path / 'whole')
    caplog.set_level(logging.INFO)
    kept = []
    with reading(monkeypatch, stop_at=6, look=lambda: kept.append(len(unfinished(tmp_path / 'out')))) as read:
        assert start(*argv) == 130
    # What is scored is with the system while the next video is read, so that a SIGKILL leaves it as well.
    assert kept == [0, 0, 2, 3, 4, 5, 6] and read == list(range(6))
    assert 'the same command resumes with the other videos' in caplog.text
    assert 'results.json' not in os.listdir(tmp_path / 'out')
    lines = len(unfinished(tmp_path / 'out')) - 1
    with reading(monkeypatch) as read:
        assert start(*argv) == 0
    assert read == list(range(lines, 16)) and f'{lines} of 16 videos were scored before' in caplog.text
    whole, resumed = read_scores(tmp_path / 'whole'), read_scores(tmp_path / 'out')
    assert whole.keys == resumed.keys and (whole.labels == resumed.labels).all()
    np.testing.assert_array_equal(whole.scores, resumed.scores)
    same = ('top1', 'top5', 'mean_class', 'loss', 'n_expected', 'n_scored')
    assert [results_of(tmp_path / 'whole')[name] for name in same] == [results_of(tmp_path / 'out')[name]
                                                                     for name in same]
    assert 'scores.unfinished' not in os.listdir(tmp_path / 'out')


def test_what_another_test_left_is_not_gone_on_from(argv, params8, tmp_path, monkeypatch, capsys):
    with reading(monkeypatch, stop_at=5):
        assert start(*argv) == 130
    before = unfinished(tmp_path / 'out')
    for other in (['--num-segments', 2], ['--use-softmax'], ['--new-height', 50], ['--on-damage', 'raise'],
                  ['--resume-params', tiny.save_tiny(tmp_path, 8, 2)[0]]):
        assert start(*argv, *other) == 2
        assert 'scores.unfinished: is of another test' in capsys.readouterr().err
    assert unfinished(tmp_path / 'out') == before
    with reading(monkeypatch) as read:
        assert start(*argv, '--num-segments', 2, '--overwrite') == 0
    assert len(read) == 16


def test_torn_changed_and_forged_lines_are_scored_again(argv, demo_appearance, tmp_path, monkeypatch):
    videos = shutil.copytree(demo_appearance.video_dir, tmp_path / 'videos')
    argv[argv.index('--data-dir') + 1] = videos
    with reading(monkeypatch, stop_at=9):
        assert start(*argv) == 130
    header, *lines = unfinished(tmp_path / 'out')
    assert len(lines) >= 6
    first = videos / json.loads(lines[0])['key']
    first.write_bytes(first.read_bytes() + b'\0')  # its scores were those of another file
    forged = [{**json.loads(lines[1]), 'scores': 'AAAA'}, {**json.loads(lines[2]), 'index': 10 ** 9},
              {**json.loads(lines[3]), 'key': 'other.mp4'}]
    kept = lines[0] + b''.join(json.dumps(line).encode() + b'\n' for line in forged) + lines[4] + lines[5][:-20]
    (tmp_path / 'out' / 'scores.unfinished').write_bytes(header + kept)
    with reading(monkeypatch) as read:
        assert start(*argv) == 0
    assert read == [0, 1, 2, 3, *range(5, 16)]
    assert results_of(tmp_path / 'out')['n_scored'] == 16


def test_a_video_that_failed_before_the_interruption_is_tried_again(argv, demo_appearance, tmp_path, monkeypatch):
    rows = demo_appearance.val_list.read_text().splitlines()
    (tmp_path / 'list.txt').write_text('\n'.join(['gone.mp4 5 1', *rows[:5]]))
    argv[argv.index('--val-list') + 1] = tmp_path / 'list.txt'
    with reading(monkeypatch, stop_at=5):
        assert start(*argv) == 130
    with reading(monkeypatch) as read:
        assert start(*argv, '--failure-limit', 1) == 0
    assert read[0] == 0 and results_of(tmp_path / 'out')['n_failed'] == 1


def test_where_nothing_can_be_kept_a_test_goes_on_and_says_so_once(argv, tmp_path, caplog):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'scores.unfinished').symlink_to(tmp_path / 'somewhere')  # which is not followed
    assert start(*argv) == 0
    assert sum('if this is interrupted now, it starts anew' in line for line in warnings_of(caplog)) == 1
    assert not (tmp_path / 'somewhere').exists() and results_of(tmp_path / 'out')['n_scored'] == 16


def test_a_disk_with_room_for_a_part_of_a_line_tears_none(tmp_path, caplog):
    kept = Unfinished(tmp_path / 'x', {'job': 1})
    kept.add({'number': 1})
    before, limits = (tmp_path / 'x').read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        for number in (2, 3):
            kept.add({'number': number})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept.add({'number': 4})
    kept.close()
    assert (tmp_path / 'x').read_bytes() == before
    assert sum('if this is interrupted now, it starts anew' in line for line in warnings_of(caplog)) == 1
    assert Unfinished(tmp_path / 'x', {'job': 1}).done == [{'number': 1}]
