"""Files that are damaged, or made to harm whoever opens them: a sentence, at once, and nothing of a neighbour's."""
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import gluon_action  # before anything that imports MXNet

# isort: split
import numpy as np
import pytest
from bundles import make_bundle
from loops import make_loop
from tf_checkpoint_writer import field, table, write_checkpoint
from videos import read_barcode, write_frames, write_video

from gluon_action import files
from gluon_action.data.lists.annotations import read_annotations
from gluon_action.data.lists.parts_of_videos import read_clip_annotations
from gluon_action.data.reading.decoders import pyav_video
from gluon_action.data.reading.decoders.picture_file import PICTURE_LOADERS
from gluon_action.data.reading.media import frame_table, known_tables
from gluon_action.data.reading.single_clip import flow_clip
from gluon_action.data.reading.stream import FrameStream
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.data.tfrecords.clips.clip_records import ClipRecords
from gluon_action.data.tfrecords.clips.manifest import Manifest
from gluon_action.deploy.bundle import format as bundle_format
from gluon_action.deploy.bundle.format import read_bundle
from gluon_action.errors import (
    AnnotationError,
    BundleError,
    CheckpointError,
    OutputError,
    RecordError,
    UsageError,
    VideoReadError,
    WeightsError,
)
from gluon_action.evaluate.reports import write_scores
from gluon_action.evaluate.scores.files import read_scores
from gluon_action.files import describe, write_file
from gluon_action.model_zoo.importers.formats.safetensors_file import read_safetensors
from gluon_action.model_zoo.importers.formats.tensorflow import read_checkpoint as read_tensorflow
from gluon_action.model_zoo.importers.formats.torch_file import read_file as read_torch
from gluon_action.model_zoo.loading.params_file import read_parameters, write_arrays
from gluon_action.run_config import read_run_config
from gluon_action.train.progress import Progress
from gluon_action.train.run.folder.checkpoint import Checkpoint, read_checkpoint, understood
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir, read_optimizer

PACKAGE = Path(gluon_action.__file__).parent


def test_no_file_goes_to_a_reader_that_believes_it():
    """MXNet's loaders crash on damaged files, and NumPy's takes what memory a file claims."""
    believing = re.compile(r'\b(np\.load|(nd|sym|symbol)\.load|SymbolBlock\.imports|pickle\.load)\(')
    assert [f'{path.relative_to(PACKAGE)}: {line.strip()}' for path in PACKAGE.rglob('*.py')
            for line in path.read_text().splitlines() if believing.search(line.split('#')[0])] == []


# Parameters.

def params_file(shape, *, magic=0xF993FAC9, storage=0, count=1, names=(b'a.weight',), kind=0, data=b''):
    """A file as MXNet writes it, of one array; what it says may be wrong."""
    array = struct.pack(f'<IiI{len(shape)}qiii', magic, storage, len(shape), *shape, 1, 0, kind) + data
    return (struct.pack('<QQQ', 0x112, 0, count) + array + struct.pack('<Q', len(names))
            + b''.join(struct.pack('<Q', len(name)) + name for name in names))


@pytest.mark.parametrize('content, told', [
    (params_file((-1,)), r'an array of the shape \(-1,\)'), (params_file((1 << 40,)), 'it ends too early'),
    (params_file((0, 1 << 62)), 'an array of the shape'), (params_file((2,), storage=1), 'a sparse array'),
    (params_file((2,), count=1 << 27, data=bytes(8)), 'a torn one'),
    (params_file((2,), count=1 << 63, data=bytes(8)), 'a torn one'),
    (params_file((2,), kind=99, data=bytes(8)), 'the unknown type 99'),
    (params_file((2,), names=(b'a.b', b'a.b'), data=bytes(8)), '2 names for 1 arrays'),
    (params_file((2,), names=(b'\xff.b',), data=bytes(8)), "can't decode")],
    ids=['negative', 'huge', 'huge and empty', 'sparse', 'many', 'more', 'type', 'names', 'no text'])
