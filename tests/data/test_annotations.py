import json
import logging
import os

import pytest

from gluon_action.data.lists.annotations import FORMATS, read_annotations
from gluon_action.errors import AnnotationError, UsageError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def touch(root, *names):
    for name in names:
        write(root / name, 'x')


def told(videos):
    """What a list says, without folders."""
    return [(sample.key, sample.num_frames, sample.label) for sample in videos.samples]


def error_of(text, tmp_path, name='list.txt', **options):
    with pytest.raises(AnnotationError) as caught:
        read_annotations(write(tmp_path / name, text), str(tmp_path / 'videos'), **options)
    return str(caught.value).replace(str(tmp_path) + '/', '')


# ---------------------------------------------------------------- formats that one line describes

COLUMNS = [
    ('gluoncv', 'a/b 120 0\nc 30 1\n', [('a/b', 120, 0), ('c', 30, 1)]),
    ('gluoncv', 'a.mp4\t120\t0\nc.mp4\t30\t1\n', [('a.mp4', 120, 0), ('c.mp4', 30, 1)]),
    ('gluoncv', 'a.mp4,120,0\nc.mp4,30,1\n', [('a.mp4', 120, 0), ('c.mp4', 30, 1)]),
    ('gluoncv', 'my clip.mp4 120 0\nanother one.mp4 30 1\n', [('my clip.mp4', 120, 0), ('another one.mp4', 30, 1)]),
    ('gluoncv', '"my clip.mp4" 120 0\n\'b c.mp4\' 30 1\n', [('my clip.mp4', 120, 0), ('b c.mp4', 30, 1)]),
    ('gluoncv', "it's.mp4 5 0\nb.mp4 3 1\n", [("it's.mp4", 5, 0), ('b.mp4', 3, 1)]),
    ('gluoncv', 'a.mp4 -1 0\nb.mp4 0 1\nc.mp4 2\n', [('a.mp4', None, 0), ('b.mp4', None, 1), ('c.mp4', None, 2)]),
    ('gluoncv', 'a.mp4 120 0\nc.mp4 2\n', [('a.mp4', 120, 0), ('c.mp4', None, 2)]),
    ('path_label', 'a.mp4 0\nb.mp4 1\n', [('a.mp4', None, 0), ('b.mp4', None, 1)]),
    ('path_label', 'a b.mp4 0\nb.mp4 1\n', [('a b.mp4', None, 0), ('b.mp4', None, 1)]),
    ('path_label', '"a b.mp4",0\n"c,d.mp4",1\n', [('a b.mp4', None, 0), ('c,d.mp4', None, 1)]),
    ('path_label', 'a,b.mp4 0\nc,d.mp4 1\n', [('a,b.mp4', None, 0), ('c,d.mp4', None, 1)]),
    ('path_label', '\ufeffa.mp4 0\r\n\r\nb.mp4 1\r\n', [('a.mp4', None, 0), ('b.mp4', None, 1)]),
    ('table', 'video,label\na b.mp4,0\nb.mp4,1\n', [('a b.mp4', None, 0), ('b.mp4', None, 1)]),
    ('table', 'label\tframes\tpath\n0\t12\ta b.mp4\n', [('a b.mp4', 12, 0)]),
    ('json', '[{"path": "a.mp4", "label": 0}, {"video": "b", "label": "1", "num_frames": 9}]',
     [('a.mp4', None, 0), ('b', 9, 1)]),
    ('json', '{"a.mp4": 0, "b.mp4": 1}', [('a.mp4', None, 0), ('b.mp4', None, 1)]),
]


@pytest.mark.parametrize('format, text, expected', COLUMNS, ids=range(len(COLUMNS)))
def test_columns_are_recognised(tmp_path, format, text, expected):
    videos = read_annotations(write(tmp_path / 'list.csv', text), str(tmp_path))
    assert (videos.format, told(videos)) == (format, expected)


