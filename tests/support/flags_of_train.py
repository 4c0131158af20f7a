"""What shows each flag of the training command."""
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from flags_world import (
    NAME,
    RESNET,
    TEACHER,
    added_up_by,
    batch_of,
    body,
    changes,
    configured,
    damaged_video,
    datasets,
    deadlines,
    drawn,
    dropped,
    each,
    first_clip,
    first_statistics,
    frames,
    fresh,
    gammas_at_0,
    import_row,
    label,
    layers,
    learning,
    learnt,
    mixed_late,
    moved,
    moved_norms,
    named_otherwise,
    opened_by,
    other_engine,
    processes,
    ran,
    rates,
    read_ahead,
    recipe,
    records,
    refused,
    same,
    scored,
    seen,
    traceback_row,
    train_here,
    train_paths,
    updates,
    val_paths,
    validated_clip,
)
from forking import Copy

from gluon_action import engine, model_zoo
from gluon_action.cli import train_recognizer
from gluon_action.cli.command import run
from gluon_action.errors import (
    DamagedVideoError,
    DeviceError,
    TrainingError,
    UsageError,
    VideoReadError,
    WeightsError,
)
from gluon_action.train.loop import Loop
from gluon_action.train.recipes import recognizer as trainer
from gluon_action.train.recipes.own_videos import own_videos
from gluon_action.train.recipes.parts import build_recipe
from gluon_action.train.recipes.recognizer import open_folder
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir


@seen('--val-data-dir', '{elsewhere}')
def only_validation_moves(world, output, *flags):
    assert train_paths(world, *flags) == train_paths(world)
    assert all(path.startswith(world.paths['elsewhere']) for path in val_paths(world, *flags))


@seen('--on-error', 'skip')
def a_broken_video_is_skipped(world, output, *flags):
    broken = ('--train-list', '{bad}', '--data-dir', '{elsewhere}', '--batch-size', '9')
    with pytest.raises(VideoReadError, match='garbage'):
        batch_of(world, *broken)
    batch = batch_of(world, *broken, *flags, '--max-skip-share', '0.5')
    assert len(batch.indices) == 8 and 'garbage.mp4' in batch.failures[0].message


@seen('--name-pattern', 'f_%d.png')
def pictures_of_that_name_are_trained_on(world, output, *flags):
    with pytest.raises(VideoReadError, match='such as f_1.png; --name-pattern'):
        datasets(world, *named_otherwise(world))[0].load_frames(0)
    assert len(datasets(world, *named_otherwise(world), *flags)[0].load_frames(0)) == 1


@seen('--on-damage', 'raise')
def training_stops_at_a_damaged_video(world, output, *flags):
    given = (*damaged_video(world), '--batch-size', '1', '--num-segments', '8')
    assert len(batch_of(world, *given).indices) == 1
    with pytest.raises(DamagedVideoError, match='a.wmv: frame.* damaged'):
        batch_of(world, *given, *flags)
    skip = ('--on-damage', 'skip', '--on-error', 'skip', '--max-skip-share', '1')
    assert 'damaged' in batch_of(world, *given, *skip).failures[0].message
    with pytest.raises(UsageError, match='--on-damage: skip leaves .* pass --on-error skip too'):
        configured(world, *given, '--on-damage', 'skip')


@seen('--max-skip-share', '0')
def no_skipped_video_is_borne(world, output, *flags):
    skip = ('--train-list', '{bad}', '--data-dir', '{elsewhere}', '--batch-size', '9', '--on-error', 'skip')
    assert batch_of(world, *skip, '--max-skip-share', '0.2').failures
    with pytest.raises(TrainingError, match='--max-skip-share 0'):
        batch_of(world, *skip, *flags)


@seen('--no-pretrained-base')
def without_it_imagenet_weights_are_wanted(world, output, *flags):
    argv = world.train_argv(*RESNET)
    argv.remove(*flags)
    args = train_recognizer.parse_args(argv)
    assert configured(world, *RESNET, *flags).pretrained_base is False and recipe(world, *RESNET, *flags)
    with pytest.raises(WeightsError, match='resnet18_v1b-2d9d980c.*--no-pretrained-base'):
        build_recipe(train_recognizer.config_from(args), model_zoo.model_card(args.model), [mx.cpu()], world.cleanup)


