"""Every option of every command changes something that can be seen, or is refused with the reason.

`ROWS` says for each option how; an option without a row fails the test. A row compares what is built or left behind
with and without the option, on a network small enough that a run takes a second.
"""
import argparse
import dataclasses
import importlib
import os
import re
import shutil
from pathlib import Path

import pytest
from flags_of_benchmark import BENCHMARK_ROWS
from flags_of_classifier import CLASSIFIER_ROWS
from flags_of_copies import COPY_ROWS
from flags_of_data_check import DATA_CHECK_ROWS
from flags_of_estimator import ESTIMATOR_ROWS
from flags_of_export import EXPORT_ROWS
from flags_of_extraction import EXTRACTION_ROWS
from flags_of_feature_demo import FEATURE_DEMO_ROWS
from flags_of_feature_evaluation import FEATURE_EVALUATION_ROWS
from flags_of_feature_files import FEATURE_FILE_ROWS
from flags_of_features import FEATURE_DISTILLATION_ROWS, FEATURE_TRAINING_ROWS
from flags_of_flow import FLOW_ROWS
from flags_of_import import IMPORT_ROWS
from flags_of_import_checkpoint import IMPORT_CHECKPOINT_ROWS
from flags_of_models import MODELS_ROWS
from flags_of_predict import PREDICT_ROWS
from flags_of_quantize import QUANTIZE_ROWS
from flags_of_records import RECORDS_ROWS
from flags_of_report import REPORT_ROWS
from flags_of_serve import SERVE_ROWS
from flags_of_shards import MERGE_ROWS
from flags_of_stored_models import STORED_MODEL_ROWS
from flags_of_streams import STREAM_ROWS
from flags_of_test import TEST_ROWS, scores
from flags_of_train import TRAIN_ROWS
from flags_world import (
    NAME,
    RESNET,
    World,
    changes,
    configured,
    datasets,
    drawn,
    fresh,
    learnt,
    same,
    seen,
    traceback_row,
    train_here,
    validated_clip,
)
from inception import few_blocks
from structure import structure_of
from tiny import forget, register_tiny

from gluon_action import model_zoo
from gluon_action.cli import main as commands
from gluon_action.cli import test_recognizer, train_recognizer
from gluon_action.cli.command import run
from gluon_action.cli.find_lr_flags import FIND_LR
from gluon_action.data.by_name import default_root
from gluon_action.errors import UsageError
from gluon_action.evaluate.options import config as test_config
from gluon_action.train.recipes import config as train_config


@pytest.fixture(scope='module')
def world(demo_appearance, tmp_path_factory):
    folder = tmp_path_factory.mktemp('flags')
    made = World(folder, demo_appearance)
    with pytest.MonkeyPatch.context() as patch, made.cleanup, few_blocks():
        register_tiny()
        patch.setenv('GLUON_ACTION_INDEX', str(made.index))
        patch.setenv('MXNET_HOME', str(folder))
        patch.setenv('MXNET_GLUON_REPO', 'http://127.0.0.1:9/')
        yield made
        forget(NAME)
    shutil.rmtree(folder)


# The small commands.

def in_process(module, argv, output):
    code = commands.main([module, *argv])
    return code, output.readouterr().out


def listing(*flags):
    @seen(*flags)
    def row(world, output, *flags):
        (_, before), (code, after) = (in_process('list-models', argv, output) for argv in ((), flags))
        assert code == 0 and before != after and NAME in before
    return row


@seen('--pictures')
def pictures_are_drawn(world, output, flag):
    code, said = in_process('list-models', [flag, str(world.new_folder())], output)
    paths = [Path(line.removeprefix('written: ')) for line in said.splitlines()]
    assert code == 0 and {'zoo_kinetics400.svg', 'zoo_ucf101.svg'} <= {path.name for path in paths}
    assert all(path.read_text().lstrip().startswith('<?xml') for path in paths)


MADE = ('demo_motion', '--train-per-class', '1', '--val-per-class', '1', '--size', '32', '--num-frames', '4')


def demo_made(world, *flags):
    """Bytes of every file that make-demo-data leaves."""
    root = world.new_folder()
    assert commands.main(['make-demo-data', *MADE, '--root', str(root), *flags]) == 0
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def first_demo_video(world, *flags):
    from gluon_action.data.reading.video_reader import VideoReader
    found = world.once(demo_made, *flags)
    path = world.folder / 'first.mp4'
    path.write_bytes(next(found[name] for name in sorted(found) if name.endswith('.mp4')))
    with VideoReader(path) as reader:
        return (len(reader), *reader.read([0])[0].shape[:2])


