"""What shows each flag of the estimators."""
import json
import shutil

import mxnet as mx
import numpy as np
import pytest
from clips import write_clips
from events import events_of
from flags_world import changes, dropped, each, other_engine, refused, seen, stepped, traceback_row

from gluon_action.cli import clip_estimator
from gluon_action.cli.command import run
from gluon_action.errors import DeviceError, RecordError
from gluon_action.train.recipes.clip_estimator import network as networks
from gluon_action.train.recipes.clip_estimator.config import check_config
from gluon_action.train.recipes.clip_estimator.data import open_loader

SMALL = ('--clip_length', '8', '--frame_height', '32', '--frame_width', '32', '--num_classes', '3', '--batch_size', '2',
         '--num_data_workers', '0', '--num_gpus', '0', '--train_steps', '1')
THIN = ('--depth_multiplier', '0.05', '--min_depth', '2')
CLASSES = ('gate', 'vehicle', 'train')


def clips_of(world):
    """Folders of records, in ``{tmp}/estimator_clips``."""
    folder = world.folder / 'estimator_clips'
    if not folder.exists():
        for name, count, options in (
                ('train', 4, {}), ('eval', 3, {}), ('few', 2, {}), ('short', 2, {'shape': (4, 32, 32, 3)}),
                ('flat', 2, {'shape': (8, 19, 32, 3)}), ('thin', 2, {'shape': (8, 32, 19, 3)}),
                ('five', 2, {'classes': 5})):
            write_clips(folder / name, count, seed=count, **options)
            if name in ('train', 'eval', 'few'):
                (folder / name / 'classes.txt').write_text('\n'.join(CLASSES))
    return folder


def argv(world, *flags, network='s3dg'):
    clips = clips_of(world)
    base = (network, '--mode', 'train_and_eval', '--model_dir', '{tmp}/never', *SMALL,
            *(THIN if network == 's3dg' else ()), '--train_subset_dir_path', clips / 'train',
            '--eval_subset_dir_path', clips / 'eval', '--predict_subset_dir_path', clips / 'few')
    return [str(item).format(**world.paths, clips=clips) for item in (*base, *flags)]


def configured(world, *flags, network='s3dg'):
    config = clip_estimator.config_from(clip_estimator.parse_args(argv(world, *flags, network=network)))
    check_config(config)
    return config


def command(world, *flags):
    return run(clip_estimator.parse_args, clip_estimator.main, argv(world, *flags))


def trained(world, *flags):
    """The folder that a run leaves."""
    folder = world.new_folder()
    assert command(world, '--model_dir', str(folder), *flags) == 0
    return folder


def folder_of(world, *flags):
    """A copy of the folder of a run, for what changes it."""
    return shutil.copytree(world.once(trained, *flags), world.new_folder() / 'run', symlinks=True)


def config_of(world, *flags):
    return json.loads((world.once(trained, *flags) / 'config.json').read_text())


# What the flags make.

def network(world, *flags):
    return networks.build_network(configured(world, *flags), networks.computing(configured(world, *flags))[1])


def shapes(world, *flags):
    return {name: param.shape for name, param in network(world, *flags)._collect_params_with_prefix().items()}


def loop(world, *flags, network='s3dg'):
    config = configured(world, *flags, network=network)
    computes, contexts = networks.computing(config)
    net = networks.build_network(config, contexts)
    return networks.build_loop(config, net, contexts, networks.scoring_of(config, CLASSES), computes)


def stem_of_i3d(world, *flags):
    return next(iter(loop(world, *flags, network='i3d').learner.parameters().values())).shape


def of_loop(look):
    return lambda world, *flags: look(world.once(loop, *flags))


def stepped_on(world, steps, *flags):
    """Parameters before and after steps on the first clips, without dropout, by name."""
    given = ('--dropout_rate', '0', *flags)
    with open_loader(configured(world, *given), 'train') as loader:
        return stepped(loop(world, *given), loader, steps)


def step(world, steps, *flags):
    """How the parameters change."""
    before, after = world.once(stepped_on, steps, *flags)
    return {name: after[name] - before[name] for name in before}


def moved(world, *flags):
    """What a step changes: statistics of normalisation, layers below the head, the head."""
    names = [name for name, change in world.once(step, 1, *flags).items() if change.any()]
    return {'statistics' if 'running' in name else 'head' if name.startswith('Logits.') else 'body' for name in names}


