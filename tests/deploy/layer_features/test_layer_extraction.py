"""Features of many videos: which files there are, what the index says, and that work resumes where it stood."""
import csv
import json
import os
import shutil

import numpy as np
import pytest
from bundles import make_bundle
from videos import make_broken, write_frames, write_video

import gluon_action
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.deploy.layer_features import extraction
from gluon_action.deploy.layer_features.extraction import extract_features
from gluon_action.deploy.layer_features.extractor import FeatureExtractor
from gluon_action.deploy.layer_features.videos import list_sources
from gluon_action.deploy.predict.inputs import Pictures
from gluon_action.errors import OutputError, UsageError


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A bundle, and a folder of two classes: two videos, a folder of frames, and a file that is no video."""
    folder = tmp_path_factory.mktemp('place')
    make_bundle(folder / 'bundle')
    for name in ('rest', 'wave'):
        (folder / 'videos' / name).mkdir(parents=True)
    write_video(folder / 'videos' / 'rest' / 'a.mp4', 12, size=(24, 20))
    write_video(folder / 'videos' / 'wave' / 'a.mp4', 30, size=(24, 20))
    write_frames(folder / 'videos' / 'wave' / 'frames', range(1, 8), size=(24, 20))
    make_broken('garbage', folder / 'videos' / 'wave')
    (folder / 'list.csv').write_text('path,label\nwave/a.mp4,wave\nrest/a.mp4,rest\n')
    return folder


@pytest.fixture
def videos(place, tmp_path):
    """A copy of the videos that a test may change."""
    return shutil.copytree(place / 'videos', tmp_path / 'videos')


def table(made):
    with made.table.open(newline='') as file:
        return list(csv.DictReader(file))


def test_each_video_of_a_folder_has_a_file_and_a_line(place, tmp_path):
    made = gluon_action.extract_features(place / 'bundle', place / 'videos', tmp_path / 'out')
    assert (made.done, made.found, made.skipped, made.missing) == (3, 0, 1, 0)
    files = sorted(str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.npz'))
    assert files == ['rest/a.npz', 'wave/a.npz', 'wave/frames.npz']
    with np.load(tmp_path / 'out' / 'wave' / 'a.npz') as held:
        assert set(held) == {'features', 'start', 'end'} and held['features'].shape == (3,)
        np.testing.assert_array_equal(held['features'], FeatureExtractor(place / 'bundle')(
            place / 'videos' / 'wave' / 'a.mp4').values)
        assert (held['start'], held['end']) == (0, pytest.approx(1.2))
    rows = {os.path.relpath(row['video'], place / 'videos'): row for row in table(made)}
    assert rows['wave/a.mp4']['file'] == 'wave/a.npz' and rows['wave/a.mp4']['shape'] == '3'
    assert (rows['wave/a.mp4']['start'], rows['wave/a.mp4']['end']) == ('0.000', '1.200')
    assert 'not a video' in rows['wave/garbage.mp4']['error'] and not rows['wave/garbage.mp4']['file']


def test_the_index_says_the_labels_of_a_list_and_the_times_of_windows(place, tmp_path):
    made = extract_features(place / 'bundle', place / 'list.csv', tmp_path / 'out', data_dir=str(place / 'videos'),
                            window=0.5, format='npy')
    assert [(row['label'], row['class_name'], row['end']) for row in table(made)] == [
        ('0', 'rest', '0.480'), ('1', 'wave', '1.200')]
    content = json.loads(made.index.read_text())
    assert content['settings']['window'] == 0.5 and content['settings']['layer'] == 'logits'
    wave = content['videos'][1]
    assert wave['start'] == [0, 0.5, 1] and wave['end'] == [0.5, 1, 1.2] and wave['shape'] == [3, 3]
    assert np.load(made.folder / wave['file']).shape == (3, 3)


def test_hdf5_holds_the_same_arrays(place, tmp_path):
    h5py = pytest.importorskip('h5py')
    video = place / 'videos' / 'rest' / 'a.mp4'
    made = extract_features(place / 'bundle', video, tmp_path / 'out', format='hdf5', window='clip')
    with h5py.File(made.folder / 'a.h5') as held:
        found = FeatureExtractor(place / 'bundle', window='clip')(video)
        np.testing.assert_array_equal(held['features'][:], found.values)
        np.testing.assert_allclose(held['end'][:], found.end)


@pytest.fixture
def computed(monkeypatch):
    """Names of the videos that features are computed of."""
    seen, call = [], FeatureExtractor.__call__
    monkeypatch.setattr(FeatureExtractor, '__call__', lambda self, video: (
        seen.append(os.path.basename(os.path.dirname(video)) + '/' + os.path.basename(video)), call(self, video))[1])
    return seen


def test_what_is_done_is_kept_and_what_was_changed_is_made_again(place, videos, tmp_path, computed):
    out = tmp_path / 'out'
    extract_features(place / 'bundle', videos, out)
    first = (out / 'wave' / 'a.npz').stat().st_mtime_ns
    computed.clear()
    made = extract_features(place / 'bundle', videos, out)
    assert computed == ['wave/garbage.mp4'] and (made.found, made.done) == (3, 0)  # what failed is tried again
    assert (out / 'wave' / 'a.npz').stat().st_mtime_ns == first

    computed.clear()
    (out / 'rest' / 'a.npz').write_bytes((out / 'rest' / 'a.npz').read_bytes()[:-1] + b'x')  # damaged
    write_video(videos / 'wave' / 'a.mp4', 20, size=(24, 20))  # another video now
    write_video(videos / 'new.mp4', 12, size=(24, 20))
    os.remove(videos / 'wave' / 'garbage.mp4')
    made = extract_features(place / 'bundle', videos, out)
    assert sorted(computed) == ['rest/a.mp4', 'videos/new.mp4', 'wave/a.mp4']
    assert (made.found, made.done, made.skipped) == (1, 3, 0)


def test_an_interruption_loses_nothing_that_was_finished(place, tmp_path, computed, monkeypatch):
    write, out = extraction.write_features, tmp_path / 'out'

    def interrupted(path, *more):
        if path.stem == 'frames':
            raise KeyboardInterrupt
        write(path, *more)
    monkeypatch.setattr(extraction, 'write_features', interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_features(place / 'bundle', place / 'videos', out)
    monkeypatch.setattr(extraction, 'write_features', write)
    before = list(computed)
    computed.clear()
    made = extract_features(place / 'bundle', place / 'videos', out)
    assert set(before) & set(computed) <= {'wave/frames', 'wave/garbage.mp4'} and len(table(made)) == 4
    assert not list(out.glob('*.unfinished'))


def test_other_settings_are_refused_and_named(place, tmp_path):
    out, video = tmp_path / 'out', place / 'videos' / 'rest' / 'a.mp4'
    extract_features(place / 'bundle', video, out)
    for choices, told in (({'window': 1.}, 'window None there, 1.0 now'), ({'format': 'npy'}, "format 'npz' there"),
                          ({'clip_step': 3}, 'clip_step None there, 3 now')):
        with pytest.raises(UsageError, match=f'features of other settings: .*{told}.*--overwrite'):
            extract_features(place / 'bundle', video, out, **choices)
    other = make_bundle(tmp_path / 'other', weights=np.eye(3, dtype='float32'))
    with pytest.raises(UsageError, match='weights_sha256'):
        extract_features(other, video, out)
    made = extract_features(place / 'bundle', video, out, window=0.25, overwrite=True)
    assert np.load(made.folder / 'a.npz')['features'].shape == (2, 3) and len(made.videos) == 1


def test_shards_share_the_videos_out_and_the_last_one_completes_the_index(place, tmp_path, computed):
    whole = extract_features(place / 'bundle', place / 'videos', tmp_path / 'whole')
    computed.clear()
    first = extract_features(place / 'bundle', place / 'videos', tmp_path / 'out', shard='1/2')
    assert len(computed) == 2 and first.missing == 2 and len(table(first)) == 2
    last = extract_features(place / 'bundle', place / 'videos', tmp_path / 'out', shard='2/2')
    assert len(computed) == 4 and last.missing == 0 and table(last) == table(whole)
    assert json.loads(last.index.read_text()) == json.loads(whole.index.read_text())


def test_two_shards_at_once_lose_no_line_of_each_other(place, tmp_path):
    """The second starts and ends while the first is at work."""
    out, extractor = tmp_path / 'out', FeatureExtractor(place / 'bundle')
    inside = []

    class Interrupted(FeatureExtractor):
        def __call__(self, video):
            if not inside:
                inside.append(extract_features(extractor, place / 'videos', out, shard='2/2'))
            return super().__call__(video)
    last = extract_features(Interrupted(place / 'bundle'), place / 'videos', out, shard='1/2')
    assert inside[0].missing == 2 and last.missing == 0 and len(table(last)) == 4


def test_a_folder_of_other_things_and_a_damaged_index_are_refused(place, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'thesis.doc').write_text('x')
    with pytest.raises(UsageError, match=r'--out .*holds thesis.doc and no index.json'):
        extract_features(place / 'bundle', place / 'videos', tmp_path / 'out')
    (tmp_path / 'out' / 'index.json').write_text('{"videos": 3')
    with pytest.raises(OutputError, match='index.json: is no index of features'):
        extract_features(place / 'bundle', place / 'videos', tmp_path / 'out')


def test_an_index_that_somebody_else_wrote_is_not_believed(place, tmp_path, computed):
    out, video = tmp_path / 'out', place / 'videos' / 'rest' / 'a.mp4'
    made = extract_features(place / 'bundle', video, out)
    for change in ({'file': '../../x'}, {'stamp': None}, {'bytes': 'x'}, {'name': 3}, {'sha256': ['a']}, {'file': 7}):
        content = json.loads(made.index.read_text())
        content['videos'] = [{**content['videos'][0], **change}, 7]
        made.index.write_text(json.dumps(content))
        computed.clear()
        made = extract_features(place / 'bundle', video, out)
        assert computed == ['rest/a.mp4'], change


def test_a_stream_without_an_end_is_refused(place, monkeypatch):
    monkeypatch.setattr(Pictures, '__init__', lambda self, *args: self.__dict__.update(fps=25., live=True))
    monkeypatch.setattr(Pictures, '__exit__', lambda self, *exception: None)
    with pytest.raises(UsageError, match='/dev/video0: is a stream without an end'):
        FeatureExtractor(place / 'bundle')('/dev/video0')


# ---------------------------------------------------------------- which videos, and what their files are called

def names(*sources, **options):
    return [video.name for video in list_sources(sources, **options)]


def test_files_are_called_as_the_videos_are_below_their_folder(place):
    videos = place / 'videos'
    assert names(videos) == ['rest/a', 'wave/a', 'wave/frames', 'wave/garbage']
    assert names(videos / 'wave') == ['a', 'frames', 'garbage']
    assert names(videos / 'wave' / 'frames', videos / 'rest' / 'a.mp4') == ['frames', 'a']
    assert names(place / 'list.csv', data_dir=str(videos)) == ['wave/a', 'rest/a']
    assert names(videos / 'rest', videos / 'rest' / 'a.mp4') == ['a']  # each once


def test_a_folder_of_classes_is_a_list_where_that_is_said(place):
    found = list_sources([place / 'videos'], list_format='folder')
    assert [(video.name, video.label, video.class_name) for video in found] == [
        ('rest/a', 0, 'rest'), ('wave/a', 1, 'wave'), ('wave/frames', 1, 'wave'), ('wave/garbage', 1, 'wave')]


def test_names_that_would_be_one_keep_their_ending_or_are_refused(tmp_path):
    for name in ('a.mp4', 'a.avi', 'b/a.mp4'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'x')
    assert names(tmp_path / 'a.mp4', tmp_path / 'a.avi') == ['a.mp4', 'a.avi']
    with pytest.raises(UsageError, match='would have one name, a.mp4'):
        names(tmp_path / 'a.mp4', tmp_path / 'b' / 'a.mp4')


def test_paths_of_a_list_that_lead_elsewhere_do_not_leave_the_folder(tmp_path):
    (tmp_path / 'list.txt').write_text('../../etc/a.mp4 0\n')
    assert names(tmp_path / 'list.txt', data_dir='/') == ['etc/a']


def test_empty_folders_and_lists_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(UsageError, match='no video and no folder of frames'):
        names(tmp_path)
    with pytest.raises(UsageError, match='there is no such list'):
        names(tmp_path / 'nowhere.csv')


def test_parts_of_a_video_have_files_of_their_own_and_times_in_the_whole(place, tmp_path):
    (tmp_path / 'parts.csv').write_text('path,label,start,end\nwave/a.mp4,up,0,0.4\nwave/a.mp4,down,0.4,1.2\n'
                                        'rest/a.mp4,up,,\nrest/a.mp4,up,7,8\n')
    taken = dict(data_dir=str(place / 'videos'), window='clip')
    made = extract_features(place / 'bundle', tmp_path / 'parts.csv', tmp_path / 'out', **taken)
    assert (made.done, made.skipped) == (3, 1)
    first, second, whole, lost = made.videos
    assert [record.get('file') for record in made.videos] == [
        'wave/a_t0-0.4.npz', 'wave/a_t0.4-1.2.npz', 'rest/a.npz', None]
    assert second['video'] == f'{place}/videos/wave/a.mp4#t=0.4,1.2' and second['class_name'] == 'down'
    assert second['part'] == [0.4, 1.2] and second['start'][0] == 0.4 and second['end'][-1] == 1.2
    assert 'part' not in whole and 'from 7 s to 8.0 s holds no frame' in lost['error']
    frames = VideoReader(place / 'videos' / 'wave' / 'a.mp4').read(range(10, 30))
    alone = FeatureExtractor(place / 'bundle', window='clip')(frames)
    with np.load(made.folder / second['file']) as held:
        np.testing.assert_allclose(held['features'], alone.values, atol=1e-6)
        np.testing.assert_allclose(held['start'] - held['part'][0], alone.start, atol=1e-6)
        assert set(held) == {'features', 'start', 'end', 'part'}
    rows = {row['file']: row for row in table(made)}
    assert (rows['wave/a_t0.4-1.2.npz']['part_start'], rows['wave/a_t0.4-1.2.npz']['part_end']) == ('0.400', '1.200')
    assert rows['rest/a.npz']['part_start'] == ''
    again = extract_features(place / 'bundle', tmp_path / 'parts.csv', tmp_path / 'out', **taken)
    assert (again.done, again.found, again.skipped) == (0, 3, 1)


def test_windows_of_a_part_begin_with_it(place, tmp_path):
    (tmp_path / 'parts.csv').write_text('path,label,start,end\nwave/a.mp4,up,0.4,1.2\n')
    made = extract_features(place / 'bundle', tmp_path / 'parts.csv', tmp_path / 'out', window=0.5,
                            data_dir=str(place / 'videos'))
    assert made.videos[0]['start'] == [0.4, 0.9] and made.videos[0]['end'] == [0.9, 1.2]
