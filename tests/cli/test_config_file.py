"""``--config FILE`` and ``--import MODULE``."""
import json
import sys

import pytest

from gluon_action import __version__
from gluon_action.cli import train_recognizer
from gluon_action.cli.command import run
from gluon_action.cli.config_file import read_config_file
from gluon_action.cli.other_names import SAME
from gluon_action.errors import UsageError
from gluon_action.options import options_of
from gluon_action.train.recipes.config import TrainConfig


def config_of(*argv):
    return train_recognizer.config_from(train_recognizer.parse_args([str(item) for item in argv]))


@pytest.fixture
def written(tmp_path):
    def write(content, name='options.yaml'):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path
    return write


def test_yaml_gives_options_and_flags_override_them(written):
    path = written('# mine\nmodel: resnet18_v1b_custom\nlr: 1e-3\nnum-epochs: 7\n--use-tsn: true\n'
                   'lr_decay_epoch: [4, 6]\nclip_norm: 2\n')
    config = config_of('--config', path, '--lr', '0.5')
    assert (config.model, config.lr, config.num_epochs, config.use_tsn) == ('resnet18_v1b_custom', 0.5, 7, True)
    assert (config.lr_decay_epoch, config.clip_norm) == ('4,6', 2.) and config_of('--config', path).lr == 0.001


def test_a_path_in_a_file_brings_the_recipe(written):
    config = config_of('--config', written('videos: clips\npatience: 2\nj: 1\n'))
    assert config.recipe == 'finetune' and config.patience == 2 and config.num_workers == 1
    assert 'patience' not in config.from_recipe


@pytest.mark.parametrize('content, told', [
    ('learning_rate: 1\n', "there is no option 'learning_rate'; did you mean lr?"),
    ('lerning_rate: 1\n', 'did you mean lr?'), ('Learning-Rate: 1\n', 'did you mean lr?'),
    ('num_epoch: 1\n', 'did you mean num_epochs?'), ('epochs: 1\n', 'did you mean num_epochs?'),
    ('batch: 1\n', 'did you mean batch_size?'), ('workers: 1\n', 'did you mean num_workers?'),
    ('data_workers: 1\n', 'did you mean num_workers?'), ('weight_decay: 1\n', 'did you mean wd?'),
    ('max_grad_nrom: 1\n', 'did you mean clip_norm?'),
    ('amp: true\n', 'did you mean use_amp?'),  # not warmup, which is spelled more like it
    ('qqq: 1\n', '; gluon-action train --help names them all'),
    ('from_recipe: []\n', "there is no option 'from_recipe'"),
    ('lr: fast\n', "lr: expected a number, got 'fast'"), ('lr: -1\n', 'lr: must be 0 or more, got -1'),
    ('lr: .inf\n', 'lr: must be a finite number'), ('use_tsn: 3\n', 'use_tsn: expected true or false, got 3'),
    ('num_epochs: 2.5\n', 'num_epochs: expected a whole number'), ('lr:\n', 'lr: has no value; leave it out for 0.1'),
    ('lr_mode: cosin\n', 'lr_mode: must be one of step, poly, cosine'), ('videos: 35\n', None),
    ('a: [1\n', 'is neither YAML nor JSON'), ('- lr\n', 'expected options and their values'),
    ('', 'got nothing'), ('!!python/object/apply:os.system ["x"]\n', 'is neither YAML nor JSON')])
def test_what_a_file_says_wrongly_is_told(written, content, told):
    path = written(content)
    if told is None:
        assert read_config_file(path, TrainConfig) == {'videos': '35'}
        return
    with pytest.raises(UsageError) as caught:
        read_config_file(path, TrainConfig)
    assert told in str(caught.value) and str(path) in str(caught.value)


def test_names_of_other_toolkits_are_of_options_that_there_are():
    assert not [group for group in SAME if group[0] not in options_of(TrainConfig)]
    names = [name for group in SAME for name in group]
    assert len(names) == len(set(names))


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert run(train_recognizer.parse_args, train_recognizer.main, ['--config', str(tmp_path / 'no.yaml')]) == 2
    assert 'no.yaml: cannot be read: No such file' in capsys.readouterr().err


def of_run(version=__version__, **config):
    return {'config': {'model': 'resnet18_v1b_custom', 'lr': 0.25, 'from_recipe': ['lr', 'patience'],
                       'recipe': 'finetune', 'save_dir': 'old', 'resume': 'auto', 'patience': 9, **config},
            'versions': {'gluon_action': version}, 'num_classes': 3}


