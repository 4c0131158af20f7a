"""Lists of EPIC-KITCHENS: every row means its own frames and no others, and says so when they are not there."""
from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import videos
from epic import ACTIONS, make_epic

from gluon_action.data import EpicKitchens, VideoClsCustom
from gluon_action.data.by_name import open_dataset
from gluon_action.data.lists.annotations import list_videos, read_annotations
from gluon_action.data.lists.classes.class_files import read_class_names
from gluon_action.errors import AnnotationError, VideoReadError

HEADER = 'participant_id,video_id,start_frame,stop_frame,action_class\n'
NAMES = {'open bag': 0, 'take bag': 1}
EPIC_100 = ('narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,'
            'stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n'
            'P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,3,door,3,[\'door\'],[3]\n'
            'P01_01_1,P01,P01_01,00:00:02.629,00:00:04.37,00:01:06.17,262,370,"take cup, plate",take,0,cup,13,'
            '"[\'cup\', \'plate\']","[13, 2]"\n')


def write(folder, text, name='list.csv', names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    if names:
        (folder / 'class_names.json').write_text(json.dumps(names))
    (folder / name).write_text(text)
    return str(folder / name)


def rows_of(found):
    return [(sample.key, sample.label) for sample in found.samples]


def error_of(tmp_path, text, names=NAMES, **options):
    with pytest.raises(AnnotationError) as caught:
        read_annotations(write(tmp_path, text, names=names), str(tmp_path), **options)
    return str(caught.value).replace(str(tmp_path) + '/', '')


@pytest.fixture(scope='module')
def kitchen(tmp_path_factory):
    """Frames 11 to 40 of the video P01_01, that carry their numbers."""
    root = tmp_path_factory.mktemp('kitchen')
    videos.write_frames(root / 'P01' / 'P01_01', range(11, 41), pattern='frame_%010d.jpg')
    return root


def numbers(kitchen, tmp_path, text, index=0, **options):
    """Numbers that the frames of a row carry: the whole range as one clip."""
    options = {'new_width': 0, 'new_height': 0, 'train': False, **options}
    dataset = VideoClsCustom(str(kitchen), write(tmp_path, text), **options)
    return [videos.read_barcode(frame) for frame in dataset.load_frames(index)]


# ---------------------------------------------------------------- lists

def test_a_list_says_ranges_of_frames_and_classes_by_name(tmp_path):
    found = read_annotations(write(tmp_path, HEADER + 'P01,P01_01,8,202,open bag\nP03,P03_22,1,60,Take_Bag\n'), 'root')
    assert found.format == 'epic' and found.classes == list(ACTIONS) and found.num_classes == 2
    assert rows_of(found) == [('P01/P01_01#f=8,202', 0), ('P03/P03_22#f=1,60', 1)]
    assert [(s.first, s.last, s.path, s.line) for s in found.samples] == [
        (8, 202, 'root/P01/P01_01', 2), (1, 60, 'root/P03/P03_22', 3)]


@pytest.mark.parametrize('names', [NAMES, {'1': 'take bag', '0': 'open bag'}, list(ACTIONS),
                                   {'open bag': '0', 'take bag': '1'}])
def test_class_names_are_read_in_either_direction(tmp_path, names):
    setting = write(tmp_path, HEADER + 'P01,P01_01,1,9,1\nP01,P01_01,10,12,open bag\n', names=names)
    found = read_annotations(setting, 'root')
    assert found.classes == list(ACTIONS) and [sample.label for sample in found.samples] == [1, 0]
    assert read_class_names(tmp_path / 'class_names.json') == list(ACTIONS)


@pytest.mark.parametrize('names, told', [
    ({'a': 0, 'b': 2}, 'the numbers of its 2 classes must run from 0 to 1, got 0, 2'),
    ({'a': 0, 'b': 0}, 'each number once'), ({'a': 'b'}, 'expected class names as'), (['a', 3], 'expected class names'),
    (['a', 'b', 'a'], "entry 2: names 'a', as entry 0 does"), ({'a': 1.5}, 'expected class names as')])
def test_class_names_that_number_nothing_are_refused(tmp_path, names, told):
    assert told in error_of(tmp_path, HEADER + 'P01,P01_01,1,9,1\n', names=names)


def test_names_that_the_caller_gives_come_first(tmp_path):
    setting = write(tmp_path, HEADER + 'P01,P01_01,1,9,take bag\n')
    assert read_annotations(setting, classes=['take bag', 'open bag', 'cut']).samples[0].label == 0


def test_without_names_the_lists_own_are_sorted_and_numbers_stay(tmp_path):
    named = write(tmp_path / 'named', HEADER + 'P01,P01_01,1,9,take\nP01,P01_01,10,19,cut\n', names=None)
    found = read_annotations(named)
    assert found.classes == ['cut', 'take'] and [sample.label for sample in found.samples] == [1, 0]
    numbered = write(tmp_path / 'numbered', HEADER + 'P01,P01_01,1,9,0\nP01,P01_01,10,19,4\n', names=None)
    assert [sample.label for sample in read_annotations(numbered).samples] == [0, 4]


@pytest.mark.parametrize('kind, labels', [('verb', [3, 0]), ('noun', [3, 13])])
def test_lists_of_epic_kitchens_100_give_verbs_or_nouns(tmp_path, kind, labels):
    found = read_annotations(write(tmp_path, EPIC_100, names=None), 'root', list_format=f'epic:{kind}')
    assert [sample.label for sample in found.samples] == labels and found.classes is None
    assert [(s.first, s.last, s.start, s.end) for s in found.samples] == [(8, 202, 0.14, 3.37),
                                                                          (262, 370, 4.37, 66.17)]


def test_classes_of_epic_kitchens_100_have_the_names_of_its_tables(tmp_path):
    (tmp_path / 'EPIC_100_verb_classes.csv').write_text(
        'id,key,instances,category\n0,take,"[\'take\', \'pick\']",retrieve\n1,put,[],leave\n2,wash,[],clean\n'
        '3,open,[],access\n')
    found = read_annotations(write(tmp_path, EPIC_100, names=None), list_format='epic:verb')
    assert found.classes == ['take', 'put', 'wash', 'open'] and [s.label for s in found.samples] == [3, 0]


def test_a_list_of_verbs_and_nouns_asks_which(tmp_path):
    told = error_of(tmp_path, EPIC_100)
    assert 'list.csv line 1: has the columns verb_class and noun_class' in told and '--list-format epic:verb' in told


def test_the_same_frames_with_two_labels_are_a_warning_that_names_the_rows(tmp_path, caplog):
    text = HEADER + 'P01,P01_09,,,open bag\nP01,P01_01,1,9,open bag\nP01,P01_09,,,take bag\nP01,P01_01,1,10,take bag\n'
    with caplog.at_level(logging.WARNING):
        assert len(read_annotations(write(tmp_path, text)).samples) == 4
    assert '1 times the same frames have two labels' in caplog.text and 'lines 2 and 4 (P01/P01_09)' in caplog.text


@pytest.mark.parametrize('row, told', [
    ('P01,P01_01,20,10,open bag', 'list.csv line 2: stop_frame 10 is before start_frame 20'),
    ('P01,P01_01,x,10,open bag', "line 2: the number of a frame is expected, got 'x'"),
    ('P01,P01_01,-3,10,open bag', "the number of a frame is expected, got '-3'"),
    ('P01,P01_01,1,10,cut bag', "line 2: 'cut bag' is not one of the 2 classes (open bag, take bag); class_names.json"),
    ('P01,P01_01,1,10,2', 'line 2: label 2 is out of range 0..1'), ('P01,,1,10,open bag', 'line 2: has no video_id'),
    ('P01,P01_01,1,10,', 'line 2: has no action_class, the label'), ('P01,P01_01,1', 'has 3 columns'),
    ('../..,P01_01,1,10,1', 'lies outside the data folder')])
def test_rows_that_cannot_be_are_refused_by_line(tmp_path, row, told):
    assert told in error_of(tmp_path, HEADER + row + '\n')


@pytest.mark.parametrize('header, told', [
    ('participant_id,video_id,start_frame', 'line 1: the header names no column action_class or label'),
    ('path,action_class', 'line 1: the header names no column participant_id and no video_id'),
    ('narration,verb', 'has no header line; expected columns such as')])
def test_headers_that_lack_a_column_are_refused(tmp_path, header, told):
    assert told in error_of(tmp_path, f'{header}\n{",".join("1" for _ in header.split(","))}\n', list_format='epic')


@pytest.mark.parametrize('end', ['00:00:59.5', '00:01:00'])
def test_times_that_do_not_end_after_they_start_are_refused(tmp_path, end):
    text = f'participant_id,video_id,start_timestamp,stop_timestamp,action_class\nP01,P01_01,00:01:00,{end},1\n'
    assert f'line 2: stop_timestamp {end} is not after start_timestamp 00:01:00' in error_of(tmp_path, text)


# ---------------------------------------------------------------- frames

def test_frames_may_be_counted_from_0(tmp_path):
    videos.write_frames(tmp_path / 'P01' / 'P01_01', range(6), pattern='frame_%010d.jpg')
    assert numbers(tmp_path, tmp_path, HEADER + 'P01,P01_01,0,4,open bag\n', new_length=5) == [0, 1, 2, 3, 4]


def test_a_row_means_its_own_frames_both_ends_included(kitchen, tmp_path):
    text = HEADER + 'P01,P01_01,15,20,open bag\nP01,P01_01,30,40,take bag\n'
    assert numbers(kitchen, tmp_path, text, new_length=6) == [15, 16, 17, 18, 19, 20]
    assert numbers(kitchen, tmp_path, text, 1, new_length=11) == list(range(30, 41))
    assert numbers(kitchen, tmp_path, text, 1, new_length=5, clip_sampling='spread') == [31, 33, 35, 37, 39]


def test_training_never_leaves_the_range(kitchen, tmp_path):
    setting = write(tmp_path, HEADER + 'P01,P01_01,15,20,open bag\n')
    dataset = VideoClsCustom(str(kitchen), setting, new_length=4, clip_sampling='spread', new_width=0, new_height=0)
    drawn = [dataset.load(0, epoch=epoch)[0] for epoch in range(30)]
    seen = {videos.read_barcode(frame.transpose(1, 2, 0)) for clip in drawn for frame in clip[0].transpose(1, 0, 2, 3)}
    assert seen == set(range(15, 21))


@pytest.mark.parametrize('row, expected', [
    ('P01,P01_01,,', range(11, 41)), ('P01,P01_01,35,', range(35, 41)), ('P01,P01_01,,14', range(11, 15))])
def test_open_ends_reach_as_far_as_the_folder(kitchen, tmp_path, row, expected):
    assert numbers(kitchen, tmp_path, f'{HEADER}{row},1\n', new_length=len(expected)) == list(expected)


def test_a_whole_folder_may_have_gaps_and_comes_in_the_order_of_its_numbers(tmp_path):
    shown = [2, 3, 10, 11, 100, 1000]
    videos.write_frames(tmp_path / 'P01/P01_09', shown, pattern='frame_%010d.jpg')
    assert numbers(tmp_path, tmp_path, HEADER + 'P01,P01_09,,,1\n', new_length=6) == shown


@pytest.mark.parametrize('place', ['P01/rgb_frames/P01_01', 'P01/videos/P01_01', 'P01_01'])
def test_frames_are_found_where_epic_kitchens_puts_them(tmp_path, place):
    videos.write_frames(tmp_path / place, range(1, 5), pattern='frame_%010d.jpg')
    assert numbers(tmp_path, tmp_path, HEADER + 'P01,P01_01,2,3,1\n', new_length=2) == [2, 3]


@pytest.mark.parametrize('row, told', [
    ('5,20', 'frames 5 to 20 were asked for, the folder holds 30 frames, 11 to 40'),
    ('30,41', 'frames 30 to 41 were asked for, the folder holds 30 frames, 11 to 40'),
    ('50,60', 'frames 50 to 60 were asked for, the folder holds 30 frames, 11 to 40')])
def test_a_range_outside_of_the_folder_says_what_the_folder_holds(kitchen, tmp_path, row, told):
    with pytest.raises(VideoReadError) as caught:
        numbers(kitchen, tmp_path, f'{HEADER}P01,P01_01,{row},1\n')
    assert told in str(caught.value) and 'list.csv line 2' in str(caught.value)


def test_gaps_in_a_range_and_folders_that_are_not_there_are_named(tmp_path):
    videos.write_frames(tmp_path / 'P01/P01_01', [1, 2, 5, 6, 8], pattern='frame_%010d.jpg')
    text = HEADER + 'P01,P01_01,1,6,1\nP02,P02_07,1,6,1\nP01,P01_01,3,6,1\n'
    with pytest.raises(VideoReadError, match=r'missing between its 4: frame_0000000003\.jpg, frame_0000000004\.jpg'):
        numbers(tmp_path, tmp_path, text)
    with pytest.raises(VideoReadError, match=r'P02/P02_07: cannot be read .* does not exist \(.*list\.csv line 3\)'):
        numbers(tmp_path, tmp_path, text, 1)
    with pytest.raises(VideoReadError, match=r'frames 3 to 6 were asked for, and frame_0000000003\.jpg is not there'):
        numbers(tmp_path, tmp_path, text, 2)


def test_pictures_with_other_names_are_reported(tmp_path):
    videos.write_frames(tmp_path / 'P01/P01_01', range(1, 4))
    text = HEADER + 'P01,P01_01,1,3,1\n'
    with pytest.raises(VideoReadError, match=r'no file is named like frame_%010d\.jpg; it holds 3 others'):
        numbers(tmp_path, tmp_path, text)
    assert numbers(tmp_path, tmp_path, text, name_pattern='img_%05d.jpg', new_length=3) == [1, 2, 3]


def test_video_files_are_cut_by_time_where_the_list_has_it_and_else_by_number(tmp_path):
    (tmp_path / 'P01/videos').mkdir(parents=True)
    videos.write_video(tmp_path / 'P01/videos/film.mp4', 60).rename(tmp_path / 'P01/videos/P01_01.MP4')
    timed = HEADER.replace('start_', 'start_timestamp,start_').replace('stop_', 'stop_timestamp,stop_')
    row = 'P01,P01_01,00:00:00.40,600,00:00:00.80,1200,1\n'  # frame numbers of another frame rate
    assert numbers(tmp_path, tmp_path, timed + row, new_length=10) == list(range(10, 20))
    assert numbers(tmp_path, tmp_path, HEADER + 'P01,P01_01,5,9,1\n', new_length=5) == [4, 5, 6, 7, 8]
    with pytest.raises(VideoReadError, match='frames 50 to 61 were asked for, it has 1 to 60'):
        numbers(tmp_path, tmp_path, HEADER + 'P01,P01_01,50,61,1\n')


def test_flow_of_a_range_lies_between_its_frames(tmp_path):
    flow = tmp_path / 'P01/P01_01'
    flow.mkdir(parents=True)
    np.savez_compressed(flow / 'flow.npz', flow=np.tile(np.arange(1, 20, dtype=np.uint8)[:, None, None, None],
                                                        (1, 8, 8, 2)))
    dataset = VideoClsCustom(str(tmp_path), write(tmp_path, HEADER + 'P01,P01_01,5,9,1\nP01,P01_01,15,21,0\n'),
                             train=False, modality='flow', new_length=4, new_width=0, new_height=0)
    assert dataset.load_frames(0)[:, 0, 0, 0].tolist() == [5, 6, 7, 8]
    with pytest.raises(VideoReadError):
        dataset.load_frames(1)


# ---------------------------------------------------------------- whole data sets

def test_a_data_set_of_the_shape_of_epic_kitchens_is_read_by_its_name(tmp_path, monkeypatch):
    made = make_epic(tmp_path / 'datasets/epic_kitchens', num_frames=8)
    monkeypatch.setenv('MXNET_HOME', str(tmp_path))
    train, val = (open_dataset('epic_kitchens', train=is_train, new_length=4, clip_sampling='spread', new_width=0,
                               new_height=0) for is_train in (True, False))
    assert type(train) is EpicKitchens and (len(train), len(val)) == (12, 8)
    assert train.classes == val.classes == list(ACTIONS) == read_class_names(made.class_names)
    assert {sample.label for sample in train.samples} == {0, 1} and train.samples[1].first == 12
    clip, label = val[0]
    assert clip.shape == (1, 3, 4, 40, 48) and label == val.samples[0].label
    assert len(list_videos(str(made.train_list), str(made.train_dir))) == 6


def test_the_two_classes_differ_by_motion_alone(tmp_path):
    made = make_epic(tmp_path, num_frames=12)
    dataset = VideoClsCustom(str(made.val_dir), str(made.val_list), train=False, new_length=12, new_width=0,
                             new_height=0)
    for index in range(len(dataset)):
        clip, label = dataset.load(index)
        places = [np.argwhere(frame[0] > 150)[:, 1].mean() for frame in clip[0].transpose(1, 0, 2, 3)]
        assert (places[-1] > places[0]) == (label == 0) and sorted(places)[0] in (places[0], places[-1])