def first_weight(world, *flags):
    return next(iter(world.once(loop, *flags).learner.parameters().values()))


def of_train(look):
    def found(world, *flags):
        with open_loader(configured(world, *flags), 'train') as loader:
            return look(loader)
    return found


def first_batch(loader):
    return next(loader.epoch(0))


def started(world, *flags):
    """How many parameters a run takes over, of how many."""
    net = network(world, *flags)
    config = configured(world, *flags)
    source = config.checkpoint_path
    return networks.start_network(config, net, source)


def looks(world, *flags):
    lines = (world.once(trained, *flags) / 'metrics.jsonl').read_text().splitlines()
    return [json.loads(line)['step'] for line in lines]


def steps_kept(world, *flags):
    return sorted(int(path.name[5:]) for path in world.once(trained, *flags).glob('checkpoints/step-*'))


def pictures(world, *flags):
    return sum('images/' in value.tag for event in events_of(world.once(trained, *flags))
               for value in event.summary.value)


def reader(setting):
    """The flag fits clips of this kind, which are refused without it."""
    def row(world, output, *flags):
        folder = str(clips_of(world) / setting)
        with pytest.raises(RecordError, match=flags[0]):
            of_train(first_batch)(world, '--train_subset_dir_path', folder)
        assert len(of_train(first_batch)(world, '--train_subset_dir_path', folder, *flags).indices) == 2
    return row


def fits(setting, *flags):
    return seen(*flags)(reader(setting))


@seen('network')
def the_network_is_the_named_one(world, output, *flags):
    config = configured(world, network='i3d')
    assert config.network == 'i3d' and networks.MODELS[config.network, config.channels] == 'i3d_rgb_custom'
    assert configured(world).network == 's3dg'


@seen('--mode', 'eval')
def the_mode_says_what_is_done(world, output, *flags):
    folder = folder_of(world)
    assert not (folder / 'eval.json').exists()
    assert command(world, '--model_dir', str(folder), *flags) == 0 and (folder / 'eval.json').exists()


@seen('--model_dir', '{tmp}/estimator_here')
def the_run_is_kept_there(world, output, *flags):
    assert command(world, *flags) == 0
    assert (world.folder / 'estimator_here' / 'checkpoints').is_dir()


@seen('--export_path', '{tmp}/exported_here')
def the_export_goes_there(world, output, *flags):
    folder = world.once(trained)
    assert command(world, '--model_dir', str(folder), '--mode', 'export', *flags) == 0
    assert len(list((world.folder / 'exported_here').glob('*/model.onnx'))) == 1


@seen('--predict_subset_dir_path', '{clips}/eval')
def other_clips_are_predicted(world, output, *flags):
    found = []
    for given in ((), flags):
        folder = folder_of(world)
        assert command(world, '--model_dir', str(folder), '--mode', 'predict', *given) == 0
        found.append(len(json.loads((folder / 'predictions.json').read_text())['clips']))
    assert found == [2, 3]


@seen('--overwrite')
def results_are_replaced(world, output, *flags):
    folder = folder_of(world)
    given = ('--model_dir', str(folder), '--mode', 'eval')
    assert [command(world, *given, *extra) for extra in ((), (), flags)] == [0, 2, 0]
    assert 'eval.json exists; pass --overwrite' in output.readouterr().err


@seen('--restart')
def a_new_phase_is_begun(world, output, *flags):
    folder = folder_of(world)
    given = ('--model_dir', str(folder), '--learning_rate', '0.001')
    assert [command(world, *given, *extra) for extra in ((), flags)] == [2, 0]
    assert (folder / 'phase-1' / 'checkpoints').is_dir()


@seen('--num_gpus', '1')
def a_gpu_that_is_not_there_is_said_to_be_missing(world, output, *flags):
    refused(*flags, because='without CUDA', config=lambda world, *flags: networks.computing(configured(world, *flags)),
            error=DeviceError)(world, output)


@seen('--gpu_num', '0')
def the_card_is_asked_for(world, output, *flags):
    config = configured(world)
    for config.num_gpus, config.gpu_num, told in ((None, None, None), (None, 0, 'gpu_num 0'), (None, 2, 'gpu_num 2')):
        if told is None:
            assert [str(device) for device in networks.computing(config)[1]] == ['cpu(0)']
            continue
        with pytest.raises(DeviceError, match=told):
            networks.computing(config)