@pytest.mark.parametrize('format, text, expected', COLUMNS, ids=range(len(COLUMNS)))
def test_a_forced_format_reads_what_the_automatic_one_reads(tmp_path, format, text, expected):
    videos = read_annotations(write(tmp_path / 'list.txt', text), str(tmp_path), list_format=format)
    assert told(videos) == expected


def test_a_forced_format_settles_what_the_line_leaves_open(tmp_path):
    setting = write(tmp_path / 'list.txt', 'take 1 0\ntake 2 1\n')
    assert told(read_annotations(setting, list_format='path_label')) == [('take 1', None, 0), ('take 2', None, 1)]
    setting = write(tmp_path / 'multi.txt', 'a 1 0\nb 2 1\n')
    with pytest.raises(AnnotationError, match='line 1: 1 may be a label .* multi_label_frames'):
        read_annotations(setting, multi_label=True)
    assert read_annotations(setting, multi_label=True, list_format='multi_label').samples[0].label == (0, 1)
    videos = read_annotations(setting, multi_label=True, list_format='multi_label_frames')
    assert told(videos) == [('a', 1, (0,)), ('b', 2, (1,))]


@pytest.mark.parametrize('format, text, expected', [
    ('multi_label', 'a.mp4 1 0\nb.mp4 2\n', [('a.mp4', None, (0, 1)), ('b.mp4', None, (2,))]),
    ('multi_label', 'my clip.mp4 1,0\nb.mp4 2\n', [('my clip.mp4', None, (0, 1)), ('b.mp4', None, (2,))]),
    ('multi_label', 'a.mp4,1,0\nb.mp4,2\n', [('a.mp4', None, (0, 1)), ('b.mp4', None, (2,))]),
    ('multi_label_frames', 'a.mp4 30 1,0\n"b c.mp4" 20 2\n', [('a.mp4', 30, (0, 1)), ('b c.mp4', 20, (2,))]),
    ('multi_label_frames', 'a.mp4 30 1,0\nb.mp4 20 2,3\n', [('a.mp4', 30, (0, 1)), ('b.mp4', 20, (2, 3))]),
    ('table', 'path,labels\na.mp4,1 0\nb.mp4,"2;3"\n', [('a.mp4', None, (0, 1)), ('b.mp4', None, (2, 3))]),
    ('json', '{"a.mp4": [1, 0], "b.mp4": 2}', [('a.mp4', None, (0, 1)), ('b.mp4', None, (2,))]),
    ('json', '[{"path": "a.mp4", "labels": [1, 0]}]', [('a.mp4', None, (0, 1))]),
])
def test_several_labels_a_video(tmp_path, format, text, expected):
    videos = read_annotations(write(tmp_path / 'list.txt', text), str(tmp_path), multi_label=True)
    assert (videos.format, told(videos)) == (format, expected)


def test_a_table_takes_parts_of_files_by_time(tmp_path):
    setting = write(tmp_path / 'cuts.csv', 'path,label,start,end\na.mp4,0,0,2.5\na.mp4,1,2.5,\n')
    first, second = read_annotations(setting, str(tmp_path)).samples
    assert (first.start, first.end, first.key) == (0, 2.5, 'a.mp4#t=0,2.5')
    assert (second.start, second.end, second.key) == (2.5, None, 'a.mp4#t=2.5,')


def test_parts_of_a_file_that_end_apart_may_have_different_labels(tmp_path, caplog):
    text = 'path,label,start,end\na.mp4,0,1:00,1:02.5\na.mp4,1,60,1:00:00\na.mp4,0,,62.5\n'
    samples = read_annotations(write(tmp_path / 'cuts.csv', text)).samples
    assert [(sample.start, sample.end, sample.label) for sample in samples] == [(60, 62.5, 0), (60, 3600, 1),
                                                                                (None, 62.5, 0)]
    with pytest.raises(AnnotationError, match='line 5: a.mp4#t=60,62.5 has label 1, but 0 in .*line 2'):
        read_annotations(write(tmp_path / 'cuts.csv', text + 'a.mp4,1,60,62.5\n'))
    assert 'more than once' not in caplog.text


