"""Weights of others: every variable goes where it belongs, the network scores as theirs, and nothing else gets in."""
import collections
import pickle
import re
import shutil
import struct
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from checkpoint_names import deepmind, expected, random_values, slim, torchvision
from reference_i3d import forward
from tf_checkpoint_writer import write_checkpoint
from torch_file_writer import write_torch_file

from gluon_action.cli import import_weights
from gluon_action.cli.command import run
from gluon_action.errors import WeightsError
from gluon_action.model_zoo import get_model, load_weights
from gluon_action.model_zoo.importers import convert, load_any
from gluon_action.model_zoo.importers.formats.safe_pickle import Reader

RGB, FLOW = 'RGB/inception_i3d/', 'Flow/inception_i3d/'
# Published checkpoint -> model, and what is in it.
PUBLISHED = {
    'rgb_imagenet': ('i3d_rgb_kinetics400', deepmind(RGB, 3, 400)),
    'flow_imagenet': ('i3d_flow_kinetics400', deepmind(FLOW, 2, 400)),
    'rgb_scratch_kin600': ('i3d_rgb_kinetics600', deepmind('', 3, 600, statistics=lambda width: (1, 1, 1, 1, width),
                                                           momentum=True)),
}
THIN = {'depth_multiplier': 0.07, 'min_depth': 3}
BODY, HEAD = 'Mixed_4b.Branch_0.Conv3d_0a_1x1.conv.weight', 'Logits.Conv3d_0c_1x1.weight'


def thin(channels):
    return max(int(channels * 0.07), 3)


def build(model, **options):
    return get_model(model, pretrained_base=False, **{'input_size': 32, 'clip_length': 8, **options})


def thin_net(nclass=5):
    return build('s3dg_custom', nclass=nclass, **THIN)


@pytest.fixture(scope='module')
def nets():
    """Networks by name, each built once; tests that load weights may leave any in them."""
    made = {}
    return lambda model: made.setdefault(model, None) or made.update({model: build(model)}) or made[model]


@pytest.fixture(scope='module')
def thin_untouched():
    """A small S3D-G that no test may change."""
    return thin_net()


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    shutil.rmtree(tmp_path)  # hundreds of megabytes


@pytest.fixture(scope='module')
def thin_checkpoint(tmp_path_factory):
    """A small S3D-G with slim's names: its names, its values and where it is."""
    names = slim(5, width=thin)
    values = random_values(names)
    return names, values, write_checkpoint(tmp_path_factory.mktemp('thin') / 'model.ckpt', values)


def assert_holds(arrays, wanted):
    """`arrays` are those of `wanted`, and gammas of 1."""
    assert {key for key in arrays if not key.endswith('.gamma')} == {
        key for key in wanted if not key.endswith('.gamma')}
    for key, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wanted.get(key, np.ones(array.shape)), err_msg=key)


def assert_scores(net, wanted, shape, torch=False, seed=1):
    clip = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    full = {**{key: np.ones(parameter.shape) for key, parameter in net._collect_params_with_prefix().items()}, **wanted}
    theirs = forward(clip, full, torch=torch)['Logits']
    ours = net(mx.nd.array(clip)).asnumpy()
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


# Whole checkpoints.

@pytest.mark.parametrize('checkpoint', PUBLISHED)
def test_every_variable_of_deepminds_checkpoints_is_used_or_named(checkpoint, nets, folder):
    model, names = PUBLISHED[checkpoint]
    values, net = random_values(names), nets(model)
    conversion = load_any(net, write_checkpoint(folder / checkpoint / 'model.ckpt', values))
    wanted = expected(names, values)
    assert_holds(conversion.arrays, wanted)
    assert {(name, key) for name, _, key, _ in conversion.rows if name} == {
        (name, key) for name, (key, _) in names.items()}
    assert {note for _, _, key, note in conversion.rows if key is None} <= {'slot of the optimizer'}
    shape = (1, 2 if 'flow' in model else 3, 10, 32, 32)
    assert_scores(net, wanted, shape)