def test_parameters_that_claim_what_is_not_there_are_refused_at_once(tmp_path, content, told):
    (tmp_path / 'x.params').write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=told):
            read_parameters(tmp_path / 'x.params')
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_two_arrays_of_one_name_are_refused(tmp_path):
    one = struct.pack('<IiIqiiif', 0xF993FAC9, 0, 1, 1, 1, 0, 0, 7.)
    (tmp_path / 'x.params').write_bytes(struct.pack('<QQQ', 0x112, 0, 2) + 2 * one + struct.pack('<Q', 2)
                                        + 2 * (struct.pack('<Q', 3) + b'a.b'))
    with pytest.raises(WeightsError, match="two arrays of the name 'a.b'"):
        read_parameters(tmp_path / 'x.params')


# Checkpoints that somebody sealed again.

STATE = {'params': {'w': np.ones(2, np.float32)}, 'loop': {'progress': {'epoch': 1}}, 'config': {}}


def resealed(folder, change=None, **contents):
    """A checkpoint of which files, or the manifest, say something else under checksums that fit."""
    path = CheckpointDir(folder).save(2, STATE)
    manifest = json.loads((path / 'manifest.json').read_text())['manifest']
    for name, content in contents.items():
        (path / name.replace('_', '.')).write_bytes(content)
    manifest['files'] = describe(path, manifest['files'])
    if change:
        change(manifest)
    text = json.dumps(manifest, sort_keys=True).encode()
    (path / 'manifest.json').write_text(json.dumps({'manifest': manifest, 'sha256': hashlib.sha256(text).hexdigest()}))
    return path


@pytest.mark.parametrize('change, contents, told', [
    (None, {'loop_json': b'{'}, 'loop.json is not what this program writes'),
    (None, {'loop_json': b'\xff'}, 'loop.json is not what this program writes'),
    (None, {'loop_json': b'[' * 100_000}, 'nested too deeply'), (None, {'loop_json': b'[1]'}, 'loop.json is not what'),
    (None, {'params_params': params_file((2,), count=1 << 27, data=bytes(8))}, 'params.params is not what'),
    (lambda manifest: manifest.update(step='2'), {}, 'does not say step, sequence and files'),
    (lambda manifest: manifest.update(sequence=[1]), {}, 'does not say step, sequence and files'),
    (lambda manifest: manifest.update(files=[1]), {}, 'does not say step, sequence and files'),
    (lambda manifest: manifest['files'].update({'../../x.json': manifest['files']['loop.json']}), {},
     'files of its folder'),
    (lambda manifest: manifest['files'].update({'loop.json': 'x'}), {}, 'files of its folder'),
    (lambda manifest: manifest['files'].pop('loop.json'), {}, "it has no part 'loop'")])
def test_a_checkpoint_that_was_edited_and_sealed_again_is_refused_by_name(tmp_path, change, contents, told):
    with pytest.raises(CheckpointError, match=f'step-00000002 is refused: .*{told}'):
        _, state = read_checkpoint(resealed(tmp_path, change, **contents))
        state['loop']


def test_a_run_that_stands_nowhere_is_refused():
    for values in ({'epoch': 'x'}, {'step': -1}, {'epoch': True}, {'history': [1]}, {'strange': 1}, {'best': None}):
        with pytest.raises(CheckpointError, match='step-1 is refused|what no run says'):
            with understood(Checkpoint(1, {}, Path('step-1'))):
                Progress.from_json(values)
    assert Progress.from_json({'epoch': 1, 'best': 0, 'best_epoch': None}).epoch == 1


@pytest.mark.parametrize('change, told', [
    (lambda numbers: numbers['moving'].update(lr_scheduler=3), 'other things than its counts'),
    (lambda numbers: numbers.update(num_update='3'), 'other things than its counts'),
    (lambda numbers: numbers['counts'].update({'0.weight': -1}), 'other things than its counts'),
    (lambda numbers: numbers.update(loss_scaler={'stop': 1}), 'other things than its counts')])