@pytest.mark.parametrize('train, val', [('train', 'validation'), ('Train', 'VAL'), ('TRAIN', 'Test')])
def test_a_table_with_a_split_column_gives_one_split(tmp_path, train, val):
    setting = write(tmp_path / 'all.csv', f'path,label,split\na.mp4,0,{train}\nb.mp4,1,{val}\n')
    assert told(read_annotations(setting, split='train')) == [('a.mp4', None, 0)]
    assert told(read_annotations(setting, split='val')) == [('b.mp4', None, 1)]


def test_class_names_stand_for_labels_when_the_classes_are_known(tmp_path):
    setting = write(tmp_path / 'list.csv', 'a.mp4,walk\nb.mp4,sit_down\n')
    videos = read_annotations(setting, classes=['sit down', 'walk'])
    assert told(videos) == [('a.mp4', None, 1), ('b.mp4', None, 0)]


def test_a_name_that_two_classes_could_mean_is_none_of_them(tmp_path):
    classes = ['sit down', 'Sit_Down', 'walk']
    exact = write(tmp_path / 'list.csv', 'path,label\na.mp4,Sit_Down\nb.mp4,sit down\nc.mp4,WALK\n')
    assert [sample.label for sample in read_annotations(exact, classes=classes).samples] == [1, 0, 2]
    with pytest.raises(AnnotationError, match="line 2: label 'Sit Down' is not an integer, nor the name of one of 3"):
        read_annotations(write(tmp_path / 'list.csv', 'path,label\na.mp4,Sit Down\nb.mp4,walk\n'), classes=classes)


# ---------------------------------------------------------------- official lists

CLASS_IND = '1 ApplyEyeMakeup\n2 Archery\n'


def ucf101(tmp_path, name, text):
    write(tmp_path / 'classInd.txt', CLASS_IND)
    return write(tmp_path / name, text)


def test_ucf101_official_lists_count_from_one(tmp_path):
    setting = ucf101(tmp_path, 'trainlist01.txt', 'Archery/v_Archery_g01_c01.avi 2\r\nApplyEyeMakeup/v_a.avi 1\r\n')
    videos = read_annotations(setting, str(tmp_path))
    assert (videos.format, videos.classes, videos.num_classes) == ('ucf101', ['ApplyEyeMakeup', 'Archery'], 2)
    assert [sample.label for sample in videos.samples] == [1, 0]


def test_ucf101_test_lists_have_no_labels(tmp_path):
    setting = ucf101(tmp_path, 'testlist01.txt', 'Archery/v_b.avi\nApplyEyeMakeup/v a.avi\n')
    assert told(read_annotations(setting, str(tmp_path))) == [('Archery/v_b.avi', None, 1),
                                                              ('ApplyEyeMakeup/v a.avi', None, 0)]


def test_gluoncv_lists_beside_class_ind_count_from_zero(tmp_path):
    setting = ucf101(tmp_path, 'ucf101_train_split_1_rawframes.txt', 'ApplyEyeMakeup/v_a 90 0\nArchery/v_b 80 1\n')
    videos = read_annotations(setting, str(tmp_path))
    assert (videos.format, [sample.label for sample in videos.samples]) == ('gluoncv', [0, 1])
    setting = ucf101(tmp_path, 'short.txt', 'ApplyEyeMakeup/v_a 0\nArchery/v_b 1\n')
    assert read_annotations(setting, str(tmp_path)).format == 'path_label'


@pytest.mark.parametrize('first', [0, 1, 5])
def test_class_ind_may_count_from_any_number(tmp_path, first):
    write(tmp_path / 'classInd.txt', f'{first + 1} Archery\n{first} ApplyEyeMakeup\n{first + 2} Biking\n')
    setting = write(tmp_path / 'trainlist01.txt', f'Archery/v_a.avi {first + 1}\nBiking/v_b.avi {first + 2}\n')
    videos = read_annotations(setting, str(tmp_path))
    assert (videos.format, videos.classes) == ('ucf101', ['ApplyEyeMakeup', 'Archery', 'Biking'])
    assert [sample.label for sample in videos.samples] == [1, 2]
    setting = write(tmp_path / 'trainlist01.txt', f'Archery/v_a.avi {first + 1}\nMine/v_b.avi {first + 3}\n')
    with pytest.raises(AnnotationError, match=rf'line 2: label {first + 3} is out of range {first}\.\.{first + 2}'):
        read_annotations(setting, str(tmp_path), list_format='ucf101')


