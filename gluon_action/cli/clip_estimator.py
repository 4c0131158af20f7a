"""``scripts/i3d_estimator.py`` and ``s3dg_estimator.py``: train, evaluate, apply and export networks of clips."""
from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path

from .. import engine
from ..train.recipes.clip_estimator_config import (
    LABEL_MODES,
    MODES,
    NETWORKS,
    OPTIMIZERS,
    EstimatorConfig,
    check_config,
)
from .command import make_parser, yes_or_no

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
A command that is repeated goes on where it was stopped. Watch it with: tensorboard --logdir runs
"""


def build_parser(network: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of one network's script; of the command for both, which is told the network, by default."""
    shown = network or 'i3d'
    name = '%(prog)s' if network else '%(prog)s i3d'
    start = ' --warm_start' if network == 's3dg' else ''
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES.format(name=name, network=shown, start=start))
    if network is None:
        parser.add_argument('network', choices=NETWORKS, help='the network')
    parser.add_argument('--mode', required=True, choices=MODES[network or 's3dg'],
                        help='train for --train_steps; evaluate once; train and evaluate every --monitor_steps; write '
                             'predictions of every clip; write the network as an ONNX bundle'
                             + ('' if network == 'i3d' else ' (export_for_production is another name for it)'))
    parser.add_argument('--model_dir', required=True,
                        help='folder of the run: checkpoints, log, events, results. A run that is there goes on')
    parser.add_argument('--checkpoint_path', default=None, metavar='PATH',
                        help='what a new run starts from, or what is evaluated, applied or exported: the --model_dir '
                             'of another run (its newest checkpoint), a .params file such as its best.params, or a '
                             "checkpoint of TensorFlow (FOLDER/model.ckpt); by default --model_dir's newest")
    parser.add_argument('--export_path', default=None, metavar='FOLDER',
                        help='--mode export: a folder named by the time is made in here; by default MODEL_DIR/export')
    _add_data_flags(parser, network)
    _add_training_flags(parser, network, start=f'{shown}_convs or {shown}_logits')
    _add_other_flags(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None, network: str | None = None) -> argparse.Namespace:
    """Read the command line of one network's script, or of the command for both."""
    args = build_parser(network).parse_args(argv)
    args.network = network or args.network
    return args


parse_i3d = functools.partial(parse_args, network='i3d')
parse_s3dg = functools.partial(parse_args, network='s3dg')


def _add_data_flags(parser: argparse.ArgumentParser, network: str | None) -> None:
    group = parser.add_argument_group('clips', 'Records of tf.train.Example: feature, raw uint8 frames x height x '
                                      'width x channels; label, uint8 zeros and ones. classes.txt beside them names '
                                      'the classes.')
    for subset, flags in (('train', ['--train_subset_dir_path']), ('eval', ['--eval_subset_dir_path']),
                          ('predict', ['--predict_subset_dir_path', '--test_subset_dir_path'])):
        group.add_argument(*flags, dest=f'{subset}_subset_dir_path', default=None, metavar='FOLDER',
                           help=f'folder of *.tfrecord, or a pattern, to {subset.replace("eval", "evaluate")}'
                                f'{" on" * (subset == "train")}' + ('; needs no labels' * (subset == 'predict')))
    group.add_argument('--batch_size', type=int, default=6, help='clips a step, over all devices')
    group.add_argument('--prefetch_size', type=int, default=-1, metavar='BATCHES',
                       help='batches read ahead; 0 reads when they are needed, -1 goes by --tfrecord_size')
    group.add_argument('--tfrecord_size', type=int, default=40, metavar='MIB',
                       help='size of the clips read ahead, as they are stored; one batch at least')
    group.add_argument('--num_classes', type=int, default=204, help='classes, and length of a label')
    group.add_argument('--clip_length', type=int, default=64, help='frames of a stored clip')
    group.add_argument('--frame_height', type=int, default=224, help='height of the stored frames')
    group.add_argument('--frame_width', type=int, default=224, help='width of the stored frames')
    group.add_argument('--channels', type=int, default=3,
                       help='3 of RGB' + ('' if network == 's3dg' else ', 2 of optical flow'))
    group.add_argument('--label_mode', default='multi', choices=LABEL_MODES,
                       help='a clip has any number of labels (sigmoid), or exactly one (softmax)')
    group.add_argument('--num_data_workers', type=int, default=2,
                       help='processes that read clips; results do not depend on it')
    if network != 'i3d':
        group.add_argument('-c', '--crop', action='store_true', help='keep only a window of every frame')
        for flag, default, what in (('cropheight', 920, 'height of the window'), ('cropwidth', 1920, 'its width'),
                                    ('cropx', 0, 'its left edge'), ('cropy', 82, 'its upper edge')):
            group.add_argument(f'--{flag}', type=int, default=default, help=what)


