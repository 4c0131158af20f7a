"""GluonCV's networks for clips: the same structure, files and scores as GluonCV's own, and training on a CPU."""
import json
from contextlib import contextmanager
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

from gluon_action.errors import ModelError, WeightsError
from gluon_action.model_zoo import get_model, list_models, load_weights, model_card, registry, weights

NAMES = [name for name in gluoncv_zoo._models if name.startswith(('c3d_', 'i3d_', 'p3d_', 'r2plus1d_', 'slowfast_'))]

# One network of every kind, and the frames and pixels of a small clip that GluonCV's can take.
FAMILIES = {
    'c3d_kinetics400': (16, 32),
    'p3d_resnet50_kinetics400': (16, 32),
    'r2plus1d_resnet18_kinetics400': (8, 32),
    'i3d_inceptionv1_kinetics400': (8, 32),
    'i3d_nl5_resnet50_v1_kinetics400': (8, 32),
    'slowfast_4x16_resnet50_custom': (36, 32),
    'i3d_slow_resnet101_f16s4_kinetics700': (4, 32),
    'i3d_inceptionv3_kinetics400': (4, 75),
}
FAST = [name if '101' not in name and 'v3' not in name else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES]


@contextmanager
def structure_only():
    """Build networks without values, which takes most of the time and memory."""
    with mock.patch.object(gluon.Parameter, 'initialize', lambda *args, **kwargs: None), \
            mock.patch.object(gluon.Parameter, 'reset_ctx', lambda *args, **kwargs: None):
        yield


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
            arrays[parameter] = mx.nd.random.uniform(low, high, shape=shape)
    return {key: arrays[parameter] for key, parameter in net._collect_params_with_prefix().items()}


def scores(net, clips, training=False):
    with autograd.record(train_mode=training) if training else autograd.predict_mode():
        return net(clips).asnumpy()


def test_every_clip_network_of_gluoncv_is_in_the_zoo():
    assert len(NAMES) == 28
    assert set(NAMES) <= set(list_models())


@pytest.mark.parametrize('name', NAMES)
def test_structure_and_parameter_names_are_gluoncvs(name):
    with structure_only():
        theirs = theirs_of(name, num_segments=2)
        ours = get_model(name, pretrained_base=False, num_segments=2)
    assert shapes_of(ours) == shapes_of(theirs)
    assert graph_of(ours) == graph_of(theirs)
    assert ours(mx.sym.var('data')).infer_shape(data=ours.card.input_shape(4))[1] == [(2, ours.card.num_classes)]
    assert set(ours.head_prefixes) == {key.split('.')[0] + '.' for key, shape in shapes_of(ours).items()
                                       if shape[0] == ours.num_classes}
    assert ours.card.head in shapes_of(ours)


@pytest.mark.parametrize('name', NAMES)
def test_cards_know_the_dropout_and_the_start_of_the_head(name):
    with structure_only():
        theirs, ours = theirs_of(name), get_model(name, pretrained_base=False)
    for one, other in zip(dropouts(ours), dropouts(theirs), strict=True):
        assert one._rate == other._rate
    params = ours._collect_params_with_prefix(), theirs._collect_params_with_prefix()
    ours_head, theirs_head = (each[ours.card.head].init for each in params)
    assert ours_head._kwargs == theirs_head._kwargs


def dropouts(net):
    found = []
    net.apply(lambda block: found.append(block) if isinstance(block, gluon.nn.Dropout) else None)
    return found


@pytest.fixture(scope='module', params=FAST)
def pair(request, tmp_path_factory):
    """A network of GluonCV's with a file that ours wrote, ours with a file of GluonCV's, two small clips a video."""
    name, folder = request.param, tmp_path_factory.mktemp('files')
    frames, size = FAMILIES[name]
    with structure_only():
        theirs = theirs_of(name, nclass=5, num_segments=2)
        ours = get_model(name, nclass=5, num_segments=2, dropout_ratio=0, clip_length=frames, input_size=size,
                         pretrained_base=False)
    for layer in dropouts(theirs):
        layer._rate = 0
    if name.startswith('c3d'):  # GluonCV's fits 112 x 112 only
        theirs.feat_dim = ours.fc6.weight.shape[1]
        theirs.fc6.weight._shape = ours.fc6.weight.shape
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


def test_training_steps_on_a_cpu_lower_the_loss_and_move_every_parameter(pair):
    _, ours, clips, folder = pair
    ours.load_parameters(str(folder / 'ours.params'))
    before = {key: parameter.data().asnumpy() for key, parameter in ours._collect_params_with_prefix().items()}
    trainer = gluon.Trainer(ours.collect_params(), 'sgd', {'learning_rate': 1e-4})
    labels, losses = mx.nd.array([1, 3]), []
    for hybridized in (False, True):
        ours.hybridize(hybridized)
        with autograd.record():
            loss = gluon.loss.SoftmaxCrossEntropyLoss()(ours(clips), labels)
        loss.backward()
        trainer.step(2)
        losses.append(loss.mean().asscalar())
    ours.hybridize(False)
    assert np.isfinite(losses).all() and losses[1] < losses[0]
    # The softmax and the normalisation of a non-local block take away what its biases add.
    assert not [key for key, parameter in ours._collect_params_with_prefix().items()
                if (parameter.data().asnumpy() == before[key]).all()
                and not (key.endswith('.bias') and 'nonlocal' in parameter.name)]
