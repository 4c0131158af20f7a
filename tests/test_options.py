import argparse
import dataclasses
import json

import pytest

from gluon_action.cli import clip_estimator, test_recognizer, train_recognizer
from gluon_action.data.video_options import VideoOptions
from gluon_action.evaluate.options.config import TestConfig
from gluon_action.options import (
    add_options,
    changed,
    check_numbers,
    config_from,
    flag_of,
    option,
    options_of,
    yes_or_no,
)
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig
from gluon_action.train.recipes.config import TrainConfig


@dataclasses.dataclass
class Base:
    network: str = 'small'  # no option: a command sets it by itself
    num_frames: int = option(8, 'frames', '-n', '--num-frames', '--frames', group='data', least=1)
    resize: bool = option(False, 'resize', group='data')
    fix_crop: bool = option(True, 'crop anywhere', '--no-fix-crop', group='data')
    pictures: bool = option(True, 'pictures', group='data', type=yes_or_no, underscores=True)
    ratio: float = option(0, 'ratio in %%', group='data', least=0)
    scale: float | None = option(None, 'scale', group='data')
    mode: str = option('a', 'mode', group='data', choices=('a', 'b'))
    resume: str | None = option(None, 'resume', group='data', const='auto')
    model_dir: str = option('', 'folder', group='data', required=True, underscores=True)


@dataclasses.dataclass
class Child(Base):
    mode: str = changed(Base, 'mode', 'b', help='another mode')
    ratio: float = changed(Base, 'ratio', group='data')
    own: int = option(3, 'own', group='own')


def parsed(kind, *argv, group='data', **more):
    parser = argparse.ArgumentParser()
    add_options(parser, kind, group, **more)
    return parser.parse_args(['--model_dir', 'm', *argv] if issubclass(kind, Base) and group == 'data' else argv)


@pytest.mark.parametrize('argv, expected', [
    ([], {}),
    (['--frames', '3'], {'num_frames': 3}), (['-n', '3'], {'num_frames': 3}),
    (['--resize'], {'resize': True}), (['--no-fix-crop'], {'fix_crop': False}),
    (['--pictures', 'false'], {'pictures': False}),
    (['--ratio', '0.5'], {'ratio': 0.5}), (['--scale', '2'], {'scale': 2.0}), (['--mode', 'b'], {'mode': 'b'}),
    (['--resume'], {'resume': 'auto'}), (['--resume', 'x'], {'resume': 'x'}),
])
def test_a_field_is_a_flag(argv, expected):
    config = config_from(Base, parsed(Base, *argv))
    assert config == Base(model_dir='m', **expected)
    assert {n: type(v) for n, v in vars(config).items()} == {n: type(v) for n, v in
                                                             vars(Base(model_dir='m', **expected)).items()}


@pytest.mark.parametrize('argv', [
    ['--mode', 'c'], ['--num-frames', '1.5'], ['--pictures', 'perhaps'], ['--network', 'x']])
def test_what_a_field_does_not_allow_is_refused(argv, capsys):
    with pytest.raises(SystemExit):
        parsed(Base, *argv)
    assert argv[0] in capsys.readouterr().err


def test_a_required_option_has_a_default_in_the_library_only():
    assert Base().model_dir == ''
    with pytest.raises(SystemExit):
        add_options(argparse.ArgumentParser(), Base, 'data').parse_args([])


def test_an_option_declared_again_keeps_its_place_unless_it_is_given_a_group():
    assert list(options_of(Base))[-5:] == ['ratio', 'scale', 'mode', 'resume', 'model_dir']
    assert list(options_of(Child))[-6:] == ['scale', 'mode', 'resume', 'model_dir', 'ratio', 'own']
    assert (options_of(Child)['mode'].default, options_of(Child)['mode'].help) == ('b', 'another mode')
    assert Child().mode == 'b' and options_of(Child)['mode'].choices == ('a', 'b')
    assert options_of(Base)['mode'].default == 'a' == Base().mode


def test_a_command_may_leave_options_out_and_say_them_in_its_words():
    values = parsed(Child, '--mode', 'c', without=('resume',), changes={'mode': {'choices': ('c',)}})
    assert not hasattr(values, 'resume')
    assert config_from(Child, values) == Child(model_dir='m', mode='c')
    assert parsed(Child, '--own', '4', group='own') == argparse.Namespace(own=4)


