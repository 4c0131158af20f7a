"""The estimators' choices: what they open and make, which cannot be, and steps in place of epochs."""
import functools
import logging

import numpy as np
import pytest
from clips import CLASSES, estimator_clips, small_config

from gluon_action import engine
from gluon_action.cli import clip_estimator
from gluon_action.errors import DeviceError, UsageError
from gluon_action.evaluate.scores.clip_scores import ClipScoring
from gluon_action.train.recipes.clip_estimator import network as networks
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig, check_config
from gluon_action.train.recipes.clip_estimator.data import batches_ahead, counted_classes, open_loader
from gluon_action.train.run.by_steps import StepLoader


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """The choices of a small run of S3D-G; others are given to it."""
    return functools.partial(small_config, estimator_clips(tmp_path_factory.mktemp('clips')))


# Steps

class Numbers:
    """A loader of 5 batches an epoch that are (epoch, batch)."""

    def __init__(self):
        self.begun = []

    def __len__(self):
        return 5

    def epoch(self, epoch, start_batch=0):
        self.begun.append((epoch, start_batch))
        for batch in range(start_batch, 5):
            yield epoch, batch


def test_stretches_run_on_over_the_epochs_of_the_data():
    loader = Numbers()
    steps = StepLoader(loader, 3, total=11)
    stretches = [list(steps.epoch(number)) for number in range(4)]
    assert sum(stretches, []) == [divmod(number, 5) for number in range(11)]
    assert list(map(len, stretches)) == [3, 3, 3, 2] and steps.stretches == 4 and len(steps) == 3
    assert loader.begun == [(0, 0), (1, 0), (2, 0)]  # workers read ahead from one stretch into the next


def test_a_run_goes_on_inside_a_stretch_and_with_stretches_of_another_length():
    steps = StepLoader(Numbers(), 3)
    assert list(steps.epoch(2, 1)) == [(1, 2), (1, 3)] and steps.stretches == float('inf')
    other = StepLoader(Numbers(), 4, total=20, origin=(2, 6))
    assert list(other.epoch(2)) == [(1, 1), (1, 2), (1, 3), (1, 4)] and other.stretches == 6
    assert list(other.epoch(5)) == [(3, 3), (3, 4)]


def test_there_must_be_something_to_step_over():
    class Nothing(Numbers):
        def __len__(self):
            return 0
    with pytest.raises(UsageError, match='nothing to train on'):
        StepLoader(Nothing(), 3)
    with pytest.raises(UsageError, match='1 step or more'):
        StepLoader(Numbers(), 0)


# Choices

@pytest.mark.parametrize('text, counted', [('0', (1, 0, 0)), ('1-2', (0, 1, 1)), ('gate', (1, 0, 1)),
                                           ('VEH*, 0', (1, 1, 0)), ('gate ?own', (1, 0, 0))])
def test_classes_that_count_go_by_number_and_by_name(text, counted):
    assert counted_classes(text, 3, CLASSES).tolist() == list(map(bool, counted))


@pytest.mark.parametrize('text, names, told', [
    ('3', CLASSES, "'3' fits no class; the classes are 0..2, gate down, vehicle"), ('2-1', CLASSES, 'fits no class'),
    ('gate', None, 'have no names: there is no classes.txt'), (',', None, 'names no class')])
def test_classes_that_are_none_are_refused(text, names, told):
    with pytest.raises(UsageError, match=told):
        counted_classes(text, 3, names)


@pytest.mark.parametrize('options, ahead, workers', [
    ({}, 853, 2), ({'tfrecord_size': 1}, 21, 2), ({'batch_size': 5000}, 1, 2), ({'prefetch_size': 3}, 3, 2),
    ({'prefetch_size': 0}, 0, 0)])
def test_batches_are_read_ahead_by_number_or_by_size(small, options, ahead, workers):
    config = small('', num_data_workers=2, **options)
    assert batches_ahead(config) == ahead
    with open_loader(config, 'train') as loader:
        assert loader.num_workers == workers and loader.prefetch == max(1, ahead) and loader.shuffle


def test_a_window_of_the_frames_is_what_the_network_sees(small):
    window = dict(crop=True, cropx=5, cropy=3, cropwidth=20, cropheight=24)
    with open_loader(small('', **window), 'eval') as cropped, open_loader(small(''), 'eval') as loader:
        ours, all_of_it = cropped.dataset.load(2)[0], loader.dataset.load(2)[0]
        assert ours.shape == (1, 3, 8, 24, 20) and (ours == all_of_it[..., 3:27, 5:25]).all()
        assert cropped.dataset.list_sha256 == loader.dataset.list_sha256


