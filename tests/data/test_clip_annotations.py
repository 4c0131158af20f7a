"""Annotated parts of videos: how lists are read, what is told of rows that cannot be, and which clips a part gives."""
import json
import os
import re

import numpy as np
import pytest

from gluon_action.data.lists.classes.class_files import read_class_names
from gluon_action.data.lists.parts_of_videos import Annotation, clip_starts, read_clip_annotations
from gluon_action.data.reading.sampling import frames_between
from gluon_action.errors import AnnotationError, UsageError


@pytest.fixture
def read(tmp_path):
    """Write a list and read it."""
    def read(text, name='list.csv', **options):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return read_clip_annotations(path, **options)
    return read


def told(videos):
    return [(a.key, a.start, a.end, a.in_frames, [videos.classes[label] for label in a.labels]) for a in
            videos.annotations]


PARTS = [('a.mp4', 1.5, 4.0, False, ['gate down', 'train']), ('a.mp4', None, 1.5, False, ['train']),
         ('sub/b.mp4', 7.0, None, False, ['car'])]
LISTS = {
    'csv': ('list.csv', 'video,start,end,labels\na.mp4,1.5,4,gate down;train\na.mp4,,1.5,train\nsub/b.mp4,7,,car\n'),
    'other order': ('list.csv', 'labels,end,begin,filename\ngate down|train,4,1.5,a.mp4\ntrain,1.5,,a.mp4\n'
                                'car,,7,sub/b.mp4\n'),
    'tsv': ('list.tsv', 'video\tstart_time\tend_time\tlabel\na.mp4\t1.5\t4\tgate down; train\na.mp4\t\t1.5\ttrain\n'
                        'sub/b.mp4\t7\t\tcar\n'),
    'json': ('list.json', [{'video': 'a.mp4', 'start': 1.5, 'end': 4, 'labels': ['gate down', 'train']},
                           {'video': 'a.mp4', 'start': None, 'end': 1.5, 'labels': 'train'},
                           {'path': 'sub/b.mp4', 'start': 7, 'label': ['car']}]),
    'a row for each label': ('list.csv', 'video,start,end,label\na.mp4,1.5,4,train\na.mp4,,1.5,train\n'
                                         'sub/b.mp4,7,,car\na.mp4,1.5,4,gate down\n'),
    'excel': ('list.csv', '\ufeffVideo,Start,End,Labels\r\n"a.mp4","1.5",4,"gate down;train"\r\na.mp4,,1.5,train\r\n'
                          'sub/b.mp4,7,,car\r\n'),
}


@pytest.mark.parametrize('kind', LISTS)
def test_the_same_parts_can_be_written_in_many_ways(read, kind):
    name, text = LISTS[kind]
    videos = read(text, name)
    assert videos.classes == ['car', 'gate down', 'train'] and videos.splits == ['']
    assert told(videos) == PARTS


def test_parts_that_differ_in_an_end_are_not_one(read):
    videos = read('video,start,end,labels\na.mp4,1,2,x\na.mp4,1,3,y\na.mp4,,2,z\na.mp4,1,2,z\n')
    assert told(videos) == [('a.mp4', 1, 2, False, ['x', 'z']), ('a.mp4', 1, 3, False, ['y']),
                            ('a.mp4', None, 2, False, ['z'])]


def test_rows_know_file_line_and_path(read, tmp_path):
    videos = read('video,labels\n\na.mp4,x\nb/c.mp4,y\n')
    assert [a.where for a in videos.annotations] == [f'{tmp_path}/list.csv line 3', f'{tmp_path}/list.csv line 4']
    assert videos.annotations[1].path == f'{tmp_path}/b/c.mp4'
    elsewhere = read('video,labels\nb/c.mp4,y\n', data_dir='/data')
    assert elsewhere.annotations[0].path == '/data/b/c.mp4'
    assert read([{'video': 'a.mp4', 'labels': 'x'}], 'list.json').annotations[0].where.endswith('list.json entry 1')


class Timed:
    """As much of a video as parts are found by."""

    def __init__(self, num_frames: int, fps: float | None):
        self.num_frames, self.seconds = num_frames, None if fps is None else np.arange(num_frames) / fps
        self.ends = None if fps is None else num_frames / fps

    def __len__(self) -> int:
        return self.num_frames

    def frames_between(self, start, end) -> range:
        return frames_between(self.seconds, self.ends, start, end)


