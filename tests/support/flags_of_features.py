"""What shows each flag of training on features, with a teacher and without."""
import dataclasses
import logging
import shutil

import mxnet as mx
import numpy as np
from feature_runs import CLASSES, FRAMES, records, state_of
from flags_world import changes, each, other_engine, refused, seen, traceback_row

from gluon_action import engine, options
from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import train, train_distill
from gluon_action.feature_architecture import DEAD, Architecture
from gluon_action.model_zoo.frame_features import build
from gluon_action.model_zoo.frame_features.stored.writing import write_stored
from gluon_action.train.recipes.frame_features.config import OF_DISTILLATION, check_config
from gluon_action.train.recipes.frame_features.log import TagStyle
from gluon_action.train.recipes.frame_features.training import FeatureRecipe

BASE = ('--train_data_pattern', '{records}/train*.tfrecord', '--frame_features', '--feature_names', 'rgb,audio',
        '--feature_sizes', '8,4', '--num_classes', str(CLASSES), '--max_frames', str(FRAMES), '--model',
        'FrameLevelLogisticModel', '--batch_size', '6', '--num_readers', '0', '--num_epochs', '1', '--num_gpu', '0',
        '--train_dir', '{tmp}/never')


def records_of(world):
    """Records of frames, in ``{tmp}/features``: 12 to train on, 4 of a validation set, and a teacher's."""
    folder = world.folder / 'features'
    if not folder.exists():
        records(folder, 12)
        records(folder, 4, 'validate')
        _teach(folder)
    return folder


def _teach(folder):
    """Records in the distillation format, and two folders of predictions beside the plain ones."""
    from gluon_action.data.tfrecords.features.feature_messages import make_distill_record
    from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
    from gluon_action.data.tfrecords.features.teacher import make_prediction_record
    from gluon_action.data.tfrecords.framing import RecordWriter
    (folder / 'distill').mkdir()
    rng = np.random.default_rng(1)
    with RecordWriter(folder / 'distill' / 'train00.tfrecord') as writer:
        for number in range(12):
            frames = {'rgb': rng.integers(0, 255, (3, 8), dtype=np.uint8),
                      'audio': rng.integers(0, 255, (3, 4), dtype=np.uint8)}
            writer.write(make_distill_record(f'v{number}', frames, [0], rng.random(CLASSES).astype(np.float32)))
    data = FeatureRecords(folder / 'train*.tfrecord', features=(('rgb', 8), ('audio', 4)), num_classes=CLASSES)
    for value in (0.25, 0.75):
        place = folder / f'predictions{value:g}'
        place.mkdir()
        for path in sorted(folder.glob('train*.tfrecord')):
            with RecordWriter(place / path.name) as writer:
                for sample in data.samples:
                    if sample.path == str(path):
                        writer.write(make_prediction_record(sample.key, np.full(CLASSES, value, np.float32)))


def argv(world, *flags, base=BASE):
    paths = {**world.paths, 'records': records_of(world)}
    return [str(item).format(**paths) for item in (*base, *flags)]


def recipe(world, *flags, command=train):
    args = command.parse_args(argv(world, *flags))
    config = command.config_from(args)
    check_config(config)
    return FeatureRecipe(config, args.given)


def config(world, *flags):
    return recipe(world, *flags).config


def architecture(world, *flags):
    return config(world, *flags).architecture


def data_of(world, *flags, command=train):
    made = recipe(world, *flags, command=command)
    made.devices()
    return made.open_data(world.cleanup).train


def loop(world, *flags, command=train):
    made = recipe(world, *flags, command=command)
    return made.build_loop(None, made.devices())


def of_data(look):
    return lambda world, *flags: look(world.once(data_of, *flags))


def of_loop(look):
    return lambda world, *flags: look(world.once(loop, *flags))


def first_batch(loader):
    return next(loader.epoch(0)).data


def processes(loader):
    return 0 if loader._pool is None else len(loader._pool.pids)


def learnt(world, *flags):
    """All parameters after two steps."""
    made = loop(world, *flags)
    for batch in data_of(world, *flags).epoch(0):
        made.step(batch)
    return np.concatenate([array.ravel() for array in made.learner.parameters().values()])


