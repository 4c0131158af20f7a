"""What shows each flag of the command that fine-tunes on Epic-Kitchens."""
import json
from dataclasses import replace

import numpy as np
import pytest
from epic import make_epic
from flags_world import changes, other_engine, seen, traceback_row

from gluon_action import engine, model_zoo
from gluon_action.cli import video_action_classifier as command
from gluon_action.cli.command import run
from gluon_action.errors import CheckpointError, DeviceError, UsageError, VideoReadError
from gluon_action.model_zoo import registry
from gluon_action.model_zoo.timesformer import TimeSformer
from gluon_action.train.recipes.epic.classifier import check_clips, start_from, train_in_versions
from gluon_action.train.recipes.parts import build_recipe

NAME = 'timesformer_tiny_custom'


def register_tiny():
    """A TimeSformer that takes no time."""
    card = replace(model_zoo.model_card('timesformer_small_custom'), name=NAME, clip_length=4, input_size=16)

    @registry.register_model(card)
    def build(nclass, *, tsn, consensus, **options):
        return TimeSformer(nclass, patch=8, dim=16, depth=1, heads=2, **options)


def forget_tiny():
    del registry._CARDS[NAME], registry._BUILDERS[NAME]


def prepared(world):
    """The data, the network, and weights of it."""
    register_tiny()
    world.cleanup.callback(forget_tiny)
    for name, seed in (('epic', 0), ('other_epic', 1)):
        make_epic(world.folder / name, num_train=2, num_val=1, num_frames=8, seed=seed)
        world.paths[name] = str(world.folder / name)
    net = model_zoo.get_model(NAME, nclass=2, pretrained_base=False)
    world.paths['tiny'] = str(world.folder / 'tiny.params')
    net.save_parameters(world.paths['tiny'])
    return True


def arguments(world, *flags):
    world.once(prepared)
    argv = ('--data_path', '{epic}', '--model', NAME, '--num_workers', '0', '--batch_size', '2', '--max_epochs', '1',
            '--gpus', '0', '--default_root_dir', '{tmp}/never', *flags)
    return [str(item).format(**world.paths) for item in argv]


def parsed(world, *flags):
    return command.parse_args(arguments(world, *flags))


def made(world, *flags):
    """The recipe, and the network as training would start."""
    args = parsed(world, *flags)
    config = command.config_from(args)
    recipe = build_recipe(config, check_clips(config), engine.contexts(config.num_gpus), world.cleanup)
    start_from(recipe.loop, args.checkpoint)
    return recipe


def built(world, *flags):
    return world.once(made, *flags)


def learnt(world, *flags):
    """All parameters after two batches."""
    loop = (recipe := made(world, *flags)).loop
    for batch in recipe.train_loader.epoch(0):
        loop.step(batch)
    return np.concatenate([array.ravel() for array in loop.learner.parameters().values()])


def drawn(world, *flags):
    videos = built(world, *flags).train_loader.dataset
    return np.stack([videos.load(index, epoch=epoch)[0] for index in range(2) for epoch in range(4)])


def processes(world, *flags):
    pools = [loader._pool for loader in (built(world, *flags).train_loader, built(world, *flags).val_loader)]
    return [0 if pool is None else len(pool.pids) for pool in pools]


def started(world, *flags):
    return built(world, *flags).loop.learner.parameters()['cls_token']


def finished(world, *flags):
    """What a run leaves."""
    args = parsed(world, '--default_root_dir', str(world.new_folder()), *flags)
    return train_in_versions(command.config_from(args), command.run_from(args))


def ran(world, *flags):
    return world.once(finished, *flags)


def log(world, *flags):
    return (ran(world, *flags).save_dir / 'train.log').read_text().count('Batch [')


def called(world, *flags):
    return run(command.parse_args, command.main, arguments(world, *flags))


@seen('--num_classes', '3')
def classes_without_a_name_are_refused(world, output, *flags):
    with pytest.raises(UsageError, match='--num_classes 3: .* names 2 classes'):
        finished(world, *flags)
    assert ran(world, flags[0], '2').save_dir and not list((world.folder / 'never').glob('*'))


@seen('--on_error', 'skip')
def a_broken_clip_is_skipped(world, output, *flags):
    make_epic(world.folder / 'broken', num_train=2, num_val=1, num_frames=8)
    for picture in next((world.folder / 'broken' / 'train').glob('*/*')).iterdir():
        picture.write_bytes(b'garbage')
    given = ('--data_path', str(world.folder / 'broken'))
    with pytest.raises(VideoReadError, match='--on-error skip'):
        finished(world, *given)
    recipe = made(world, *given, *flags)
    recipe.train_loader.max_skip_share = 1.
    assert sum(len(batch.failures) for batch in recipe.train_loader.epoch(0)) == 2


@seen('--gpus', '99')
def gpus_that_are_not_there_are_an_error(world, output, *flags):
    with pytest.raises(DeviceError, match='99'):
        made(world, *flags)


@seen('--default_root_dir', '{tmp}/lightning')
def runs_are_in_its_lightning_logs(world, output, *flags):
    args = parsed(world, *flags)
    result = train_in_versions(command.config_from(args), command.run_from(args))
    assert result.save_dir == world.folder / 'lightning' / 'lightning_logs' / 'version_0'


@seen('--resume_from_checkpoint', '{version}')
def a_run_goes_on(world, output, *flags):
    before = finished(world)
    world.paths['version'] = str(before.save_dir)
    after = finished(world, '--max_epochs', '2', *flags)
    assert after.save_dir == before.save_dir and [record['epoch'] for record in after.history] == [0, 1]
    with pytest.raises(CheckpointError, match='no run is there'):
        finished(world, flags[0], str(world.folder))