@pytest.mark.parametrize('text, options', [('video,start,end,labels\na.mp4,30,60,x', {'unit': 'frames'}),
                                           ('video,start_frame,end_frame,labels\na.mp4,30,60,x', {}),
                                           ('video,start_frame,stop_frame,labels\na.mp4,30,60,x', {})])
def test_parts_can_be_given_in_frames(read, text, options):
    part, = read(text, **options).annotations
    assert (part.start, part.end, part.in_frames) == (30, 60, True)
    assert part.frames(Timed(100, None)) == range(30, 60) and part.frames(Timed(50, 25.0)) == range(30, 50)


def test_seconds_become_frames_by_the_videos_rate():
    part = Annotation('a', 'a', (0,), 1.5, 4.0)
    assert part.frames(Timed(1000, 10.0)) == range(15, 40) and part.frames(Timed(30, 10.0)) == range(15, 30)
    assert part.frames(Timed(1000, 29.97)) == range(45, 120) and not part.frames(Timed(10, 10.0))
    assert Annotation('a', 'a', (0,)).frames(Timed(7, None)) == range(7)
    with pytest.raises(UsageError, match='no frame rate, so it cannot be cut by time; give its parts in frames'):
        part.frames(Timed(1000, None))


@pytest.mark.parametrize('cells, numbers', [(('0', '2'), ((0,), (2,))), (('0;2', '1'), ((0, 2), (1,))),
                                            (('"0,2"', '1 2'), ((0, 2), (1, 2))), (('2|0', '2;2'), ((0, 2), (2,)))])
def test_labels_may_be_numbers(read, cells, numbers):
    videos = read('video,labels\n' + ''.join(f'{i}.mp4,{cell}\n' for i, cell in enumerate(cells)))
    assert tuple(a.labels for a in videos.annotations) == numbers and videos.classes == ['0', '1', '2']


def test_numbers_may_start_at_1(read):
    videos = read('video,labels\na.mp4,1;3\n', label_base=1)
    assert videos.annotations[0].labels == (0, 2) and videos.classes == ['1', '2', '3']


def test_given_classes_decide_the_numbers(read):
    videos = read('video,labels\na.mp4,train;2\nb.mp4,Gate_Down\n', classes=['train', 'car', 'gate down'])
    assert [a.labels for a in videos.annotations] == [(0, 2), (2,)] and videos.classes[1] == 'car'


def test_a_row_without_a_label_is_taken_on_demand(read):
    text = 'video,start,end,labels\na.mp4,0,1,\nb.mp4,0,1,x\n'
    with pytest.raises(AnnotationError, match=r'line 2: has no label; pass --allow-no-label'):
        read(text)
    assert [a.labels for a in read(text, allow_no_label=True).annotations] == [(), (0,)]
    assert read([{'video': 'a', 'labels': []}, {'video': 'b', 'labels': 'x'}], 'list.json',
                allow_no_label=True).annotations[0].labels == ()


def test_lists_without_a_header_and_folders_are_of_whole_videos(read, tmp_path):
    for text in ('a b.mp4 1\nc.mp4 0\n', '"a b.mp4" 120 1\nc.mp4 90 0\n'):
        assert told(read(text, 'list.txt')) == [
            ('a b.mp4', None, None, False, ['1']), ('c.mp4', None, None, False, ['0'])]
    for name in ('jump/a.mp4', 'run/b.mp4', 'run/c.mp4'):
        path = tmp_path / 'videos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    videos = read_clip_annotations(tmp_path / 'videos')
    assert videos.classes == ['jump', 'run']
    assert [(os.path.relpath(a.path, tmp_path / 'videos'), a.labels) for a in videos.annotations] == [
        ('jump/a.mp4', (0,)), ('run/b.mp4', (1,)), ('run/c.mp4', (1,))]


def test_a_folder_of_splits_is_refused(tmp_path):
    for name in ('train/jump/a.mp4', 'val/jump/b.mp4'):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
    with pytest.raises(AnnotationError, match='holds the parts of a data set, train, val; make the records of each'):
        read_clip_annotations(tmp_path)