def _add_training_flags(parser: argparse.ArgumentParser, network: str | None, *, start: str) -> None:
    group = parser.add_argument_group('training')
    group.add_argument('--monitor_steps', type=int, default=100, metavar='STEPS',
                       help='steps between two looks at the run: log, summaries, checkpoint and evaluation')
    group.add_argument('--train_steps', type=int, default=None, metavar='STEPS',
                       help='steps of the whole run; by default it goes on until Ctrl-C')
    group.add_argument('--learning_rate', type=float, default=0.1, help='learning rate, the same throughout')
    group.add_argument('--optimizer', default='momentum', choices=OPTIMIZERS,
                       help='gradient descent with momentum or without')
    group.add_argument('--momentum', type=float, default=0.9, help='momentum')
    group.add_argument('--weight_decay', type=float, default=1e-7, help='factor of the L2 term, and of the L1 term')
    group.add_argument('--dropout_rate', type=float, default=0.2, help='dropout before the logits')
    group.add_argument('--variables_to_warm_start', default=None, metavar='PART',
                       help=f'what is taken from --checkpoint_path: {start}; all by default')
    group.add_argument('--variables_to_train', default=None, metavar='PART',
                       help=f'what is trained: {start}; all by default')
    group.add_argument('--update_batch_norm', action='store_true',
                       help='let statistics of batch normalisation follow the clips also where nothing is trained')
    group.add_argument('--batch_norm_momentum', type=float, default=None,
                       help="how slowly these statistics follow; 0.9 by default, Kinetics' training had 0.999")
    group.add_argument('--seed', type=int, default=0, help='decides every random choice of the run')
    group.add_argument('--restart', action='store_true',
                       help='put the run in --model_dir aside, in its folder phase-1 and so on, and start a new one '
                            'from its parameters (or from --checkpoint_path); repeated, the new one goes on')
    if network != 'i3d':
        group.add_argument('--warm_start', action='store_true',
                           help='start from --checkpoint_path (i3d_estimator.py does without being told)')
        group.add_argument('--min_depth', type=int, default=16, help='least channels of a layer')
        group.add_argument('--depth_multiplier', type=float, default=1.0, help='factor of the channels of all layers')


def _add_other_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('results')
    group.add_argument('--add_image_summaries', type=yes_or_no, default=True, metavar='true|false',
                       help='show the middle frames of a batch in TensorBoard')
    group.add_argument('--metric_weights', default=None, metavar='CLASSES',
                       help='classes that count in scores: numbers, ranges (4-7) and parts of names (gate), separated '
                            'by commas; all by default')
    group.add_argument('--overwrite', action='store_true', help='replace eval.json or the predictions of before')
    group = parser.add_argument_group('devices')
    group.add_argument('--num_gpus', type=int, default=None,
                       help='GPUs; 0 computes on the CPU. By default 1 where there is one that can be used')
    group.add_argument('--gpu_num', type=int, default=None, help='which GPU, by default 0')


def config_from(args: argparse.Namespace) -> EstimatorConfig:
    """Return the flags as the record that the library takes."""
    return EstimatorConfig(**{name: value for name, value in vars(args).items() if name != 'debug'})


def main(args: argparse.Namespace) -> int:
    """Do what the mode says, and say where the results are."""
    config = config_from(args)
    check_config(config)
    engine.set_threads()
    from ..train.recipes import clip_estimator as estimator
    if config.trains:
        print(estimator.train(config).summary())
    elif config.mode == 'eval':
        print(_scores(estimator.evaluate(config)))
        print(Path(config.model_dir, 'eval.json'))
    elif config.mode == 'predict':
        print(*estimator.predict(config), sep='\n')
    else:
        print(_export(config))
    return 0


def _export(config: EstimatorConfig) -> Path:
    """Write the network as a bundle into a folder named by the time, and return it."""
    from ..deploy.bundle.what_is_exported import estimator_source
    from ..deploy.bundle.write import write_bundle
    from ..train.recipes.clip_estimator import devices
    source = estimator_source(config, devices(config))
    folder = Path(config.export_path or Path(config.model_dir, 'export')).expanduser() / str(int(time.time()))
    return write_bundle(source.net, folder, preprocess=source.preprocess, labels=source.labels, card=source.card,
                        notes=source.notes)


def _scores(result: dict) -> str:
    lines = [f'{name:<22}{value}' if isinstance(value, int) else f'{name:<22}{value:.6f}'
             for name, value in result['metrics'].items()]
    return '\n'.join(lines)
