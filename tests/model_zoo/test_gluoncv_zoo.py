"""GluonCV's networks for clips: the same structure, files and scores as GluonCV's own, and training on a CPU."""
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import get_model as gluoncv_model
from gluoncv.model_zoo import model_zoo as gluoncv_zoo
from gluoncv.model_zoo.action_recognition import i3d_inceptionv1, i3d_inceptionv3, i3d_resnet
from gluoncv.model_zoo.googlenet import googlenet
from gluoncv.model_zoo.inception import inception_v3
from gluoncv.model_zoo.resnetv1b import resnet50_v1b
from mxnet import autograd, gluon
from structure import structure_only
from weights_server import index_of_file

from gluon_action.cli import test_recognizer as score_recognizer
from gluon_action.cli import train_recognizer
from gluon_action.cli.command import run
from gluon_action.errors import ModelError, WeightsError
from gluon_action.model_zoo import get_model, list_models, load_weights, model_card
from gluon_action.model_zoo.recognizer import settle_shapes
from gluon_action.nn import pad_strided_frames
from gluon_action.weights import read_index

NAMES = [name for name in gluoncv_zoo._models if name.startswith(('c3d_', 'i3d_', 'p3d_', 'r2plus1d_', 'slowfast_'))]

# One network of every kind, and the frames and pixels of a small clip that GluonCV's can take.
FAMILIES = {
    'c3d_kinetics400': (16, 16),
    'p3d_resnet50_kinetics400': (16, 32),
    'r2plus1d_resnet18_kinetics400': (4, 32),  # at 16 pixels GluonCV's crashes after a P3D
    'i3d_inceptionv1_kinetics400': (8, 32),
    'i3d_nl5_resnet50_v1_kinetics400': (8, 32),
    'slowfast_4x16_resnet50_custom': (36, 16),
    'i3d_slow_resnet101_f16s4_kinetics700': (4, 32),
    'i3d_inceptionv3_kinetics400': (4, 75),
}
FAST = [name if '101' not in name and 'v3' not in name else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES]


def theirs_of(name, **options):
    """GluonCV's own network, without anything downloaded."""
    if name != 'c3d_kinetics400':
        options['pretrained_base'] = False
    if name.endswith(('_custom', '_ucf101', '_hmdb51')):
        options['use_kinetics_pretrain'] = False
    return gluoncv_model(name, **options)


def graph_of(net):
    """Operators and their arguments in order, with numbers of their inputs.

    Folding around a BatchNorm is left out, and whether one is frozen: GluonCV freezes a few of some networks, unasked.
    """
    nodes, kept, number = json.loads(net(mx.sym.var('data')).tojson())['nodes'], [], {}
    for index, node in enumerate(nodes):
        attributes = {key: value for key, value in node.get('attrs', {}).items() if key != 'use_global_stats'}
        folds = node['op'] == 'Reshape' and attributes['shape'] == '(0, 0, 0, -1)'
        if folds or node['op'] == 'reshape_like' and not attributes:
            number[index] = number[node['inputs'][0][0]]
            continue
        number[index] = len(kept)
        inputs = [number[source] for source, *_ in node['inputs']]
        kept.append((node['op'], *((attributes, inputs) if node['op'] != 'null' else ())))
    return kept


def shapes_of(net):
    return {key: parameter.shape for key, parameter in net._collect_params_with_prefix().items()}


def random_arrays(net):
    """Values for all parameters, with no gamma of 0 that would hide a branch."""
    arrays = {}
    for key, parameter in net._collect_params_with_prefix().items():
        kind, shape = key.rsplit('.', 1)[-1], parameter.shape
        if parameter not in arrays:
            spread = (6 / np.prod(shape[1:])) ** 0.5 if kind == 'weight' else 0.1
            low, high = (0.5, 1.5) if kind in ('gamma', 'running_var') else (-spread, spread)
            arrays[parameter] = mx.nd.empty(shape)
            mx.initializer.random.uniform(low, high, shape, out=arrays[parameter])
    return {key: arrays[parameter] for key, parameter in net._collect_params_with_prefix().items()}


