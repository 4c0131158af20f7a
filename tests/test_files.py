"""Files and folders that are whole or not there, on disk before they have their name, and seals that notice changes."""
import os

import pytest

from gluon_action.errors import OutputError
from gluon_action.files import Changed, check_sealed, describe, put_folder, replacing, to_json, write_file


def test_a_file_is_on_disk_before_it_gets_its_name_and_the_name_before_work_goes_on(tmp_path, disk):
    write_file(tmp_path / 'manifest.json', 'x' * 100)
    part = disk[0][1]
    assert os.path.basename(part).startswith(f'.manifest.json.{os.getpid()}') and disk == [
        ('sync', part, 100), ('rename', part, str(tmp_path / 'manifest.json')), ('sync', str(tmp_path), None)]
    assert (tmp_path / 'manifest.json').read_text() == 'x' * 100


def test_what_can_be_made_again_is_not_waited_for(tmp_path, disk):
    write_file(tmp_path / 'preview.png', b'x', durable=False)
    assert [event[0] for event in disk] == ['rename']


def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / 'a').write_text('old')
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / 'a') as part:
        part.write_text('new')
        raise ZeroDivisionError
    told = '/a: cannot be written: No space left on device: the disk is full; remove something'
    with pytest.raises(OutputError, match=told):
        with replacing(tmp_path / 'a', hint='; remove something'):
            raise OSError(28, 'No space left on device')
    assert os.listdir(tmp_path) == ['a'] and (tmp_path / 'a').read_text() == 'old'


def test_names_that_are_no_utf_8_keep_their_bytes(tmp_path):
    write_file(tmp_path / 'list.txt', os.fsdecode(b'caf\xe9.mp4'))
    assert (tmp_path / 'list.txt').read_bytes() == b'caf\xe9.mp4'


def test_a_folder_is_on_disk_before_it_gets_its_name_and_the_old_one_goes_last(tmp_path, disk):
    (tmp_path / 'part').mkdir()
    (tmp_path / 'part' / 'new').write_text('new')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / 'old').touch()
    put_folder(tmp_path / 'part', tmp_path / 'folder')
    assert os.listdir(tmp_path) == ['folder'] and os.listdir(tmp_path / 'folder') == ['new']
    kinds = [(kind, os.path.relpath(path, tmp_path)) for kind, path, _ in disk]
    assert kinds == [('sync', 'part/new'), ('sync', 'part'), ('rename', 'folder'), ('rename', 'part'), ('sync', '.')]


@pytest.mark.parametrize('content, what', [(b'abcd', 'bytes'), (b'abd', 'sha256')])
def test_a_seal_notices_what_changed(tmp_path, content, what):
    (tmp_path / 'a').write_bytes(b'abc')
    sealed = describe(tmp_path, ['a'])
    check_sealed(tmp_path / 'a', sealed['a'])
    (tmp_path / 'a').write_bytes(content)
    with pytest.raises(Changed) as change:
        check_sealed(tmp_path / 'a', sealed['a'])
    assert change.value.what == what and change.value.expected == sealed['a'][what] != change.value.found


def test_json_holds_what_is_not_finite_as_null():
    np = pytest.importorskip('numpy')
    assert to_json({'a': [float('nan'), np.float32('inf'), np.float32(0.5)], 'b': np.int64(3), 'c': (True, None)}) == (
        '{\n  "a": [\n    null,\n    null,\n    0.5\n  ],\n  "b": 3,\n  "c": [\n    true,\n    null\n  ]\n}\n')