@seen('--fast_dev_run', '1')
def a_batch_of_each_is_tried_and_nothing_written(world, output, *flags):
    folder = world.new_folder()
    given = ('--default_root_dir', str(folder), '--batch_size', '1')
    assert called(world, *given, *flags) == 0 and not list(folder.iterdir())
    told = output.readouterr().out
    assert 'valid_acc=' in told and 'nothing was written' in told
    assert ran(world, *flags).history[0]['samples'] == 2
    assert finished(world, flags[0], '3', '--batch_size', '1').history[0]['samples'] == 3


@seen('--precision', '16')
def float32_is_all_there_is(world, output, *flags):
    assert parsed(world, flags[0], '32')
    with pytest.raises(SystemExit):
        parsed(world, *flags)
    assert '--precision 16: MXNet cannot mix precisions' in output.readouterr().err


TEST = ('--find-lr-from', '1e-5', '--find-lr-to', '1', '--find-lr-steps', '12')


def curve(world, *flags):
    """The rates that a range test tries."""
    folder = world.new_folder()
    assert called(world, '--default_root_dir', str(folder), '--find-lr', *TEST, *flags) in (0, 1)
    assert [path.name for path in (folder / 'lightning_logs').iterdir()] == ['find_lr_0']
    return json.loads((folder / 'lightning_logs' / 'find_lr_0' / 'lr_finder.json').read_text())['rates']


@seen('--find-lr')
def rates_are_tried_and_nothing_is_trained(world, output, *flags):
    assert len(world.once(curve)) == 12
    for contradiction in ('--fast_dev_run', '--resume_from_checkpoint=x'):
        with pytest.raises(SystemExit):
            parsed(world, *flags, contradiction)
    assert '--find-lr: contradicts' in output.readouterr().err


def means_nothing(name):
    @seen(f'--{name}')
    def row(world, output, *flags):
        for given in (flags, (flags[0], '1')):
            with pytest.raises(SystemExit) as stop:
                parsed(world, *given)
            assert stop.value.code == 2
        assert f'--{name}: means nothing here: {command.REFUSED[name]}' in output.readouterr().err
    return row


CLASSIFIER_ROWS = {'video-action-classifier': {
    '--debug': traceback_row(lambda world: [command, *arguments(world, '--model', 'none')]),
    # data and network
    '--data_path': changes(drawn, '--data_path', '{other_epic}'),
    '--model': changes(lambda *a: len(built(*a).loop.learner.net.blocks), '--model', 'timesformer_small_custom',
                       '--input_size', '16', to=4),
    '--checkpoint': changes(started, '--checkpoint', '{tiny}'),
    '--num_classes': classes_without_a_name_are_refused,
    '--input_size': changes(lambda *a: drawn(*a).shape, '--input_size', '24', to=(8, 1, 3, 4, 24, 24)),
    '--flip_prob': changes(drawn, '--flip_prob', '0'),
    '--color_jitter': changes(drawn, '--color_jitter', '2'),
    '--num_workers': changes(processes, '--num_workers', '1', to=[1, 1]),
    '--on_error': a_broken_clip_is_skipped,
    # training
    '--batch_size': changes(lambda *a: len(built(*a).train_loader), '--batch_size', '1', to=4),
    '--learning_rate': changes(learnt, '--learning_rate', '0.01'),
    '--optimizer': changes(learnt, '--optimizer', 'sgd'),
    '--weight_decay': changes(learnt, '--weight_decay', '0.1', given=('--optimizer', 'adamw')),
    '--freeze_layers': changes(lambda *a: built(*a).loop.learner.names, '--freeze_layers',
                               to=['head.bias', 'head.weight']),
    '--seed': changes(learnt, '--seed', '7'),
    # of the trainer
    '--max_epochs': changes(lambda *a: len(ran(*a).history), '--max_epochs', '2', to=2),
    '--log_every_n_steps': changes(log, '--log_every_n_steps', '1'),
    '--default_root_dir': runs_are_in_its_lightning_logs,
    '--resume_from_checkpoint': a_run_goes_on,
    '--engine': other_engine(lambda *a: made(*a).loop),
    '--gpus': gpus_that_are_not_there_are_an_error,
    '--precision': float32_is_all_there_is,
    '--accumulate_grad_batches': changes(learnt, '--accumulate_grad_batches', '2'),
    '--gradient_clip_val': changes(learnt, '--gradient_clip_val', '1e-6', given=('--optimizer', 'sgd')),
    '--gradient_clip_algorithm': changes(learnt, '--gradient_clip_algorithm', 'value',
                                         given=('--optimizer', 'sgd', '--gradient_clip_val', '1e-3')),
    '--limit_train_batches': changes(lambda *a: ran(*a).history[0]['samples'], '--limit_train_batches', '1', to=2),
    '--limit_val_batches': changes(lambda *a: ran(*a).history[0]['val_expected'], '--limit_val_batches', '0.5',
                                   given=('--batch_size', '1'), to=1),
    '--fast_dev_run': a_batch_of_each_is_tried_and_nothing_written,
    '--find-lr': rates_are_tried_and_nothing_is_trained,
    '--find-lr-from': changes(lambda *a: a[0].once(curve, *a[1:])[0], '--find-lr-from', '1e-4', to=1e-4),
    '--find-lr-to': changes(lambda *a: round(a[0].once(curve, *a[1:])[-1], 6), '--find-lr-to', '0.1', to=0.1),
    '--find-lr-steps': changes(lambda *a: len(a[0].once(curve, *a[1:])), '--find-lr-steps', '11', to=11),
    **{f'--{name}': means_nothing(name) for name in command.REFUSED},
}}