def scores(net, clips, training=False):
    with autograd.record(train_mode=training) if training else autograd.predict_mode():
        return net(clips).asnumpy()


def test_every_clip_network_of_gluoncv_is_in_the_zoo():
    assert len(NAMES) == 28
    assert set(NAMES) <= set(list_models())


@pytest.mark.parametrize('name', NAMES)
def test_structure_parameter_names_and_defaults_are_gluoncvs(name):
    with structure_only():
        theirs = theirs_of(name, num_segments=2)
        ours = get_model(name, pretrained_base=False, num_segments=2)
        pad_strided_frames(theirs)  # the one thing that differs: who pads
    assert shapes_of(ours) == shapes_of(theirs)
    assert graph_of(ours) == graph_of(theirs)
    assert ours(mx.sym.var('data')).infer_shape(data=ours.card.input_shape(4))[1] == [(2, ours.card.num_classes)]
    assert set(ours.head_prefixes) == {key.split('.')[0] + '.' for key, shape in shapes_of(ours).items()
                                       if shape[0] == ours.num_classes}
    for one, other in zip(dropouts(ours), dropouts(theirs), strict=True):
        assert one._rate == other._rate
    heads = [net._collect_params_with_prefix()[ours.card.head].init for net in (ours, theirs)]
    assert heads[0]._kwargs == heads[1]._kwargs  # the standard deviation


def dropouts(net):
    found = []
    net.apply(lambda block: found.append(block) if isinstance(block, gluon.nn.Dropout) else None)
    return found


def calm(name):
    """GluonCV's network without values and dropout; its C3D fits 112 x 112 only, and is made to fit small clips."""
    with structure_only():
        theirs = theirs_of(name, nclass=5, num_segments=2)
    for layer in dropouts(theirs):
        layer._rate = 0
    if name.startswith('c3d'):
        theirs.feat_dim = 512
        theirs.fc6.weight._shape = (4096, 512)
    return theirs


@pytest.fixture(scope='module', params=FAST)
def pair(request, tmp_path_factory):
    """A network of GluonCV's with a file that ours wrote, ours with a file of GluonCV's, two small clips a video."""
    name, folder = request.param, tmp_path_factory.mktemp('files')
    frames, size = FAMILIES[name]
    theirs = calm(name)
    with structure_only():
        ours = get_model(name, nclass=5, num_segments=2, dropout_ratio=0, clip_length=frames, input_size=size,
                         pretrained_base=False)
    mx.random.seed(0)
    mx.nd.save(str(folder / 'theirs.params'), random_arrays(theirs))
    ours.load_parameters(str(folder / 'theirs.params'), ctx=mx.cpu())
    ours.save_parameters(str(folder / 'ours.params'))
    theirs.load_parameters(str(folder / 'ours.params'), ctx=mx.cpu())
    return theirs, ours, mx.nd.random.uniform(-2, 2, shape=(4, 3, frames, size, size)), folder


def test_files_are_the_same_in_both_directions(pair):
    *_, folder = pair
    theirs, ours = (mx.nd.load(str(folder / f'{whose}.params')) for whose in ('theirs', 'ours'))
    assert list(theirs) == list(ours)
    assert all((theirs[key].asnumpy() == ours[key].asnumpy()).all() for key in theirs)


def test_scores_are_gluoncvs_in_both_modes(pair):
    theirs, ours, clips, _ = pair
    for training in (False, True, False):  # training moves the running statistics
        want, got = scores(theirs, clips, training), scores(ours, clips, training)
        assert got.shape == (2, 5) and np.abs(want).max() > 0
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def step_back(net, clips):
    """The loss of a batch of two videos, and its gradients by key."""
    with autograd.record():
        loss = gluon.loss.SoftmaxCrossEntropyLoss()(net(clips), mx.nd.array([1, 3])).mean()
    loss.backward()
    return loss.asscalar(), {key: parameter.grad().asnumpy() for key, parameter
                             in net._collect_params_with_prefix().items() if parameter.grad_req == 'write'}


