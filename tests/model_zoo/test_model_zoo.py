"""The zoo: names, cards, structure, and parity with GluonCV on random weights."""
import gluon_action  # before anything that imports MXNet

# isort: split
import gluoncv.data
import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import model_zoo as gluoncv_zoo
from gluoncv.model_zoo.action_recognition.actionrec_inceptionv1 import ActionRecInceptionV1
from gluoncv.model_zoo.action_recognition.actionrec_inceptionv3 import ActionRecInceptionV3
from gluoncv.model_zoo.action_recognition.actionrec_resnetv1b import ActionRecResNetV1b
from gluoncv.model_zoo.action_recognition.actionrec_vgg16 import ActionRecVGG16
from gluoncv.model_zoo.model_store import _model_sha1
from mxnet import autograd
from structure import structure_of, structure_only

import gluon_action.data
from gluon_action.class_names import class_names
from gluon_action.errors import ModelError, WeightsError
from gluon_action.model_zoo import get_model, list_models, load_weights, model_card
from gluon_action.weights import read_index

# Printed by GluonCV's own TSN tutorial for UCF101.
VGG16_TSN = """\
ActionRecVGG16TSN(
  (basenet): ActionRecVGG16(
    (features): HybridSequential(
      (0): Conv2D(3 -> 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (1): Activation(relu)
      (2): Conv2D(64 -> 64, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (3): Activation(relu)
      (4): MaxPool2D(size=(2, 2), stride=(2, 2), padding=(0, 0), {pool})
      (5): Conv2D(64 -> 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (6): Activation(relu)
      (7): Conv2D(128 -> 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (8): Activation(relu)
      (9): MaxPool2D(size=(2, 2), stride=(2, 2), padding=(0, 0), {pool})
      (10): Conv2D(128 -> 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (11): Activation(relu)
      (12): Conv2D(256 -> 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (13): Activation(relu)
      (14): Conv2D(256 -> 256, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (15): Activation(relu)
      (16): MaxPool2D(size=(2, 2), stride=(2, 2), padding=(0, 0), {pool})
      (17): Conv2D(256 -> 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (18): Activation(relu)
      (19): Conv2D(512 -> 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (20): Activation(relu)
      (21): Conv2D(512 -> 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (22): Activation(relu)
      (23): MaxPool2D(size=(2, 2), stride=(2, 2), padding=(0, 0), {pool})
      (24): Conv2D(512 -> 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (25): Activation(relu)
      (26): Conv2D(512 -> 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (27): Activation(relu)
      (28): Conv2D(512 -> 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (29): Activation(relu)
      (30): MaxPool2D(size=(2, 2), stride=(2, 2), padding=(0, 0), {pool})
      (31): Dense(25088 -> 4096, Activation(relu))
      (32): Dropout(p = 0.9, axes=())
      (33): Dense(4096 -> 4096, Activation(relu))
      (34): Dropout(p = 0.9, axes=())
    )
    (output): Dense(4096 -> 101, linear)
  )
  (tsn_consensus): Consensus(

  )
)""".format(pool='ceil_mode=False, global_pool=False, pool_type=max, layout=NCHW')

# name in the zoo -> (GluonCV's class, its arguments, input size)
FAMILIES = {
    'vgg16_ucf101': (ActionRecVGG16, {}, 32),
    'resnet18_v1b_custom': (ActionRecResNetV1b, {'depth': 18}, 64),
    'resnet34_v1b_kinetics400': (ActionRecResNetV1b, {'depth': 34}, 64),
    'resnet50_v1b_hmdb51': (ActionRecResNetV1b, {'depth': 50}, 64),
    'inceptionv1_ucf101': (ActionRecInceptionV1, {'partial_bn': False}, 224),
    'inceptionv3_ucf101': (ActionRecInceptionV3, {}, 299),
}
SMALL = {'pretrained_base': False, 'input_size': 32}


def scores(net, frames, training):
    with autograd.record(train_mode=training) if training else autograd.predict_mode():
        return net(frames).asnumpy()


