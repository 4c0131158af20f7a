"""Models go into archives and come out of them; nothing that lies in an archive is written anywhere else."""
import io
import tarfile

import pytest
from feature_models import architecture, store

from gluon_action.deploy.frame_features.model_archive import pack_model, unpack_model
from gluon_action.errors import OutputError, UsageError, WeightsError
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features.stored import read_stored, write_stored


def test_a_model_comes_out_as_it_went_in(tmp_path):
    prefix = store(tmp_path / 'run')
    archive = pack_model(tmp_path / 'run', tmp_path / 'model.tgz')
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ['inference_model.params', 'inference_model.json', 'model_flags.json']
    folder = unpack_model(archive, tmp_path / 'new' / 'folder')
    assert read_stored(folder).sha256 == read_stored(prefix).sha256
    assert Architecture.read(folder) == architecture()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.tgz', 'new', 'run']


def test_another_prefix_becomes_the_usual_one_and_what_was_there_is_replaced(tmp_path):
    store(tmp_path / 'old', seed=1)
    made = read_stored(store(tmp_path / 'run', seed=2)).members[0]
    write_stored(tmp_path / 'v2', [(made.architecture, made.arrays)])
    unpack_model(pack_model(tmp_path / 'v2', tmp_path / 'model.tgz'), tmp_path / 'old')
    assert read_stored(tmp_path / 'old').sha256 == read_stored(tmp_path / 'v2').sha256


def entry(name, content=b'x', **about):
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for key, value in about.items():
        setattr(made, key, value)
    return made, content


@pytest.mark.parametrize('bad', [
    entry('../inference_model.params'), entry('/tmp/inference_model.params'), entry('a/inference_model.params'),
    entry('inference_model.params/../../x'), entry('inference_model'), entry('notes.txt'), entry('inference_model.a/b'),
    entry('inference_model.json', b'', type=tarfile.SYMTYPE, linkname='/etc/passwd'),
    entry('inference_model.json', b'', type=tarfile.LNKTYPE, linkname='../x'),
    entry('inference_model.json', b'', type=tarfile.FIFOTYPE), entry('inference_model.d', b'', type=tarfile.DIRTYPE)],
    ids=lambda bad: f'{bad[0].name}-{bad[0].type.decode()}')
def test_nothing_is_unpacked_of_an_archive_with_strange_names(tmp_path, bad):
    archive = tmp_path / 'bad.tgz'
    with tarfile.open(archive, 'w:gz') as tar:
        for about, content in (entry('inference_model.params'), bad):
            tar.addfile(about, io.BytesIO(content))
    with pytest.raises(UsageError, match=r'--input_model_tgz .*bad.tgz: holds .*nothing was unpacked'):
        unpack_model(archive, tmp_path / 'folder')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bad.tgz']


@pytest.mark.parametrize('spoil, told', [
    (lambda path: path.write_bytes(b'no archive'), 'cannot be read as a .tgz'),
    (lambda path: path.write_bytes(path.read_bytes()[:60]), 'cannot be read as a .tgz'),
    (lambda path: path.unlink(), 'cannot be read as a .tgz: .*No such file')])
def test_what_is_no_archive_is_an_error(tmp_path, spoil, told):
    store(tmp_path / 'run')
    archive = pack_model(tmp_path / 'run', tmp_path / 'model.tgz')
    spoil(archive)
    with pytest.raises(UsageError, match=f'--input_model_tgz .*model.tgz: {told}'):
        unpack_model(archive, tmp_path / 'folder')


def test_an_empty_archive_and_one_of_tensorflow_are_told(tmp_path):
    with tarfile.open(tmp_path / 'empty.tgz', 'w:gz'):
        pass
    with pytest.raises(UsageError, match='is empty'):
        unpack_model(tmp_path / 'empty.tgz', tmp_path / 'folder')
    with tarfile.open(tmp_path / 'tf.tgz', 'w:gz') as tar:
        for name in ('inference_model.meta', 'inference_model.index', 'inference_model.data-00000-of-00001'):
            tar.addfile(*[(about, io.BytesIO(content)) for about, content in [entry(f'./{name}')]][0])
    with pytest.raises(WeightsError, match='is a checkpoint of TensorFlow'):
        read_stored(unpack_model(tmp_path / 'tf.tgz', tmp_path / 'folder'))


def test_what_cannot_be_packed_or_written_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match='--train_dir .*no stored model'):
        pack_model(tmp_path / 'nothing', tmp_path / 'a.tgz', '--train_dir')
    store(tmp_path / 'run')
    with pytest.raises(OutputError, match='missing/a.tgz: cannot be written'):
        pack_model(tmp_path / 'run', tmp_path / 'missing' / 'a.tgz')
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='file: cannot be written'):
        unpack_model(pack_model(tmp_path / 'run', tmp_path / 'a.tgz'), tmp_path / 'file')