def test_a_training_step_on_a_cpu_reaches_every_parameter_hybridized_or_not(pair):
    _, ours, clips, folder = pair
    ours.load_parameters(str(folder / 'ours.params'))
    params = ours.collect_params()
    before = {name: parameter.data().asnumpy() for name, parameter in params.items() if 'running' in name}
    loss, gradients = step_back(ours, clips)
    mx.random.seed(1)
    nearly, _ = step_back(ours, clips * (1 + 1e-6 * mx.nd.random.normal(shape=clips.shape)))
    assert np.isfinite(loss) and all(np.isfinite(gradient).all() for gradient in gradients.values())
    # The softmax and the normalisation of a non-local block take away what its biases add.
    assert not [key for key, gradient in gradients.items() if not gradient.any() and not key.endswith('.bias')]
    assert not [name for name in before if (params[name].data().asnumpy() == before[name]).all()]
    ours.hybridize()
    again, _ = step_back(ours, clips)
    # Statistics of so few values blow up the last digit, which processors round differently, by thousands.
    assert abs(again - loss) <= 1e-4 * loss + 10 * abs(nearly - loss)
    gluon.Trainer(params, 'sgd', {'learning_rate': 1e-4}).step(1)
    ours.hybridize(False)
    assert np.isfinite(scores(ours, clips)).all()


def write_gradients(name, params, clips, out):
    """Write loss and gradients of GluonCV's network."""
    net = calm(name)
    net.load_parameters(params, ctx=mx.cpu())
    loss, gradients = step_back(net, mx.nd.load(clips)[0])
    np.savez(out, loss=loss, **gradients)


@pytest.mark.slow
def test_gradients_are_gluoncvs_where_it_has_any(pair, tmp_path):
    # Without oneDNN GluonCV's networks train on a CPU, twenty times slower.
    _, ours, clips, folder = pair
    ours.load_parameters(str(folder / 'ours.params'))
    loss, gradients = step_back(ours, clips)
    mx.nd.save(str(tmp_path / 'clips'), clips)
    files = folder / 'ours.params', tmp_path / 'clips', tmp_path / 'theirs.npz'
    code = 'import sys, test_gluoncv_zoo; test_gluoncv_zoo.write_gradients(*sys.argv[1:])'
    subprocess.run([sys.executable, '-c', code, ours.card.name, *files], cwd=Path(__file__).parent, check=True,
                   env={**os.environ, 'MXNET_MKLDNN_ENABLED': '0'})
    theirs = np.load(tmp_path / 'theirs.npz')
    assert loss == pytest.approx(float(theirs['loss']), rel=1e-2)
    assert set(gradients) == set(theirs) - {'loss'}
    apart = sum(((gradients[key] - theirs[key]) ** 2).sum() for key in gradients)
    assert apart < 0.3 ** 2 * sum((theirs[key] ** 2).sum() for key in gradients)


@pytest.mark.parametrize('name', FAMILIES)
def test_partial_bn_freezes_all_normalisations_but_the_first_and_bn_frozen_all(name):
    if name.startswith('c3d'):
        with pytest.raises(ModelError, match='no batch normalisation for partial_bn'), structure_only():
            get_model(name, pretrained_base=False, partial_bn=True)
        return
    for option, kept in (('partial_bn', 1), ('bn_frozen', 0)):
        with structure_only():
            net = get_model(name, pretrained_base=False, **{option: True})
        nodes = [node for node in json.loads(net(mx.sym.var('data')).tojson())['nodes'] if node['op'] == 'BatchNorm']
        frozen = [node['attrs']['use_global_stats'] == 'True' for node in nodes]
        assert frozen.count(False) == kept and sum(frozen) > 35
        learning = {key for key, parameter in net.collect_params('.*(gamma|beta)$').items()
                    if parameter.grad_req == 'write'}
        assert len(learning) == 2 * kept


@pytest.mark.parametrize('name', FAMILIES)
def test_feat_ext_gives_what_the_head_scores(name):
    with structure_only():
        net = get_model(name, pretrained_base=False, feat_ext=True, num_segments=3)
    assert net(mx.sym.var('data')).infer_shape(data=net.card.input_shape(6))[1] == [(2, net.feat_dim)]
    assert net._collect_params_with_prefix()[net.card.head].shape == (400 if '700' not in name else 700, net.feat_dim)