def running_statistics(net):
    return {key: parameter.data().asnumpy() for key, parameter in net._collect_params_with_prefix().items()
            if 'running' in key}


@pytest.mark.parametrize('name', [pytest.param(name, marks=[pytest.mark.slow] * (size > 224))
                                  for name, (_, _, size) in FAMILIES.items()])
def test_parameters_and_outputs_agree_with_gluoncv_in_both_directions(name, tmp_path):
    theirs_of, arguments, size = FAMILIES[name]
    frames = mx.nd.random.uniform(-1, 1, shape=(4, 3, size, size))
    common = {'nclass': 5, 'dropout_ratio': 0}
    theirs = theirs_of(pretrained_base=False, num_segments=2, **common, **arguments)
    he = mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2)
    theirs.collect_params().initialize(he, force_reinit=True)
    scores(theirs, frames, training=True)
    theirs.save_parameters(str(tmp_path / 'theirs.params'))

    ours = get_model(name, num_segments=2, input_size=size, pretrained_base=False, initialize=False, **common)
    ours.load_parameters(str(tmp_path / 'theirs.params'))
    for training in (False, True):
        want, got = scores(theirs, frames, training), scores(ours, frames, training)
        assert got.shape == (2, 5)
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
    # Training has moved the running statistics of both; they still agree, and so does a file of ours read by theirs.
    statistics = running_statistics(ours)
    for key, value in running_statistics(theirs).items():
        np.testing.assert_allclose(statistics[key], value, rtol=1e-4, atol=1e-6)
    ours.save_parameters(str(tmp_path / 'ours.params'))
    theirs.load_parameters(str(tmp_path / 'ours.params'))
    want, got = scores(theirs, frames, False), scores(ours, frames, False)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()

    single = get_model(name, input_size=size, pretrained_base=False, initialize=False, **common)
    load_weights(single, tmp_path / 'ours.params')
    each = scores(single, frames, training=False)
    assert each.shape == (4, 5)
    assert np.abs(each.reshape(2, 2, 5).mean(axis=1) - got).max() <= 1e-5 * np.abs(got).max()


def test_vgg16_tsn_is_printed_as_in_gluoncvs_tutorial():
    with structure_only():
        net = get_model('vgg16_ucf101', nclass=101, tsn=True, num_segments=3, pretrained_base=False)
        net.collect_params().reset_ctx([mx.cpu()])
    assert [line.rstrip() for line in str(net).splitlines()] == VGG16_TSN.splitlines()


def test_every_2d_action_model_of_gluoncv_is_in_the_zoo():
    flat = {name for name in gluoncv_zoo._models
            if name.startswith(('vgg16_', 'inceptionv1_', 'inceptionv3_', 'resnet'))
            and name.endswith(('_ucf101', '_hmdb51', '_kinetics400', '_sthsthv2', '_custom'))}
    assert len(flat) == 26
    assert flat <= set(list_models())


@pytest.mark.parametrize('name', list_models())
def test_cards_agree_with_gluoncvs_tables(name):
    card = model_card(name)
    labels = card.labels()
    assert labels is None or len(labels) == card.num_classes == len(set(labels))
    # GluonCV does not name those of 600.
    assert (labels is None) == (card.dataset in ('custom', 'kinetics600', 'youtube8m'))
    theirs = [row for row in read_index().rows_of(name) if row.publisher == 'GluonCV']
    assert bool(theirs) == (name in _model_sha1)
    assert not theirs or theirs[0].files[0].digits == _model_sha1[name]
    for row in theirs:
        assert row.files[0].digits.startswith(row.tag) and len(row.files[0].digits) in (8, 40)
        assert (row.files[0].name, row.format) == (f'{name}-{row.tag}.params', 'params')
    assert not card.base or read_index().rows_of(card.base)
    assert not card.starts_from or read_index().rows_of(card.starts_from)


