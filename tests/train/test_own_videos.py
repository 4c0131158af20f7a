"""What a training makes of a folder of own videos, or of a list: lists of both parts, and messages."""
import dataclasses
import json
import os
import shlex
from collections import Counter
from importlib.metadata import version

import pytest

from gluon_action.cli import train_recognizer as command
from gluon_action.data.lists.annotations import read_annotations
from gluon_action.errors import AnnotationError, UsageError
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.own_videos import LISTS, lists_of_run, own_videos
from gluon_action.train.recipes.recipe_defaults import configured
from gluon_action.train.recipes.recognizer import RecognizerRecipe


def make_videos(folder, **classes):
    """Files that nobody opens, of contents of their own: class -> how many, or their names."""
    for name, files in classes.items():
        (folder / name).mkdir(parents=True)
        for file in [f'{number}.mp4' for number in range(files)] if isinstance(files, int) else files:
            (folder / name / file).write_bytes(f'{name}{file}'.encode())
    return folder


def looked_at(videos, tmp_path, **given):
    return own_videos(configured({'videos': str(videos), **given}), tmp_path / 'run' / LISTS)


def lists_of(own, folder):
    """Both lists as a training reads them: label by class -> how many."""
    own.write(folder)
    config, found, classes = own.config, {}, None
    for split, setting, root in (('train', config.train_list, config.data_dir),
                                 ('val', config.val_list, config.val_data_dir)):
        if setting:
            videos = read_annotations(setting, root, list_format=config.list_format, label_base=config.label_base,
                                      classes=classes, split=split, must_exist=True, num_classes=config.num_classes)
            classes = videos.classes
            found[split] = videos
    return found


def counts(videos):
    return Counter(videos.classes[sample.label] for sample in videos.samples)


def test_a_folder_is_divided_by_class_and_written_beside_the_run(tmp_path):
    own = looked_at(make_videos(tmp_path / 'v', run=10, walk=20), tmp_path)
    config = own.config
    assert (config.dataset, config.data_dir) == ('custom', str(tmp_path / 'v'))
    assert config.train_list == str(tmp_path / 'run' / LISTS / 'train.csv') and config.num_classes is None
    assert not os.path.exists(config.train_list)  # before anybody says so
    found = lists_of(own, tmp_path / 'run' / LISTS)
    assert counts(found['train']) == {'run': 8, 'walk': 16} and counts(found['val']) == {'run': 2, 'walk': 4}
    assert not {sample.path for sample in found['train'].samples} & {sample.path for sample in found['val'].samples}
    assert 'v: 30 videos of 2 classes' in own.said[0] and '24 videos to train on and 6 to validate' in own.said[1]
    again, other = (looked_at(tmp_path / 'v', tmp_path, seed=seed) for seed in (0, 1))
    assert again.files == own.files != other.files


def test_share_seed_and_another_folder_decide_what_validates(tmp_path):
    videos = make_videos(tmp_path / 'v', run=10, walk=10)
    found = lists_of(looked_at(videos, tmp_path, val_share=0.5), tmp_path / 'run' / LISTS)
    assert counts(found['val']) == {'run': 5, 'walk': 5}
    other = make_videos(tmp_path / 'w', walk=3)
    found = lists_of(looked_at(videos, tmp_path, val=str(other)), tmp_path / 'run' / LISTS)
    assert counts(found['train']) == {'run': 10, 'walk': 10} and counts(found['val']) == {'walk': 3}
    assert found['val'].classes == ['run', 'walk']
    own = looked_at(videos, tmp_path, train_only=True)
    assert own.config.val_list is None and set(lists_of(own, tmp_path / 'run' / LISTS)) == {'train'}


def test_a_folder_that_is_divided_stays_as_it_is(tmp_path):
    make_videos(tmp_path / 'v' / 'train', run=4, walk=4)
    make_videos(tmp_path / 'v' / 'val', run=2, walk=1)
    found = lists_of(looked_at(tmp_path / 'v', tmp_path), tmp_path / 'run' / LISTS)
    assert counts(found['train']) == {'run': 4, 'walk': 4} and counts(found['val']) == {'run': 2, 'walk': 1}