BAD = {
    'no video': ('video,labels\n,x\n', {}, r'list.csv line 2: names no video; expected columns such as video'),
    'no label column': ('video,start,end\na.mp4,0,1\n', {}, r'line 2: has no label'),
    'time': ('video,start,end,labels\na.mp4,zero,1,x\n', {}, r"line 2: a time in seconds is expected, got 'zero'"),
    'negative': ('video,start,end,labels\na.mp4,-1,1,x\n', {}, r"line 2: a time of 0 or more seconds .* got '-1'"),
    'nan': ('video,start,end,labels\na.mp4,nan,1,x\n', {}, r"line 2: a time of 0 or more seconds .* got 'nan'"),
    'backwards': ('video,start,end,labels\na.mp4,3,2.5,x\n', {}, r'line 2: ends at 2.5, where it starts \(3\)'),
    'no length': ('video,start,end,labels\na.mp4,0,0,x\n', {}, r'line 2: ends at 0, where it starts \(0\) or before'),
    'frames': ('video,start_frame,end_frame,labels\na.mp4,1.5,9,x\n', {}, r"the number of a frame, .* got '1.5'"),
    'too many columns': ('video,labels\na.mp4,x,y\n', {}, r'line 2: has 3 columns, the header names 2; join labels by'),
    'unknown name': ('video,labels\na.mp4,x\nb.mp4,z\n', {'classes': ['x', 'y']},
                     r"line 3: label 'z' is not the name of one of the 2 classes, nor a number in 0..1; check"),
    'number out of range': ('video,labels\na.mp4,2\n', {'classes': ['x', 'y']}, r"line 2: label '2' is not the name"),
    'zero from 1': ('video,labels\na.mp4,1\nb.mp4,0\n', {'label_base': 1}, r"line 3: label '0' is not .* in 1..1"),
    'label of a kind': ([{'video': 'a', 'labels': [1.5]}], {}, r'list.json entry 1: label 1.5 is neither a name nor'),
    'json of a kind': ({'a.mp4': 'x'}, {}, r'list.json: expected a list of objects such as \{"video": "a.mp4"'),
    'broken json': ('[{"video": ', {}, r'is not JSON'),
    'no header': ('a.mp4,1,2,x\nb.mp4,3,4,y\n', {}, r'list.csv'),
    'empty': ('', {}, r'list.csv: lists no videos; the file is empty'),
    'only a header': ('video,labels\n', {}, r'list.csv: lists no videos'),
    'two splits': ('video,split,labels\na.mp4,train,x\nb.mp4,val,x\n./a.mp4,val,x\n', {},
                   r"line 4: ./a.mp4 is for 'val', but for 'train' in .*list.csv line 2; clips of one video must not"),
    'no split column': ('video,labels\na.mp4,x\n', {'split': 'fold'},
                        r"line 2: has no column 'fold' that --split names; there are video, labels"),
    'no split': ('video,split,labels\na.mp4,,x\n', {}, r"line 2: '' is not the name of a split"),
    'split outside': ('video,split,labels\na.mp4,../x,x\n', {}, r"line 2: '../x' is not the name of a split; it"),
}


@pytest.mark.parametrize('kind', BAD)
def test_a_bad_row_is_told_by_file_and_line(read, kind):
    text, options, expected = BAD[kind]
    with pytest.raises(AnnotationError, match=expected):
        read(text, 'list.json' if 'json' in expected or not isinstance(text, str) else 'list.csv', **options)


def test_a_missing_list_is_told(tmp_path):
    with pytest.raises(AnnotationError, match='none.csv: the list does not exist'):
        read_clip_annotations(tmp_path / 'none.csv')


SPLIT = 'video,split,labels\na.mp4,train,x\nb.mp4,test,y\nc.mp4,train,y\na.mp4,train,y\n'


def test_a_column_says_the_split(read):
    videos = read(SPLIT)
    assert videos.splits == ['test', 'train'] and [a.split for a in videos.annotations] == ['train', 'test', 'train']
    other = read(SPLIT.replace('split', 'Fold'), split='fold')
    assert [a.split for a in other.annotations] == ['train', 'test', 'train']
    with pytest.raises(UsageError, match="--val-share: the column 'split' of .*list.csv says what is for what"):
        read(SPLIT, val_share=0.5)


