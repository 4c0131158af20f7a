"""Flags that say what predicts, and how windows become an answer: of ``predict`` and ``serve``."""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..data.reading.media.damage import ON_DAMAGE
from ..evaluate.options.recognizer_options import RecognizerOptions
from ..options import add_options, options_of
from ..weights.options import WeightsOptions
from .own_modules import add_import_flag

if TYPE_CHECKING:
    from ..deploy.predict.predictor import Predictor


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add what predicts."""
    parser.add_argument('bundle', metavar='MODEL',
                        help='a bundle, an ONNX file of one, the folder of a training run, FILE.params, or a model of '
                             'the zoo')


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say whose weights and classes are meant."""
    parser.add_argument('--model', default=None, help='network of a FILE.params that lies outside of its run')
    parser.add_argument('--use-pretrained', action='store_true', help='published weights of a model of the zoo')
    parser.add_argument('--class-names', default=None, metavar='FILE',
                        help="names of the model's classes in the order of their numbers, one a line, or JSON; by "
                             'default those that it brings')
    options_of(RecognizerOptions)['hashtag'].add_to(parser)
    add_options(parser, WeightsOptions, 'weights')
    add_import_flag(parser)


def add_decision(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how windows become an answer, and how fast."""
    group = parser.add_argument_group('how it is decided')
    group.add_argument('--threshold', type=float, default=None, metavar='P',
                       help='least probability of an answer, in 0..1: a video below it is "none of these", and a '
                            'moment in no segment; of several labels all those above it are the answer')
    group.add_argument('--stride', type=int, default=None,
                       help="frames from one clip to the next; by default the model's, half a clip")
    group.add_argument('--vote', default='mean', choices=('mean', 'majority'),
                       help='what decides about a video: mean probabilities, or the number of windows that a class won')
    group.add_argument('--rolling', type=float, default=2.0, metavar='SECONDS',
                       help='what the rolling mean that is drawn looks back on, and what segments are smoothed over')
    group.add_argument('--on-damage', default='skip', choices=ON_DAMAGE,
                       help='frames that are damaged: skip leaves them out and lists them, accept takes those of which '
                            'the decoder guesses parts, raise refuses the video')
    group.add_argument('--flow-method', default='tvl1', choices=('tvl1', 'farneback'),
                       help='for a model of optical flow: how flow is computed')
    group = parser.add_argument_group('how fast')
    group.add_argument('--threads', type=int, default=None, help='threads that compute; by default all cores')
    group.add_argument('--batch-size', type=int, default=None,
                       help='windows that are computed together; by default 8, or fewer large ones')
    for name in ('engine', 'num_gpus'):
        options_of(RecognizerOptions)[name].add_to(group)


def check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be."""
    for name in ('top_k', 'stride', 'threads', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be 1 or more, got {value}')
    for name in ('fps', 'rolling'):
        value = getattr(args, name, None)
        if value is not None and not 0 < value < float('inf'):
            parser.error(f'--{name} must be a number above 0, got {value:g}')
    threshold = args.threshold
    if threshold is not None and not 0 <= threshold <= 1:
        percent = f'; {threshold:g} % is {threshold / 100:g}' if 1 < threshold <= 100 else ''
        parser.error(f'--threshold must be a probability in 0..1, got {threshold:g}{percent}')


def opened(args: argparse.Namespace) -> Predictor:
    """Open the model that the flags name."""
    from ..data.lists.classes.class_files import read_class_names
    from ..deploy.predict.open_predictor import open_predictor
    return open_predictor(args.bundle, model=args.model, use_pretrained=args.use_pretrained, hashtag=args.hashtag,
                          weights_index=args.weights_index, trust_first_use=args.trust_first_use, stride=args.stride,
                          batch_size=args.batch_size, rolling=args.rolling, vote=args.vote, threads=args.threads,
                          flow_method=args.flow_method, on_damage=args.on_damage, threshold=args.threshold,
                          engine=args.engine, num_gpus=args.num_gpus,
                          labels=args.class_names and read_class_names(args.class_names))
