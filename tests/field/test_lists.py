"""Lists as people write them: parts under any name, classes by name, any encoding, folders as systems leave them.

Expected frames are numbers that the frames of the videos carry, as `videos.barcode_frame` paints them; expected labels
are written out.
"""
from __future__ import annotations

import json
import logging
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tiny import NAME, forget, register_tiny
from videos import read_barcode, write_frames, write_video

from gluon_action.class_names import class_names
from gluon_action.cli import predict, test_recognizer, train_recognizer
from gluon_action.cli.command import run
from gluon_action.data import VideoClsCustom
from gluon_action.data.lists.annotations import list_videos, read_annotations
from gluon_action.data.lists.classes.class_files import read_class_names
from gluon_action.data.lists.formats import FORMATS
from gluon_action.data.lists.parts_of_videos import read_clip_annotations
from gluon_action.data.somethingsomethingv2 import SomethingSomethingV2
from gluon_action.data.ucf101 import UCF101
from gluon_action.data.video_options import VideoOptions
from gluon_action.errors import AnnotationError, UsageError

FPS = 25  # of the video: frame 25 is shown from second 1 on


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """A file of 60 frames and a folder of the same, whose pictures count from 1."""
    root = tmp_path_factory.mktemp('videos')
    write_video(root / 'a.mp4', 60, options={'g': '12'}, fps=FPS)
    write_frames(root / 'f', range(60), pattern='pic_%05d.jpg')
    (root / 'f').rename(root / 'from0')
    for number in range(60):
        os.makedirs(root / 'frames', exist_ok=True)
        os.link(root / 'from0' / f'pic_{number:05d}.jpg', root / 'frames' / f'img_{number + 1:05d}.jpg')
    return root


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def touch(root, *names):
    for name in names:
        write(root / name, b'x')


def read(tmp_path, content, name='list.txt', **options):
    return read_annotations(write(tmp_path / name, content), str(tmp_path), **options)


def told(videos):
    return [(sample.key, sample.label) for sample in videos.samples]


def named(videos):
    """Name of the class of each video."""
    return {sample.key: videos.classes[sample.label] for sample in videos.samples}


def frames_of(root, setting, **options):
    """Numbers of all frames of the first part of a list: a clip longer than it, whose last frame is repeated."""
    part = VideoClsCustom(str(root), setting, train=False, new_length=64, new_width=0, new_height=0, classes=['x'],
                          **options)
    return sorted({read_barcode(frame) for frame in part.load_frames(0)})


# ---------------------------------------------------------------- parts of videos

PARTS = {
    'start_frame,end_frame': ('30', '36', range(30, 36)),
    'startFrame,endFrame': ('30', '36', range(30, 36)),
    'first_frame,last_frame': ('30', '36', range(30, 37)),
    'frame_start,frame_stop': ('30', '36', range(30, 36)),
    'begin_idx,end_idx': ('30.0', '36.0', range(30, 36)),
    'start,end': ('1.0', '1.2', range(25, 30)),
    'begin,end': ('1.0', '1.2', range(25, 30)),
    'Start (s),Stop (s)': ('1.0', '1.2', range(25, 30)),
    'start_sec,end_sec': ('1.0', '1.2', range(25, 30)),
    't0,t1': ('1.0', '1.2', range(25, 30)),
    'onset,stop': ('0:01', '0:01.2', range(25, 30)),
    'clip_start_time,clip_end_time': ('00:00:01.00', '00:00:01.20', range(25, 30)),
    'start_ms,end_ms': ('1000', '1200', range(25, 30)),
    'from,to': ('1.0', '1.2', range(25, 30)),
    'begin,stop_frame': ('', '4', range(4)),
    'start_sec,endtime': ('2.2', '', range(55, 60)),
}


@pytest.mark.parametrize('kind', ['csv', 'tsv', 'semicolons', 'json', 'json lines'])
@pytest.mark.parametrize('titles', PARTS)
def test_a_part_is_read_whatever_its_bounds_are_called(tmp_path, titles, kind):
    start, end, frames = PARTS[titles]
    columns = ['path', *titles.split(','), 'label']
    row = ['a.mp4', start, end, 'x']
    if kind.startswith('json'):
        item = json.dumps(dict(zip(columns, row)))
        text = f'[{item}]' if kind == 'json' else f'{item}\n{item.replace("a.mp4", "b.mp4")}'
    else:
        sign = {'csv': ',', 'tsv': '\t', 'semicolons': ';'}[kind]
        text = f'{sign.join(columns)}\n{sign.join(row)}\n'
    sample = read(tmp_path, text, f'list.{"json" if kind == "json" else "txt"}').samples[0]
    if 'rame' in titles or 'idx' in titles:
        assert (sample.first, sample.last) == (frames[0] + 1, frames[-1] + 1)  # of samples, frames count from 1
        assert sample.start is None and sample.end is None
    else:
        assert (sample.start, sample.end) == (frames[0] / FPS, (frames[-1] + 1) / FPS if end else None)
    annotation, = read_clip_annotations(write(tmp_path / 'one.csv', f'{",".join(columns)}\n{",".join(row)}\n')
                                        ).annotations
    if annotation.in_frames:  # training on records cuts the same frames
        assert range(annotation.start or 0, annotation.end) == frames
    else:
        assert (annotation.start, annotation.end) == (sample.start, sample.end)


@pytest.mark.parametrize('path', ['a.mp4', 'frames'])
@pytest.mark.parametrize('titles', ['start_frame,end_frame', 'first_frame,last_frame', 'begin,stop_frame'])
def test_parts_in_frames_are_the_same_in_a_file_and_in_the_folder_of_its_frames(videos, tmp_path, titles, path):
    start, end, frames = PARTS[titles]
    setting = write(tmp_path / 'list.csv', f'path,{titles},label\n{path},{start},{end},0\n')
    assert frames_of(videos, setting) == list(frames)