@seen('--new-head')
def the_body_of_the_file_gets_a_new_head(world, output, *flags):
    file = mx.nd.load(world.paths['other'])
    start = recipe(world, '--resume-params', '{other}', *flags).loop.learner.parameters()
    assert {name for name in file if not same(start[name], file[name].asnumpy())} == {'output.weight'}


@seen('--resume-params', '{other}')
def the_network_starts_from_the_file(world, output, *flags):
    file = mx.nd.load(world.paths['other'])
    start = recipe(world, *flags).loop.learner.parameters()
    assert all(same(start[name], file[name].asnumpy()) for name in file)


@seen('--resume-states', '{states}')
def the_optimizer_goes_on_with_its_momentum(world, output, *flags):
    folder = ran(world)
    params = folder / f'custom-{NAME}-001.params'
    world.paths['states'] = str(folder)
    again = [*('--resume-params', str(params), '--resume-epoch', '1', '--num-epochs', '2'), '--lr', '0.01']
    without, with_states = ran(world, *again), ran(world, *again, *flags)
    a, b = (mx.nd.load(str(place / f'custom-{NAME}-001.params')) for place in (without, with_states))
    assert any(not same(a[name].asnumpy(), b[name].asnumpy()) for name in a)


@seen('--resume-epoch', '1')
def epochs_are_counted_from_it(world, output, *flags):
    assert [record['epoch'] for record in records(ran(world))] == [0, 1]
    late = records(ran(world, *flags, '--lr-decay-epoch', '1'))
    assert [(record['epoch'], record['step']) for record in late] == [(1, 4)]
    assert late[0]['lr'] == pytest.approx(0.01)  # the schedule stands where that epoch begins


@seen('--dropout', '0.2')
def features_are_dropped(world, output, *flags):
    x = mx.nd.array(np.random.default_rng(0).normal(size=(16, 3, 32, 32)))
    for given, rate in (((), 0.5), (flags, 0.2), ((flags[0], '0'), 0.)):
        net = fresh(world, *given).loop.learner.net
        assert dropped(net, net.output, x) == pytest.approx(rate, abs=0.04)


@seen('--bn-momentum', '0.5')
def statistics_follow_as_fast_as_is_said(world, output, *flags):
    """A step leaves 0.9 of them by default, and so much from this flag; they begin at 0."""
    slow, fast = first_statistics(world), first_statistics(world, *flags)
    assert abs(slow).max() > 0.001 and np.allclose(fast, slow * (1 - 0.5) / (1 - 0.9), rtol=1e-3, atol=1e-6)


@seen('--accumulate', '3')
def batches_are_gathered_and_an_epoch_has_fewer_updates(world, output, *flags):
    assert updates(world) == 1 and updates(world, *flags) == 0
    # Four batches of two: three make one update, the last another. The schedule is over when the run is.
    assert rates(world, '--lr-mode', 'linear', *flags) == pytest.approx([0.1, 0.075, 0.05, *[0.025] * 5], abs=1e-7)
    epochs = records(ran(world, '--batch-size', '2', *flags))
    assert [(record['update'], record['step']) for record in epochs] == [(2, 4), (4, 8)]
    late = records(ran(world, '--batch-size', '2', '--resume-epoch', '1', *flags))
    assert [(record['epoch'], record['update'], record['step']) for record in late] == [(1, 4, 8)]


@seen('--num-gpus', '99')
def gpus_that_are_not_there_are_an_error(world, output, *flags):
    with pytest.raises(DeviceError, match='--num-gpus 99'):
        fresh(world, *flags)


@seen('--compile')
def the_network_is_compiled(world, output, *flags):
    with pytest.raises(UsageError, match='--compile: is done by PyTorch'):
        configured(world, *flags)
    if importlib.util.find_spec('torch'):
        with pytest.MonkeyPatch.context() as patch:  # which takes minutes
            patch.setattr('torch.compile', lambda module, **options: module)
            loop = fresh(world, '--engine', 'torch', *flags).loop
            loop.step(batch_of(world))
        assert loop.learner._networks[0].compiled_for


@seen('--num-cpus', '3')
def batches_are_split_over_cpus(world, output, *flags):
    made = recipe(world, *flags)
    assert made.train_loader.batch_size == 12 and made.loop.learner.contexts == [mx.cpu(i) for i in range(3)]