def image_network(make, size):
    """One of GluonCV's networks for images, its values random."""
    with structure_only():
        net = make()
        settle_shapes(net, (1, 3, size, size))
    arrays = random_arrays(net)
    for key, parameter in net._collect_params_with_prefix().items():
        parameter._load_init(arrays[key], [mx.cpu()])
    return net


@pytest.mark.parametrize('name, module, base, make, size', [
    ('i3d_resnet50_v1_kinetics400', i3d_resnet, 'resnet50_v1b', resnet50_v1b, 32),
    ('i3d_inceptionv1_kinetics400', i3d_inceptionv1, 'googlenet', googlenet, 224),
    pytest.param('i3d_inceptionv3_kinetics400', i3d_inceptionv3, 'inception_v3', inception_v3, 299,
                 marks=pytest.mark.slow)])
def test_inflation_from_imagenet_is_gluoncvs(name, module, base, make, size, capsys):
    flat = image_network(make, size)
    with mock.patch.object(module, base, lambda pretrained: flat):
        theirs = gluoncv_model(name, nclass=2, pretrained_base=True)
    with structure_only():
        ours = get_model(name, nclass=2, pretrained_base=False)
    given = {key: parameter.data().asnumpy() for key, parameter in flat._collect_params_with_prefix().items()}
    inflated = ours.from_base(given)
    params = theirs._collect_params_with_prefix()
    assert len(inflated) == len(theirs.collect_params().keys()) - 2
    for key, array in inflated.items():
        np.testing.assert_allclose(array, params[key].data().asnumpy(), rtol=1e-6, err_msg=key)


def test_imagenet_weights_reach_all_but_the_head_and_the_non_local_blocks(tmp_path, monkeypatch):
    flat = image_network(resnet50_v1b, 32)
    flat.save_parameters(str(tmp_path / 'flat.params'))
    monkeypatch.setenv('GLUON_ACTION_INDEX', index_of_file(tmp_path, 'resnet50_v1b', 'flat.params', 'base'))
    net = get_model('i3d_nl5_resnet50_v1_kinetics400', nclass=2, root=tmp_path / 'models')
    params = net._collect_params_with_prefix()
    np.testing.assert_allclose(params['first_stage.0.weight'].data().sum(axis=2).asnumpy(),
                               flat.conv1.weight.data().asnumpy(), rtol=1e-5, atol=1e-6)
    assert (params['res_layers.1.1.bn2.running_var'].data() == flat.layer2[1].bn2.running_var.data()).asnumpy().all()
    assert not params['res_layers.1.1.nonlocal_block.bn.gamma'].data().asnumpy().any()
    assert params['fc.weight'].data().asnumpy().std() < 0.02


def test_custom_networks_start_from_kinetics_weights_except_for_the_head(tmp_path, monkeypatch):
    with structure_only():
        net = get_model('i3d_resnet50_v1_kinetics400', pretrained_base=False)
    arrays = random_arrays(net)
    mx.nd.save(str(tmp_path / 'kinetics.params'), arrays)
    monkeypatch.setenv('GLUON_ACTION_INDEX', index_of_file(tmp_path, 'i3d_resnet50_v1_kinetics400', 'kinetics.params'))
    net = get_model('i3d_resnet50_v1_custom', nclass=3, root=tmp_path / 'models')
    assert (net.start.row.model, net.start.body_only) == ('i3d_resnet50_v1_kinetics400', True)
    for key, parameter in net._collect_params_with_prefix().items():
        if not key.startswith(('fc.', 'head.')):
            assert (parameter.data() == arrays[key]).asnumpy().all(), key
    assert net.fc.weight.shape == (3, 2048)
    with pytest.raises(WeightsError, match='trained on 400 classes, this network has 3'):
        net.load_parameters(str(tmp_path / 'kinetics.params'))