def test_only_the_training_of_s3dg_changes_colours(small):
    for options, subset, changed in (({}, 'train', True), ({}, 'eval', False), ({'network': 'i3d'}, 'train', False)):
        with open_loader(small('', **options), subset) as loader:
            first, second = (loader.dataset.load(0, epoch=epoch)[0] for epoch in (0, 1))
            assert (first != second).any() == changed


@pytest.mark.parametrize('options, told', [
    ({'variables_to_train': 'i3d_logits'}, "--variables_to_train 'i3d_logits' is not one of s3dg_convs, s3dg_logits"),
    ({'variables_to_warm_start': 'convs'}, "--variables_to_warm_start 'convs' is not one of s3dg_convs, s3dg_logits"),
    ({'mode': 'evaluate'}, "--mode: 'evaluate' is not one of train, eval, train_and_eval, predict, export, export_for"),
    ({'network': 'i3d', 'mode': 'export_for_production'}, '--mode: .* is not one of train, .*export$'),
    ({'network': 'i3d', 'min_depth': 4}, '--min_depth: is about s3dg_estimator.py'),
    ({'eval_subset_dir_path': None}, '--eval_subset_dir_path: --mode train_and_eval needs the folder'),
    ({'optimizer': 'sgd', 'momentum': 0.5}, '--momentum: means nothing with --optimizer sgd'),
    ({'checkpoint_path': 'x'}, '--checkpoint_path: .*with --warm_start only'),
    ({'crop': True}, r'--crop: a window of 1920x920 at \(0, 82\) does not fit into frames of 32x32'),
    ({'cropx': 3}, '--cropx: means something with --crop only'),
    ({'channels': 2}, r'--channels: must be 3 \(RGB\), got 2'),
    ({'network': 'i3d', 'channels': 1, 'depth_multiplier': 1., 'min_depth': 16}, '--channels: must be 3 or 2'),
    ({'update_batch_norm': True}, '--update_batch_norm: is about batch normalisation that --variables_to_train leaves'),
    ({'learning_rate': float('nan')}, '--learning_rate: must be 0 or more, got nan'),
    ({'momentum': 1.}, '--momentum: must be less than 1'),
    ({'train_steps': 0}, '--train_steps: must be 1 or more'),
    ({'export_path': 'x'}, '--export_path: is about --mode export'),
    ({'overwrite': True}, '--overwrite: replaces the results of --mode eval and predict'),
    ({'mode': 'eval', 'restart': True}, '--restart: is about training'),
    ({'num_gpus': 0, 'gpu_num': 0}, '--gpu_num: --num_gpus 0 computes on the CPU'),
    ({'num_gpus': 2, 'gpu_num': 1}, '--gpu_num: picks one card'),
    ({'label_mode': 'single', 'num_classes': 1}, '--num_classes: one label a clip'),
    ({'model_dir': ''}, '--model_dir: needs')])
def test_choices_that_cannot_be_are_refused_with_the_flag(small, options, told):
    with pytest.raises(UsageError, match=told):
        check_config(small(**{'model_dir': 'x', **options}))


def test_a_configuration_starts_with_the_defaults_of_the_flags():
    for network, parse in (('i3d', clip_estimator.parse_i3d), ('s3dg', clip_estimator.parse_s3dg)):
        config = clip_estimator.config_from(parse(['--mode', 'train_and_eval', '--model_dir', '']))
        assert config == EstimatorConfig(network=network)


def test_flags_are_those_of_the_original_with_its_defaults():
    original = dict(
        checkpoint_path=None, export_path=None, train_subset_dir_path=None, eval_subset_dir_path=None, batch_size=6,
        prefetch_size=-1, tfrecord_size=40, monitor_steps=100, train_steps=None, num_classes=204, learning_rate=1e-1,
        optimizer='momentum', momentum=0.9, weight_decay=1e-7, dropout_rate=0.2, clip_length=64, frame_height=224,
        frame_width=224, channels=3, variables_to_warm_start=None, variables_to_train=None)
    gated = dict(warm_start=False, min_depth=16, depth_multiplier=1.0, add_image_summaries=True, metric_weights=None,
                 crop=False, cropheight=920, cropwidth=1920, cropx=0, cropy=82)
    given = ['--mode', 'predict', '--model_dir', 'x', '--test_subset_dir_path', 'clips', '--num_gpus', '1', '--gpu_num',
             '0']
    for parse, flags in ((clip_estimator.parse_i3d, original), (clip_estimator.parse_s3dg, {**original, **gated})):
        found = vars(parse(given))
        assert {name: found[name] for name in flags} == flags
        assert (found['predict_subset_dir_path'], found['num_gpus'], found['gpu_num']) == ('clips', 1, 0)
    assert vars(clip_estimator.parse_s3dg([*given, '-c']))['crop'] is True