def demo_lines(split):
    return lambda world, *flags: len(world.once(demo_made, *flags)[
        f'demo_motion/demo_motion_{split}_split_1_videos.txt'].splitlines())


@seen('demo_appearance')
def the_named_data_are_made(world, output, *flags):
    root = world.new_folder()
    assert commands.main(['make-demo-data', *flags, *MADE[1:], '--root', str(root)]) == 0
    assert os.listdir(root) == ['demo_appearance']


@seen('--root', '{tmp}/demos')
def data_are_made_under_root(world, output, *flags):
    assert commands.main(['make-demo-data', *MADE, flags[0], str(world.folder / 'demos')]) == 0
    assert (world.folder / 'demos' / 'demo_motion' / 'videos').is_dir()


@seen('--seed', '5')
def other_videos_are_made(world, output, *flags):
    before, after = world.once(demo_made), world.once(demo_made, *flags)
    clips = [name for name in before if name.endswith('.mp4')]
    assert before.keys() == after.keys() and not any(before[name] == after[name] for name in clips)


def failing(name, *argv):
    """Of a command that does not fail by itself."""
    @seen('--debug')
    def row(world, output, *flags):
        parse_args = importlib.import_module(f'gluon_action.cli.{name}').parse_args
        for more in ((), flags):
            assert run(parse_args, lambda args: 1 // 0, [*argv, *more]) == 1
            assert ('Traceback' in output.readouterr().err) == bool(more)
    return row


@seen('zsh')
def the_shell_that_is_named_completes(world, output, shell):
    (_, bash), (code, zsh) = (in_process('completion', [name], output) for name in ('bash', shell))
    assert code == 0 and 'complete ' in bash and zsh.startswith('#compdef gluon-action')


def small(name, *argv):
    module = importlib.import_module(f'gluon_action.cli.{name}')
    return traceback_row(lambda world: [module, *(item.format(**world.paths) for item in argv)])


ROWS = {
    'train': TRAIN_ROWS,
    'test': TEST_ROWS,
    'benchmark-model': BENCHMARK_ROWS,
    'quantize': QUANTIZE_ROWS,
    'import-weights': IMPORT_ROWS,
    'models': MODELS_ROWS,
    'make-clip-records': RECORDS_ROWS,
    'check-data': DATA_CHECK_ROWS,
    'prepare-videos': COPY_ROWS,
    'extract-features': FEATURE_FILE_ROWS,
    'youtube8m extract_features': EXTRACTION_ROWS,
    'youtube8m import_checkpoint': IMPORT_CHECKPOINT_ROWS,
    'youtube8m merge': MERGE_ROWS,
    **STORED_MODEL_ROWS,
    'youtube8m train': FEATURE_TRAINING_ROWS,
    'youtube8m train_distill': FEATURE_DISTILLATION_ROWS,
    'youtube8m eval': FEATURE_EVALUATION_ROWS,
    **CLASSIFIER_ROWS,
    **ESTIMATOR_ROWS,
    **EXPORT_ROWS,
    **FLOW_ROWS,
    **STREAM_ROWS,
    **REPORT_ROWS,
    **PREDICT_ROWS,
    'serve': SERVE_ROWS,
    'doctor': {'--debug': failing('doctor')},
    'completion': {'--debug': failing('completion', 'bash'), 'shell': the_shell_that_is_named_completes},
    'list-models': {'--debug': small('list_models', 'no_such_*'), 'pattern': listing('tiny*'),
                    '--markdown': listing('--markdown'), '--pictures': pictures_are_drawn},
    'make-demo-data': {
        '--debug': small('make_demo_data', '--root', '{videos}/x', '--size', '31'),
        'names': the_named_data_are_made,
        '--root': data_are_made_under_root,
        '--train-per-class': changes(demo_lines('train'), '--train-per-class', '2', to=8),
        '--val-per-class': changes(demo_lines('val'), '--val-per-class', '2', to=8),
        '--size': changes(first_demo_video, '--size', '48', to=(4, 48, 64)),
        '--num-frames': changes(first_demo_video, '--num-frames', '6', to=(6, 32, 42)),
        '--seed': other_videos_are_made,
        **FEATURE_DEMO_ROWS,
    },
}


def options_of(command):
    """option -> its action, by the first long name; behind the name of the action where a command has several."""
    def options(parser):
        return {next((name for name in action.option_strings if name.startswith('--')), action.dest): action
                for action in parser._actions if not isinstance(action, argparse._HelpAction)}

    found = options(importlib.import_module(f'gluon_action.cli.{commands.COMMANDS[command][0]}').build_parser())
    if isinstance(found.get('action'), argparse._SubParsersAction):
        found |= {f'{name} {option}': action for name, parser in found.pop('action').choices.items()
                  for option, action in options(parser).items() if option != '--debug'}
    return found


@pytest.mark.parametrize('command', commands.COMMANDS)
def test_every_option_has_a_row(command):
    assert set(options_of(command)) == set(ROWS[command])


@pytest.mark.parametrize('command, option', [(c, o) for c, rows in ROWS.items() for o in rows])
def test_every_option_changes_something_or_says_why_not(command, option, world, capsys, caplog):
    row = ROWS[command][option]
    assert option in row.flags or not option.startswith('--')
    capsys.logs = caplog
    row(world, capsys)


def test_what_is_compared_does_not_change_by_itself(world):
    assert same(learnt(world), learnt(world)) and same(drawn(world), drawn(world))
    assert same(scores(world), scores(world, '--log-interval', '0'))


# What the table cannot say: contradictions, values with a meaning of their own, GluonCV's flags.

@pytest.mark.parametrize('flags, told', [
    (('--new-height', '40'), '--new-height and --new-width: go together'),
    (('--new-height', '40', '--new-width', '28'), '--input-size: 32 does not fit'),
    (('--data-aug', 'v2', '--new-height', '40', '--new-width', '48'), '--new-width: means nothing with --data-aug v2'),
    (('--data-aug', 'v2', '--new-height', '31'), '--new-height: 31 is less than --input-size 32: validation has'),
    (('--num-crop', '3', '--new-height', '40', '--new-width', '48'),
     '--num-crop: three crops of 32x32 must span one side of the frames, which are resized to 48x40'),
    (('--data-aug', 'v4', '--scale-ratios', '0.5'), '--scale-ratios: is about the multi-scale crop'),
    (('--data-aug', 'v4', '--max-distort', '2'), '--max-distort: is about the multi-scale crop'),
    (('--data-aug', 'v4', '--more-fix-crop'), '--more-fix-crop: is about the multi-scale crop'),
    (('--crop-ratio', '0.5', '--new-height', '40', '--new-width', '48'), '--crop-ratio: means nothing here: frames'),
    (('--crop-ratio', '0.5', '--num-crop', '3'), '--crop-ratio: means nothing here: --num-crop 3'),
    (('--crop-ratio', '0.5', '--data-aug', 'v4', '--new-height', '40'), '--crop-ratio: means nothing here'),
    (('--crop-ratio', '0.5', '--train-only'), '--crop-ratio: means nothing here: there is no validation'),
    (('--num-crop', '3', '--train-only'), '--num-crop: is about validation'),
    (('--max-skip-share', '0.5'), '--max-skip-share: means something with --on-error skip'),
    (('--max-skip-share', '2', '--on-error', 'skip'), '--max-skip-share: must be in 0..1'),
    (('--use-decord', '--decoder', 'pyav'), '--use-decord: contradicts'),
    (('--consensus', 'max', '--use-tsn'), '--consensus: needs --num-segments of 2'),
    (('--partial-bn', '--freeze-bn'), '--partial-bn: contradicts'),
    (('--num-gpus', '1', '--num-cpus', '2'), '--num-cpus: splits batches where there are no GPUs'),
    (('--engine', 'torch', '--dtype', 'float16', '--num-gpus', '1'),
     '--dtype: float16: only MXNet computes so; --engine torch trains in half as many bits with --use-amp'),
    (('--engine', 'torch', '--kvstore', 'dist_sync'), '--kvstore: dist_sync is a store of MXNet; --engine torch'),
    (('--engine', 'torch', '--mode', 'hybrid'), '--mode: says how MXNet runs a network'),
    (('--hashtag', 'x'), '--hashtag: names published weights'),
    (('--lr-mode', 'cosine', '--lr-decay', '0.5'), '--lr-decay: means something with --lr-mode step'),
    (('--lr-mode', 'cosine', '--lr-decay-epoch', '1'), '--lr-decay-epoch: means something with --lr-mode step'),
    (('--lr-mode', 'cosine', '--lr-decay-period', '1'), '--lr-decay-period: means something with --lr-mode step'),
    (('--lr-decay-period', '1', '--lr-decay-epoch', '1'), '--lr-decay-period: contradicts --lr-decay-epoch'),
    (('--lr', '0.5', '--lr-decay-epoch', '0:0.1,1:0.2'), '--lr: means nothing beside the rates'),
    (('--lr-decay', '0.5', '--lr-decay-epoch', '0:0.1,1:0.2'), '--lr-decay: means nothing beside the rates'),
    (('--clip-sampling', 'spread'), '--clip-sampling spread: tiny_ucf101 takes one frame'),
    (('--clip-sampling', 'dense'), '--clip-sampling dense: tiny_ucf101 takes one frame'),
    (('--model', 'i3d_rgb_custom', '--new-length', '8', '--new-step', '2', '--clip-sampling', 'spread'),
     '--clip-sampling spread: takes one clip'),
    (('--momentum', '0.5', '--optimizer', 'adam'), '--momentum: means nothing with --optimizer adam'),
    (('--color-jitter', '6'), '--color-jitter: must be in 0..5'),
    (('--warmup-lr', '0.05'), '--warmup-lr: needs --warmup-epochs'),
    (('--mixup-alpha', '9'), '--mixup only'),
    (('--mixup', '--mixup-off-epoch', '2'), '--mixup-off-epoch: 2 leaves --mixup nothing'),
    (('--cutmix', '--mixup-off-epoch', '2'), '--mixup-off-epoch: 2 leaves --cutmix nothing'),
    (('--cutmix-alpha', '9'), '--cutmix only'), (('--cutmix', '--cutmix-alpha', '0'), '--cutmix-alpha: must be above'),
    (('--rand-augment', '11'), '--rand-augment: must be in 0..10'),
    (('--random-erasing', '2'), '--random-erasing: must be in 0..1'),
    (('--balance', 'weights', '--multi-label'), '--balance: weights means one class a video'),
    (('--patience', '2', '--train-only'), '--patience: goes by the validation'),
    (('--patience', '2', '--kvstore', 'dist_sync'), '--patience: several machines'),
    (('--score-start', '--train-only'), '--score-start: validates'),
    (('--head-lr', '2', '--train-params', 'head'), '--head-lr: with --train-params head'),
    (('--val', 'x'), '--val: goes with VIDEOS'), (('--val-share', '0.5'), '--val-share: divides VIDEOS'),
    (('--temperature', '2'), '--teacher only'),
    (('--train-only', '--eval'), '--train-only: contradicts --eval'),
    (('--train-only', '--save-frequency', '1'), '--save-frequency: means nothing with --train-only'),
    (('--eval', '--resume-params', 'x', '--overwrite'), '--overwrite: --eval writes nothing'),
    (('--resume', '--overwrite'), '--overwrite: contradicts --resume'),
    (('--resume', '--resume-epoch', '1'), '--resume: restores everything'),
    (('--resume-states', 'x'), '--resume-states: needs the --resume-params'),
    (('--logging-file', ''), '--logging-file: needs a name'),
    ((*RESNET, '--use-gn', '--freeze-bn'), '--freeze-bn'),
    ((*RESNET, '--last-gamma', '--resume-params', 'x'), '--last-gamma: the weights of --resume-params'),
])
def test_contradictions_are_refused(world, flags, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        configured(world, *flags)


@pytest.mark.parametrize('command, argv', [
    ('train_recognizer', ('--model', NAME)), ('test_recognizer', ('--model', NAME)),
    ('export', (NAME,)), ('predict', (NAME, 'x.mp4'))])
def test_published_weights_are_named_by_their_tag_under_both_names(command, argv):
    parse_args = importlib.import_module(f'gluon_action.cli.{command}').parse_args
    found = [parse_args([*argv, '--use-pretrained', flag, 'mmaction2-8seg']) for flag in ('--hashtag', '--tag')]
    assert {(got[0] if isinstance(got, tuple) else got).hashtag for got in found} == {'mmaction2-8seg'}


def test_last_gamma_does_not_silently_take_the_imagenet_weights_away(world):
    argv = world.train_argv(*RESNET, '--last-gamma')
    argv.remove('--no-pretrained-base')
    with pytest.raises(UsageError, match='--last-gamma.*--no-pretrained-base'):
        train_config.check_config(train_recognizer.config_from(train_recognizer.parse_args(argv)),
                                  model_zoo.model_card(RESNET[1]))


def test_machines_without_their_launcher_are_a_usage_error(world, monkeypatch):
    monkeypatch.delenv('DMLC_NUM_WORKER', raising=False)
    with pytest.raises(UsageError, match='--kvstore dist_sync needs.*launch.py'):
        fresh(world, '--kvstore', 'dist_sync')


def test_mirroring_where_classes_have_sides_names_the_flag_that_stops_it(world):
    given = ('--dataset', 'somethingsomethingv2', '--list-format', 'gluoncv')
    with pytest.raises(UsageError, match='--flip-prob 0'):
        datasets(world, *given)
    assert datasets(world, *given, '--flip-prob', '0')[0].num_classes == 174


@pytest.mark.parametrize('flag', ['--lr', '--warmup-lr', '--decode-timeout', '--prefetch-ratio'])
@pytest.mark.parametrize('value', ['-1', 'nan'])
def test_numbers_that_cannot_be_are_refused(world, capsys, flag, value):
    with pytest.raises(SystemExit) as stop:
        train_here(world, flag, value)
    assert stop.value.code == 2 and f'{flag} must be 0 or more, got {value}' in capsys.readouterr().err


@pytest.mark.parametrize('data_aug, given', [('v2', ('40',)), ('v3', ('40', '--new-width', '44'))])
def test_the_other_augmentations_resize_the_short_side(world, data_aug, given):
    sides = ('--new-height', *given)
    assert not same(drawn(world), drawn(world, '--data-aug', data_aug, *sides))
    assert not same(drawn(world, '--data-aug', data_aug, *sides),
                    drawn(world, '--data-aug', data_aug, '--new-height', '42', *given[1:]))
    assert validated_clip(world, '--data-aug', data_aug, *sides).shape == (1, 3, 32, 32)


def test_the_commands_under_one_name_say_version_and_usage(capsys):
    from gluon_action import __version__
    assert commands.main(['--version']) == 0 and __version__ in capsys.readouterr().out
    alone = [name for name in commands.COMMANDS if ' ' not in name]
    assert commands.main(['--help']) == 0
    assert re.findall(r'^  (\S+) ', capsys.readouterr().out, re.MULTILINE) == [*alone, *commands.GROUPS]
    for group in commands.GROUPS:
        assert commands.main([group, '--help']) == 0
        names = re.findall(r'^  (\S+) ', capsys.readouterr().out, re.MULTILINE)
        assert [f'{group} {name}' for name in names] == [
            name for name in commands.COMMANDS if name.startswith(f'{group} ')]
        assert commands.main([group, 'no-such']) == 2 and f'{group} no-such' in capsys.readouterr().err
    assert commands.main(['trian']) == 2 and 'did you mean train?' in capsys.readouterr().err


@pytest.mark.parametrize('config, command, apart', [
    (train_config.TrainConfig, train_recognizer,
     {'debug', 'print_config', 'dry_run', 'config', 'imports', 'given', *FIND_LR}),
    (test_config.TestConfig, test_recognizer,
     {'debug', 'print_config', 'run', 'videos', 'imports', 'json',
      *(flag[2:].replace('-', '_') for flag in test_recognizer.TRAINING_FLAGS)})])
def test_a_configuration_starts_with_the_defaults_of_the_flags(config, command, apart):
    flags = {name: value for name, value in vars(command.parse_args(['--model', ''])).items() if name not in apart}
    defaults = {field.name: field.default for field in dataclasses.fields(config)
                if field.name not in ('schedule_rule', 'from_recipe')}
    assert defaults == flags
    assert {name: type(value) for name, value in defaults.items()} == {n: type(v) for n, v in flags.items()}


#: Flags of GluonCV's scripts: by type those with a value and their defaults; by what they store those without.
GLUONCV_TRAIN = {
    str: {'--dataset': 'ucf101', '--data-dir': '~/.mxnet/datasets/ucf101/rawframes',
          '--val-data-dir': '~/.mxnet/datasets/ucf101/rawframes',
          '--train-list': '~/.mxnet/datasets/ucf101/ucfTrainTestlist/ucf101_train_rgb_split1.txt',
          '--val-list': '~/.mxnet/datasets/ucf101/ucfTrainTestlist/ucf101_val_rgb_split1.txt', '--dtype': 'float32',
          '--lr-mode': 'step', '--lr-decay-epoch': '40,60', '--mode': None, '--model': None, '--hashtag': '',
          '--teacher': None, '--save-dir': 'params', '--resume-params': '', '--resume-states': '',
          '--logging-file': 'train.log', '--scale-ratios': '1.0, 0.875, 0.75, 0.66', '--kvstore': None,
          '--data-aug': 'v1'},
    int: {'--batch-size': 25, '--num-gpus': 0, '--num-data-workers': 4, '--num-epochs': 3, '--lr-decay-period': 0,
          '--warmup-epochs': 0, '--input-size': 224, '--mixup-off-epoch': 0, '--save-frequency': 10,
          '--resume-epoch': 0, '--log-interval': 50, '--num-segments': 1, '--new-height': 0, '--new-width': 0,
          '--new-length': 1, '--new-step': 1, '--clip-grad': 0, '--num-classes': 101, '--accumulate': 1,
          '--slow-temporal-stride': 16, '--fast-temporal-stride': 2, '--num-crop': 1, '--max-distort': 1},
    float: {'--lr': 0.1, '--momentum': 0.9, '--wd': 0.0001, '--lr-decay': 0.1, '--warmup-lr': 0.0,
            '--crop-ratio': 0.875, '--mixup-alpha': 0.2, '--temperature': 20.0, '--hard-weight': 0.5,
            '--prefetch-ratio': 2.0},
    True: '''--last-gamma --use-pretrained --use_se --mixup --label-smoothing --no-wd --batch-norm --use-gn --eval
        --use-tsn --partial-bn --freeze-bn --use-amp --input-5d --video-loader --use-decord --slowfast
        --train-only'''.split(),
    False: ['--more-fix-crop'],
}
GLUONCV_TEST = {
    str: {'--dataset': 'ucf101', '--data-dir': '~/.mxnet/datasets/ucf101/rawframes',
          '--val-data-dir': '~/.mxnet/datasets/ucf101/rawframes',
          '--train-list': '~/.mxnet/datasets/ucf101/ucfTrainTestlist/ucf101_train_split_1_rawframes.txt',
          '--val-list': '~/.mxnet/datasets/ucf101/ucfTrainTestlist/ucf101_val_split_1_rawframes.txt',
          '--dtype': 'float32', '--model-prefix': None, '--lr-mode': 'step', '--lr-decay-epoch': '40,60',
          '--mode': None, '--model': None, '--hashtag': '', '--teacher': None, '--save-dir': 'params',
          '--resume-params': '', '--resume-states': '', '--logging-file': 'train.log', '--data-aug': 'v1',
          '--quantized-dtype': 'auto', '--calib-mode': 'naive'},
    int: {'--batch-size': 32, '--num-iterations': 100, '--num-gpus': 0, '--num-data-workers': 4, '--num-epochs': 3,
          '--lr-decay-period': 0, '--warmup-epochs': 0, '--input-size': 224, '--mixup-off-epoch': 0,
          '--save-frequency': 10, '--resume-epoch': 0, '--log-interval': 50, '--num-segments': 1, '--new-height': 256,
          '--new-width': 340, '--new-length': 1, '--new-step': 1, '--num-classes': 101, '--slow-temporal-stride': 16,
          '--fast-temporal-stride': 2, '--num-crop': 1, '--num-calib-batches': 5},
    float: {'--lr': 0.1, '--momentum': 0.9, '--wd': 0.0001, '--lr-decay': 0.1, '--warmup-lr': 0.0,
            '--crop-ratio': 0.875, '--mixup-alpha': 0.2, '--temperature': 20.0, '--hard-weight': 0.5,
            '--prefetch-ratio': 2.0},
    True: '''--deploy --quantized --last-gamma --use-pretrained --use_se --mixup --label-smoothing --no-wd --batch-norm
        --use-gn --eval --use-tsn --ten-crop --three-crop --use-amp --input-5d --use-softmax --video-loader
        --use-decord --slowfast --benchmark --calibration'''.split(),
    False: [],
}

#: Where we differ on purpose.
OTHER_IN_TRAIN = {
    '--data-dir': 'every data set has a folder of its own', '--val-data-dir': 'that of --data-dir',
    '--train-list': 'every data set has its list', '--val-list': 'every data set has its list',
    '--num-classes': "the data set's, so that a list with others cannot be trained by accident",
    '--clip-grad': 'a fraction as well', '--model': 'own videos have a usual one',
    **dict.fromkeys(('--input-size', '--new-length', '--new-step', '--slow-temporal-stride', '--fast-temporal-stride'),
                    "what the weights were trained with; GluonCV's where nobody knows")}
OTHER_IN_TEST = {
    **{flag: reason for flag, reason in OTHER_IN_TRAIN.items() if flag != '--clip-grad'},
    '--train-list': 'only calibration reads it', '--num-segments': '25 with --use-tsn, which GluonCV never read',
    '--crop-ratio': 'tells what was given from what was not, since resized frames are not scaled to it',
    '--save-dir': 'results are no parameters; named after model, data and views', '--logging-file': 'test.log',
    **dict.fromkeys(('--new-height', '--new-width'), 'larger with the crop that weights were trained with'),
    **dict.fromkeys(('--model', '--dataset', '--data-aug', '--num-crop'), "that of the run whose weights are scored")}


@pytest.mark.parametrize('command, table, others', [('train', GLUONCV_TRAIN, OTHER_IN_TRAIN),
                                                    ('test', GLUONCV_TEST, OTHER_IN_TEST)])
def test_gluoncvs_flags_have_its_types_and_defaults_except_where_we_say(command, table, others):
    ours, differing = options_of(command), set()
    settled = {'train': train_config.TrainConfig, 'test': test_config.TestConfig}[command]().settled()
    for kind, flags in table.items():
        for flag in flags:
            action = ours[flag]
            if isinstance(kind, bool):
                unsaid = action.default is None and action.dest in settled.UNSAID
                default = getattr(settled, action.dest) if unsaid else action.default
                assert (action.nargs, action.const, default) == (0, kind, not kind), flag
            elif (action.type or str, action.default) != (kind, flags[flag]):
                differing.add(flag)
    assert differing == set(others)
    unsaid = {'--' + name.replace('_', '-'): getattr(settled, name) for name in settled.UNSAID}
    theirs = {flag: value for flag, value in table[int].items() if flag in unsaid}
    assert '--input-size' in theirs and unsaid.items() >= theirs.items()


def test_gluoncvs_short_name_for_workers_works(world):
    assert configured(world, '-j', '3').num_workers == 3


TUTORIAL = ('--model vgg16_ucf101 --num-classes 101 --num-gpus 8 --lr-mode step --lr 0.001 --lr-decay 0.1 '
            '--lr-decay-epoch 30,60,80 --num-epochs 80')


@pytest.mark.parametrize('extra, kind', [('', 'ActionRecVGG16'), ('--num-segments 3 --use-tsn', 'ActionRecVGG16TSN')])
def test_the_commands_of_gluoncvs_tutorial_run(world, capsys, extra, kind):
    argv = f'{TUTORIAL} {extra}'.split()
    config = train_recognizer.config_from(train_recognizer.parse_args(argv))
    train_config.check_config(config, model_zoo.model_card(config.model))
    assert (config.num_gpus, config.num_epochs, config.lr_decay_epoch) == (8, 80, '30,60,80')
    # UCF101 where GluonCV's preparation script puts it, and no more of the network than two cores can bear.
    home = Path(default_root('ucf101'))
    if not home.exists():
        home.mkdir(parents=True)
        os.symlink(world.videos, home / 'rawframes')
        (home / 'ucfTrainTestlist').mkdir()
        for ours, theirs in (('train', 'train'), ('val', 'val')):
            shutil.copy(world.paths[ours], home / 'ucfTrainTestlist' / f'ucf101_{theirs}_split_1_rawframes.txt')
    small = '--num-gpus 0 --no-pretrained-base --dry-run --input-size 32 --batch-size 2 -j 0'
    assert run(train_recognizer.parse_args, train_recognizer.main, [*argv, *small.split()]) == 0
    told = capsys.readouterr().out
    assert '101 classes' in told and '8 training videos in 4 batches of 2' in told and 'learning rate 0.001' in told
    net = structure_of('vgg16_ucf101', pretrained_base=False, input_size=32, use_tsn=config.use_tsn,
                       num_segments=config.num_segments)
    assert type(net).__name__ == kind