@pytest.mark.parametrize('lines, format', [
    (['Archery/a.avi 2', 'Mine/b.avi 0', 'Mine/c.avi 1'], 'path_label'),
    (['Archery/a.avi 2', 'Mine/b.avi 0'], 'path_label'),
    (['Archery/a.avi 2', 'ApplyEyeMakeup/b.avi 1', 'Mine/c.avi 1'], 'ucf101')])
def test_most_lines_of_a_list_must_agree_with_the_class_ind_beside_it(tmp_path, lines, format):
    videos = read_annotations(ucf101(tmp_path, 'list.txt', '\n'.join(lines)), str(tmp_path))
    shift = format == 'ucf101'
    assert videos.format == format
    assert [sample.label for sample in videos.samples] == [int(line.split()[1]) - shift for line in lines]


def test_ucf101_labels_that_contradict_their_folder_are_refused(tmp_path):
    setting = ucf101(tmp_path, 'trainlist01.txt', 'Archery/v_b.avi 2\nArchery/v_c.avi 2\nArchery/v_d.avi 1\n')
    with pytest.raises(AnnotationError, match=r'trainlist01.txt line 3: label 1 contradicts .* Archery is 2'):
        read_annotations(setting, str(tmp_path))


@pytest.mark.parametrize('made, found', [
    ('Archery/v_b.avi', 'Archery/v_b.avi'), ('Archery/v_b.mp4', 'Archery/v_b.mp4'),
    ('Archery/v_b/img_00001.jpg', 'Archery/v_b')])
def test_ucf101_official_lists_find_converted_videos(tmp_path, made, found):
    setting = ucf101(tmp_path, 'testlist01.txt', 'Archery/v_b.avi\n')
    touch(tmp_path / 'videos', made)
    assert read_annotations(setting, str(tmp_path / 'videos')).samples[0].path == str(tmp_path / 'videos' / found)


def hmdb51(tmp_path):
    for split in (1, 2):
        write(tmp_path / f'climb_stairs_test_split{split}.txt', f'a.avi {split} \nb.avi 0 \n')
        write(tmp_path / f'brush_hair_test_split{split}.txt', 'c c.avi 1\nd.avi 2\n')
    return str(tmp_path)


def test_hmdb51_split_files_give_training_and_test_videos(tmp_path):
    train = read_annotations(hmdb51(tmp_path / 'splits'), str(tmp_path), split='train')
    assert (train.format, train.classes) == ('hmdb51', ['brush_hair', 'climb_stairs'])
    assert told(train) == [('brush_hair/c c.avi', None, 0), ('climb_stairs/a.avi', None, 1)]
    assert told(read_annotations(hmdb51(tmp_path / 'splits'), split='val')) == [('brush_hair/d.avi', None, 0)]
    second = read_annotations(str(tmp_path / 'splits' / '*_test_split2.txt'), split='val')
    assert told(second) == [('brush_hair/d.avi', None, 0), ('climb_stairs/a.avi', None, 1)]


def test_hmdb51_videos_are_found_with_and_without_class_folders(tmp_path):
    touch(tmp_path / 'videos', 'brush_hair/c c.mp4', 'a.avi')
    train = read_annotations(hmdb51(tmp_path / 'splits'), str(tmp_path / 'videos'))
    assert [sample.path for sample in train.samples] == [str(tmp_path / 'videos/brush_hair/c c.mp4'),
                                                         str(tmp_path / 'videos/a.avi')]


KINETICS = ('label,youtube_id,time_start,time_end,split\n'
            'playing guitar,-0abc,3,13,train\n"hugging (not baby)",xyz,120,130,train\n')