@pytest.mark.parametrize('titles', ['begin,end', 't0,t1', 'start_ms,end_ms', 'start_sec,endtime'])
def test_parts_in_time_are_the_frames_shown_then(videos, tmp_path, titles):
    start, end, frames = PARTS[titles]
    setting = write(tmp_path / 'list.csv', f'path,{titles},label\na.mp4,{start},{end},0\n')
    assert frames_of(videos, setting) == list(frames)


def test_a_folder_that_counts_from_0_gives_the_same_part(videos, tmp_path):
    setting = write(tmp_path / 'list.csv', 'path,start_frame,end_frame,label\nfrom0,30,36,0\n')
    assert frames_of(videos, setting, name_pattern='pic_%05d.jpg') == list(range(30, 36))


@pytest.mark.parametrize('titles, cells, told', [
    ('segment', '"[1.0, 1.2]"', (1, 1.2, None, None)), ('timestamps', '(1.0; 1.2)', (1, 1.2, None, None)),
    ('frame_range', '30-36', (None, None, 31, 36)),
    ('start,end,start_frame,end_frame', '1.0,1.2,30,36', (None, None, 31, 36)),
    ('start,end,start_sec', '1.0,1.2,1.004', (1, 1.2, None, None)),
    ('start,end,narration_timestamp', '1.0,1.2,0:55', (1, 1.2, None, None)),
    ('segment', '3', (None, None, None, None)), ('start_place', 'kitchen', (None, None, None, None))])
def test_a_part_may_be_said_in_one_column_or_in_more_than_needed(tmp_path, titles, cells, told):
    sample, = read(tmp_path, f'path,{titles},label\na.mp4,{cells},0\n').samples
    assert (sample.start, sample.end, sample.first, sample.last) == told


def test_json_gives_a_part_as_a_list_of_two(tmp_path):
    sample, = read(tmp_path, '[{"path": "a.mp4", "label": 0, "segment": [1, 1.2]}]', 'list.json').samples
    assert (sample.start, sample.end) == (1, 1.2)
    with pytest.raises(AnnotationError, match=r"entry 1: 'segment' must be the start and the end of one part"):
        read(tmp_path, '[{"path": "a.mp4", "label": 0, "segment": [[1, 2], [5, 6]]}]', 'list.json')


@pytest.mark.parametrize('titles, cells, name', [
    ('start_min,end_min', '1.5,2', 'end_min'), ('offset', '15', 'offset'), ('timestamp', '0:15', 'timestamp'),
    ('start,duration', '15,3', 'duration'), ('startpoint,end', '3,9', 'startpoint'), ('frame', '77', 'frame')])
@pytest.mark.parametrize('kind', ['csv', 'json', 'records'])
def test_a_number_that_looks_like_a_bound_and_is_not_known_is_refused_by_name(tmp_path, titles, cells, name, kind):
    columns, row = ['path', *titles.split(','), 'label'], ['a.mp4', *cells.split(','), '0']
    with pytest.raises(AnnotationError, match=f"the column '{name}' .* looks like a bound .* name the columns start"):
        if kind == 'json':
            read(tmp_path, json.dumps([dict(zip(columns, row))]), 'list.json')
        elif kind == 'csv':
            read(tmp_path, f'{",".join(columns)}\n{",".join(row)}\n')
        else:
            read_clip_annotations(write(tmp_path / 'list.csv', f'{",".join(columns)}\n{",".join(row)}\n'))


@pytest.mark.parametrize('cells, message', [
    ('3,2', 'line 2: ends at 2, where it starts'), ('x,2', "a time in seconds is expected, got 'x'"),
    ('-1,2', 'a time of 0 or more seconds')])
def test_bounds_that_cannot_be_are_refused(tmp_path, cells, message):
    with pytest.raises(AnnotationError, match=message):
        read(tmp_path, f'path,start,end,label\na.mp4,{cells},0\n')


def test_two_columns_that_contradict_each_other_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"line 2: the columns 'begin' and 'start_sec' contradict each other"):
        read(tmp_path, 'path,begin,start_sec,end,label\na.mp4,1,1.5,3,0\n')


