"""What features came through, as manifests beside record files say it: one origin is found, two are refused."""
import json
import logging

import pytest

from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.data.tfrecords.features.origin import common_origin, origin_of
from gluon_action.errors import UsageError

ONE = {'backbone': {'name': 'a', 'sha256': '11'}, 'pca': {'sha256': '22', 'size': 8}}
OTHER = {**ONE, 'pca': {'sha256': '33', 'size': 8}}


def say(result, settings):
    """Write a manifest beside a file or a folder."""
    result.with_name(f'{result.name}.manifest.json').write_text(json.dumps({'settings': settings, 'inputs': []}))


@pytest.fixture
def files(tmp_path):
    """Three files of records in a folder."""
    made = make_feature_records(tmp_path / 'own', videos=6, files=3, classes=3, order_classes=0, sizes=(('rgb', 4),),
                                lengths=(1, 3))
    return list(made.paths)


def opened(files):
    return FeatureRecords([str(path) for path in files], features=(('rgb', 4),), num_classes=3)


def test_files_without_manifests_say_nothing(files, caplog):
    with caplog.at_level(logging.INFO):
        assert opened(files).origin == {}
    assert not caplog.records


def test_what_manifests_say_is_taken_together(files):
    say(files[1], {**ONE, 'audio': None, 'max_frames': 300})
    assert opened(files).origin == ONE
    say(files[2], {**ONE, 'audio': {'sha256': '44'}})
    assert opened(files).origin == {**ONE, 'audio': {'sha256': '44'}}
    assert origin_of([str(files[0])]) == {}


@pytest.mark.parametrize('changed, what, told', [
    ({'pca': {'sha256': '33', 'size': 8}}, 'PCA', 'sha256 33 instead of 22'),
    ({'pca': {'sha256': '22', 'size': 9}}, 'PCA', 'size 9 instead of 8'),
    ({'backbone': {'name': 'b', 'sha256': '11'}}, 'backbone', 'name b instead of a'),
    ({'audio': {'sha256': '55'}}, 'audio network', 'sha256 55 instead of 44')])
def test_two_origins_are_refused(files, changed, what, told):
    say(files[0], {**ONE, 'audio': {'sha256': '44'}})
    say(files[2], {**ONE, **changed})
    with pytest.raises(UsageError, match=rf'{files[2]}: features came through another {what} than those of {files[0]} '
                                         rf'\({told}\).*extract all of them through one'):
        opened(files)
    assert len(opened(files[:2])) == 4


def test_the_manifest_of_a_folder_is_about_its_files(files):
    say(files[0].parent, ONE)
    assert opened(files).origin == ONE
    say(files[0], OTHER)
    with pytest.raises(UsageError, match='another PCA'):
        opened(files)


def test_files_named_in_the_working_folder_have_theirs(files, monkeypatch):
    say(files[0], ONE)
    monkeypatch.chdir(files[0].parent)
    assert origin_of([files[1].name, files[0].name]) == ONE


@pytest.mark.parametrize('content', ['{', '[]', '{}', '{"settings": 3}'])
def test_what_is_no_manifest_is_told_and_passed_over(files, caplog, content):
    files[0].with_name(f'{files[0].name}.manifest.json').write_text(content)
    assert opened(files).origin == {}
    assert len(caplog.messages) == 1 and f'{files[0].name}.manifest.json: cannot be read' in caplog.messages[0]


def test_a_manifest_of_something_else_says_nothing(files, caplog):
    say(files[0], {'model_sha256': '66'})
    assert opened(files).origin == {} and not caplog.records


def test_each_may_know_a_part():
    assert common_origin([('a', {}), ('b', {'pca': 1}), ('c', {'audio': 2})]) == {'pca': 1, 'audio': 2}
