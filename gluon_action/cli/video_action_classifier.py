"""``scripts/video_action_classifier.py``: fine-tune a network of clips on actions cut out of Epic-Kitchens."""
from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import engine, options
from ..errors import DeviceError
from ..files import replacing
from ..train.recipes.epic.options import ClassifierOptions
from .command import make_parser
from .find_lr_flags import FIND_LR, add_find_lr_flags, check_find_lr

if TYPE_CHECKING:
    from ..train.recipes.config import TrainConfig
    from ..train.recipes.epic.versions import LightningRun
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
  # resume where it was stopped
  %(prog)s ... --resume_from_checkpoint lightning_logs/version_0

The best epoch by validation leaves lightning_logs/version_N/checkpoints/epoch=E-step=S.params, the bundle
epoch=E-step=S beside it, and epoch=E-step=S.onnx for scripts/test_video_action_classifier.py.
"""

_ALWAYS = 'the best epoch is kept, and the state to resume from after each'
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


class _Refuse(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f'{option_string}: means nothing here: {REFUSED[self.dest]}')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser, with the flags of the original program and those of Lightning's Trainer."""
    parser = make_parser(__doc__.split(': ', 1)[1], epilog=EXAMPLES.replace('%', '%%').replace('%%(prog)s', '%(prog)s'))
    for group in ('data and network', 'training', "of Lightning's Trainer"):
        added = options.add_options(parser.add_argument_group(group), ClassifierOptions, group)
    for name in REFUSED:
        added.add_argument(f'--{name}', nargs='?', action=_Refuse, help=argparse.SUPPRESS)
    add_find_lr_flags(parser, spelled='learning_rate')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check_find_lr(args, parser)
    options.check_numbers(args, options.options_of(ClassifierOptions).values(), parser.error)
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
    from ..train.recipes.epic.classifier import prepared_clips
    given, card = options.config_from(ClassifierOptions, args), model_card(args.model)
    # How long clips are is the network's, or that of the weights which it starts from.
    source = args.checkpoint or args.resume_from_checkpoint
    return given.train_config(prepared_clips(given.train_config(card), card, source).card)


def run_from(args: argparse.Namespace) -> LightningRun:
    """Return what the flags say beside that."""
    from ..train.recipes.epic.versions import LightningRun
    return LightningRun(args.default_root_dir, args.checkpoint, args.resume_from_checkpoint, args.limit_train_batches,
                        args.limit_val_batches, args.fast_dev_run)


def main(args: argparse.Namespace) -> int:
    """Train, test the best epoch, export it, and say where it is."""
    config = config_from(args)
    if args.gpus is None and _gpu_is_there(args.engine):
        config = dataclasses.replace(config, num_gpus=1)
    engine.set_threads()
    from ..deploy.onnx.export import check_packages
    from ..train.recipes.epic.classifier import train_in_versions
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
                                                                   f'{result.scores["expected"]} clips'},
                     origin=source.origin)
    if not model.exists():
        try:
            os.link(folder / MODEL, model)
        except OSError:  # a file system without links
            with replacing(model) as part:
                shutil.copyfile(folder / MODEL, part)
    return [result.save_dir / 'history.png', result.best, folder, model]


def _find_rate(args: argparse.Namespace, config: TrainConfig) -> str:
    from ..train.recipes.epic.classifier import check_clips, prepared_clips, start_from
    from ..train.recipes.epic.versions import LOGS, new_version
    from ..train.recipes.lr_finder import RangeTest, conclusion, find_for
    card = check_clips(config)
    test = RangeTest(*(getattr(args, name) for name in FIND_LR[1:]))
    folder = new_version(Path(args.default_root_dir).expanduser() / LOGS, 'find_lr')
    try:
        curve = find_for(config, test, folder, prepared=prepared_clips(config, card, args.checkpoint),
                         start=lambda loop: start_from(loop, args.checkpoint))
    except BaseException:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    return conclusion(curve, '--learning_rate', folder)


def _gpu_is_there(name: str) -> bool:
    from ..compute.engines import ENGINES
    try:
        ENGINES[name](1).contexts()
    except DeviceError:
        return False
    return True