def test_published_weights_are_of_models_of_the_zoo_and_say_what_their_cards_can():
    of_actions = [row for row in read_index().rows if row.kind == 'actions']
    for row in of_actions:
        card = model_card(row.model)
        prepared = card.prepared(row.input)
        assert (prepared.mean, prepared.std) == (row.input.get('mean', card.mean), row.input.get('std', card.std))
        assert all(int(index) < card.num_classes for index in row.classes) and set(row.options) <= card.supports
    bases = {row.model for row in read_index().rows if row.kind == 'base'}
    assert bases == {card.base for card in map(model_card, list_models())} - {''} | {'vgg16_bn', 'resnet50_v1b_gn'}


def test_bases_are_gluoncvs_published_files():
    theirs = {row.model: row.files[0].digits for row in read_index().rows
              if row.kind == 'base' and row.publisher == 'GluonCV'}
    assert len(theirs) == 10 and theirs == {name: _model_sha1[name] for name in theirs}


def test_list_models_takes_patterns_and_counts_upwards():
    assert list_models('resnet*_kinetics400') == [f'resnet{depth}_v1b_kinetics400' for depth in (18, 34, 50, 101, 152)]
    assert list_models('nothing*') == []


@pytest.mark.parametrize('name, options, nodes, kept', [
    ('resnet18_v1b_custom', {'partial_bn': True}, 20, 1),
    ('resnet18_v1b_custom', {'bn_frozen': True, 'num_segments': 2}, 20, 0),
    ('resnet50_v1b_custom', {'partial_bn': True, 'num_segments': 2}, 53, 1),
    ('inceptionv1_ucf101', {'partial_bn': True}, 57, 1),
    ('inceptionv3_ucf101', {'partial_bn': True, 'input_size': 75}, 94, 1),
    ('vgg16_ucf101', {'partial_bn': True, 'batch_norm': True}, 13, 1),
])
def test_freezing_reaches_every_batch_norm_of_every_family(name, options, nodes, kept):
    net = get_model(name, **{**SMALL, **options}, nclass=2, dropout_ratio=0)
    layers = net.batch_norms()
    assert len(layers) == nodes
    assert [layer.gamma.grad_req for layer in layers] == ['write'] * kept + ['null'] * (nodes - kept)
    assert [layer.beta.grad_req for layer in layers] == ['write'] * kept + ['null'] * (nodes - kept)
    before = running_statistics(net)
    with autograd.record():
        loss = net(mx.nd.random.normal(shape=net.card.input_shape(2, options.get('input_size', 32)))).sum()
    loss.backward()
    after = running_statistics(net)
    moved = [key for key in before if (before[key] != after[key]).any()]
    assert len(moved) == 2 * kept


def test_inception_keeps_all_batch_norms_learning_unless_asked():
    net = structure_of('inceptionv1_ucf101', **SMALL)
    assert all(layer.gamma.grad_req == 'write' for layer in net.batch_norms())


@pytest.mark.parametrize('name, width', [('resnet18_v1b_custom', 512), ('inceptionv1_ucf101', 1024),
                                         ('vgg16_ucf101', 4096)])
def test_feat_ext_returns_features_that_the_head_turns_into_the_scores(name, width, tmp_path):
    frames = mx.nd.random.normal(shape=(4, 3, 32, 32))
    net = get_model(name, nclass=5, num_segments=2, **SMALL)
    net.save_parameters(str(tmp_path / 'net.params'))
    features = get_model(name, nclass=5, num_segments=2, feat_ext=True, initialize=False, **SMALL)
    features.load_parameters(str(tmp_path / 'net.params'))
    assert features(frames).shape == (2, width) and features.feat_dim == width
    from_features = net.basenet.output(features(frames)).asnumpy()
    np.testing.assert_allclose(from_features, net(frames).asnumpy(), rtol=1e-3, atol=1e-5)


