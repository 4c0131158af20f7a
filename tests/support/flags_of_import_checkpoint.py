"""What shows each flag of youtube8m import_checkpoint."""
import dataclasses
import json
from pathlib import Path

import numpy as np
from flags_world import changes, refused, seen, traceback_row
from tf_checkpoint_writer import write_checkpoint

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import import_checkpoint
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.options import options_of

WIDTH, CLASSES = 6, 3


def checkpoint_of(world):
    """A logistic regression with moving averages."""
    folder = world.folder / 'tensorflow'
    if not folder.exists():
        values = {'tower/fully_connected/weights': np.ones((WIDTH, CLASSES), np.float32),
                  'tower/fully_connected/biases': np.zeros(CLASSES, np.float32)}
        write_checkpoint(folder / 'model.ckpt-7', {
            **values, **{f'{name}/ExponentialMovingAverage': value + 1 for name, value in values.items()}})
    return folder / 'model.ckpt-7'


def argv_of(world, *flags):
    base = ('--checkpoint', checkpoint_of(world), '--train_dir', world.folder / 'never', '--feature_sizes', WIDTH,
            '--num_classes', CLASSES)
    return [str(word) for word in (*base, *flags)]


def imported(world, *flags):
    """The first weight of the model that is made."""
    folder = world.new_folder()
    assert run(import_checkpoint.parse_args, import_checkpoint.main, argv_of(world, '--train_dir', folder, *flags)) == 0
    return dict(read_stored(folder).members[0].parameters())['fully_connected.weights'][0, 0]


def architecture(world, *flags):
    args = import_checkpoint.parse_args(argv_of(world, *flags))
    return dataclasses.asdict(import_checkpoint.architecture_of(args, Path(args.checkpoint)))


@seen('--checkpoint')
def another_one_is_read(world, output, flag):
    folder = world.new_folder()
    prefix = write_checkpoint(folder / 'other', {'fully_connected/weights': np.full((WIDTH, CLASSES), 5, np.float32),
                                                 'fully_connected/biases': np.zeros(CLASSES, np.float32)})
    assert imported(world, flag, prefix) == 5 and imported(world) == 2


@seen('--train_dir')
def it_is_made_there(world, output, flag):
    folder = world.new_folder() / 'run'
    assert run(import_checkpoint.parse_args, import_checkpoint.main, argv_of(world, flag, folder)) == 0
    assert json.loads((folder / 'model_flags.json').read_text())['num_classes'] == CLASSES
    assert str(folder) in output.readouterr().out


def _other(option):
    """A value that an option of networks has not by itself."""
    if isinstance(option.default, bool):
        return str(not option.default)
    if option.choices:
        return next(choice for choice in option.choices if choice != option.default)
    return {'model': 'MoeModel', 'feature_names': 'mean_audio', 'dbof_activation': 'glu',
            'drop_rate': '0.25', 'batch_norm_decay': '0.25'}.get(option.name, '48')


# That these options make other networks is shown by training; here they are the network's too.
_NETWORK = {option.flag: changes(architecture, option.flag, _other(option)) for option in
            options_of(Architecture).values()}
IMPORT_CHECKPOINT_ROWS = {
    '--debug': traceback_row(lambda world: [import_checkpoint, *argv_of(world, '--checkpoint', '/nowhere/model.ckpt')]),
    '--checkpoint': another_one_is_read,
    '--train_dir': it_is_made_there,
    '--use_EMA': changes(imported, '--use_EMA', 'false', to=1),
    **_NETWORK,
    '--feature_sizes': refused('--feature_sizes', '8,4', because='give a size for each name', config=architecture),
}