@pytest.mark.parametrize('text, value', [('false', False), ('False', False), ('0', False), ('no', False),
                                         ('true', True), ('yes', True), ('1', True)])
def test_yes_and_no_mean_what_they_say(text, value):
    given = ['--mode', 'train', '--model_dir', 'x', '--add_image_summaries', text]
    assert clip_estimator.parse_s3dg(given).add_image_summaries is value


@pytest.mark.parametrize('given, told', [
    (['--mode', 'evaluate', '--model_dir', 'x'], "'train', 'eval', 'train_and_eval', 'predict', 'export'"),
    (['--mode', 'train', '--model_dir', 'x', '--add_image_summaries', 'maybe'], "'maybe' is neither true nor false")])
def test_a_bad_word_on_the_command_line_is_answered_with_those_that_are_allowed(given, told, capsys):
    with pytest.raises(SystemExit) as stop:
        clip_estimator.parse_i3d(given)
    assert stop.value.code == 2 and told in capsys.readouterr().err


def test_without_a_gpu_the_cpu_computes_unless_gpus_were_asked_for(small, caplog):
    with caplog.at_level(logging.INFO):
        assert [str(device) for device in networks.computing(small(''))[1]] == ['cpu(0)']
    assert 'Computing on the CPU, as there is no GPU that can be used (--num_gpus 1' in caplog.text
    assert [str(device) for device in networks.computing(small('', num_gpus=0))[1]] == ['cpu(0)']
    for asked in ({'num_gpus': 1}, {'gpu_num': 0}):
        with pytest.raises(DeviceError, match=f'--{[*asked][0]} .: '):
            networks.computing(small('', **asked))


@pytest.mark.parametrize('there, cure', [
    (0, ('--num_gpus', '0')), (1, ('--gpu_num', '0')), (2, ('--gpu_num', '1')), (3, ('--num_gpus', '0'))])
def test_the_cure_of_a_gpu_that_is_not_there_is_one_that_is_taken(small, monkeypatch, there, cure):
    monkeypatch.setattr(engine, 'mxnet_distribution', lambda: 'mxnet-cu112')
    monkeypatch.setattr(engine, 'gpu_capabilities', lambda *_: [(8, 0)] * there)
    numbers = {0: '', 1: 'pass --gpu_num 0, ', 2: 'pass --gpu_num 0 to 1, ', 3: 'pass --gpu_num 0 to 2, '}[there]
    with pytest.raises(DeviceError) as caught:
        networks.computing(small('', gpu_num=3))
    assert caught.value.told() == (
        f'--gpu_num 3: this machine has {there}, numbered from 0; {numbers}look at CUDA_VISIBLE_DEVICES, or use '
        '--num_gpus 0 without --gpu_num to compute on the CPU')
    name, value = cure[0].lstrip('-'), int(cure[1])
    assert len(networks.computing(small('', **{name: value}))[1]) == 1


def test_without_mxnets_cuda_the_cure_of_one_gpu_leaves_its_flag_out(small):
    with pytest.raises(DeviceError) as caught:
        networks.computing(small('', gpu_num=2))
    told = caught.value.told()
    assert told.startswith('--gpu_num 2: the installed MXNet') and 'use --num_gpus 0 without --gpu_num' in told


def test_scores_of_one_label_a_clip_count_what_was_expected():
    scores = ClipScoring(3, multi_label=False)(2)
    scores.add(np.array([[3., 0, 0], [0, 3., 0], [0, 0, 3.]]), np.array([0., 1, 0]), 1.5)
    scores.expected = 4
    found = scores.summary()
    assert found['top1'] == 0.5 and found['precision'] == pytest.approx(2 / 3) and found['loss'] == 0.5