def test_kinetics_csv_finds_files_by_id_and_time(tmp_path):
    setting = write(tmp_path / 'train.csv', KINETICS)
    touch(tmp_path / 'videos', 'playing_guitar/-0abc_000003_000013.mp4', 'xyz_000120_000130.mkv',
          'xyz_000120_000130.mp4')
    videos = read_annotations(setting, str(tmp_path / 'videos'), video_ext='mkv')
    assert videos.format == 'kinetics'
    assert videos.classes == ['hugging (not baby)', 'playing guitar']
    assert [sample.label for sample in videos.samples] == [1, 0]
    assert [sample.path for sample in videos.samples] == [
        str(tmp_path / 'videos/playing_guitar/-0abc_000003_000013.mp4'),
        str(tmp_path / 'videos/xyz_000120_000130.mkv')]
    assert [sample.key for sample in videos.samples] == ['-0abc_000003_000013', 'xyz_000120_000130']
    assert videos.samples[0].start is None  # the file is the cut
    setting = write(tmp_path / 'train.csv', KINETICS.replace('3,13', '3.9,13.9'))  # names are of whole seconds
    assert read_annotations(setting, str(tmp_path / 'videos')).samples[0].path.endswith('0abc_000003_000013.mp4')


def test_kinetics_labels_match_gluoncv_names(tmp_path):
    setting = write(tmp_path / 'train.csv', KINETICS)
    videos = read_annotations(setting, classes=['abseiling', 'hugging_-not_baby-', 'playing_guitar'])
    assert [sample.label for sample in videos.samples] == [2, 1]
    with pytest.raises(AnnotationError, match=r"train.csv line 2: 'playing guitar' is not one of the 1 classes"):
        read_annotations(setting, classes=['abseiling'])


def test_something_something_templates_are_the_labels(tmp_path):
    write(tmp_path / 'labels.json', json.dumps({'Holding something': '1', 'Closing something': '0'}))
    setting = write(tmp_path / 'train.json', json.dumps([
        {'id': '42', 'label': 'holding cup', 'template': 'Holding [something]', 'placeholders': ['cup']},
        {'id': 7, 'label': 'closing box', 'template': 'Closing [something]', 'placeholders': ['box']}]))
    touch(tmp_path / 'videos', '42.webm', '7.mp4')
    videos = read_annotations(setting, str(tmp_path / 'videos'))
    assert (videos.format, videos.classes) == ('somethingsomethingv2', ['Closing something', 'Holding something'])
    assert [(sample.key, sample.label) for sample in videos.samples] == [('42', 1), ('7', 0)]
    assert [sample.path for sample in videos.samples] == [str(tmp_path / 'videos/42.webm'),
                                                          str(tmp_path / 'videos/7.mp4')]


def test_numbers_of_something_something_are_numbers_and_not_texts(tmp_path):
    names = [f'Class {letter}' for letter in 'lkjihgfedcba']
    write(tmp_path / 'labels.json', json.dumps({name: str(number) for number, name in enumerate(names)}))
    setting = write(tmp_path / 'train.json', json.dumps([{'id': str(number), 'template': name}
                                                         for number, name in enumerate(names)]))
    videos = read_annotations(setting, str(tmp_path))
    assert videos.classes == names and [sample.label for sample in videos.samples] == list(range(12))


def test_something_something_test_set_has_no_labels(tmp_path):
    assert 'test.json entry 1: has no template' in error_of('[{"id": "42"}]', tmp_path, 'test.json')


def test_a_folder_for_each_class(tmp_path):
    touch(tmp_path / 'set', 'walk/b.mp4', 'walk/a b.avi', 'run/c/IMG_00001.JPG', 'run/c/notes.txt', 'run/d/notes.txt',
          'run/notes.txt', 'run/.d.txt')
    videos = read_annotations(str(tmp_path / 'set'), '/elsewhere')
    assert (videos.format, videos.classes) == ('folder', ['run', 'walk'])
    assert told(videos) == [('run/c', None, 0), ('walk/a b.avi', None, 1), ('walk/b.mp4', None, 1)]
    assert videos.samples[0].path == str(tmp_path / 'set/run/c')


