"""Models go into archives and come out of them; nothing that lies in an archive is written anywhere else."""
import gzip
import io
import tarfile
import zlib

import pytest
from feature_models import architecture, store

from gluon_action.deploy.stored_models.model_archive import pack_model, unpack_model
from gluon_action.errors import OutputError, UsageError, WeightsError
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.frame_features.stored.writing import write_stored


def test_a_model_comes_out_as_it_went_in(tmp_path):
    prefix = store(tmp_path / 'run')
    archive = pack_model(tmp_path / 'run', tmp_path / 'model.tgz')
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ['inference_model.params', 'inference_model.json', 'model_flags.json']
    folder = unpack_model(archive, tmp_path / 'new' / 'folder')
    assert read_stored(folder).sha256 == read_stored(prefix).sha256
    assert Architecture.read(folder) == architecture()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.tgz', 'new', 'run']


def test_another_prefix_becomes_the_usual_one(tmp_path):
    made = read_stored(store(tmp_path / 'run', seed=2)).members[0]
    write_stored(tmp_path / 'v2', [(made.architecture, made.arrays)])
    folder = unpack_model(pack_model(tmp_path / 'v2', tmp_path / 'model.tgz'), tmp_path / 'new')
    assert read_stored(folder).sha256 == read_stored(tmp_path / 'v2').sha256


def test_a_folder_with_another_model_is_left_alone_and_one_with_this_model_is_taken(tmp_path):
    """Another inference may be about to read what is there."""
    before = read_stored(store(tmp_path / 'old', seed=1)).sha256
    store(tmp_path / 'run', seed=2)
    archive = pack_model(tmp_path / 'run', tmp_path / 'model.tgz')
    with pytest.raises(UsageError, match='--untar_model_dir .*old: holds another model, or other files; name a new'):
        unpack_model(archive, tmp_path / 'old')
    assert read_stored(tmp_path / 'old').sha256 == before
    (tmp_path / 'empty').mkdir()
    for folder in ('empty', 'empty', 'run'):
        assert read_stored(unpack_model(archive, tmp_path / folder)).sha256 == read_stored(tmp_path / 'run').sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ['empty', 'model.tgz', 'old', 'run']


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


def test_a_bit_that_is_damaged_anywhere_is_an_error(tmp_path):
    """Or it is one that nothing depends on: of the time and the name in the header, say."""
    store(tmp_path / 'run')
    archive = pack_model(tmp_path / 'run', tmp_path / 'model.tgz')
    whole, refused = archive.read_bytes(), 0
    content = gzip.decompress(whole)
    for place in [*range(len(whole) - 8), -8][::-29]:
        damaged = bytearray(whole)
        damaged[place] ^= 4
        archive.write_bytes(damaged)
        try:
            unpack_model(archive, tmp_path / 'folder')
            assert gzip.decompress(damaged) == content
        except UsageError as error:
            assert f'--input_model_tgz {archive}: cannot be read as a .tgz: ' in str(error)
            refused += 1
    assert refused > 60 and not list(tmp_path.glob('.part*'))


def test_a_damaged_place_far_into_a_file_is_an_error(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        about, content = entry('inference_model.params', bytes(100_000))
        tar.addfile(about, io.BytesIO(content))
    compress = zlib.compressobj(wbits=31)
    (tmp_path / 'a.tgz').write_bytes(compress.compress((tmp_path / 'a.tar').read_bytes()[:50_000])
                                     + compress.flush(zlib.Z_FULL_FLUSH) + b'\xff')  # a block of no known type
    with pytest.raises(UsageError, match='--input_model_tgz .*a.tgz: cannot be read as a .tgz: .*decompressing'):
        unpack_model(tmp_path / 'a.tgz', tmp_path / 'folder')


@pytest.mark.parametrize('names, told', [
    ([], r'lacks inference_model.params and inference_model.json, it is empty; --output_model_tgz writes'),
    (['model_flags.json', 'inference_model.json'],
     r'lacks inference_model.params, it holds inference_model.json, model_flags.json; --output_model_tgz writes'),
    (['./inference_model.meta', './inference_model.index', './inference_model.data-00000-of-00001'],
     r'lacks .* checkpoint of TensorFlow: unpack it, and scripts/youtube8m/import_checkpoint.py')])
def test_an_archive_without_a_model_is_refused_whatever_lies_in_the_folder(tmp_path, names, told):
    """Once the model of an earlier archive was taken."""
    store(tmp_path / 'old')
    with tarfile.open(tmp_path / 'a.tgz', 'w:gz') as tar:
        for name in names:
            about, content = entry(name)
            tar.addfile(about, io.BytesIO(content))
    for folder in ('new', 'old'):
        with pytest.raises(UsageError, match=f'--input_model_tgz .*a.tgz: {told}'):
            unpack_model(tmp_path / 'a.tgz', tmp_path / folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.tgz', 'old']


def test_what_cannot_be_packed_or_written_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match='--train_dir .*no stored model'):
        pack_model(tmp_path / 'nothing', tmp_path / 'a.tgz', '--train_dir')
    store(tmp_path / 'run')
    with pytest.raises(OutputError, match='missing/a.tgz: cannot be written'):
        pack_model(tmp_path / 'run', tmp_path / 'missing' / 'a.tgz')
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='file: cannot be written'):
        unpack_model(pack_model(tmp_path / 'run', tmp_path / 'a.tgz'), tmp_path / 'file')