def test_an_optimizer_takes_over_nothing_but_its_own_numbers(change, told):
    loop = make_loop()
    state = loop.state_dict()
    change(state['loop']['optimizer'])
    with pytest.raises(CheckpointError, match=told):
        loop.load_state_dict(state)


def test_parameters_of_another_type_are_not_taken_for_those_of_a_network():
    loop = make_loop()
    state = loop.state_dict()
    name = next(iter(state['params']))
    state['params'][name] = state['params'][name].astype(np.int32)
    with pytest.raises(CheckpointError, match=f'{name} is of int32 there and of float32 here'):
        loop.load_state_dict(state)


# Lists.

@pytest.mark.parametrize('name, content, kind, told', [
    ('a.csv', 'path,label,start,end\na.mp4,x,0,1\n', 'kinetics', 'a.csv line 2: needs youtube_id'),
    ('a.txt', f'a.mp4 {"9" * 5000}\nb.mp4 1\n', 'path_label', 'a.txt line 1: label .* is not an integer'),
    ('a.txt', 'a.mp4 2147483648\nb.mp4 1\n', 'path_label', 'line 1: label 2147483648 is out of range 0..1048575'),
    ('a.json', '7', 'somethingsomethingv2', 'a.json: expected a list of objects with id and template'),
    ('a.json', '[{"id": "1", "template": 7}]', 'somethingsomethingv2', 'a.json entry 1: id and template must be text'),
    ('a.txt', 'a\0b.mp4 1\n', 'path_label', 'is not a text file')])
def test_a_list_of_another_kind_is_refused_with_its_line(tmp_path, name, content, kind, told):
    (tmp_path / name).write_text(content)
    with pytest.raises(AnnotationError, match=told):
        read_annotations(str(tmp_path / name), list_format=kind)


def test_a_number_of_a_class_makes_no_billion_classes(tmp_path):
    (tmp_path / 'a.csv').write_text('video,start,end,labels\na.mp4,0,1,2147483648\n')
    with pytest.raises(AnnotationError, match='a.csv line 2: label 2147483648 would make as many classes'):
        read_clip_annotations(tmp_path / 'a.csv')


def test_names_of_classes_beside_records_that_are_no_utf_8_are_named(tmp_path):
    from clips import write_clips
    write_clips(tmp_path, 2, shape=(2, 4, 4, 3))
    (tmp_path / 'classes.txt').write_bytes('Tür auf\nzu\nweg\n'.encode('latin-1'))
    with pytest.raises(UsageError, match=r'classes.txt: byte 1 is no UTF-8.*save the file as UTF-8'):
        ClipRecords(tmp_path, num_classes=3, clip_length=2, height=4, width=4)


# Weights of others.

@pytest.mark.parametrize('number', range(1, 6))
def test_an_entry_of_tensorflow_with_text_for_a_number_is_refused(tmp_path, number):
    prefix = write_checkpoint(tmp_path / 'x', {'w': np.ones(2, np.float32)})
    header = field(1, 1) + field(3, field(1, 1))
    (tmp_path / 'x.index').write_bytes(table([(b'', header), (b'w', field(number, b'text'))]))
    with pytest.raises(WeightsError, match='x.index: not an index|x.index: a torn index'):
        read_tensorflow(prefix)


# Bundles.

@pytest.mark.parametrize('name, value', [('precision', ['float32']), ('model', 7), ('outputs', []), ('input', {}),
                                         ('published', {'top1': 'high'}), ('opset', 'x')])
def test_a_manifest_with_another_kind_where_a_word_should_be_is_refused(tmp_path, name, value):
    folder = make_bundle(tmp_path / 'x')
    manifest = {**json.loads((folder / 'manifest.json').read_text()), name: value}
    del manifest['sha256']
    (folder / 'manifest.json').write_text(bundle_format.seal(manifest))
    with pytest.raises(BundleError, match=f'manifest.json: {name} cannot be'):
        read_bundle(folder)


# Scores.

def scores_file(folder, **changes):
    """A file of scores of two videos, with other arrays in it."""
    write_scores(folder / 'scores.npz', ['a', 'b'], np.array([0, 1]), np.eye(2), np.ones(2, bool), ['x', 'y'])
    with np.load(folder / 'scores.npz') as arrays:
        np.savez(folder / 'scores.npz', **{**arrays, **changes})
    return folder / 'scores.npz'