def test_a_folder_for_each_class_below_train_and_val(tmp_path):
    touch(tmp_path / 'set', 'train/1/a.mp4', 'train/0/b.mp4', 'val/1/c.mp4', 'notes/readme.txt')
    train = read_annotations(str(tmp_path / 'set'))
    assert told(train) == [('0/b.mp4', None, 0), ('1/a.mp4', None, 1)]
    assert told(read_annotations(str(tmp_path / 'set'), split='val', classes=train.classes)) == [('1/c.mp4', None, 1)]


def test_a_folder_without_the_split_asked_for_is_refused(tmp_path):
    touch(tmp_path / 'set', 'train/1/a.mp4')
    with pytest.raises(AnnotationError, match="has no folder for split 'val', only train"):
        read_annotations(str(tmp_path / 'set'), split='val')


# ---------------------------------------------------------------- numbering and paths


def test_label_base_one_is_subtracted(tmp_path):
    setting = write(tmp_path / 'list.txt', 'a.mp4 1\nb.mp4 5\n')
    videos = read_annotations(setting, label_base=1, num_classes=5)
    assert [sample.label for sample in videos.samples] == [0, 4]


def test_a_training_list_that_starts_at_1_asks_which_base_is_meant(tmp_path):
    setting = write(tmp_path / 'list.txt', 'a.mp4 9 1\nb.mp4 9 3\nc.mp4 9 2\n')
    with pytest.raises(AnnotationError, match='list.txt: labels run from 1 to 3: .* --label-base 1, or --label-base 0'):
        read_annotations(setting)
    assert told(read_annotations(setting, label_base=1))[0] == ('a.mp4', 9, 0)
    for known in (dict(label_base=0), dict(num_classes=4), dict(classes=['a', 'b', 'c', 'd']), dict(split='val')):
        assert told(read_annotations(setting, **known))[0] == ('a.mp4', 9, 1)


def test_class_count_is_the_highest_label_where_nothing_else_says(tmp_path):
    setting = write(tmp_path / 'list.txt', 'a.mp4 0\nb.mp4 6\n')
    assert read_annotations(setting).num_classes == 7
    assert read_annotations(setting, classes='abcdefgh').num_classes == 8
    assert read_annotations(setting, classes='abcdefgh', num_classes=10).num_classes == 10
    with pytest.raises(AnnotationError, match=r'line 2: label 6 is out of range 0\.\.5'):
        read_annotations(setting, classes='abcdefgh', num_classes=6)


def test_a_training_list_of_a_single_class_may_have_any_number(tmp_path):
    assert told(read_annotations(write(tmp_path / 'list.txt', 'a.mp4 1\nb.mp4 1\n')))[0] == ('a.mp4', None, 1)


@pytest.mark.parametrize('prefer_files, found', [(False, 'v'), (True, 'v.mp4')])
def test_the_missing_extension_is_added_where_the_file_has_one(tmp_path, prefer_files, found):
    setting = write(tmp_path / 'list.txt', 'v 0\nonly 0\nframes/ 1\n')
    touch(tmp_path, 'v.mp4', 'v/img_00001.jpg', 'only.mp4', 'frames/img_00001.jpg')
    samples = read_annotations(setting, str(tmp_path), prefer_files=prefer_files).samples
    assert [sample.path for sample in samples] == [str(tmp_path / found), str(tmp_path / 'only.mp4'),
                                                   str(tmp_path / 'frames')]


def test_paths_that_are_not_utf8_are_kept(tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'caf\xe9.mp4 0\n')
    with open(str(tmp_path).encode() + b'/caf\xe9.mp4', 'wb'):
        pass
    assert read_annotations(str(tmp_path / 'list.txt'), str(tmp_path), must_exist=True).samples[0].label == 0


