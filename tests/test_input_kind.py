"""Frames, clips and features: what each says of an input, and that features never pass for clips."""
import copy
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from gluon_action import model_zoo
from gluon_action.data.preprocess import Preprocess
from gluon_action.deploy.bundle.what_is_exported import Choices, open_source, preprocess_of, published_run
from gluon_action.deploy.speed.timing import open_subject
from gluon_action.errors import BundleError, ModelError, UsageError
from gluon_action.evaluate.network import clip_option
from gluon_action.evaluate.options import config as tests_of
from gluon_action.evaluate.options.preparation import Prepared
from gluon_action.input_kind import CLIPS, FEATURES, FRAMES, KINDS, kind_of_layout, kind_of_shape
from gluon_action.model_zoo import registry
from gluon_action.train.recipes import config as training
from gluon_action.train.recipes.epic.classifier import check_clips
from gluon_action.train.recipes.parts import build_teacher

SIZES = dict(channels=3, length=8, size=(24, 32))
NAME = 'frame_features_of_a_test'


@pytest.fixture
def card(monkeypatch):
    """A network of 5 frames' features, 16 numbers each, that the zoo knows."""
    card = registry.ModelCard(NAME, family='Features', dataset='custom', num_classes=4, input=FEATURES, channels=16,
                              clip_length=5)
    monkeypatch.setitem(registry._CARDS, NAME, card)
    return card


def test_each_kind_has_its_shape():
    shapes = [kind.shape(2, **SIZES) for kind in KINDS]
    assert shapes == [(2, 3, 24, 32), (2, 3, 8, 24, 32), (2, 8, 3)]
    assert [str(kind) for kind in KINDS] == ['frames (N, C, H, W)', 'clips (N, C, T, H, W)', 'features (N, T, D)']


def test_a_layout_and_a_number_of_axes_say_the_kind():
    for kind in KINDS:
        assert kind_of_layout(kind.layout) == kind == kind_of_shape(kind.shape(1, **SIZES))
    assert kind_of_shape((1, 2)) is None
    with pytest.raises(UsageError, match="layout must be one of NCHW, NCTHW, NTD, got 'NHWC'"):
        kind_of_layout('NHWC')


def test_each_kind_has_its_options():
    assert {kind.name: [option for option in ('input_size', 'segments', 'clip_length', 'clip_stride')
                        if kind.takes(option)] for kind in KINDS} == {
        'frames': ['input_size', 'segments'], 'clips': ['input_size', 'segments', 'clip_length', 'clip_stride'],
        'features': ['clip_length']}
    assert [kind.is_video for kind in KINDS] == [True, True, False]


@pytest.mark.parametrize('name', model_zoo.list_models())
def test_every_model_of_the_zoo_has_a_kind_that_a_copy_keeps(name):
    card = model_zoo.model_card(name)
    assert card.input == (FEATURES if 'feature_sizes' in card.supports else
                          CLIPS if 'clip_length' in card.supports else FRAMES)
    assert copy.deepcopy(card).input == card.input and card.input_layout == card.input.layout


def test_a_card_of_features_has_their_shape(card):
    assert card.input_shape(2) == (2, 5, 16) and card.input_shape(3, size=224, frames=7) == (3, 7, 16)
    assert card.input_layout == 'NTD'


def refusals(card):
    """What reads videos, asked for a network of features."""
    run, test = training.TrainConfig(model=NAME), tests_of.TestConfig(model=NAME, resume_params='x.params')
    return {
        'training': lambda: training.check_config(run, card), 'a test': lambda: tests_of.check_config(test, card),
        'an exported network': lambda: tests_of.check_config(
            tests_of.TestConfig(model=NAME, deploy=True, model_prefix='x'), card),
        'clips of 8 frames': lambda: training.check_config(training.TrainConfig(model=NAME, new_length=8), card),
        'frames for validation': lambda: run.preprocess(card), 'the Epic-Kitchens command': lambda: check_clips(run),
        'a published network': lambda: published_run(card), 'a clip stride': lambda: published_run(
            card, Choices(clip_stride=2)),
        'preprocessing': lambda: preprocess_of(run, card), 'export': lambda: open_source(NAME, no_weights=True),
        'timing': lambda: open_subject(NAME), 'a teacher': lambda: build_teacher(
            Prepared(training.TrainConfig(teacher=NAME), model_zoo.model_card('i3d_rgb_custom')), 4, [])}


@pytest.mark.parametrize('what', refusals(None))
def test_what_reads_videos_refuses_features_by_name(card, what):
    with pytest.raises(UsageError, match=rf'{NAME}.*({FEATURES.name} \(N, T, D\)|is no network for clips)'):
        refusals(card)[what]()


def test_segments_and_crops_mean_nothing_for_features(card):
    for options in (dict(num_segments=3), dict(num_crop=10), dict(tsn=True), dict(use_tsn=True)):
        with pytest.raises(ModelError, match=r'takes features \(N, T, D\), a row for each video; leave out'):
            model_zoo.get_model(NAME, **options)
    with pytest.raises(ModelError, match='has no input_size'):
        model_zoo.get_model(NAME, input_size=224)


@pytest.mark.parametrize('name, expected', [('resnet18_v1b_custom', {}), ('i3d_rgb_custom', {'clip_length': 8})])
def test_networks_of_clips_are_told_their_length(name, expected):
    config = training.TrainConfig(model=name, new_length=8)
    assert clip_option(model_zoo.model_card(name), config) == expected


def test_pixels_make_no_features():
    values = dict(layout='NCTHW', offsets=[0, 1], crop=[8, 8], mean=[0, 0, 0], std=[1, 1, 1])
    record = Preprocess(**values)
    assert record.input == CLIPS and Preprocess(**{**values, 'layout': 'NCHW', 'offsets': [0]}).input == FRAMES
    with pytest.raises(UsageError, match=r'layout NTD: takes features \(N, T, D\), and these are not cut out of'):
        Preprocess(**{**values, 'layout': 'NTD'})
    with pytest.raises(BundleError, match='bundle/preprocess.json: layout NTD: takes features'):
        Preprocess.from_json({**record.to_json(), 'layout': 'NTD'}, 'bundle/preprocess.json')


def test_the_layout_in_a_bundle_says_the_kind_and_nothing_else_was_added():
    """So bundles of earlier versions load, and earlier versions load those of today."""
    record = Preprocess(layout='NCTHW', offsets=(0, 1), crop=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))
    assert list(json.loads(json.dumps(record.to_json()))) == [
        'layout', 'offsets', 'crop', 'mean', 'std', 'modality', 'rows', 'stride', 'resize', 'crops', 'value_range',
        'activation', 'corner', 'flow_bound']


def test_a_bare_model_of_features_is_timed_with_the_length_that_is_told(tmp_path):
    nodes = [helper.make_node('ReduceMean', ['features'], ['logits'], axes=[1], keepdims=0)]
    graph = helper.make_graph(
        nodes, 'means', [helper.make_tensor_value_info('features', TensorProto.FLOAT, ['batch', 'frames', 4])],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, ['batch', 4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    onnx.save(model, tmp_path / 'features.onnx')
    with pytest.raises(UsageError, match='its input is batch x frames x 4; say how long the free axes are'):
        open_subject(str(tmp_path / 'features.onnx'), input_size=3)
    subject = open_subject(str(tmp_path / 'features.onnx'), clip_length=6)
    assert subject.row == (6, 4)
    data = np.random.default_rng(0).normal(size=(2, 6, 4)).astype('float32')
    np.testing.assert_allclose(subject.run(data), data.mean(axis=1), atol=1e-6)
