"""What is exported prepares videos as it was validated, whatever it is opened from."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import dataclasses
import json
import os
import shutil
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from tiny import NAME, forget, register_tiny, save_tiny

from gluon_action import model_zoo
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.deploy.bundle.what_is_exported import Choices, open_source, preprocess_of, published_run
from gluon_action.errors import ModelError, UsageError, WeightsError
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.parts import open_datasets
from gluon_action.train.recipes.recognizer import train_recognizer

GREY = 1.5 / 255 / 0.224  # a grey level and a half of resizing
SMALL = 'timesformer_small_custom'
RANDOM = {'no_weights': True}


@pytest.fixture(autouse=True, scope='module')
def tiny():
    register_tiny()
    yield
    forget(NAME)


def configured(demo, **choices):
    return TrainConfig(**{**dict(model=NAME, dataset='custom', data_dir=str(demo.video_dir), input_size=32,
                                 train_list=str(demo.train_list), val_list=str(demo.val_list), num_workers=0,
                                 pretrained_base=False, batch_size=8, num_epochs=1), **choices})


@pytest.fixture(scope='module')
def run(demo_appearance, tmp_path_factory):
    """The folder of a training run with a consensus of three segments."""
    folder = tmp_path_factory.mktemp('run') / 'run'
    train_recognizer(configured(demo_appearance, dataset='demo_appearance', data_dir=str(demo_appearance.root),
                                num_segments=3, consensus='max', data_aug='v2', new_height=40,
                                save_dir=str(folder)))
    return folder


def changed(run, folder, **values):
    """A run that says something else of itself."""
    shutil.copytree(run, folder, symlinks=True)
    about = json.loads((folder / 'config.json').read_text())
    about['config'] |= values
    (folder / 'config.json').write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize('choices', [
    {}, {'data_aug': 'v1', 'new_height': 40, 'new_width': 50}, {'data_aug': 'v2', 'new_height': 40},
    {'data_aug': 'v3', 'new_height': 36, 'new_width': 44}, {'data_aug': 'v4'}, {'crop_ratio': 0.7}, {'num_crop': 3},
    {'num_crop': 3, 'data_aug': 'v1', 'new_height': 32, 'new_width': 50}, {'num_crop': 10},
    {'model': SMALL, 'new_length': 4, 'new_step': 2}, {'model': SMALL, 'new_length': 4, 'num_crop': 10},
    {'model': 'slowfast_4x16_resnet50_custom', 'slowfast': True, 'new_length': 16, 'slow_temporal_stride': 8,
     'fast_temporal_stride': 4}],
    ids=lambda choices: ' '.join(f'{key}={value}' for key, value in choices.items()) or 'defaults')
def test_a_run_prepares_videos_as_its_validation_did(demo_appearance, choices):
    config = configured(demo_appearance, **choices)
    card = model_zoo.model_card(config.model)
    preprocess = preprocess_of(config, card)
    validation = open_datasets(config, card)[1]
    wanted = validation.load(0)[0]
    with VideoReader(validation.samples[0].path) as reader:
        # The validation takes the clip in the middle: of one segment, by the same rule.
        first = validation.plan.indices(len(reader), None)[0] - preprocess.offsets[0]
        frames = reader.read([min(first + offset, len(reader) - 1) for offset in preprocess.offsets])
    seen = preprocess.apply(frames)
    assert seen.shape == wanted.shape
    np.testing.assert_allclose(seen, wanted, atol=GREY)


def test_still_flow_is_nothing_for_a_flow_network():
    card = model_zoo.model_card('i3d_flow_custom')
    preprocess = preprocess_of(TrainConfig(model=card.name, new_length=4, input_size=24), card)
    assert (preprocess.modality, preprocess.channels, preprocess.flow_bound) == ('flow', 2, 20)
    still = np.full((4, 40, 50, 2), 128, 'uint8')
    np.testing.assert_allclose(preprocess.apply(still), 0, atol=1e-6)


def test_a_run_with_the_maximum_over_segments_keeps_them_in_the_model(run):
    source = open_source(run)
    assert source.net.num_segments == source.preprocess.rows == 3
    assert source.preprocess.resize == {'short_side': 40} and source.preprocess.crop == (32, 32)
    assert source.labels == json.loads((run / 'config.json').read_text())['classes'] and len(source.labels) == 8
    assert 'best.params, SHA-256 ' in source.notes['Weights'] and '3 segments' in source.notes['Validation top-1']
    rows = source.preprocess.shape(6)
    assert source.net(mx.nd.zeros(rows)).shape == (2, 8)


def test_a_run_with_the_average_over_segments_is_exported_for_single_frames(run, tmp_path):
    source = open_source(changed(run, tmp_path / 'run', consensus='avg'))
    assert source.net.num_segments == source.preprocess.rows == 1


def test_several_labels_a_video_become_a_sigmoid(run, tmp_path):
    assert open_source(run).preprocess.activation == 'softmax'
    assert open_source(changed(run, tmp_path / 'run', multi_label=True)).preprocess.activation == 'sigmoid'


def test_what_a_later_version_writes_into_a_run_does_not_matter(run, tmp_path):
    assert open_source(changed(run, tmp_path / 'run', of_the_future=1)).name == NAME


def test_a_file_in_a_run_knows_its_run(run):
    source = open_source(run / 'best.params')
    assert source.preprocess == open_source(run).preprocess and source.labels
    with pytest.raises(UsageError, match=f'--model {SMALL}: .* trained {NAME}'):
        open_source(run / 'best.params', model=SMALL)


def test_the_newest_parameters_stand_for_a_run_without_validation(run, tmp_path):
    folder = changed(run, tmp_path / 'run')
    for path in folder.glob('*best.params'):
        path.unlink()
    last = folder / 'demo_appearance-tiny_ucf101-000.params'
    assert last.name in open_source(folder).notes['Weights']
    for name, later in (('aaa-003.params', 60), ('zzz-001.params', -60)):  # by time, not by name
        shutil.copy(last, folder / name)
        os.utime(folder / name, (last.stat().st_mtime + later,) * 2)
    assert 'aaa-003.params' in open_source(folder).notes['Weights']
    for path in folder.glob('*.params'):
        path.unlink()
    with pytest.raises(WeightsError, match='the run has no parameters yet'):
        open_source(folder)


def test_choices_win_over_the_run(run):
    source = open_source(run, input_size=40, crops=10, stride=5, short_side=50, labels=list('abcdefgh'))
    wanted = replace(open_source(run).preprocess, crop=(40, 40), crops=10, stride=5, resize={'short_side': 50})
    assert source.preprocess == wanted and source.labels == list('abcdefgh')
    assert open_source(run, short_side=0).preprocess.resize == {}


def test_parameters_alone_need_the_name_of_their_network(tmp_path):
    path, _ = save_tiny(tmp_path, 8, 1)
    with pytest.raises(UsageError, match='name its network with --model'):
        open_source(path)
    source = open_source(path, model=NAME, input_size=32)
    assert source.net.num_classes == 8 and source.preprocess.crop == (32, 32) and source.labels is None
    np.testing.assert_array_equal(source.net.output.weight.data().asnumpy(),
                                  mx.nd.load(str(path))['output.weight'].asnumpy())


def test_parameters_with_a_weighted_consensus_bring_their_segments(tmp_path):
    net = model_zoo.get_model(NAME, nclass=4, num_segments=3, consensus='weighted', pretrained_base=False)
    net.save_parameters(str(tmp_path / 'x.params'))
    source = open_source(tmp_path / 'x.params', model=NAME)
    assert source.preprocess.rows == 3 and 'tsn_consensus.weight' in source.net._collect_params_with_prefix()


@pytest.mark.parametrize('name, offsets, stride', [
    (NAME, (0,), 8), (SMALL, tuple(range(0, 32, 4)), 14),
    pytest.param('slowfast_4x16_resnet50_custom', (*range(1, 64, 2), 15, 31, 47, 63), 32, marks=pytest.mark.slow)])
def test_a_model_of_the_zoo_takes_the_clips_that_it_was_published_for(name, offsets, stride):
    source = open_source(name, **RANDOM, num_classes=3, input_size=32)
    assert source.preprocess.offsets == offsets and source.preprocess.stride == stride
    assert source.preprocess.resize == {'short_side': 37} and source.net.num_classes == 3 and source.labels is None
    assert 'random' in source.notes['Weights'] and source.card.name == name
    assert source.net(mx.nd.zeros(source.preprocess.shape(1))).shape == (1, 3)


@pytest.mark.parametrize('name, choices, offsets', [
    ('slowfast_4x16_resnet50_custom', {}, (*range(1, 64, 2), 15, 31, 47, 63)),
    ('slowfast_8x8_resnet101_kinetics400', {}, (*range(1, 64, 2), *range(7, 64, 8))),
    ('slowfast_16x8_resnet101_50_50_kinetics400', {}, (*range(1, 128, 2), *range(7, 128, 8))),
    ('slowfast_4x16_resnet50_custom', {'clip_stride': 1}, (*range(32), 7, 15, 23, 31)),
    ('slowfast_4x16_resnet50_custom', {'clip_length': 32}, (*range(1, 32, 2), 15, 31)),
    ('i3d_resnet50_v1_kinetics400', {}, tuple(range(0, 64, 2))), ('i3d_rgb_custom', {}, tuple(range(64))),
    ('i3d_rgb_custom', {'clip_length': 3, 'clip_stride': 5}, (0, 5, 10))])
def test_published_networks_take_the_clips_of_their_papers(name, choices, offsets):
    card = model_zoo.model_card(name)
    preprocess = preprocess_of(published_run(card, Choices(**choices)), card)
    assert preprocess.offsets == offsets
    assert len(offsets) == card.clip_length or choices


@pytest.mark.parametrize('name', [name for name in model_zoo.list_models()
                                  if model_zoo.model_card(name).input.is_video])
def test_every_model_of_the_zoo_says_how_videos_are_prepared_for_it(name):
    card = model_zoo.model_card(name)
    preprocess = preprocess_of(published_run(card), card)
    assert preprocess.shape(1) == card.input_shape()
    assert preprocess.modality == card.modality and preprocess.mean == card.mean


def test_dense_clips_are_exported_with_the_frames_that_they_have(demo_appearance):
    card, options = model_zoo.model_card(SMALL), dict(model=SMALL, new_length=4, new_step=3, input_size=16)
    dense, consecutive = (preprocess_of(configured(demo_appearance, clip_sampling=kind, **options), card)
                          for kind in ('dense', 'consecutive'))
    assert dense == consecutive and dense.offsets == (0, 3, 6, 9)


def test_a_clip_that_was_spread_over_the_video_takes_the_stride_of_the_run_or_the_networks(demo_appearance, tmp_path):
    net = model_zoo.get_model(SMALL, nclass=2, clip_length=2, input_size=16, pretrained_base=False)
    net.save_parameters(str(tmp_path / 'best.params'))
    config = configured(demo_appearance, model=SMALL, new_length=2, input_size=16, clip_sampling='spread')
    (tmp_path / 'config.json').write_text(json.dumps({'config': dataclasses.asdict(config), 'num_classes': 2,
                                                      'classes': ['a', 'b']}))
    assert open_source(tmp_path).preprocess.offsets == (0, 4)
    assert open_source(tmp_path, clip_stride=9).preprocess.offsets == (0, 9)
    about = json.loads((tmp_path / 'config.json').read_text())
    for said, stride in ((7, 7), (None, 4), (0, 4), ('x', 4)):
        (tmp_path / 'config.json').write_text(json.dumps({**about, 'clip_stride': said}))
        assert open_source(tmp_path).preprocess.offsets == (0, stride)


def test_labels_of_a_data_set_are_known():
    assert open_source('resnet18_v1b_hmdb51', **RANDOM, input_size=32).labels[0] == 'brush_hair'


@pytest.mark.parametrize('source, choices, message', [
    (NAME, {}, '--use-pretrained takes the published ones, --no-weights random ones'),
    (NAME, {'no_weights': True, 'use_pretrained': True}, 'choose its weights'),
    (NAME, {'no_weights': True, 'hashtag': 'x'}, 'add --use-pretrained'),
    (NAME, {'use_pretrained': True, 'num_classes': 3}, '--num-classes: published weights have their own'),
    (NAME, {'no_weights': True, 'clip_length': 8}, f'--clip-length: {NAME} takes single frames'),
    (NAME, {'no_weights': True, 'clip_stride': 8}, f'--clip-stride: {NAME} takes single frames'),
    (NAME, {'no_weights': True, 'short_side': 9}, 'crop 224x224 must fit into frames whose resize.short_side is 9'),
    (SMALL, {'no_weights': True, 'clip_length': 0}, 'must be 1 or more, got 0'),
    (SMALL, {'no_weights': True, 'model': NAME}, 'does not exist; --model names the network of a file'),
    ('no_such_model', {'no_weights': True}, 'the zoo has no model')])
def test_what_cannot_be_is_refused(source, choices, message):
    with pytest.raises((UsageError, ModelError), match=message):
        open_source(source, **choices)


@pytest.mark.parametrize('choice', [{'use_pretrained': True}, {'no_weights': True}, {'hashtag': 'x'}])
def test_a_run_has_its_own_weights(run, choice):
    with pytest.raises(UsageError, match='the weights are those of .*leave it out'):
        open_source(run, **choice)
    with pytest.raises(UsageError, match='--num-classes: the parameters say'):
        open_source(run, num_classes=3)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match='holds no config.json of a training run'):
        open_source(tmp_path)
