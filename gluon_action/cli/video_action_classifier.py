"""``scripts/video_action_classifier.py``: fine-tune a network of clips on actions cut out of Epic-Kitchens."""
from __future__ import annotations

import argparse
import dataclasses
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import engine
from ..errors import DeviceError
from ..files import replacing
from ..options import yes_or_no
from .command import make_parser
from .find_lr_flags import FIND_LR, add_find_lr_flags, check_find_lr

if TYPE_CHECKING:
    from ..train.recipes.config import TrainConfig
    from ..train.recipes.epic_classifier import LightningRun
    from ..train.run.run import TrainResult

EXAMPLES = """data:
  DATA_PATH/{train,val}/<participant>/<video>/frame_0000000001.jpg ...
  DATA_PATH/{train,val}_action_classes.csv     participant_id,video_id,start_frame,stop_frame,action_class
  DATA_PATH/class_names.json                   {"open bag": 0, "take bag": 1}

examples:
  # from weights of other videos; nothing in the file is run
  %(prog)s --data_path=data --batch_size=1 --max_epochs=50 --log_every_n_steps=13 --num_classes=2 \\
      --checkpoint=TimeSformer_divST_8x32_224_HowTo100M.pyth
  # which learning rate? a picture and a suggestion, in 100 steps
  %(prog)s --data_path=data --checkpoint=TimeSformer_divST_8x32_224_HowTo100M.pyth --find-lr
  # a small network, on a CPU
  %(prog)s --data_path=data --model timesformer_small_custom --input_size 56 --optimizer adamw
  # go on where it was stopped
  %(prog)s ... --resume_from_checkpoint lightning_logs/version_0

The best epoch by validation leaves lightning_logs/version_N/checkpoints/epoch=E-step=S.params, the bundle
epoch=E-step=S beside it, and epoch=E-step=S.onnx for scripts/test_video_action_classifier.py.
"""

_ALWAYS = 'the best epoch is kept, and the state to go on from after each'
_FLOAT32 = 'networks are trained in float32'
_EPOCHS = 'training goes by epochs, --max_epochs of them'
_ONE_MACHINE = 'this command trains on one machine, with --gpus; docs/distributed.md shows several'
_VALIDATES = 'every epoch is validated, which choosing the best needs'
#: Flags of Lightning's Trainer that mean nothing here, and why.
REFUSED = {
    'accelerator': 'GPUs are chosen with --gpus', 'amp_backend': _FLOAT32,
    'amp_level': _FLOAT32, 'auto_lr_find': '--find-lr suggests a rate',
    'auto_scale_batch_size': 'choose with --batch_size', 'auto_select_gpus': 'the first --gpus are taken',
    'benchmark': 'convolutions are chosen by MXNET_CUDNN_AUTOTUNE_DEFAULT', 'callbacks': _ALWAYS,
    'check_val_every_n_epoch': _VALIDATES, 'checkpoint_callback': _ALWAYS, 'deterministic': 'every run is',
    'devices': 'GPUs are chosen with --gpus', 'distributed_backend': _ONE_MACHINE,
    'enable_checkpointing': _ALWAYS, 'enable_progress_bar': 'a bar is shown where there is a terminal',
    'flush_logs_every_n_steps': 'logs are written at once', 'ipus': 'MXNet knows CPUs and GPUs',
    'limit_predict_batches': 'nothing is predicted; scripts/test_video_action_classifier.py does',
    'limit_test_batches': 'the test is on the videos of the validation, see --limit_val_batches',
    'log_gpu_memory': 'nvidia-smi shows it', 'logger': 'TensorBoard, train.log and metrics.jsonl are always written',
    'max_steps': _EPOCHS, 'max_time': _EPOCHS, 'min_epochs': 'nothing stops before --max_epochs', 'min_steps': _EPOCHS,
    'move_metrics_to_cpu': 'scores are always there', 'multiple_trainloader_mode': 'there is one loader',
    'num_nodes': _ONE_MACHINE, 'num_processes': _ONE_MACHINE,
    'num_sanity_val_steps': 'lists and classes are checked before the first step, and --fast_dev_run tries all',
    'overfit_batches': '--limit_train_batches takes a part of the videos', 'plugins': 'there are none',
    'prepare_data_per_node': _ONE_MACHINE, 'process_position': 'there is one bar',
    'profiler': 'MXNet has its own, MXNET_PROFILER_AUTOSTART=1',
    'progress_bar_refresh_rate': 'a bar is shown where there is a terminal',
    'reload_dataloaders_every_epoch': 'lists are read once', 'reload_dataloaders_every_n_epochs': 'lists are read once',
    'replace_sampler_ddp': _ONE_MACHINE, 'stochastic_weight_avg': 'the best epoch is kept as it is',
    'strategy': _ONE_MACHINE, 'sync_batchnorm': 'transformers have no batch normalisation',
    'terminate_on_nan': 'a loss without value always ends a run', 'tpu_cores': 'MXNet knows CPUs and GPUs',
    'track_grad_norm': 'the gradient is limited by --gradient_clip_val, not recorded',
    'truncated_bptt_steps': 'there is no recurrence', 'val_check_interval': _VALIDATES,
    'weights_save_path': 'everything is in --default_root_dir',
    'weights_summary': '--fast_dev_run says how large the network is'}