def test_columns_that_nothing_reads_are_named(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        read(tmp_path, 'path,label,weight,note\na.mp4,0,1,x\n')
    assert 'columns that are not used: weight, note' in caplog.text


# ---------------------------------------------------------------- class names instead of numbers

BY_NAME = {
    'spaces': 'a.mp4 walk\nb.mp4 sit down\nc d.mp4 walk\n',
    'frames': 'a.mp4 120 walk\nb.mp4 99 sit down\nc d.mp4 5 walk\n',
    'quotes': '"a.mp4" walk\n"b.mp4" "sit down"\n"c d.mp4" walk\n',
    'commas': 'a.mp4,walk\nb.mp4,sit down\nc d.mp4,walk\n',
    'semicolons': 'a.mp4;walk\nb.mp4;sit down\nc d.mp4;walk\n',
    'bars': 'a.mp4|walk\nb.mp4|sit down\nc d.mp4|walk\n',
    'tabs': 'a.mp4\twalk\nb.mp4\tsit down\nc d.mp4\twalk\n',
    'label first': 'walk,a.mp4\nsit down,b.mp4\nwalk,c d.mp4\n',
    'header': 'video,label\na.mp4,walk\nb.mp4,sit down\nc d.mp4,walk\n',
    'other header': 'Class Name;File Path\nwalk;a.mp4\nsit down;b.mp4\nwalk;c d.mp4\n',
    'json': '[{"path":"a.mp4","label":"walk"},{"path":"b.mp4","label":"sit down"},{"path":"c d.mp4","label":"walk"}]',
    'excel': 'sep=;\nvideo;label\na.mp4;walk\nb.mp4;sit down\nc d.mp4;walk\n',
    'json of objects': '{"a.mp4": {"label": "walk"}, "b.mp4": {"label": "sit down"}, "c d.mp4": {"label": "walk"}}',
    'json of paths': '{"a.mp4": "walk", "b.mp4": "sit down", "c d.mp4": "walk"}',
    'number and name': 'a.mp4,1,walk\nb.mp4,0,sit down\nc d.mp4,1,walk\n',
    'number and name below a header': 'path,class_id,label\na.mp4,1,walk\nb.mp4,0,sit down\nc d.mp4,1,walk\n',
    'label and name': 'path,label,label_name\na.mp4,1,walk\nb.mp4,0,sit down\nc d.mp4,1,walk\n',
}


@pytest.mark.parametrize('kind', BY_NAME)
def test_classes_may_be_names(tmp_path, kind):
    videos = read(tmp_path, BY_NAME[kind])
    assert videos.classes == ['sit down', 'walk'] and videos.num_classes == 2
    assert named(videos) == {'a.mp4': 'walk', 'b.mp4': 'sit down', 'c d.mp4': 'walk'}
    if kind == 'frames':
        assert [sample.num_frames for sample in videos.samples] == [120, 99, 5]


@pytest.mark.parametrize('kind', BY_NAME)
def test_a_validation_list_is_numbered_as_training_is(tmp_path, kind):
    if 'number' in kind or 'label and' in kind:
        with pytest.raises(AnnotationError, match="class 0 is 'sit down' by its own names, and 'run' by the names"):
            read(tmp_path, BY_NAME[kind], split='val', classes=['run', 'sit down', 'walk'])
        return
    videos = read(tmp_path, BY_NAME[kind], split='val', classes=['run', 'sit_down', 'walk'])
    assert [sample.label for sample in videos.samples] == [2, 1, 2] and videos.classes == ['run', 'sit_down', 'walk']
    with pytest.raises(AnnotationError, match=r"'sit down' is not"):
        read(tmp_path, BY_NAME[kind], split='val', classes=['run', 'walk'])


@pytest.mark.parametrize('text', [
    'path,label,split\na.mp4,walk,train\nb.mp4,run,val\nc.mp4,walk,val\n', 'a.mp4,walk,train\nb.mp4,run,val\n'
    'c.mp4,walk,val\n', 'a.mp4\ttrain\twalk\nb.mp4\tvalid\trun\nc.mp4\tvalid\twalk\n'])
def test_one_table_with_a_split_column_numbers_both_parts_alike(tmp_path, text, caplog):
    train, val = (read(tmp_path, text, split=split) for split in ('train', 'val'))
    assert told(train) == [('a.mp4', 1)] and told(val) == [('b.mp4', 0), ('c.mp4', 1)]
    assert train.classes == val.classes == ['run', 'walk'] and 'numbered as they occur' not in caplog.text


@pytest.mark.parametrize('text', ['', '\n \n', 'sep=;\n'])
@pytest.mark.parametrize('format', ['auto', 'path_label', 'multi_label'])
def test_a_list_without_a_line_lists_no_videos(tmp_path, text, format):
    with pytest.raises(AnnotationError, match='list.txt: lists no videos'):
        read(tmp_path, text, list_format=format)


def test_a_comma_in_every_path_separates_nothing(tmp_path):
    assert told(read(tmp_path, 'a,b.mp4 walk\nc,d.mp4 run\n')) == [('a,b.mp4', 1), ('c,d.mp4', 0)]


def test_several_names_a_video(tmp_path):
    for text in ('a.mp4 walk,sit down\nb.mp4 walk\n', 'path,labels\na.mp4,walk;sit down\nb.mp4,walk\n',
                 '{"a.mp4": ["walk", "sit down"], "b.mp4": "walk"}', 'a.mp4,walk,sit down\nb.mp4,walk\n'):
        videos = read(tmp_path, text, multi_label=True)
        assert videos.classes == ['sit down', 'walk'] and told(videos) == [('a.mp4', (0, 1)), ('b.mp4', (1,))]


@pytest.mark.parametrize('text', ['my clip,walk,run\n', 'clip1 walk,run\nclip2 run\n', 'clip1 walk;run\n'])
def test_several_names_behind_a_path_that_may_end_anywhere_are_refused(tmp_path, text):
    with pytest.raises(AnnotationError, match='line 1: where the path ends cannot be told: put it in quotes'):
        read(tmp_path, text, multi_label=True)
    assert told(read(tmp_path, '"clip 1" walk,run\n"clip2" run\n', multi_label=True)) == [
        ('clip 1', (0, 1)), ('clip2', (0,))]


@pytest.mark.parametrize('text, message', [
    ('a.mp4 0\nb.mp4 walk\n', "line 2: label 'walk' is not an integer, and '0' in line 1 is one; give all classes"),
    ('Datei;Klasse\na.mp4;walk\nb.mp4;run\n', "line 1: label 'Klasse' .* if it is a header, call its columns path and"),
    ('Datei,Klasse\na,1\nb,0\n', "line 1: label 'Klasse' .* if it is a header, call its columns path and label"),
    ('a.mp4 1.5 2.5 walk\nb.mp4 1 2 run\n', 'line 1: has more columns .* header such as path,start,end,label'),
    ('a.mp4 1.5 2.5 0\nb.mp4 1 2 1\n', 'line 1: has more columns .* header such as path,start,end,label'),
    ('v1 sit down\nv2 run\n', 'line 1: .*where the path ends cannot be told: put the path in quotes, or a tab'),
    ('x.mp4 0,1\ny.mp4 1\n', 'pass --multi-label'), ('x.mp4 0,1\ny.mp4 2,1\n', 'pass --multi-label'),
    ('a.mp4,\nb.mp4,walk\n', 'line 1: has no label'),
    ('path,class_id,label\na.mp4,0,walk\nb.mp4,0,run\n', "line 3: class 0 is called 'run', and 'walk' in line 2"),
    ('path,path,label\na.mp4,b.mp4,0\n', "two columns are called 'path'")])
def test_what_could_be_a_class_by_mistake_is_refused(tmp_path, text, message):
    with pytest.raises(AnnotationError, match=message):
        read(tmp_path, text)


def test_whole_numbers_with_decimals_are_classes(tmp_path):  # pandas writes them where a column has gaps
    assert told(read(tmp_path, 'path,label\na.mp4,1.0\nb.mp4,0.0\n')) == [('a.mp4', 1), ('b.mp4', 0)]
    assert told(read(tmp_path, '[{"path": "a.mp4", "label": 1.0}]', label_base=0)) == [('a.mp4', 1)]


def test_one_class_that_is_written_in_two_ways_is_warned_of(tmp_path, caplog):
    assert read(tmp_path, 'a.mp4,Sit down\nb.mp4,sit_down\n').num_classes == 2
    assert "'Sit down' and 'sit_down' are different classes" in caplog.text


# ---------------------------------------------------------------- where names of classes come from

def test_names_beside_a_list_of_numbers_are_its_classes(tmp_path):
    write(tmp_path / 'class_names.json', '{"run": 1, "walk": 0}')
    videos = read(tmp_path, 'a.mp4 1\nb.mp4 0\n')
    assert named(videos) == {'a.mp4': 'run', 'b.mp4': 'walk'}
    write(tmp_path / 'class_names.json', '{"run": 1, "walk": 0, "sit": 2}')
    assert told(read(tmp_path, 'a.mp4,run\nb.mp4,Walk\n')) == [('a.mp4', 1), ('b.mp4', 0)]
    assert told(read(tmp_path, 'a.mp4,run\n', classes=['sit', 'walk', 'run'])) == [('a.mp4', 2)]
    with pytest.raises(AnnotationError, match="'jump' is not one of the 3 classes of .*class_names.json"):
        read(tmp_path, 'a.mp4,run\nb.mp4,jump\n')


def test_names_beside_a_list_that_cannot_be_its_own_are_not_used(tmp_path, caplog):
    write(tmp_path / 'classes.txt', 'walk\nrun\n')
    assert read(tmp_path, 'a.mp4 0\nb.mp4 2\n').classes is None
    assert 'classes.txt beside it names 2 classes, and there are labels up to 2' in caplog.text


def test_a_subset_of_a_data_set_keeps_its_own_names(tmp_path, caplog):
    """prepare_something_something.py writes category.txt beside the lists that it makes of any labels."""
    write(tmp_path / 'category.txt', 'Lifting a cup\nBreaking a cup\n')
    setting = write(tmp_path / 'train_videofolder.txt', '1 30 1\n2 30 0\n')
    dataset = SomethingSomethingV2(str(tmp_path), setting)
    assert dataset.classes == ['Lifting a cup', 'Breaking a cup'] and dataset.num_classes == 2
    (tmp_path / 'category.txt').unlink()
    assert len(SomethingSomethingV2(str(tmp_path), setting).classes) == 174
    assert 'only the first 2 of the 174 classes of the data set occur in it' in caplog.text
    assert SomethingSomethingV2(str(tmp_path), setting, num_classes=2).classes is None


def test_a_list_of_a_data_set_whose_folders_contradict_its_numbers_is_refused(tmp_path):
    setting = write(tmp_path / 'list.txt', 'Archery/v_1 30 0\nBiking/v_2 30 1\n')
    with pytest.raises(AnnotationError, match="label 0 of Archery/v_1 is 'ApplyEyeMakeup' in the data set"):
        UCF101(str(tmp_path), setting)
    assert UCF101(str(tmp_path), setting, classes=['Archery', 'Biking']).num_classes == 2
    assert UCF101(str(tmp_path), write(tmp_path / 'list.txt', 'Archery/v_1 30 2\n')).num_classes == 101


def test_a_validation_set_that_numbers_its_own_classes_says_so(tmp_path, caplog):
    touch(tmp_path, 'mine/walk/a.mp4', 'mine/run/b.mp4', 'other/walk/c.mp4')
    train = read_annotations(str(tmp_path / 'mine'))
    assert not caplog.text
    assert told(read_annotations(str(tmp_path / 'other'), split='val', classes=train.classes)) == [('walk/c.mp4', 1)]
    assert not caplog.text
    read_annotations(str(tmp_path / 'other'), split='val')
    assert "its 1 classes are numbered as they occur in it, from 0, which is 'walk'" in caplog.text
    assert 'pass classes= of the training data set, or --class-names FILE' in caplog.text


@pytest.mark.parametrize('setting', ['set', 'set/val'])
def test_a_validation_folder_beside_a_training_folder_has_its_numbers(tmp_path, caplog, setting):
    touch(tmp_path, 'set/train/run/a.mp4', 'set/train/walk/b.mp4', 'set/val/walk/c.mp4')
    os.mkdir(tmp_path / 'set/train/empty')
    dataset = VideoClsCustom('', str(tmp_path / setting), train=False)
    assert dataset.classes == ['run', 'walk'] and [sample.label for sample in dataset.samples] == [1]
    assert 'numbered as they occur' not in caplog.text
    touch(tmp_path, 'set/val/jump/d.mp4')
    assert read_annotations(str(tmp_path / setting), split='val').classes == ['run', 'walk', 'jump']
    assert '(jump) and are numbered after those' in caplog.text


@pytest.mark.parametrize('content, names', [
    ('walk\nsit down\n', ['walk', 'sit down']), ('1 walk\n2 sit down\n', ['walk', 'sit down']),
    ('1\tsit down\n0\twalk\n', ['walk', 'sit down']), ('[walk]\n{run}\n', ['[walk]', '{run}']),
    ('["walk", "run"]', ['walk', 'run']), ('\ufeffwalk\r\nrun\r\n', ['walk', 'run']), ('3 walks\n4 runs\n', [
        '3 walks', '4 runs'])])
def test_files_of_class_names(tmp_path, content, names):
    assert read_class_names(write(tmp_path / 'names.txt', content)) == names
    assert read_class_names(write(tmp_path / 'names16.txt', content.strip('\ufeff').encode('utf-16'))) == names


def test_a_file_of_class_names_that_is_not_utf8_says_what_it_may_be(tmp_path):
    path = write(tmp_path / 'names.txt', '跑步\n走\n'.encode('gbk'))
    with pytest.raises(AnnotationError, match="not UTF-8: gbk gives '跑步', .* pass --list-encoding"):
        read_class_names(path)
    assert read_class_names(path, 'gbk') == ['跑步', '走']


@pytest.mark.parametrize('content', ['跑步\n走\n'.encode(), '跑步\n走\n'.encode('utf-16'), '跑步\n走\n'.encode('gbk'),
                                     b'["\\u8dd1\\u6b65", "\\u8d70"]'])
@pytest.mark.parametrize('beside', [False, True])
def test_a_file_of_class_names_is_read_in_the_encoding_of_the_list_only_where_it_is_not_utf8(tmp_path, content, beside):
    (tmp_path / 'videos').mkdir()
    names = write(tmp_path / ('classes.txt' if beside else 'names.txt'), content)
    options = VideoOptions(dataset='custom', data_dir=str(tmp_path / 'videos'), list_encoding='gbk',
                           train_list=write(tmp_path / 'list.txt', '短片.mp4,走\n另一.mp4,跑步\n'.encode('gbk')),
                           class_names=None if beside else names)
    opened = options.open_videos(train=True)
    assert opened.classes == ['跑步', '走']
    assert [(sample.key, sample.label) for sample in opened.samples] == [('短片.mp4', 1), ('另一.mp4', 0)]


# ---------------------------------------------------------------- a folder for each class, as systems leave it

def test_what_systems_put_into_folders_is_no_video_and_no_class(tmp_path, caplog):
    touch(tmp_path / 'set', 'walk/a.mp4', 'walk/._a.mp4', 'walk/.DS_Store', 'walk/Thumbs.db', 'run/b.mp4', '.DS_Store',
          '__MACOSX/walk/._a.mp4', '__MACOSX/run/c.mp4', 'run/@eaDir/b.mp4')
    with caplog.at_level(logging.INFO):
        videos = read_annotations(str(tmp_path / 'set'))
    assert told(videos) == [('run/b.mp4', 0), ('walk/a.mp4', 1)]
    record, = caplog.records
    assert record.levelno == logging.INFO and 'left out: 6 hidden or system files' in record.message


def test_what_is_left_out_of_class_folders_is_said_in_one_line(tmp_path, caplog):
    touch(tmp_path / 'set', 'walk/a.mp4', 'walk/a.srt', 'walk/b.srt', 'run/b.mp4', 'notes.pdf', 'sit/notes.txt')
    os.makedirs(tmp_path / 'set/jump/deeper')
    videos = read_annotations(str(tmp_path / 'set'))
    assert videos.classes == ['run', 'walk']
    record, = caplog.records
    assert '2 folders without videos, which are no classes (jump, sit)' in record.message
    assert '4 files that are no videos (2 .srt, 1 .pdf, 1 .txt)' in record.message
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize('name', ['00001.mts', '00002.M2TS', 'a.mxf', 'b.VOB', 'c.asf', 'd.f4v', 'e.3g2', 'f.ogm',
                                  'g.dv', 'h.y4m', 'i.h264', 'j.TOD'])
def test_files_of_cameras_are_videos(tmp_path, name):
    touch(tmp_path / 'set', f'walk/{name}', 'run/b.mp4')
    assert told(read_annotations(str(tmp_path / 'set'))) == [('run/b.mp4', 0), (f'walk/{name}', 1)]


def test_videos_may_lie_deeper_than_their_class(tmp_path):
    touch(tmp_path / 'set', 'walk/anna/monday/a.mp4', 'walk/anna/b.mp4', 'walk/bert/c/img_00001.jpg', 'run/d.mp4',
          'run/e/thumb.jpg', 'run/e/e.mp4')
    videos = read_annotations(str(tmp_path / 'set'))
    assert [key for key, _ in told(videos)] == ['run/d.mp4', 'run/e/e.mp4', 'walk/anna/b.mp4', 'walk/anna/monday/a.mp4',
                                                'walk/bert/c']
    os.symlink(tmp_path / 'set', tmp_path / 'set/run/loop')
    assert len(read_annotations(str(tmp_path / 'set')).samples) == 5


def test_splits_within_classes_are_not_mixed(tmp_path):
    touch(tmp_path / 'set', 'walk/train/a.mp4', 'walk/val/b.mp4', 'run/train/c.mp4', 'run/val/d.mp4')
    with pytest.raises(AnnotationError, match='run: holds the splits train and val of one class; put a folder for'):
        read_annotations(str(tmp_path / 'set'))


def test_one_folder_around_those_of_the_classes_is_warned_of(tmp_path, caplog):
    touch(tmp_path / 'set', 'UCF-101/walk/a.mp4', 'UCF-101/run/b.mp4')
    read_annotations(str(tmp_path / 'set'))
    assert "the only class is 'UCF-101'" in caplog.text and f'give {tmp_path}/set/UCF-101' in caplog.text


# ---------------------------------------------------------------- text of every kind

@pytest.mark.parametrize('text', ['[x] a.mp4 0\n[y] b.mp4 1\n', '{x}/a.mp4 0\n{y}/b.mp4 1\n', '[1].mp4,0\n[2].mp4,1\n'])
def test_a_path_may_begin_as_json_does(tmp_path, text):
    assert [label for _, label in told(read(tmp_path, text))] == [0, 1]
    assert len(read_clip_annotations(write(tmp_path / 'list.csv', text)).annotations) == 2


@pytest.mark.parametrize('text', ['[{"path": "a.mp4", ', '{\n"a.mp4": 0,\n', '["a.mp4"'])
def test_broken_json_is_called_so(tmp_path, text):
    with pytest.raises(AnnotationError, match='list.txt: is not JSON'):
        read(tmp_path, text)
    with pytest.raises(AnnotationError, match='list.json: is not JSON'):
        read(tmp_path, '[x] a.mp4 0\n', 'list.json')


def test_json_nested_too_deeply_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match='is not JSON: it is nested too deeply'):
        read(tmp_path, '[' * 100_000 + '\n', 'list.json')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