@pytest.mark.slow
@pytest.mark.parametrize('size', [224, 112])
@pytest.mark.parametrize('frames', [64, 79, 10])
@pytest.mark.parametrize('checkpoint', ['rgb_imagenet', 'flow_imagenet'])
def test_deepminds_networks_score_the_same_on_clips_of_their_sizes(checkpoint, frames, size, nets, folder):
    model, names = PUBLISHED[checkpoint]
    values, net = random_values(names, seed=frames + size), nets(model)
    load_any(net, write_checkpoint(folder / 'model.ckpt', values))
    assert_scores(net, expected(names, values), (1, 2 if 'flow' in model else 3, frames, size, size))


def test_slims_s3dg_is_imported_with_the_moving_averages_of_its_weights(thin_checkpoint, folder):
    names, values, _ = thin_checkpoint
    averages = {f'{name}/ExponentialMovingAverage': value for name, value in random_values(names, seed=1).items()}
    training = {'global_step': np.int64(9), 'total_loss/ExponentialMovingAverage': np.float32(2),
                **{f'{name}/Momentum': value for name, value in values.items() if name.endswith('weights')}}
    net = thin_net()
    conversion = load_any(net, write_checkpoint(folder / 'model.ckpt', {**values, **averages, **training}))
    wanted = expected(names, {name: averages[f'{name}/ExponentialMovingAverage'] for name in names})
    assert_holds(conversion.arrays, wanted)
    notes = {name: (key, note) for name, _, key, note in conversion.rows}
    assert set(notes) - {''} == {*values, *averages, *training}
    name = 'InceptionV1/Conv2d_2c_3x3/temporal/biases'
    assert notes[name] == (None, 'its moving average is used instead')
    assert notes[f'{name}/ExponentialMovingAverage'] == ('Conv3d_2c_3x3.temporal.bias', 'moving average')
    assert notes['global_step'] == (None, 'counter of steps')
    assert notes['total_loss/ExponentialMovingAverage'] == (None, 'moving average of a loss')
    assert_scores(net, wanted, (1, 3, 10, 32, 32))


@pytest.mark.parametrize('fifth', ['Conv2d_0a_3x3', 'Conv2d_0b_3x3'])
def test_slims_i3d_is_imported_under_either_name_of_the_unit_that_deepmind_misspelt(fifth, nets, folder):
    names = slim(400, gated=False, separable=False, fifth=fifth)
    values = {name: np.full(shape, number, np.float32) for number, (name, (_, shape)) in enumerate(names.items())}
    conversion = convert(write_checkpoint(folder / 'model.ckpt', values), nets('i3d_rgb_kinetics400'))
    assert_holds(conversion.arrays, expected(names, values))


def test_torchvisions_s3d_is_imported(nets, folder):
    names = torchvision(400)
    values, net = random_values(names), nets('s3d_kinetics400')
    conversion = load_any(net, write_torch_file(folder / 's3d.pth', values))
    wanted = expected(names, values)
    assert_holds(conversion.arrays, wanted)
    assert {name for name, *_ in conversion.rows} == set(names)
    assert_scores(net, wanted, (1, 3, 14, 48, 48), torch=True)


def test_parameters_of_this_package_go_through_unchanged(tmp_path):
    net = thin_net()
    net.save_parameters(str(tmp_path / 'net.params'))
    other = thin_net()
    load_any(other, tmp_path / 'net.params')
    for key, parameter in net._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), other._collect_params_with_prefix()[key].data()
                                      .asnumpy())


def test_of_two_streams_in_one_checkpoint_a_network_takes_its_own(nets, folder):
    both = {**deepmind(RGB, 3, 400), **deepmind(FLOW, 2, 400)}
    values = {name: np.zeros(shape, np.float32) for name, (_, shape) in both.items()}
    conversion = convert(write_checkpoint(folder / 'model.ckpt', values), nets('i3d_flow_kinetics400'))
    used = {name for name, _, key, _ in conversion.rows if key and name}
    assert used == {name for name in both if name.startswith('Flow')}


def test_the_table_says_where_each_variable_went(thin_checkpoint, thin_untouched):
    table = convert(thin_checkpoint[2], thin_untouched).table()
    assert re.search(r'^InceptionV1/Conv2d_2b_1x1/weights +1x1x1x4x4 +Conv3d_2b_1x1\.conv\.weight$', table, re.M)
    assert re.search(r'^\(constant\) +4 +Conv3d_2b_1x1\.bn\.gamma +1 in this format$', table, re.M)
    assert table.endswith("numbers") and f'{len(thin_checkpoint[0])} variables used, 0 unused' in table