@seen('--use-amp')
def layers_compute_in_half(world, output, *flags):
    def step():
        made = fresh(world, *flags)
        made.loop.step(next(made.train_loader.epoch(0)))
        made.loop.flush()
        ones = mx.nd.ones((4, 4))
        print('AMP', mx.nd.FullyConnected(ones, ones, no_bias=True, num_hidden=4).dtype,
              hasattr(made.loop.learner.trainer, '_amp_loss_scaler'))

    # MXNet turns mixed precision on for the process, so it is a process of its own.
    printed = Copy(step).communicate()[0]
    if not engine.has_bfloat16():
        assert f'UsageError: {UsageError(f"--use-amp: {engine.NO_BFLOAT16}")}' in printed
        return
    assert re.search('AMP .*(bfloat16|float16).* True', printed), printed


@seen('--mixup-off-epoch', '1')
def the_last_epoch_is_not_mixed(world, output, *flags):
    assert not same(mixed_late(world, '--mixup'), np.arange(4).reshape(4, 1))
    assert same(mixed_late(world, '--mixup', *flags), np.arange(4, dtype=np.float32).reshape(4, 1))


@seen('--no-wd')
def beta_gamma_and_bias_do_not_decay(world, output, *flags):
    def decays(*flags):
        learner = fresh(world, '--wd', '0.5', *flags).loop.learner
        return {name.rsplit('.', 1)[1]: learner.trainer.optimizer._get_wd(index)
                for index, name in enumerate(learner.names)}
    assert decays() == {'weight': 0.5, 'gamma': 0.5, 'beta': 0.5, 'bias': 0.5}
    assert decays(*flags) == {'weight': 0.5, 'gamma': 0, 'beta': 0, 'bias': 0}


BUSY = ('--log-interval', '1', '--save-frequency', '1', '--checkpoint-steps', '1', '--logging-file', 'other.log',
        '--no-report')


def left(pattern, log=None):
    """Files that a run leaves, or lines in its log, that match; for rows that share one run."""
    def look(world, *flags):
        folder = ran(world, *(BUSY if flags else ()))
        if log:
            text = (folder / ('other.log' if flags else 'train.log')).read_text()
            return len(re.findall(pattern, text))
        return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))
    return look


def steps_kept(world, *flags):
    return sorted(int(path.name[5:]) for path in ran(world, *flags).glob('checkpoints/step-*'))


@seen('--logging-file', 'other.log')
def the_log_has_that_name(world, output, *flags):
    assert set(flags) < set(BUSY) and left('*.log')(world, *BUSY) == ['other.log']
    for name, why in (('a/b.log', 'not a path'), ('..', 'not a path'), ('/x', 'not a path'),
                      ('best.params', 'something else'), ('checkpoints', 'something else')):
        with pytest.raises(UsageError, match=f'--logging-file: .*{why}'):
            configured(world, flags[0], name)


@seen('--save-dir', '{tmp}/here')
def everything_is_in_save_dir(world, output, *flags):
    trainer.train_recognizer(configured(world, '--num-epochs', '1', *flags))
    found = os.listdir(world.folder / 'here')
    assert {'config.json', 'train.log', 'metrics.jsonl', 'history.png', 'best.params', 'checkpoints'} <= set(found)


@seen('--num-epochs', '1')
def fewer_epochs_are_trained(world, output, *flags):
    assert len(records(ran(world))) == 2 and len(records(ran(world, *flags))) == 1


@seen('--resume', 'auto')
def a_run_goes_on(world, output, *flags):
    folder = world.new_folder()
    shutil.copytree(ran(world), folder, dirs_exist_ok=True, symlinks=True)
    again = ('--save-dir', str(folder), '--num-epochs', '3')
    with pytest.raises(UsageError, match='--resume auto'):
        trainer.train_recognizer(configured(world, *again))
    history = trainer.train_recognizer(configured(world, *again, *flags)).history
    assert [record['epoch'] for record in history] == [0, 1, 2] and len(records(folder)) == 3
    assert json.dumps(history[:2]) == json.dumps(open_folder(configured(
        world, '--save-dir', str(ran(world)), *flags)).checkpoint.state['loop']['progress']['history'])


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