def test_the_digest_is_that_of_the_file(tmp_path):
    import hashlib
    setting = write(tmp_path / 'list.txt', 'a.mp4 0\n')
    assert read_annotations(setting).sha256 == hashlib.sha256(b'a.mp4 0\n').hexdigest()


def test_the_digest_of_a_folder_is_of_its_videos_and_their_labels(tmp_path):
    touch(tmp_path / 'set', 'walk/a.mp4', 'run/b.mp4')

    def digest(**options):
        return read_annotations(str(tmp_path / 'set'), **options).sha256
    first = digest()
    assert digest(classes=['run', 'walk']) == first != digest(classes=['walk', 'run'])
    touch(tmp_path / 'set', 'run/c.mp4')
    assert digest() != first


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize('text, options, message', [
    ('a.mp4 1\nb.mp4 5\n', dict(num_classes=5),
     'list.txt line 2: label 5 is out of range 0..4; labels run from 1 to 5: did the list start at 1? '
     'pass --label-base 1'),
    ('a.mp4 0\nb.mp4 9\n', dict(num_classes=5), 'list.txt line 2: label 9 is out of range 0..4; check --num-classes'),
    ('a.mp4 0\nb.mp4 1\n', dict(label_base=1),
     'list.txt line 1: label 0 is out of range 1 and up; the list starts at 0: pass --label-base 0'),
    ('a.mp4 0\nb.mp4 -2\n', {}, 'list.txt line 2: label -2 is out of range 0 and up'),
    ('a.mp4 9 0\nb.mp4 9 1.5\n', {}, "list.txt line 2: label '1.5' is not an integer"),
    ('a.mp4 0\nb.mp4 walk\n', {}, "list.txt line 2: label 'walk' is not an integer, and '0' in line 1 is one; give all "
     'classes by number or all by name'),
    ('a.mp4,9,1\nb.mp4,8,0\n', dict(multi_label=True), 'list.txt line 1: 9 may be a label or the number of frames'),
    ('a.mp4 0\nb.mp4 walk\n', dict(classes=['run']),
     "list.txt line 2: label 'walk' is not an integer, nor the name of one of 1 classes"),
    ('a.mp4 9 0\nb.mp4 x 0\nc.mp4 9 0\n', {},
     "list.txt line 2: label 'x 0' is not an integer, and '0' in line 1 is one"),
    ('a.mp4 9 0\nb.mp4\nc.mp4 9 0\n', {}, 'list.txt line 2: has 1 column, expected `path num_frames label`'),
    ('a.mp4 9 0 1\n', {}, 'list.txt line 1: has 4 columns, expected `path num_frames label`; put a path with spaces'),
    ('a.mp4,9,0,1\n', {}, 'list.txt line 1: has 4 columns, expected `path num_frames label`'),
    ('', {}, 'list.txt: lists no videos; the file is empty'),
    ('path,label\n', {}, "list.txt: lists no videos of split 'train'"),
    ('path,label\na.mp4\n', {}, 'list.txt line 2: has 1 columns, the header names 2'),
    ('path,label,start\na.mp4,0,soon\n', {}, "list.txt line 2: a time in seconds is expected, got 'soon'"),
    ('\0\0\0\0', {}, 'list.txt: is not a text file'),
    ('[{"path": ', {}, 'list.txt: is not JSON'),
    ('../a.mp4 0\n', {}, 'list.txt line 1: ../a.mp4 lies outside the data folder'),
    ('a.mp4 0\n/etc/b.mp4 0\n', {}, 'list.txt line 2: /etc/b.mp4 lies outside the data folder'),
    ('a.mp4 0\n', dict(must_exist=True), 'list.txt line 1: videos/a.mp4 does not exist; check --data-dir'),
    ('a.mp4 0\nb.mp4 0\na.mp4 0\na.mp4 1\n', {}, 'list.txt line 4: a.mp4 has label 1, but 0 in list.txt line 1'),
    ('path,labels\na.mp4,1 2\n', {}, "list.txt line 2: label '1 2' is not an integer"),
    ('{"a.mp4": [1, 2]}', {}, 'list.txt line 1: has 2 labels; pass --multi-label'),
])
def test_errors_name_the_line_and_the_cure(tmp_path, text, options, message):
    assert message in error_of(text, tmp_path, **options)