def test_a_checkpoint_named_by_a_file_of_numbers_is_known_by_its_index(thin_checkpoint, thin_untouched, tmp_path):
    values = dict(thin_checkpoint[1])
    first = min(values, key=str.encode)
    values[first] = np.frombuffer(b'PK\x03\x04' * values[first].size, np.float32).reshape(values[first].shape)
    prefix = write_checkpoint(tmp_path / 'model.ckpt', values)
    data = prefix.with_name('model.ckpt.data-00000-of-00001')
    assert data.read_bytes()[:2] == b'PK'
    assert_holds(convert(data, thin_untouched).arrays, expected(thin_checkpoint[0], values))


# What does not fit.

@pytest.mark.parametrize('checkpoint, model, told', [
    ('flow_imagenet', 'i3d_rgb_kinetics400',
     r'trained on optical flow \(2 channels\), this network takes RGB \(3 channels\).*i3d_flow'),
    ('rgb_imagenet', 'i3d_flow_kinetics400', r'trained on RGB \(3 channels\).*optical flow \(2 channels\).*i3d_rgb'),
    ('rgb_imagenet', 'i3d_rgb_kinetics600', 'trained on 400 classes, this network has 600.*--num-classes 400.*--new-'),
    ('rgb_imagenet', 's3dg_kinetics400', r"not of a s3dg_kinetics400.*75 are missing.*DeepMind's I3D is for i3d_rgb"),
])
def test_weights_of_another_network_are_refused_with_the_reason(checkpoint, model, told, nets, folder):
    values = {name: np.zeros(shape, np.float32) for name, (_, shape) in PUBLISHED[checkpoint][1].items()}
    with pytest.raises(WeightsError, match=told):
        convert(write_checkpoint(folder / 'model.ckpt', values), nets(model))


def test_other_classes_keep_the_body_when_a_new_head_is_asked_for(thin_checkpoint):
    names, values, path = thin_checkpoint
    net = thin_net(nclass=3)
    before = net._collect_params_with_prefix()[HEAD].data().asnumpy()
    conversion = load_any(net, path, ignore_head=True)
    after = {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}
    np.testing.assert_array_equal(after[HEAD], before)
    np.testing.assert_array_equal(after[BODY], expected(names, values)[BODY])
    assert {note for name, _, key, note in conversion.rows if not key} == {'the head is left out'}


@pytest.mark.parametrize('change, told', [
    (lambda values: values.pop('InceptionV1/Mixed_4c/Branch_2/Conv2d_0b_3x3/temporal/biases'),
     '1 are missing in the file .Mixed_4c.Branch_2.Conv3d_0b_3x3.temporal.bias'),
    (lambda values: values.update({'InceptionV1/Mixed_4c/Branch_2/Conv2d_0b_3x3/BatchNorm/gamma': np.ones(4)}),
     '1 of .* variables are not of slim.*BatchNorm/gamma.*nothing was loaded'),
    (lambda values: values.update({'InceptionV1/Conv2d_2b_1x1/self_gating/transformer_W/weights': np.ones((1,) * 5)}),
     '1 are not in the network .Conv3d_2b_1x1.gating.weight'),
    (lambda values: values.update({'mystery': np.ones(4)}), 'mystery'),
    (lambda values: values.update({'InceptionV1/Mixed_5b/Branch_2/Conv2d_0a_3x3/BatchNorm/beta': np.ones(8)}),
     'are both for Mixed_5b.Branch_2.Conv3d_0a_3x3.bn.beta'),
    (lambda values: values.update({'InceptionV1/Conv2d_2b_1x1/weights': np.ones((1, 1, 1, 4, 5))}),
     r'Conv3d_2b_1x1.conv.weight is \(5, 4, 1, 1, 1\) in the file and \(4, 4, 1, 1, 1\) in the network'),
    (lambda values: values.update({'InceptionV1/Conv2d_1a_7x7/weights': np.ones((7, 7, 3, 4))}), 'for images'),
])
def test_a_variable_that_is_not_accounted_for_is_an_error_and_loads_nothing(change, told, thin_checkpoint, tmp_path,
                                                                            thin_untouched):
    values, net = dict(thin_checkpoint[1]), thin_untouched
    change(values)
    before = {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()}
    with pytest.raises(WeightsError, match=told):
        load_any(net, write_checkpoint(tmp_path / 'model.ckpt', values))
    for key, parameter in net._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[key])