def test_a_file_without_the_second_names_loads_too(tmp_path):
    with structure_only():
        net, other = (get_model('i3d_inceptionv1_kinetics400', nclass=2, pretrained_base=False) for _ in range(2))
    arrays = random_arrays(net)
    mx.nd.save(str(tmp_path / 'once.params'), {key: value for key, value in arrays.items() if 'head.' not in key})
    load_weights(other, tmp_path / 'once.params', ctx=mx.cpu())
    assert (other.head[1].weight.data() == arrays['output.weight']).asnumpy().all()
    mx.nd.save(str(tmp_path / 'none.params'), {key: value for key, value in arrays.items()
                                               if 'head.' not in key and 'output.' not in key})
    with pytest.raises(WeightsError, match='4 are missing in the file .head.1.weight'):
        load_weights(other, tmp_path / 'none.params', ctx=mx.cpu())


def test_networks_without_an_imagenet_twin_start_at_random_and_share_no_names(caplog):
    with structure_only(), caplog.at_level('INFO'):
        first, second = (get_model('i3d_slow_resnet101_f16s4_kinetics700', nclass=2) for _ in range(2))
    assert 'starts from random weights' in caplog.text
    assert not set(first.collect_params()) & set(second.collect_params())
    with pytest.raises(WeightsError, match='no ImageNet weights are published for i3d_slow_res'), structure_only():
        get_model('i3d_slow_resnet101_f16s4_kinetics700', pretrained_base='0123abcd')


def test_random_starts_are_the_zoos():
    net = get_model('r2plus1d_resnet18_kinetics400', nclass=2, clip_length=8, input_size=16)
    weight = net.layer1[0].conv2.conv2.weight.data().asnumpy()
    assert abs(weight.std() * np.sqrt(np.prod(weight.shape[1:]) / 2) - 1) < 0.05
    assert net.fc.weight.data().asnumpy().std() < 0.002


@pytest.mark.parametrize('name, frames, slow', [
    ('slowfast_4x16_resnet50_custom', 9, 1), ('slowfast_4x16_resnet50_kinetics400', 36, 4),
    ('slowfast_8x8_resnet101_kinetics400', 40, 8), ('slowfast_16x8_resnet101_50_50_kinetics400', 80, 16)])
def test_slowfast_divides_a_clip_between_its_pathways(name, frames, slow):
    with structure_only():
        net = get_model(name, pretrained_base=False, clip_length=None if slow > 1 else frames)
    assert net.card.clip_length == frames or slow == 1
    assert (net.slow_frames, net.fast_frames) == (slow, frames - slow)


@pytest.mark.parametrize('name, options, message', [
    ('slowfast_4x16_resnet50_custom', {'clip_length': 64}, 'clips of a multiple of 9 frames, got 64; --slowfast'),
    ('slowfast_8x8_resnet50_kinetics400', {'clip_length': 36}, '4 frames in its fast pathway for each in its slow'),
    ('p3d_resnet50_kinetics400', {'clip_length': 32}, 'clips of 16 to 31 frames, got 32'),
    ('c3d_kinetics400', {'clip_length': 8}, 'at least 16 frames of 16 x 16, got 8 of 112 x 112'),
    ('i3d_resnet50_v1_custom', {'clip_length': 4}, 'try a larger input_size or clip_length'),
    ('i3d_inceptionv3_kinetics400', {'input_size': 64}, 'try a larger input_size'),
    ('i3d_resnet50_v1_custom', {'use_tsn': True}, 'averages over segments as it is; leave out tsn'),
    ('c3d_kinetics400', {'bn_frozen': True}, 'no batch normalisation')])
def test_clips_that_a_network_cannot_take_are_refused_when_it_is_built(name, options, message):
    with structure_only(), pytest.raises(ModelError, match=message):
        get_model(name, pretrained_base=False, **options)


@pytest.mark.parametrize('name, options, shape, message', [
    ('r2plus1d_resnet18_kinetics400', {}, (1, 3, 16, 16), 'takes clips N x 3 x T x H x W, got .1, 3, 16, 16.'),
    ('r2plus1d_resnet18_kinetics400', {}, (1, 2, 8, 16, 16), 'takes clips N x 3 x T x H x W'),
    ('r2plus1d_resnet18_kinetics400', {'num_segments': 2}, (3, 3, 8, 16, 16), '3 clips are not a whole number'),
    ('slowfast_4x16_resnet50_custom', {}, (1, 3, 40, 32, 32), 'takes clips of 32 . 4 frames, got 40'),
    ('p3d_resnet50_kinetics400', {}, (1, 3, 32, 32, 32), '16 to 31 frames'),
    ('c3d_kinetics400', {}, (1, 3, 16, 64, 64), 'another size of clips than 16 frames of 64 x 64')])