@pytest.mark.parametrize('text', ['path,label\n跑/a.mp4,0\nü.mp4,1\n', '[{"path": "跑/a.mp4", "label": 0}, '
                                  '{"path": "ü.mp4", "label": 1}]'])
def test_the_first_bytes_say_how_a_list_is_encoded(tmp_path, text, encoding):
    assert told(read(tmp_path, text.encode(encoding))) == [('跑/a.mp4', 0), ('ü.mp4', 1)]


def test_another_encoding_is_told_or_guessed(tmp_path):
    touch(tmp_path, '跑步/a.mp4')
    text = '跑步/a.mp4 0\nb.mp4 1\n'.encode('gbk')
    assert told(read(tmp_path, text, list_encoding='gbk')) == [('跑步/a.mp4', 0), ('b.mp4', 1)]
    with pytest.raises(AnnotationError, match="line 1: the list is not UTF-8 but gbk, in which it names '跑步/a.mp4', "
                                              'which exists; pass --list-encoding gbk'):
        read(tmp_path, text)
    with pytest.raises(AnnotationError, match="no such bytes are the name of a file: gbk gives '走/a.mp4'"):
        read(tmp_path, '走/a.mp4 0\n'.encode('gbk'))
    with pytest.raises(AnnotationError, match='line 1: is not --list-encoding utf-8: .*gbk gives'):
        read(tmp_path, text, list_encoding='utf-8')
    with pytest.raises(AnnotationError, match='every second byte is zero, as in UTF-16 .* --list-encoding utf-16-le'):
        read(tmp_path, 'a.mp4 0\nb.mp4 1\n'.encode('utf-16-le'))
    with pytest.raises(UsageError, match='--list-encoding klingon: there is no such encoding'):
        read(tmp_path, text, list_encoding='klingon')