@pytest.mark.parametrize('content, told', [
    (b'', 'begins with nothing'), (b'<html>not found</html>', 'neither a checkpoint of TensorFlow'),
    (b'PK\x03\x04torn', 'torn or damaged'), (struct.pack('<QQ', 0x112, 0), 'not a file of parameters')])
def test_a_file_of_no_known_format_is_refused(content, told, tmp_path, thin_untouched):
    (tmp_path / 'weights').write_bytes(content)
    with pytest.raises(WeightsError, match=f'weights: .*{told}'):
        convert(tmp_path / 'weights', thin_untouched)


@pytest.mark.parametrize('name, told', [
    ('nosuch.pth', 'no such file$'), ('nosuch.safetensors', 'no such file$'),
    ('model.ckpt', 'no checkpoint of TensorFlow'), ('model.ckpt-100', 'no checkpoint of TensorFlow'),
    ('nosuch', 'no checkpoint of TensorFlow')])
def test_what_does_not_exist_is_called_so(name, told, tmp_path, thin_untouched):
    with pytest.raises(WeightsError, match=f'{name}: {told}'):
        convert(tmp_path / name, thin_untouched)


def test_weights_of_an_unknown_network_are_refused(tmp_path, thin_untouched):
    with pytest.raises(WeightsError, match='2 variables .a.weight, b.weight. with the names of no known network'):
        convert(write_torch_file(tmp_path / 'x.pth', {'a.weight': np.ones(2), 'b.weight': np.ones(3)}), thin_untouched)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_what_a_pickle_names_again_is_what_it_was(protocol):
    """Values that occur twice are stored once and taken from the memo; each protocol counts its places its own way."""
    text, pair, inner = 'shared text', ('a', 1), {'x': 2.5}
    content = {'first': [text, text], 'pairs': [pair, pair, inner], 'inner': inner, text: [[], [text, None, True]],
               'long': [2 ** 40, -7, 300], **{f'key {n}': f'key {n}' for n in range(300)}}
    assert Reader(Path('x'), 'x').content(pickle.dumps(content, protocol=protocol)) == content


@pytest.mark.parametrize('protocol', [2, 4])
def test_ordered_and_shared_values_of_a_pickle_are_those_of_pythons_reader(protocol):
    shared = collections.OrderedDict(a=1, b=('x', 'x'))
    content = {'state': shared, 'again': shared, 'names': list(shared), 'deep': [[shared, ['x']], 'x']}
    assert Reader(Path('x'), 'x').content(pickle.dumps(content, protocol=protocol)) == content


# The command.

def import_them(*argv):
    return run(import_weights.parse_args, import_weights.main, [*map(str, argv)])


def test_the_command_writes_parameters_that_the_network_loads(nets, folder, capsys):
    names = torchvision(400)
    values = random_values(names)
    source, out = write_torch_file(folder / 's3d.pth', values), folder / 'made' / 's3d.params'
    assert import_them(source, '--model', 's3d_kinetics400', '--out', out) == 0
    told = capsys.readouterr().out
    assert re.search(r'^features\.0\.1\.0\.weight +64x64x7x1x1 +Conv3d_1a_7x7\.temporal\.weight$', told, re.M)
    assert '387 variables used, 77 unused' in told and told.endswith(f'Parameters of s3d_kinetics400: {out}\n')
    net = nets('s3d_kinetics400')
    load_weights(net, out)
    assert_scores(net, expected(names, values), (1, 3, 14, 32, 32), torch=True)
    assert import_them(source, '--model', 's3d_kinetics400', '--out', out) == 2
    assert 'exists; pass --overwrite' in capsys.readouterr().err


def test_the_command_leaves_no_file_when_it_fails(folder, capsys):
    source = write_torch_file(folder / 'x.pth', {'a.weight': np.ones(2)})
    assert import_them(source, '--model', 's3d_kinetics400', '--out', folder / 'made' / 'x.params') == 1
    assert 'no known network' in capsys.readouterr().err and not (folder / 'made').exists()
    assert import_them(source, '--model', 's3d_kinetics4', '--out', folder / 'x.params') == 2
    assert 'did you mean s3d_kinetics400' in capsys.readouterr().err
    assert import_them(source, '--model', 's3d_kinetics400', '--out', folder) == 2
    assert 'is a folder' in capsys.readouterr().err