def test_networks_are_initialised_and_compute_after_moving_to_other_devices():
    net = get_model('resnet18_v1b_ucf101', nclass=3, num_segments=2, ctx=mx.cpu(0), **SMALL)
    net.collect_params().reset_ctx([mx.cpu(0), mx.cpu(1)])
    net.hybridize()
    for device in (mx.cpu(0), mx.cpu(1)):
        out = net(mx.nd.ones((4, 3, 32, 32), ctx=device))
        assert out.shape == (2, 3) and np.isfinite(out.asnumpy()).all()
    frames = mx.nd.random.normal(shape=(4, 3, 32, 32))
    first, second = (net(frames.as_in_context(device)).asnumpy() for device in (mx.cpu(0), mx.cpu(1)))
    np.testing.assert_array_equal(first, second)
    assert np.ptp(first) > 0


def test_one_segment_is_the_plain_network_and_use_tsn_wraps_it():
    assert type(structure_of('resnet18_v1b_custom', **SMALL)).__name__ == 'ActionRecResNetV1b'
    for options in ({'use_tsn': True}, {'tsn': True}, {'num_segments': 2}, {'num_crop': 10}):
        net = structure_of('ResNet18_v1b_custom', **SMALL, **options)
        assert type(net).__name__ == 'ActionRecResNetV1bTSN'
    assert (net.num_segments, net.num_crop, net.num_classes, net.classes) == (1, 10, 400, None)


def test_frames_that_make_no_whole_videos_are_refused():
    net = get_model('resnet18_v1b_custom', num_segments=3, **SMALL)
    with pytest.raises(ModelError, match='4 frames are not a whole number of videos of 3 segments x 1 crops'):
        net(mx.nd.ones((4, 3, 32, 32)))


def test_weighted_consensus_starts_as_the_average_of_the_same_file(tmp_path):
    frames = mx.nd.random.normal(shape=(6, 3, 32, 32))
    average = get_model('resnet18_v1b_custom', nclass=4, num_segments=3, **SMALL)
    average.save_parameters(str(tmp_path / 'average.params'))
    weighted = get_model('resnet18_v1b_custom', nclass=4, num_segments=3, consensus='weighted', **SMALL)
    load_weights(weighted, tmp_path / 'average.params')
    np.testing.assert_allclose(weighted(frames).asnumpy(), average(frames).asnumpy(), rtol=1e-4, atol=1e-5)
    weighted.save_parameters(str(tmp_path / 'weighted.params'))
    assert 'tsn_consensus.weight' in mx.nd.load(str(tmp_path / 'weighted.params'))
    with pytest.raises(WeightsError, match='1 are not in the network .tsn_consensus.weight.'):
        average.load_parameters(str(tmp_path / 'weighted.params'))


@pytest.mark.parametrize('name', ['resnet18_v1b_custom', 'resnet50_v1b_custom'])
def test_last_gamma_starts_every_block_as_its_shortcut(name):
    net = get_model(name, last_gamma=True, **SMALL)
    zero = [layer for layer in net.batch_norms() if not layer.gamma.data().asnumpy().any()]
    assert len(zero) == {'resnet18_v1b_custom': 8, 'resnet50_v1b_custom': 16}[name]


def test_group_norm_replaces_batch_norm_and_computes_hybridized():
    net = get_model('resnet18_v1b_custom', use_gn=True, nclass=3, **SMALL)
    assert not net.batch_norms()
    frames = mx.nd.random.normal(shape=(2, 3, 32, 32))
    want = net(frames).asnumpy()
    net.hybridize()
    got = net(frames).asnumpy()
    assert np.isfinite(got).all() and np.ptp(got) > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


# Networks whose dropout is the last thing before the head: features, the rate asked for, the rate that it is, and
# options that make them small.
DROPPING = {
    'resnet18_v1b_ucf101': (512, None, 0.9, {}),
    'inceptionv1_hmdb51': (1024, 0.75, 0.75, {}),
    'inceptionv3_ucf101': (2048, None, 0.8, {'input_size': 75}),
    'i3d_rgb_custom': (1024, None, 0.5, {'clip_length': 2}),
    's3dg_custom': (306, None, 0.2, {'clip_length': 8, 'depth_multiplier': 0.3, 'min_depth': 8}),
    's3d_custom': (306, 0.6, 0.6, {'clip_length': 8, 'depth_multiplier': 0.3, 'min_depth': 8}),
    'timesformer_small_custom': (96, 0.75, 0.75, {'clip_length': 2, 'input_size': 16, 'bn_frozen': False}),
}