@pytest.mark.parametrize('written, stored', [('NFD', 'NFC'), ('NFC', 'NFD')])
def test_accents_are_found_in_either_form(tmp_path, written, stored):
    name = 'Übung/für é.mp4'
    touch(tmp_path / 'videos', unicodedata.normalize(stored, name))
    setting = write(tmp_path / 'list.txt', f'{unicodedata.normalize(written, name)},0\n')
    sample, = read_annotations(setting, str(tmp_path / 'videos'), must_exist=True).samples
    assert os.path.exists(sample.path)


def test_backslashes_are_slashes_where_no_name_has_them(tmp_path):
    touch(tmp_path / 'videos', 'sub/a.mp4', 'b\\c.mp4')
    setting = write(tmp_path / 'list.txt', 'sub\\a.mp4 0\nb\\c.mp4 1\n')
    samples = read_annotations(setting, str(tmp_path / 'videos'), must_exist=True).samples
    assert [os.path.relpath(sample.path, tmp_path / 'videos') for sample in samples] == ['sub/a.mp4', 'b\\c.mp4']
    with pytest.raises(AnnotationError, match='lies outside the data folder'):
        read_annotations(write(tmp_path / 'list.txt', '..\\list.txt 0\n'), str(tmp_path / 'videos'))


@pytest.mark.parametrize('stored', ['v.avi', 'v.MKV', 'v.mts', 'v.x.webm'])
def test_names_without_their_extension_are_found(tmp_path, stored):
    touch(tmp_path / 'videos', stored, 'v.txt', '._v.avi')
    setting = write(tmp_path / 'list.txt', f'{os.path.splitext(stored)[0]} 0\n')
    sample, = read_annotations(setting, str(tmp_path / 'videos'), must_exist=True).samples
    assert os.path.basename(sample.path) == stored