@pytest.mark.parametrize('with_split', [False, True])
@pytest.mark.parametrize('place', ['beside', 'here', 'data_dir', 'whole'])
def test_a_table_of_names_is_enough(tmp_path, place, with_split, monkeypatch):
    make_videos(tmp_path / 'v', run=6, walk=6)
    listed = tmp_path / ('v/list.csv' if place == 'beside' else 'elsewhere/list.csv')
    listed.parent.mkdir(exist_ok=True)
    if place == 'here':
        monkeypatch.chdir(tmp_path / 'v')
    start = f'{tmp_path}/v/' if place == 'whole' else ''
    rows = [f'{start}{name}/{number}.mp4,{name}' + f',{"val" if number > 3 else "train"}' * with_split
            for name in ('run', 'walk') for number in range(6)]
    listed.write_text('\n'.join(['video,label' + ',split' * with_split, *rows]))
    given = {'data_dir': str(tmp_path / 'v')} if place == 'data_dir' else {}
    found = lists_of(looked_at(listed, tmp_path, **given), tmp_path / 'run' / LISTS)
    part = 4 if with_split else 5
    assert counts(found['train']) == {'run': part, 'walk': part}
    assert counts(found['val']) == {'run': 6 - part, 'walk': 6 - part}
    assert all(os.path.exists(sample.path) for videos in found.values() for sample in videos.samples)


def test_parts_of_videos_stay_together_with_their_bounds(tmp_path):
    make_videos(tmp_path / 'v', all=6)
    rows = [f'all/{number}.mp4,{label},{start},{start + 1}' for number in range(6)
            for start, label in ((0, 'run'), (2, 'walk'))]
    (tmp_path / 'v' / 'list.csv').write_text('\n'.join(['path,label,start,end', *rows]))
    own = looked_at(tmp_path / 'v' / 'list.csv', tmp_path)
    found = lists_of(own, tmp_path / 'run' / LISTS)
    assert [(sample.start, sample.end) for sample in found['val'].samples] == [(0., 1.), (2., 3.)]
    assert len({sample.path for sample in found['val'].samples}) == 1 and '6 recordings' in own.said[1]


def test_numbers_without_names_count_from_where_they_are_said_to(tmp_path):
    make_videos(tmp_path / 'v', all=8)
    (tmp_path / 'v' / 'list.txt').write_text('\n'.join(f'all/{n}.mp4 {1 + n % 2}' for n in range(8)))
    own = looked_at(tmp_path / 'v' / 'list.txt', tmp_path, label_base=1)
    assert {sample.label for sample in lists_of(own, tmp_path / 'run' / LISTS)['train'].samples} == {0, 1}


def test_a_class_of_one_video_is_trained_on_with_a_warning(tmp_path):
    own = looked_at(make_videos(tmp_path / 'v', run=10, walk=10, rare=1), tmp_path)
    found = lists_of(own, tmp_path / 'run' / LISTS)
    assert counts(found['train'])['rare'] == 1 and 'rare' not in counts(found['val'])
    assert found['val'].classes == ['rare', 'run', 'walk']
    assert any('1 of 3 classes has one recording only' in line and 'rare (1 video)' in line for line in own.warnings)


def test_few_videos_that_validate_are_said_to_be_few(tmp_path):
    own = looked_at(make_videos(tmp_path / 'v', run=2, walk=1), tmp_path)
    assert any('1 video validates' in line and '100 %' in line for line in own.warnings)


def test_a_video_under_another_name_in_validation_is_told(tmp_path):
    videos, others = make_videos(tmp_path / 'v', run=3, walk=3), make_videos(tmp_path / 'w', run=3, walk=3)
    (others / 'run' / 'copy.mp4').write_bytes((videos / 'run' / '0.mp4').read_bytes())
    warnings = looked_at(videos, tmp_path, val=str(others)).warnings
    assert any('7 of 7 validation videos have the same content' in line for line in warnings)
    (others / 'run' / 'new.mp4').write_bytes(b'other')
    assert any('7 of 8 validation videos' in line for line in looked_at(videos, tmp_path, val=str(others)).warnings)


@pytest.mark.parametrize('make, given, told', [
    (lambda v: v.mkdir(), {}, 'v: the folder is empty; put the videos of each class into a folder'),
    (lambda v: None, {}, 'there is no such folder or list'),
    (lambda v: make_videos(v.parent, v=3), {}, 'has no folders, but 3 videos among 3 files'),
    (lambda v: make_videos(v, one=3), {}, "all 3 videos are of the same class, 'one'"),
    (lambda v: make_videos(v, one=1), {}, "its one video is of the same class, 'one'"),
    (lambda v: make_videos(v, a=1, b=1, c=1), {}, 'each of its 3 classes has one recording only; add videos'),
    (lambda v: make_videos(v, a=['x_part1.mp4'], b=['x_part2.mp4']), {}, 'they are all of one recording'),
    (lambda v: make_videos(v, a=2, b=2), {'val': 'nowhere'}, '--val nowhere: there is no such folder or list'),
    (lambda v: make_videos(v, a=0, b=0), {}, 'lists no videos; expected a folder for each class'),
    (lambda v: v.write_text('path,label\nnone.mp4,run\n'), {}, 'none.mp4 does not exist; check --data-dir')])
