"""Damaged files of weights: whatever they hold, they are read or refused with our own errors."""
import contextlib
import json

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
from feature_models import store
from fuzzing import amounts, check
from mutations import damaged, damaged_archive, json_text, other_json, rng_of
from tf_checkpoint_writer import field, table, write_checkpoint
from torch_file_writer import write_old_torch_file, write_torch_file

from gluon_action.compute.symbol_file import attribute, read_symbol
from gluon_action.feature_architecture import FILE as FLAGS
from gluon_action.feature_architecture import Architecture
from gluon_action.files import describe
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.importers.formats.safetensors_file import begins_one, read_safetensors
from gluon_action.model_zoo.importers.formats.sorted_table import read_table
from gluon_action.model_zoo.importers.formats.tensorflow import read_checkpoint
from gluon_action.model_zoo.importers.formats.torch_file import read_file
from gluon_action.model_zoo.loading.params_file import read_parameters, write_arrays
from gluon_action.weights.index import BUNDLED, parse_index

ARRAYS = {'head.weight': np.arange(6, dtype=np.float32).reshape(2, 3), 'head.bias': np.zeros(2, np.float16),
          'count.number': np.array([7]), 'empty.weight': np.zeros((0, 3), np.float32)}


@amounts()
def test_parameters(tmp_path, cases):
    write_arrays(tmp_path / 'x', ARRAYS)
    whole = (tmp_path / 'x').read_bytes()

    def read(number):
        (tmp_path / 'x').write_bytes(damaged(whole, rng_of('params', number)))
        arrays = read_parameters(tmp_path / 'x')
        assert sum(array.nbytes for array in arrays.values()) <= 4 * len(whole)
    check(read, cases)


@amounts(300)
def test_stored_models(tmp_path, cases):
    prefix = store(tmp_path, 'LogisticModel')
    params, about = (tmp_path / f'{prefix.name}.params'), json.loads((tmp_path / f'{prefix.name}.json').read_text())
    whole = params.read_bytes()

    def read(number):
        rng = rng_of('stored', number)
        params.write_bytes(damaged(whole, rng) if number % 2 else whole)
        changed = {**about, 'params': describe(tmp_path, [params.name])[params.name]}
        (tmp_path / f'{prefix.name}.json').write_bytes(
            json.dumps(changed).encode() if number % 2 else json_text(changed, rng))
        for member in read_stored(prefix).members:
            dict(member.parameters())
    check(read, cases)


@amounts(600)
def test_files_of_pytorch(tmp_path, cases):
    content = {'state_dict': {'a': np.ones(3, np.float32), 'b': np.zeros((2, 2))}, 'epoch': 3, 'names': ['x', None]}
    new, old = (write(tmp_path / 'x', content).read_bytes() for write in (write_torch_file, write_old_torch_file))

    def read(number):
        rng = rng_of('torch', number)
        (tmp_path / 'x').write_bytes(damaged_archive(new, rng) if number % 2 else damaged(old, rng))
        read_file(tmp_path / 'x')
    check(read, cases)


@amounts(800)
def test_checkpoints_of_tensorflow(tmp_path, cases):
    prefix = write_checkpoint(tmp_path / 'x', {'unit/w': np.ones((2, 3), np.float32), 'half': np.ones(2, np.float16),
                                               'step': np.int64(7)})
    index = tmp_path / 'x.index'
    whole, entries = index.read_bytes(), list(read_table(index))

    def read(number):
        rng = rng_of('tensorflow', number)
        if number % 3:  # checksums that fit
            place = rng.randrange(len(entries))
            name, value = entries[place]
            value = damaged(value, rng) if rng.random() < 0.6 else value + field(
                rng.randrange(1, 8), rng.choice((b'', b'\x08\1', b'text', 2 ** 63, 5)))
            changed = [*entries[:place], (name if rng.random() < 0.9 else damaged(name, rng), value),
                       *entries[place + 1:]]
            index.write_bytes(table(changed))
        else:
            index.write_bytes(damaged(whole, rng))
        read_checkpoint(prefix)
    check(read, cases)


@amounts(600)
def test_files_of_safetensors(tmp_path, cases):
    header = {'a': {'dtype': 'F32', 'shape': [2, 3], 'data_offsets': [0, 24]},
              'b': {'dtype': 'BF16', 'shape': [2], 'data_offsets': [24, 28]}, '__metadata__': {'format': 'pt'}}

    def with_header(text):
        return len(text).to_bytes(8, 'little') + text + bytes(28)
    whole = with_header(json.dumps(header).encode())

    def read(number):
        rng = rng_of('safetensors', number)
        content = damaged(whole, rng) if number % 2 else with_header(json.dumps(other_json(header, rng)).encode())
        (tmp_path / 'x').write_bytes(content)
        if begins_one(content[:9]):
            read_safetensors(tmp_path / 'x')
    check(read, cases)


@amounts(600)
def test_indexes_of_weights(cases):
    document = json.loads(BUNDLED.read_text())
    document['rows'] = document['rows'][:3]

    def read(number):
        parse_index(json_text(document, rng_of('index', number)).decode('utf-8', 'replace'), 'index.json')
    check(read, cases)


@amounts(600)
def test_exported_graphs(tmp_path, cases):
    x = mx.sym.Pooling(mx.sym.Convolution(mx.sym.var('data', __input_size__='8,32,32'), kernel=(3, 3), num_filter=2,
                                          name='conv'), kernel=(2, 2), name='pool')
    first, second = mx.sym.split(x, num_outputs=2, name='halves')
    graph = json.loads((first + second).tojson())

    def read(number):
        (tmp_path / 'x').write_bytes(json_text(graph, rng_of('symbol', number)))
        try:
            attribute(read_symbol(tmp_path / 'x'), 'data', '__input_size__')
        except ValueError:
            return
        with contextlib.suppress(mx.MXNetError, UnicodeDecodeError):  # what passes does not harm it
            mx.sym.load_json((tmp_path / 'x').read_text())
    check(read, cases)


@amounts(400)
def test_flags_of_models_of_features(tmp_path, cases):
    flags = Architecture().to_json()

    def read(number):
        (tmp_path / FLAGS).write_bytes(json_text(flags, rng_of('flags', number)))
        Architecture.read(tmp_path)
    check(read, cases)
