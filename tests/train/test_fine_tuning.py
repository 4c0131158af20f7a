"""The recipe for own videos: what it sets, what overrides it, and that it never ends below a good start."""
import contextlib
import dataclasses
import json
import shutil

import mxnet as mx
import numpy as np
import pytest
import tiny
import tiny_clips
from small_runs import here, lines_of_json

from gluon_action.data.demo.make import make_demo
from gluon_action.errors import ModelError, UsageError
from gluon_action.model_zoo import find_start, model_card
from gluon_action.model_zoo.loading.params_file import read_parameters
from gluon_action.train import TrainConfig, train_recognizer
from gluon_action.train.recipes import recipe_defaults
from gluon_action.train.recipes.config import check_config
from gluon_action.train.recipes.fine_tuning import prepare_tuning
from gluon_action.train.recipes.parts import build_recipe, check_early, check_training
from gluon_action.train.recipes.recipe_defaults import DEFAULTS, configured, said, settled
from gluon_action.weights.fetch import packaged
from gluon_action.weights.index import bundled_index

published = tiny_clips.published  # a network of clips with published weights


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """A machine without downloaded weights, whose network would be an error."""
    monkeypatch.setenv('MXNET_HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('GLUON_ACTION_REPO', raising=False)

    def refused(*args, **kwargs):
        raise AssertionError('a server was asked')
    monkeypatch.setattr('gluon_action.weights.transfer._answer', refused)


def test_a_path_is_enough_and_flags_come_first():
    config = configured({'videos': 'a/clips'})
    assert (config.model, config.recipe, config.use_tsn, config.num_segments) == (
        'resnet50_v1b_custom', 'finetune', True, 3)
    assert config.save_dir == 'runs/clips' and {'lr', 'model', 'num_epochs'} <= set(config.from_recipe)
    given = {'videos': 'a/clips.csv', 'lr': 0.1, 'num_epochs': 4, 'balance': 'none', 'num_segments': 5}
    config = configured(given)
    assert {name: getattr(config, name) for name in given} == given and config.save_dir == 'runs/clips'
    assert not set(given) & set(config.from_recipe) and config.use_tsn


def test_gluoncvs_defaults_stay_where_they_are():
    plain = TrainConfig(model='resnet18_v1b_custom')
    assert configured({'model': 'resnet18_v1b_custom'}) == settled(plain) == plain and plain.from_recipe is None
    config = configured({'model': 'resnet18_v1b_custom', 'videos': 'x', 'recipe': 'gluoncv'})
    assert (config.lr, config.num_epochs, config.patience, config.from_recipe) == (0.1, 3, 0, None)
    assert configured({'model': 'resnet18_v1b_custom', 'recipe': 'finetune'}).lr_mode == 'cosine'
    with pytest.raises(UsageError, match='--model: say which network'):
        configured({'dataset': 'custom'})
    with pytest.raises(ModelError, match='no model'):
        configured({'videos': 'x', 'model': 'resnet50'})


def test_python_gives_what_is_not_as_by_default():
    config = settled(TrainConfig(videos='x', lr=0.5))
    assert config.lr == 0.5 and config.patience == DEFAULTS['patience'] and settled(config) is config


CONTRADICTIONS = {
    'train_only': {'train_only': True}, 'several labels': {'multi_label': True},
    'machines': {'kvstore': 'dist_sync'}, 'a step schedule': {'lr_decay_epoch': '5,8'},
    'rates': {'lr_decay_epoch': '0:0.01,10:0.001'}, 'clip_grad': {'clip_grad': 1.}, 'half': {'dtype': 'float16',
                                                                                            'num_gpus': 1},
    'one epoch': {'num_epochs': 1}, 'clips': {'model': 'i3d_resnet50_v1_custom'},
    'slowfast': {'model': 'slowfast_4x16_resnet50_custom'}, 'transformer': {'model': 'timesformer_small_custom'},
    'groups': {'use_gn': True}, 'partial': {'partial_bn': True}, 'adam': {'optimizer': 'adam'},
    'no statistics': {'model': 'vgg16_ucf101'}, 'no base': {'pretrained_base': False}, 'head': {'train_params': 'head'}}


@pytest.mark.parametrize('given', CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_the_recipe_contradicts_nothing_that_is_given(given, no_weights):
    config = configured({'videos': 'x', **given})
    card = model_card(config.model)
    check_early(config, card)
    prepared = prepare_tuning(config, card)
    check_config(prepared.config, prepared.card)
    assert all(getattr(prepared.config, name) == value for name, value in given.items())


@pytest.mark.parametrize('given, lr', [
    ({}, 0.01), ({'batch_size': 32}, 0.04), ({'batch_size': 4, 'accumulate': 2}, 0.01), ({'lr': 0.3}, 0.3),
    ({'optimizer': 'adamw', 'batch_size': 16}, 0.001)])
def test_rates_go_with_the_batch(given, lr, no_weights):
    config = configured({'videos': 'x', **given})
    assert prepare_tuning(config, model_card(config.model)).config.lr == pytest.approx(lr)


def test_without_weights_on_this_machine_none_are_fetched_and_one_line_says_how(no_weights, caplog):
    config = configured({'videos': 'x'})
    prepared = prepare_tuning(config, model_card(config.model))
    assert prepared.start is None and (prepared.config.head_lr, prepared.config.freeze_bn) == (1., False)
    told, = (record.getMessage() for record in caplog.records)
    assert 'no weights to start from are on this machine' in told
    assert 'gluon-action models download resnet50_v1b_kinetics400' in told and '--resume-params FILE' in told


def test_weights_on_this_machine_are_started_from_slowly_with_their_statistics(published):
    models = tiny_clips.CUSTOM, tiny_clips.NAME
    for model in models:  # nothing of it has been downloaded
        assert prepare_tuning(configured({'videos': 'x', 'model': model}), model_card(model)).start is None
    find_start(model_card(tiny_clips.NAME), pretrained=True)
    for model in models:
        config = configured({'videos': 'x', 'model': model})
        prepared = prepare_tuning(config, model_card(model))
        assert prepared.start.row.tag == tiny_clips.TAG and prepared.config.head_lr == 10
        assert prepared.config.lr == pytest.approx(0.001) and prepared.card.mean == tiny_clips.ROW['mean']
        assert prepared.config.new_length == tiny_clips.ROW['clip_length']
        assert not prepared.config.freeze_bn  # it has none


def test_normalisation_is_frozen_where_rows_are_few_and_weights_have_learnt(no_weights, tmp_path, tiny_network):
    path, _ = tiny.save_tiny(tmp_path, 8, 1)
    for given, frozen in (({}, True), ({'batch_size': 16}, False), ({'partial_bn': True}, False),
                          ({'freeze_bn': False}, False), ({'num_segments': 8}, False)):
        config = configured({'videos': 'x', 'model': tiny.NAME, 'resume_params': str(path), **given})
        assert prepare_tuning(config, model_card(tiny.NAME)).config.freeze_bn == frozen, given


def test_what_comes_from_the_recipe_is_said_as_flags(no_weights):
    config = configured({'videos': 'x', 'patience': 3})
    line = said(prepare_tuning(config, model_card(config.model)).config)
    assert line.startswith('From the recipe finetune, which flags override:')
    assert '--lr 0.01' in line and '--use-tsn --' in line and '--balance sampling' in line and '--patience' not in line


@pytest.fixture(scope='module')
def known(tmp_path_factory):
    """A video a class of those that the network in the package knows."""
    return make_demo('demo_motion', tmp_path_factory.mktemp('known'), train_per_class=1, val_per_class=1, seed=3)


SHIPPED = 's3dg_small_demo_motion'


@pytest.mark.parametrize('given, kept', [({}, False), ({'lr': 20., 'clip_norm': 0.}, True)])
def test_good_weights_end_no_worse_than_they_were(known, tmp_path, given, kept, no_weights):
    """With the defaults; and at a rate that ruins them, where the start is what is kept."""
    result = train_recognizer(TrainConfig(
        videos=str(known.train_list), val=str(known.val_list), data_dir=str(known.video_dir),
        val_data_dir=str(known.video_dir), model=SHIPPED, num_epochs=1, num_workers=0, decode_timeout=0,
        save_dir=str(tmp_path / 'run'), **given))
    assert result.start['val_top1'] == 1. and result.best_score >= result.start['val_top1']
    best = read_parameters(tmp_path / 'run' / 'best.params')
    shipped = read_parameters(packaged(bundled_index().rows_of(SHIPPED)[0].files[0]))
    assert all((best[name] == shipped[name]).all() for name in best) == (kept or result.best_epoch is None)
    if kept:
        assert result.history[-1]['val_top1'] < 1 and result.best_epoch is None
        assert 'best validation top-1 100.00 % before the first epoch' in result.summary()


@pytest.fixture(scope='module')
def folder_of(demo_appearance, tmp_path_factory):
    """Class folders of two classes, of five videos each."""
    folder = tmp_path_factory.mktemp('mine') / 'clips'
    names = sorted(path.name for path in demo_appearance.video_dir.iterdir())[:2]
    for name in names:
        (folder / name).mkdir(parents=True)
        for number, path in enumerate(sorted((demo_appearance.video_dir / name).iterdir())):
            shutil.copy(path, folder / name / f'{number}.mp4')
    return folder


@pytest.fixture
def small(network_of_runs):
    return ['--model', tiny.OF_RUNS, '--input-size', 32, '-j', 0, '--no-pretrained-base', '--num-segments', 1]


def test_a_folder_becomes_a_run_that_goes_on_by_its_name_alone(folder_of, small, tmp_path, capsys):
    run = tmp_path / 'run'
    assert here(folder_of, small, '--num-epochs', 1, '--save-dir', run) == 0
    assert 'best validation top-1' in capsys.readouterr().out
    assert (run / 'best.params').exists() and (run / 'lists' / 'val.csv').read_text().startswith('"path","label"')
    kinds = [line['kind'] for line in lines_of_json(run / 'metrics.jsonl')]
    assert kinds[0] == 'start' and kinds.count('epoch') == 1
    assert here('--resume', run, '--num-epochs', 2) == 0
    epochs = [line for line in lines_of_json(run / 'metrics.jsonl') if line['kind'] == 'epoch']
    assert [epoch['epoch'] for epoch in epochs] == [0, 1]
    # The same command with --resume auto does so too.
    assert here(folder_of, small, '--num-epochs', 3, '--save-dir', run, '--resume') == 0
    assert len([line for line in lines_of_json(run / 'metrics.jsonl') if line['kind'] == 'epoch']) == 3


def test_what_was_left_to_the_recipe_is_the_same_when_a_run_goes_on(folder_of, small, tmp_path, capsys, monkeypatch):
    run = tmp_path / 'run'
    for name in ('_LEAST_EPOCHS', '_MOST_EPOCHS'):  # other numbers than there are without videos
        monkeypatch.setattr(recipe_defaults, name, 2)
    assert here(folder_of, small, '--save-dir', run) == 0
    assert here(folder_of, small, '--save-dir', run, '--resume') == 0
    assert len([line for line in lines_of_json(run / 'metrics.jsonl') if line['kind'] == 'epoch']) == 2
    capsys.readouterr()
    assert here(folder_of, small, '--save-dir', run, '--lr', 0.5, '--resume') == 2
    assert '--lr was 0.01 and is 0.5' in capsys.readouterr().err


def test_nothing_is_written_by_a_dry_run(folder_of, small, tmp_path, capsys):
    assert here(folder_of, small, '--save-dir', tmp_path / 'run', '--dry-run') == 0
    told = capsys.readouterr().out
    assert '8 training videos in 1 batches of 8, 2 validation videos' in told and not (tmp_path / 'run').exists()


def test_a_run_that_is_there_keeps_its_lists(folder_of, small, tmp_path, capsys):
    run = tmp_path / 'run'
    assert here(folder_of, small, '--num-epochs', 1, '--save-dir', run) == 0
    before = (run / 'lists' / 'train.csv').read_bytes()
    assert here(folder_of, small, '--num-epochs', 1, '--save-dir', run, '--seed', 7) == 2
    assert 'holds a run already' in capsys.readouterr().err and (run / 'lists' / 'train.csv').read_bytes() == before


# What the options do that the recipe takes.

def built(folder, **given):
    given = {'model': tiny.OF_RUNS, 'videos': str(folder), 'input_size': 32, 'num_workers': 0, 'num_segments': 1,
             'pretrained_base': False, **given}
    config = configured(given)
    card = model_card(config.model)
    cleanup = contextlib.ExitStack()
    return build_recipe(config, card, [mx.cpu()], cleanup, prepared=check_training(config, card)), cleanup


def test_the_head_learns_as_many_times_as_fast(folder_of, network_of_runs):
    moves = {}
    for factor in (1., 10.):
        parts, cleanup = built(folder_of, head_lr=factor, lr=1e-3, momentum=0., wd=0., clip_norm=0., warmup_epochs=0)
        with cleanup:
            before = parts.loop.learner.parameters()
            parts.loop.step(next(parts.train_loader.epoch(0)))
            after = parts.loop.learner.parameters()
            moves[factor] = {name: after[name] - before[name] for name in before if name.endswith('weight')}
    rounding = 10 * np.spacing(np.abs(before['output.weight']).max())  # of a difference, ten times
    assert np.allclose(moves[10.]['output.weight'], 10 * moves[1.]['output.weight'], rtol=1e-3, atol=rounding)
    body = next(name for name in moves[1.] if name != 'output.weight')
    assert np.allclose(moves[10.][body], moves[1.][body], rtol=1e-4, atol=1e-9) and moves[1.][body].any()


def test_averages_reach_back_over_epochs_whatever_their_length(folder_of, network_of_runs):
    for batch_size, epochs, decay in ((2, 1., 0.75), (2, 2., 0.875), (4, 4., 0.875)):
        parts, cleanup = built(folder_of, batch_size=batch_size, ema_epochs=epochs)
        with cleanup:
            assert parts.loop.learner.averages.decay == pytest.approx(decay) and parts.loop.averaged
    parts, cleanup = built(folder_of, ema_epochs=0.)
    with cleanup:
        assert parts.loop.learner.averages is None and not parts.loop.averaged


def test_a_recipe_is_written_into_the_configuration(folder_of, network_of_runs, tmp_path):
    result = train_recognizer(TrainConfig(
        videos=str(folder_of), model=tiny.OF_RUNS, input_size=32, num_workers=0, pretrained_base=False, num_epochs=1,
        save_dir=str(tmp_path / 'run')))
    about = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert about['config']['recipe'] == 'finetune' and 'lr' in about['config']['from_recipe']
    assert about['num_classes'] == 2 and len(about['classes']) == 2 and result.best_score >= 0
    assert dataclasses.asdict(settled(TrainConfig(**about['config']))) == about['config']