@seen('--num_data_workers', '1')
def other_processes_read(world, output, *flags):
    pids = [of_train(lambda loader: 0 if loader._pool is None else len(loader._pool.pids))(world, *extra)
            for extra in ((), flags)]
    batches = [of_train(lambda loader: first_batch(loader).data)(world, *extra) for extra in ((), flags)]
    assert pids == [0, 1] and (batches[0] == batches[1]).all()


WARM = ('--warm_start', '--checkpoint_path', '{run}')


@seen(*WARM)
def a_run_starts_from_the_checkpoint(world, output, *flags):
    world.paths['run'] = str(world.once(trained))
    assert started(world) == 'random values'
    assert started(world, *flags).endswith(f'taken from {world.paths["run"]}/checkpoints/step-00000001')


@seen('--variables_to_warm_start', 's3dg_convs')
def the_convolutions_are_taken_over(world, output, *flags):
    world.paths['run'] = str(world.once(trained))
    everything, convolutions = (started(world, *WARM, *extra) for extra in ((), flags))
    assert 'start as they are' not in everything and '2 start as they are (Logits.' in convolutions


def learnt(world, *flags, steps=1):
    return {name: change for name, change in world.once(step, steps, *flags).items() if 'running' not in name}


def assert_alike(found, expected):
    assert max(abs(change).max() for change in expected.values()) > 1e-3
    for name, change in found.items():
        assert np.allclose(change, expected[name], rtol=1e-3, atol=2e-6), name


@seen('--learning_rate', '0.5')
def a_step_is_as_long_as_the_rate_says(world, output, *flags):
    assert_alike(learnt(world, *flags), {name: 0.5 / 0.1 * change for name, change in learnt(world).items()})


def second_step_has(share, *flags):
    """Of two steps from one place the first is the same, and the second has so much less of it than 0.9."""
    @seen(*flags)
    def row(world, output, *flags):
        first, both = learnt(world), learnt(world, steps=2)
        assert_alike(learnt(world, *flags, steps=2),
                     {name: both[name] - (0.9 - share) * change for name, change in first.items()})
    return row


@seen('--weight_decay', '0.25')
def weights_decay_by_both_terms_and_nothing_else_does(world, output, *flags):
    start, plain = world.once(stepped_on, 1)[0], learnt(world)
    assert_alike(learnt(world, *flags), {
        name: change - (0.1 * 0.25 * (start[name] + np.sign(start[name])) if name.endswith('weight') else 0)
        for name, change in plain.items()})


@seen('--dropout_rate', '0.5')
def features_are_dropped(world, output, *flags):
    for given, rate in (((), 0.2), (flags, 0.5), ((flags[0], '0'), 0.)):
        head = network(world, *given).Logits
        scores = head.Conv3d_0c_1x1
        assert dropped(head, scores, mx.nd.ones((40, scores.weight.shape[1], 1, 1, 1))) == pytest.approx(rate, abs=0.04)


@seen('--batch_norm_momentum', '0.5')
def statistics_follow_as_fast_as_is_said(world, output, *flags):
    """A step leaves 0.9 of them by default, and so much from this flag; they begin at 0."""
    slow, fast = (world.once(step, 1, *given) for given in ((), flags))
    name = next(name for name in slow if name.endswith('running_mean'))
    assert abs(slow[name]).max() > 0.001
    assert np.allclose(fast[name], slow[name] * (1 - 0.5) / (1 - 0.9), rtol=1e-3, atol=1e-6)


WINDOW = ('--crop', '--cropx', '4', '--cropy', '2', '--cropwidth', '16', '--cropheight', '20')
seen_pixels = of_train(lambda loader: first_batch(loader).data)
seen_shape = of_train(lambda loader: first_batch(loader).data.shape)


def row_of(row, *flags):
    return seen(*flags)(lambda world, output, *given: row(world, output))


