"""``scripts/i3d_estimator.py`` and ``s3dg_estimator.py``: train, evaluate, apply and export networks of clips."""
from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import engine, options
from ..train.recipes.clip_estimator.config import MODES, NETWORKS, OF_S3DG, EstimatorConfig, check_config
from .command import make_parser

EXAMPLES = """the three phases, on clips of one's own (*.tfrecord, made by scripts/make_clip_records.py):
  # 1. a new logits layer on convolutions that know Kinetics, at a high rate
  {name} --mode train_and_eval --model_dir runs/head --checkpoint_path i3d_kinetics_600_rgb/model.ckpt \\
      --train_subset_dir_path clips/train --eval_subset_dir_path clips/eval --num_classes 5 --monitor_steps 532 \\
      --learning_rate 0.1 --batch_size 2 --variables_to_warm_start {network}_convs --variables_to_train {network}_logits
  # 2. all layers, from there
  {name} --mode train_and_eval --model_dir runs/all --checkpoint_path runs/head{start} \\
      --train_subset_dir_path clips/train --eval_subset_dir_path clips/eval --num_classes 5 --monitor_steps 1064 \\
      --learning_rate 0.001 --batch_size 1
  # 3. the same at a lower rate, here in the same folder; the phase before is kept in runs/all/phase-1
  {name} --mode train_and_eval --model_dir runs/all --restart \\
      --train_subset_dir_path clips/train --eval_subset_dir_path clips/eval --num_classes 5 --monitor_steps 1064 \\
      --learning_rate 0.00001 --batch_size 1
A command that is repeated resumes where it was stopped. Watch it with: tensorboard --logdir runs
"""
_RECORDS = ('Records of tf.train.Example: feature, raw uint8 frames x height x width x channels; label, uint8 zeros '
            'and ones. classes.txt beside them names the classes.')


def build_parser(network: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of one network's script; of the command for both, which is told the network, by default."""
    shown = network or 'i3d'
    name = '%(prog)s' if network else '%(prog)s i3d'
    start = ' --warm_start' if network == 's3dg' else ''
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES.format(name=name, network=shown, start=start))
    if network is None:
        parser.add_argument('network', choices=NETWORKS, help='the network')
    without = OF_S3DG if network == 'i3d' else ()
    changes = _changes(network, shown)
    options.add_options(parser, EstimatorConfig, '', changes=changes)
    for group in ('clips', 'training', 'results', 'devices'):
        added = parser.add_argument_group(group, _RECORDS if group == 'clips' else None)
        options.add_options(added, EstimatorConfig, group, without=without, changes=changes)
    return parser


def parse_args(argv: Sequence[str] | None = None, network: str | None = None) -> argparse.Namespace:
    """Read the command line of one network's script, or of the command for both; ``given`` are the options in it."""
    parser, unset = build_parser(network), object()
    args = parser.parse_args(argv)
    # What has a value already is given no default: so what is still this object was not named.
    named = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(args), unset)))
    args.given = {name for name, value in vars(named).items() if value is not unset}
    args.network = network or args.network
    return args


parse_i3d = functools.partial(parse_args, network='i3d')
parse_s3dg = functools.partial(parse_args, network='s3dg')


def _changes(network: str | None, shown: str) -> dict[str, dict[str, Any]]:
    """Return what help and choices say of one network, or of both where it is None."""
    known = options.options_of(EstimatorConfig)
    changes = {name: {'help': known[name].help.replace('NETWORK', shown)}
               for name in ('variables_to_warm_start', 'variables_to_train')}
    changes['mode'] = {'choices': MODES[network or 's3dg']}
    if network != 'i3d':
        changes['mode']['help'] = known['mode'].help + ' (export_for_production is another name for it)'
    if network == 's3dg':
        changes['channels'] = {'help': '3 of RGB'}
    return changes


config_from = functools.partial(options.config_from, EstimatorConfig)


def main(args: argparse.Namespace) -> int:
    """Do what the mode says, and say where the results are."""
    from ..train.recipes.clip_estimator.defaults import as_stored
    config = as_stored(config_from(args), args.given)
    check_config(config)
    engine.set_threads()
    from ..train.recipes.clip_estimator import estimator
    if config.trains:
        print(estimator.train(config, args.given).summary())
    elif config.mode == 'eval':
        print(_scores(estimator.evaluate(config, args.given)))
        print(Path(config.model_dir, 'eval.json'))
    elif config.mode == 'predict':
        print(*estimator.predict(config, args.given), sep='\n')
    else:
        print(_export(config))
    return 0


def _export(config: EstimatorConfig) -> Path:
    """Write the network as a bundle into a folder named by the time, and return it."""
    from ..deploy.bundle.what_is_exported import estimator_source
    from ..deploy.bundle.write import write_bundle
    from ..train.recipes.clip_estimator.network import computing
    source = estimator_source(config, computing(config)[1])
    folder = Path(config.export_path or Path(config.model_dir, 'export')).expanduser() / str(int(time.time()))
    return write_bundle(source.net, folder, preprocess=source.preprocess, labels=source.labels, card=source.card,
                        notes=source.notes, origin=source.origin)


def _scores(result: dict) -> str:
    lines = [f'{name:<22}{value}' if isinstance(value, int) else f'{name:<22}{value:.6f}'
             for name, value in result['metrics'].items()]
    return '\n'.join(lines)
