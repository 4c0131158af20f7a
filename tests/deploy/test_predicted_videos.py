"""Which videos a command means: lists with and without labels, in every format, folders, and what is none of these."""
import json

import numpy as np
import pytest
from bundles import make_bundle
from videos import write_video

from gluon_action.cli import predict as command
from gluon_action.cli.command import run
from gluon_action.data.reading.part import VideoPart
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.deploy.predict.predictor import Predictor
from gluon_action.deploy.predict.videos import find_videos
from gluon_action.errors import AnnotationError, UsageError

NAMES = ['wave/a b.mp4', 'jump/c.mp4', 'jump/d.mp4']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Three videos in class folders; nothing looks into them."""
    folder = tmp_path_factory.mktemp('videos')
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b'x')
    return folder


LISTS = {
    'paths.txt': '\n'.join(['# mine', *NAMES]), 'labels.csv': 'path,label\n"wave/a b.mp4",wave\n'
    'jump/c.mp4,jump\njump/d.mp4,jump\n', 'numbers.txt': '"wave/a b.mp4" 9 1\njump/c.mp4 9 0\njump/d.mp4 9 0\n',
    'column.csv': 'path\n' + '\n'.join(NAMES), 'more.csv': 'path,seconds\n' + '\n'.join(f'"{n}",3' for n in NAMES),
    'plain.json': json.dumps(NAMES), 'objects.json': json.dumps([{'path': name, 'label': 'x'} for name in NAMES]),
    'bare.txt': '\n'.join(['jump/c.mp4', 'jump/d.mp4', 'wave/a b.mp4']),
    'several.csv': 'path,labels\n"wave/a b.mp4",1;2\njump/c.mp4,0\njump/d.mp4,0;1\n',
    'bom.csv': '\ufeffpath;label\nwave/a b.mp4;wave\njump/c.mp4;jump\njump/d.mp4;jump\n'}


@pytest.mark.parametrize('name', LISTS)
def test_a_list_stands_for_its_videos_whether_it_has_labels_or_not(root, name):
    path = root / name
    path.write_text(LISTS[name], encoding='utf-8')
    assert sorted(find_videos([str(path)])) == sorted(str(root / name) for name in NAMES)
    path.unlink()


def test_paths_start_from_the_folder_that_has_the_videos(root, tmp_path, monkeypatch):
    (tmp_path / 'l.txt').write_text('\n'.join(NAMES))
    (tmp_path / 'absolute.txt').write_text('\n'.join(str(root / name) for name in NAMES))
    (tmp_path / 'labelled.txt').write_text('\n'.join(f'{root / name} 0' for name in NAMES[1:]))
    expected = [str(root / name) for name in NAMES]
    assert find_videos([str(tmp_path / 'l.txt')], data_dir=str(root)) == expected
    assert find_videos([str(tmp_path / 'l.txt')], more_dirs=[str(root)]) == expected
    assert find_videos([str(tmp_path / 'absolute.txt')]) == expected
    assert find_videos([str(tmp_path / 'labelled.txt')]) == expected[1:]
    monkeypatch.chdir(root)
    assert find_videos([str(tmp_path / 'l.txt')]) == NAMES
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AnnotationError, match='none of its 3 videos is there.*--data-dir'):
        find_videos([str(tmp_path / 'l.txt')])


@pytest.mark.parametrize('name, text', [
    ('parts.csv', 'path,label,start,end\njump/c.mp4,x,0,2\njump/c.mp4,y,2,4\njump/d.mp4,y,,\njump/c.mp4,x,0,2\n'),
    ('parts.csv', 'path,start,end\njump/c.mp4,0,2\njump/c.mp4,2,4\njump/d.mp4,,\n'),
    ('parts.json', json.dumps([{'path': 'jump/c.mp4', 'label': 'x', 'start': 0, 'end': 2},
                               {'path': 'jump/c.mp4', 'label': 'x', 'start': 2, 'end': 4},
                               {'path': 'jump/d.mp4', 'label': 'y'}]))])
def test_where_a_list_names_parts_these_are_meant(root, name, text):
    (root / name).write_text(text)
    video = str(root / 'jump/c.mp4')
    assert find_videos([str(root / name)]) == [VideoPart(video, 0, 2), VideoPart(video, 2, 4), str(root / 'jump/d.mp4')]
    (root / name).unlink()


def test_frames_of_a_list_count_from_0_and_end_before_the_last(root):
    (root / 'parts.csv').write_text('path,start_frame,end_frame\njump/c.mp4,10,20\n')
    assert find_videos([str(root / 'parts.csv')]) == [VideoPart(str(root / 'jump/c.mp4'), first=11, last=20)]
    (root / 'parts.csv').unlink()


def test_one_that_is_missing_stays_in_the_list(root, tmp_path):
    (root / 'some.txt').write_text('\n'.join([*NAMES, 'gone.mp4']))
    assert find_videos([str(root / 'some.txt')])[-1] == str(root / 'gone.mp4')
    (root / 'some.txt').unlink()


@pytest.mark.parametrize('content, told', [('', 'lists no videos'), ('hello\nthis is a text\n', 'notes.txt')])
def test_a_text_that_is_no_list_is_refused(tmp_path, content, told):
    (tmp_path / 'notes.txt').write_text(content)
    with pytest.raises(AnnotationError, match=told):
        find_videos([str(tmp_path / 'notes.txt')])
    with pytest.raises(AnnotationError, match='does not exist'):
        find_videos([str(tmp_path / 'gone.csv')])


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(UsageError, match='holds no video, and no pictures of one, but nothing'):
        find_videos([str(tmp_path)])
    (tmp_path / 'notes.md').write_text('x')
    with pytest.raises(UsageError, match='only others, such as notes.md'):
        find_videos([str(tmp_path)])


def test_a_list_and_a_folder_are_predicted(tmp_path, capsys):
    bundle = make_bundle(tmp_path / 'bundle')
    (tmp_path / 'v' / 'wave').mkdir(parents=True)
    write_video(tmp_path / 'v' / 'wave' / 'a.mp4', 6)
    (tmp_path / 'l.txt').write_text('wave/a.mp4 wave\n')
    argv = [str(bundle), str(tmp_path / 'l.txt'), str(tmp_path / 'v'), '--data-dir', str(tmp_path / 'v')]
    assert run(command.parse_args, command.main, argv) == 0
    assert capsys.readouterr().out.count('wave/a.mp4: ') == 2


def test_parts_are_scored_as_their_frames_and_keep_the_times_of_their_video(tmp_path, capsys):
    bundle = make_bundle(tmp_path / 'bundle')
    video = write_video(tmp_path / 'a.mp4', 60)
    (tmp_path / 'l.csv').write_text('path,start,end\na.mp4,0.4,1.2\na.mp4,1.2,2\na.mp4,9,10\n')
    argv = [str(bundle), str(tmp_path / 'l.csv'), '--json', str(tmp_path / 'all.json'), '--csv',
            str(tmp_path / 'all.csv'), '--segments', str(tmp_path / 'all.txt'), '--timeline', f'{tmp_path}/']
    assert run(command.parse_args, command.main, argv) == 1
    told = capsys.readouterr()
    assert f'[1/3] {video}#t=0.4,1.2: ' in told.out and 'from 9 s to 10.0 s holds no frame' in told.err
    first, second, failed = json.loads((tmp_path / 'all.json').read_text())['videos']
    frames = VideoReader(video).read(range(60))
    for part, begin, end in ((first, 10, 30), (second, 30, 50)):
        alone = Predictor(bundle)(frames[begin:end])
        np.testing.assert_allclose(part['probabilities'], alone.probabilities, atol=1e-6)
        assert part['part'] == pytest.approx([begin / 25, end / 25]) and part['duration'] == pytest.approx(0.8)
        assert [segment['start'] for segment in part['segments']] == pytest.approx(
            [segment.start + begin / 25 for segment in alone.segments])
        assert part['windows'][0]['start'] == pytest.approx(begin / 25)
    assert failed['path'].endswith('a.mp4#t=9,10') and first['probabilities'] != second['probabilities']
    assert [row.split(',')[0] for row in (tmp_path / 'all.csv').read_text().splitlines()[1:]][:1] == [f'"{video}#t=0.4']
    assert '0:00:01.20 - 0:00:02.00' in (tmp_path / 'all.txt').read_text()
    assert {path.name for path in tmp_path.glob('*.png')} == {'a_t0.4-1.2.png', 'a_t1.2-2.png'}