@pytest.mark.parametrize('text', ['path label\na b.mp4 0\nc.mp4 1\n', 'video frames label\na b.mp4 9 0\nc.mp4 9 1\n',
                                  '# path label\na b.mp4 0\nc.mp4 1\n', '#path,label\na b.mp4,0\nc.mp4,1\n'])
def test_a_header_may_be_separated_by_spaces_or_be_a_comment(tmp_path, text):
    videos = read(tmp_path, text)
    assert (videos.format, told(videos)) == ('table', [('a b.mp4', 0), ('c.mp4', 1)])


def test_comments_are_no_videos(tmp_path, caplog):
    assert told(read(tmp_path, '# training\n\na.mp4 0\n# and more\nb.mp4 1\n')) == [('a.mp4', 0), ('b.mp4', 1)]
    assert not caplog.text
    assert told(read(tmp_path, 'a.mp4 0\n#b.mp4 1\n"#c.mp4" 1\n')) == [('a.mp4', 0), ('#c.mp4', 1)]
    assert "1 lines that begin with # are taken as comments, first line 2, '#b.mp4 1'" in caplog.text
    assert told(read(tmp_path, '#1/a.mp4 0\n#2/b.mp4 1\n')) == [('#1/a.mp4', 0), ('#2/b.mp4', 1)]


#: Files of HMDB51, of which about one in 300 begins with a #.
CLAP = ('#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi', 'A_Beautiful_Mind_2_clap_u_nm_np5_fr_med_4.avi',
        '#20_Rhythm_clap_u_nm_np1_fr_goo_1.avi', '#comment')


@pytest.mark.parametrize('text', ['{} 9 0\n{} 9 1\n{} 9 0\n{}\n', '{} clap\n{} sit\n{} clap\n{}\n',
                                  'path,label\n{},0\n{},1\n{},0\n{}\n'])
def test_names_of_hmdb51_that_begin_with_a_number_sign_are_no_comments(tmp_path, caplog, text):
    videos = read(tmp_path, text.format(*CLAP))
    assert told(videos) == [(CLAP[0], 0), (CLAP[1], 1), (CLAP[2], 0)]
    assert "1 lines that begin with # are taken as comments, first line" in caplog.text and "'#comment'" in caplog.text