@seen('--overwrite')
def the_run_before_is_deleted(world, output, *flags):
    folder = world.new_folder()
    shutil.copytree(ran(world), folder, dirs_exist_ok=True, symlinks=True)
    again = ('--save-dir', str(folder), '--num-epochs', '1')
    with pytest.raises(UsageError, match='--overwrite'):
        trainer.train_recognizer(configured(world, *again))
    old = CheckpointDir(folder / 'checkpoints')
    old.save(900, {'part': {'of': 'the old run'}})
    steps = sorted(path.name for path in folder.glob('checkpoints/step-*'))
    assert steps == ['step-00000004', 'step-00000900']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, 'fit', interrupted)  # before the new run has a checkpoint
        with pytest.raises(KeyboardInterrupt):
            trainer.train_recognizer(configured(world, *again, *flags))
    assert old.newest() is None and open_folder(configured(world, *again, '--resume', 'auto')).checkpoint is None
    old.save(900, {'part': {'of': 'the old run'}})
    trainer.train_recognizer(configured(world, *again, *flags))
    assert len(records(folder)) == 1 and not (folder / f'custom-{NAME}-001.params').exists()
    assert [path.name for path in folder.glob('checkpoints/step-*')] == ['step-00000002']


@seen('--train-only')
def nothing_is_validated(world, output, *flags):
    folder = ran(world, *flags)
    assert not any('val_top1' in record for record in records(folder))
    assert sorted(path.name for path in folder.glob('*.params')) == [f'custom-{NAME}-001.params']
    assert datasets(world, *flags)[1] is None


@seen('--eval')
def a_validation_is_all(world, output, *flags):
    folder = ran(world)
    best = max(records(folder), key=lambda record: record['val_top1'])
    result = trainer.train_recognizer(configured(world, *flags, '--resume-params', str(folder / 'best.params')))
    assert result.save_dir is None and result.history[0]['val_top1'] == best['val_top1']
    assert result.history[0]['val_loss'] == pytest.approx(best['val_loss'], rel=1e-5)
    assert not (world.folder / 'never').exists()
    last = trainer.train_recognizer(configured(world, *flags, '--resume', str(folder)))
    assert last.history[0]['val_loss'] == pytest.approx(records(folder)[-1]['val_loss'], rel=1e-5)
    free = ('--batch-size', '3', '--num-cpus', '2', '--seed', '5', '--val-list', '{two}', '--momentum', '0')
    other = trainer.train_recognizer(configured(world, *flags, *free, '--resume', str(folder)))
    assert other.history[0]['val_expected'] == 2
    with pytest.raises(UsageError, match='--eval: .* another network: --num-segments was 1 and is 2'):
        trainer.train_recognizer(configured(world, *flags, '--resume', str(folder), '--num-segments', '2'))
    with pytest.raises(UsageError, match='--eval: no parameters'):
        configured(world, *flags)


@seen('--print-config')
def choices_are_printed_as_json(world, output, *flags):
    assert train_here(world, '--lr', '0.5', *flags) == 0
    assert json.loads(output.readouterr().out)['lr'] == 0.5 and not (world.folder / 'never').exists()


@seen('--dry-run')
def one_batch_is_trained_and_nothing_written(world, output, *flags):
    assert train_here(world, *flags) == 0
    told = output.readouterr().out
    assert '8 training videos in 2 batches of 4' in told and re.search(r'loss \d', told) and 'nothing was' in told
    assert not (world.folder / 'never').exists()


TEST = ('--find-lr', '--find-lr-from', '1e-5', '--find-lr-to', '1', '--find-lr-steps', '12')


def curve(world, *flags):
    """The rates that a range test tries, of which each flag changes something."""
    folder = world.new_folder()
    assert train_here(world, '--batch-size', '2', '--save-dir', str(folder), '--overwrite', *flags) in (0, 1)
    assert {path.name for path in folder.iterdir()} == {'lr_finder.png', 'lr_finder.json'}
    return json.loads((folder / 'lr_finder.json').read_text())['rates']