@pytest.mark.parametrize('changes, told', [
    ({'keys': np.array('a')}, 'lengths that do not fit'), ({'classes': np.array('a')}, 'lengths that do not fit'),
    ({'scores': np.array(['a', 'b'])}, 'are text, and decimal numbers are wanted'),
    ({'keys': np.arange(2)}, 'are whole numbers, and text'), ({'scores': np.zeros((2, 2), complex)}, 'complex numbers'),
    ({'labels': np.array([0, 2])}, 'its labels run from 0 to 2, not within 0..1'),
    ({'labels': np.array([0, -1])}, 'its labels run from -1'),
    ({'scored': np.ones((), bool)}, 'lengths that do not fit')])
def test_scores_of_another_kind_are_refused(tmp_path, changes, told):
    with pytest.raises(UsageError, match=told):
        read_scores(scores_file(tmp_path, **changes))


def test_scores_packed_in_another_way_are_refused(tmp_path):
    with zipfile.ZipFile(scores_file(tmp_path)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / 'scores.npz', 'w', zipfile.ZIP_BZIP2) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UsageError, match='packed in a way that NumPy does not write'):
        read_scores(tmp_path)


def test_text_that_is_no_text_is_refused(tmp_path):
    path = scores_file(tmp_path)
    data = path.read_bytes().replace('x'.encode('utf-32-le') + 'y'.encode('utf-32-le'), b'\xff\xff\xff\x7f' * 2)
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(path, 'w') as sealed:
        for info in archive.infolist():
            archive.getinfo(info.filename).CRC = None  # nothing is compared with it
            sealed.writestr(info.filename, archive.read(info.filename))
    with pytest.raises(UsageError, match="'classes': it says that it is text, and is none"):
        read_scores(tmp_path)


@pytest.mark.parametrize('results', ['{"protocol": {"average": ["x"]}}', '{"protocol": 7}', '[1]', '{', '[' * 100_000])
def test_results_that_say_something_else_beside_scores_do_not_matter(tmp_path, results):
    scores_file(tmp_path)
    (tmp_path / 'results.json').write_text(results)
    assert read_scores(tmp_path).kind == 'probabilities'  # by their looks


# What a run says of itself.

@pytest.mark.parametrize('text', ['{"config": {"new_length": Infinity}}', '{"config": {"lr": 1e999}}', '[' * 100_000,
                                  '{"config": {"lr": NaN}}'])
def test_a_config_that_no_run_writes_is_none(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    assert read_run_config(tmp_path) is None


# Folders of several people.

def test_a_link_laid_where_a_part_will_be_written_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / 'theirs').write_text('precious')
    (tmp_path / '.part').symlink_to(tmp_path / 'theirs')
    monkeypatch.setattr(files, 'part_name', lambda path: path.with_name('.part'))  # as if the name had been guessed
    with pytest.raises(OSError, match='File exists'):
        write_file(tmp_path / 'x.params', b'parameters')
    assert (tmp_path / 'theirs').read_text() == 'precious' and (tmp_path / '.part').is_symlink()


def test_the_name_of_a_part_is_another_one_each_time(tmp_path):
    names = {files.part_name(tmp_path / 'x.params').name for _ in range(20)}
    assert len(names) == 20 and all(name.startswith('.x.params.') for name in names)


