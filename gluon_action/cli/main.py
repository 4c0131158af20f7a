"""``gluon-action COMMAND``: the commands under one name."""
from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

from . import youtube8m
from .command import run

#: What one wants to do -> the commands for it: name -> (module, what it does). A new command is a row of this table.
#: The first word of a name of two is one of `GROUPS`.
TASKS: dict[str, dict[str, tuple[str, str]]] = {
    'look at what is there': {
        'doctor': ('doctor', 'versions, decoders, devices: what is missing and the command that mends it'),
        'make-demo-data': ('make_demo_data', 'generate the videos that everything can be tried on'),
        'list-models': ('list_models', 'the model zoo: networks, their input and published accuracy'),
        'models': ('models', 'published weights: list, info, download, verify, purge, mirror, publish'),
        'import-weights': (
            'import_weights', 'weights of torchvision, timm, mmaction2, pytorchvideo, DeepMind and others'),
        'completion': ('completion', 'what makes bash, zsh or tcsh complete commands, flags, files and models'),
    },
    'prepare data': {
        'check-data': ('check_data', 'what is wrong with your videos: damage, copies, leaks, holes; with a page'),
        'prepare-videos': ('prepare_videos', 'copies of videos that decode several times faster, proved, with lists'),
        'extract-flow': ('extract_flow', 'optical flow of videos, for two streams'),
        'make-clip-records': ('make_clip_records', 'clips of annotated videos as TFRecords'),
        'prepare-something-something': (
            'prepare_something_something', 'check a download of Something-Something and write its lists'),
    },
    'train': {
        'train': ('train_recognizer', 'train a recogniser on videos'),
        'estimator': ('clip_estimator', 'I3D and S3D-G by steps on TFRecords of clips'),
        'video-action-classifier': ('video_action_classifier', 'fine-tune TimeSformer on clips of Epic-Kitchens'),
    },
    'test': {
        'test': ('test_recognizer', 'score a recogniser over segments x crops, and report it'),
        'report': ('report', 'the page of a training or a test anew: curves, wrong videos, confusions, time'),
        'compare': ('compare', 'trainings or tests side by side: what differs, who is better, could it be chance'),
        'fuse-scores': ('fuse_scores', 'add up the scores of several tests, such as two streams'),
        'benchmark-model': ('benchmark_model', 'parameters, operations and speed of models'),
    },
    'predict': {
        'predict': ('predict', 'what happens in your own videos: by a bundle, a run or published weights'),
        'serve': ('serve', 'a page on this machine: drop a video, see its labels and a timeline that plays them'),
        'extract-features': ('extract_features', 'features of your own videos, by any layer of any model'),
        'evaluate-sample': ('evaluate_sample', "one video by I3D's two streams"),
        'test-video-action-classifier': (
            'test_video_action_classifier', 'one video by an exported classifier, drawn'),
    },
    'share': {
        'export': ('export', 'a network as an ONNX bundle that predicts without MXNet'),
        'verify': ('verify', 'check an exported bundle and replay its reference clip'),
        'quantize': ('quantize_model', 'a bundle in int8, calibrated on your videos'),
    },
    'YouTube-8M': {
        f'youtube8m {name}': (f'youtube8m.{module}', text) for name, (module, text) in youtube8m.COMMANDS.items()
    },
}
#: name -> (module, what it does)
COMMANDS = {name: row for rows in TASKS.values() for name, row in rows.items()}
#: name -> what its commands are for
GROUPS = {'youtube8m': 'features of videos, from records to a submission: gluon-action youtube8m lists the commands'}

#: What a command returns to the shell, see `gluon_action.cli.command.run`.
EXIT_CODES = {0: 'done', 1: 'failed', 2: 'bad usage', 130: 'interrupted (Ctrl-C)',
              143: 'ended by SIGTERM; a training has saved its state'}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that is named first; its exit code is returned."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ['--version']:
        from gluon_action import __version__
        print(__version__)
        return 0
    group = argv.pop(0) if argv and argv[0] in GROUPS else ''
    if not argv or argv[0] in ('-h', '--help', '--help-all'):
        print(usage(group))
        return 0
    name = f'{group} {argv[0]}'.strip()
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, [*COMMANDS, *GROUPS], n=1)
        hint = f'; did you mean {close[0]}?' if close else ''
        program = f'gluon-action {group}'.strip()
        print(f'gluon-action: no command {name!r}{hint}\n{program} --help lists the commands', file=sys.stderr)
        return 2
    module = importlib.import_module(f'gluon_action.cli.{COMMANDS[name][0]}')
    return run(module.parse_args, module.main, argv[1:], prog=f'gluon-action {name}')


def usage(group: str = '') -> str:
    """Return what ``gluon-action`` can do by itself or with ``--help``; what one of `GROUPS` can."""
    lines = [' '.join(filter(None, ('usage: gluon-action', group, 'COMMAND [ARG ...]')))]
    for task, rows in TASKS.items():
        names = {name.removeprefix(f'{group} '): text for name, (_, text) in rows.items()
                 if name.count(' ') == bool(group) and name.startswith(group)}
        if not group:
            names |= {name: text for name, text in GROUPS.items() if any(row.startswith(f'{name} ') for row in rows)}
        if names:
            lines += ['', f'{task}:', *(f'  {name:<29}{text}' for name, text in names.items())]
    codes = ', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())
    return '\n'.join([*lines, '', 'COMMAND --help shows its usual options and examples, --help-all every option.',
                      f'exit codes: {codes}'])
