"""Lists are written for the copies: the same rows and columns with the new paths, in every format."""
from __future__ import annotations

import json
import os
import shutil

import pytest
from videos import write_video

from gluon_action.data.fast_copies.copying import make_copies
from gluon_action.data.fast_copies.settings import CopySettings
from gluon_action.data.lists.annotations import read_annotations
from gluon_action.errors import AnnotationError, UsageError

NAMES = ('jump/a.avi', 'jump/b.mp4', 'run/c d.webm', 'run/e.mkv')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Videos, which all have the same few frames; what they are called does not matter to a reader."""
    root = tmp_path_factory.mktemp('lists')
    one = write_video(root / 'one.mp4', 3, size=(32, 32))
    for name in NAMES:
        (root / 'v' / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one, root / 'v' / name)
    return root


def moved(made, tmp_path, text, name='list.txt', **reading):
    """Path of the list that belongs to the copies."""
    setting = tmp_path / name
    setting.write_text(text)
    found = make_copies(setting, tmp_path / 'out', CopySettings(short_side=0), data_dir=str(made / 'v'), num_workers=0,
                        **reading)
    assert found.failed == 0, found.told()
    return found.lists[0]


def rows(setting, root, **reading):
    found = read_annotations(str(setting), str(root), split='val', must_exist=True, **reading)
    return found.classes, [(os.path.splitext(os.path.relpath(sample.path, root))[0], sample.label, sample.num_frames,
                            sample.start, sample.end, sample.first, sample.last) for sample in found.samples]


@pytest.mark.parametrize('name, before, after', [
    ('l.txt', 'jump/a.avi 0\nrun/e.mkv 1\n', 'jump/a.mp4 0\nrun/e.mp4 1\n'),
    ('l.txt', '# mine\n\njump/a 3 0\nrun/e 3 1\n', '# mine\n\njump/a.mp4 3 0\nrun/e.mp4 3 1\n'),
    ('l.csv', 'label,path\njump,jump/a.avi\nrun,"run/c d.webm"\n', 'label,path\njump,jump/a.mp4\nrun,"run/c d.mp4"\n'),
    ('l.csv', 'path,start,end,label,more\njump/a.avi,0.04,0.1,0,a.avi\njump/a.avi,,0.04,0,\nrun/e.mkv,,,1,\n',
     'path,start,end,label,more\njump/a.mp4,0.04,0.1,0,a.avi\njump/a.mp4,,0.04,0,\nrun/e.mp4,,,1,\n'),
    ('l.csv', 'path,start_frame,end_frame,label\nrun/e.mkv,1,2,1\njump/b.mp4,0,2,0\n',
     'path,start_frame,end_frame,label\nrun/e.mp4,1,2,1\njump/b.mp4,0,2,0\n'),
    ('l.csv', 'path;label;split\njump/a.avi;0;train\nrun/e.mkv;1;val\n',
     'path;label;split\njump/a.mp4;0;train\nrun/e.mp4;1;val\n'),
    ('l.csv', 'label,path\njump/a.avi,jump/a.avi\nrun/e.mkv,run/e.mkv\n', None)])
def test_a_list_keeps_its_lines_but_for_the_paths(made, tmp_path, name, before, after):
    found = moved(made, tmp_path, before, name)
    assert found == tmp_path / 'out' / name
    if after is not None:
        assert found.read_text() == after
        assert rows(found, tmp_path / 'out') == rows(tmp_path / name, made / 'v')


def test_a_list_whose_paths_stay_is_the_very_same_file(made, tmp_path):
    text = '\ufeffpath,label\r\njump/b.mp4,0\r\n'
    assert moved(made, tmp_path, text, 'l.csv').read_text() == (tmp_path / 'l.csv').read_text()
    assert (tmp_path / 'out' / 'l.csv').read_bytes() == (tmp_path / 'l.csv').read_bytes()


@pytest.mark.parametrize('content', [
    [{'path': 'jump/a.avi', 'label': 'jump', 'start': 0.04}, {'path': 'run/e.mkv', 'label': 'run', 'note': 'run/e'}],
    {'jump/a.avi': 0, 'run/e.mkv': 1}, {'jump/a.avi': {'label': 'x'}, 'run/e': {'label': 'y'}}])
def test_json_keeps_its_entries(made, tmp_path, content):
    found = moved(made, tmp_path, json.dumps(content), 'l.json')
    after = json.loads(found.read_text())
    assert type(after) is type(content) and len(after) == 2 and rows(found, tmp_path / 'out') == rows(
        tmp_path / 'l.json', made / 'v')
    if isinstance(content, list):
        assert after == [{**content[0], 'path': 'jump/a.mp4'}, {**content[1], 'path': 'run/e.mp4'}]


def test_several_labels_and_names_of_classes_beside_a_list_come_along(made, tmp_path):
    (tmp_path / 'class_names.txt').write_text('jumping\nrunning\nresting\n')
    found = moved(made, tmp_path, 'jump/a.avi 0 2\nrun/e.mkv 1\n', multi_label=True, list_format='multi_label')
    assert found.read_text() == 'jump/a.mp4 0 2\nrun/e.mp4 1\n'
    classes, said = rows(found, tmp_path / 'out', multi_label=True, list_format='multi_label')
    assert classes == ['jumping', 'running', 'resting'] and [row[1] for row in said] == [(0, 2), (1,)]


def test_a_list_of_ucf101_stays_one(made, tmp_path):
    (tmp_path / 'classInd.txt').write_text('1 jump\n2 run\n')
    found = moved(made, tmp_path, 'jump/a.avi 1\nrun/e.mkv 2\n', 'trainlist01.txt')
    assert found.read_text() == 'jump/a.mp4 1\nrun/e.mp4 2\n'
    assert rows(found, tmp_path / 'out') == rows(tmp_path / 'trainlist01.txt', made / 'v')


def test_a_list_that_names_no_files_becomes_a_table_where_its_lines_would_not_do(made, tmp_path):
    setting = tmp_path / 'splits'
    setting.mkdir()
    name = 'Walk_run_f_cm_np1_fr_goo_0.avi'
    (tmp_path / 'v' / 'run').mkdir(parents=True)
    shutil.copy(made / 'one.mp4', tmp_path / 'v' / 'run' / name)
    (setting / 'run_test_split1.txt').write_text(f'{name} 1\n')
    found = make_copies(setting, tmp_path / 'out', CopySettings(short_side=0), data_dir=str(tmp_path / 'v'),
                        num_workers=0, list_format='hmdb51')
    assert found.lists == [tmp_path / 'out' / 'splits.csv']
    sample, = read_annotations(str(found.lists[0]), str(tmp_path / 'out'), must_exist=True).samples
    assert sample.path.endswith('out/run/Walk_run_f_cm_np1_fr_goo_0.mp4')


def test_labels_from_1_stay_so(made, tmp_path):
    found = moved(made, tmp_path, 'jump/a.avi 1\nrun/e.mkv 2\n')
    assert found.read_text() == 'jump/a.mp4 1\nrun/e.mp4 2\n'
    with pytest.raises(AnnotationError, match='--label-base 1'):
        read_annotations(str(found), str(tmp_path / 'out'))


def test_paths_from_elsewhere_lie_below_the_copies(made, tmp_path):
    setting = tmp_path / 'l.txt'
    setting.write_text(f'{made}/v/jump/a.avi 0\n{made}/v/run/e.mkv 1\n')
    found = make_copies(setting, tmp_path / 'out', CopySettings(short_side=0), num_workers=0)
    inside = str(made).lstrip('/')
    assert found.lists[0].read_text() == f'{inside}/v/jump/a.mp4 0\n{inside}/v/run/e.mp4 1\n'
    assert len(read_annotations(str(found.lists[0]), str(tmp_path / 'out'), must_exist=True).samples) == 2


def test_rows_of_videos_that_failed_stay_and_are_told(made, tmp_path):
    shutil.copytree(made / 'v', tmp_path / 'v')
    (tmp_path / 'v' / 'bad.avi').write_bytes(b'garbage' * 99)
    (tmp_path / 'l.txt').write_text('jump/a.avi 0\nbad.avi 1\n')
    found = make_copies(tmp_path / 'l.txt', tmp_path / 'out', CopySettings(short_side=0), data_dir=str(tmp_path / 'v'),
                        num_workers=0)
    assert found.failed == 1 and found.lists[0].read_text() == 'jump/a.mp4 0\nbad.mp4 1\n'
    assert 'check-data LIST --fix-list FILE' in found.told()


def test_another_list_of_the_same_name_is_not_replaced_unasked(made, tmp_path):
    moved(made, tmp_path, 'jump/a.avi 0\nrun/e.mkv 1\n')
    assert moved(made, tmp_path, 'jump/a.avi 0\nrun/e.mkv 1\n').exists()  # the same again
    with pytest.raises(UsageError, match='list.txt: is there and says something else; pass --overwrite'):
        moved(made, tmp_path, 'jump/a.avi 1\nrun/e.mkv 0\n')
    assert moved(made, tmp_path, 'jump/a.avi 1\nrun/e.mkv 0\n', overwrite=True).read_text().startswith('jump/a.mp4 1')