def rates(made):
    return [made.schedule(update) for update in range(1, 9)]


def network(world, *flags):
    """Values, penalties, and what it says of two videos, in training and otherwise."""
    net = build(architecture(world, *flags), seed=3)
    x = np.zeros((2, net.architecture.length, net.architecture.width), np.float32)
    for row, frames in zip(x, (5, 2)):
        row[:frames] = np.random.default_rng(frames).normal(size=row[:frames].shape)
    found = [net(mx.nd.array(x)).asnumpy()]
    values = [array.data().asnumpy() for _, array in sorted(net._collect_params_with_prefix().items())]
    mx.random.seed(7)
    with mx.autograd.record():
        found.append(net(mx.nd.array(x)).asnumpy())
    return np.concatenate([array.ravel() for array in (*found, *values)] + [sorted(net.l2_factors().values())])


def trained(world, *flags, command=train):
    """The folder that a run leaves."""
    folder, draw = world.new_folder(), TagStyle.plot
    TagStyle.plot = lambda *_: None
    try:
        assert run(command.parse_args, command.main, argv(world, *flags, '--train_dir', folder)) == 0
    finally:
        TagStyle.plot = draw
    return folder


def steps(world, *flags):
    return state_of(world.once(trained, *flags))['loop']['progress']['step']


def saved(world, *flags):
    return len(list((world.once(trained, *flags) / 'checkpoints').glob('step-*')))


def again(world, folder, *flags):
    """What a command ends with in a copy of a run's folder, and the copy."""
    copy = shutil.copytree(folder, world.new_folder() / 'run')
    draw = TagStyle.plot
    TagStyle.plot = lambda *_: None
    try:
        return run(train.parse_args, train.main, argv(world, *flags, '--train_dir', copy)), copy
    finally:
        TagStyle.plot = draw


def source_of(world):
    """The prefix of a stored model."""
    prefix = world.folder / 'source' / 'inference_model'
    if not prefix.parent.exists():
        net = build(architecture(world), seed=11)
        write_stored(prefix, [(net.architecture, {key: parameter.data().asnumpy() for key, parameter
                                                  in net._collect_params_with_prefix().items()})])
    return prefix


@seen('--train_dir', '{tmp}/features_run')
def it_is_made_there(world, output, *flags):
    assert run(train.parse_args, train.main, argv(world, *flags, '--max_steps', '1')) == 0
    assert (world.folder / 'features_run' / 'checkpoints' / 'step-00000001').is_dir()


@seen('--start_new_model')
def the_old_run_goes(world, output, flag):
    before = world.once(trained)
    assert state_of(again(world, before, '--seed', '4', flag)[1])['config']['seed'] == 4
    assert again(world, before, '--seed', '4')[0] == 2 and flag in output.readouterr().err


@seen('--strict_flags')
def what_contradicts_is_refused(world, output, flag):
    before = world.once(trained)
    assert again(world, before, '--num_classes', '9', flag)[0] == 2
    assert flag in output.readouterr().err
    assert again(world, before, '--num_classes', '9')[0] == 0


@seen('--ema_source', '{tmp}/source/inference_model')
def a_run_starts_from_it(world, output, flag, _):
    prefix = source_of(world)
    folder = trained(world, flag, prefix, '--base_learning_rate', '0')
    state = state_of(folder)
    expected = {key: parameter.data().asnumpy() for key, parameter
                in build(architecture(world), seed=11)._collect_params_with_prefix().items()}
    assert all((state[part][key] == value).all() for part in ('params', 'averages') for key, value in expected.items())


@seen('--num_gpu', '2')
def so_many_are_looked_for(world, output, *flags):
    asked, contexts = [], engine.contexts

    def count(number=0, *_, **others):
        asked.append(number)
        return contexts()
    engine.contexts = count
    try:
        for given in (flags, ('--num_gpu', '1'), ('--num_gpu', '0')):
            recipe(world, *given).devices()
    finally:
        engine.contexts = contexts
    assert asked == [2, 1, 0]