def tried(flag, value, *, others=TEST):
    @seen(flag, value)
    def row(world, output, *flags):
        given = [others[i:i + 2] for i in range(1, len(others), 2) if others[i] != flag]
        rates = curve(world, '--find-lr', *(item for pair in given for item in pair), *flags)
        before = world.once(curve, *others)
        assert (rates[0], rates[-1], len(rates)) != (before[0], before[-1], len(before))
        with pytest.raises(SystemExit):
            train_here(world, *flags)
        assert 'mean something with --find-lr only' in output.readouterr().err
    return row


@seen('--find-lr')
def rates_are_tried_and_nothing_is_trained(world, output, *flags):
    assert len(world.once(curve, *TEST)) == 12
    folder = world.new_folder()
    assert train_here(world, *TEST, '--save-dir', str(folder), '--eval', '--resume-params', '{other}') == 2
    (folder / 'lr_finder.json').touch()
    assert train_here(world, *TEST, '--save-dir', str(folder)) == 2
    errors = output.readouterr().err
    assert '--eval: means nothing with --find-lr' in errors and 'pass --overwrite' in errors


def class_folders(world):
    """A folder of two classes of four videos each, one more to validate, and what trains on them in no time."""
    if 'folders' not in world.made:
        world.made['folders'] = folder = world.folder / 'folders'
        for split, videos in (('mine', slice(4)), ('others', slice(4, 5))):
            for label in (0, 1):
                place = folder / split / f'class{label}'
                place.mkdir(parents=True)
                for path, *_ in [row for row in world.train + world.val if row[2] == str(label)][videos]:
                    shutil.copy(world.videos / path, place)
    folder = world.made['folders']
    return str(folder / 'mine'), str(folder / 'others'), (
        '--model', NAME, '--input-size', '32', '-j', '0', '--no-pretrained-base', '--num-epochs', '1', '--dry-run')


def divided(world, *flags):
    """Names of the videos that validate, of a folder."""
    mine, _, rest = class_folders(world)
    config = train_recognizer.config_from(train_recognizer.parse_args([mine, *rest, *flags]))
    own = own_videos(config, world.folder / 'nowhere')
    return [line.split(',')[0] for line in own.files['val.csv'].splitlines()[1:]]


@seen('videos')
def own_videos_are_enough(world, output, *flags):
    mine, _, rest = class_folders(world)
    assert run(train_recognizer.parse_args, train_recognizer.main, [mine, *rest]) == 0
    assert '2 classes' in output.readouterr().out
    with pytest.raises(UsageError, match='--model'):
        train_recognizer.config_from(train_recognizer.parse_args([]))


@seen('--val', '{others}')
def other_videos_validate(world, output, *flags):
    world.paths['others'] = class_folders(world)[1]
    assert len(world.once(divided)) == 2 and len(divided(world, flags[0], world.paths['others'])) == 2
    assert not set(divided(world, flags[0], world.paths['others'])) & set(world.once(divided))


@seen('--config', '{tmp}/options.yaml')
def options_come_out_of_a_file(world, output, flag, path):
    path = path.format(**world.paths)
    Path(path).write_text('lr: 0.75\nbatch_size: 2\n')
    config = configured(world, flag, path)
    assert (config.lr, config.batch_size) == (0.75, 4)  # where a flag says it too, the flag counts


@seen('--patience', '1')
def epochs_that_are_no_better_end_it(world, output, *flags):
    still = ('--lr', '0', '--momentum', '0', '--num-epochs', '4', '--freeze-bn')
    assert len(records(ran(world, *still))) == 4 and len(records(ran(world, *still, *flags))) == 2


@seen('--score-start')
def the_start_is_scored(world, output, *flags):
    folder = ran(world, *flags)
    start, = records(folder, 'start')
    assert 0 <= start['val_top1'] <= 1 and not records(ran(world), 'start')


