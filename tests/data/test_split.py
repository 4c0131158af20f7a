import json
import os
from collections import Counter

import pytest

from gluon_action.data.lists.annotations import Sample, read_annotations
from gluon_action.data.lists.split import same_contents, sources_of, split_samples
from gluon_action.data.lists.table import as_table


def samples_of(**classes):
    """Samples of classes, from the names of their files."""
    return [Sample(f'/v/{name}/{file}', number, key=file)
            for number, (name, files) in enumerate(classes.items()) for file in files]


def numbered(count, name='{}.mp4'):
    return [name.format(number) for number in range(count)]


def test_every_class_has_its_share_in_both_parts():
    samples = samples_of(a=numbered(20), b=numbered(40, 'b{}.mp4'), c=numbered(2, 'c{}.mp4'))
    split = split_samples(samples, 0.2)
    assert Counter(samples[index].label for index in split.val) == {0: 4, 1: 8, 2: 1}
    assert sorted(split.train + split.val) == list(range(62)) and not split.unsplit and split.sources == 62
    assert split_samples(samples, 0.2) == split != split_samples(samples, 0.2, seed=1)


@pytest.mark.parametrize('names, sources', [
    (['clip_001_part1.mp4', 'clip_001_part2.mp4', 'clip_002_part1.mp4', 'clip_002.mp4'], 2),
    (['v_Run_g01_c01.avi', 'v_Run_g01_c02.avi', 'v_Run_g02_c01.avi'], 2),
    (['abc-_000010_000020.mp4', 'abc-_000020_000030.mp4', 'xyz_000010_000020.mp4'], 2),
    (['game-seg03.mkv', 'game-seg04.mkv', 'Game 2 scene 1.mkv'], 2),
    (['walk_clip1.mp4', 'walk_clip2.mp4', 'walk_clip3.mp4'], 3),
    (['cam1_clip1.mp4', 'cam1_clip2.mp4', 'cam2_clip1.mp4'], 2),
    (['clip_001.mp4', 'clip_002.mp4', '001.mp4', '2024-01-02.mp4'], 4),
    (['party1.mp4', 'part1.mp4', 'part2.mp4', 'c02.mp4', 'IMG_20240101_120000.mp4'], 5)])
def test_names_tell_which_files_are_parts_of_one_recording(names, sources):
    found = sources_of(samples_of(a=names))
    assert len(set(found)) == sources


def test_no_recording_is_in_both_parts():
    files = [f'v_A_g{group:02d}_c{clip:02d}.avi' for group in range(1, 9) for clip in range(1, 5)]
    samples = samples_of(a=files, b=[file.replace('_A_', '_B_') for file in files])
    for seed in range(10):
        split = split_samples(samples, 0.25, seed)
        groups = [{samples[index].key[:-8] for index in part} for part in (split.train, split.val)]
        assert not groups[0] & groups[1] and len(groups[1]) == 4 and split.sources == 16
        assert Counter(samples[index].label for index in split.val) == {0: 8, 1: 8}


def test_parts_of_one_file_and_files_of_one_content_stay_together(tmp_path):
    for name, content in (('one.mp4', b'same'), ('copy.mp4', b'same'), ('other.mp4', b'diff'), ('long.mp4', b'longer')):
        (tmp_path / name).write_bytes(content)
    (tmp_path / 'link.mp4').symlink_to('long.mp4')
    names = ['one.mp4', 'copy.mp4', 'other.mp4', 'long.mp4', 'link.mp4']
    samples = [Sample(str(tmp_path / name), 0) for name in names]
    samples += [Sample(str(tmp_path / 'other.mp4'), 0, start=3.)]
    assert sources_of(samples) == [0, 0, 2, 3, 3, 2]
    assert [(one.path, other.path) for one, other in same_contents(samples[:1], samples[1:3])] == [
        (str(tmp_path / 'copy.mp4'), str(tmp_path / 'one.mp4'))]


def test_a_class_of_one_recording_is_trained_on_only():
    samples = samples_of(a=numbered(5), b=['x_part1.mp4', 'x_part2.mp4'], c=['single.mp4'])
    split = split_samples(samples, 0.5)
    assert split.unsplit == {1: 2, 2: 1} and {samples[index].label for index in split.val} == {0}
    assert {5, 6, 7} <= set(split.train)


def test_a_recording_of_several_classes_leaves_none_without_training():
    samples = [Sample(f'/v/{name}', label) for name, label in (
        ('x_part1.mp4', 0), ('x_part2.mp4', 1), ('y_part1.mp4', 0), ('y_part2.mp4', 1), ('z.mp4', 1))]
    for seed in range(10):
        split = split_samples(samples, 0.4, seed)
        assert {samples[index].label for index in split.train} == {0, 1} and split.val


def test_several_labels_a_video_are_shared_out_too():
    samples = [Sample(f'/v/{number}.mp4', (number % 3, 3)) for number in range(30)]
    split = split_samples(samples, 0.2)
    found = Counter(label for index in split.val for label in samples[index].label)
    assert all(found[label] >= 2 for label in range(3)) and len(split.val) <= 8


@pytest.mark.parametrize('classes', [['run', 'walk'], ['1', '2'], ['3.5', 'é,"x'], ['1e3', '-']])
def test_a_list_is_written_as_everybody_reads_it(tmp_path, classes):
    names = ['#a b.mp4', 'sub/"quoted",comma.mp4', 'é.mp4', 'part.mp4', 'frames.mp4']
    (tmp_path / 'sub').mkdir()
    for name in names:
        (tmp_path / name).touch()
    bounds = [{}, {}, {'num_frames': 7}, {'start': 1.5, 'end': 2.25}, {'first': 3, 'last': 9}]
    given = [Sample(str(tmp_path / name), number % 2, **about)
             for number, (name, about) in enumerate(zip(names, bounds))]
    (tmp_path / 'list.csv').write_text(as_table(given, str(tmp_path), classes))
    (tmp_path / 'class_names.json').write_text(json.dumps(classes))
    read = read_annotations(str(tmp_path / 'list.csv'), str(tmp_path), list_format='table', label_base=0,
                            must_exist=True)
    assert read.classes == classes and read.num_classes == 2

    def facts(sample):
        return os.path.normpath(sample.path), sample.label, sample.num_frames, sample.start, sample.end, sample.first, \
            sample.last
    assert list(map(facts, read.samples)) == list(map(facts, given))