def notes(*flags):
    """The flag is accepted, and a line says that it has no effect."""
    @seen(*flags)
    def row(world, output, flag, *value):
        with output.logs.at_level(logging.INFO):
            recipe(world, flag, *value).prepare(_New())
        assert any(flag in line for line in output.logs.messages)
        assert same_network(world, flag, *value)
    return row


class _New:
    checkpoint = None


def same_network(world, *flags):
    return (network(world) == network(world, *flags)).all()


def on(model, *flags, given=()):
    """The flag changes a network of frames."""
    return changes(network, *flags, given=('--model', model, *SMALL.get(model, ()), *given))


#: Sizes at which networks are quick.
SMALL = {
    'NetVLADModelLF': ('--netvlad_cluster_size', '4', '--netvlad_hidden_size', '6', '--iterations', '5'),
    'NetFVModelLF': ('--fv_cluster_size', '4', '--fv_hidden_size', '6', '--iterations', '5'),
    'DbofModel': ('--dbof_cluster_size', '8', '--dbof_hidden_size', '6', '--iterations', '5'),
    'SoftDbofModelLF': ('--dbof_cluster_size', '8', '--dbof_hidden_size', '6', '--iterations', '5'),
    'LstmModel': ('--lstm_cells', '4'), 'Lstmbidirect': ('--lstm_cells', '4'), 'GruModel': ('--gru_cells', '4'),
    'NeXtVLADModel': ('--nextvlad_cluster_size', '4', '--nextvlad_hidden_size', '8', '--groups', '2',
                      '--gating_reduction', '2'),
}
_VIDEO = ('--frame_features', 'false', '--model', 'MoeModel')