@pytest.mark.parametrize('argv, told', [
    (['--frames', '0'], '--num-frames must be 1 or more, got 0'), (['--ratio', '-1'], '--ratio must be 0 or more'),
    (['--ratio', 'nan'], '--ratio must be 0 or more, got nan'), (['--scale', 'inf'], '--scale must be a finite number'),
    (['--ratio', 'inf'], '--ratio must be a finite number'), (['--ratio', '0'], None)])
def test_numbers_are_checked_by_the_least_that_the_field_says(argv, told):
    said = []
    check_numbers(parsed(Base, *argv), options_of(Base).values(), said.append)
    assert (told is None and not said) or said[0].startswith(told)


def test_messages_call_an_option_as_the_command_does():
    assert flag_of(TrainConfig, 'num_workers') == '--num-data-workers'
    assert flag_of(TrainConfig, 'use_se') == '--use_se'
    assert flag_of(TrainConfig, 'pretrained_base') == '--no-pretrained-base'
    assert flag_of(EstimatorConfig, 'clip_length') == '--clip_length'


@pytest.mark.parametrize('config, command, own', [
    (TrainConfig, train_recognizer,
     {'debug', 'print_config', 'dry_run', 'config', 'imports',
      'find_lr', 'find_lr_from', 'find_lr_to', 'find_lr_steps'}),
    (TestConfig, test_recognizer,
     {'debug', 'print_config', 'run', 'videos', 'imports', 'json'}
     | {flag[2:].replace('-', '_') for flag in test_recognizer.TRAINING_FLAGS}),
    (EstimatorConfig, clip_estimator, {'debug'})])
def test_every_field_is_offered_and_every_flag_beside_them_is_the_command_s_own(config, command, own):
    offered = {action.dest for action in command.build_parser()._actions if action.dest != 'help'}
    kept = {'schedule_rule', 'from_recipe'}  # what a run began with; config.json keeps it, nobody chooses it
    assert offered == {field.name for field in dataclasses.fields(config)} - kept | own


@pytest.mark.parametrize('kind', [TrainConfig, TestConfig])
def test_an_option_of_videos_is_a_flag_and_a_key_by_its_declaration_alone(kind):
    @dataclasses.dataclass
    class WithAnother(kind):
        backwards: bool = option(False, 'play videos backwards', group='data')

    assert options_of(VideoOptions).keys() <= options_of(kind).keys()
    config = config_from(WithAnother, parsed(WithAnother, '--backwards'))
    assert config.backwards and json.loads(config.as_json())['backwards'] is True


@pytest.mark.parametrize('config', [TrainConfig, TestConfig])
@pytest.mark.parametrize('options', [
    dict(new_length=4, new_step=3), dict(new_length=64, slowfast=True), dict(new_length=8, clip_sampling='spread'),
    dict(num_segments=3), dict(new_length=5, num_segments=2)])
def test_a_clip_has_as_many_frames_as_its_plan_says(config, options):
    chosen = config(**options)
    plan = chosen.frame_plan('test')
    assert (plan.mode, plan.num_segments) == ('test', options.get('num_segments', 1))
    assert chosen.frames_per_clip == plan.frames_per_clip == len(plan.offsets) == len(
        plan.indices(1000, None)) // plan.num_segments


def test_offsets_are_the_frames_of_the_first_clip():
    plan = TrainConfig(new_length=4, new_step=3).frame_plan()
    assert plan.offsets == (0, 3, 6, 9)
    fast_and_slow = TrainConfig(new_length=32, slowfast=True, fast_temporal_stride=8).frame_plan()
    assert fast_and_slow.offsets == (7, 15, 23, 31, 15, 31)


@pytest.mark.parametrize('ratio, workers, ahead', [(2, 4, 8), (1.5, 5, 8), (0.4, 4, 2), (0.1, 1, 1), (2, 0, 1)])
def test_the_ratio_of_what_is_prefetched_may_be_a_fraction(ratio, workers, ahead):
    assert VideoOptions(prefetch_ratio=ratio, num_workers=workers).prefetch == ahead
