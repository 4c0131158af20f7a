"""A data check on real videos: what it finds, what it leaves, and that it resumes where it stood."""
import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from videos import make_broken, rotate_by_header, write_frames, write_guessed, write_video

import gluon_action
from gluon_action.data.lists.annotations import Sample
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import AnnotationError, OutputError, UsageError
from gluon_action.evaluate.data_check import check as checking
from gluon_action.evaluate.data_check.check import check_data, told
from gluon_action.evaluate.data_check.facts import fingerprint, look_at
from gluon_action.evaluate.data_check.listed import Part
from gluon_action.evaluate.data_check.sheet import VIDEOS, Augmentation, _spread


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Two classes of three videos, of which one has a folder of frames, and broken ones in another folder."""
    folder = tmp_path_factory.mktemp('checked')
    for number in range(3):
        for name in ('rest', 'wave'):
            (folder / 'good' / name).mkdir(parents=True, exist_ok=True)
        write_video(folder / 'good' / 'rest' / f'{number}.mp4', 12 + 19 * number, size=(64, 48))
        if number:
            write_video(folder / 'good' / 'wave' / f'{number}.mp4', 20 + 21 * number, size=(64, 48))
    write_frames(folder / 'good' / 'wave' / 'frames', range(1, 13), size=(64, 48))
    shutil.copytree(folder / 'good', folder / 'bad')
    wave = folder / 'bad' / 'wave'
    for kind in ('empty', 'garbage', 'moov_missing', 'data_cut', 'audio_only'):
        make_broken(kind, wave)
    write_guessed(wave / 'guessed.wmv')
    (wave / 'guessed_whole.wmv').unlink()
    rotate_by_header(write_video(wave / 'phone.mp4', 12, size=(64, 48)))
    shutil.copy(folder / 'bad' / 'rest' / '0.mp4', wave / 'again.mp4')
    shutil.copy(folder / 'bad' / 'rest' / '1.mp4', folder / 'bad' / 'rest' / 'copy.mp4')
    return folder


def kinds(check):
    return {(finding.kind, finding.subject) for finding in check.findings}


def test_a_good_folder_is_clean(place):
    found = gluon_action.check_data(place / 'good', num_workers=0)
    assert found.clean and kinds(found) == set() and len(found.facts) == 6
    assert told(found).splitlines() == [f'train: 6 videos, 2 classes ({place}/good)']


@pytest.fixture(scope='module')
def bad(place):
    return check_data(place / 'bad', num_workers=0, clip_length=16)


def test_broken_videos_are_told_apart(bad):
    found = kinds(bad)
    assert {('unreadable', f'wave/{kind}.mp4') for kind in ('empty', 'garbage', 'audio_only')} <= found
    assert {('cut_short', f'wave/{kind}.mp4') for kind in ('moov_missing', 'data_cut')} <= found
    assert ('damaged', 'wave/guessed.wmv') in found and ('turned', 'wave/phone.mp4') in found
    assert ('contradiction', 'rest/0.mp4') in found and ('contradiction', 'wave/again.mp4') in found
    assert ('duplicate', 'rest/copy.mp4') in found and ('too_short', 'wave/phone.mp4') in found
    assert not bad.clean and not any(kind in ('rates', 'still') for kind, _ in found)


def test_the_text_names_what_is_to_be_done(bad):
    text = told(bad)
    assert 'error: videos that cannot be read (3): get them again, or take them out\n  wave/audio_only.mp4: ' in text
    assert '  wave/empty.mp4: is empty (0 bytes)\n' in text and '  wave/phone.mp4: by 270 degrees' in text


def test_a_quick_check_decodes_three_frames_only(place):
    path = str(place / 'bad' / 'wave' / 'guessed.wmv')
    assert 'cannot be decoded whole' in look_at(path)['damaged'] and look_at(path, quick=True)['damaged'] is None


def test_facts_are_those_that_the_reader_shows(place):
    facts = look_at(str(place / 'bad' / 'wave' / 'phone.mp4'))
    with VideoReader(place / 'bad' / 'wave' / 'phone.mp4') as reader:
        height, width = reader.read([0]).shape[1:3]
    assert (facts['height'], facts['width'], facts['frames'], facts['fps']) == (height, width, 12, 25)
    assert (height, width) == (64, 48) and facts['turned'] in (90, 270) and facts['codec'] == 'h264'
    folder = look_at(str(place / 'good' / 'wave' / 'frames'))
    assert (folder['frames'], folder['fps'], folder['error']) == (12, None, None) and folder['sha256']


def test_a_fingerprint_survives_another_size_and_codec_and_tells_videos_apart(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [np.kron(rng.integers(0, 255, (8, 9, 3), 'uint8'), np.ones((16, 16, 1), 'uint8')) for _ in range(3)]
    small = [picture[::2, ::2] for picture in pictures]
    noisy = [np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype('uint8') for picture in small]
    others = [picture[::-1] for picture in pictures]

    def distance(a, b):
        return (int(fingerprint(a), 16) ^ int(fingerprint(b), 16)).bit_count()
    assert distance(pictures, small) <= 2 and distance(pictures, noisy) <= 10 and distance(pictures, others) > 40
    assert fingerprint([np.full((64, 64, 3), 9, 'uint8')]) is None


def test_lists_are_held_against_each_other(place):
    (place / 'train.csv').write_text('path,label\nrest/0.mp4,rest\nrest/1.mp4,rest\nrest/2.mp4,rest\nwave/1.mp4,wave\n'
                                     'wave/2.mp4,wave\nnowhere.mp4,wave\n')
    (place / 'val.csv').write_text('path,label\nrest/0.mp4,rest\nwave/frames,wave\n')
    found = check_data(place / 'train.csv', place / 'val.csv', data_dir=str(place / 'good'), num_workers=0)
    assert kinds(found) == {('leak', 'rest/0.mp4'), ('missing', 'nowhere.mp4')}
    leak = next(finding for finding in found.findings if finding.kind == 'leak')
    assert (leak.where, leak.part) == (f'{place}/train.csv line 2', 'train')
    assert leak.detail == f'the same content as rest/0.mp4 ({place}/val.csv line 2)'


def test_both_splits_of_a_folder_are_read(place, tmp_path):
    for split in ('train', 'val'):
        shutil.copytree(place / 'good', tmp_path / split)
    found = check_data(tmp_path, num_workers=0, quick=True)
    assert [part.name for part in found.parts] == ['train', 'val'] and {kind for kind, _ in kinds(found)} == {'leak'}
    (tmp_path / 'train' / 'wave' / 'empty.mp4').write_bytes(b'')
    table = fixed(tmp_path, tmp_path / 'good.csv').splitlines()
    assert table[0] == '"path","label","split"' and '"val/rest/1.mp4","rest","val"' in table and len(table) == 7
    assert not check_data(tmp_path / 'good.csv', data_dir=str(tmp_path), num_workers=0, quick=True).dropped


def test_a_folder_without_classes_and_a_single_video_are_looked_at(place):
    found = check_data(place / 'good' / 'rest', num_workers=0)
    assert found.clean and not found.parts[0].labelled and len(found.facts) == 3
    assert len(check_data(place / 'good' / 'rest' / '0.mp4', num_workers=0).facts) == 1


@pytest.fixture
def looked_at(monkeypatch):
    seen = []
    monkeypatch.setattr(checking, 'look_at', lambda path, **options: (seen.append(path), look_at(path, **options))[1])
    return seen


def test_page_json_and_sheet_are_written_and_the_next_check_is_short(place, tmp_path, looked_at):
    pytest.importorskip('jinja2')
    videos = shutil.copytree(place / 'good', tmp_path / 'v<b>ideos')
    found = check_data(videos, out=tmp_path / 'out', num_workers=0, input_size=32)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'check.html', 'check.json', 'contact_sheet.png']
    content = json.loads((tmp_path / 'out' / 'check.json').read_text())
    assert content['clean'] and len(content['videos']) == 6 and content['parts'][0]['classes'] == ['rest', 'wave']
    page = (tmp_path / 'out' / 'check.html').read_text()
    assert 'v&lt;b&gt;ideos' in page and '<b>ideos' not in page and 'http' not in page.replace('http-equiv', '')
    assert page.count('data:image/jpeg;base64,') == len(found.strips) == 6
    assert len(looked_at) == 6

    looked_at.clear()
    write_video(videos / 'rest' / '0.mp4', 30, size=(64, 48))
    again = check_data(videos, out=tmp_path / 'out', num_workers=0)
    assert [path.rpartition('/')[2] for path in looked_at] == ['0.mp4'] and again.seen_before == 5
    assert again.facts[str(videos / 'rest' / '0.mp4')]['frames'] == 30
    looked_at.clear()
    assert check_data(videos, out=tmp_path / 'out', num_workers=0, quick=True).seen_before == 0  # other settings


def test_an_interrupted_check_goes_on(place, tmp_path, monkeypatch, looked_at):
    pytest.importorskip('jinja2')

    def interrupted(path, **options):
        if len(looked_at) == 3:
            raise KeyboardInterrupt
        looked_at.append(path)
        return look_at(path, **options)
    with monkeypatch.context() as patch:
        patch.setattr(checking, 'look_at', interrupted)
        with pytest.raises(KeyboardInterrupt):
            check_data(place / 'good', out=tmp_path / 'out', num_workers=0)
    before = set(looked_at)
    looked_at.clear()
    assert check_data(place / 'good', out=tmp_path / 'out', num_workers=0).seen_before == 3
    assert not before & set(looked_at) and len(looked_at) == 3


def test_facts_that_somebody_else_wrote_are_not_believed(place, tmp_path, looked_at):
    pytest.importorskip('jinja2')
    check_data(place / 'good', out=tmp_path / 'out', num_workers=0)
    report = tmp_path / 'out' / 'check.json'
    for change in ({'fps': 'x'}, {'fingerprint': 'zz'}, {'stamp': None}, {'frames': None}, {'path': 7}):
        content = json.loads(report.read_text())
        content['videos'][0].update(change)
        report.write_text(json.dumps(content))
        looked_at.clear()
        check_data(place / 'good', out=tmp_path / 'out', num_workers=0)
        assert len(looked_at) == 1, change
    report.write_text('[]')
    with pytest.raises(OutputError, match='check.json: is no earlier check'):
        check_data(place / 'good', out=tmp_path / 'out', num_workers=0)


def test_a_folder_of_other_things_is_refused(place, tmp_path):
    (tmp_path / 'thesis.doc').write_text('x')
    with pytest.raises(UsageError, match='--out .*holds thesis.doc and no check.json'):
        check_data(place / 'good', out=tmp_path)


def test_workers_find_the_same(place, bad):
    found = check_data(place / 'bad', num_workers=2, clip_length=16)
    assert kinds(found) == kinds(bad) and found.facts == bad.facts


def test_a_video_that_takes_too_long_is_one_that_cannot_be_read(place, monkeypatch):
    import time
    monkeypatch.setattr(checking, 'look_at', lambda path, **options: (
        time.sleep(9 if path.endswith('2.mp4') else 0), look_at(path, **options))[1])
    found = check_data(place / 'good' / 'rest', num_workers=1, timeout=1.)
    assert kinds(found) == {('unreadable', '2.mp4')} and 'given up' in found.findings[0].detail


# ---------------------------------------------------------------- the list without its bad rows

def fixed(source, target, **options):
    check_data(source, fix_list=target, num_workers=0, quick=True, **options)
    return target.read_text()


def test_a_list_keeps_its_lines_but_for_the_bad_ones(place, tmp_path):
    source = tmp_path / 'list.csv'
    source.write_text('label,path,who\n# a comment\nrest,rest/0.mp4,"A, B"\nrest,nowhere.mp4,C\n\nwave,wave/1.mp4,D\n'
                      'wave,wave/1.mp4,E\n')
    good = str(place / 'good')
    assert fixed(source, tmp_path / 'good.csv', data_dir=good) == (
        'label,path,who\n# a comment\nrest,rest/0.mp4,"A, B"\n\nwave,wave/1.mp4,D\n')
    again = check_data(tmp_path / 'good.csv', data_dir=good, num_workers=0, quick=True)
    assert not again.dropped and len(again.parts[0].samples) == 2


def test_json_keeps_its_entries(place, tmp_path):
    rows = [{'path': 'rest/0.mp4', 'label': 0, 'who': 'é'}, {'path': 'nowhere.mp4', 'label': 1},
            {'path': 'wave/1.mp4', 'label': 1}]
    (tmp_path / 'list.json').write_text(json.dumps(rows))
    found = fixed(tmp_path / 'list.json', tmp_path / 'good.json', data_dir=str(place / 'good'))
    assert json.loads(found) == [rows[0], rows[2]]
    (tmp_path / 'list.json').write_text(json.dumps({row['path']: row['label'] for row in rows}))
    found = fixed(tmp_path / 'list.json', tmp_path / 'other.json', data_dir=str(place / 'good'))
    assert json.loads(found) == {'rest/0.mp4': 0, 'wave/1.mp4': 1}


def test_a_folder_becomes_a_table_that_training_reads(place, tmp_path):
    fixed(place / 'bad', tmp_path / 'good.csv')
    with (tmp_path / 'good.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert {'path': 'rest/1.mp4', 'label': 'rest'} in rows and not any('garbage' in row['path'] for row in rows)
    again = check_data(tmp_path / 'good.csv', data_dir=str(place / 'bad'), num_workers=0, quick=True)
    assert not again.dropped and again.parts[0].classes == ['rest', 'wave']


def test_cells_of_several_lines_and_splits_are_kept_in_a_table(place, tmp_path):
    source = tmp_path / 'list.csv'
    source.write_text('path,label,split,note\nrest/0.mp4,rest,train,"two\nlines"\nnowhere.mp4,rest,train,\n'
                      'wave/1.mp4,wave,val,\n')
    assert fixed(source, tmp_path / 'good.csv', data_dir=str(place / 'good')) == (
        '"path","label","split"\n"rest/0.mp4","rest","train"\n"wave/1.mp4","wave","val"\n')


def test_the_list_itself_and_files_that_are_there_are_kept(place, tmp_path):
    source = tmp_path / 'list.csv'
    source.write_text('path,label\nrest/0.mp4,rest\n')
    with pytest.raises(UsageError, match='exists; pass --overwrite'):
        check_data(source, fix_list=source, data_dir=str(place / 'good'))
    with pytest.raises(UsageError, match='is the list itself'):
        check_data(source, fix_list=source, overwrite=True, data_dir=str(place / 'good'), num_workers=0)
    with pytest.raises(UsageError, match='have no classes, so they make no list'):
        check_data(place / 'good' / 'rest', fix_list=tmp_path / 'x.csv')
    with pytest.raises(UsageError, match='there is no folder'):
        check_data(source, fix_list=tmp_path / 'x' / 'y.csv', data_dir=str(place / 'good'))


# ---------------------------------------------------------------- the contact sheet

def test_the_sheet_shows_frames_and_what_augmentation_makes_of_them(place, tmp_path):
    pytest.importorskip('jinja2')
    check = check_data(place / 'good', out=tmp_path / 'out', num_workers=0, input_size=32,
                       augmentation=Augmentation('v4'))
    strip = check.strips[0]
    before, after = strip.picture[:, :149], strip.picture[:, 149 + 12:149 + 12 + 112]  # 64x48 and 32x32 at height 112
    assert strip.picture.shape == (112, 149 + 12 + 3 * 112 + 2 * 4, 3) and (strip.picture[:, 149:161] == 255).all()
    with VideoReader(place / 'good' / 'rest' / '0.mp4') as reader:
        frame = reader.read([6])[0]
    assert np.abs(before[::8, ::8].mean(axis=(0, 1)) - frame.mean(axis=(0, 1))).max() < 12
    assert not (after == 255).all() and strip.video == 'rest/0.mp4' and strip.label == 'rest'
    sheet = np.asarray(Image.open(tmp_path / 'out' / 'contact_sheet.png'))
    np.testing.assert_array_equal(sheet[4:116, 4:4 + strip.picture.shape[1]], strip.picture)


def test_frames_are_mixed_with_each_other_as_those_of_a_batch(place, tmp_path):
    pytest.importorskip('jinja2')

    def reversed_batch(count):
        return lambda data, labels, rng: (data[::-1], labels[::-1])

    plain, mixed = (check_data(place / 'good', out=tmp_path / str(number), num_workers=0, input_size=32, quick=True,
                               augmentation=Augmentation('v1', mixture=mixture))
                    for number, mixture in enumerate((None, reversed_batch)))
    for one, other in zip(plain.strips, mixed.strips[::-1]):
        np.testing.assert_array_equal(one.picture[:, 161:], other.picture[:, 161:])
    assert any('mixed with each other' in note for note in mixed.notes) and not plain.notes


def test_noise_of_erasing_is_as_wide_as_the_colours_are_normalised():
    grey = np.full((64, 64, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    seen = Augmentation('v4', random_erasing=1., flip_prob=0.).transform(32)(grey, rng)
    changed = (seen != 128).all(axis=2)
    assert 0.01 < changed.mean() < 0.5 and 30 < seen[changed].std() < 80


def test_every_class_is_on_the_sheet():
    samples = [Sample(path=str(number), label=number % 5) for number in range(100)]
    rows = _spread(Part('train', 'x', samples), {str(number): {'error': None} for number in range(100)})
    assert len(set(rows)) == VIDEOS and {row % 5 for row in rows} == set(range(5))


def test_lists_that_cannot_be_read_are_refused_as_in_training(tmp_path):
    for given in ((tmp_path / 'x.csv',), (tmp_path / 'x.mp4',), (tmp_path, tmp_path / 'x')):
        with pytest.raises(UsageError, match='does not exist; name a list'):
            check_data(*given)
    with pytest.raises(AnnotationError, match='lists no videos'):
        check_data(tmp_path)