NETWORK = {
    '--model': changes(network, '--model', 'MoeModel', given=('--frame_features=false', '--model', 'LogisticModel')),
    '--feature_names': changes(of_data(first_batch), '--feature_names', 'audio,rgb', '--feature_sizes', '4,8'),
    '--feature_sizes': refused('--feature_sizes', '8', because='give a size for each name', config=architecture),
    '--frame_features': changes(of_data(lambda loader: loader.dataset.row_shape), '--frame_features', 'false',
                                to=(1, 12)),
    '--num_classes': changes(network, '--num_classes', '9'),
    '--max_frames': changes(of_data(lambda loader: loader.dataset.row_shape), '--max_frames', '3', to=(3, 12)),
    '--label_loss': changes(of_loop(lambda made: type(made.learner.loss).__name__), '--label_loss', 'HingeLoss',
                            to='ProbabilityHinge'),
    '--iterations': on('NetVLADModelLF', '--iterations', '3'),
    '--sample_random_frames': on('NetVLADModelLF', '--sample_random_frames', 'false'),
    '--sample_all': on('NetVLADModelLF', '--sample_all'),
    '--frame_shuffle': on('Lstmbidirect', '--frame_shuffle'),
    '--video_level_classifier_model': on('NetVLADModelLF', '--video_level_classifier_model', 'LogisticModel'),
    '--moe_num_mixtures': changes(network, '--moe_num_mixtures', '3', given=_VIDEO),
    '--moe_l2': changes(network, '--moe_l2', '0.5', given=_VIDEO),
    '--moe_low_rank_gating': changes(network, '--moe_low_rank_gating', '2', given=_VIDEO),
    '--moe_prob_gating': changes(network, '--moe_prob_gating', given=_VIDEO),
    '--moe_prob_gating_input': changes(network, '--moe_prob_gating_input', 'input',
                                       given=(*_VIDEO, '--moe_prob_gating')),
    '--gating': on('NetVLADModelLF', '--gating'),
    '--gating_remove_diag': on('NetVLADModelLF', '--gating_remove_diag', given=('--gating',)),
    '--batch_norm_decay': changes(learnt, '--batch_norm_decay', '0.5', given=(
        '--model', 'NetVLADModelLF', *SMALL['NetVLADModelLF'], '--video_level_classifier_model', 'LogisticModel')),
    '--netvlad_cluster_size': on('NetVLADModelLF', '--netvlad_cluster_size', '8'),
    '--netvlad_hidden_size': on('NetVLADModelLF', '--netvlad_hidden_size', '8'),
    '--netvlad_relu': on('NetVLADModelLF', '--netvlad_relu', 'false'),
    '--netvlad_add_batch_norm': on('NetVLADModelLF', '--netvlad_add_batch_norm', 'false'),
    '--lightvlad': on('NetVLADModelLF', '--lightvlad'),
    '--fv_cluster_size': on('NetFVModelLF', '--fv_cluster_size', '8'),
    '--fv_hidden_size': on('NetFVModelLF', '--fv_hidden_size', '8'),
    '--fv_relu': on('NetFVModelLF', '--fv_relu', 'false'),
    '--fv_couple_weights': on('NetFVModelLF', '--fv_couple_weights', 'false'),
    '--fv_coupling_factor': on('NetFVModelLF', '--fv_coupling_factor', '0.5'),
    '--dbof_cluster_size': on('DbofModel', '--dbof_cluster_size', '16'),
    '--dbof_hidden_size': on('DbofModel', '--dbof_hidden_size', '8'),
    '--dbof_add_batch_norm': on('DbofModel', '--dbof_add_batch_norm', 'false'),
    '--dbof_relu': on('SoftDbofModelLF', '--dbof_relu', 'false'),
    '--dbof_pooling_method': on('DbofModel', '--dbof_pooling_method', 'average'),
    '--softdbof_maxpool': on('SoftDbofModelLF', '--softdbof_maxpool'),
    '--fc_dimred': on('SoftDbofModelLF', '--fc_dimred', 'false'),
    '--lstm_cells': on('LstmModel', '--lstm_cells', '6'),
    '--lstm_layers': on('LstmModel', '--lstm_layers', '1'),
    '--gru_cells': on('GruModel', '--gru_cells', '6'),
    '--gru_layers': on('GruModel', '--gru_layers', '1'),
    '--gru_backward': on('GruModel', '--gru_backward'),
    '--l2_penalty': on('NeXtVLADModel', '--l2_penalty', '0.5',
                       given=('--video_level_classifier_model', 'LogisticModel')),
    '--nextvlad_cluster_size': on('NeXtVLADModel', '--nextvlad_cluster_size', '8'),
    '--nextvlad_hidden_size': on('NeXtVLADModel', '--nextvlad_hidden_size', '12'),
    '--groups': on('NeXtVLADModel', '--groups', '4'),
    '--expansion': on('NeXtVLADModel', '--expansion', '4'),
    '--drop_rate': on('NeXtVLADModel', '--drop_rate', '0.1'),
    '--gating_reduction': on('NeXtVLADModel', '--gating_reduction', '4'),
}
DEAD_FLAGS = {options.flag_of(Architecture, name): notes(
    options.flag_of(Architecture, name), 'true' if isinstance(getattr(Architecture, name), bool) else '7')
    for name in DEAD}