#: Decay of the weights by optimizer, as in PyTorch.
_DECAYS = {'adam': 0., 'adamw': 0.01, 'sgd': 0.}
#: Least value of what is a number.
_LEAST = {'num_classes': 1, 'input_size': 1, 'num_workers': 0, 'batch_size': 1, 'learning_rate': 0, 'weight_decay': 0,
          'seed': 0, 'max_epochs': 1, 'log_every_n_steps': 0, 'gpus': 0, 'accumulate_grad_batches': 1,
          'gradient_clip_val': 0, 'fast_dev_run': 0}


class _Refuse(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f'{option_string}: means nothing here: {REFUSED[self.dest]}')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser, with the flags of the original program and those of Lightning's Trainer."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES.replace('%', '%%').replace('%%(prog)s', '%(prog)s'))
    _add_own_flags(parser)
    _add_trainer_flags(parser)
    add_find_lr_flags(parser, spelled='learning_rate')
    return parser


def _add_own_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('data and network')
    group.add_argument('--data_path', default='', help='folder of frames and lists; by default where you are')
    group.add_argument('--model', default='timesformer_divst_8x32_custom',
                       help='network of clips; timesformer_small_custom is for CPUs')
    group.add_argument('--checkpoint', default='', metavar='FILE',
                       help="weights to start from: a .pyth of TimeSformer's authors, a ViT of timm, a .params, or the "
                            'version_N of a run; without it every layer starts at random')
    group.add_argument('--num_classes', type=int, default=None, help="classes; by default those of class_names.json")
    group.add_argument('--input_size', type=int, default=None,
                       help="height and width that the network sees; by default the model's. Short sides are 256/224 "
                            'of it, in training drawn up to 320/224')
    group.add_argument('--flip_prob', type=float, default=0.5,
                       help='share of training clips that are mirrored; 0 where classes have sides')
    group.add_argument('--color_jitter', type=float, default=0., metavar='STRENGTH',
                       help='change the colours of a training clip at random, 0 not at all to 5')
    group.add_argument('--num_workers', type=int, default=4, help='processes that read; results do not depend on it')
    group.add_argument('--on_error', '--on-error', default='raise', choices=('raise', 'skip'),
                       help='a training clip that cannot be read: stop, or leave it out and record it')
    group = parser.add_argument_group('training')
    group.add_argument('--batch_size', type=int, default=1, help='clips a step and device')
    group.add_argument('--learning_rate', type=float, default=1e-4, help='learning rate, the same throughout')
    group.add_argument('--optimizer', default='adam', choices=tuple(_DECAYS),
                       help='Adam; the same with decoupled weight decay; gradient descent with momentum 0.9')
    group.add_argument('--weight_decay', type=float, default=None,
                       help="by default as in PyTorch: adamw's 0.01, otherwise 0")
    group.add_argument('--freeze_layers', nargs='?', const=True, default=False, type=yes_or_no, metavar='true|false',
                       help='train the head alone; everything else stays exactly as it is')
    group.add_argument('--seed', type=int, default=1234, help='decides every random choice of the run')