@pytest.mark.parametrize('name', DROPPING)
def test_dropout_takes_its_share_of_the_features_in_training_only(name):
    width, asked, share, options = DROPPING[name]
    options = {**SMALL, 'bn_frozen': True, **options}  # so that training computes the features that testing does
    net = get_model(name, nclass=width, dropout_ratio=asked, **options)
    keys = net._collect_params_with_prefix()
    weight = keys[net.card.head]
    weight.set_data(mx.nd.eye(width).reshape(weight.shape))  # the head passes the features on as they are
    keys[net.card.head.removesuffix('weight') + 'bias'].set_data(mx.nd.zeros(width))
    frames = mx.nd.random.normal(shape=net.card.input_shape(2, options['input_size'], options.get('clip_length')))
    whole = scores(net, frames, training=False)
    np.testing.assert_array_equal(scores(net, frames, training=False), whole)
    dropping = scores(net, frames, training=True)
    seen = np.abs(whole) > 1e-3 * np.abs(whole).max()
    assert seen.sum() > 150
    passed = dropping[seen] / whole[seen]
    kept = passed > 0.5
    np.testing.assert_allclose(passed, kept / (1 - share), rtol=1e-3)
    assert abs(1 - kept.mean() - share) < 4 * (share * (1 - share) / seen.sum()) ** 0.5


def test_both_dropouts_of_vgg_are_what_is_asked_for():
    frames = mx.nd.random.normal(shape=(2, 3, 32, 32))
    net = get_model('vgg16_ucf101', dropout_ratio=0.5, feat_ext=True, **SMALL)
    whole, dropped = (scores(net, frames, training) for training in (False, True))
    assert 0.35 < (dropped > 0).mean() / (whole > 0).mean() < 0.65  # the second
    both = (dropped > 0) & (whole > 0)
    assert np.abs(dropped[both] / whole[both] - 2).max() > 0.1  # by the second alone it would be 2: that is the first


DROPOUT_AND_HEAD = {
    'vgg16_ucf101': (0.9, 0.001), 'vgg16_hmdb51': (0.9, 0.001), 'vgg16_kinetics400': (0.5, 0.01),
    'inceptionv1_ucf101': (0.8, 0.001), 'inceptionv1_kinetics400': (0.5, 0.01), 'inceptionv3_hmdb51': (0.8, 0.001),
    'inceptionv3_sthsthv2': (0.5, 0.01), 'resnet50_v1b_ucf101': (0.9, 0.001), 'resnet18_v1b_custom': (0.5, 0.01),
    'i3d_rgb_kinetics400': (0.5, None), 'i3d_flow_custom': (0.5, None), 's3dg_custom': (0.2, None),
    's3d_kinetics400': (0.2, None), 'timesformer_divst_8x32_kinetics400': (0., None),
    'timesformer_small_custom': (0., None), 'i3d_resnet50_v1_ucf101': (0.8, 0.001),
    'i3d_resnet50_v1_custom': (0.8, 0.001), 'i3d_resnet50_v1_kinetics400': (0.5, 0.01),
    'slowfast_4x16_resnet50_kinetics400': (0.5, 0.01), 'c3d_kinetics400': (0.5, 0.001),
}


def test_dropout_and_the_heads_deviation_are_by_default_the_published_ones():
    found = {name: (model_card(name).defaults['dropout_ratio'], model_card(name).defaults.get('init_std'))
             for name in DROPOUT_AND_HEAD}
    assert found == DROPOUT_AND_HEAD


def test_weights_of_networks_for_frames_start_by_hes_rule():
    keys = get_model('resnet18_v1b_custom', **SMALL)._collect_params_with_prefix()
    for key in ('conv1.weight', 'layer2.0.conv1.weight', 'layer4.1.conv2.weight'):
        weight = keys[key].data().asnumpy()
        assert weight.std() == pytest.approx((2 / np.prod(weight.shape[1:])) ** 0.5, rel=0.05), key
    assert keys['output.weight'].data().asnumpy().std() == pytest.approx(0.01, rel=0.05)
    assert (keys['bn1.gamma'].data().asnumpy() == 1).all() and not keys['bn1.beta'].data().asnumpy().any()


