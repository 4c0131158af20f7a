"""One rule says which videos are in a folder, whoever looks for them."""
import logging
import os
from types import SimpleNamespace

import pytest

from gluon_action.data.flow.find_videos import find_videos
from gluon_action.data.lists.annotations import read_annotations
from gluon_action.data.lists.folders.video_folders import LeftOut, videos_below
from gluon_action.deploy.int8.calibration_clips import list_clips
from gluon_action.deploy.predict import videos as predicted
from gluon_action.errors import AnnotationError

BUNDLE = SimpleNamespace(preprocess=SimpleNamespace(modality='rgb'))
TREE = ('walk/a.mp4', 'walk/b.MTS', 'walk/c.lrv', 'walk/deep/er/d.mkv', 'walk/poster.jpg',
        'walk/frames/img_00001.jpg', 'walk/frames/img_00002.jpg', 'walk/frames/notes.txt',
        'walk/pictures/cover.png', 'walk/pictures/of/e.mp4', 'walk/a.srt', 'walk/b.srt',
        'walk/._a.mp4', 'walk/.hidden/f.mp4', 'walk/__MACOSX/g.mp4', 'walk/@eaDir/h.mp4')
VIDEOS = ['walk/a.mp4', 'walk/b.MTS', 'walk/c.lrv', 'walk/deep/er/d.mkv', 'walk/frames', 'walk/pictures/of/e.mp4']


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def by_class_folders(top):
    return [sample.path for sample in read_annotations(str(top)).samples]


def by_flow(top):
    return list(find_videos([top]).values())


def by_calibration(top):
    return [path for path, _ in list_clips([str(top / 'walk')], BUNDLE)]


def by_prediction(top):
    return predicted.find_videos([str(top)])


FINDERS = [by_class_folders, by_flow, by_calibration, by_prediction]


@pytest.mark.parametrize('find', FINDERS)
def test_everyone_finds_the_same_videos_in_a_folder_and_says_what_is_none(tmp_path, caplog, find):
    touch(tmp_path, *TREE)
    os.symlink(tmp_path, tmp_path / 'walk/again')
    assert find(tmp_path) == [str(tmp_path / name) for name in VIDEOS]
    record, = (record for record in caplog.records if 'left out' in record.message)
    assert record.levelno == logging.WARNING
    assert record.message.endswith(': left out: 5 files that are no videos (2 .srt, 1 link to a folder above, 1 .png, '
                                   '1 .jpg); 4 hidden or system files')


def test_flow_beside_videos_is_what_was_made_of_them_or_the_videos_themselves(tmp_path, caplog):
    touch(tmp_path, 'a.mp4', 'flow/a/flow.json', 'flow/a/flow_x_00001.jpg', 'flow/b/flow.npz')
    with caplog.at_level(logging.INFO):
        assert by_flow(tmp_path) == [str(tmp_path / 'a.mp4')]
    assert '2 folders of optical flow' in caplog.text and caplog.records[0].levelno == logging.INFO
    found = list(videos_below(str(tmp_path), LeftOut()))
    assert found == [str(tmp_path / name) for name in ('a.mp4', 'flow/a', 'flow/b')]


def test_a_folder_of_frames_is_a_video_itself_unless_it_must_not_be(tmp_path):
    touch(tmp_path, 'img_00001.jpg')
    assert list(videos_below(str(tmp_path), LeftOut())) == [str(tmp_path)]
    left_out = LeftOut()
    assert list(videos_below(str(tmp_path), left_out, itself=False)) == [] and left_out.files == {'.jpg': 1}


def test_names_are_in_the_order_that_is_asked_for(tmp_path):
    touch(tmp_path, '10.mp4', '9.mp4')
    assert list(videos_below(str(tmp_path), LeftOut())) == [str(tmp_path / '10.mp4'), str(tmp_path / '9.mp4')]
    found = videos_below(str(tmp_path), LeftOut(), order=lambda name: int(name.split('.')[0]))
    assert list(found) == [str(tmp_path / '9.mp4'), str(tmp_path / '10.mp4')]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, 'walk/a.mp4', 'walk/b/c.mp4')
    real = os.scandir

    def refused(path):
        if str(path).endswith('/b'):
            raise PermissionError(13, 'Permission denied')
        return real(path)

    monkeypatch.setattr(os, 'scandir', refused)
    for find in FINDERS:
        with pytest.raises(AnnotationError, match='walk/b: the folder cannot be read: Permission denied'):
            find(tmp_path)