def test_videos_that_cannot_be_trained_on_are_told_with_the_cure(tmp_path, make, given, told):
    make(tmp_path / 'v')
    with pytest.raises(AnnotationError) as caught:
        looked_at(tmp_path / 'v', tmp_path, **given)
    assert told in str(caught.value) and not (tmp_path / 'run').exists()


@pytest.mark.parametrize('given, told', [
    ({'dataset': 'hmdb51'}, '--dataset: hmdb51 has videos and lists of its own'),
    ({'train_list': 'x'}, '--train-list: contradicts'), ({'val': 'x', 'val_list': 'y'}, '--val-list: contradicts'),
    ({'val_share': 0.}, '--val-share: must be above 0'), ({'val_share': 1.}, '--val-share: must be above 0'),
    ({'val_share': 0.3, 'val': 'x'}, '--val-share: contradicts --val'),
    ({'val_share': 0.3, 'train_only': True}, '--val-share: contradicts --train-only')])
def test_options_that_say_it_twice_are_refused(tmp_path, given, told):
    with pytest.raises(UsageError, match=told):
        looked_at(make_videos(tmp_path / 'v', a=2, b=2), tmp_path, **given)


def test_a_video_is_no_list(tmp_path):
    (tmp_path / 'a.mp4').touch()
    with pytest.raises(AnnotationError, match='is one video; name the folder'):
        looked_at(tmp_path / 'a.mp4', tmp_path)


@pytest.mark.parametrize('name, prob', [('turn left', 0.), ('TurnLeft', 0.), ('RIGHT_hook', 0.), ('bright', 0.5),
                                        ('leftover', 0.5)])
def test_classes_that_have_a_side_are_not_mirrored(tmp_path, name, prob):
    videos = make_videos(tmp_path / 'v', **{name: 3, 'other': 3})
    assert looked_at(videos, tmp_path).config.flip_prob == prob
    assert looked_at(videos, tmp_path, flip_prob=0.25).config.flip_prob == 0.25


def test_few_videos_are_seen_in_more_epochs(tmp_path):
    few, many = make_videos(tmp_path / 'v', a=8, b=8), make_videos(tmp_path / 'w', a=300, b=300)
    assert looked_at(few, tmp_path).config.num_epochs == 60 and looked_at(many, tmp_path).config.num_epochs == 20
    config = looked_at(few, tmp_path, num_epochs=3).config
    assert (config.num_epochs, config.warmup_epochs, config.patience) == (3, 0, 0)


@pytest.mark.parametrize('videos, batch_size, epochs, patience', [
    (16, 8, 60, 50), (16, 8, 12, 0), (16, 1, 40, 10), (600, 8, 20, 5)])