def test_two_networks_of_a_process_share_no_parameter_names():
    first, second = (structure_of('resnet18_v1b_custom', **SMALL) for _ in range(2))
    assert not set(first.collect_params()) & set(second.collect_params())


@pytest.mark.parametrize('dataset, attribute, count', [
    ('ucf101', 'UCF101Attr', 101), ('hmdb51', 'HMDB51Attr', 51), ('kinetics400', 'Kinetics400Attr', 400),
    ('kinetics700', 'Kinetics700Attr', 700), ('somethingsomethingv2', 'SomethingSomethingV2Attr', 174)])
def test_class_names_are_gluoncvs(dataset, attribute, count):
    theirs, ours = (getattr(package, attribute)() for package in (gluoncv.data, gluon_action.data))
    assert class_names(dataset) == ours.classes == theirs.classes and ours.num_class == theirs.num_class == count


def test_labels_are_those_of_the_data_set():
    assert model_card('vgg16_sthsthv2').labels() == class_names('somethingsomethingv2')
    assert model_card('resnet18_v1b_custom').labels() is None


@pytest.mark.parametrize('name, options, message', [
    ('resnet18_v1b_ucf10', {}, 'no model .resnet18_v1b_ucf10.; did you mean resnet18_v1b_ucf101'),
    ('zzz', {}, 'list-models names them all'),
    ('vgg16_ucf101', {'use_gn': True}, 'vgg16_ucf101 has no use_gn, got use_gn=True; resnet.* have'),
    ('vgg16_ucf101', {'use_se': True}, 'no model has'),
    ('vgg16_ucf101', {'bn_frozen': True}, 'no batch normalisation for bn_frozen'),
    ('resnet18_v1b_custom', {'partial_bn': True, 'use_gn': True}, 'no batch normalisation for partial_bn'),
    ('resnet18_v1b_ucf101', {'use_kinetics_pretrain': True}, 'has no use_kinetics_pretrain'),
    ('resnet18_v1b_ucf101', {'consensu': 'max'}, "no option 'consensu'; did you mean consensus"),
    ('resnet18_v1b_ucf101', {'consensus': 'median', 'num_segments': 2}, 'one of avg, max, weighted'),
    ('resnet18_v1b_ucf101', {'nclass': 0}, 'nclass is a whole number from 1, got 0'),
    ('i3d_rgb_custom', {'clip_length': 0}, 'clip_length is a whole number from 1, got 0'),
    ('resnet18_v1b_ucf101', {'num_segments': 2.5}, 'num_segments is a whole number from 1, got 2.5'),
    ('resnet18_v1b_ucf101', {'dropout_ratio': 1.}, 'dropout_ratio is at least 0 and less than 1'),
    ('resnet18_v1b_ucf101', {'last_gamma': True, 'pretrained_base': True}, 'use it with pretrained_base=False'),
    ('inceptionv3_ucf101', {'input_size': 40}, 'try a larger input_size'),
])
def test_what_cannot_be_is_refused_with_the_way_out(name, options, message, capsys):
    with pytest.raises(ModelError, match=message):
        get_model(name, **{**SMALL, **options})
    assert capsys.readouterr().out == ''


def test_switched_off_options_are_accepted_by_every_model():
    off = structure_of('resnet18_v1b_ucf101', batch_norm=False, use_gn=False, use_se=False, use_kinetics_pretrain=False,
                       dropout_ratio=None, bn_frozen=False, **SMALL)
    plain = structure_of('resnet18_v1b_ucf101', **SMALL)
    assert str(off) == str(plain) and 'Dropout(p = 0.9' in str(off)
    assert [parameter.grad_req for parameter in off.collect_params().values()] == [
        parameter.grad_req for parameter in plain.collect_params().values()]