def test_clips_that_a_network_would_score_wrongly_are_refused(name, options, shape, message):
    with structure_only():
        net = get_model(name, pretrained_base=False, **options)
    with pytest.raises(ModelError, match=message):
        net(mx.nd.zeros(shape))


@pytest.mark.parametrize('name, frames, stride, size, top1', [
    ('c3d_kinetics400', 16, 2, 112, 59.5), ('r2plus1d_resnet50_kinetics400', 16, 2, 112, 73.9),
    ('p3d_resnet101_kinetics400', 16, 2, 224, 72.6), ('i3d_inceptionv3_kinetics400', 32, 2, 299, 73.6),
    ('i3d_resnet50_v1_ucf101', 32, 2, 224, 95.4), ('i3d_resnet50_v1_sthsthv2', 16, 2, 224, 50.6),
    ('slowfast_8x8_resnet101_kinetics400', 40, 1, 224, 77.2),
    ('i3d_slow_resnet101_f16s4_kinetics700', 16, 4, 224, 67.65)])
def test_cards_say_how_the_network_was_trained_and_how_good_it_was(name, frames, stride, size, top1):
    card = model_card(name)
    assert (card.clip_length, card.clip_stride, card.input_size) == (frames, stride, size)
    theirs = next(row for row in read_index().rows_of(name) if row.publisher == 'GluonCV')
    assert (theirs.top1, theirs.protocol) == (top1, '10x3')


@pytest.mark.slow
def test_slowfast_is_trained_and_tested_from_the_command_line(demo_motion, tmp_path):
    shared = ['--dataset', 'custom', '--data-dir', demo_motion.video_dir, '--val-list', demo_motion.val_list,
              '--model', 'slowfast_4x16_resnet50_custom', '--slowfast', '--slow-temporal-stride', 8,
              '--fast-temporal-stride', 1, '--new-length', 8, '--data-aug', 'v4', '--new-height', 40,
              '--input-size', 32, '-j', 0]
    assert start(train_recognizer, *shared, '--train-list', demo_motion.train_list, '--batch-size', 6, '--num-epochs',
                 1, '--lr', 0.01, '--no-pretrained-base', '--save-dir', tmp_path / 'run') == 0
    assert start(score_recognizer, *shared, '--resume-params', tmp_path / 'run' / 'best.params', '--new-width', 0,
                 '--num-segments', 1, '--three-crop', '--batch-size', 2, '--save-dir', tmp_path / 'test') == 0
    results = json.loads((tmp_path / 'test' / 'results.json').read_text())
    assert results['n_scored'] == results['n_expected'] == 8
    assert 'slow and fast pathway at strides 8 and 1 of 8 frames' in results['protocol']['sampling']
    assert np.isfinite(np.load(tmp_path / 'test' / 'scores.npz')['scores']).all()


def start(command, *argv):
    return run(command.parse_args, command.main, [str(item) for item in argv])


@pytest.mark.parametrize('command', ['train', 'test'])
def test_slowfast_flags_belong_to_slowfast_networks(command, demo_motion, capsys):
    command = {'train': train_recognizer, 'test': score_recognizer}[command]
    start_from = ['--no-pretrained-base'] if command is train_recognizer else ['--benchmark']
    shared = ['--dataset', 'custom', '--data-dir', demo_motion.video_dir, '--new-length', 16, *start_from]
    for flags, message in ((['--model', 'c3d_kinetics400', '--slowfast'], 'c3d_kinetics400 has no slow and fast'),
                           (['--model', 'slowfast_8x8_resnet50_kinetics400'], 'has a slow and a fast pathway; add it')):
        assert start(command, *shared, *flags) == 2
        assert message in capsys.readouterr().err