ESTIMATOR_ROWS = {'estimator': {
    'network': the_network_is_the_named_one,
    '--debug': traceback_row(lambda world: [clip_estimator, *argv(world, '--eval_subset_dir_path', '/nowhere')]),
    '--mode': the_mode_says_what_is_done,
    '--model_dir': the_run_is_kept_there,
    '--checkpoint_path': row_of(a_run_starts_from_the_checkpoint, '--checkpoint_path'),
    '--export_path': the_export_goes_there,
    '--train_subset_dir_path': changes(of_train(lambda loader: len(loader.dataset)), '--train_subset_dir_path',
                                       '{clips}/few', to=2),
    '--eval_subset_dir_path': changes(
        lambda world, *flags: config_of(world, *flags)['lists']['eval']['sha256'], '--eval_subset_dir_path',
        '{clips}/few'),
    '--predict_subset_dir_path': other_clips_are_predicted,
    '--batch_size': changes(of_train(lambda loader: len(first_batch(loader).indices)), '--batch_size', '3', to=3),
    '--prefetch_size': changes(of_train(lambda loader: loader.prefetch), '--prefetch_size', '5', to=5),
    '--tfrecord_size': changes(of_train(lambda loader: loader.prefetch), '--tfrecord_size', '1', to=21),
    '--num_classes': fits('five', '--num_classes', '5'),
    '--clip_length': fits('short', '--clip_length', '4'),
    '--frame_height': fits('flat', '--frame_height', '19'),
    '--frame_width': fits('thin', '--frame_width', '19'),
    '--channels': changes(stem_of_i3d, '--channels', '2', to=(64, 2, 7, 7, 7)),
    '--label_mode': changes(of_loop(lambda loop: loop.scores.best_metric), '--label_mode', 'single', to='top1'),
    '--num_data_workers': other_processes_read,
    '--crop': changes(seen_shape, *WINDOW, to=(2, 3, 8, 20, 16)),
    '--cropheight': changes(seen_shape, '--cropheight', '8', given=WINDOW, to=(2, 3, 8, 8, 16)),
    '--cropwidth': changes(seen_shape, '--cropwidth', '8', given=WINDOW, to=(2, 3, 8, 20, 8)),
    '--cropx': changes(seen_pixels, '--cropx', '5', given=WINDOW),
    '--cropy': changes(seen_pixels, '--cropy', '3', given=WINDOW),
    '--monitor_steps': changes(looks, '--monitor_steps', '1', given=('--train_steps', '2'), to=[1, 2]),
    '--train_steps': changes(looks, '--train_steps', '2', to=[2]),
    '--save_minutes': changes(steps_kept, '--save_minutes', '1e-9', given=('--train_steps', '3'), to=[2, 3]),
    '--learning_rate': a_step_is_as_long_as_the_rate_says,
    '--optimizer': second_step_has(0., '--optimizer', 'sgd'),
    '--momentum': second_step_has(0.5, '--momentum', '0.5'),
    '--weight_decay': weights_decay_by_both_terms_and_nothing_else_does,
    '--dropout_rate': features_are_dropped,
    '--variables_to_warm_start': the_convolutions_are_taken_over,
    '--variables_to_train': changes(lambda *a: (moved(*a), len(a[0].once(loop, *a[1:]).learner.names)),
                                    '--variables_to_train', 's3dg_logits', to=({'head'}, 2)),
    '--update_batch_norm': changes(moved, '--update_batch_norm', given=('--variables_to_train', 's3dg_logits'),
                                   to={'head', 'statistics'}),
    '--batch_norm_momentum': statistics_follow_as_fast_as_is_said,
    '--seed': changes(first_weight, '--seed', '1'),
    '--restart': a_new_phase_is_begun,
    '--warm_start': row_of(a_run_starts_from_the_checkpoint, '--warm_start'),
    '--min_depth': changes(shapes, '--min_depth', '4'),
    '--depth_multiplier': changes(shapes, '--depth_multiplier', '0.1'),
    '--add_image_summaries': changes(pictures, '--add_image_summaries', 'false', to=0),
    '--metric_weights': changes(of_loop(lambda loop: loop.scores.counted), '--metric_weights', 'vehicle,2',
                                to=np.array([False, True, True])),
    '--overwrite': results_are_replaced,
    '--engine': each(other_engine(loop), refused(
        '--engine', 'torch', '--mode', 'export', because='networks are exported by MXNet', config=configured)),
    '--num_gpus': a_gpu_that_is_not_there_is_said_to_be_missing,
    '--gpu_num': the_card_is_asked_for,
}}