def test_a_split_file_of_hmdb51_alone_is_read_as_one(tmp_path, caplog):
    text = f'{CLAP[0]} 1\n{CLAP[1]} 2\n{CLAP[2]} 1\n'
    setting = write(tmp_path / 'clap_test_split1.txt', text)
    train, val = (read_annotations(setting, split=split) for split in ('train', 'val'))
    assert (train.format, train.classes, val.classes) == ('hmdb51', ['clap'], ['clap'])
    assert told(train) == [(f'clap/{CLAP[0]}', 0), (f'clap/{CLAP[2]}', 0)]
    assert told(val) == [(f'clap/{CLAP[1]}', 0)] and not caplog.text
    # Labels of one's own in a file of such a name are labels.
    assert read_annotations(write(tmp_path / 'my_test_split1.txt', 'a.mp4 1\nb.mp4 0\n')).format == 'path_label'


def test_a_cell_in_quotes_may_have_several_lines(tmp_path):
    videos = read(tmp_path, 'path,note,label\na.mp4,"first\n\nsecond, ""third""",0\nb.mp4,,1\n')
    assert [(sample.key, sample.label, sample.line) for sample in videos.samples] == [('a.mp4', 0, 2), ('b.mp4', 1, 5)]
    with pytest.raises(AnnotationError, match='line 3: cannot be split into columns'):
        read(tmp_path, 'path,note,label\na.mp4,x,0\nb.mp4,"y,1\n')
    with pytest.raises(AnnotationError, match='line 2: has 4 columns, the header names 3'):
        read(tmp_path, 'path,note,label\na,b.mp4,x,0\n')


def test_flow_is_made_of_every_video_of_such_lists(tmp_path):
    touch(tmp_path, 'a.avi', 'sub/b.mts')
    setting = write(tmp_path / 'list.csv', 'path,label,split\na,walk,train\nsub\\b.mts,run,val\n')
    assert list_videos(setting, str(tmp_path)) == [str(tmp_path / 'a.avi'), str(tmp_path / 'sub/b.mts')]


@pytest.fixture
def tiny():
    register_tiny()
    yield NAME
    forget(NAME)


def test_names_of_a_list_reach_the_run_its_reports_and_predictions(tmp_path, tiny, capsys):
    for name in 'ab':
        write_video(tmp_path / f'{name}.mp4', 8, size=(48, 40))
    setting = write(tmp_path / 'list.csv', 'video,label\na.mp4,sit down\nb.mp4,jump\n')
    shared = ['--model', tiny, '--dataset', 'custom', '--data-dir', str(tmp_path), '--val-list', setting,
              '--input-size', '32', '-j', '0']
    trained = [*shared, '--train-list', setting, '--no-pretrained-base', '--batch-size', '2', '--num-epochs', '1',
               '--lr', '0.01', '--save-dir', str(tmp_path / 'run')]
    assert run(train_recognizer.parse_args, train_recognizer.main, trained) == 0
    names = ['jump', 'sit down']
    assert json.loads((tmp_path / 'run/config.json').read_text())['classes'] == names
    params = str(tmp_path / 'run/best.params')
    assert run(test_recognizer.parse_args, test_recognizer.main, [
        *shared, '--resume-params', params, '--save-dir', str(tmp_path / 'report')]) == 0
    with np.load(tmp_path / 'report/scores.npz') as scores:
        assert scores['classes'].tolist() == names
    for options, expected in (([], names), (['--class-names', write(tmp_path / 'other.txt', 'up\ndown\n')],
                                            ['up', 'down'])):
        out = str(tmp_path / f'{len(options)}.json')
        assert run(predict.parse_args, predict.main, [
            str(tmp_path / 'run'), str(tmp_path / 'a.mp4'), '--json', out, *options]) == 0
        assert json.loads(Path(out).read_text())['labels'] == expected
    assert run(predict.parse_args, predict.main, [
        str(tmp_path / 'run'), str(tmp_path / 'a.mp4'), '--class-names', write(tmp_path / 'other.txt', 'up\n')]) != 0
    assert '--class-names' in capsys.readouterr().err


EXAMPLES = dict(re.findall(r'^### (\w+)\n(?:(?!^#).*\n)*?```text\n((?:.*\n)*?)```',
                           (Path(__file__).parents[2] / 'docs/data.md').read_text(), re.MULTILINE))


@pytest.mark.parametrize('name', [name for name in FORMATS if name != 'folder' and ':' not in name])
def test_the_example_of_each_format_is_read_as_that_format(tmp_path, name):
    if name == 'ucf101':
        numbered = enumerate(class_names('ucf101'), 1)
        write(tmp_path / 'classInd.txt', ''.join(f'{number} {title}\n' for number, title in numbered))
    file = 'brush_hair_test_split1.txt' if name == 'hmdb51' else 'list.txt'
    write(tmp_path / file, EXAMPLES[name])
    videos = read_annotations(str(tmp_path / file if name != 'hmdb51' else tmp_path), str(tmp_path),
                              multi_label=name.startswith('multi_label'))
    assert videos.format == name and len(videos.samples) == len(set(told(videos)))


def test_the_three_kinds_of_json_say_the_same(tmp_path):
    text = (Path(__file__).parents[2] / 'docs/data.md').read_text()
    examples = re.findall(r'```text\n((?:.*\n)*?)```', text[text.index('### json'):text.index('### multi_label')])
    assert len(examples) == 3
    for example in examples:
        videos = read(tmp_path, example)
        assert videos.format == 'json' and named(videos) == {
            sample.key: 'walk' if 'monday' in sample.key else 'sit down' for sample in videos.samples}


# ---------------------------------------------------------------- what looks like something else