def test_the_configuration_of_a_run_is_taken_but_for_its_place(written, caplog):
    path = written(of_run(), 'config.json')
    config = config_of('--config', path, '--patience', '4')
    assert (config.lr, config.patience, config.recipe) == (0.25, 4, 'finetune')
    assert (config.save_dir, config.resume, config.from_recipe) == ('params', None, ['lr']) and not caplog.records


@pytest.mark.parametrize('version', ['0.0.9', None])
def test_that_of_another_version_is_said_to_be_one(written, version, caplog):
    path = written(of_run(version), 'config.json')
    assert config_of('--config', path).lr == 0.25
    assert f'was written by gluon_action {version or "of an unknown version"}, and this is' in caplog.text
    with pytest.raises(UsageError, match='no option .gone_flag.'):
        config_of('--config', written(of_run(version, gone_flag=1), 'config.json'))


def test_a_run_is_resumed_by_its_folder_or_a_checkpoint_in_it(written, tmp_path):
    written(of_run(train_list='x'), 'config.json')
    (tmp_path / 'checkpoints' / 'step-00000001').mkdir(parents=True)
    (tmp_path / 'checkpoints' / 'step-00000001' / 'manifest.json').touch()
    (tmp_path / 'checkpoints' / 'step-00000001' / 'config.json').write_text('{}')
    for place in (tmp_path, tmp_path / 'checkpoints' / 'step-00000001'):
        config = config_of('--resume', place, '--num-epochs', '40')
        assert (config.lr, config.num_epochs, config.save_dir) == (0.25, 40, str(tmp_path))
        assert config.resume == str(place)


@pytest.mark.parametrize('place', [('--resume', '{tmp}'), ('--config', '{tmp}/config.json')])
@pytest.mark.parametrize('flags, kept', [((), True), (('--eval',), False), (('--engine', 'mxnet'), False)])
def test_how_pytorch_trains_is_not_taken_over_where_it_does_not(written, tmp_path, place, flags, kept):
    """It would be refused there, and no flag takes it back."""
    written(of_run(train_list='x', engine='torch', compile=True, sync_bn=True), 'config.json')
    argv = [item.format(tmp=tmp_path) for item in place]
    config = config_of(*argv, *flags)
    assert (config.compile, config.sync_bn) == (kept, kept)
    given = config_of(*argv, *flags, '--compile')  # which is asked for here
    assert (given.compile, given.sync_bn) == (True, kept)


@pytest.mark.parametrize('argv, told', [
    (('--resume', '{tmp}'), 'holds no config.json of a training'),
    (('--resume', '{tmp}/none'), 'holds no config.json of a training'),
    (('--resume', '{tmp}', '--config', '{tmp}/x.yaml'), '--config: contradicts --resume'),
    (('clips', '--train-list', 'x'), '--train-list: contradicts clips'), ((), '--model: say which network to train')])
def test_what_says_nothing_or_too_much_is_refused(tmp_path, argv, told):
    with pytest.raises(UsageError, match=told):
        config_of(*(item.format(tmp=tmp_path) for item in argv))


MODULE = """
from gluon_action.model_zoo import ModelCard, Recognizer, register_model

@register_model(ModelCard.of_2d('{name}', family='Mine', dataset='custom', dropout_ratio=0., init_std=0.1))
def build(nclass, *, tsn, num_segments, num_crop, consensus, **options):
    raise AssertionError('not built here')
"""


@pytest.mark.parametrize('as_file', [True, False])
def test_a_module_of_ones_own_brings_models(tmp_path, monkeypatch, capsys, as_file):
    from gluon_action.model_zoo import registry
    name = f'mine_{as_file}'.lower()
    (tmp_path / f'{name}_module.py').write_text(MODULE.format(name=name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    place = str(tmp_path / f'{name}_module.py') if as_file else f'{name}_module'
    try:
        assert run(train_recognizer.parse_args, train_recognizer.main,
                   ['x', '--model', name, '--import', place, '--print-config']) == 0
        assert json.loads(capsys.readouterr().out)['model'] == name
    finally:
        registry._CARDS.pop(name, None), registry._BUILDERS.pop(name, None), sys.modules.pop(f'{name}_module', None)


@pytest.mark.parametrize('content, told', [
    (None, 'there is no such module, neither installed nor in'), ('import no_such_thing_at_all', 'it imports no_such'),
    ('1 / 0', 'fails with ZeroDivisionError'), ('def', 'fails with SyntaxError')])
def test_a_module_that_cannot_be_imported_is_told(tmp_path, monkeypatch, capsys, content, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    if content:
        (tmp_path / 'broken_module.py').write_text(content)
    assert run(train_recognizer.parse_args, train_recognizer.main,
               ['x', '--import', 'broken_module', '--print-config']) == 2
    assert f'--import broken_module: {told}' in capsys.readouterr().err
