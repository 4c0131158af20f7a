"""Flags that training and testing share, with GluonCV's names, defaults and meanings.

What they ask for is opened by `gluon_action.data.by_name.open_dataset` and its transforms.
"""
from __future__ import annotations

import argparse
import math

from ..data.by_name import DEMOS, PRESETS
from ..data.lists.formats import FORMATS
from ..data.reading.sampling import CLIP_SAMPLINGS

#: Data sets that --dataset knows. The demo ones are generated, the others are looked for under --data-dir.
DATASETS = (*PRESETS, 'custom', *DEMOS)


def add_data_flags(parser: argparse.ArgumentParser, *, new_width: int, new_height: int) -> argparse._ArgumentGroup:
    """Add what decides which videos are read and how; the defaults of the two sizes differ between commands."""
    group = parser.add_argument_group('data')
    group.add_argument('--dataset', default='ucf101', choices=DATASETS,
                       help='data set; those whose names start with demo are generated where --data-dir says')
    group.add_argument('--data-dir', default=None,
                       help="folder that the list's paths start from; default ~/.mxnet/datasets/ucf101/rawframes and "
                            'the like')
    group.add_argument('--list-format', default='auto',
                       choices=('auto', *FORMATS),
                       help='format of the list; auto looks at it')
    group.add_argument('--label-base', type=int, default=None, choices=(0, 1),
                       help='number of the first class in the list; by default 0, or what the format fixes')
    group.add_argument('--multi-label', action='store_true', help='a video may have several labels')
    group.add_argument('--num-classes', type=int, default=None,
                       help="number of classes; by default the data set's, or the list's largest label + 1")
    group.add_argument('--num-segments', type=int, default=1, help='segments a video is divided into (TSN)')
    group.add_argument('--new-length', type=int, default=1, help='frames a clip')
    group.add_argument('--new-step', type=int, default=1, help='stride between the frames of a clip')
    group.add_argument('--new-height', type=int, default=new_height,
                       help='height frames are resized to before augmentation, 0 for none; also the short side of '
                            '--data-aug v2 and v4 and the smallest of v3')
    group.add_argument('--new-width', type=int, default=new_width,
                       help='width frames are resized to before augmentation, 0 for none; also the largest short side '
                            'of --data-aug v3')
    group.add_argument('--input-size', type=int, default=224, help='crop that the network sees, in pixels')
    group.add_argument('--data-aug', default='v1', choices=('v1', 'v2', 'v3', 'v4'),
                       help='augmentation: v1 multi-scale crop; v2 the same after resizing the short side; v3 random '
                            'short side and crop; v4 random resized crop')
    group.add_argument('--video-loader', action='store_true',
                       help='entries of the list are video files (a missing extension is added) and nothing else; '
                            'by default each may be a file or a folder of frames')
    group.add_argument('--use-decord', action='store_true', help='the same as --decoder decord')
    group.add_argument('--decoder', default='auto', choices=('auto', 'decord', 'pyav'),
                       help='who reads video files; auto takes PyAV, and decord for what PyAV has no decoder for')
    group.add_argument('--decode-timeout', type=float, default=60., metavar='SECONDS',
                       help='a video that takes longer to read has failed; 0 for no limit')
    group.add_argument('-j', '--num-data-workers', dest='num_workers', type=int, default=4,
                       help='processes that read videos; results do not depend on it')
    group.add_argument('--prefetch-ratio', type=float, default=2.,
                       help='batches (in a test: videos) read ahead, times the workers')
    group.add_argument('--slowfast', action='store_true', help='sample frames for a SlowFast network')
    group.add_argument('--slow-temporal-stride', type=int, default=16, help='stride of the slow pathway')
    group.add_argument('--fast-temporal-stride', type=int, default=2, help='stride of the fast pathway')
    return group


def add_clip_sampling_flag(group: argparse._ArgumentGroup) -> None:
    """Add the choice between frames side by side and frames from the whole video."""
    group.add_argument('--clip-sampling', default='consecutive', choices=CLIP_SAMPLINGS,
                       help='frames of a clip: --new-step apart, or (spread) one of each of --new-length equal parts '
                            'of the video, in training a random one and otherwise its middle')