def test_a_missing_list_names_those_that_exist(tmp_path):
    write(tmp_path / 'ucf101_train_split_1_rawframes.txt', 'a 1 0\n')
    with pytest.raises(AnnotationError, match='does not exist; the folder holds ucf101_train_split_1_rawframes.txt'):
        read_annotations(str(tmp_path / 'ucf101_train_rgb_split1.txt'))
    with pytest.raises(AnnotationError, match='nor does its folder'):
        read_annotations(str(tmp_path / 'nowhere' / 'train.txt'))


def test_paths_below_the_data_folder_are_told_by_their_letters(tmp_path, monkeypatch):
    (tmp_path / 'list.txt').write_text(''.join(f'folder{number}/a..b.mp4 {number}\nc/{number}.mp4 0\n'
                                               for number in range(2)) + '.d/e.mp4 0\n' + 'c/f.mp4 1\n' * 50)
    asked = []
    real = os.path.abspath
    monkeypatch.setattr(os.path, 'abspath', lambda path: asked.append(path) or real(path))
    found = read_annotations(str(tmp_path / 'list.txt'), str(tmp_path / 'videos'))
    assert len(found.samples) == 55 and len(asked) <= 5  # the doubtful ones, and the data folder


@pytest.mark.parametrize('modality', ['rgb', 'flow'])
def test_a_folder_whose_name_only_begins_like_the_data_folders_lies_outside(tmp_path, modality):
    setting = write(tmp_path / 'list.txt', '../videos2/a.mp4 0\n')
    touch(tmp_path, 'videos2/a.mp4', 'videos2/a/flow_x_00001.jpg', 'videos/b.mp4')
    with pytest.raises(AnnotationError, match='list.txt line 1: ../videos2/a.mp4 lies outside the data folder'):
        read_annotations(setting, str(tmp_path / 'videos'), modality=modality)
    if modality == 'rgb':  # flow of an absolute path lies below the folder all the same
        with pytest.raises(AnnotationError, match='lies outside the data folder'):
            read_annotations(write(tmp_path / 'list.txt', f'{tmp_path}/videos2/a.mp4 0\n'), f'{tmp_path}/videos/')
    inside = read_annotations(write(tmp_path / 'list.txt', f'../videos/b.mp4 0\n{tmp_path}/videos/c.mp4 1\n'),
                              str(tmp_path / 'videos'), modality=modality)
    assert [sample.label for sample in inside.samples] == [0, 1]


@pytest.mark.parametrize('root', ['', '/'])
def test_paths_anywhere_are_allowed_when_no_folder_is_named(tmp_path, root):
    setting = write(tmp_path / 'list.txt', '/somewhere/a.mp4 0\n')
    assert read_annotations(setting, root).samples[0].path == '/somewhere/a.mp4'


def test_a_repeated_video_is_warned_of(tmp_path, caplog):
    setting = write(tmp_path / 'list.txt', 'a.mp4 0\nb.mp4 1\na.mp4 0\n')
    with caplog.at_level(logging.WARNING):
        assert len(read_annotations(setting).samples) == 3
    assert '1 of 3 videos are listed more than once; first a.mp4, in lines 1 and 3' in caplog.text


@pytest.mark.parametrize('options, message', [
    (dict(list_format='yolo'), 'unknown list format'), (dict(label_base=2), '--label-base must be 0 or 1'),
    (dict(split='both'), 'split must be')])
def test_arguments_that_cannot_be_are_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        read_annotations(write(tmp_path / 'list.txt', 'a.mp4 0\n'), **options)


@pytest.mark.parametrize('format', sorted(FORMATS))
def test_no_format_accepts_a_list_of_another_kind_silently(tmp_path, format):
    with pytest.raises(AnnotationError, match='list.txt|classInd.txt'):
        read_annotations(write(tmp_path / 'list.txt', 'just words on a line\n'), list_format=format)