def _add_trainer_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of Lightning's Trainer")
    group.add_argument('--max_epochs', type=int, default=50, help='epochs')
    group.add_argument('--log_every_n_steps', type=int, default=50, metavar='STEPS',
                       help='steps between lines of the log; 0 for none')
    group.add_argument('--default_root_dir', default='.', metavar='FOLDER', help='where lightning_logs is')
    group.add_argument('--resume_from_checkpoint', default='', metavar='version_N',
                       help='go on with a run, in its folder: lightning_logs/version_N, or one of its '
                            'checkpoints/step-...')
    group.add_argument('--gpus', type=int, default=None,
                       help='GPUs; 0 computes on the CPU. By default one where there is one that can be used')
    group.add_argument('--precision', default='32', metavar='32', help='bits of a number; others are refused')
    group.add_argument('--accumulate_grad_batches', type=int, default=1, metavar='BATCHES',
                       help='batches that are added up to one step')
    group.add_argument('--gradient_clip_val', type=float, default=0., metavar='LIMIT',
                       help='limit of the gradient; 0 for none')
    group.add_argument('--gradient_clip_algorithm', default='norm', choices=('norm', 'value'),
                       help='whether the limit is of its norm or of each element')
    for name in ('train', 'val'):
        group.add_argument(f'--limit_{name}_batches', type=_number_or_part, default=1., metavar='N|PART',
                           help=f'batches of a {"training" if name == "train" else "validation"} epoch, as a whole '
                                'number, or the part of them')
    group.add_argument('--fast_dev_run', nargs='?', const=1, default=0, type=_batches, metavar='N',
                       help='try whether everything runs, on one batch or N, and write nothing')
    for name in REFUSED:
        group.add_argument(f'--{name}', nargs='?', action=_Refuse, help=argparse.SUPPRESS)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_find_lr(args, parser.error)
    for name, least in _LEAST.items():
        value = getattr(args, name)
        if value is not None and not least <= value < math.inf:  # which nan is not either
            parser.error(f'--{name} must be {least} or more, got {value}')
    if args.gradient_clip_algorithm != 'norm' and not args.gradient_clip_val:
        parser.error('--gradient_clip_algorithm: needs a limit, --gradient_clip_val')
    if args.precision != '32':
        parser.error(f'--precision {args.precision}: MXNet cannot mix precisions in a transformer, so that 32 is all '
                     'there is; train_recognizer.py --use-amp does for networks of convolutions')
    if args.find_lr and (args.fast_dev_run or args.resume_from_checkpoint):
        parser.error('--find-lr: contradicts --fast_dev_run and --resume_from_checkpoint')
    return args


def config_from(args: argparse.Namespace) -> TrainConfig:
    """Return the flags as the record that the library takes."""
    from ..model_zoo import model_card
    from ..train.recipes.config import TrainConfig
    card, data = model_card(args.model), Path(args.data_path).expanduser()
    size = args.input_size or card.input_size
    limit = {'clip_norm' if args.gradient_clip_algorithm == 'norm' else 'clip_grad': args.gradient_clip_val}
    decay = _DECAYS[args.optimizer] if args.weight_decay is None else args.weight_decay
    return TrainConfig(
        model=args.model, dataset='epic_kitchens', list_format='epic', num_classes=args.num_classes,
        data_dir=str(data / 'train'), train_list=str(data / 'train_action_classes.csv'),
        val_data_dir=str(data / 'val'), val_list=str(data / 'val_action_classes.csv'),
        new_length=card.clip_length, clip_sampling='spread', input_size=size, data_aug='v3',
        new_height=round(size * 256 / 224), new_width=round(size * 320 / 224), flip_prob=args.flip_prob,
        color_jitter=args.color_jitter, num_workers=args.num_workers, on_error=args.on_error, pretrained_base=False,
        train_params='head' if args.freeze_layers else 'all', optimizer=args.optimizer, lr=args.learning_rate,
        lr_mode='constant', wd=decay, batch_size=args.batch_size, num_epochs=args.max_epochs,
        accumulate=args.accumulate_grad_batches, **limit, num_gpus=args.gpus or 0,
        seed=args.seed, log_interval=args.log_every_n_steps)