def test_a_manifest_removes_no_file_outside_its_folder(tmp_path):
    """``make-clip-records --overwrite`` removes the files that the manifest of another run names."""
    (tmp_path / 'precious').write_text('theirs')
    (tmp_path / 'out').mkdir()
    Manifest(tmp_path / 'out', {'settings': {'clips': 1}}).expect(shards_sha256='0' * 64)
    manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
    manifest['files'] = {'../precious': {'bytes': 6, 'labels': {}}}
    (tmp_path / 'out' / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(OutputError, match='manifest.json: is damaged: it names files that no run'):
        Manifest(tmp_path / 'out', {'settings': {'clips': 2}}, overwrite=True)
    assert (tmp_path / 'precious').exists()


# What is no file.

OPENED = {
    'a list': (lambda path: read_annotations(str(path)), AnnotationError),
    'parameters': (read_parameters, WeightsError),
    'the state of an optimizer': (read_optimizer, CheckpointError),
    'scores': (read_scores, UsageError),
    'a clip': (lambda path: flow_clip(path), VideoReadError),
    'weights of PyTorch': (read_torch, WeightsError),
    'weights of safetensors': (read_safetensors, WeightsError),
    'a bundle': (read_bundle, BundleError),
    'records': (lambda path: ClipRecords(path, num_classes=2), (UsageError, RecordError)),
}


@pytest.mark.parametrize('what', OPENED)
def test_a_pipe_in_the_place_of_a_file_is_refused_instead_of_waited_for(tmp_path, what):
    open_it, error = OPENED[what]
    os.mkfifo(tmp_path / 'x.npy')
    with pytest.raises(error, match='x.npy'):
        open_it(tmp_path / 'x.npy')


def test_a_pipe_inside_a_checkpoint_or_beside_weights_is_not_waited_for(tmp_path):
    path = resealed(tmp_path, lambda manifest: manifest['files']['loop.json'].update(bytes=0))
    (path / 'loop.json').unlink()
    os.mkfifo(path / 'loop.json')
    with pytest.raises(CheckpointError, match='loop.json: a pipe or a device is no file'):
        read_checkpoint(path)
    os.mkfifo(tmp_path / 'config.json')
    assert read_run_config(tmp_path) is None
    os.mkfifo(tmp_path / 'results.json')
    scores_file(tmp_path)
    assert read_scores(tmp_path).keys == ['a', 'b']


@pytest.mark.parametrize('loader', PICTURE_LOADERS)
def test_a_pipe_or_a_device_among_pictures_is_not_waited_for(tmp_path, loader):
    folder = write_frames(tmp_path / 'frames', range(1, 7))
    for number, make in ((3, os.mkfifo), (5, lambda path: path.symlink_to('/dev/zero'))):
        (folder / f'img_{number:05d}.jpg').unlink()
        make(folder / f'img_{number:05d}.jpg')
    with VideoReader(folder, decoder=loader) as reader:
        assert [read_barcode(reader.read([number])[0]) for number in (0, 1, 3, 5)] == [1, 2, 4, 6]
        for number in (2, 4):
            with pytest.raises(VideoReadError, match=f'img_0000{number + 1}.jpg cannot be read: a pipe or a device is'):
                reader.read([number])
    with FrameStream(folder) as stream:
        assert [frame.number for frame in stream] == [0, 1, 3, 5] and [
            frame.number for frame in stream.skipped] == [2, 4]


def test_a_pipe_in_the_place_of_a_kept_table_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_table, 'LONG_BYTES', 0)
    path = write_video(tmp_path / 'a.mp4', 5)
    for _ in range(2):
        monkeypatch.setattr(pyav_video, 'known_tables', known_tables.FrameTables(1 << 20))
        with VideoReader(path, tables=str(tmp_path)) as reader:
            assert len(reader) == 5
        for kept in set(tmp_path.iterdir()) - {path}:
            kept.unlink()
            os.mkfifo(kept)


def test_arrays_that_are_written_are_read_by_the_checked_reader(tmp_path):
    write_arrays(tmp_path / 'x.params', {'a.b': np.arange(3, dtype=np.float32)})
    assert read_parameters(tmp_path / 'x.params')['a.b'].tolist() == [0, 1, 2]


def test_too_little_memory_for_mxnet_is_a_sentence():
    """`ulimit -v` of clusters: the libraries abort with a message of C++, or of nothing."""
    code = 'import resource; resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20)); ' \
           'from gluon_action.cli.main import main; raise SystemExit(main(["list-models"]))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 1 and 'ulimit -v' in done.stderr and 'Traceback' not in done.stderr, done.stderr[-800:]
