"""``gluon-action COMMAND``: the commands under one name."""
from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

from . import youtube8m
from .command import run

#: name -> (module, what it does); the first word of a name of two is a group
COMMANDS = {
    'doctor': ('doctor', 'versions, decoders, devices: what is missing and the command that mends it'),
    'train': ('train_recognizer', 'train a recogniser (scripts/train_recognizer.py)'),
    'video-action-classifier': (
        'video_action_classifier',
        'fine-tune TimeSformer on clips of Epic-Kitchens (scripts/video_action_classifier.py)'),
    'test': ('test_recognizer', 'score a recogniser over segments x crops (scripts/test_recognizer.py)'),
    'benchmark-model': ('benchmark_model', 'parameters, operations and speed of models (scripts/benchmark_model.py)'),
    'predict': ('predict', 'what happens in your own videos: by a bundle, a run or published weights'),
    'test-video-action-classifier': (
        'test_video_action_classifier',
        'one video by an exported classifier, drawn (scripts/test_video_action_classifier.py)'),
    'evaluate-sample': ('evaluate_sample', "one video by I3D's two streams (scripts/evaluate_sample.py)"),
    'estimator': ('clip_estimator', 'I3D and S3D-G by steps on TFRecords (scripts/{i3d,s3dg}_estimator.py)'),
    'fuse-scores': ('fuse_scores', 'add up the scores of several tests (scripts/fuse_scores.py)'),
    'extract-flow': ('extract_flow', 'optical flow of videos, for two streams (scripts/extract_flow.py)'),
    'import-weights': ('import_weights', 'weights of torchvision, timm, mmaction2, pytorchvideo, DeepMind and others'),
    'export': ('export', 'a network as an ONNX bundle that predicts without MXNet (scripts/export_model.py)'),
    'verify': ('verify', 'check an exported bundle and replay its reference clip'),
    'quantize': ('quantize_model', 'a bundle in int8, calibrated on your videos (scripts/quantize_model.py)'),
    'list-models': ('list_models', 'the model zoo'),
    'models': ('models', 'published weights: list, info, download, verify, purge, mirror, publish'),
    'prepare-something-something': (
        'prepare_something_something',
        'check a download and write its lists (scripts/prepare_something_something.py)'),
    'make-clip-records': ('make_clip_records', 'clips of annotated videos as TFRecords (scripts/make_clip_records.py)'),
    'make-demo-data': ('make_demo_data', 'generate the videos that everything can be tried on'),
    **{f'youtube8m {name}': (f'youtube8m.{module}', text) for name, (module, text) in youtube8m.COMMANDS.items()},
}
#: name -> what its commands are for
GROUPS = {'youtube8m': 'YouTube-8M, from records to a submission: gluon-action youtube8m lists the commands'}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that is named first; its exit code is returned."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ['--version']:
        from gluon_action import __version__
        print(__version__)
        return 0
    group = argv.pop(0) if argv and argv[0] in GROUPS else ''
    if not argv or argv[0] in ('-h', '--help'):
        print(usage(group))
        return 0 if argv else 2
    name = f'{group} {argv[0]}'.strip()
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, [*COMMANDS, *GROUPS], n=1)
        hint = f'; did you mean {close[0]}?' if close else ''
        print(f'gluon-action: no command {name!r}{hint}\n\n{usage(group)}', file=sys.stderr)
        return 2
    module = importlib.import_module(f'gluon_action.cli.{COMMANDS[name][0]}')
    return run(module.parse_args, module.main, argv[1:], prog=f'gluon-action {name}')


def usage(group: str = '') -> str:
    """Return the text of ``gluon-action --help``, or of one of `GROUPS` with ``--help``."""
    rows = {name.removeprefix(group).strip(): text for name, (_, text) in COMMANDS.items()
            if name.count(' ') == bool(group) and name.startswith(group)} | ({} if group else GROUPS)
    lines = [f'usage: gluon-action {group} COMMAND [--help] [ARG ...]'.replace('  ', ' '), '', 'commands:']
    width = 2 + max(map(len, rows), default=0)
    return '\n'.join(lines + [f'  {name:<{width}}{text}' for name, text in rows.items()])