def add_model_flags(parser: argparse.ArgumentParser, *, use_tsn: str) -> argparse._ArgumentGroup:
    """Add what decides the network and where its weights come from; `use_tsn` says what that flag means."""
    group = parser.add_argument_group('model')
    group.add_argument('--model', required=True, help='name in the model zoo; gluon-action list-models shows them')
    group.add_argument('--use-tsn', action='store_true', help=use_tsn)
    group.add_argument('--use-pretrained', action='store_true', help="download the model's published weights")
    group.add_argument('--hashtag', default='', help='which published weights, with --use-pretrained')
    group.add_argument('--resume-params', default='', metavar='FILE', help='parameters to start from')
    group.add_argument('--mode', default=None, choices=('hybrid', 'imperative'),
                       help='hybrid (the default) compiles the network; imperative runs it operator by operator')
    group.add_argument('--dtype', default='float32', choices=('float32', 'float16'), help='type of the parameters')
    group.add_argument('--use_se', action='store_true', help='squeeze-and-excitation variant of the network')
    group.add_argument('--use-gn', action='store_true', help='group instead of batch normalisation (ResNets)')
    group.add_argument('--batch-norm', action='store_true', help='batch-normalised variant of VGG')
    group.add_argument('--input-5d', action='store_true',
                       help='the network takes clips (N, C, T, H, W), also of a single frame')
    return group


def add_device_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the devices to compute on."""
    group = parser.add_argument_group('devices')
    group.add_argument('--num-gpus', type=int, default=0, help='GPUs to use; 0 computes on the CPU')
    group.add_argument('--num-cpus', type=int, default=1, metavar='N',
                       help='without GPUs: split each batch over N CPU contexts, as GPUs would')
    return group


def add_find_lr_flags(parser: argparse.ArgumentParser, spelled: str = 'lr') -> argparse._ArgumentGroup:
    """Add the learning rate finder; `spelled` is what the command calls the rate."""
    group = parser.add_argument_group('finding a learning rate')
    group.add_argument('--find-lr', action='store_true',
                       help='do not train but try rates that rise from step to step, draw the loss over them, and '
                            f'suggest one as the --{spelled} to pass; parameters and runs are left as they are')
    group.add_argument('--find-lr-from', type=float, default=1e-7, metavar='RATE', help='rate of the first step')
    group.add_argument('--find-lr-to', type=float, default=10., metavar='RATE',
                       help='rate of the last step; it ends before where the loss has broken')
    group.add_argument('--find-lr-steps', type=int, default=100, metavar='STEPS', help='updates')
    return group


#: What `add_find_lr_flags` adds to the arguments, apart from the configuration of a run.
FIND_LR = ('find_lr', 'find_lr_from', 'find_lr_to', 'find_lr_steps')


def check_find_lr(args: argparse.Namespace, parser_error) -> None:
    """Refuse numbers of the finder that nothing looks at."""
    given = (args.find_lr_from, args.find_lr_to, args.find_lr_steps)
    if not args.find_lr and given != (1e-7, 10., 100):
        parser_error('--find-lr-from, --find-lr-to and --find-lr-steps: mean something with --find-lr only')


def check_ranges(args: argparse.Namespace, parser_error) -> None:
    """Refuse numbers that cannot be, naming flag and limit; `parser_error` is ``parser.error``."""
    minima = {'num_segments': 1, 'new_length': 1, 'new_step': 1, 'new_height': 0, 'new_width': 0, 'input_size': 1,
              'num_workers': 0, 'decode_timeout': 0, 'num_gpus': 0, 'num_cpus': 1, 'batch_size': 1, 'num_classes': 1,
              'num_epochs': 1, 'accumulate': 1, 'log_interval': 0, 'save_frequency': 0, 'prefetch_ratio': 0,
              'lr': 0, 'wd': 0, 'momentum': 0, 'warmup_epochs': 0, 'warmup_lr': 0, 'clip_grad': 0, 'clip_norm': 0,
              'mixup_alpha': 0, 'temperature': 0, 'slow_temporal_stride': 1, 'fast_temporal_stride': 1,
              'num_iterations': 1, 'num_calib_batches': 1, 'mixup_off_epoch': 0, 'lr_decay': 0, 'lr_decay_period': 0,
              'resume_epoch': 0, 'checkpoint_steps': 0, 'max_distort': 0, 'seed': 0}
    for name, least in minima.items():
        value = getattr(args, name, None)
        if value is not None and not value >= least:  # which nan is not either
            flag = {'num_workers': 'num-data-workers'}.get(name, name.replace('_', '-'))
            parser_error(f'--{flag} must be {least} or more, got {value}')
    for name, value in vars(args).items():
        if isinstance(value, float) and not math.isfinite(value):
            parser_error(f'--{name.replace("_", "-")} must be a finite number, got {value}')