TRAIN_ROWS = {
    '--debug': traceback_row(lambda world: [train_recognizer, *world.train_argv('--model', 'none')]),
    'videos': own_videos_are_enough,
    '--config': options_come_out_of_a_file,
    '--val': other_videos_validate,
    '--val-share': changes(lambda *a: len(divided(*a)), '--val-share', '0.5', to=4),
    '--balance': each(
        changes(lambda *a: type(recipe(*a).train_loader.dataset).__name__, '--balance', 'sampling', to='EpochOrder'),
        changes(learnt, '--balance', 'weights', given=('--train-list', '{uneven}', '--num-classes', '8'))),
    '--rand-augment': changes(drawn, '--rand-augment', '9'),
    '--random-erasing': changes(drawn, '--random-erasing', '1'),
    '--repeat-augmentation': changes(lambda *a: len({index % 8 for index in batch_of(*a).indices}),
                                     '--repeat-augmentation', '2', to=2),
    '--recipe': changes(lambda *a: configured(*a).patience, '--recipe', 'finetune', given=('--num-epochs', '8'), to=3),
    '--head-lr': changes(learnt, '--head-lr', '3'),
    '--ema-epochs': changes(lambda *a: recipe(*a).loop.learner.averages is not None, '--ema-epochs', '4', to=True),
    '--patience': epochs_that_are_no_better_end_it,
    '--score-start': the_start_is_scored,
    '--cutmix': changes(learnt, '--cutmix'),
    '--cutmix-alpha': changes(learnt, '--cutmix-alpha', '9', given=('--cutmix',)),
    '--import': import_row(lambda world: [train_recognizer, *world.train_argv('--print-config')]),
    # data
    '--dataset': changes(lambda *a: recipe(*a).data.num_classes, '--dataset', 'ucf101', to=101),
    '--data-dir': changes(train_paths, '--data-dir', '{elsewhere}'),
    '--val-data-dir': only_validation_moves,
    '--train-list': changes(train_paths, '--train-list', '{two}', given=('--num-classes', '8')),
    '--val-list': changes(val_paths, '--val-list', '{two}'),
    '--list-format': changes(lambda *a: datasets(*a)[0].samples[7].label, '--list-format', 'multi_label_frames',
                             given=('--multi-label', '--list-format', 'multi_label', '--train-list', '{multi}',
                                    '--train-only'), to=(7,)),
    '--list-encoding': changes(lambda *a: datasets(*a)[0].samples[0].key, '--list-encoding', 'cp1252',
                               given=('--train-list', '{accents}', '--train-only'), to='Ã©.mp4'),
    '--class-names': changes(lambda *a: [videos.classes for videos in datasets(*a)], '--class-names', '{names}',
                             to=[[f'class{number}' for number in range(8)]] * 2),
    '--label-base': changes(label, '--label-base', '1', to=0,
                            given=('--train-list', '{from1}', '--val-list', '{from1}', '--num-classes', '9')),
    '--multi-label': changes(lambda *a: batch_of(*a).label.shape, '--multi-label', to=(4, 8),
                             given=('--list-format', 'gluoncv')),
    '--num-classes': changes(lambda *a: scored(*a).shape, '--num-classes', '11', to=(2, 11)),
    '--num-segments': changes(first_clip, '--num-segments', '3', to=(3, 3, 32, 32)),
    '--new-length': refused('--new-length', '8', because='takes one frame a segment'),
    '--clip-sampling': each(
        changes(lambda *a: datasets(*a)[1].plan.indices(41, None), '--clip-sampling', 'spread',
                given=('--model', 'i3d_rgb_custom', '--new-length', '4'), to=[5, 15, 25, 35]),
        changes(lambda *a: datasets(*a)[1].plan.indices(41, None), '--clip-sampling', 'dense',
                given=('--model', 'i3d_rgb_custom', '--new-length', '4', '--num-segments', '3'),
                to=[6, 7, 8, 9, 18, 19, 20, 21, 30, 31, 32, 33])),
    '--new-step': changes(frames, '--new-step', '4'),
    '--new-height': changes(lambda *a: frames(*a).shape, '--new-height', '36',
                            given=('--new-height', '40', '--new-width', '48'), to=(8, 1, 36, 48, 3)),
    '--new-width': changes(lambda *a: frames(*a).shape, '--new-width', '50',
                           given=('--new-height', '40', '--new-width', '48'), to=(8, 1, 40, 50, 3)),
    '--input-size': changes(first_clip, '--input-size', '24', to=(1, 3, 24, 24)),
    '--crop-ratio': changes(validated_clip, '--crop-ratio', '0.5'),
    '--data-aug': changes(drawn, '--data-aug', 'v4'),
    '--scale-ratios': changes(drawn, '--scale-ratios', '0.5'),
    '--more-fix-crop': changes(drawn, '--more-fix-crop'),
    '--max-distort': changes(drawn, '--max-distort', '0'),
    '--flip-prob': changes(drawn, '--flip-prob', '1'),
    '--color-jitter': changes(drawn, '--color-jitter', '2'),
    '--send-pixels': each(changes(lambda *a: batch_of(*a).data.dtype.name, '--send-pixels', to='uint8'),
                          refused('--send-pixels', '--color-jitter', '1', because='leave one of them out')),
    '--num-crop': changes(lambda *a: (validated_clip(*a).shape, recipe(*a).loop.learner.val_crops), '--num-crop', '10',
                          to=((10, 3, 32, 32), 10)),
    '--video-loader': changes(lambda *a: os.path.basename(train_paths(*a)[0]), '--video-loader', to='v.mp4',
                              given=('--data-dir', '{both_dir}', '--train-list', '{both}', '--train-only')),
    '--use-decord': changes(opened_by, '--use-decord', to='decord'),
    '--decoder': changes(opened_by, '--decoder', 'decord', to='decord'),
    '--frame-tables': changes(lambda *a: [os.path.basename(one.reading.get('tables', '')) for one in datasets(*a)],
                              '--frame-tables', to=['train.txt.frames', 'val.txt.frames']),
    '--decode-timeout': changes(deadlines, '--decode-timeout', '7', to=[7, 7, 7]),
    '--on-damage': training_stops_at_a_damaged_video,
    '--name-pattern': pictures_of_that_name_are_trained_on,
    '--on-error': a_broken_video_is_skipped,
    '--max-skip-share': no_skipped_video_is_borne,
    '--num-data-workers': changes(processes, '--num-data-workers', '1', to=[1, 1]),
    '--prefetch-ratio': changes(read_ahead, '--prefetch-ratio', '5', given=('-j', '1'), to=5),
    '--slowfast': refused('--slowfast', because='no slow and fast pathway'),
    '--slow-temporal-stride': refused('--slow-temporal-stride', '8', because='with --slowfast only'),
    '--fast-temporal-stride': refused('--fast-temporal-stride', '4', because='with --slowfast only'),
    # model
    '--model': changes(layers, *RESNET),
    '--use-tsn': changes(lambda *a: layers(*a)[-1], '--use-tsn', to='TSN'),
    '--consensus': changes(scored, '--consensus', 'max', given=('--num-segments', '2')),
    '--use-pretrained': changes(body, '--use-pretrained'),
    '--hashtag': changes(body, '--hashtag', '{tag}', given=('--use-pretrained',)),
    '--index': changes(body, '--index', '{own_index}', given=('--use-pretrained',)),
    '--trust-first-use': changes(body, '--trust-first-use', given=('--use-pretrained', '--index', '{open_train}')),
    '--no-pretrained-base': without_it_imagenet_weights_are_wanted,
    '--resume-params': the_network_starts_from_the_file,
    '--new-head': the_body_of_the_file_gets_a_new_head,
    '--train-params': changes(moved, '--train-params', 'head', to={'output.bias', 'output.weight'}),
    '--resume-states': the_optimizer_goes_on_with_its_momentum,
    '--resume-epoch': epochs_are_counted_from_it,
    '--mode': changes(lambda *a: recipe(*a).loop.learner.net._active, '--mode', 'imperative', to=False),
    '--dtype': refused('--dtype', 'float16', because='needs --num-gpus'),
    '--dropout': features_are_dropped,
    '--last-gamma': changes(lambda *a: len(gammas_at_0(*a)), '--last-gamma', given=RESNET, to=8),
    '--use_se': refused('--use_se', because='no squeeze-and-excitation'),
    '--use-gn': changes(lambda *a: 'BatchNorm' in layers(*a), '--use-gn', given=RESNET, to=False),
    '--batch-norm': changes(lambda *a: 'BatchNorm' in layers(*a), '--batch-norm', given=('--model', 'vgg16_ucf101'),
                            to=True),
    '--input-5d': refused('--input-5d', because='takes frames (N, C, H, W), not clips'),
    '--partial-bn': changes(lambda *a: (learning(*a), moved_norms(*a)), '--partial-bn', to=(
        ['layers.1.gamma'], [f'layers.1.{name}' for name in ('beta', 'gamma', 'running_mean')])),
    '--freeze-bn': changes(lambda *a: (learning(*a), moved_norms(*a)), '--freeze-bn', to=([], [])),
    '--bn-momentum': statistics_follow_as_fast_as_is_said,
    # devices
    '--engine': other_engine(lambda *a: fresh(*a).loop),
    '--num-gpus': gpus_that_are_not_there_are_an_error,
    '--num-cpus': batches_are_split_over_cpus,
    '--kvstore': changes(added_up_by, '--kvstore', 'local', given=('--num-cpus', '2'), to='local'),
    '--sync-bn': each(refused('--sync-bn', because='with MXNet each device has statistics of its own'),
                      refused('--engine', 'torch', '--sync-bn', because='this is a single one')),
    '--compile': the_network_is_compiled,
    '--use-amp': layers_compute_in_half,
    # optimisation
    '--optimizer': changes(learnt, '--optimizer', 'adamw'),
    '--batch-size': changes(lambda *a: len(batch_of(*a).indices), '--batch-size', '3', to=3),
    '--num-epochs': fewer_epochs_are_trained,
    '--lr': changes(learnt, '--lr', '0.2'),
    '--momentum': changes(learnt, '--momentum', '0.5'),
    '--wd': changes(learnt, '--wd', '0.1'),
    '--no-wd': beta_gamma_and_bias_do_not_decay,
    '--lr-mode': changes(rates, '--lr-mode', 'poly'),
    '--lr-decay': changes(rates, '--lr-decay', '0.5', given=('--lr-decay-epoch', '1'), to=[0.1] * 4 + [0.05] * 4),
    '--lr-decay-period': changes(rates, '--lr-decay-period', '1', to=[0.1] * 4 + [0.01] * 4),
    '--lr-decay-epoch': changes(rates, '--lr-decay-epoch', '0:0.01,1:0.3', to=[0.01] * 4 + [0.3] * 4),
    '--warmup-lr': changes(rates, '--warmup-lr', '0.05', given=('--warmup-epochs', '1')),
    '--warmup-epochs': changes(rates, '--warmup-epochs', '1'),
    '--clip-grad': changes(learnt, '--clip-grad', '0.001'),
    '--clip-norm': changes(learnt, '--clip-norm', '0.001'),
    '--accumulate': batches_are_gathered_and_an_epoch_has_fewer_updates,
    '--mixup': changes(learnt, '--mixup'),
    '--mixup-alpha': changes(learnt, '--mixup-alpha', '9', given=('--mixup',)),
    '--mixup-off-epoch': the_last_epoch_is_not_mixed,
    '--label-smoothing': changes(learnt, '--label-smoothing'),
    '--teacher': changes(learnt, *TEACHER),
    '--teacher-params': changes(learnt, '--teacher-params', '{other}', given=TEACHER),
    '--temperature': changes(learnt, '--temperature', '2', given=TEACHER),
    '--hard-weight': changes(learnt, '--hard-weight', '0.9', given=TEACHER),
    '--seed': changes(learnt, '--seed', '7'),
    '--find-lr': rates_are_tried_and_nothing_is_trained,
    '--find-lr-from': tried('--find-lr-from', '1e-4'),
    '--find-lr-to': tried('--find-lr-to', '0.1'),
    '--find-lr-steps': tried('--find-lr-steps', '11'),
    # run
    '--save-dir': everything_is_in_save_dir,
    '--save-frequency': changes(left(f'custom-{NAME}-000.params'), *BUSY),
    '--checkpoint-steps': changes(left('checkpoints/step-*3'), *BUSY),
    '--checkpoint-minutes': changes(steps_kept, '--checkpoint-minutes', '1e-9', to=[3, 4]),
    '--no-report': changes(left('report.html'), *BUSY, to=[]),
    '--logging-file': the_log_has_that_name,
    '--log-interval': changes(left(r'Epoch\[\d+\] Batch', log=True), *BUSY, to=4),
    '--resume': a_run_goes_on,
    '--overwrite': the_run_before_is_deleted,
    '--train-only': nothing_is_validated,
    '--eval': a_validation_is_all,
    '--print-config': choices_are_printed_as_json,
    '--dry-run': one_batch_is_trained_and_nothing_written,
}