def parts(videos):
    return {split: {a.key for a in videos.annotations if a.split == split} for split in videos.splits}


def test_a_share_of_the_videos_is_drawn_for_validation(read):
    rows = [f'v{video}.mp4,{start},{start + 1},x\n' for start in range(3) for video in range(20)]
    text = 'video,start,end,labels\n' + ''.join(rows)
    drawn = parts(read(text, val_share=0.25))
    assert len(drawn['val']) == 5 and len(drawn['train']) == 15 and not drawn['val'] & drawn['train']
    assert parts(read(text, val_share=0.25)) == drawn
    shuffled = 'video,start,end,labels\n' + ''.join(reversed(rows))
    assert parts(read(shuffled, val_share=0.25)) == drawn != parts(read(text, val_share=0.25, seed=1))
    assert len(parts(read(text, val_share=0.08))['val']) == 2 and len(parts(read(text, val_share=0.07))['val']) == 1
    assert len(parts(read(text, val_share=0.01))['val']) == 1 and len(parts(read(text, val_share=0.99))['train']) == 1


def test_one_video_by_two_names_is_one(read, tmp_path):
    (tmp_path / 'a.mp4').touch()
    os.symlink('a.mp4', tmp_path / 'link.mp4')
    names = ['a.mp4', 'link.mp4', './a.mp4'] * 9
    rows = ''.join(f'{name},{number},{number + 1},x\n' for number, name in enumerate(names))
    videos = read(f'video,start,end,labels\n{rows}z.mp4,0,1,x\n', val_share=0.5)
    assert len({a.split for a in videos.annotations if a.key != 'z.mp4'}) == 1
    with pytest.raises(UsageError, match='names one video, which cannot be in two splits'):
        read(f'video,start,end,labels\n{rows}', val_share=0.5)


@pytest.mark.parametrize('options', [{'unit': 'hours'}, {'label_base': 2}, {'val_share': 1.0}, {'val_share': -0.1}])
def test_arguments_that_cannot_be_are_refused(read, options):
    with pytest.raises(UsageError, match='--unit must be seconds or frames, --label-base 0 or 1, --val-share'):
        read('video,labels\na.mp4,x\n', **options)


def test_the_digest_is_of_what_the_list_says(read):
    digest = read(SPLIT).sha256
    assert read(SPLIT.replace('\n', '\n\n')).sha256 == digest != read(SPLIT.replace('c.mp4', 'd.mp4')).sha256


@pytest.mark.parametrize('num_frames, span, step, starts, whole', [
    (64, 64, 64, [0], [0]), (65, 64, 64, [0, 64], [0]), (63, 64, 64, [0], []), (1, 64, 64, [0], []),
    (0, 64, 64, [], []), (128, 64, 64, [0, 64], [0, 64]), (130, 64, 64, [0, 64, 128], [0, 64]),
    (10, 4, 2, [0, 2, 4, 6], [0, 2, 4, 6]), (11, 4, 2, [0, 2, 4, 6, 8], [0, 2, 4, 6]),
    (10, 4, 10, [0], [0]), (20, 4, 10, [0, 10], [0, 10]),
    (8, 7, 8, [0], [0]), (9, 7, 8, [0, 8], [0]),  # every second of 8 frames touches 7
])
def test_clips_start_every_step_until_one_reaches_the_end(num_frames, span, step, starts, whole):
    assert clip_starts(num_frames, span, step) == starts
    assert clip_starts(num_frames, span, step, drop_short=True) == whole


def test_a_file_of_classes_is_one_name_a_line(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('train\n\n gate down \ncar\n')
    assert read_class_names(path) == ['train', 'gate down', 'car']
    path.write_text('train\ncar\ntrain\n')
    with pytest.raises(AnnotationError, match=re.escape(f"{path} line 3: names 'train', as line 1 does")):
        read_class_names(path)
    path.write_text('\n')
    with pytest.raises(AnnotationError, match='names no class; expected one a line'):
        read_class_names(path)