def run_from(args: argparse.Namespace) -> LightningRun:
    """Return what the flags say beside that."""
    from ..train.recipes.epic_classifier import LightningRun
    return LightningRun(args.default_root_dir, args.checkpoint, args.resume_from_checkpoint, args.limit_train_batches,
                        args.limit_val_batches, args.fast_dev_run)


def main(args: argparse.Namespace) -> int:
    """Train, test the best epoch, export it, and say where it is."""
    config = config_from(args)
    if args.gpus is None and _gpu_is_there():
        config = dataclasses.replace(config, num_gpus=1)
    engine.set_threads()
    from ..deploy.onnx.export import check_packages
    from ..train.recipes.epic_classifier import train_in_versions
    if args.find_lr:
        print(_find_rate(args, config))
        return 0
    check_packages()  # before hours of training
    result = train_in_versions(config, run_from(args))
    print('  '.join(f'{name}={value:.4f}' for name, value in result.scores.items() if isinstance(value, float)))
    print(*(_export(result) if result.save_dir else ['nothing was written']), sep='\n')
    return 0


def _export(result: TrainResult) -> list[Path]:
    """Write the best epoch as a bundle, and its model once more as a file, which describes itself."""
    from ..deploy.bundle.format import MODEL
    from ..deploy.bundle.what_is_exported import open_source
    from ..deploy.bundle.write import write_bundle
    folder, model = result.best.with_suffix(''), result.best.with_suffix('.onnx')
    if not folder.exists():
        source = open_source(result.save_dir)
        write_bundle(source.net, folder, preprocess=source.preprocess, labels=source.labels, card=source.card,
                     notes={**source.notes, 'Validation accuracy': f'{100 * result.scores["test_acc"]:.2f} % of '
                                                                   f'{result.scores["expected"]} clips'})
    if not model.exists():
        try:
            os.link(folder / MODEL, model)
        except OSError:  # a file system without links
            with replacing(model) as part:
                shutil.copyfile(folder / MODEL, part)
    return [result.save_dir / 'history.png', result.best, folder, model]


def _find_rate(args: argparse.Namespace, config: TrainConfig) -> str:
    from ..train.recipes.epic_classifier import LOGS, check_clips, new_version, start_from
    from ..train.recipes.lr_finder import RangeTest, conclusion, find_for
    check_clips(config)
    test = RangeTest(*(getattr(args, name) for name in FIND_LR[1:]))
    folder = new_version(Path(args.default_root_dir).expanduser() / LOGS, 'find_lr')
    try:
        curve = find_for(config, test, folder, prepare=lambda loop: start_from(loop, args.checkpoint))
    except BaseException:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    return conclusion(curve, '--learning_rate', folder)


def _gpu_is_there() -> bool:
    try:
        engine.check_gpus(1)
    except DeviceError:
        return False
    return True


def _number_or_part(text: str) -> int | float:
    try:
        value = int(text)
    except ValueError:
        value = float(text)
    if not 0 < value or isinstance(value, float) and value > 1:
        raise argparse.ArgumentTypeError(f'must be a number of batches from 1, or a part of them above 0.0 and at most '
                                         f'1.0, got {text}')
    return value


def _batches(text: str) -> int:
    if text.lower() in ('true', 'false'):
        return int(text.lower() == 'true')
    return int(text)