@pytest.mark.parametrize('title', ['age_range', 'price_interval', 'camera_time', 'wing_span'])
def test_a_range_of_something_else_cuts_no_video(tmp_path, title):
    sample, = read(tmp_path, f'path,label,{title}\na.mp4,0,18-25\n', 'a.csv', label_base=0).samples
    assert (sample.start, sample.end) == (None, None)


@pytest.mark.parametrize('titles, cells', [
    ('from_time,to_time', '1.5,4'), ('time_range', '1.5-4'), ('clip_interval', '1.5-4'), ('segment', '1.5-4')])
def test_bounds_of_a_part_by_these_titles_cut_it(tmp_path, titles, cells):
    sample, = read(tmp_path, f'path,label,{titles}\na.mp4,0,{cells}\n', 'a.csv', label_base=0).samples
    assert (sample.start, sample.end) == (1.5, 4)


def test_one_class_of_videos_is_not_said_to_have_folders(tmp_path, caplog):
    touch(tmp_path, 'one/walk/a.mp4', 'two/walk/deep/a.mp4')
    assert read_annotations(str(tmp_path / 'one')).classes == ['walk'] and not caplog.text
    read_annotations(str(tmp_path / 'two'))
    assert "the only class is 'walk', and it has folders of its own" in caplog.text


def test_folders_that_link_to_each_other_are_walked_once(tmp_path, caplog):
    touch(tmp_path, 'set/walk/a.mp4', 'set/walk2/b.mp4', 'more/c.mp4')
    (tmp_path / 'set/walk2/same').symlink_to(tmp_path / 'set/walk')  # its path begins as that of walk2
    (tmp_path / 'set/walk/more').symlink_to(tmp_path / 'more')
    (tmp_path / 'more/back').symlink_to(tmp_path / 'set/walk')
    (tmp_path / 'more/up').symlink_to(tmp_path)
    (tmp_path / 'more/self').symlink_to(tmp_path / 'more/self')
    keys = [key for key, _ in told(read_annotations(str(tmp_path / 'set')))]
    assert keys == ['walk/a.mp4', 'walk/more/c.mp4', 'walk2/b.mp4', 'walk2/same/a.mp4', 'walk2/same/more/c.mp4']
    assert 'link to a folder above' in caplog.text


@pytest.mark.parametrize('line, path, frames, label', [
    ('clip 1 front 120 0', 'clip 1 front', 120, 0), ('a.mp4 (1).mp4 120 3', 'a.mp4 (1).mp4', 120, 3),
    ('a.mp4 (1).mp4 3', 'a.mp4 (1).mp4', None, 3), ('clip 1 front 3', 'clip 1 front', None, 3),
])
def test_numbers_after_a_path_with_spaces_are_numbers(tmp_path, line, path, frames, label):
    videos = read(tmp_path, f'{line}\n', label_base=0)
    sample, = videos.samples
    assert (sample.key, sample.num_frames, sample.label, videos.classes) == (path, frames, label, None)


def test_a_class_name_may_end_in_a_number(tmp_path):
    assert named(read(tmp_path, 'a.mp4 class 3\nb.mp4 class 4\n')) == {'a.mp4': 'class 3', 'b.mp4': 'class 4'}


@pytest.mark.parametrize('rows', [
    'video,label,class_id\na.mp4,walk,1\nb.mp4,run,2\nc.mp4,aim,0\n',
    'video,label,class_id\na.mp4,walk,1\nb.mp4,run,2\n',
    'video,label,class_id\na.mp4,walk,\nb.mp4,run,\n'])
def test_training_and_clip_records_number_a_table_alike(tmp_path, rows):
    path = write(tmp_path / 'a.csv', rows)
    trained, cut = read_annotations(path, str(tmp_path), label_base=0), read_clip_annotations(path)
    assert [sample.label for sample in trained.samples] == [part.labels[0] for part in cut.annotations]
    assert trained.classes == cut.classes


def test_one_based_numbers_with_names_are_alike_too(tmp_path):
    path = write(tmp_path / 'a.csv', 'video,class_name,class_id\na.mp4,walk,2\nb.mp4,run,1\n')
    trained, cut = read_annotations(path, str(tmp_path), label_base=1), read_clip_annotations(path, label_base=1)
    assert trained.classes == cut.classes == ['run', 'walk']
    assert [sample.label for sample in trained.samples] == [part.labels[0] for part in cut.annotations] == [1, 0]


def test_an_unreadable_file_of_classes_beside_a_list_that_needs_none_is_warned_of(tmp_path, caplog):
    for content in ('走\n跑\n'.encode('gbk'), b'', 'walk\nwalk\n'):
        write(tmp_path / 'classes.txt', content)
        assert told(read(tmp_path, 'a.mp4 0\nb.mp4 1\n')) == [('a.mp4', 0), ('b.mp4', 1)]
        assert told(read(tmp_path, 'a.mp4,run\n', classes=['walk', 'run'])) == [('a.mp4', 1)]
        assert told(read(tmp_path, 'a.mp4 run\n', classes=['walk', 'run'], multi_label=True)) == [('a.mp4', (1,))]
        assert caplog.text.count('a file beside it is not used for the names of its classes') == 2
        caplog.clear()
        with pytest.raises(AnnotationError, match='classes.txt'):
            read(tmp_path, 'a.mp4,run\n')


@pytest.mark.parametrize('encoding', ['utf-8', 'gbk'])
def test_a_file_of_classes_beside_a_list_may_be_encoded_as_it_is(tmp_path, encoding):
    write(tmp_path / 'classes.txt', '走\n跑\n'.encode(encoding))
    assert read(tmp_path, b'a.mp4 0\nb.mp4 1\n', list_encoding='gbk').classes == ['走', '跑']


@pytest.mark.parametrize('content', ['path,num_frames,label\na.mp4,120.0,3\n', 'a.mp4,120.0,3\n'])
def test_a_number_of_frames_may_be_written_as_pandas_does(tmp_path, content):
    sample, = read(tmp_path, content, 'a.csv', label_base=0).samples
    assert (sample.num_frames, sample.label) == (120, 3)