def test_a_training_is_not_ended_before_a_hundred_updates(tmp_path, videos, batch_size, epochs, patience):
    folder = make_videos(tmp_path / 'v', a=videos // 2, b=videos // 2)
    config = looked_at(folder, tmp_path, batch_size=batch_size, num_epochs=epochs).config
    assert config.patience == patience
    assert looked_at(folder, tmp_path, batch_size=batch_size, num_epochs=epochs, patience=2).config.patience == 2


def test_a_run_that_goes_on_has_the_lists_that_it_began_with(tmp_path):
    videos, run = make_videos(tmp_path / 'v', a=4, b=4), tmp_path / 'run'
    own = looked_at(videos, tmp_path, save_dir=str(run))
    own.write(run / LISTS)
    (run / 'config.json').write_text(json.dumps({'config': dataclasses.asdict(own.config)}))
    (videos / 'a' / 'new.mp4').write_bytes(b'new')
    config = configured({'videos': str(videos), 'save_dir': str(run), 'resume': 'auto'})
    found = lists_of_run(config)
    assert (found.train_list, found.dataset, found.data_dir) == (own.config.train_list, 'custom', str(videos))
    assert lists_of_run(dataclasses.replace(config, videos='others')) is None
    assert lists_of_run(dataclasses.replace(config, resume=None)) is None
    assert lists_of_run(TrainConfig(videos=str(videos), resume=str(tmp_path))) is None


def command_line(config):
    return RecognizerRecipe(config).about_command()['command']


def test_the_command_of_a_run_says_what_the_recipe_would_say_otherwise(tmp_path):
    videos = str(make_videos(tmp_path / 'v', a=4, b=4))
    config = configured({'videos': videos, 'num_epochs': TrainConfig.num_epochs, 'lr': TrainConfig.lr, 'batch_size': 4})
    words = shlex.split(command_line(config))
    assert f'--num-epochs {config.num_epochs} --lr {config.lr}' in ' '.join(words)
    again = command.config_from(command.parse_args(words[2:]))
    assert dataclasses.asdict(again) == dataclasses.asdict(config)


@pytest.fixture
def begun(tmp_path):
    """Begins a run on own videos, of these options, or resumes it as it is asked; returns its command."""
    videos, run = str(make_videos(tmp_path / 'v', a=4, b=4)), tmp_path / 'run'

    def begin(asked=None, **options):
        trained = asked
        if asked is None:
            asked = configured({'videos': videos, 'save_dir': str(run), **options})
            own = own_videos(asked, run / LISTS)
            own.write(run / LISTS)
            trained = own.config
        told = command_line(asked)
        about = {'config': dataclasses.asdict(trained), 'command': told, 'directory': str(tmp_path),
                 'versions': {'gluon_action': version('gluon_action')}}
        (run / 'config.json').write_text(json.dumps(about))
        return told
    begin.videos, begin.run = videos, run
    return begin


def resumed(begun, *flags):
    """The options of a run that is resumed by its folder, and of its command, which ought to be the same."""
    asked = command.config_from(command.parse_args(['--resume', str(begun.run), *flags]))
    told = begun(asked)
    again = command.config_from(command.parse_args(shlex.split(told)[2:]))
    assert (again.videos, again.train_list) == (begun.videos, None)
    return told, asked, own_videos(again, begun.run / LISTS).config


def same(asked, again):
    free = ('resume', 'from_recipe', 'overwrite')
    return dataclasses.replace(asked, **{name: getattr(again, name) for name in free}) == again


def test_the_command_of_a_run_that_was_resumed_by_its_folder_is_one_that_train_takes(begun):
    first = begun(num_epochs=2, label_smoothing=True)
    told, asked, again = resumed(begun, '--num-epochs', '3')
    assert told == f'{first.replace(" --num-epochs 2", "")} --num-epochs 3 --patience 0'  # as it began
    assert again.label_smoothing and same(asked, again)
    assert resumed(begun)[0] == told


@pytest.mark.parametrize('options', [{'num_epochs': 10}, {}])
def test_the_command_of_a_run_that_was_resumed_for_longer_says_what_the_recipe_had_decided(begun, options):
    begun(**options)
    told, asked, again = resumed(begun, '--num-epochs', '40')
    assert (asked.num_epochs, asked.warmup_epochs) == (40, 2)
    assert f'--patience {asked.patience}' in told and asked.patience != 10 and same(asked, again)
    told, asked, again = resumed(begun, '--num-epochs', '3')  # the default of the flag, not of the recipe
    assert (asked.num_epochs, asked.warmup_epochs) == (3, 2) and same(asked, again)
    assert told.count('--patience') == told.count('--num-epochs') == 1


def test_the_command_of_a_run_by_the_config_of_another_reads_the_same_lists(begun, tmp_path):
    begun(num_epochs=10)
    flags = ['--config', str(begun.run / 'config.json'), '--save-dir', str(tmp_path / 'again'), '--seed', '1']
    asked = command.config_from(command.parse_args(flags))
    told = command_line(asked)
    assert shlex.split(told)[2].startswith('--') and f'--train-list {begun.run / LISTS / "train.csv"}' in told
    again = command.config_from(command.parse_args(shlex.split(told)[2:]))
    assert same(dataclasses.replace(asked, videos=None), again)


def test_the_command_of_a_run_that_is_resumed_by_the_same_command_says_it_too(begun):
    begun(num_epochs=10)
    asked = configured({'videos': begun.videos, 'save_dir': str(begun.run), 'num_epochs': 40, 'resume': 'auto'})
    recipe = RecognizerRecipe(asked)
    recipe.config = dataclasses.replace(asked, patience=3)  # as its checkpoint says
    assert '--num-epochs 40 --patience 3 ' in recipe.about_command()['command']
    assert '--patience' not in command_line(asked)


def test_the_command_of_a_resumed_run_has_no_switch_that_was_taken_back(begun):
    first = begun(engine='torch', compile=True, mixup=True)
    assert '--engine torch' in first and '--compile' in first
    told, asked, again = resumed(begun, '--engine', 'mxnet')
    assert '--compile' not in told and '--mixup' in told and same(asked, again)


def test_the_command_of_a_resumed_run_has_no_value_that_was_taken_back(begun):
    begun(num_epochs=10, frame_tables=True, checkpoint_minutes=5.)
    about = json.loads((begun.run / 'config.json').read_text())
    had = TrainConfig(**about['config'])
    longer = dataclasses.replace(had, resume=str(begun.run), num_epochs=12, frame_tables=False, checkpoint_minutes=15.)
    assert '--checkpoint-minutes' in about['command'] and '--frame-tables' in about['command']
    told = command_line(longer)
    again = command.config_from(command.parse_args(shlex.split(told)[2:]))
    assert (again.frame_tables, again.checkpoint_minutes, again.num_epochs) == (False, 15., 12)