FEATURE_TRAINING_ROWS = {
    '--debug': traceback_row(lambda world: [train, *argv(world, '--train_data_pattern', '{tmp}/none*')]),
    '--train_data_pattern': changes(of_data(len), '--train_data_pattern', '{records}/train00.tfrecord', to=1),
    '--incl_val': changes(of_data(lambda loader: len(loader.dataset)), '--incl_val', to=16),
    '--num_readers': changes(of_data(processes), '--num_readers', '1', to=1),
    '--on_error': changes(of_data(lambda loader: loader.on_error), '--on_error', 'skip'),
    '--max_skip_share': each(changes(of_data(lambda loader: loader.max_skip_share), '--max_skip_share', '0.5',
                                     given=('--on_error', 'skip'), to=0.5),
                             refused('--max_skip_share', '0.5', because='means something with --on_error skip',
                                     config=config)),
    **NETWORK, **DEAD_FLAGS,
    '--batch_size': changes(of_data(len), '--batch_size', '4', to=3),
    '--num_epochs': changes(steps, '--num_epochs', '2', to=4),
    '--max_steps': changes(steps, '--max_steps', '1', to=1),
    '--optimizer': changes(learnt, '--optimizer', 'GradientDescentOptimizer'),
    '--base_learning_rate': changes(of_loop(rates), '--base_learning_rate', '0.5', to=[0.5] * 8),
    '--learning_rate_decay': changes(of_loop(rates), '--learning_rate_decay', '0.5',
                                     given=('--learning_rate_decay_examples', '24')),
    '--learning_rate_decay_examples': changes(of_loop(rates), '--learning_rate_decay_examples', '24'),
    '--clip_gradient_norm': changes(learnt, '--clip_gradient_norm', '0.5',
                                    given=('--optimizer', 'GradientDescentOptimizer')),
    '--regularization_penalty': changes(of_loop(lambda made: made.learner.penalty()), '--regularization_penalty', '2'),
    '--engine': other_engine(loop),
    '--num_gpu': so_many_are_looked_for,
    '--seed': changes(learnt, '--seed', '1'),
    '--ema_source': a_run_starts_from_it,
    '--ema_halflife': changes(of_loop(lambda made: made.learner.averages and made.learner.averages.decay),
                              '--ema_halflife', '4', to=0.75),
    '--train_dir': it_is_made_there,
    '--start_new_model': the_old_run_goes,
    '--strict_flags': what_contradicts_is_refused,
    '--save_minutes': changes(saved, '--save_minutes', '1e-9', given=('--keep_checkpoints', '9'), to=2),
    '--keep_checkpoints': changes(saved, '--keep_checkpoints', '1', given=('--num_epochs', '3'), to=1),
}


def ignored(module, *flags, base=BASE):
    """The flag is accepted, with a line that says why it has no effect."""
    @seen(*flags)
    def row(world, output, flag, *value):
        plain = module.parse_args(argv(world, base=base))
        output.logs.clear()
        with output.logs.at_level(logging.INFO):
            args = module.parse_args(argv(world, flag, *value, base=base))
        assert vars(args) == vars(plain)
        line, = output.logs.messages
        assert line.startswith(f'{flag}: ')
    return row


FEATURE_TRAINING_ROWS |= {flag: ignored(train, flag, '1') for flag in (
    *train.DEAD, *(f'--{name}' for name in OF_DISTILLATION))}


# With a teacher.

def taught(world, *flags):
    """Labels of the first batch, and what a teacher says behind them."""
    return next(data_of(world, *flags, command=train_distill).epoch(0)).label


def first_loss(world, *flags):
    made, loader = (build_one(world, *flags, command=train_distill) for build_one in (loop, data_of))
    return made.step(next(loader.epoch(0))).loss_sum


def student(world, *flags):
    return train_distill.config_from(train_distill.parse_args(argv(world, *flags)))


def as_in_training(flag, *value):
    """The flag asks for what it asks of the command without a teacher, whose row shows what that does."""
    @seen(flag, *value)
    def row(world, output, *flags):
        assert student(world, *flags) == dataclasses.replace(
            train.config_from(train.parse_args(argv(world, *flags))), distill=True)
        assert student(world, *flags) != student(world)
    return row


_IN_RECORDS = ('--train_data_pattern', '{records}/distill/*.tfrecord')
FEATURE_DISTILLATION_ROWS = {
    # What both have does the same; the student's configuration is that of the other command, with a teacher.
    **{flag: as_in_training(*row.flags)
       for flag, row in FEATURE_TRAINING_ROWS.items() if flag in {
           option.flag for option in options.options_of(train.FeatureTraining).values()}},
    **{flag: ignored(train_distill, flag, '1') for flag in train.DEAD},
    '--feature_sizes': refused('--feature_sizes', '8', because='give a size for each name', config=student),
    '--debug': traceback_row(lambda world: [train_distill, *argv(world, '--train_data_pattern', '{tmp}/none*')]),
    '--predictions': changes(taught, '--predictions', '{records}/predictions0.75',
                             given=('--predictions', '{records}/predictions0.25')),
    '--loss_lambda': changes(first_loss, '--loss_lambda', '0.9', given=_IN_RECORDS),
    '--train_data_pattern': changes(
        taught, '--train_data_pattern', '{records}/train01.tfrecord',
        given=('--predictions', '{records}/predictions0.25')),
}
